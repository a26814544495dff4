"""Training networks on pixel sets, and the random forest that they are judged beside."""

from __future__ import annotations

from cubecrop.training.config import TrainConfig, as_config
from cubecrop.training.fitting import check_fit_options, fit
from cubecrop.training.forest import Forest, fit_forest

__all__ = ["Forest", "TrainConfig", "as_config", "check_fit_options", "fit", "fit_forest"]
