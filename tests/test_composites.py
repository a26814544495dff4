"""Composites, checked against values worked out by hand."""

import datetime as dt

import numpy as np
import pytest
import xarray as xr
from seasons import declared, every, seen_on, train

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


@pytest.mark.parametrize("step", ["month", "dekad"])
@pytest.mark.parametrize("kept", [[0], [1], [2, 3], [0, 3], [0, 1, 2, 3]])
@pytest.mark.parametrize("chunks", [{"y": 1}, {"y": 1, "time": 1}])
def test_time_is_one_chunk_whichever_periods_are_empty(step, kept, chunks):
    """By hand from the values of the dates: one is seen in each period at most, or two."""
    values = np.arange(1, 5, dtype=np.float32)[:, None, None, None] + np.zeros((4, 2, 3, 1))
    time = np.array(DATES, "datetime64[ns]")[kept]
    seen = values[kept].astype(np.float32)
    optical = xr.Dataset(
        {
            "reflectance": (("time", "band", "y", "x"), seen),
            "status": (("time", "y", "x"), np.zeros((len(kept), 3, 1), np.uint8)),
        },
        coords={"time": time, "band": ["B02", "B03"]},
    ).chunk(chunks)
    radar = optical[["reflectance"]].rename(reflectance="backscatter")
    starts = periods_of(SEASON, step)
    period = np.searchsorted(starts, time.astype("datetime64[D]"), side="right") - 1
    for name, child, mean in (
        ("sentinel2", optical, np.median),
        ("sentinel1", radar, lambda v: 10 * np.log10(np.mean(10 ** (v / 10)))),
    ):
        with forbid_compute():
            lazy = composite_child(name, child, SEASON, step)
        assert all(len(array.chunks[0]) == 1 for array in lazy.data_vars.values())
        found = lazy.compute()
        variable = found["reflectance" if name == "sentinel2" else "backscatter"]
        for number in range(len(starts)):
            mine = seen[period == number, 0, 0, 0]
            expected = mean(mine) if len(mine) else np.nan
            np.testing.assert_allclose(variable[number], expected, rtol=1e-6)
        assert (
            found["acquisitions"].values.tolist()
            == np.bincount(period, minlength=len(starts)).tolist()
        )
        if name == "sentinel2":
            clear = np.isin(np.arange(len(starts)), period)
            assert (found["status"][:, 0, 0] == np.where(clear, Status.CLEAR, 2)).all()


def test_a_solar_day_that_begins_the_day_before_is_of_the_first_period():
    season = cubecrop.Season(2020, start=dt.date(2020, 1, 1), end=dt.date(2020, 3, 31))
    child = optical([0.1, 0.5, 0.2, 0.4], [Status.CLEAR] * 4)
    early = np.array(["2019-12-31T22:00", *DATES[1:]], "datetime64[ns]")
    found = composite_child("sentinel2", child.assign_coords(time=early), season, "month")
    np.testing.assert_allclose(found["reflectance"].squeeze(), [0.2, np.nan, 0.4])


@pytest.fixture(scope="module")
def years(tmp_path_factory):
    """Images every 25 days: all of 2019's season, 2021's without July, 2023's in July alone."""
    days = [
        *every(25, "2018-09-03", "2019-10-31"),
        *(day for day in every(25, "2020-10-03", "2021-10-31") if "-07-" not in day),
        "2023-07-02",
    ]
    return seen_on(tmp_path_factory.mktemp("years") / "archive", days, days)


@pytest.fixture(scope="module")
def monthly(years):
    return train(years, 2019, composite="month")


@pytest.mark.parametrize("chunks", [None, 8])
def test_a_year_with_an_empty_month_is_classified(years, monthly, chunks):
    """Of 2021's fourteen months September and July have no image; it needs no leave."""
    table = cubecrop.classify_parcels(
        declared(), 2021, archive=years, model=monthly, chunks=chunks, progress=False
    )
    assert (table["status"] == "predicted").all()
    assert (table["valid_dates:sentinel2"] == 12).all()
    # From the middle of June to that of August.
    assert (table["longest_gap:sentinel1"] == 61).all()
    found = cubecrop.classify(
        declared(), 2021, archive=years, model=monthly, chunks=chunks
    ).compute()
    assert (found["crop_type"] < 2).all()
    assert (found["clear_dates"] == 12).all()


def test_a_year_with_an_empty_month_is_learnt_from(years):
    seen = train(years, 2021, composite="month").coverage
    assert seen["sentinel1"].longest_gap == seen["sentinel2"].longest_gap == 61
    assert seen["sentinel2"].dates == 12


def test_a_year_with_images_in_one_month_is_refused(years, monthly):
    with pytest.raises(ModelMismatchError, match="first image is"):
        cubecrop.classify(declared(), 2023, archive=years, model=monthly)
    table = cubecrop.classify_parcels(
        declared(), 2023, archive=years, model=monthly, allow_gaps=True, progress=False
    )
    said = "too few observations: 1 month of sentinel2, 5 needed"
    assert table["status"].str.startswith(said).all()


def test_dekads_of_which_most_are_empty_are_learnt_from_and_classified(years):
    model = train(years, 2019, composite="dekad")
    assert model.coverage["sentinel2"].dates == 17
    found = cubecrop.classify(declared(), 2019, archive=years, model=model).compute()
    assert (found["crop_type"] < 2).all()
    assert (found["clear_dates"] == 17).all()
