"""Confusion matrix and the scores that follow from counts of parcels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from cubecrop.errors import LabelError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "SCORE_NAMES", "ScoreName", "Scores", "class_f1", "confusion_matrix", "ratio", "scores",
    "scores_of_counts",
]  # fmt: skip

ScoreName = Literal["accuracy", "macro_f1", "mean_iou"]
SCORE_NAMES: Final[tuple[ScoreName, ...]] = ("accuracy", "macro_f1", "mean_iou")


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

    Raises
    ------
    LabelError
        Arrays differ in shape, a number is not whole, or a true class does not exist.
    """
    true, guess = as_indices("truth", truth), as_indices("predictions", predicted)
    if true.shape != guess.shape:
        raise LabelError(f"truth has shape {true.shape}, predictions {guess.shape}.")
    if true.size and (true.min() < 0 or true.max() >= n_classes):
        raise LabelError(
            f"truth holds {true.min()} to {true.max()}, expected 0 to {n_classes - 1}."
        )
    inside = (guess >= 0) & (guess < n_classes)
    pairs = true[inside] * n_classes + guess[inside]
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def as_indices(name: str, values: ArrayLike) -> NDArray[np.int64]:
    """Class indices as int64; raises if a number is not whole, which a cast would cut off."""
    given = np.asarray(values)
    if given.dtype.kind == "f" and (odd := given[given % 1 != 0]).size:
        raise LabelError(f"{name}: {odd[0]:g} is no class index, expected whole numbers.")
    return np.asarray(given, dtype=np.int64)


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
    f1 = ratio(2 * hits, np.where(present, size + claimed, 0))
    iou = ratio(hits, np.where(present, size + claimed - hits, 0))
    return Scores(
        n=int(count.sum()),
        accuracy=float(hits.sum() / n) if n else float("nan"),
        macro_f1=float(f1[present].mean()) if n else float("nan"),
        mean_iou=float(iou[present].mean()) if n else float("nan"),
        per_class_f1=tuple(f1.tolist()),
        per_class_precision=tuple(ratio(hits, claimed).tolist()),
        per_class_recall=tuple(ratio(hits, size).tolist()),
        per_class_n=tuple(count.tolist()),
    )


def class_f1(
    size: NDArray[np.floating], claimed: NDArray[np.floating], hits: NDArray[np.floating]
) -> NDArray[np.float64]:
    """F1 (…, class) from counts (…, class); NaN for a class without a true member.

    Parameters
    ----------
    size, claimed, hits : numpy.ndarray
        Parcels that are of a class, that were predicted as it, and both.
    """
    return ratio(2 * hits, np.where(size > 0, size + claimed, 0))


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
    iou = ratio(hits, np.where(present, size + claimed - hits, 0))
    means = [
        ratio(hits.sum(axis=-1), size.sum(axis=-1)),
        ratio(np.nansum(class_f1(size, claimed, hits), axis=-1), n_present),
        ratio(np.nansum(iou, axis=-1), n_present),
    ]
    return np.asarray(np.stack(means, axis=-1))


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """A quotient; NaN if the divisor is zero."""
    out: NDArray[np.float64] = np.full(np.shape(part), np.nan)
    np.divide(part, whole, out=out, where=whole > 0, dtype=np.float64)
    return out
