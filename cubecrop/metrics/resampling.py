"""The 95 % intervals of scores, from resamples of the parcels or of groups of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.errors import LabelError
from cubecrop.metrics.counting import SCORE_NAMES, scores_of_counts
from cubecrop.metrics.shares import wilson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from cubecrop.metrics.counting import ScoreName
    from cubecrop.metrics.shares import Interval

__all__ = ["accuracy_difference", "ends", "group_draws", "intervals"]

_ENDS: Final = (2.5, 97.5)
_RESAMPLES: Final = 2000
#: Resamples that are scored together; their counts share the memory.
_AT_ONCE: Final = 200
#: Greatest number of counts of groups in memory.
_CELLS: Final = 20_000_000


def intervals(
    truth: ArrayLike,
    predicted: ArrayLike,
    n_classes: int,
    *,
    groups: Sequence[object] | None = None,
    seed: int = 0,
) -> dict[ScoreName, Interval]:
    """The 95 % interval of each score.

    Accuracy has Wilson's interval. Macro-F1 and mean IoU are scored on 2,000 resamples of the
    parcels, drawn with replacement. With ``groups``, groups are drawn instead, also for accuracy.
    If all parcels are right, or all wrong, every resample is the same; all three scores then have
    Wilson's interval for the number of parcels or groups. A single group is always drawn whole, so
    each score then has Wilson's interval for one.

    Parameters
    ----------
    truth, predicted : array_like of int, shape (n,)
        As for `scores`; at least one parcel.
    n_classes : int
        Number of classes.
    groups : sequence, optional
        A group name for each parcel; parcels of one group are not independent.
    seed : int, default 0
        Seed of the resamples.

    Returns
    -------
    dict
        Name of the score to its low and high end.

    Raises
    ------
    LabelError
        There is no parcel, or groups and parcels differ in number.
    """
    true = np.asarray(truth, dtype=np.int64)
    guess = np.asarray(predicted, dtype=np.int64)
    if len(true) == 0:
        raise LabelError("there is no parcel to score, expected one or more.")
    n_groups = _count(groups, len(true))
    inside = (guess >= 0) & (guess < n_classes)
    # Scores follow from counts of (true, predicted) alone, and few of these pairs occur.
    pairs, pair = np.unique(
        true * (n_classes + 1) + np.where(inside, guess, n_classes), return_inverse=True
    )
    of_true, of_guess = np.divmod(pairs, n_classes + 1)
    one = np.eye(n_classes + 1)
    size, claimed = one[of_true][:, :n_classes], one[of_guess][:, :n_classes]  # (pair, class)
    hits = size * claimed

    def scored(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return scores_of_counts(counts @ size, counts @ claimed, counts @ hits)

    (score,) = scored(np.bincount(pair, minlength=len(pairs)).astype(float)[None])
    if n_groups == 1:
        return {name: wilson(float(score[i]), 1) for i, name in enumerate(SCORE_NAMES)}
    low, high = _ends_of_resamples(pair, len(pairs), groups, seed, scored)
    # A resample without a rare class is averaged over the other classes, so all resamples may
    # score above the score itself. The interval must still contain it.
    low, high = np.minimum(low, score), np.maximum(high, score)
    found = {name: (float(low[i]), float(high[i])) for i, name in enumerate(SCORE_NAMES)}
    right = int((true == guess).sum())
    if right in (0, len(true)):
        n = n_groups or len(true)
        return dict.fromkeys(SCORE_NAMES, wilson(n if right else 0, n))
    if groups is None:
        found["accuracy"] = wilson(right, len(true))
    return found


def accuracy_difference(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    groups: Sequence[object] | None = None,
    seed: int = 0,
) -> tuple[float, Interval]:
    """Accuracy of the first predictions minus that of the second, with its 95 % interval.

    Both are scored on the same resamples of parcels or groups, so parcels that are hard for both
    do not widen the interval.

    Parameters
    ----------
    truth, first, second : array_like of int, shape (n,)
        Class indices; at least one parcel.
    groups, seed
        As for `intervals`.

    Returns
    -------
    tuple
        The difference, and its low and high end; these are -1 and 1 for a single group, which does
        not show how groups differ.
    """
    true = np.asarray(truth)
    lead = (np.asarray(first) == true).astype(int) - (np.asarray(second) == true)  # -1, 0, 1
    if len(lead) == 0:
        raise LabelError("there is no parcel to score, expected one or more.")
    if _count(groups, len(lead)) == 1:
        return float(lead.mean()), (-1.0, 1.0)

    def scored(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((counts[:, 2] - counts[:, 0]) / counts.sum(axis=1))[:, None]

    low, high = _ends_of_resamples(lead + 1, 3, groups, seed, scored)
    return float(lead.mean()), (float(low[0]), float(high[0]))


def group_draws(rng: np.random.Generator, n_groups: int) -> Iterator[NDArray[np.float32]]:
    """How often each of some resamples (resample, group) holds a group; 2,000 resamples in all."""
    at_once = max(1, min(_AT_ONCE, _CELLS // n_groups))
    for start in range(0, _RESAMPLES, at_once):
        counts = np.empty((min(at_once, _RESAMPLES - start), n_groups), dtype=np.float32)
        for row in counts:
            row[:] = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
        yield counts


def ends(draws: NDArray[np.floating]) -> NDArray[np.float64]:
    """Low and high end (2, …) of the 95 % interval of resampled values (resample, …).

    Resamples with NaN do not count; both ends are NaN if none is left.
    """
    known = np.isfinite(draws)
    if known.all():
        return np.asarray(np.percentile(draws, _ENDS, axis=0))
    empty = ~known.any(axis=0)
    return np.where(empty, np.nan, np.nanpercentile(np.where(empty, 0, draws), _ENDS, axis=0))


def _count(groups: Sequence[object] | None, n: int) -> int:
    """Number of distinct groups of ``n`` parcels; 0 without groups."""
    if groups is None:
        return 0
    if len(groups) != n:
        raise LabelError(f"groups hold {len(groups)} names, expected one for each of {n} parcels.")
    return len({str(one) for one in groups})


def _ends_of_resamples(
    kind: NDArray[np.int64],
    n_kinds: int,
    groups: Sequence[object] | None,
    seed: int,
    scored: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Low and high ends (2, score) over resamples; each parcel is of one kind."""
    rng = np.random.default_rng(seed)
    draws = (
        _parcels_drawn(rng, kind, n_kinds)
        if groups is None
        else _groups_drawn(rng, kind, n_kinds, groups)
    )
    return ends(np.concatenate([scored(one) for one in draws]))


def _parcels_drawn(
    rng: np.random.Generator, kind: NDArray[np.int64], n_kinds: int
) -> Iterator[NDArray[np.float64]]:
    """Counts (resample, kind) of parcels drawn with replacement."""
    share = np.bincount(kind, minlength=n_kinds) / len(kind)
    for _ in range(0, _RESAMPLES, _AT_ONCE):
        yield rng.multinomial(len(kind), share, size=_AT_ONCE).astype(float)


def _groups_drawn(
    rng: np.random.Generator, kind: NDArray[np.int64], n_kinds: int, groups: Sequence[object]
) -> Iterator[NDArray[np.float64]]:
    """Counts (resample, kind) of parcels whose groups are drawn with replacement."""
    names, group = np.unique(np.array([str(one) for one in groups]), return_inverse=True)
    for drawn in group_draws(rng, len(names)):
        counts = [np.bincount(kind, weights=row[group], minlength=n_kinds) for row in drawn]
        yield np.asarray(counts, dtype=float)
