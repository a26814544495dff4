"""Kinds of stress: what is taken from the test samples, and what stays."""

import numpy as np
import pytest
import xarray as xr

from cubecrop import TrainConfig, fit, stress_curve
from cubecrop.errors import ArgumentError, LabelError, ModelMismatchError
from cubecrop.evaluation.stress import STRESSES, stressed, variants
from cubecrop.schema import SERIES
from tests.samples import make_samples


@pytest.fixture(scope="module")
def samples():
    return make_samples(n=40, n_pixels=8, cloud=0.3)[0]


def dated(tree, sensor="sentinel2"):
    return tree[sensor]["valid"].transpose("parcel", "time", "pixel").to_numpy().any(axis=2)


@pytest.mark.parametrize("sensor", SERIES)
def test_a_share_of_each_parcels_dates_is_kept(samples, sensor):
    name = {"sentinel2": "optical dates kept", "sentinel1": "radar dates kept"}[sensor]
    before = dated(samples, sensor)
    for level in (0.2, 0.5, 0.8):
        after = dated(stressed(samples, name, level), sensor)
        np.testing.assert_array_equal(
            after.sum(axis=1), np.round(level * before.sum(axis=1)).astype(int)
        )
        assert not (after & ~before).any()


def test_fewer_dates_are_a_part_of_more_dates(samples):
    few = dated(stressed(samples, "optical dates kept", 0.3))
    many = dated(stressed(samples, "optical dates kept", 0.6))
    assert few.sum() < many.sum()
    assert not (few & ~many).any()


def test_dates_depend_on_the_parcel_and_the_seed_alone(samples):
    first = dated(stressed(samples, "optical dates kept", 0.5))
    reversed_order = samples.isel(parcel=slice(None, None, -1))
    np.testing.assert_array_equal(
        dated(stressed(reversed_order, "optical dates kept", 0.5))[::-1], first
    )
    assert (dated(stressed(samples, "optical dates kept", 0.5, seed=1)) != first).any()


def test_the_cloudiest_dates_go_first(samples):
    clear = dated(samples).mean(axis=0)
    kept = dated(stressed(samples, "clearest optical dates kept", 0.5)).any(axis=0)
    assert kept.sum() == round(0.5 * len(clear))
    assert clear[kept].min() >= clear[~kept].max()


def test_a_month_is_lost(samples):
    for variant in variants(samples, ["optical month lost"]):
        found = stressed(samples, variant.stress, variant.level)
        months = found["sentinel2"]["time"].dt.month.to_numpy()
        assert not dated(found)[:, months == variant.level].any()
        other = months != variant.level
        np.testing.assert_array_equal(dated(found)[:, other], dated(samples)[:, other])


def test_clouds_of_another_place(samples):
    others, _ = make_samples(n=7, n_pixels=2, cloud=0.0)
    same = stressed(samples, "clouds of another place", others=others)
    np.testing.assert_array_equal(dated(same), dated(samples))
    node = others["sentinel2"].to_dataset(inherit=False)
    node["valid"] = node["valid"] & (node["time"].dt.month > 4)
    cloudy = xr.DataTree.from_dict({"/": others.to_dataset(), "sentinel2": node})
    found = stressed(samples, "clouds of another place", others=cloudy)
    lost = dated(samples) & ~dated(found)
    assert lost.any()
    reach = np.diff(np.unique(samples["sentinel2"]["time"].to_numpy())).max() / 2
    clear = node["time"].to_numpy()[node["time"].dt.month.to_numpy() > 4]
    times = samples["sentinel2"]["time"].to_numpy()
    far = np.abs(times[:, None] - clear[None, :]).min(axis=1) > reach
    np.testing.assert_array_equal(lost.any(axis=0), far & dated(samples).any(axis=0))
    with pytest.raises(ArgumentError, match="another place"):
        stressed(samples, "clouds of another place")


def test_a_sensor_is_gone(samples):
    assert set(stressed(samples, "no radar").children) == {"sentinel2"}
    assert set(stressed(samples, "no optical").children) == {"sentinel1"}
    alone = stressed(samples, "no radar")
    with pytest.raises(ArgumentError, match="no sensor other than"):
        stressed(alone, "no optical")


@pytest.mark.parametrize(
    ("name", "sensor", "level"),
    [("optical noise", "sentinel2", 0.02), ("radar noise", "sentinel1", 2.0)],
)
def test_noise_has_the_standard_deviation(samples, name, sensor, level):
    found = stressed(samples, name, level)
    change = found[sensor][SERIES[sensor]] - samples[sensor][SERIES[sensor]]
    assert float(change.std()) == pytest.approx(level, rel=0.05)
    assert abs(float(change.mean())) < level / 10
    xr.testing.assert_identical(found[sensor]["valid"], samples[sensor]["valid"])
    other = ({*SERIES} - {sensor}).pop()
    xr.testing.assert_identical(
        found[other].to_dataset(inherit=False), samples[other].to_dataset(inherit=False)
    )


def test_series_end_at_a_day(samples):
    for variant in variants(samples, ["until day"]):
        found = stressed(samples, variant.stress, variant.level)
        for sensor in SERIES:
            days = (
                found[sensor]["time"].to_numpy() - np.datetime64("2017-09-01", "ns")
            ) / np.timedelta64(1, "D")
            assert not dated(found, sensor)[:, days > variant.level].any()
            early = days <= variant.level
            np.testing.assert_array_equal(
                dated(found, sensor)[:, early], dated(samples, sensor)[:, early]
            )


def test_given_samples_are_unchanged(samples):
    before = samples.copy(deep=True)
    others, _ = make_samples(n=5, n_pixels=1)
    found = variants(samples, list(STRESSES), others=others)
    assert {variant.stress for variant in found} == set(STRESSES)
    for variant in found:
        stressed(samples, variant.stress, variant.level, others=others)
    xr.testing.assert_identical(samples, before)


def test_only_what_the_samples_have(samples):
    optical = stressed(samples, "no radar")
    names = {variant.stress for variant in variants(optical, list(STRESSES))}
    assert "radar dates kept" not in names
    assert "clouds of another place" not in names
    with pytest.raises(ArgumentError, match=r"needs 'sentinel1'.*have \['sentinel2'\]"):
        stressed(optical, "radar noise", 1.0)
    with pytest.raises(ArgumentError, match="stress is 'fog', expected one of"):
        stressed(samples, "fog", 1.0)


@pytest.fixture(scope="module")
def trained():
    """A network on easy classes, and other samples of them."""
    samples, labels = make_samples(n=60, n_pixels=3, cloud=0.1)
    model = fit(samples, labels, config=TrainConfig(epochs=15), progress=False)
    return model, make_samples(n=60, n_pixels=3, cloud=0.1, seed=5)


def test_a_stress_curve_falls(trained):
    model, (samples, labels) = trained
    curve = stress_curve(model, samples, labels, "until day", [430, 60])
    assert curve["stress"].tolist() == ["", "until day", "until day"]
    assert set(curve["n"]) == {60}
    plain, same, early = curve["macro_f1"]
    assert plain == same > 0.8
    assert early < plain - 0.2
    assert ((curve["macro_f1_low"] <= curve["macro_f1"] + 1e-9) &
            (curve["macro_f1"] <= curve["macro_f1_high"] + 1e-9)).all()  # fmt: skip
    usual = stress_curve(model, samples, labels, "optical dates kept")
    assert usual["level"].tolist()[1:] == [0.1, 0.2, 0.4, 0.6, 0.8]


def test_what_a_curve_cannot_have_is_said(trained):
    model, (samples, labels) = trained
    with pytest.raises(ModelMismatchError, match="no 'sentinel1'"):
        stress_curve(model, samples, labels, "no radar")
    with pytest.raises(ArgumentError, match="stress is 'fog'"):
        stress_curve(model, samples, labels, "fog")
    with pytest.raises(LabelError, match="rye"):
        stress_curve(model, samples, ["rye"] * len(labels), "optical noise")
