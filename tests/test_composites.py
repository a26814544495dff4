"""Composites by hand."""

import datetime as dt

import numpy as np
import pytest
import xarray as xr

import cubecrop
from cubecrop.cube.composites import composite_child, periods_of
from cubecrop.errors import ModelMismatchError, SchemaError
from cubecrop.schema import Status
from cubecrop.testing import forbid_compute

SEASON = cubecrop.Season(2020, start=dt.date(2020, 1, 5), end=dt.date(2020, 3, 15))
DATES = ["2020-01-06T11:00", "2020-01-20T11:00", "2020-01-30T23:59", "2020-03-01T00:01"]


def optical(values, status):
    values = np.array(values, np.float32).reshape(4, 1, 1, 1)
    return xr.Dataset(
        {
            "reflectance": (("time", "band", "y", "x"), values, {"units": "1"}),
            "status": (("time", "y", "x"), np.array(status, np.uint8).reshape(4, 1, 1)),
        },
        coords={"time": np.array(DATES, "datetime64[ns]"), "band": ["B02"]},
    ).chunk()


def test_periods_cover_the_season():
    assert periods_of(SEASON, "month").astype(str).tolist() == [
        "2020-01-01", "2020-02-01", "2020-03-01",
    ]  # fmt: skip
    dekads = periods_of(SEASON, "dekad").astype(str).tolist()
    assert dekads[0] == "2020-01-01"
    assert dekads[-1] == "2020-03-11"
    assert len(dekads) == 8
    with pytest.raises(SchemaError, match="dekad"):
        periods_of(SEASON, "week")


def test_optical_is_the_median_of_what_is_clear():
    child = optical([0.1, 0.5, 0.2, np.nan], [Status.CLEAR] * 3 + [Status.CLOUD])
    with forbid_compute():
        lazy = composite_child("sentinel2", child, SEASON, "month")
    found = lazy.compute()
    np.testing.assert_array_equal(
        found["reflectance"].squeeze(), np.array([0.2, np.nan, np.nan], np.float32)
    )
    assert found["reflectance"].dtype == np.float32
    assert found["status"].squeeze().values.tolist() == [0, 2, 1]
    assert found["time"].dt.strftime("%Y-%m-%d").values.tolist() == [
        "2020-01-16", "2020-02-15", "2020-03-08",
    ]  # fmt: skip
    assert found["reflectance"].attrs == {"units": "1"}


def test_a_period_whose_only_scene_was_lost_is_lost():
    """Not outside, though another scene of the period does not reach; cloud was seen."""
    lost, outside, cloud = Status.LOST, Status.OUTSIDE, Status.CLOUD
    for january, expected in (
        ((lost, outside, lost), lost), ((lost, cloud, outside), cloud),
        ((outside, outside, outside), outside),
    ):  # fmt: skip
        child = optical([np.nan] * 4, [*january, lost])
        found = composite_child("sentinel2", child, SEASON, "month")["status"].compute()
        assert found.squeeze().values.tolist() == [expected, outside, lost]
        assert found.dtype == np.uint8


def test_radar_is_the_mean_of_power():
    values = np.array([-10.0, -20.0, np.nan, -15.0], np.float32).reshape(4, 1, 1, 1)
    child = xr.Dataset(
        {"backscatter": (("time", "band", "y", "x"), values, {"calibration": "gamma0"})},
        coords={
            "time": np.array(DATES, "datetime64[ns]"),
            "band": ["vv"],
            "orbit_state": ("time", ["ascending"] * 4),
        },
    ).chunk()
    found = composite_child("sentinel1", child, SEASON, "month").compute()
    expected = [10 * np.log10((0.1 + 0.01) / 2), np.nan, -15.0]
    np.testing.assert_allclose(found["backscatter"].squeeze(), expected, rtol=1e-5)
    assert found["backscatter"].attrs["calibration"] == "gamma0"


def test_a_composited_season_has_a_model_of_its_own(archive, tmp_path):
    aoi = cubecrop.open_archive(archive).extent(["sentinel-2-l2a"]).bbox
    plain = cubecrop.open_season(aoi, 2018, archive=archive)
    with forbid_compute():
        monthly = cubecrop.open_season(aoi, 2018, archive=archive, composite="month")
    assert monthly["sentinel2"].sizes["time"] == 14
    assert monthly["sentinel1"].sizes["time"] == 14
    assert monthly.attrs["composite"] == "month"
    once = monthly["sentinel2"]["reflectance"].compute()
    clear = plain["sentinel2"]["reflectance"].compute()
    assert bool((once.notnull().any("time") == clear.notnull().any("time")).all())


def test_a_model_of_single_dates_refuses_composites():
    from samples import make_samples

    from cubecrop.training import TrainConfig, fit

    samples, labels = make_samples()
    model = fit(samples, labels, config=TrainConfig(epochs=1, n_pixels=4))
    samples.attrs["composite"] = "month"
    with pytest.raises(ModelMismatchError, match="month"):
        model.check(samples)
    assert fit(samples, labels, config=TrainConfig(epochs=1, n_pixels=4)).composite == "month"
