"""Confusion matrix, scores and area estimates, with their 95 % intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from cubecrop.errors import LabelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "SCORE_NAMES", "AreaEstimates", "Interval", "ScoreName", "Scores", "accuracy_difference",
    "area_estimates", "class_f1", "confusion_matrix", "ends", "group_draws", "intervals", "scores",
    "scores_of_counts", "wilson",
]  # fmt: skip

#: Low and high end of a value.
Interval = tuple[float, float]
ScoreName = Literal["accuracy", "macro_f1", "mean_iou"]
SCORE_NAMES: Final[tuple[ScoreName, ...]] = ("accuracy", "macro_f1", "mean_iou")

#: The normal distribution's quantile of 97.5 %.
_Z: Final = 1.959963984540054
_ENDS: Final = (2.5, 97.5)
_RESAMPLES: Final = 2000
#: Resamples that are scored together; their counts share the memory.
_AT_ONCE: Final = 200
#: Greatest number of counts of groups in memory.
_CELLS: Final = 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Scores of one evaluation, each 0 to 1.

    ``macro_f1`` and ``mean_iou`` are means over the classes that have a true member in the
    evaluated set; ``per_class_f1`` and ``per_class_recall`` are NaN for the others, and
    ``per_class_precision`` is NaN for a class that was never predicted. ``per_class_n`` counts
    true members.
    """

    n: int
    accuracy: float
    macro_f1: float
    mean_iou: float
    per_class_f1: tuple[float, ...]
    per_class_precision: tuple[float, ...]
    per_class_recall: tuple[float, ...]
    per_class_n: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AreaEstimates:
    """Areas and accuracies estimated from a sample that is stratified by a map.

    A standard error (``_se``) is that of a stratified random sample; 1.96 of them to each side
    make a 95 % interval. A stratum in which all points are right has an error of 0, which does
    not show that the stratum has no mistakes: it needs more points.

    Parameters
    ----------
    n : numpy.ndarray
        (class,) int64 reference points on the class as mapped.
    mapped_area, area, area_se : numpy.ndarray
        (class,) area as mapped; area adjusted for the map's errors; its standard error.
    users, users_se : numpy.ndarray
        (class,) user's accuracy, the share of the mapped area that is right; NaN for a class
        that is not mapped.
    producers, producers_se : numpy.ndarray
        (class,) producer's accuracy, the share of the true area that is mapped as such; NaN for
        a class that no point has.
    accuracy, accuracy_se : float
        Overall accuracy, the share of the whole area that is mapped right.
    """

    n: NDArray[np.int64]
    mapped_area: NDArray[np.float64]
    area: NDArray[np.float64]
    area_se: NDArray[np.float64]
    users: NDArray[np.float64]
    users_se: NDArray[np.float64]
    producers: NDArray[np.float64]
    producers_se: NDArray[np.float64]
    accuracy: float
    accuracy_se: float

    @property
    def area_interval(self) -> NDArray[np.float64]:
        """The 95 % interval (class, 2) of the adjusted areas; none below 0."""
        half = _Z * self.area_se
        return np.stack([np.maximum(self.area - half, 0), self.area + half], axis=1)


def confusion_matrix(truth: ArrayLike, predicted: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    """Count (true class, predicted class) pairs.

    Parameters
    ----------
    truth, predicted : array_like of int, shape (n,)
        Class indices. A prediction outside 0 … n_classes - 1 (nodata) counts in no column, so
        the sum of the row is below the size of the class; see `scores`.
    n_classes : int
        Number of classes.

    Returns
    -------
    numpy.ndarray
        (n_classes, n_classes) int64, rows true, columns predicted.
    """
    true = np.asarray(truth, dtype=np.int64)
    guess = np.asarray(predicted, dtype=np.int64)
    if true.shape != guess.shape:
        raise LabelError(f"truth has shape {true.shape}, predictions {guess.shape}.")
    if true.size and (true.min() < 0 or true.max() >= n_classes):
        raise LabelError(
            f"truth holds {true.min()} to {true.max()}, expected 0 to {n_classes - 1}."
        )
    inside = (guess >= 0) & (guess < n_classes)
    pairs = true[inside] * n_classes + guess[inside]
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def scores(
    truth: ArrayLike,
    predicted: ArrayLike,
    n_classes: int,
    *,
    weights: ArrayLike | None = None,
) -> Scores:
    """Accuracy, macro-F1 and mean IoU; a parcel without prediction counts as wrong.

    Parameters
    ----------
    truth, predicted : array_like of int, shape (n,)
        Class indices; predictions may hold 255 for "no prediction".
    n_classes : int
        Number of classes.
    weights : array_like, shape (n,), optional
        Such as the parcels' areas, so that all scores are shares of area. Counts (``n``,
        ``per_class_n``) stay numbers of parcels.

    Returns
    -------
    Scores
        All scores are NaN if ``truth`` is empty, or all weights are 0.

    Raises
    ------
    LabelError
        Arrays differ in shape, a true class does not exist, or a weight is negative or not finite.
    """
    matrix = confusion_matrix(truth, predicted, n_classes)
    true = np.asarray(truth, dtype=np.int64)
    count = np.bincount(true, minlength=n_classes)
    hits, size, claimed = np.diag(matrix), count, matrix.sum(axis=0)
    if weights is not None:
        weight, guess = np.asarray(weights, dtype=float), np.asarray(predicted, dtype=np.int64)
        if weight.shape != true.shape or not (np.isfinite(weight) & (weight >= 0)).all():
            raise LabelError(
                f"weights have shape {weight.shape}, or are negative or not finite; expected one "
                f"area for each of {len(true)} parcels."
            )
        inside = (guess >= 0) & (guess < n_classes)
        size = np.bincount(true, weights=weight, minlength=n_classes)
        hits = np.bincount(true, weights=weight * (true == guess), minlength=n_classes)
        claimed = np.bincount(guess[inside], weights=weight[inside], minlength=n_classes)
    n = size.sum()
    present = size > 0
    f1 = _ratio(2 * hits, np.where(present, size + claimed, 0))
    iou = _ratio(hits, np.where(present, size + claimed - hits, 0))
    return Scores(
        n=int(count.sum()),
        accuracy=float(hits.sum() / n) if n else float("nan"),
        macro_f1=float(f1[present].mean()) if n else float("nan"),
        mean_iou=float(iou[present].mean()) if n else float("nan"),
        per_class_f1=tuple(f1.tolist()),
        per_class_precision=tuple(_ratio(hits, claimed).tolist()),
        per_class_recall=tuple(_ratio(hits, size).tolist()),
        per_class_n=tuple(count.tolist()),
    )


def area_estimates(
    truth: ArrayLike, mapped: ArrayLike, mapped_areas: Sequence[float] | NDArray[np.floating]
) -> AreaEstimates:
    """Areas of the classes, adjusted for the errors of a map, from reference points.

    The points must be a random sample, or one that is random within each mapped class.

    Parameters
    ----------
    truth, mapped : array_like of int, shape (n,)
        Class of each point on the ground, and on the map.
    mapped_areas : array_like, shape (class,)
        Area that is mapped as each class, in any unit: 0 for a class that the map does not have.

    Returns
    -------
    AreaEstimates
        Areas in the unit of ``mapped_areas``.

    Raises
    ------
    LabelError
        A mapped class has fewer than two points, so its errors are unknown; a point is on a
        class without area; a class index is out of range; or areas are not positive numbers.

    References
    ----------
    Olofsson et al. 2014, doi:10.1016/j.rse.2014.02.015, equations 4 to 11.
    """
    areas = np.asarray(mapped_areas, dtype=float)
    k = len(areas)
    if not (np.isfinite(areas).all() and (areas >= 0).all() and areas.any()):
        raise LabelError(f"mapped areas are {areas.tolist()}, expected 0 or more, and some above.")
    counts = confusion_matrix(mapped, truth, k).astype(float)  # rows mapped, columns true
    n = counts.sum(axis=1)
    if n.sum() < np.size(truth):
        raise LabelError(f"truth holds classes outside of 0 to {k - 1}.")
    if odd := np.flatnonzero((n > 0) & (areas == 0)).tolist():
        raise LabelError(f"points are on the classes {odd}, whose mapped area is 0.")
    if few := np.flatnonzero((n < 2) & (areas > 0)).tolist():
        raise LabelError(
            f"the mapped classes {few} have fewer than two reference points, so their errors are "
            "unknown. Add points there, or merge classes."
        )
    share = counts / np.maximum(n, 1)[:, None]
    # Variance of a share of a stratum's points, times the stratum's area squared.
    variance = areas[:, None] ** 2 * share * (1 - share) / np.maximum(n - 1, 1)[:, None]
    true_area = areas @ share
    right, own = areas * np.diag(share), np.diag(variance)
    producers = _ratio(right, true_area)
    others = variance.sum(axis=0) - own
    producers_variance = (1 - producers) ** 2 * own + producers**2 * others
    return AreaEstimates(
        n=n.astype(np.int64),
        mapped_area=areas,
        area=true_area,
        area_se=np.sqrt(variance.sum(axis=0)),
        users=_ratio(right, areas),
        users_se=_ratio(np.sqrt(own), areas),
        producers=producers,
        producers_se=_ratio(np.sqrt(producers_variance), true_area),
        accuracy=float(right.sum() / areas.sum()),
        accuracy_se=float(np.sqrt(own.sum()) / areas.sum()),
    )


def wilson(hits: float, n: int) -> Interval:
    """Wilson's 95 % interval of a share; (0, 1) if nothing was counted.

    References
    ----------
    Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    if n == 0:
        return 0.0, 1.0
    share = hits / n
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * float(np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)))
    return max(0.0, centre - half), min(1.0, centre + half)


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
    Wilson's interval for the number of parcels or groups.

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
    """
    true = np.asarray(truth, dtype=np.int64)
    guess = np.asarray(predicted, dtype=np.int64)
    if len(true) == 0:
        raise LabelError("there is no parcel to score, expected one or more.")
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

    low, high = _ends(pair, len(pairs), groups, seed, scored)
    # A resample without a rare class is averaged over the other classes, so all resamples may
    # score above the score itself. The interval must still contain it.
    (score,) = scored(np.bincount(pair, minlength=len(pairs)).astype(float)[None])
    low, high = np.minimum(low, score), np.maximum(high, score)
    found = {name: (float(low[i]), float(high[i])) for i, name in enumerate(SCORE_NAMES)}
    right = int((true == guess).sum())
    if right in (0, len(true)):
        n = len(true) if groups is None else len({str(one) for one in groups})
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
        The difference, and its low and high end.
    """
    true = np.asarray(truth)
    lead = (np.asarray(first) == true).astype(int) - (np.asarray(second) == true)  # -1, 0, 1
    if len(lead) == 0:
        raise LabelError("there is no parcel to score, expected one or more.")

    def scored(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((counts[:, 2] - counts[:, 0]) / counts.sum(axis=1))[:, None]

    low, high = _ends(lead + 1, 3, groups, seed, scored)
    return float(lead.mean()), (float(low[0]), float(high[0]))


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """A quotient; NaN if the divisor is zero."""
    out: NDArray[np.float64] = np.full(np.shape(part), np.nan)
    np.divide(part, whole, out=out, where=whole > 0, dtype=np.float64)
    return out


def class_f1(
    size: NDArray[np.floating], claimed: NDArray[np.floating], hits: NDArray[np.floating]
) -> NDArray[np.float64]:
    """F1 (…, class) from counts (…, class); NaN for a class without a true member.

    Parameters
    ----------
    size, claimed, hits : numpy.ndarray
        Parcels that are of a class, that were predicted as it, and both.
    """
    return _ratio(2 * hits, np.where(size > 0, size + claimed, 0))


def scores_of_counts(
    size: NDArray[np.floating], claimed: NDArray[np.floating], hits: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The scores of `SCORE_NAMES` (…, score) from counts (…, class); NaN without a parcel.

    Parameters
    ----------
    size, claimed, hits
        As for `class_f1`.
    """
    present = size > 0
    n_present = present.sum(axis=-1)
    iou = _ratio(hits, np.where(present, size + claimed - hits, 0))
    means = [
        _ratio(hits.sum(axis=-1), size.sum(axis=-1)),
        _ratio(np.nansum(class_f1(size, claimed, hits), axis=-1), n_present),
        _ratio(np.nansum(iou, axis=-1), n_present),
    ]
    return np.asarray(np.stack(means, axis=-1))


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


def _ends(
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
