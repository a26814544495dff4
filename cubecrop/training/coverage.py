"""The season's coverage in the training data, which a model then requires of other data."""

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

#: A model records this percentile of the training parcels' numbers of clear dates.
_RARE = 1


def coverage_of(
    trees: Sequence[xr.DataTree], sets: Sequence[TrainingSet], sensors: Sequence[str]
) -> dict[str, Coverage]:
    """Coverage of each sensor; with several samples, the least demanding one.

    Parameters
    ----------
    trees : sequence of xarray.DataTree
        Samples in one season window.
    sets : sequence of TrainingSet
        Their labelled parcels, in the same order.
    sensors : sequence of str
        Which sensors.
    """
    by_sensor = {}
    for name in sensors:
        coverages = [
            coverage
            for tree, part in zip(trees, sets, strict=True)
            if name in part.arrays.series and (coverage := _coverage(tree, part, name)) is not None
        ]
        if coverages:
            by_sensor[name] = least_demanding(coverages)
    return by_sensor


def _coverage(tree: xr.DataTree, part: TrainingSet, name: str) -> Coverage | None:
    series = part.arrays.series[name]
    counts = series.dates
    if not counts.any():
        return None
    clear = int(np.percentile(counts[counts > 0], _RARE, method="lower"))
    days = acquired_days(tree.children[name], season_of(tree))
    coverage = Coverage.of(_valid_days(series) if days is None else days, clear_dates=clear)
    if coverage is None:
        return None
    dated = series.dated[counts > 0]
    pauses = longest_pause(dated, series.days, coverage.first, coverage.last)
    pause = int(np.percentile(pauses, 100 - _RARE, method="higher"))
    return replace(coverage, clear_pause=pause)


def _valid_days(series: SensorArrays) -> np.ndarray:
    """Days on which any parcel has a valid pixel."""
    return series.days[series.valid.any(axis=(0, 2))]
