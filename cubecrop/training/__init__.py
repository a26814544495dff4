"""Training networks on pixel sets, and the random forest that they are judged beside."""

from __future__ import annotations

from cubecrop.training.config import TrainConfig
from cubecrop.training.forest import Forest, fit_forest
from cubecrop.training.loop import fit

__all__ = ["Forest", "TrainConfig", "fit", "fit_forest"]
