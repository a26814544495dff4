"""Training of networks on pixel sets, and of the random forest that is their baseline."""

from __future__ import annotations

from cubecrop.training.config import TrainConfig, as_config
from cubecrop.training.fitting import check_fit_options, fit
from cubecrop.training.forest import Forest, fit_forest
from cubecrop.training.knowledge_limits import fit_limits
from cubecrop.training.pretraining import Encoders, PretrainConfig, pretrain
from cubecrop.training.refitting import Taught, refit, settings_of
from cubecrop.training.starting import Init, as_init, check_init, config_of_init

__all__ = [
    "Encoders", "Forest", "Init", "PretrainConfig", "Taught", "TrainConfig", "as_config", "as_init",
    "check_fit_options", "check_init", "config_of_init", "fit", "fit_forest", "fit_limits",
    "pretrain", "refit", "settings_of",
]  # fmt: skip
