"""The weather child of a season cube: daily values on their own coarse grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from cubecrop.cube.weather_daily import DAY, daily_level, daily_total, join_series
from cubecrop.cube.weather_stores import Series, series_of
from cubecrop.errors import NoScenesError, SchemaError
from cubecrop.schema import WEATHER_UNITS, Scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cubecrop.season import Season

__all__ = ["weather_child"]


def weather_child(
    scenes: Sequence[Scene], season: Season, bbox: tuple[float, float, float, float]
) -> xr.Dataset:
    """Build ``weather (time, variable, latitude, longitude)``, lazily.

    Sub-daily values become daily ones: mean, minimum and maximum of temperature, sums of
    precipitation and radiation. Days are UTC days. A day that lacks a value is NaN, rather than
    computed from the others.

    Parameters
    ----------
    scenes : sequence of Scene
        Weather scenes, at least one; each asset is a Zarr store with CF units.
    season : Season
        Days outside of the season are dropped.
    bbox : tuple of float
        (west, south, east, north) in degrees; cells within it and one more on each side are
        kept.

    Returns
    -------
    xarray.Dataset
        Float32 with coord ``units`` on variable; latitude descending, longitude ascending.

    Raises
    ------
    ReadError
        A store cannot be opened; the message names the item.
    SchemaError
        A variable has an unknown unit, or amounts for which no metadata gives the period.
    NoScenesError
        No store holds a day of the season.
    """
    quantities: dict[str, list[Series]] = {}
    for scene in scenes:
        for series in series_of(scene, season, bbox):
            quantities.setdefault(series.name, []).append(series)
    where = ", ".join(repr(scene.id) for scene in scenes[:3])
    weather = xr.Dataset()
    for parts in quantities.values():
        for name, days in _daily(parts, where).items():
            weather = _with(weather, name, days, where)
    time = weather["time"].to_numpy() if weather.data_vars else np.array([], "datetime64[ns]")
    inside = (time >= np.datetime64(season.start)) & (time <= np.datetime64(season.end))
    if not inside.any():
        raise NoScenesError(
            f"weather {where} holds no day of season {season}. Give another source, `weather=...`, "
            "or leave weather out."
        )
    names = [name for name in WEATHER_UNITS if name in weather]
    weather = weather.isel(time=np.flatnonzero(inside))[names]
    array = weather.to_dataarray("variable").transpose("time", "variable", "latitude", "longitude")
    # One chunk, since weather is small and a parcel needs all days.
    array = array.astype(np.float32).chunk(-1).drop_attrs()
    array.attrs = {"long_name": "daily weather"}
    out = array.to_dataset(name="weather").assign_coords(
        variable=names, units=("variable", [WEATHER_UNITS[name] for name in names])
    )
    # A store's compressors fit only its own version of Zarr.
    return out.drop_encoding()


def _daily(parts: list[Series], where: str) -> dict[str, xr.DataArray]:
    """Daily values of one quantity, by variable name, from stores that follow in time."""
    first = parts[0]
    form = first.step, first.period, first.unit.kind
    if any((part.step, part.period, part.unit.kind) != form for part in parts):
        raise SchemaError(
            f"weather {where} has {first.name} with different time steps, periods or kinds of "
            "unit, expected the same in all stores. Give one source, `weather=...`."
        )
    series = join_series([part.array for part in parts], where)
    if first.step == DAY:
        return {first.name: series}
    if first.name == "temperature":
        days = daily_level(series, first.step, first.period)
        return {f"temperature_{name}": days[name] for name in ("mean", "min", "max")}
    return {first.name: daily_total(series, first.step, first.period, first.unit.kind)}


def _with(weather: xr.Dataset, name: str, days: xr.DataArray, where: str) -> xr.Dataset:
    """Add a variable on the same cells, with the days of both."""
    for dim in ("latitude", "longitude"):
        if dim in weather.dims and not np.array_equal(weather[dim], days[dim]):
            raise SchemaError(
                f"weather {where} has {name} on another grid than the rest, expected one grid. "
                "Give one source, `weather=...`."
            )
    days = days.drop_vars(set(days.coords) - {"time", "latitude", "longitude"})
    return weather.merge(days.to_dataset(name=name), join="outer", compat="no_conflicts")
