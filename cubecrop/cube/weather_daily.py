"""Turn weather of any time step into UTC days, lazily; a day that lacks a step is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr

from cubecrop.errors import SchemaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.cube.weather_units import Kind, Period

__all__ = ["DAY", "daily_level", "daily_total", "join_series", "step_of"]

DAY: Final = np.timedelta64(1, "D").astype("timedelta64[ns]")
#: Days that one task aggregates.
_DAYS_AT_ONCE: Final = 16


def step_of(time: NDArray[np.datetime64], where: str) -> np.timedelta64:
    """Time step of a series; it must divide a day.

    Raises
    ------
    SchemaError
        The step is longer than a day or does not divide it.
    """
    steps = np.diff(time)
    step = steps.min() if len(steps) else DAY
    if step <= np.timedelta64(0, "D") or DAY % step != np.timedelta64(0, "D"):
        raise SchemaError(
            f"weather of {where} has steps of {step / np.timedelta64(1, 'h'):g} hours, expected "
            "a day or a step that divides a day."
        )
    return np.timedelta64(step, "ns")


def join_series(parts: list[xr.DataArray], where: str) -> xr.DataArray:
    """Join series that follow each other in time; where they overlap, the first counts.

    Raises
    ------
    SchemaError
        The series are on different grids.
    """
    if len(parts) == 1:
        return parts[0]
    try:
        whole = xr.concat(parts, dim="time", join="exact", combine_attrs="drop")
    except ValueError as error:
        raise SchemaError(
            f"weather of {where} is on several grids, expected one: {error}. Give one source, "
            "`weather=...`."
        ) from error
    return whole.drop_duplicates("time").sortby("time")


def daily_level(series: xr.DataArray, step: np.timedelta64, period: Period) -> xr.Dataset:
    """Compute the mean, minimum and maximum of each UTC day.

    Parameters
    ----------
    series : xarray.DataArray
        (time, latitude, longitude), sorted and unique in time.
    step : numpy.timedelta64
        Time step of the series; divides a day.
    period : str
        The time that a value stands for. With "ending", the value at midnight belongs to the day
        before.

    Returns
    -------
    xarray.Dataset
        Daily ``mean``, ``min`` and ``max``; NaN if one of a day's steps is missing.
    """
    steps = _by_day(series, step, period)
    return xr.Dataset(
        {
            "mean": steps.mean("step", skipna=False),
            "min": steps.min("step", skipna=False),
            "max": steps.max("step", skipna=False),
        }
    )


def daily_total(
    series: xr.DataArray, step: np.timedelta64, period: Period, kind: Kind
) -> xr.DataArray:
    """Compute the sum of amounts, or the mean of rates, of each UTC day.

    Parameters are those of `daily_level`; ``kind`` is "amount" or "rate". For amounts since
    midnight, the amount at the next midnight is the day's. NaN if a step is missing.
    """
    if period == "since midnight":
        time = series["time"].to_numpy()
        midnights = series.isel(time=np.flatnonzero(time == time.astype("datetime64[D]")))
        days = midnights.assign_coords(time=midnights["time"] - DAY)
        return _regular(days, DAY)
    steps = _by_day(series, step, period)
    return steps.sum("step", skipna=False) if kind == "amount" else steps.mean("step", skipna=False)


def _by_day(series: xr.DataArray, step: np.timedelta64, period: Period) -> xr.DataArray:
    """Reshape a series to (time, step, latitude, longitude), with all steps of each day."""
    if period == "ending":
        series = series.assign_coords(time=series["time"] - step)
    whole = _regular(series, step)
    n = int(DAY / step)
    days = whole["time"].to_numpy()[::n]
    lazy = whole.drop_vars("time").chunk(time=n * _DAYS_AT_ONCE)
    steps: xr.DataArray = lazy.coarsen(time=n).construct(time=("time", "step"))
    return steps.assign_coords(time=days)


def _regular(series: xr.DataArray, step: np.timedelta64) -> xr.DataArray:
    """Fill gaps of a series with NaN, from the first day's first to the last day's last step."""
    time = series["time"].to_numpy()
    first, last = time[0].astype("datetime64[D]"), time[-1].astype("datetime64[D]")
    whole = np.arange(first, last + np.timedelta64(1, "D"), step).astype("datetime64[ns]")
    return series if np.array_equal(whole, time) else series.reindex(time=whole)
