"""The random forest on parcel means."""

import numpy as np
import pytest
import xarray as xr
from samples import make_samples

from cubecrop.errors import LabelError, ModelMismatchError
from cubecrop.training import fit_forest
from cubecrop.training.forest import parcel_means


def test_a_forest_learns_separable_crops():
    samples, labels = make_samples(n=60)
    unseen, truth = make_samples(n=30, seed=7)
    found = fit_forest(samples, labels, n_trees=50).predict_proba(unseen)
    assert found.dims == ("parcel", "crop")
    np.testing.assert_allclose(found.sum("crop"), 1, atol=1e-5)
    assert (found.idxmax("crop").to_numpy() == truth).mean() > 0.9


def _set(values, valid, days):
    """Pixel sets of one radar band: values and valid are (parcel, time, pixel)."""
    start = np.datetime64("2021-01-01", "ns")
    node = xr.Dataset(
        {
            "backscatter": (("parcel", "time", "band", "pixel"), values[:, :, None, :]),
            "valid": (("parcel", "time", "pixel"), valid),
        },
        coords={"time": start + np.array(days, "timedelta64[D]"), "band": ["vv"]},
    )
    attrs = {"season_year": 2021, "season_start": "2021-01-01", "season_end": "2021-05-31"}
    root = xr.Dataset(coords={"parcel": [f"p{i}" for i in range(len(values))]}, attrs=attrs)
    return xr.DataTree.from_dict({"/": root, "sentinel1": node})


def test_means_and_interpolation_by_hand():
    # Two dates in January, one in April; the second parcel has one valid pixel in all.
    values = np.array([[[1, 3], [5, 99], [8, 8]], [[7, 0], [0, 0], [0, 0]]], np.float32)
    valid = np.array([[[1, 1], [1, 0], [1, 1]], [[1, 0], [0, 0], [0, 0]]], bool)
    found = parcel_means(
        _set(values, valid, [3, 20, 95]), bands={"sentinel1": ("vv",)}, step="month"
    )
    expected = [[3, 3 + 5 / 3, 3 + 10 / 3, 8, 8], [7, 7, 7, 7, 7]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_masked_values_and_order_change_nothing():
    samples, labels = make_samples(n=30)
    poisoned, _ = make_samples(n=30)
    for name, variable in (("sentinel2", "reflectance"), ("sentinel1", "backscatter")):
        values = poisoned[name][variable].values
        hidden = ~np.broadcast_to(poisoned[name]["valid"].values[:, :, None, :], values.shape)
        values[hidden] = 1e6
    order = np.random.default_rng(0).permutation(30)
    unseen, _ = make_samples(n=12, seed=3)
    one = fit_forest(samples, labels, n_trees=20).predict_proba(unseen)
    other = fit_forest(
        poisoned.isel(parcel=order), [labels[i] for i in order], n_trees=20
    ).predict_proba(unseen)
    np.testing.assert_array_equal(one, other)


def test_sets_with_their_own_dates_and_a_class_without_parcels():
    one, labels = make_samples(n=30, dates=(9, 7))
    other, more = make_samples(n=30, seed=5, dates=(14, 20))
    kept = [None if label == "maize" else label for label in labels + more]
    forest = fit_forest([one, other], [kept[:30], kept[30:]], n_trees=20)
    assert forest.nomenclature.names == ["grass", "wheat"]
    assert np.isfinite(forest.predict_proba(other)).all()


def test_a_parcel_never_seen_has_no_prediction():
    samples, labels = make_samples(n=30)
    forest = fit_forest(samples, labels, n_trees=20)
    for name in ("sentinel2", "sentinel1"):
        samples[name]["valid"].values[4] = False
    found = forest.predict_proba(samples)
    assert np.isnan(found[4]).all()
    assert np.isfinite(found[5]).all()


def test_mismatched_samples_are_refused():
    samples, labels = make_samples(n=30)
    forest = fit_forest(samples, labels, n_trees=5)
    alone, _ = make_samples(n=3, sensors=("sentinel2",))
    with pytest.raises(ModelMismatchError, match="sentinel1"):
        forest.predict_proba(alone)
    short = samples.copy()
    short.attrs["season_end"] = "2018-05-31"
    with pytest.raises(ModelMismatchError, match="108 features"):
        forest.predict_proba(short)
    with pytest.raises(LabelError, match="two or more"):
        fit_forest(samples, ["wheat"] * 30)
