"""A model as a STAC item with the machine learning model (MLM) extension."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shapely.geometry import mapping

from cubecrop.circle import bbox_around, box_of
from cubecrop.schema import SERIES
from cubecrop.season import Season

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cubecrop.model.spec import ModelSpec

__all__ = ["NetworkFacts", "mlm_item"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFacts:
    """Facts about a network's weights that the item states.

    ``normalisation`` holds the mean and the standard deviation of each band, by sensor.
    """

    framework_version: str
    n_parameters: int
    normalisation: Mapping[str, tuple[list[float], list[float]]]


def mlm_item(model: ModelSpec, digest: str, network: NetworkFacts) -> dict[str, Any]:
    """Describe a model as a STAC item, MLM extension 1.4.

    Its geometry is the bounding box of the training parcels, or the globe if they have no
    recorded place.
    """
    boxes = model.training.bboxes or ((-180.0, -90.0, 180.0, 90.0),)
    bbox = bbox_around(boxes)
    years = model.training.years or (2000,)
    window = model.season_window or ((0, 1, 1), (0, 12, 31))
    first, last = (Season(year).with_window(window) for year in (min(years), max(years)))
    bands = [{"name": band} for sensor in model.config.sensors for band in sensor.bands]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/mlm/v1.4.0/schema.json"],
        "id": f"cubecrop-{digest[:16]}",
        "geometry": mapping(box_of(bbox)),
        "bbox": list(bbox),
        "properties": {
            "title": model.name,
            "datetime": None,
            "start_datetime": f"{first.start}T00:00:00Z",
            "end_datetime": f"{last.end}T23:59:59Z",
            "license": model.licence,
            "mlm:name": _slug(model.name),
            "mlm:architecture": (
                "Presto"
                if model.config.temporal == "presto"
                else f"Pixel-set encoder, {model.config.temporal}, {model.config.fusion} fusion"
            ),
            "mlm:tasks": ["classification"],
            "mlm:framework": "PyTorch",
            "mlm:framework_version": network.framework_version,
            "mlm:total_parameters": network.n_parameters,
            "bands": bands,
            "mlm:input": [_input(model, name, network) for name in model.sensors],
            "mlm:output": [_output(model)],
        },
        "links": [],
        "assets": {
            "model": {
                "href": "./model.safetensors",
                "type": "application/octet-stream",
                "title": "Weights",
                "roles": ["mlm:model", "mlm:weights"],
                "mlm:artifact_type": "safetensors",
                "bands": bands,
            }
        },
    }


def _slug(name: str) -> str:
    """A name as the extension requires it: only letters, digits, underscores, dots and dashes."""
    return re.sub(r"[^0-9A-Za-z_.-]+", "-", f"cubecrop-{name}").strip("-._")


def _input(model: ModelSpec, name: str, network: NetworkFacts) -> dict[str, Any]:
    means, deviations = network.normalisation[name]
    bands = next(s.bands for s in model.config.sensors if s.name == name)
    pairs = zip(means, deviations, strict=True)
    return {
        "name": f"{name} {SERIES[name]}",
        "bands": list(bands),
        "input": {
            "shape": [-1, -1, len(bands), model.n_pixels],
            "dim_order": ["batch", "time", "bands", "pixel"],
            "data_type": "float32",
        },
        "value_scaling": [
            {"type": "z-score", "mean": mean, "stddev": deviation}
            for mean, deviation in pairs
            if math.isfinite(mean)
        ],
    }


def _output(model: ModelSpec) -> dict[str, Any]:
    names = model.nomenclature.names
    return {
        "name": "crop type",
        "tasks": ["classification"],
        "result": {
            "shape": [-1, len(names)],
            "dim_order": ["batch", "class"],
            "data_type": "float32",
        },
        "classification:classes": [
            {"value": value, "name": f"class_{value}", "title": name}
            for value, name in enumerate(names)
        ],
    }
