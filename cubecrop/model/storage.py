"""A model as two files: its weights, and all else as JSON. Nothing in them is executed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from cubecrop.errors import ModelFormatError
from cubecrop.model.mlm import NetworkFacts, mlm_item
from cubecrop.model.networks import CropNetwork
from cubecrop.model.spec_file import (
    MODEL_FILES,
    checked_metadata,
    digest_of,
    metadata_of,
    spec_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cubecrop.model.config import NetworkConfig
    from cubecrop.model.spec import ModelSpec

__all__ = ["digest_with", "packed", "unpacked"]

#: Start of the names of tensors that are no weights, but fingerprints of parcels.
_PARCELS = "cubecrop:parcels:"


def digest_with(
    spec: ModelSpec, network: CropNetwork, parcels_seen: Mapping[str, NDArray[np.uint64]]
) -> str:
    """SHA-256 over weights and metadata of a model."""
    return digest_of(_tensors(network, parcels_seen), metadata_of(spec))


def packed(
    spec: ModelSpec, network: CropNetwork, parcels_seen: Mapping[str, NDArray[np.uint64]]
) -> dict[str, bytes]:
    """A model as the contents of `MODEL_FILES`.

    ``model.json`` is a STAC item with the machine learning model (MLM) extension; what
    `unpacked` reads stands in its properties.
    """
    weights, metadata = _tensors(network, parcels_seen), metadata_of(spec)
    digest = digest_of(weights, metadata)
    item = mlm_item(spec, digest, _facts(spec, network))
    item["properties"]["cubecrop:model"] = metadata
    item["properties"]["cubecrop:digest"] = digest
    text = json.dumps(item, indent=1).encode()
    return dict(zip(MODEL_FILES, (weights, text), strict=True))


def unpacked(
    files: Mapping[str, bytes], source: object
) -> tuple[ModelSpec, CropNetwork, dict[str, NDArray[np.uint64]]]:
    """Specification, network and fingerprints of parcels from the contents of `MODEL_FILES`.

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
    spec = spec_of(checked_metadata(files, source), source)
    try:
        tensors = safetensors.torch.load(files[MODEL_FILES[0]])
    except (ValueError, SafetensorError) as error:
        raise ModelFormatError(f"{source} is not a model: {error!r}.") from error
    seen = _parcels_seen(tensors)
    return spec, _network(spec.config, tensors), seen


def _facts(spec: ModelSpec, network: CropNetwork) -> NetworkFacts:
    statistics = {name: network.normalisation(name) for name in spec.sensors}
    return NetworkFacts(
        framework_version=torch.__version__.split("+")[0],
        n_parameters=sum(p.numel() for p in network.parameters()),
        normalisation={
            name: (mean.tolist(), deviation.tolist())
            for name, (mean, deviation) in statistics.items()
        },
    )


def _tensors(network: CropNetwork, parcels_seen: Mapping[str, NDArray[np.uint64]]) -> bytes:
    """Weights, and the fingerprints of parcels: 8 bytes each, too many for JSON."""
    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    for part, prints in parcels_seen.items():
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


def _network(config: NetworkConfig, weights: Mapping[str, torch.Tensor]) -> CropNetwork:
    network = CropNetwork(config)
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ModelFormatError(f"weights do not fit the network: {error}") from error
    if not all(bool(torch.isfinite(t).all()) for t in network.state_dict().values()):
        raise ModelFormatError("weights are not all finite.")
    return network.eval()
