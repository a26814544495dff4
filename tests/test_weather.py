"""Every published form of weather becomes days; expected values are worked out by hand."""

import json
import shutil

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from cubes import PLACE, area
from shapely.geometry import box, mapping
from weather_made import (
    ARCHIVE,
    ARCO,
    BBOX,
    FULL_DAY,
    GRIB,
    SEASON,
    UNITS,
    amounts,
    archive,  # noqa: F401 (a fixture of every test)
    check_days,
    days_of,
    hourly,
    hours,
    known_as,
    since_midnight,
    stored,
)

from cubecrop.archive import normalise_item, search
from cubecrop.cube import open_season
from cubecrop.cube.weather import weather_child
from cubecrop.errors import ArchiveError, NoScenesError, ReadError, SchemaError
from cubecrop.schema import Asset
from cubecrop.season import Season
from cubecrop.testing import forbid_compute, write_archive

# Forms


def test_arco_era5(tmp_path, monkeypatch):
    store = hourly()
    store["2m_temperature"][-24:] = np.nan
    path = stored(tmp_path, store, zarr_format=2, consolidated=True,
                  encoding={ARCO["temperature"]: {"chunks": (1, 4, 5)}})  # fmt: skip
    name = known_as(monkeypatch, "arco-era5", path)
    with forbid_compute():
        cube = open_season(BBOX, SEASON, archive=ARCHIVE[0], weather=name)
    assert "arco-era5" in cube.attrs["items"]
    check_days(cube["weather/weather"].to_dataset("variable"))


def test_arco_era5_is_read_within_its_valid_time(tmp_path, monkeypatch):
    store = hourly().assign_attrs(valid_time_start="2018-06-02", valid_time_stop="2018-06-03")
    found = days_of(known_as(monkeypatch, "arco-era5", stored(tmp_path, store)))
    np.testing.assert_array_equal(found.time.dt.day, [1, 2, 3])
    cell = found.isel(latitude=0, longitude=0)
    # The amount of midnight is of the day before, of which nothing else is there; the last
    # hour of 3 June is stamped on 4 June, which is beyond what is valid.
    np.testing.assert_array_equal(np.isnan(cell.temperature_mean), [True, False, False])
    np.testing.assert_array_equal(np.isnan(cell.precipitation), [True, False, True])


def test_era5_land_of_the_earth_data_hub(tmp_path, monkeypatch):
    time = hours()
    store = hourly(
        names=GRIB,
        precipitation=since_midnight(time),
        solar_radiation=3.6e6 * (1 + (time.hour.to_numpy() - 1) % 24),
    )
    for name in ("tp", "ssrd"):
        store[name].attrs["GRIB_stepType"] = "accum"
    store["t2m"].attrs["GRIB_stepType"] = "instant"
    path = stored(tmp_path, store.rename(time="valid_time"), zarr_format=3)
    check_days(days_of(known_as(monkeypatch, "earth-data-hub", path)))
    # The same bytes from elsewhere: nothing says which of the two they are.
    with pytest.raises(SchemaError, match=r"'tp' of item .* unit 'm', an amount, but nothing"):
        days_of(path)


def test_era5_of_the_planetary_computer(tmp_path):
    base = {"type": "Feature", "stac_version": "1.0.0", "collection": "era5-pds", "links": [],
            "geometry": mapping(box(-180, -90, 180, 90)), "bbox": [-180, -90, 180, 90]}  # fmt: skip
    rule = {
        "an": {"temperature": "air_temperature_at_2_metres"},
        "fc": {
            "precipitation": "precipitation_amount_1hour_Accumulation",
            "solar_radiation": "integral_wrt_time_of_surface_direct_downwelling_shortwave_"
            "flux_in_air_1hour_Accumulation",
        },
    }
    items = []
    # Two months, cut within the season: the amount of midnight is in the other item.
    for month, (first, last) in {"a": ("2018-05-31T00", "2018-06-01T23"),
                                 "b": ("2018-06-02T00", "2018-06-05T23")}.items():  # fmt: skip
        for kind, names in rule.items():
            whole = hourly(hours(first, last), names=rule["an"] | rule["fc"])
            assets = {}
            for name in names.values():
                one = whole[[name]].rename(latitude="lat", longitude="lon")
                stored(tmp_path, one, f"{month}-{name}.zarr", zarr_format=2, consolidated=True)
                assets[name] = {"href": f"{month}-{name}.zarr", "type": "application/vnd+zarr"}
            when = {"start_datetime": f"{first}:00:00Z", "end_datetime": f"{last}:00:00Z"}
            properties = {"datetime": None, "era5:kind": kind, **when}
            items.append({**base, "id": f"{month}-{kind}", "links": [], "properties": properties,
                          "assets": assets})  # fmt: skip
    path = tmp_path / "era5.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    check_days(days_of(path))


def test_azure_addresses_are_read_over_https():
    options = {"account_name": "cpdataeuwest"}
    asset = {"href": "abfs://era5/ERA5/2020/12/air_temperature_at_2_metres.zarr",
             "xarray:open_kwargs": {"storage_options": options}}  # fmt: skip
    item = {"type": "Feature", "id": "an", "collection": "era5-pds", "bbox": [-180, -90, 180, 90],
            "links": [{"rel": "self", "href": "https://planetarycomputer.microsoft.com/an"}],
            "properties": {"datetime": "2020-12-01T00:00:00Z"},
            "assets": {"air_temperature_at_2_metres": asset}}  # fmt: skip
    scene = normalise_item(item)
    assert scene.assets == {
        "temperature": Asset(
            href="https://cpdataeuwest.blob.core.windows.net/era5/ERA5/2020/12/"
            "air_temperature_at_2_metres.zarr"
        )
    }
    assert scene.access.signer is not None
    options["account_name"] = "evil.host/x"
    with pytest.raises(ValueError, match="'an' has href 'abfs://era5"):
        normalise_item(item)


def test_any_store_with_sufficient_metadata(tmp_path):
    rates = {"temperature": "degC", "precipitation": "kg m-2 s-1", "solar_radiation": "W m-2"}
    store = hourly(
        units=rates,
        temperature=6.85 + hours().hour.to_numpy() + 10 * (hours().day.to_numpy() == 2),
        precipitation=amounts(hours()) * 1000 / 3600,
        solar_radiation=np.full(len(hours()), 1000.0),
    )
    store["total_precipitation"].attrs["cell_methods"] = "time: mean"
    check_days(days_of(stored(tmp_path, store, "rates.zarr")))
    methods = hourly()
    for name in (ARCO["precipitation"], ARCO["solar_radiation"]):
        methods[name].attrs["cell_methods"] = "time: sum (interval: 1 hour)"
    check_days(days_of(stored(tmp_path, methods, "methods.zarr")))
    time = hours()
    added = hourly(precipitation=since_midnight(time) * 1000,
                   units=UNITS | {"precipitation": "mm"})  # fmt: skip
    added["total_precipitation"].attrs["cell_methods"] = "time: sum (comment: since 00 UTC)"
    added = added.drop_vars(ARCO["solar_radiation"])
    found = days_of(stored(tmp_path, added, "added.zarr"))
    np.testing.assert_allclose(found.precipitation, FULL_DAY, rtol=1e-5)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(-1, 0, FULL_DAY), (0, 1, FULL_DAY), (None, 0, FULL_DAY), (-2, 0, None)],
)
def test_bounds_of_the_time_say_what_an_amount_is(tmp_path, start, end, expected):
    time, hour = hours(), np.timedelta64(1, "h")
    values = since_midnight(time) if start is None else amounts(time)
    if start == 0:
        values = np.roll(values, -1)  # the stamp starts the hour
    store = hourly(precipitation=values)[["total_precipitation"]]
    midnight = (time - pd.Timedelta("1ns")).floor("D").to_numpy()
    starts = midnight if start is None else time.to_numpy() + start * hour
    pairs = np.stack([starts, time.to_numpy() + end * hour], axis=1)
    store = store.assign(time_bounds=(("time", "nv"), pairs))
    store["time"].attrs["bounds"] = "time_bounds"
    path = stored(tmp_path, store)
    if expected is None:
        with pytest.raises(SchemaError, match="has time bounds such as"):
            days_of(path)
    else:
        np.testing.assert_allclose(days_of(path).precipitation, expected, rtol=1e-5)


def test_steps_of_three_hours(tmp_path):
    store = hourly(hours()[::3])[["2m_temperature"]]
    cell = days_of(stored(tmp_path, store)).isel(latitude=0, longitude=0)
    np.testing.assert_allclose(cell.temperature_mean, [290.5, 300.5, 290.5], rtol=1e-7)
    np.testing.assert_array_equal(cell.temperature_max, [301, 311, 301])


# What is missing


def test_a_day_that_lacks_an_hour_is_missing(tmp_path, monkeypatch):
    time = hours().drop([pd.Timestamp("2018-06-02T12"), pd.Timestamp("2018-06-04T00")])
    found = days_of(known_as(monkeypatch, "arco-era5", stored(tmp_path, hourly(time))))
    cell = found.isel(latitude=0, longitude=0)
    for name in ("temperature_mean", "temperature_min", "temperature_max"):
        np.testing.assert_array_equal(np.isnan(cell[name]), [False, True, False])
    np.testing.assert_array_equal(np.isnan(cell.precipitation), [False, True, True])


def test_a_chunk_that_is_missing_is_no_weather(tmp_path):
    """Zarr reads it as the fill value: NaN is a day that is missing, 0 K no temperature."""
    chunks = {"2m_temperature": {"chunks": (24, 4, 5)}}
    store = hourly()[["2m_temperature"]]
    path = stored(tmp_path, store, "nan.zarr", zarr_format=2, encoding=chunks)
    (path / "2m_temperature" / "2.0.0").unlink()
    cell = days_of(path).isel(latitude=0, longitude=0)
    np.testing.assert_array_equal(np.isnan(cell.temperature_mean), [False, True, False])
    chunks["2m_temperature"]["_FillValue"] = None
    path = stored(tmp_path, store, "zero.zarr", zarr_format=2, encoding=chunks)
    (path / "2m_temperature" / "2.0.0").unlink()
    with pytest.raises(ReadError, match=r"'2m_temperature' of item .* holds 0 K.*chunk is missing"):
        days_of(path)
    celsius = hourly(temperature=np.full(len(hours()), 15.0))[["2m_temperature"]]
    with pytest.raises(ReadError, match=r"holds 15 K.*its `units` are wrong"):
        days_of(stored(tmp_path, celsius, "celsius.zarr"))


def test_cells_around_greenwich_lie_beside_each_other(tmp_path):
    store = hourly()[["2m_temperature"]]
    path = stored(tmp_path, store)
    scenes = search(BBOX, SEASON, archive=ARCHIVE[0], weather=path).of("weather")
    found = weather_child(scenes, SEASON, (-2.9, 50.7, 2.8, 51.1))
    np.testing.assert_array_equal(found.longitude, [-3.0, 0.0, 2.75, 3.0, 3.25])


def test_weather_of_another_place_or_time_is_refused(tmp_path, monkeypatch):
    path = stored(tmp_path, hourly())
    name = known_as(monkeypatch, "arco-era5", path)
    scenes = search(BBOX, SEASON, archive=ARCHIVE[0], weather=name).of("weather")
    with pytest.raises(SchemaError, match=r"latitudes from 50\.5 .* the area has 10\.0"):
        weather_child(scenes, SEASON, (3, 10, 3.1, 10.1))
    with pytest.raises(NoScenesError, match="holds no day of season 2019"):
        weather_child(scenes, Season(2019), BBOX)


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ("inch", r"'total_precipitation' of item .* has unit 'inch', expected one of"),
        ("", r"'total_precipitation' of item .* has unit '', expected one of"),
        ("K", r"'total_precipitation' of item .* has unit 'K'"),
        ("mm", r"'total_precipitation' of item .* has unit 'mm', an amount, but nothing says"),
    ],
)
def test_unknown_units_are_refused(tmp_path, unit, message):
    store = hourly(units=UNITS | {"precipitation": unit})
    with pytest.raises(SchemaError, match=message):
        days_of(stored(tmp_path, store))


@pytest.mark.parametrize(
    ("unit", "daily"),
    [("mm day-1", 1), ("mm/day", 1), ("kg m**-2 s**-1", 86400), ("kg m-2 s-1", 86400),
     ("mm/h", 24), ("m s-1", 86.4e6), ("m h-1", 24_000), ("mm hour-1", 24)],
)  # fmt: skip
def test_rates_of_precipitation(tmp_path, unit, daily):
    rate = np.full(len(hours()), 5 / daily)
    store = hourly(units=UNITS | {"precipitation": unit}, precipitation=rate)
    found = days_of(stored(tmp_path, store[["total_precipitation"]]))
    np.testing.assert_allclose(found.precipitation, 5, rtol=1e-6)


@pytest.mark.parametrize("code", [-999, -9999, -32768, 1e20])
@pytest.mark.parametrize(
    ("name", "unit", "usual"),
    [("precipitation", "mm day-1", 2.0), ("solar_radiation", "J m-2 day-1", 2e7)],
)
def test_undeclared_codes_of_missing_amounts_are_no_weather(tmp_path, name, unit, usual, code):
    cells = {"latitude": [51.0, 50.0], "longitude": [2.0, 3.0, 4.0]}
    values = np.full((3, 2, 3), usual)
    values[1] = code
    store = xr.Dataset(
        {name: (("time", *cells), values, {"units": unit})},
        {"time": pd.date_range("2018-06-01", periods=3), **cells},
    )
    path = stored(tmp_path, store, encoding={name: {"_FillValue": None}})
    with pytest.raises(ReadError, match=rf"'{name}' of item .* holds .* `_FillValue` should"):
        days_of(path)
    path = stored(tmp_path, store, "declared.zarr", encoding={name: {"_FillValue": float(code)}})
    found = days_of(path)[name].mean(("latitude", "longitude"))
    np.testing.assert_allclose(found, [usual, np.nan, usual], rtol=1e-6)


def test_daily_stores_say_which_aggregate_they_are(tmp_path):
    days = pd.date_range("2018-05-30", "2018-06-05")
    store = hourly(days, names=GRIB, temperature=np.arange(280.0, 287))
    with pytest.raises(SchemaError, match=r"'t2m' of item .* is daily and has cell_methods None"):
        days_of(stored(tmp_path, store, "a.zarr"))
    store["t2m"].attrs["cell_methods"] = "time: mean"
    with pytest.raises(SchemaError, match="nothing says that it is the day's"):
        days_of(stored(tmp_path, store, "b.zarr"))
    for name in ("tp", "ssrd"):
        store[name].attrs["cell_methods"] = "time: sum"
    cell = days_of(stored(tmp_path, store, "c.zarr")).isel(latitude=0, longitude=0)
    np.testing.assert_array_equal(cell.temperature_mean, [282, 283, 284])
    np.testing.assert_allclose(cell.precipitation, 1, rtol=1e-6)
    assert "temperature_min" not in cell


def test_stores_that_cannot_be_used_are_named(tmp_path):
    store = hourly()
    with pytest.raises(SchemaError, match=r"dims .* expected"):
        days_of(stored(tmp_path, store.expand_dims("number"), "number.zarr"))
    with pytest.raises(SchemaError, match=r"has variables .* expected one of"):
        days_of(stored(tmp_path, store.rename({v: f"{v}_x" for v in store}), "names.zarr"))
    with pytest.raises(SchemaError, match="steps of 120 hours"):
        days_of(stored(tmp_path, store.isel(time=[0, 120]), "steps.zarr"))
    gone = stored(tmp_path, store, "gone.zarr")
    shutil.rmtree(gone)
    with pytest.raises(ReadError, match=r"asset 'weather' of item .*gone.zarr"):
        days_of(gone)


# Where the weather is


def test_weather_of_another_archive(tmp_path):
    from cubecrop.testing import Weather

    wet = write_archive(tmp_path, [Weather(start="2018-05-01", end="2018-07-01")])
    cube = open_season(BBOX, SEASON, archive=ARCHIVE[0], weather=wet)
    assert (cube["weather/weather"].sel(variable="precipitation") == 2).all()
    with pytest.raises(NoScenesError, match=r"has no weather .* Use another source: arco-era5"):
        search(BBOX, SEASON, archive=wet, weather=ARCHIVE[0])


def test_impossible_weather_arguments_are_refused(tmp_path):
    with pytest.raises(SchemaError, match="names a source, but modalities are"):
        search(BBOX, 2018, archive=ARCHIVE[0], weather="arco-era5", modalities=["sentinel2"])
    with pytest.raises(ArchiveError, match="expected a path or an https or gs address"):
        search(BBOX, 2018, archive=ARCHIVE[0], weather="s3://bucket/weather.zarr")
    with pytest.raises(ArchiveError, match=r"weather='arco' is not a weather source.*'arco-era5'"):
        search(BBOX, 2018, archive=ARCHIVE[0], weather="arco")
    (scene,) = search(BBOX, 2018, archive=ARCHIVE[0], weather="gs://b/w.zarr").of("weather")
    assert scene.assets["weather"].href == "https://storage.googleapis.com/b/w.zarr"


@pytest.mark.parametrize(
    "address", ["https://me:hush@h.example/w.zarr", "https://me:hush@h.example"]
)
def test_a_password_never_enters_a_name(address):
    """Names of archives and stores stand in every cube and map."""
    for ask in (
        lambda: search(BBOX, 2018, archive=address),
        lambda: search(BBOX, 2018, archive=ARCHIVE[0], weather=address),
    ):
        with pytest.raises(ArchiveError, match=r"machine h\.example login USER.*netrc") as error:
            ask()
        assert "hush" not in str(error.value)


def test_weather_of_a_store_is_written_in_any_version_of_zarr(tmp_path):
    source = write_archive(tmp_path / "archive")  # its store has version 2
    weather = open_season(area(PLACE), 2018, archive=source)["weather"].to_dataset(inherit=False)
    numbers = weather.drop_vars(["variable", "units"])  # version 3 does not specify text
    for version in (2, 3):
        path = tmp_path / f"{version}.zarr"
        numbers.to_zarr(path, zarr_format=version, consolidated=False)
        xr.testing.assert_equal(xr.open_zarr(path, consolidated=False), numbers)


def test_graphs_of_long_stores_stay_small(tmp_path, monkeypatch):
    """All hours since 1940 in a chunk each, as ARCO-ERA5 has them: nothing but metadata."""
    time = pd.date_range("1940-01-01", "2019-12-31T23", freq="h")
    lazy = da.zeros((len(time), 721, 1440), chunks=(1440, 721, 1440), dtype="f4")
    dims = ("time", "latitude", "longitude")
    store = xr.Dataset(
        {name: (dims, lazy, {"units": UNITS[what]}) for what, name in ARCO.items()},
        coords={"time": time, "latitude": np.linspace(90, -90, 721),
                "longitude": np.arange(1440) / 4},
    )  # fmt: skip
    path = tmp_path / "arco.zarr"
    chunks = {name: {"chunks": (1, 721, 1440)} for name in ARCO.values()}
    store.to_zarr(path, compute=False, zarr_format=2, consolidated=True, encoding=chunks,
                  safe_chunks=False)  # fmt: skip
    name = known_as(monkeypatch, "arco-era5", path)
    with forbid_compute():
        cube = open_season(BBOX, 2018, archive=ARCHIVE[0], weather=name)
    assert len(cube["weather/weather"].__dask_graph__()) < 5000
    assert cube["weather/weather"].sizes["time"] == 426
