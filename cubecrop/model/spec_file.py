"""The specification of a model as JSON: reads ``model.json`` without torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from cubecrop.checks import check_path
from cubecrop.coverage import Coverage
from cubecrop.errors import ModelFormatError
from cubecrop.model.config import NetworkConfig
from cubecrop.model.knowledge_limits import KnowledgeLimits
from cubecrop.model.probability_calibration import Calibration
from cubecrop.model.record import AdaptationRecord, TrainingRecord, read_window
from cubecrop.model.scores import read_part_scores
from cubecrop.model.spec import ModelSpec
from cubecrop.nomenclature import Nomenclature

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["MODEL_FILES", "checked_metadata", "digest_of", "metadata_of", "model_files",
           "read_spec", "spec_of"]  # fmt: skip

MODEL_FILES: Final = ("model.safetensors", "model.json")
_FORMAT: Final = 1


def read_spec(path: str | Path) -> ModelSpec:
    """Read the specification of a saved model, without its network.

    Parameters
    ----------
    path : path
        A folder that `CropModel.save` wrote.

    Raises
    ------
    ModelFormatError
        The folder is not a model, is damaged, or was changed after it was written.
    """
    files = model_files(path)
    return spec_of(checked_metadata(files, path), path)


def model_files(path: str | Path) -> dict[str, bytes]:
    """Contents of the files of a saved model, by name; raises if the folder is not a model."""
    folder = check_path("path", path, error=ModelFormatError)
    if folder.name in MODEL_FILES and folder.is_file():
        raise ModelFormatError(f"{folder} is a file of a model; pass its folder, {folder.parent}.")
    if missing := [name for name in MODEL_FILES if not (folder / name).is_file()]:
        raise ModelFormatError(
            f"{folder} is not a model: it lacks {missing}. Train one with "
            "`cubecrop train PARCELS --label COLUMN --year YEAR --archive ARCHIVE --out DIR`."
        )
    return {name: (folder / name).read_bytes() for name in MODEL_FILES}


def checked_metadata(files: Mapping[str, bytes], source: object) -> dict[str, Any]:
    """Metadata of a model's files, after a check that their digest is the one that was written.

    Parameters
    ----------
    files : mapping
        Name to content, by `MODEL_FILES`.
    source : object
        Where the files come from, for messages.

    Raises
    ------
    ModelFormatError
        The files are not a model, are damaged, or were changed after they were written.
    """
    weights, text = (files[name] for name in MODEL_FILES)
    try:
        properties = json.loads(text.decode())["properties"]
        metadata: dict[str, Any] = properties["cubecrop:model"]
        version, digest = metadata["format"], properties["cubecrop:digest"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFormatError(f"{source} is not a model: {error!r}.") from error
    if version != _FORMAT:
        raise ModelFormatError(f"{source} has model format {version!r}, expected {_FORMAT}.")
    if digest_of(weights, metadata) != digest:
        raise ModelFormatError(
            f"{source} is damaged: its files are not those that were written "
            f"(expected digest {digest}). Copy the model again."
        )
    return metadata


def digest_of(weights: bytes, metadata: Mapping[str, Any]) -> str:
    """SHA-256 over weights and metadata."""
    hashed = hashlib.sha256(weights)
    hashed.update(json.dumps(metadata, sort_keys=True).encode())
    return hashed.hexdigest()


def metadata_of(spec: ModelSpec) -> dict[str, Any]:
    """Convert a specification to plain JSON types."""
    raw = {
        "format": _FORMAT,
        "name": spec.name,
        "licence": spec.licence,
        "network": spec.config.to_dict(),
        "nomenclature": spec.nomenclature.to_json(),
        "season_window": spec.season_window,
        "radar_calibration": spec.radar_calibration,
        "radar_orbits": spec.radar_orbits,
        "composite": spec.composite,
        "n_pixels": spec.n_pixels,
        "training": asdict(spec.training),
        "scores": spec.scores,
        "calibration": asdict(spec.calibration) if spec.calibration else None,
    }
    known = {
        "sub_windows": spec.sub_windows,
        "clouds": spec.clouds,
        "resolution": spec.resolution,
        "coverage": {name: one.to_dict() for name, one in spec.coverage.items()},
        "adaptation": asdict(spec.adaptation) if spec.adaptation else None,
        "limits": spec.limits.to_dict() if spec.limits else None,
    }
    raw |= {key: value for key, value in known.items() if value}  # files may lack these
    plain: dict[str, Any] = json.loads(json.dumps(raw))
    return plain


def spec_of(metadata: Mapping[str, Any], source: object) -> ModelSpec:
    """Read a specification from the metadata of `metadata_of`.

    Raises
    ------
    ModelFormatError
        The metadata does not describe a model.
    """
    try:
        return _spec(metadata)
    except ModelFormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFormatError(f"{source} is not a model: {error!r}.") from error


def _spec(metadata: Mapping[str, Any]) -> ModelSpec:
    window, resolution = metadata["season_window"], metadata.get("resolution")
    training = TrainingRecord.from_dict(metadata["training"])
    return ModelSpec(
        config=NetworkConfig.from_dict(metadata["network"]),
        name=str(metadata["name"]),
        licence=str(metadata["licence"]),
        nomenclature=Nomenclature.from_json(metadata["nomenclature"]),
        season_window=None if window is None else read_window(window),
        sub_windows=bool(metadata.get("sub_windows", False)),
        radar_calibration=str(metadata["radar_calibration"]),
        radar_orbits=tuple(map(str, metadata["radar_orbits"])),
        composite=str(metadata["composite"]),
        # Some files have the mask among the settings of the training instead.
        clouds=str(metadata.get("clouds", training.settings.get("clouds", ""))),
        resolution=None if resolution is None else float(resolution),
        n_pixels=int(metadata["n_pixels"]),
        calibration=Calibration.from_dict(kept) if (kept := metadata["calibration"]) else None,
        limits=KnowledgeLimits.from_dict(kept) if (kept := metadata.get("limits")) else None,
        training=training,
        adaptation=AdaptationRecord.from_dict(kept)
        if (kept := metadata.get("adaptation"))
        else None,
        coverage={
            str(name): Coverage.from_dict(values)
            for name, values in metadata.get("coverage", {}).items()
        },
        scores={str(part): read_part_scores(values) for part, values in metadata["scores"].items()},
    )
