"""Training of networks on pixel sets, and of the random forest that is their baseline."""

from __future__ import annotations

from cubecrop.training.config import TrainConfig, as_config
from cubecrop.training.fitting import check_fit_options, fit
from cubecrop.training.forest import Forest, fit_forest
from cubecrop.training.knowledge_limits import fit_limits
from cubecrop.training.refitting import Taught, refit, settings_of

__all__ = ["Forest", "Taught", "TrainConfig", "as_config", "check_fit_options", "fit", "fit_forest",
           "fit_limits", "refit", "settings_of"]  # fmt: skip
