"""A model as two files: its weights, and all else as JSON. Nothing in them is executed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from cubecrop.coverage import Coverage
from cubecrop.errors import ModelFormatError
from cubecrop.model.calibration import Calibration
from cubecrop.model.config import NetworkConfig
from cubecrop.model.mlm import mlm_item
from cubecrop.model.networks import CropNetwork
from cubecrop.model.part_scores import read_part_scores
from cubecrop.model.record import TrainingRecord, read_window
from cubecrop.nomenclature import Nomenclature

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cubecrop.model.crop_model import CropModel

__all__ = ["MODEL_FILES", "digest_of", "packed", "unpacked"]

MODEL_FILES = ("model.safetensors", "model.json")
_FORMAT = 1
#: Start of the names of tensors that are no weights, but fingerprints of parcels.
_PARCELS = "cubecrop:parcels:"


def digest_of(model: CropModel) -> str:
    """SHA-256 over weights and metadata."""
    return _digest(_tensors(model), _metadata(model))


def packed(model: CropModel) -> dict[str, bytes]:
    """A model as the contents of `MODEL_FILES`.

    ``model.json`` is a STAC item with the machine learning model (MLM) extension; what
    `unpacked` reads stands in its properties.
    """
    item = mlm_item(model)
    item["properties"]["cubecrop:model"] = _metadata(model)
    item["properties"]["cubecrop:digest"] = model.digest
    text = json.dumps(item, indent=1).encode()
    return dict(zip(MODEL_FILES, (_tensors(model), text), strict=True))


def unpacked(files: Mapping[str, bytes], source: object) -> dict[str, Any]:
    """Arguments of `CropModel` from the contents of `MODEL_FILES`.

    Parameters
    ----------
    files : mapping
        Name to content, as `packed` gives them.
    source : object
        Where they are from, for messages.

    Raises
    ------
    ModelFormatError
        They are not a model's, are damaged, or were changed after they were written.
    """
    weights, text = (files[name] for name in MODEL_FILES)
    try:
        properties = json.loads(text.decode())["properties"]
        metadata, digest = properties["cubecrop:model"], properties["cubecrop:digest"]
        if metadata["format"] != _FORMAT:
            raise ModelFormatError(
                f"{source} is of model format {metadata['format']!r}, expected {_FORMAT}."
            )
        if _digest(weights, metadata) != digest:
            raise ModelFormatError(
                f"{source} is damaged: its files are not those that were written "
                f"(digest {digest}). Copy the model again."
            )
        tensors = safetensors.torch.load(weights)
        seen = _parcels_seen(tensors)
        return {
            "network": _network(metadata["network"], tensors),
            "parcels_seen": seen,
            **_fields(metadata),
        }
    except ModelFormatError:
        raise
    except (
        ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError,
    ) as error:  # fmt: skip
        raise ModelFormatError(f"{source} is not a model: {error!r}.") from error


def _tensors(model: CropModel) -> bytes:
    """Weights, and the fingerprints of parcels: 8 bytes each, too many for JSON."""
    state = {k: v.detach().cpu().contiguous() for k, v in model.network.state_dict().items()}
    for part, prints in model.parcels_seen.items():
        # As int64, since torch does little with uint64.
        numbers = np.ascontiguousarray(prints, dtype=np.uint64).view(np.int64)
        state[_PARCELS + part] = torch.from_numpy(numbers.copy())
    return safetensors.torch.save(state)


def _parcels_seen(tensors: dict[str, torch.Tensor]) -> dict[str, NDArray[np.uint64]]:
    """Take the fingerprints out of what a file holds; what is left are weights."""
    names = sorted(name for name in tensors if name.startswith(_PARCELS))
    found = {name.removeprefix(_PARCELS): tensors.pop(name) for name in names}
    if any(one.dtype != torch.int64 or one.ndim != 1 for one in found.values()):
        raise ModelFormatError("fingerprints of parcels are not whole numbers of 64 bits in a row.")
    return {part: one.numpy().view(np.uint64) for part, one in found.items()}


def _digest(weights: bytes, metadata: Mapping[str, Any]) -> str:
    hashed = hashlib.sha256(weights)
    hashed.update(json.dumps(metadata, sort_keys=True).encode())
    return hashed.hexdigest()


def _metadata(model: CropModel) -> dict[str, Any]:
    """All but the weights, as plain JSON types."""
    raw = {
        "format": _FORMAT,
        "name": model.name,
        "licence": model.licence,
        "network": model.config.to_dict(),
        "nomenclature": model.nomenclature.to_json(),
        "season_window": model.season_window,
        "radar_calibration": model.radar_calibration,
        "radar_orbits": model.radar_orbits,
        "composite": model.composite,
        "n_pixels": model.n_pixels,
        "training": asdict(model.training),
        "scores": model.scores,
        "calibration": asdict(model.calibration) if model.calibration else None,
    }
    if model.coverage:  # a model that was written without it keeps its digest
        raw["coverage"] = {name: one.to_dict() for name, one in model.coverage.items()}
    plain: dict[str, Any] = json.loads(json.dumps(raw))
    return plain


def _network(config: dict[str, Any], weights: Mapping[str, torch.Tensor]) -> CropNetwork:
    network = CropNetwork(NetworkConfig.from_dict(config))
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ModelFormatError(f"weights do not fit the network: {error}") from error
    if not all(bool(torch.isfinite(t).all()) for t in network.state_dict().values()):
        raise ModelFormatError("weights are not all finite.")
    return network.eval()


def _fields(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of CropModel from its metadata, with lists as tuples again."""
    window = metadata["season_window"]
    return {
        "name": str(metadata["name"]),
        "licence": str(metadata["licence"]),
        "nomenclature": Nomenclature.from_json(metadata["nomenclature"]),
        "season_window": None if window is None else read_window(window),
        "radar_calibration": str(metadata["radar_calibration"]),
        "radar_orbits": tuple(map(str, metadata["radar_orbits"])),
        "composite": str(metadata["composite"]),
        "n_pixels": int(metadata["n_pixels"]),
        "calibration": Calibration.from_dict(kept) if (kept := metadata["calibration"]) else None,
        "training": TrainingRecord.from_dict(metadata["training"]),
        "coverage": {
            str(name): Coverage.from_dict(one) for name, one in metadata.get("coverage", {}).items()
        },
        "scores": {
            str(part): read_part_scores(values) for part, values in metadata["scores"].items()
        },
    }
