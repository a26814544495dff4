"""A model as two files: its weights, and the rest as JSON. Reading executes no code from them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from cubecrop.errors import ModelFormatError
from cubecrop.model.applicability import TrainingSpace
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

#: Prefix of the names of tensors that hold fingerprints of parcels and not weights.
_PARCELS = "cubecrop:parcels:"
#: The same for the embeddings of training parcels.
_SPACE = "cubecrop:training_space:"


def digest_with(
    spec: ModelSpec,
    network: CropNetwork,
    parcels_seen: Mapping[str, NDArray[np.uint64]],
    training_space: TrainingSpace | None,
) -> str:
    """SHA-256 over weights and metadata of a model."""
    return digest_of(_tensors(network, parcels_seen, training_space), metadata_of(spec))


def packed(
    spec: ModelSpec,
    network: CropNetwork,
    parcels_seen: Mapping[str, NDArray[np.uint64]],
    training_space: TrainingSpace | None,
) -> dict[str, bytes]:
    """Contents of a model's files, by the names of `MODEL_FILES`.

    ``model.json`` is a STAC item with the machine learning model (MLM) extension. `unpacked`
    reads its properties.
    """
    weights = _tensors(network, parcels_seen, training_space)
    metadata = metadata_of(spec)
    digest = digest_of(weights, metadata)
    item = mlm_item(spec, digest, _facts(spec, network))
    item["properties"]["cubecrop:model"] = metadata
    item["properties"]["cubecrop:digest"] = digest
    text = json.dumps(item, indent=1).encode()
    return dict(zip(MODEL_FILES, (weights, text), strict=True))


def unpacked(
    files: Mapping[str, bytes], source: object
) -> tuple[ModelSpec, CropNetwork, dict[str, NDArray[np.uint64]], TrainingSpace | None]:
    """Read a model from the contents of `MODEL_FILES`.

    Parameters
    ----------
    files : mapping
        Name to content, as from `packed`.
    source : object
        Where the files come from, for messages.

    Returns
    -------
    tuple
        Specification, network, fingerprints of parcels, and embeddings of training parcels, which
        a file may lack.

    Raises
    ------
    ModelFormatError
        The files are not a model, are damaged, or were changed after they were written.
    """
    spec = spec_of(checked_metadata(files, source), source)
    try:
        tensors = safetensors.torch.load(files[MODEL_FILES[0]])
    except (ValueError, SafetensorError) as error:
        raise ModelFormatError(f"{source} is not a model: {error!r}.") from error
    parcels_seen = _parcels_seen(tensors)
    space = _training_space(tensors, spec.config)
    return spec, _network(spec.config, tensors), parcels_seen, space


def _facts(spec: ModelSpec, network: CropNetwork) -> NetworkFacts:
    statistics = {name: network.scaling(name) for name in spec.sensors}
    return NetworkFacts(
        framework_version=torch.__version__.split("+")[0],
        n_parameters=sum(p.numel() for p in network.parameters()),
        normalisation={
            name: (mean.tolist(), deviation.tolist())
            for name, (mean, deviation) in statistics.items()
        },
    )


def _tensors(
    network: CropNetwork,
    parcels_seen: Mapping[str, NDArray[np.uint64]],
    training_space: TrainingSpace | None,
) -> bytes:
    """Weights, and numbers of parcels that are too many for JSON."""
    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    for part, prints in parcels_seen.items():
        # As int64, since torch supports few operations on uint64.
        numbers = np.ascontiguousarray(prints, dtype=np.uint64).view(np.int64)
        state[_PARCELS + part] = torch.from_numpy(numbers.copy())
    if training_space is not None:
        for name, values in training_space.arrays().items():
            state[_SPACE + name] = torch.from_numpy(values.copy())
    return safetensors.torch.save(state)


def _parcels_seen(tensors: dict[str, torch.Tensor]) -> dict[str, NDArray[np.uint64]]:
    """Remove the fingerprints from a file's tensors, which leaves the weights, and return them."""
    names = sorted(name for name in tensors if name.startswith(_PARCELS))
    prints = {name.removeprefix(_PARCELS): tensors.pop(name) for name in names}
    for part, tensor in prints.items():
        if tensor.dtype != torch.int64 or tensor.ndim != 1:
            raise ModelFormatError(
                f"fingerprints of {part!r} parcels are {tensor.dtype} of shape "
                f"{tuple(tensor.shape)}, expected one row of int64."
            )
    return {part: tensor.numpy().view(np.uint64) for part, tensor in prints.items()}


def _training_space(
    tensors: dict[str, torch.Tensor], config: NetworkConfig
) -> TrainingSpace | None:
    """Remove the embeddings of training parcels from a file's tensors, and return them."""
    names = [name for name in tensors if name.startswith(_SPACE)]
    if not names:
        return None
    found = {name.removeprefix(_SPACE): tensors.pop(name) for name in names}
    try:
        arrays = {name: tensor.numpy() for name, tensor in found.items()}
    except TypeError as error:  # a type that NumPy lacks
        raise ModelFormatError(f"embeddings of training parcels: {error}") from error
    space = TrainingSpace.from_arrays(arrays)
    if space.n_features != (width := config.embedding_width):
        raise ModelFormatError(
            f"embeddings of training parcels have {space.n_features} features, those of the "
            f"network have {width}."
        )
    return space


def _network(config: NetworkConfig, weights: Mapping[str, torch.Tensor]) -> CropNetwork:
    network = CropNetwork(config)
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ModelFormatError(f"weights do not fit the network: {error}") from error
    if not all(bool(torch.isfinite(t).all()) for t in network.state_dict().values()):
        raise ModelFormatError("weights are not all finite.")
    return network.eval()
