"""The weather child of a season cube: daily series on their own coarse grid."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr

from cubecrop.errors import ReadError, SchemaError
from cubecrop.schema import WEATHER_UNITS, Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cubecrop.season import Season

__all__ = ["weather_child"]

#: Names in the archives that we know, by ours.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "temperature_mean": ("temperature_mean", "Temperature_Air_2m_Mean_24h"),
    "temperature_min": ("temperature_min", "Temperature_Air_2m_Min_24h"),
    "temperature_max": ("temperature_max", "Temperature_Air_2m_Max_24h"),
    "precipitation": ("precipitation", "precipitation_flux", "Precipitation_Flux"),
    "solar_radiation": ("solar_radiation", "solar_radiation_flux", "Solar_Radiation_Flux"),
}
#: How a unit becomes ours. Told by the unit alone, never guessed from the values.
_CONVERSIONS: Final[Mapping[tuple[str, str], Callable[[xr.DataArray], xr.DataArray]]] = {
    ("degC", "K"): lambda values: values + 273.15,
    ("celsius", "K"): lambda values: values + 273.15,
    ("mm day-1", "mm d-1"): lambda values: values,
    ("mm/day", "mm d-1"): lambda values: values,
    ("J m-2 day-1", "J m-2 d-1"): lambda values: values,
}


def weather_child(
    scenes: Sequence[Scene], season: Season, bbox: tuple[float, float, float, float]
) -> xr.Dataset:
    """Build ``weather (time, variable, latitude, longitude)``, lazily.

    Parameters
    ----------
    scenes : sequence of Scene
        Weather items, each a Zarr store with CF units; at least one.
    season : Season
        Days outside are left out.
    bbox : tuple of float
        (west, south, east, north) in degrees; the cells of it and one more on each side
        are kept.

    Returns
    -------
    xarray.Dataset
        Float32 with coord ``units`` on variable; latitude descending, longitude ascending.

    Raises
    ------
    ReadError
        A store cannot be opened; the message names the item.
    SchemaError
        A variable has a unit that is not known.
    """
    parts = [_open(scene, season) for scene in scenes]
    weather = xr.concat(parts, dim="time", join="outer") if len(parts) > 1 else parts[0]
    weather = weather.drop_duplicates("time").sortby("time")
    weather = weather.sortby("latitude", ascending=False).sortby("longitude")
    west, south, east, north = bbox
    weather = weather.isel(
        latitude=_cells(-weather["latitude"].values, -north, -south),
        longitude=_cells(weather["longitude"].values, west, east),
    )
    names = [str(name) for name in weather.data_vars]
    array = weather.to_dataarray("variable").transpose("time", "variable", "latitude", "longitude")
    # Small, and read whole for a parcel: one chunk.
    array = array.astype(np.float32).chunk(-1).drop_attrs()
    array.attrs = {"long_name": "daily weather"}
    return array.to_dataset(name="weather").assign_coords(
        variable=names, units=("variable", [WEATHER_UNITS[name] for name in names])
    )


def _open(scene: Scene, season: Season) -> xr.Dataset:
    asset = scene.assets["weather"]
    try:
        # No consolidated metadata is a normal form of a store, not worth a warning.
        store = xr.open_zarr(asset.href, chunks={}, consolidated=None)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ReadError(
            f"asset 'weather' of item {scene.id!r} cannot be opened as Zarr: {error} "
            f"({asset.href})."
        ) from error
    for short, full in (("lat", "latitude"), ("lon", "longitude")):
        if short in store.dims:
            store = store.rename({short: full})
    if missing := {"time", "latitude", "longitude"} - set(store.dims):
        raise SchemaError(
            f"weather item {scene.id!r} has dims {sorted(map(str, store.dims))}, lacking "
            f"{sorted(missing)}."
        )
    longitude = (store["longitude"] + 180) % 360 - 180
    store = store.assign_coords(longitude=longitude)
    chosen = {}
    for name, aliases in _NAMES.items():
        found = next((alias for alias in aliases if alias in store.data_vars), None)
        if found is not None:
            chosen[name] = _in_our_unit(store[found], name, scene.id)
    if not chosen:
        raise SchemaError(
            f"weather item {scene.id!r} has variables {sorted(map(str, store.data_vars))}, none "
            f"of those known: {sorted(_NAMES)}."
        )
    first, last = season.start, season.end + dt.timedelta(days=1)
    days = store["time"].values
    inside = (days >= np.datetime64(first)) & (days < np.datetime64(last))
    return xr.Dataset(chosen).drop_attrs().isel(time=np.flatnonzero(inside))


def _in_our_unit(values: xr.DataArray, name: str, item: str) -> xr.DataArray:
    unit, ours = str(values.attrs.get("units", "")), WEATHER_UNITS[name]
    if unit == ours:
        return values
    try:
        return _CONVERSIONS[unit, ours](values)
    except KeyError:
        raise SchemaError(
            f"weather variable {values.name!r} of item {item!r} has unit {unit!r}, which is not "
            f"known to convert to {ours!r}. Set its `units` attribute in the store."
        ) from None


def _cells(edges: np.ndarray, low: float, high: float) -> slice:
    """Cells (ascending centres) that cover an interval, and one more on each side."""
    first = int(np.searchsorted(edges, low, side="right")) - 2
    last = int(np.searchsorted(edges, high, side="left")) + 2
    return slice(max(first, 0), max(last, 1))
