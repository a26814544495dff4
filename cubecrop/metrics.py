"""The confusion matrix and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.errors import LabelError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Scores", "confusion_matrix", "scores"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Scores of one evaluation, each 0 to 1.

    ``macro_f1`` and ``mean_iou`` are means over the classes that have a true member in the
    evaluated set; ``per_class_f1`` is NaN for the others.
    """

    n: int
    accuracy: float
    macro_f1: float
    mean_iou: float
    per_class_f1: tuple[float, ...]


def confusion_matrix(truth: ArrayLike, predicted: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    """Count (true class, predicted class) pairs.

    Parameters
    ----------
    truth, predicted : array_like of int, shape (n,)
        Class indices. A prediction outside 0 … n_classes - 1 (nodata) counts in no column,
        so the row's sum falls short of the class's size; see `scores`.
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


def scores(truth: ArrayLike, predicted: ArrayLike, n_classes: int) -> Scores:
    """Accuracy, macro-F1 and mean IoU; a parcel without prediction counts as wrong.

    Parameters
    ----------
    truth, predicted : array_like of int, shape (n,)
        Class indices; predictions may hold 255 for "no prediction".
    n_classes : int
        Number of classes.

    Returns
    -------
    Scores
        NaN everywhere where ``truth`` is empty.
    """
    matrix = confusion_matrix(truth, predicted, n_classes)
    size = np.bincount(np.asarray(truth, dtype=np.int64), minlength=n_classes)
    n = int(size.sum())
    if n == 0:
        nan = float("nan")
        return Scores(
            n=0, accuracy=nan, macro_f1=nan, mean_iou=nan, per_class_f1=(nan,) * n_classes
        )
    hits = np.diag(matrix).astype(float)
    claimed = matrix.sum(axis=0)
    union = size + claimed - hits
    present = size > 0
    f1 = np.full(n_classes, np.nan)
    f1[present] = 2 * hits[present] / (size + claimed)[present]
    return Scores(
        n=n,
        accuracy=float(hits.sum() / n),
        macro_f1=float(f1[present].mean()),
        mean_iou=float((hits[present] / union[present]).mean()),
        per_class_f1=tuple(f1.tolist()),
    )
