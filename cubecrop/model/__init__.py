"""Networks, and models that know what they were made for."""

from __future__ import annotations

from cubecrop.model.arrays import (
    SampleArrays,
    SensorArrays,
    WeatherArrays,
    all_finite,
    assemble,
    days_since_start,
    in_bands,
    in_window,
    mean_over_pixels,
    pixel_sets_of,
    sample_arrays,
    season_of,
    sensor_arrays,
    with_enough_dates,
)
from cubecrop.model.calibration import Calibration, calibration_text, tempered
from cubecrop.model.config import WEATHER, NetworkConfig, NetworkOptions, SensorConfig
from cubecrop.model.crop_model import CropModel
from cubecrop.model.networks import CropNetwork, Outputs
from cubecrop.model.part_scores import BASELINE, PartScores, difference, part_scores
from cubecrop.model.predict import (
    Predictor,
    as_batch,
    check_device_name,
    keep_freed_memory,
    one_thread,
    usable_device,
)
from cubecrop.model.record import TrainingRecord, window_text
from cubecrop.model.reference import ModelReference, reference_to
from cubecrop.model.series import Batch, Series
from cubecrop.model.storage import MODEL_FILES
from cubecrop.model.thermal import thermal_source

__all__ = [
    "BASELINE",
    "MODEL_FILES",
    "WEATHER",
    "Batch",
    "Calibration",
    "CropModel",
    "CropNetwork",
    "ModelReference",
    "NetworkConfig",
    "NetworkOptions",
    "Outputs",
    "PartScores",
    "Predictor",
    "SampleArrays",
    "SensorArrays",
    "SensorConfig",
    "Series",
    "TrainingRecord",
    "WeatherArrays",
    "all_finite",
    "as_batch",
    "assemble",
    "calibration_text",
    "check_device_name",
    "days_since_start",
    "difference",
    "in_bands",
    "in_window",
    "keep_freed_memory",
    "mean_over_pixels",
    "one_thread",
    "part_scores",
    "pixel_sets_of",
    "reference_to",
    "sample_arrays",
    "season_of",
    "sensor_arrays",
    "tempered",
    "thermal_source",
    "usable_device",
    "window_text",
    "with_enough_dates",
]
