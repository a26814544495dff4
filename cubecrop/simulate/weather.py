"""Daily weather of the simulated archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import xarray as xr

from cubecrop.simulate.draws import Purpose, stream

if TYPE_CHECKING:
    import datetime as dt

    from numpy.typing import NDArray

__all__ = ["make_weather", "season_shift", "soil_wetness"]

# A day of the yearly course is late by about three weeks behind the sun.
_COLDEST_DAY = 20
_MEAN_TEMPERATURE = 283.7
_AMPLITUDE = 7.3
# Spring phenology comes about 4 days earlier a kelvin (Menzel et al. 2006, Global Change
# Biology 12, 1969-1976, between 2.5 days a kelvin over all phases and 4.6 in early spring).
_DAYS_PER_KELVIN = 4.0

_ATTRS: Final = {
    "temperature_mean": ("K", "air_temperature", "2 m temperature, 24 h mean"),
    "temperature_min": ("K", "air_temperature", "2 m temperature, 24 h minimum"),
    "temperature_max": ("K", "air_temperature", "2 m temperature, 24 h maximum"),
    "precipitation_flux": ("mm d-1", "lwe_precipitation_rate", "precipitation of the day"),
    "solar_radiation_flux": ("J m-2 d-1", "", "downwelling shortwave radiation of the day"),
}


def make_weather(
    start: dt.date, end: dt.date, *, longitude: float, latitude: float, seed: int
) -> xr.Dataset:
    """Draw daily weather of 3 x 3 cells of 0.1 degree, named as in AgERA5.

    A yearly course with persistent departures, and rain in spells; the cells differ little.

    Parameters
    ----------
    start, end : datetime.date
        First and last day, both included.
    longitude, latitude : float
        A point in the middle cell.
    seed : int
        Seed; the weather of a year does not depend on anything else but the dates.

    Returns
    -------
    xarray.Dataset
        Five variables float32 (time, latitude, longitude) with CF units; latitude falls.
    """
    time = pd.date_range(start, end, freq="D")
    n = time.size
    rng = stream(Purpose.WEATHER, seed, end.year)
    course = np.cos(2 * np.pi * (time.dayofyear.to_numpy() - _COLDEST_DAY) / 365.25)
    departure, wet = _spells(n, rng)
    mean = _MEAN_TEMPERATURE + rng.normal(0, 0.8) - _AMPLITUDE * course + departure
    rain = np.where(wet, rng.gamma(0.75, 6.0, n), 0.0)
    swing = np.where(wet, 2.6, 4.3) * (1 - 0.35 * course) * rng.uniform(0.7, 1.3, n)
    clear_sky = 1e6 * (16.5 - 13.0 * np.cos(2 * np.pi * (time.dayofyear.to_numpy() + 10) / 365.25))
    sun = clear_sky * np.where(wet, 0.45, 0.8) * rng.uniform(0.7, 1.15, n)

    cell = rng.normal(0, 0.25, (3, 3))
    spread = rng.uniform(0.85, 1.15, (n, 3, 3))
    fields = {
        "temperature_mean": mean[:, None, None] + cell,
        "temperature_min": (mean - swing)[:, None, None] + cell,
        "temperature_max": (mean + swing)[:, None, None] + cell,
        "precipitation_flux": rain[:, None, None] * spread,
        "solar_radiation_flux": sun[:, None, None] * (1 + 0.02 * cell),
    }
    dims = ("time", "latitude", "longitude")
    weather = xr.Dataset(
        {name: (dims, values.astype(np.float32)) for name, values in fields.items()},
        coords={
            "time": time,
            "latitude": np.round(np.round(latitude, 1) + np.array([0.1, 0.0, -0.1]), 1),
            "longitude": np.round(np.round(longitude, 1) + np.array([-0.1, 0.0, 0.1]), 1),
        },
        attrs={"Conventions": "CF-1.11", "title": "Simulated daily weather, names of AgERA5"},
    )
    for name, (units, standard_name, long_name) in _ATTRS.items():
        named = {"standard_name": standard_name} if standard_name else {}
        weather[name].attrs = {"units": units, **named, "long_name": long_name}
    weather["latitude"].attrs = {"units": "degrees_north", "standard_name": "latitude"}
    weather["longitude"].attrs = {"units": "degrees_east", "standard_name": "longitude"}
    weather["time"].attrs = {"standard_name": "time"}
    return weather


def _spells(n: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Warm and cold, wet and dry spells, each day leaning on the day before."""
    departure, wet = np.zeros(n), np.zeros(n, dtype=bool)
    kick, chance = rng.normal(0, 1.6, n), rng.random(n)
    for day in range(1, n):
        departure[day] = 0.8 * departure[day - 1] + kick[day]
        wet[day] = chance[day] < (0.62 if wet[day - 1] else 0.3)
    return departure, wet


def season_shift(weather: xr.Dataset, year: int) -> float:
    """Days that crops run late after a cold start of the year; early is negative."""
    spring = slice(f"{year}-01-01", f"{year}-04-30")
    mean = float(weather["temperature_mean"].sel(time=spring).mean())
    # 120 days from 1 January, of the same course as above.
    course = np.cos(2 * np.pi * (np.arange(1, 121) - _COLDEST_DAY) / 365.25).mean()
    normal = _MEAN_TEMPERATURE - _AMPLITUDE * course
    return float(np.clip(-_DAYS_PER_KELVIN * (mean - normal), -12, 12))


def soil_wetness(weather: xr.Dataset) -> pd.Series:
    """Wetness of the topsoil from 0 to 1 by date: rain that dries with a time of 4 days."""
    rain = weather["precipitation_flux"].mean(("latitude", "longitude")).to_pandas()
    wetness = np.zeros(rain.size)
    store = 5.0
    for day, fallen in enumerate(rain.to_numpy()):
        store = store * np.exp(-1 / 4) + float(fallen)
        wetness[day] = 1 - np.exp(-store / 12)
    return pd.Series(wetness, index=rain.index)
