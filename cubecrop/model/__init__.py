"""Networks, and models that know what they were made for."""

from __future__ import annotations

from cubecrop.model.arrays import SensorArrays, days_since_start, season_of, sensor_arrays
from cubecrop.model.calibration import Calibration, tempered
from cubecrop.model.config import NetworkConfig, SensorConfig
from cubecrop.model.crop_model import (
    MODEL_FILES,
    CropModel,
    ModelReference,
    TrainingRecord,
    default_device,
)
from cubecrop.model.networks import LateFusion, LightweightAttention, PixelSetEncoder, Series
from cubecrop.model.predict import Predictor, one_thread

__all__ = [
    "MODEL_FILES",
    "Calibration",
    "CropModel",
    "LateFusion",
    "LightweightAttention",
    "ModelReference",
    "NetworkConfig",
    "PixelSetEncoder",
    "Predictor",
    "SensorArrays",
    "SensorConfig",
    "Series",
    "TrainingRecord",
    "days_since_start",
    "default_device",
    "one_thread",
    "season_of",
    "sensor_arrays",
    "tempered",
]
