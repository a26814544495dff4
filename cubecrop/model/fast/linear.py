"""Linear layers of many rows as convolutions.

Results equal `torch.nn.functional.linear` within 1e-5 for values of order 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["linear"]

#: Number of images into which the rows are split: with fewer, torch does not use oneDNN.
_IMAGES = 16
#: Number of multiplications below which preparing a convolution costs more than it saves.
_WORTH_CONVOLVING = 3_000_000


def linear(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Linear layer of many rows (row, n_in) as a convolution of width 1: (row, n_out).

    On a CPU, torch computes convolutions with oneDNN and matrix products with its BLAS. The
    latter is half as fast if MKL does not support the processor's widest instructions.
    """
    n, n_in = rows.shape
    if rows.is_cuda or n * weight.numel() < _WORTH_CONVOLVING:
        return functional.linear(rows, weight, bias)
    if spare := -n % _IMAGES:
        rows = functional.pad(rows, (0, 0, 0, spare))
    images = rows.view(_IMAGES, -1, 1, n_in).permute(0, 3, 1, 2)  # (image, band, row, 1)
    out = functional.conv2d(images, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(n + spare, -1)[:n]
