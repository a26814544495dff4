"""Composites: an option to reduce satellite series to one value a period.

Composites save memory and give seasons with different dates the same time steps. Nothing needs
them, since the networks take irregular dates.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import xarray as xr

from cubecrop.cube.sentinel2 import RANK
from cubecrop.errors import SchemaError
from cubecrop.schema import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.season import Season

__all__ = ["Composite", "composite_child", "periods_of"]

Composite = Literal["dekad", "month"]

#: First days of a month's periods. A dekad is a third of a month: days 1 to 10, 11 to 20, rest.
_FIRST_DAYS: Final[dict[str, tuple[int, ...]]] = {"dekad": (1, 11, 21), "month": (1,)}


def periods_of(season: Season, step: Composite) -> NDArray[np.datetime64]:
    """First days of the periods of a season; the first is on or before the season's start.

    Returns
    -------
    numpy.ndarray
        (period,) datetime64[D].

    Raises
    ------
    SchemaError
        The step is unknown.
    """
    if step not in get_args(Composite):
        raise SchemaError(f"composite is {step!r}, expected one of {list(get_args(Composite))}.")
    starts = [
        dt.date(year, month, day)
        for year in range(season.start.year, season.end.year + 1)
        for month in range(1, 13)
        for day in _FIRST_DAYS[step]
    ]
    days = np.array(starts, dtype="datetime64[D]")
    first = int(np.searchsorted(days, np.datetime64(season.start), side="right")) - 1
    last = int(np.searchsorted(days, np.datetime64(season.end), side="right"))
    return days[first:last]


def composite_child(name: str, child: xr.Dataset, season: Season, step: Composite) -> xr.Dataset:
    """Reduce a satellite child to one step a period, lazily.

    Parameters
    ----------
    name : {"sentinel2", "sentinel1"}
        Name of the child.
    child : xarray.Dataset
        See `cubecrop.schema`.
    season : Season
        Each period of the season becomes a step, with or without dates.
    step : {"dekad", "month"}
        Length of a period.

    Returns
    -------
    xarray.Dataset
        ``time`` is the middle day of each period; ``acquisitions (time)`` is the number of dates
        in the period. Reflectance is the median of clear observations. Backscatter is the mean
        of power over all orbits, in dB. Status is the best of the period. Values are NaN where a
        period has no observation. The time axis is one chunk.
    """
    starts = periods_of(season, step)
    dates = child["time"].to_numpy().astype("datetime64[D]")
    # A solar day of the season may begin on the UTC day before.
    index = np.maximum(np.searchsorted(starts, dates, side="right") - 1, 0)
    if name == "sentinel2":
        reduced = {
            "reflectance": _reduce(child["reflectance"], index, len(starts), "nanmedian", np.nan),
            "status": _ranked(
                _reduce(_ranked(child["status"]), index, len(starts), "min", RANK[Status.OUTSIDE])
            ),
        }
    else:
        decibel = child["backscatter"]
        power = _reduce(10 ** (decibel / 10), index, len(starts), "nanmean", np.nan)
        reduced = {"backscatter": xr.apply_ufunc(np.log10, power, dask="allowed") * np.float32(10)}
    out = xr.Dataset(
        {key: values.assign_attrs(child[key].attrs) for key, values in reduced.items()}
    )
    ends = np.append(starts[1:], np.datetime64(season.end) + np.timedelta64(1, "D"))
    middle = starts + (ends - starts) // 2
    acquired = np.bincount(index, minlength=len(starts))
    return out.assign_coords(
        time=middle.astype("datetime64[ns]"), acquisitions=("time", acquired.astype(np.int16))
    )


def _ranked(status: xr.DataArray) -> xr.DataArray:
    """Turn statuses into ranks, or ranks into statuses."""
    ranked: xr.DataArray = xr.apply_ufunc(
        RANK.__getitem__, status, dask="parallelized", output_dtypes=[np.uint8]
    )
    return ranked


def _reduce(
    values: xr.DataArray, index: NDArray[np.intp], n: int, how: str, fill: float
) -> xr.DataArray:
    """Reduce (time, …) to (time, …) with one step a period, in one task a chunk.

    All steps are in one chunk, since sampling and networks need whole series.
    """
    reduced: xr.DataArray = xr.apply_ufunc(
        _by_period,
        values,
        input_core_dims=[["time"]],
        output_core_dims=[["period"]],
        dask="parallelized",
        output_dtypes=[values.dtype],
        dask_gufunc_kwargs={"output_sizes": {"period": n}, "allow_rechunk": True},
        kwargs={"index": index, "n": n, "how": how, "fill": fill},
    )
    return reduced.rename(period="time").transpose(*values.dims)


def _by_period(
    values: NDArray[Any], *, index: NDArray[np.intp], n: int, how: str, fill: float
) -> NDArray[Any]:
    """Reduce (…, time) to (…, period), same dtype; ``fill`` where a period has no date."""
    from flox import groupby_reduce

    reduced, *_ = groupby_reduce(
        values, index, func=how, expected_groups=np.arange(n), fill_value=fill, engine="flox"
    )
    return np.asarray(reduced, dtype=values.dtype)
