"""How far a model carries: protocols, leakage, stress, trust, adaptation, and a report of them."""

from __future__ import annotations

from cubecrop.evaluation.adaptation import adapt, fine_tune
from cubecrop.evaluation.calibrating import calibrate_on_folds
from cubecrop.evaluation.map_areas import MapAreas, map_areas
from cubecrop.evaluation.population import Population
from cubecrop.evaluation.predictions import Predictions
from cubecrop.evaluation.protocols import PROTOCOLS, Fold, folds
from cubecrop.evaluation.reliability import (
    calibration_error,
    crop_set_scores,
    crop_set_table,
    reliability_table,
)
from cubecrop.evaluation.report import Report
from cubecrop.evaluation.stress import STRESSES, stressed
from cubecrop.evaluation.stress_curves import stress_curve
from cubecrop.evaluation.study import generalisation_report
from cubecrop.evaluation.study_options import StudyOptions

__all__ = [
    "PROTOCOLS",
    "STRESSES",
    "Fold",
    "MapAreas",
    "Population",
    "Predictions",
    "Report",
    "StudyOptions",
    "adapt",
    "calibrate_on_folds",
    "calibration_error",
    "crop_set_scores",
    "crop_set_table",
    "fine_tune",
    "folds",
    "generalisation_report",
    "map_areas",
    "reliability_table",
    "stress_curve",
    "stressed",
]
