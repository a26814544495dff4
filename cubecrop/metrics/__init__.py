"""Confusion matrix, scores and area estimates, with their 95 % intervals."""

from __future__ import annotations

from cubecrop.metrics.areas import AreaEstimates, area_estimates
from cubecrop.metrics.counting import (
    SCORE_NAMES,
    ScoreName,
    Scores,
    class_f1,
    confusion_matrix,
    scores,
    scores_of_counts,
)
from cubecrop.metrics.resampling import accuracy_difference, ends, group_draws, intervals
from cubecrop.metrics.shares import Z_95, Interval, wilson

__all__ = [
    "SCORE_NAMES", "Z_95", "AreaEstimates", "Interval", "ScoreName", "Scores",
    "accuracy_difference", "area_estimates", "class_f1", "confusion_matrix", "ends", "group_draws",
    "intervals", "scores", "scores_of_counts", "wilson",
]  # fmt: skip
