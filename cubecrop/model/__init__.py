"""Networks, and models that record what data they were trained on.

Names load on first use, so that `read_spec` and others that need no torch do not import it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cubecrop.model.applicability import MOST_PARCELS, TrainingSpace
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
    from cubecrop.model.config import WEATHER, NetworkConfig, NetworkOptions, SensorConfig
    from cubecrop.model.crop_model import CropModel
    from cubecrop.model.handle import ModelHandle, handle_to
    from cubecrop.model.inspection import embedding_of
    from cubecrop.model.knowledge_limits import KnowledgeLimits, Limit, UnreliableArea
    from cubecrop.model.networks import CropNetwork, Outputs
    from cubecrop.model.predict import (
        Predictor,
        as_batch,
        check_device_name,
        keep_freed_memory,
        one_thread,
        usable_device,
    )
    from cubecrop.model.presto_weights import PrestoWeights, read_presto
    from cubecrop.model.probability_calibration import Calibration, calibration_text, tempered
    from cubecrop.model.record import AdaptationRecord, TrainingRecord, window_text
    from cubecrop.model.scores import BASELINE, PartScores, difference, part_scores
    from cubecrop.model.series import Batch, Series
    from cubecrop.model.spec import ModelSpec, beside_satellites
    from cubecrop.model.spec_file import MODEL_FILES, read_spec
    from cubecrop.model.thermal import thermal_source

_HOMES = {
    "AdaptationRecord": "record",
    "BASELINE": "scores",
    "MODEL_FILES": "spec_file",
    "MOST_PARCELS": "applicability",
    "WEATHER": "config",
    "Batch": "series",
    "Calibration": "probability_calibration",
    "CropModel": "crop_model",
    "CropNetwork": "networks",
    "KnowledgeLimits": "knowledge_limits",
    "Limit": "knowledge_limits",
    "ModelHandle": "handle",
    "ModelSpec": "spec",
    "NetworkConfig": "config",
    "NetworkOptions": "config",
    "Outputs": "networks",
    "PartScores": "scores",
    "Predictor": "predict",
    "PrestoWeights": "presto_weights",
    "SampleArrays": "arrays",
    "SensorArrays": "arrays",
    "SensorConfig": "config",
    "Series": "series",
    "TrainingRecord": "record",
    "TrainingSpace": "applicability",
    "UnreliableArea": "knowledge_limits",
    "WeatherArrays": "arrays",
    "all_finite": "arrays",
    "as_batch": "predict",
    "assemble": "arrays",
    "beside_satellites": "spec",
    "calibration_text": "probability_calibration",
    "check_device_name": "predict",
    "days_since_start": "arrays",
    "difference": "scores",
    "embedding_of": "inspection",
    "in_bands": "arrays",
    "in_window": "arrays",
    "keep_freed_memory": "predict",
    "mean_over_pixels": "arrays",
    "one_thread": "predict",
    "part_scores": "scores",
    "pixel_sets_of": "arrays",
    "read_presto": "presto_weights",
    "read_spec": "spec_file",
    "handle_to": "handle",
    "sample_arrays": "arrays",
    "season_of": "arrays",
    "sensor_arrays": "arrays",
    "tempered": "probability_calibration",
    "thermal_source": "thermal",
    "usable_device": "predict",
    "window_text": "record",
    "with_enough_dates": "arrays",
}

__all__ = [
    "BASELINE",
    "MODEL_FILES",
    "MOST_PARCELS",
    "WEATHER",
    "AdaptationRecord",
    "Batch",
    "Calibration",
    "CropModel",
    "CropNetwork",
    "KnowledgeLimits",
    "Limit",
    "ModelHandle",
    "ModelSpec",
    "NetworkConfig",
    "NetworkOptions",
    "Outputs",
    "PartScores",
    "Predictor",
    "PrestoWeights",
    "SampleArrays",
    "SensorArrays",
    "SensorConfig",
    "Series",
    "TrainingRecord",
    "TrainingSpace",
    "UnreliableArea",
    "WeatherArrays",
    "all_finite",
    "as_batch",
    "assemble",
    "beside_satellites",
    "calibration_text",
    "check_device_name",
    "days_since_start",
    "difference",
    "embedding_of",
    "handle_to",
    "in_bands",
    "in_window",
    "keep_freed_memory",
    "mean_over_pixels",
    "one_thread",
    "part_scores",
    "pixel_sets_of",
    "read_presto",
    "read_spec",
    "sample_arrays",
    "season_of",
    "sensor_arrays",
    "tempered",
    "thermal_source",
    "usable_device",
    "window_text",
    "with_enough_dates",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 (PEP 562)
    if name in _HOMES:
        return getattr(import_module(f"cubecrop.model.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'cubecrop.model' has no attribute {name!r}")


def __dir__() -> list[str]:
    special = [name for name in globals() if name.startswith("__") and name.endswith("__")]
    return sorted([*special, *__all__])
