"""What of the season training saw, so that a model can ask for as much."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.coverage import Coverage, acquired_days, least_demanding, longest_pause
from cubecrop.model import season_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from cubecrop.model import SensorArrays
    from cubecrop.training.sets import TrainingSet

__all__ = ["coverage_of"]

#: Percentile of the training parcels' numbers of clear dates that a model remembers.
_RARE = 1


def coverage_of(
    trees: Sequence[xr.DataTree], sets: Sequence[TrainingSet], sensors: Sequence[str]
) -> dict[str, Coverage]:
    """Coverage of each sensor, of several samples the least demanding.

    Parameters
    ----------
    trees : sequence of xarray.DataTree
        Samples in one season window.
    sets : sequence of TrainingSet
        Their labelled parcels, in the same order.
    sensors : sequence of str
        Which sensors.
    """
    found = {}
    for name in sensors:
        every = [
            one
            for tree, part in zip(trees, sets, strict=True)
            if name in part.arrays.series and (one := _coverage(tree, part, name)) is not None
        ]
        if every:
            found[name] = least_demanding(every)
    return found


def _coverage(tree: xr.DataTree, part: TrainingSet, name: str) -> Coverage | None:
    series = part.arrays.series[name]
    counts = series.dates
    if not counts.any():
        return None
    clear = int(np.percentile(counts[counts > 0], _RARE, method="lower"))
    days = acquired_days(tree.children[name], season_of(tree))
    found = Coverage.of(_valid_days(series) if days is None else days, clear_dates=clear)
    if found is None:
        return None
    seen = series.dated[counts > 0]
    pauses = longest_pause(seen, series.days, found.first, found.last)
    pause = int(np.percentile(pauses, 100 - _RARE, method="higher"))
    return replace(found, clear_pause=pause)


def _valid_days(series: SensorArrays) -> np.ndarray:
    """Days on which any parcel has a valid pixel."""
    return series.days[series.valid.any(axis=(0, 2))]
