"""Hourly and daily weather stores written for tests, and their days worked out by hand."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from cubecrop.archive import WEATHER_SOURCES, search
from cubecrop.cube.weather import weather_child
from cubecrop.season import Season
from cubecrop.testing import Optical, write_archive

#: Three days, within the place where `cubecrop.testing` has its scenes.
SEASON = Season(2018, start=dt.date(2018, 6, 1), end=dt.date(2018, 6, 3))
BBOX = (3.002, 50.817, 3.007, 50.821)
DAY = "2018-06-02T10:56:21Z"
LATITUDES = [51.25, 51.0, 50.75, 50.5]
LONGITUDES = [0.0, 2.75, 3.0, 3.25, 357.0]
ARCO = {"temperature": "2m_temperature", "precipitation": "total_precipitation",
        "solar_radiation": "surface_solar_radiation_downwards"}  # fmt: skip
GRIB = {"temperature": "t2m", "precipitation": "tp", "solar_radiation": "ssrd"}
UNITS = {"temperature": "K", "precipitation": "m", "solar_radiation": "J m**-2"}


def hours(start="2018-05-31T00", end="2018-06-05T23"):
    return pd.date_range(start, end, freq="h")


def amounts(time):
    """1 mm in the hour that ends at 00 h, 2 in that at 01 h, … 24 in that at 23 h."""
    return (1.0 + time.hour.to_numpy()) / 1000


#: The hours that end at 01 h … 23 h, and at 00 h of the next day: all of them once.
FULL_DAY = sum(range(1, 25))


def hourly(time=None, *, names=None, units=UNITS, **overrides):
    """A store of hourly values (time, latitude, longitude), the same in every cell but for 1 K."""
    time = hours() if time is None else time
    names = names or ARCO
    values = {
        "temperature": 280.0 + time.hour.to_numpy() + 10 * (time.day.to_numpy() == 2),
        "precipitation": amounts(time),
        "solar_radiation": 3.6e6 * np.ones(len(time)),
    } | overrides
    shape = (len(time), len(LATITUDES), len(LONGITUDES))
    data = {}
    for quantity, series in values.items():
        grid = np.broadcast_to(np.asarray(series, "f4")[:, None, None], shape).copy()
        if quantity == "temperature":
            grid[:, 2, 2] += 1
        dims = ("time", "latitude", "longitude")
        data[names[quantity]] = (dims, grid, {"units": units[quantity]})
    coords = {"time": time, "latitude": LATITUDES, "longitude": LONGITUDES}
    return xr.Dataset(data, coords=coords)


def since_midnight(time):
    """The same amounts, added up since 00 UTC; at 00 h stands the whole day before."""
    fallen = np.concatenate([[0], np.cumsum(amounts(time))])
    start = np.maximum(np.arange(len(time)) - (time.hour.to_numpy() - 1) % 24, 0)
    return fallen[1:] - fallen[start]


def stored(folder, store, name="weather.zarr", **options):
    store.to_zarr(folder / name, **{"consolidated": False, **options})
    return folder / name


def days_of(path, season=SEASON, bbox=BBOX):
    """Weather by our names, each (time, latitude, longitude), of a Zarr store alone."""
    scene = search(bbox, season, archive=ARCHIVE[0], weather=path).of("weather")
    found = weather_child(scene, season, bbox)
    assert dict(zip(found["variable"].values, found["units"].values, strict=True)).items() <= {
        "temperature_mean": "K",
        "temperature_min": "K",
        "temperature_max": "K",
        "precipitation": "mm d-1",
        "solar_radiation": "J m-2 d-1",
    }.items()  # fmt: skip
    return found["weather"].load().to_dataset("variable")


ARCHIVE = []


@pytest.fixture(autouse=True, scope="module")
def archive(tmp_path_factory):
    """An archive of images alone, as Earth Search's is."""
    ARCHIVE[:] = [write_archive(tmp_path_factory.mktemp("images"), [Optical(when=DAY)])]
    return ARCHIVE[0]


def check_days(found):
    np.testing.assert_array_equal(found.time, pd.date_range("2018-06-01", "2018-06-03").to_numpy())
    np.testing.assert_array_equal(found.latitude, [51.25, 51.0, 50.75, 50.5])
    np.testing.assert_array_equal(found.longitude, [2.75, 3.0, 3.25])
    cell = found.isel(latitude=0, longitude=0)
    np.testing.assert_allclose(cell.temperature_mean, [291.5, 301.5, 291.5], rtol=1e-7)
    np.testing.assert_array_equal(cell.temperature_min, [280, 290, 280])
    np.testing.assert_array_equal(cell.temperature_max, [303, 313, 303])
    np.testing.assert_allclose(cell.precipitation, FULL_DAY, rtol=1e-6)
    np.testing.assert_allclose(cell.solar_radiation, 24 * 3.6e6, rtol=1e-7)
    warmer = found.temperature_mean - cell.temperature_mean
    np.testing.assert_array_equal(warmer[0], [[0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]])


def known_as(monkeypatch, name, path):
    row = WEATHER_SOURCES[name]
    fields = {"url": str(path), "accumulation": row.accumulation, "about": row.about}
    monkeypatch.setitem(WEATHER_SOURCES, name, type(row)(**fields))
    return name
