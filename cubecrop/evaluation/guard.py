"""Check a change of a model on its source: parts of it take the place of the target in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.metrics import scores
from cubecrop.nomenclature import decide

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from cubecrop.evaluation.population import Population

__all__ = ["Check", "Trial", "Tried", "check_change", "source_blocks"]

#: Parts of the source that are held out in turn.
_BLOCKS: Final = 3
#: A smaller part says nothing about macro-F1.
_FEWEST: Final = 30
_DRAWS: Final = 200


#: Positions (parcel,) of predicted parcels, and their probabilities (parcel, class) without and
#: with a change.
Tried = tuple["NDArray[np.int64]", "NDArray[np.float32]", "NDArray[np.float32]"]
#: Trains on some parcels of the source and predicts others. Takes positions in the source: those
#: to train on, and those that stand for the target.
Trial = Callable[["NDArray[np.int64]", "NDArray[np.int64]"], Tried]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Macro-F1 (block,) without and with a change, over ``tested`` parcels (block,).

    ``error`` is the standard error of the mean difference over the blocks, by a paired bootstrap
    of the parcels within each block.
    """

    blocks: tuple[str, ...]
    tested: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    error: float

    @property
    def harms(self) -> bool:
        """Whether the mean difference is negative by more than its standard error."""
        return fmean(self.after) - fmean(self.before) < -self.error


def source_blocks(source: Population) -> list[tuple[str, NDArray[np.int64]]]:
    """Names and positions of the parts of a source that are held out in turn.

    With several samples (regions, years, tables) these are the three with most parcels. A single
    one is cut by place: its western, its eastern and its most poleward third, as the edge of a
    region is closest to what lies outside of it. Parcels of a group stay together. Parts are left
    out that hold too few parcels, or without which fewer than two classes remain.
    """
    everyone = np.arange(len(source))
    numbers, counts = np.unique(source.source, return_counts=True)
    if len(numbers) > 1:
        largest = numbers[np.argsort(-counts, kind="stable")[:_BLOCKS]]
        parts = [(f"samples {i}", everyone[source.source == i]) for i in sorted(largest)]
    else:
        parts = list(_edges(source))
    return [
        (name, part)
        for name, part in parts
        if len(part) >= _FEWEST
        and len(np.unique(np.delete(source.label, part))) >= 2
        and len(np.unique(source.label[part])) >= 2
    ]


def _edges(source: Population) -> Iterator[tuple[str, NDArray[np.int64]]]:
    known = np.flatnonzero(np.isfinite(source.lon + source.lat))
    if len(known) == 0:
        return
    _, group = np.unique(source.group[known].astype(str), return_inverse=True)
    size = np.bincount(group)
    lon, lat = (
        (np.bincount(group, values[known]) / size)[group] for values in (source.lon, source.lat)
    )
    poleward = "northern" if lat.mean() >= 0 else "southern"
    for name, along in (("western", lon), ("eastern", -lon), (poleward, -np.abs(lat))):
        yield f"{name} third", known[along <= np.quantile(along, 1 / 3)]


def check_change(
    source: Population, blocks: Sequence[tuple[str, NDArray[np.int64]]], trial: Trial, *, seed: int
) -> Check:
    """Try a change of a model on each block of its source."""
    everyone = np.arange(len(source))
    n_classes = len(source.nomenclature)
    rng = np.random.default_rng(seed)
    tested: list[int] = []
    before: list[float] = []
    after: list[float] = []
    drawn = []
    for _, block in blocks:
        order, without, with_it = trial(np.setdiff1d(everyone, block), block)
        truth = source.label[order]
        tested.append(len(truth))
        pair = decide(without), decide(with_it)
        for values, guess in zip((before, after), pair, strict=True):
            values.append(scores(truth, guess, n_classes).macro_f1)
        differences = []
        for _ in range(_DRAWS):
            some = rng.integers(len(truth), size=len(truth))
            one, other = (scores(truth[some], guess[some], n_classes).macro_f1 for guess in pair)
            differences.append(other - one)
        drawn.append(differences)
    return Check(
        blocks=tuple(name for name, _ in blocks),
        tested=tuple(tested),
        before=tuple(before),
        after=tuple(after),
        error=float(np.mean(drawn, axis=0).std()),
    )
