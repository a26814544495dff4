"""Thermal time: degree days summed from the season's start at a parcel.

Growing degree days of a day are max((min(tmax, 30) + max(tmin, 0)) / 2, 0) in °C d (Nyborg et
al. 2022, doi:10.1016/j.isprsjprs.2022.04.012). If there is no minimum and maximum, they are the
mean temperature, clipped to 0 to 30 °C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.coverage import SLACK
from cubecrop.errors import ModelMismatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["EXTREMES", "MEAN", "degree_days", "thermal_source", "thermal_time"]

EXTREMES: Final = "temperature_min, temperature_max"
MEAN: Final = "temperature_mean"
_KELVIN: Final = 273.15
_HOTTEST: Final = 30.0


def thermal_source(variables: Sequence[str]) -> str:
    """Variables for degree days: minimum and maximum temperature if present, else the mean.

    Raises
    ------
    ModelMismatchError
        The weather has neither.
    """
    if {"temperature_min", "temperature_max"} <= set(variables):
        return EXTREMES
    if "temperature_mean" in variables:
        return MEAN
    raise ModelMismatchError(
        f"weather has {sorted(variables)}, but thermal time needs temperature_min and "
        "temperature_max, or temperature_mean. Use an archive that has them, or another "
        "`time_encoding`."
    )


def degree_days(
    weather: NDArray[np.float32], variables: Sequence[str], source: str
) -> NDArray[np.float32]:
    """Growing degree days (..., time) in °C d per day, from weather (..., time, variable) in K."""
    column = {name: weather[..., i] - _KELVIN for i, name in enumerate(variables)}
    if source == EXTREMES:
        warm = np.minimum(column["temperature_max"], _HOTTEST)
        cool = np.maximum(column["temperature_min"], 0)
        return np.asarray(np.maximum((warm + cool) / 2, 0))
    return np.asarray(np.clip(column[MEAN], 0, _HOTTEST))


def thermal_time(
    daily: NDArray[np.float32], stamps: NDArray[np.float32], days: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Sum degree days from the season's start to each day, which is included.

    Parameters
    ----------
    daily : numpy.ndarray
        (parcel, time) degree days per day; NaN where unknown. Each day takes the value of the
        nearest stamp, so stamps of longer steps, such as the middles of months, also work.
    stamps : numpy.ndarray
        (time,) days since the season's start of the values of ``daily``, ascending.
    days : numpy.ndarray
        (date,) days since the season's start.

    Returns
    -------
    numpy.ndarray
        (parcel, date) float32; NaN from the first day on that is more than a month from the
        parcel's known weather. A longer gap is no gap but a part of the season that is not known.
    """
    last = int(max(days.max(initial=0), 0))
    all_days = np.arange(last + 1)
    edges = (stamps[1:] + stamps[:-1]) / 2
    nearest = np.searchsorted(edges, all_days, side="right")  # (day,)
    each_day = _fill(daily)[:, nearest]
    each_day[_is_far(daily, stamps, all_days)] = np.nan
    summed = each_day.cumsum(axis=1, dtype=np.float64)
    index = np.clip(np.floor(days).astype(int), 0, last)
    return np.asarray(summed[:, index], dtype=np.float32)


def _is_far(
    daily: NDArray[np.float32], stamps: NDArray[np.float32], days: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which days (parcel, day) are more than a month from the nearest known value."""
    known = np.isfinite(daily)
    # Nearly all parcels have the same gaps.
    masks, which = np.unique(known, axis=0, return_inverse=True)
    far = np.ones((len(masks), len(days)), dtype=bool)
    for row in np.flatnonzero(masks.any(axis=1)):
        distance = np.abs(days[:, None] - stamps[masks[row]])
        far[row] = distance.min(axis=1) > SLACK
    return np.asarray(far[which.ravel()])


def _fill(daily: NDArray[np.float32]) -> NDArray[np.float64]:
    """Fill the gaps of each row by linear interpolation; a row without any value stays NaN."""
    out = daily.astype(np.float64)
    known = np.isfinite(out)
    position = np.arange(out.shape[1])
    for row in np.flatnonzero(known.any(axis=1) & ~known.all(axis=1)):
        out[row] = np.interp(position, position[known[row]], out[row, known[row]])
    return out
