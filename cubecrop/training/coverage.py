"""The season's coverage in the training data, which a model then requires of other data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.coverage import (
    Coverage,
    acquired_days,
    least_demanding,
    longest_pause,
    weather_gap,
)
from cubecrop.errors import SchemaError
from cubecrop.model import season_of
from cubecrop.training.batches import dropped_dates, random_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.training.config import TrainConfig
    from cubecrop.training.sets import AnySet

__all__ = ["check_weather", "coverage_of"]

#: A model records this percentile of the training parcels' numbers of clear dates.
_RARE = 1
#: And this percentile of their numbers of clear dates in a step, from which some are dropped.
_SELDOM = 5
#: Parcels, and parcels times steps, of which the latter is found.
_PARCELS, _STEPS = 10_000, 2_000


def coverage_of(
    trees: Sequence[xr.DataTree],
    sets: Sequence[AnySet],
    sensors: Sequence[str],
    config: TrainConfig,
) -> dict[str, Coverage]:
    """Coverage of each sensor; with several samples, the least demanding one.

    With ``config.windows``, that of the shortest window in training.

    Parameters
    ----------
    trees : sequence of xarray.DataTree
        Samples in one season window.
    sets : sequence of AnySet
        Their labelled parcels, in the same order.
    sensors : sequence of str
        Which sensors.
    config : TrainConfig
        Which dates a training drops.
    """
    by_sensor = {}
    for name in sensors:
        coverages = [
            coverage
            for tree, part in zip(trees, sets, strict=True)
            if name in part.names and (coverage := _coverage(tree, part, name, config)) is not None
        ]
        if coverages:
            by_sensor[name] = least_demanding(coverages)
    if config.windows is None:
        return by_sensor
    days = [round(share * season_of(trees[0]).n_days) for share in config.windows]
    return {name: _cut(coverage, *days) for name, coverage in by_sensor.items()}


def check_weather(trees: Sequence[xr.DataTree], sensors: Sequence[str]) -> None:
    """Raise `SchemaError` if samples with weather have images long before or after it."""
    for number, tree in enumerate(trees):
        present = [name for name in sensors if name in tree.children]
        if gap := weather_gap(tree, present, season_of(tree)):
            raise SchemaError(
                f"of samples {number}, {gap} Give another source of weather, `weather=...`, or "
                "other `NetworkOptions`."
            )


def _cut(coverage: Coverage, first: int, last: int) -> Coverage:
    """The coverage of a window; its number of dates is the window's share of them."""
    first, last = max(coverage.first, first), min(coverage.last, last)
    share = (last - first) / max(1, coverage.last - coverage.first)
    return replace(
        coverage, first=first, last=last, dates=max(1, round(coverage.dates * share)),
        clear_dates=max(1, round(coverage.clear_dates * share)),
    )  # fmt: skip


def _coverage(tree: xr.DataTree, part: AnySet, name: str, config: TrainConfig) -> Coverage | None:
    dated, own_days = part.dated(name), part.days(name)
    counts = dated.sum(axis=1)
    if not counts.any():
        return None
    clear = int(np.percentile(counts[counts > 0], _RARE, method="lower"))
    days = acquired_days(tree.children[name], season_of(tree))
    if days is None:  # those on which any parcel has a valid pixel
        days = own_days[dated.any(axis=0)].astype(np.int64)
    coverage = Coverage.of(days, clear_dates=clear)
    if coverage is None:
        return None
    pauses = longest_pause(dated[counts > 0], own_days, coverage.first, coverage.last)
    pause = int(np.percentile(pauses, 100 - _RARE, method="higher"))
    shown = _shown_dates(dated[counts > 0], own_days, name, season_of(tree).n_days, config)
    return replace(coverage, clear_pause=pause, shown_dates=shown)


def _shown_dates(
    dated: NDArray[np.bool_],
    days: NDArray[np.float32],
    name: str,
    n_days: int,
    config: TrainConfig,
) -> int:
    """Clear dates that 95 % of parcels still have in a step of training.

    Dates of parcels (parcel, time) are dropped as `batches` does.
    """
    some = dated[:: -(-len(dated) // _PARCELS)]
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(-(-_STEPS // len(some))):
        window = random_windows(len(some), n_days, config, rng)
        left = (some & ~dropped_dates(days, len(some), name, window, config, rng)).sum(axis=1)
        counts.append(np.where(left > 0, left, some.sum(axis=1)))  # never all
    return max(1, int(np.percentile(np.concatenate(counts), _SELDOM, method="lower")))
