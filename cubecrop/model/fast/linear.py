"""Linear layers of many rows as convolutions.

Equal to `torch.nn.functional.linear`, within 1e-5 where values are of order 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["linear"]

#: A convolution takes rows in this many images: with fewer, torch does without oneDNN.
_IMAGES = 16
#: Multiplications below which preparing a convolution costs more than it saves.
_WORTH_CONVOLVING = 3_000_000


def linear(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Linear layer of many rows (row, inside) as a convolution of width 1: (row, outside).

    On a processor torch gives convolutions to oneDNN and products of matrices to its BLAS,
    which is half as fast where MKL does not know the processor's widest instructions.
    """
    n, inside = rows.shape
    if rows.is_cuda or n * weight.numel() < _WORTH_CONVOLVING:
        return functional.linear(rows, weight, bias)
    if spare := -n % _IMAGES:
        rows = functional.pad(rows, (0, 0, 0, spare))
    images = rows.view(_IMAGES, -1, 1, inside).permute(0, 3, 1, 2)  # (image, band, row, 1)
    out = functional.conv2d(images, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(n + spare, -1)[:n]
