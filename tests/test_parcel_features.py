"""Shape and terrain of a parcel are standardised feature by feature; unknown ones are average."""

import numpy as np
import pytest
import xarray as xr
from samples import make_samples

from cubecrop.classification import classify_pixel_sets
from cubecrop.model import NetworkOptions, mean_over_pixels
from cubecrop.training import TrainConfig, fit

N = 18
#: Far from each other and from 0, so that none can stand for another.
SHAPE = np.array([400.0, 10_000.0, 0.04, 0.9])
LAND = np.array([250.0, 5.0, 0.5])


def with_features(*, shape=None, land=None):
    """Pixel sets whose parcels differ in shape and terrain, or all have those that are given."""
    samples, labels = make_samples(n=N)
    spread = np.random.default_rng(1).normal(1, 0.2, (N, 7))
    shape = SHAPE * spread[:, :4] if shape is None else np.broadcast_to(shape, (N, 4))
    land = LAND * spread[:, 4:] if land is None else np.broadcast_to(land, (N, 3))
    geometry = (("parcel", "feature"), shape.astype("f4"))
    samples.dataset = samples.to_dataset().assign(geometry=geometry)
    terrain = np.repeat(land[:, :, None], 4, axis=2).astype("f4")  # (parcel, variable, pixel)
    node = xr.Dataset(
        {"terrain": (("parcel", "variable", "pixel"), terrain)},
        coords={"variable": ["elevation", "slope", "aspect_sine"]},
    )
    samples["terrain"] = xr.DataTree(node)
    return samples, labels


@pytest.fixture(scope="module")
def learned():
    samples, labels = with_features()
    network = NetworkOptions(geometry=True, terrain=True)
    config = TrainConfig(epochs=2, n_pixels=4, network=network)
    return samples, fit(samples, labels, config=config, progress=False)


def means(samples):
    return (
        samples["geometry"].to_numpy().mean(axis=0),
        samples["terrain"]["terrain"].to_numpy()[:, :, 0].mean(axis=0),
    )


@pytest.mark.parametrize("unknown", ["shape", "land", "both"])
def test_what_is_unknown_of_a_parcel_counts_as_average(learned, unknown):
    samples, model = learned
    shape, land = means(samples)
    average, _ = with_features(shape=shape, land=land)
    nothing = {"shape": shape, "land": land}
    nothing |= dict.fromkeys(("shape", "land") if unknown == "both" else (unknown,), np.nan)
    lacking, _ = with_features(**nothing)
    expected = model.predict_proba(average).to_numpy()
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(model.predict_proba(lacking), expected, atol=1e-5)
    np.testing.assert_allclose(
        classify_pixel_sets(lacking, model)["probability"], expected, atol=1e-5
    )
    # And it matters: two deviations from the average is another parcel.
    away = {"shape": shape, "land": land}
    away["shape" if unknown == "shape" else "land"] *= 1.4
    other = model.predict_proba(with_features(**away)[0])
    assert np.abs(other - expected).max() > 1e-3


def test_pixels_without_height_are_left_out_of_a_parcels_mean(learned):
    by_hand = mean_over_pixels(np.array([[[1, np.nan, 3], [np.nan] * 3, [4, 5, 6]]], "f4"))
    np.testing.assert_array_equal(by_hand, [[2, np.nan, 5]])
    samples, model = learned
    expected = model.predict_proba(samples)
    padded = samples.copy(deep=True)
    padded["terrain"]["terrain"][:, :, 1:] = np.nan
    assert padded["terrain"]["terrain"].isnull().mean() == 0.75
    np.testing.assert_allclose(model.predict_proba(padded), expected, atol=1e-5)
