"""Open and crop Zarr stores of weather, with our names of dims and variables, lazily."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import xarray as xr

from cubecrop.cube.weather_daily import DAY, step_of
from cubecrop.cube.weather_units import CURE, Period, Unit, aggregate_of, period_of, unit_of
from cubecrop.errors import MissingExtraError, ReadError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from cubecrop.schema import Scene
    from cubecrop.season import Season

__all__ = ["Series", "series_of"]

_DIMS: Final = ("time", "latitude", "longitude")
_SHORT: Final = {"valid_time": "time", "lat": "latitude", "lon": "longitude"}
#: Names of variables by quantity. Temperatures with mean, min or max in their name are daily
#: values; other temperatures are sub-daily, or their cell_methods state the daily aggregate.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "temperature_mean": ("temperature_mean", "Temperature_Air_2m_Mean_24h"),
    "temperature_min": ("temperature_min", "Temperature_Air_2m_Min_24h"),
    "temperature_max": ("temperature_max", "Temperature_Air_2m_Max_24h"),
    # ARCO-ERA5 and the CDS, GRIB's short name, Planetary Computer, CMIP.
    "temperature": ("2m_temperature", "t2m", "air_temperature_at_2_metres", "tas"),
    "precipitation": (
        "precipitation", "precipitation_flux", "Precipitation_Flux", "total_precipitation", "tp",
        "precipitation_amount_1hour_Accumulation", "pr",
    ),
    "solar_radiation": (
        "solar_radiation", "solar_radiation_flux", "Solar_Radiation_Flux",
        "surface_solar_radiation_downwards", "ssrd", "rsds",
        "integral_wrt_time_of_surface_direct_downwelling_shortwave_flux_in_air_1hour_Accumulation",
    ),
}  # fmt: skip
_OF_A_DAY: Final = {"mean": "mean", "minimum": "min", "maximum": "max"}
_PERIODS: Final[Mapping[str, Period | None]] = {
    "": None, "hour": "ending", "midnight": "since midnight",
}  # fmt: skip
#: A task reads at least this many steps, even if a store's chunks are smaller.
_STEPS_AT_ONCE: Final = 240
#: Plausible values in our units, a little beyond the records (184 and 330 K at 2 m, 1,825 mm in
#: 24 hours; WMO, World Weather and Climate Extremes Archive) and the sun's 1,361 W m-2. Packed
#: numbers are rounded, to slightly below 0 too.
_PLAUSIBLE: Final = {
    "temperature": (170.0, 345.0, "K"),
    "precipitation": (-5.0, 2000.0, "mm"),
    "solar_radiation": (-1e6, 1.5e8, "J m-2"),
}
#: The same for rates of precipitation over less than a day, mm per day: the record is 31 mm in a
#: minute.
_HEAVIEST: Final = 50_000.0
#: Lower numbers in a store's own unit are codes for missing values, such as -999 and -9999. In
#: J m-2 they are too close to 0 to be implausible amounts.
_LOWEST_NUMBER: Final = -900.0
#: Degrees around the centre of a cell that a store with a single cell covers.
_ALONE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Series:
    """A variable of a store: ``array (time, latitude, longitude)`` float64 in our unit, lazy.

    ``name`` is our variable's name, or "temperature" for sub-daily temperatures.
    """

    name: str
    array: xr.DataArray
    unit: Unit
    step: np.timedelta64
    period: Period


def series_of(
    scene: Scene, season: Season, bbox: tuple[float, float, float, float]
) -> Iterator[Series]:
    """Weather of a scene for a season and an area; only coordinates are read.

    Parameters
    ----------
    scene : Scene
        A scene whose assets are Zarr stores.
    season : Season
        Days outside of the season are dropped.
    bbox : tuple of float
        (west, south, east, north) in degrees; cells within it and one more on each side are kept.

    Yields
    ------
    Series
        Each known variable. A store without a day of the season yields nothing.

    Raises
    ------
    ReadError
        A store cannot be opened; the message names item and asset.
    SchemaError
        Dims, names or units are unknown, or the store does not cover the area.
    """
    is_known = False
    for asset in scene.assets:
        where = f"item {scene.id!r}"
        whole = _tidy(_opened(scene, asset), where)
        step = step_of(whole["time"].to_numpy(), where)
        store = _cropped(whole, season, bbox, where)
        for name, aliases in _NAMES.items():
            known = next((alias for alias in aliases if alias in store.data_vars), None)
            if known is None:
                continue
            is_known = True
            if store.sizes["time"]:
                yield _series(store, known, name, scene, step)
        if not is_known:
            raise SchemaError(
                f"weather {where} has variables {sorted(map(str, store.data_vars))}, expected one "
                f"of {sorted(alias for names in _NAMES.values() for alias in names)}. Rename them "
                "in the store."
            )


def _opened(scene: Scene, asset: str) -> xr.Dataset:
    href = scene.assets[asset].href
    try:
        source: object = href
        if href.startswith(("http://", "https://")):
            from cubecrop.cube.weather_files import web_store

            source = web_store(href, scene.access)
        with warnings.catch_warnings():
            # A store without consolidated metadata is valid and needs no warning.
            warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated")
            # Without chunks: dask would build a graph of all hours since 1940 before cropping.
            store: xr.Dataset = xr.open_zarr(source, chunks=None, decode_timedelta=False)
            return store
    except MissingExtraError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ReadError(
            f"asset {asset!r} of item {scene.id!r} cannot be opened as Zarr: {error} "
            f"({href.split('?')[0]})."
        ) from error


def _tidy(store: xr.Dataset, where: str) -> xr.Dataset:
    """Rename dims to our names, and shift longitudes to -180 to 180."""
    store = store.rename({a: b for a, b in _SHORT.items() if a in store.dims and b not in store})
    if missing := set(_DIMS) - set(store.dims):
        raise SchemaError(
            f"weather {where} has dims {sorted(map(str, store.dims))} and lacks {sorted(missing)}. "
            "Rename its dims in the store."
        )
    if store["time"].dtype.kind != "M":
        raise SchemaError(
            f"weather {where} has times of type {store['time'].dtype}, expected dates of the "
            "standard calendar with CF units."
        )
    return store.assign_coords(longitude=(store["longitude"] + 180) % 360 - 180)


def _cropped(
    store: xr.Dataset, season: Season, bbox: tuple[float, float, float, float], where: str
) -> xr.Dataset:
    west, south, east, north = bbox
    if east < west:
        east += 360
    # Count longitudes around the area, so that they are continuous across the 180th meridian.
    longitude = store["longitude"].to_numpy()
    distance = longitude - (west + east) / 2
    turns = (distance < -180).astype(longitude.dtype) - (distance > 180).astype(longitude.dtype)
    store = store.assign_coords(longitude=("longitude", longitude + 360 * turns))
    time = pd.DatetimeIndex(store["time"].to_numpy()).as_unit("ns").to_numpy()
    # Include the midnight after the last day, whose stamp may end the day's last hour.
    first, last = np.datetime64(season.start, "ns"), np.datetime64(season.end, "ns") + DAY
    inside = (time >= first) & (time <= last)
    for key, side in (("valid_time_start", 1), ("valid_time_stop", -1)):
        if stated := store.attrs.get(key):
            edge = np.datetime64(str(stated)[:10], "ns")
            inside &= (time >= edge) if side > 0 else (time < edge + DAY)
    store = store.assign_coords(time=("time", time, store["time"].attrs))
    return store.isel(
        time=np.flatnonzero(inside),
        latitude=_cells(store["latitude"].to_numpy(), south, north, where, "latitudes")[::-1],
        longitude=_cells(store["longitude"].to_numpy(), west, east, where, "longitudes"),
    )


def _cells(
    centres: NDArray[np.float64], low: float, high: float, where: str, what: str
) -> NDArray[np.intp]:
    """Indices of the cells that cover an interval, and of one more on each side, ascending."""
    # Unique, since a store from -180 to 180 has the same cells at both ends.
    known, order = np.unique(centres, return_index=True)
    reach = float(np.diff(known).max()) if len(known) > 1 else _ALONE
    if low > known[-1] + reach or high < known[0] - reach:
        raise SchemaError(
            f"weather {where} has {what} from {known[0]:g} to {known[-1]:g}, but the area has "
            f"{low:.4f} to {high:.4f}. Give another source, `weather=...`."
        )
    first = int(np.searchsorted(known, low, side="right")) - 2
    last = int(np.searchsorted(known, high, side="left")) + 2
    return order[max(first, 0) : max(last, 1)]


def _series(store: xr.Dataset, known: str, name: str, scene: Scene, step: np.timedelta64) -> Series:
    values, where = store[known], f"item {scene.id!r}"
    if set(values.dims) != set(_DIMS):
        raise SchemaError(
            f"weather variable {known!r} of {where} has dims {values.dims}, expected {_DIMS}. "
            "Give another source, `weather=...`."
        )
    quantity = name if name in {"precipitation", "solar_radiation"} else "temperature"
    unit = unit_of(values, quantity, where)
    time = store["time"].to_numpy()
    bounds = _bounds(store)
    period: Period = "moment"
    if step != DAY:
        known_period = _PERIODS[scene.accumulation]
        period = period_of(values, unit, step=step, bounds=bounds, known=known_period, where=where)
        if name not in _NAMES or name.startswith("temperature_"):
            raise SchemaError(
                f"weather variable {known!r} of {where} is daily by its name, but has steps of "
                f"{step / np.timedelta64(1, 'h'):g} hours. Rename it in the store."
            )
    else:
        name = _daily_name(values, name, unit, bounds is not None, where)
        starts = time if bounds is None else bounds[:, 0]
        values = values.assign_coords(time=starts.astype("datetime64[D]").astype("datetime64[ns]"))
    steps = _STEPS_AT_ONCE
    if chunks := values.encoding.get("chunks"):
        steps = max(steps, chunks[values.dims.index("time")])
    lazy = values.chunk({"time": steps, "latitude": -1, "longitude": -1})
    ours = lazy.transpose(*_DIMS).astype(np.float64) * unit.factor + unit.offset
    low, high, ours_unit = _PLAUSIBLE[quantity]
    if quantity == "precipitation" and unit.kind == "rate" and step != DAY:
        high = _HEAVIEST
    ours = xr.apply_ufunc(
        _plausible,
        ours,
        kwargs={
            "low": max(low, _LOWEST_NUMBER * unit.factor),
            "high": high,
            "unit": ours_unit,
            "what": f"variable {known!r} of {where}",
        },
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    keep = {dim: ours[dim].variable.to_base_variable() for dim in _DIMS}
    plain = xr.DataArray(ours.variable, coords=keep, name=name).drop_attrs()
    return Series(name, plain, unit, step, period)


def _plausible(
    values: NDArray[np.float64], *, low: float, high: float, unit: str, what: str
) -> NDArray[np.float64]:
    """Return the values; raise if one is not plausible.

    A chunk that is missing from a store reads as the store's fill value, which is often 0. A code
    for missing values that the store does not declare reads as a value.
    """
    odd = (values < low) | (values > high)
    if odd.any():
        raise ReadError(
            f"weather {what} holds {values[odd][0]:g} {unit}, expected {low:g} to {high:g} {unit}: "
            "a chunk is missing from the store, its `units` are wrong, or the number means a "
            "missing value, which `_FillValue` should declare. Correct the store."
        )
    return values


def _daily_name(values: xr.DataArray, name: str, unit: Unit, bounded: bool, where: str) -> str:
    """Our name of a daily variable; raises if its aggregate is unknown."""
    aggregate = aggregate_of(values)
    if name == "temperature":
        if aggregate not in _OF_A_DAY:
            raise SchemaError(
                f"weather variable {values.name!r} of {where} is daily and has cell_methods "
                f"{values.attrs.get('cell_methods')!r}, expected 'time: mean', 'time: minimum' or "
                "'time: maximum'. Set the attribute in the store."
            )
        return f"temperature_{_OF_A_DAY[aggregate]}"
    if unit.kind == "amount" and aggregate != "sum" and not bounded:
        raise SchemaError(
            f"weather variable {values.name!r} of {where} has unit {values.attrs.get('units')!r}, "
            f"an amount, but nothing says that it is the day's. {CURE}"
        )
    return name


def _bounds(store: xr.Dataset) -> NDArray[np.datetime64] | None:
    """Start and end of each value, if the store has CF's time bounds."""
    name = store["time"].attrs.get("bounds")
    if name is None or name not in store or store[name].dims[:1] != ("time",):
        return None
    bounds = store[name].to_numpy()
    if bounds.dtype.kind != "M" or bounds.shape[1:] != (2,):
        return None
    return np.asarray(bounds, "datetime64[ns]")
