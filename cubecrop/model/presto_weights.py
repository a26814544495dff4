"""Weights of Presto from the user's copy of the published file.

The published code (nasaharvest/presto, MIT) stores the state dict of its whole network in
``default_model.pt``. Names under ``encoder.`` are those of `cubecrop.model.presto.PrestoEncoder`;
those under ``decoder.``, which pre-training alone needs, are left out.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import safetensors.torch
import torch

from cubecrop.checks import check_path
from cubecrop.errors import ModelFormatError
from cubecrop.model.presto import PrestoEncoder
from cubecrop.model.torch_file import read_weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

__all__ = ["PrestoWeights", "read_presto"]

_ENCODER: Final = "encoder."
#: Parts of the published network, and of one that was fine-tuned, that are not needed.
_OTHERS: Final = ("decoder.", "head.")
#: At most so many names are listed in a message.
_LISTED: Final = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class PrestoWeights:
    """Weights of Presto's encoder, from which `cubecrop.fit` starts.

    Parameters
    ----------
    weights : mapping
        Name to weights, by the names of the published encoder.
    """

    weights: Mapping[str, Tensor]
    #: Presto knows calendar months, and takes any season of up to 24 of them.
    season_window: ClassVar[None] = None

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the weights."""
        return hashlib.sha256(safetensors.torch.save(dict(self.weights))).hexdigest()


def read_presto(path: str | Path) -> PrestoWeights:
    """Read the weights of Presto, a transformer pre-trained on monthly satellite series.

    Nothing in the file is executed, and nothing is downloaded.

    Parameters
    ----------
    path : path
        Your copy of ``default_model.pt`` of github.com/nasaharvest/presto (MIT licence), or the
        same weights in a file that ends in ``.safetensors``.

    Returns
    -------
    PrestoWeights
        For ``cubecrop.fit(..., init=weights)``.

    Raises
    ------
    ModelFormatError
        The file holds other weights, is damaged, or holds more than weights. The message names
        the weights that are missing, unknown, or of another shape.

    References
    ----------
    Tseng et al. 2023, Lightweight, Pre-trained Transformers for Remote Sensing Timeseries,
    arXiv:2304.14065.
    """
    path = check_path("path", path, error=ModelFormatError)
    if not path.is_file():
        raise ModelFormatError(
            f"{path} is not a file, expected a copy of `default_model.pt` of Presto's repository, "
            "github.com/nasaharvest/presto."
        )
    content = read_weights(path, example="a state dict: `torch.save(model.state_dict(), path)`")
    if not isinstance(content, Mapping) or not all(map(_is_plain, content.values())):
        raise ModelFormatError(
            f"{path} holds no state dict, expected names with their weights, tensors of floats."
        )
    state = {
        # A copy each: weights that share their memory have no digest.
        str(name).removeprefix(_ENCODER): torch.empty(values.shape).copy_(values.detach())
        for name, values in content.items()
        if not str(name).startswith(_OTHERS)
    }
    _check(state, path)
    return PrestoWeights(weights=state)


def _is_plain(value: object) -> bool:
    """Whether this is a tensor of floats, neither sparse, nor quantised, nor without values."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and not (value.is_meta or value.is_quantized or value.is_nested)
        and value.is_floating_point()
    )


def _check(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise unless these are the weights of the encoder; the message names the others."""
    shapes = {name: tuple(own.shape) for name, own in PrestoEncoder().state_dict().items()}
    problems = {
        "missing": sorted(shapes.keys() - state.keys()),
        "unknown": sorted(state.keys() - shapes.keys()),
        "of another shape": [
            f"{name} {tuple(state[name].shape)}, expected {shape}"
            for name, shape in shapes.items()
            if name in state and tuple(state[name].shape) != shape
        ],
        "not finite": [
            name for name in shapes if name in state and not bool(state[name].isfinite().all())
        ],
    }
    found = [
        f"{what}: {', '.join(names[:_LISTED])}{' …' if len(names) > _LISTED else ''}"
        for what, names in problems.items()
        if names
    ]
    if found:
        raise ModelFormatError(
            f"{path} does not hold the weights of Presto's encoder. {'; '.join(found)}. Use the "
            "file `default_model.pt` of github.com/nasaharvest/presto as it is."
        )
