"""How far a model carries: protocols, leakage, stress, trust, adaptation, and a report of them."""

from __future__ import annotations

from cubecrop.evaluation.adaptation import adapt, fine_tune
from cubecrop.evaluation.population import Population
from cubecrop.evaluation.predictions import Predictions

__all__ = ["Population", "Predictions", "adapt", "fine_tune"]
