"""Mean, spread and 95 % interval of scores over seeds and over resamples of parcels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cubecrop.evaluation.counts import mean_of_seeds
from cubecrop.metrics import Z_95, ends, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["interval", "value_of", "variance_of", "widened"]


def value_of(values: NDArray[np.float64]) -> dict[str, float]:
    """Mean of a score (seed,), and its standard deviation, NaN for a single seed."""
    known = values[np.isfinite(values)]
    return {
        "value": float(known.mean()) if len(known) else np.nan,
        "spread": float(known.std(ddof=1)) if len(known) > 1 else np.nan,
    }


def interval(
    values: NDArray[np.float64], draws: NDArray[np.float64], n_groups: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high ends (score,) of scores (seed, score) from resamples (resample, score).

    Where every parcel is right, or every one wrong, in all seeds, all resamples are the same. As
    in `cubecrop.metrics.intervals`, Wilson's interval for the number of groups then stands in; and
    that for one if there is a single group, which every resample holds whole.
    """
    value = mean_of_seeds(values, axis=0)
    if n_groups == 1:
        low, high = np.array([wilson(one, 1) for one in np.nan_to_num(value)]).T
        return np.where(np.isfinite(value), low, np.nan), np.where(np.isfinite(value), high, np.nan)
    if value[0] in (0, 1):
        certain = wilson(n_groups if value[0] else 0, n_groups)
        return np.full(len(value), certain[0]), np.full(len(value), certain[1])
    low, high = widened(value, ends(draws), variance_of(values))
    return np.clip(low, 0, value), np.clip(high, value, 1)


def variance_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance (score,) of the mean over seeds of (seed, score); 0 for a single seed."""
    known = values[np.isfinite(values).all(axis=1)]
    if len(known) < 2:
        return np.zeros(values.shape[1])
    return np.asarray(known.var(axis=0, ddof=1) / len(known))


def widened(
    value: NDArray[np.float64], low_high: NDArray[np.float64], variance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of an interval over parcels, made wider for the variance over seeds.

    Resamples of parcels keep the trainings, so they do not show how much another training differs.
    """
    low, high = low_high
    return (
        value - np.hypot(value - np.fmin(low, value), Z_95 * np.sqrt(variance)),
        value + np.hypot(np.fmax(high, value) - value, Z_95 * np.sqrt(variance)),
    )
