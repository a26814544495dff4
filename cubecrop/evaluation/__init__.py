"""How far a model carries: protocols, leakage, stress, trust, adaptation, and a report of them."""

from __future__ import annotations

from cubecrop.evaluation.population import Population
from cubecrop.evaluation.predictions import Predictions
from cubecrop.evaluation.protocols import Fold, folds

__all__ = ["Fold", "Population", "Predictions", "folds"]
