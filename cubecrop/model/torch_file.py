"""Weights in files of torch or safetensors. Reading executes no code from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch

from cubecrop.errors import ModelFormatError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_weights"]


def read_weights(path: Path, *, example: str) -> Any:  # noqa: ANN401 (what the file holds)
    """Content of a file that `torch.save` wrote, or of one in safetensors' format.

    Parameters
    ----------
    path : Path
        A name that ends in ``.safetensors`` means that format.
    example : str
        What to write to such a file instead, for the message.

    Raises
    ------
    ModelFormatError
        The file cannot be read, is damaged, or holds more than weights.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever its wrong parts lead to
        # The message of torch is left out: it advises to load the file all the same.
        raise ModelFormatError(
            f"{path} is damaged, or holds more than weights, which cubecrop does not read "
            f"({type(error).__name__}). Save only {example}."
        ) from error
