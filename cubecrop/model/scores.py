"""Scores that a model keeps, as named JSON types."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from cubecrop.metrics import SCORE_NAMES, Interval, ScoreName, confusion_matrix, intervals, scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "BASELINE", "ClassScores", "Difference", "PartScores", "difference", "part_scores",
    "read_part_scores",
]  # fmt: skip

#: The name of the random forest's scores.
BASELINE = "held out, random forest"


class ClassScores(TypedDict):
    """Scores of one class of ``n`` parcels; None where a score is not defined."""

    n: int
    precision: float | None
    recall: float | None
    f1: float | None


class Difference(TypedDict):
    """Accuracy of the network minus that of the random forest, on the same parcels."""

    accuracy: float
    interval: list[float]


class PartScores(TypedDict):
    """Scores of one part of the parcels, each 0 to 1.

    ``intervals`` are 95 % intervals [low, high] by score. ``per_class`` has scores by class name.
    ``confusion`` has true classes as rows and predicted classes as columns, both in the order of
    the nomenclature; it does not count parcels without prediction. ``difference`` is given with
    the scores of the random forest. The first four are always present.
    """

    n: float
    accuracy: float
    macro_f1: float
    mean_iou: float
    intervals: NotRequired[dict[ScoreName, list[float]]]
    per_class: NotRequired[dict[str, ClassScores]]
    confusion: NotRequired[list[list[int]]]
    difference: NotRequired[Difference]


def part_scores(
    truth: NDArray[np.int64],
    predicted: NDArray[np.integer],
    names: Sequence[str],
    *,
    groups: Sequence[object] | None = None,
) -> PartScores:
    """Score predictions; arguments as for `cubecrop.metrics.intervals`, and the classes' names."""
    result = scores(truth, predicted, len(names))
    ends = intervals(truth, predicted, len(names), groups=groups)
    rows = zip(
        result.per_class_n, result.per_class_precision, result.per_class_recall,
        result.per_class_f1, strict=True,
    )  # fmt: skip
    return {
        "n": float(result.n),
        "accuracy": result.accuracy,
        "macro_f1": result.macro_f1,
        "mean_iou": result.mean_iou,
        "intervals": {name: list(ends[name]) for name in SCORE_NAMES},
        "per_class": {
            name: ClassScores(n=n, precision=_known(p), recall=_known(r), f1=_known(f))
            for name, (n, p, r, f) in zip(names, rows, strict=True)
        },
        "confusion": confusion_matrix(truth, predicted, len(names)).tolist(),
    }


def difference(value: float, interval: Interval) -> Difference:
    """A difference as JSON types."""
    return {"accuracy": value, "interval": list(interval)}


def read_part_scores(raw: Mapping[str, Any]) -> PartScores:
    """Read scores from JSON types; KeyError, TypeError or ValueError if these are not scores."""
    result: PartScores = {
        "n": float(raw["n"]),
        "accuracy": float(raw["accuracy"]),
        "macro_f1": float(raw["macro_f1"]),
        "mean_iou": float(raw["mean_iou"]),
    }
    if "intervals" in raw:
        result["intervals"] = {name: _pair(raw["intervals"][name]) for name in SCORE_NAMES}
    if "per_class" in raw:
        result["per_class"] = {
            str(name): ClassScores(
                n=int(values["n"]),
                precision=_number(values["precision"]),
                recall=_number(values["recall"]),
                f1=_number(values["f1"]),
            )
            for name, values in raw["per_class"].items()
        }
    if "confusion" in raw:
        result["confusion"] = [[int(n) for n in row] for row in raw["confusion"]]
    if "difference" in raw:
        values = raw["difference"]
        result["difference"] = {
            "accuracy": float(values["accuracy"]),
            "interval": _pair(values["interval"]),
        }
    return result


def _known(value: float) -> float | None:
    # JSON has no NaN.
    return None if math.isnan(value) else value


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _pair(ends: Sequence[float]) -> list[float]:
    low, high = ends
    return [float(low), float(high)]
