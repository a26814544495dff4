"""Training networks on pixel sets."""

from __future__ import annotations

from cubecrop.training.config import TrainConfig
from cubecrop.training.loop import fit

__all__ = ["TrainConfig", "fit"]
