"""Sums over pixels and over dates with few passes over memory.

- `pool_in_place` and `Moments` compute the mean and sample deviation of a set's valid pixels after
  a ReLU; `Moments` has gradients.
- `pool_heads` computes ``einsum("bht,bthc->bhc")`` of values in heads.

Results and gradients equal those of plain torch within 1e-5 for values of order 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

__all__ = ["PIECE", "Moments", "pool_heads", "pool_in_place", "row_of", "sample_deviation"]

#: Pixels per piece: the widest layer of a piece fits a processor's cache.
PIECE = 6144
#: Keeps the gradient of the square root finite if all pixels are equal; far below any signal.
_MIN_VARIANCE = 1e-20
#: Heads per matrix product. Fewer make the products too small; more waste computation.
_HEADS_TOGETHER = 4


def pool_in_place(
    layers: Sequence[nn.Linear], values: Tensor, valid: Tensor | None
) -> dict[str, Tensor]:
    """Mean and deviation, computed piece by piece in the same memory.

    Allocating memory for every layer of every piece costs more time than the layers.

    Parameters
    ----------
    layers : sequence of torch.nn.Linear
        Each is followed by a ReLU.
    values : Tensor
        (row, pixel, band).
    valid : Tensor, optional
        (row, pixel) bool, at least one True per row; by default all pixels are valid.

    Returns
    -------
    dict of str to Tensor
        "mean" and "std", each (row, feature).
    """
    rows, size = values.shape[:2]
    step = min(rows, max(1, PIECE // size))
    width = layers[-1].out_features
    mean, squares = values.new_empty(rows, 1, width), values.new_empty(rows, 1, width)
    if valid is None:
        weight = values.new_ones(1, 1, size).expand(rows, 1, size)
    else:
        values = values.masked_fill(~valid.unsqueeze(-1), 0.0)
        weight = valid.to(values.dtype).unsqueeze(1)  # (row, 1, pixel)
    n = weight.sum(dim=2, keepdim=True)  # (row, 1, 1)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        x = values[part].flatten(0, 1)
        for layer in layers:
            x = layer(x).relu_()
        x = x.view(-1, size, width)
        # A matrix product with ones is faster than a sum.
        torch.bmm(weight[part], x, out=mean[part])
        mean[part] /= n[part]
        x.sub_(mean[part])
        torch.bmm(weight[part], x.mul_(x), out=squares[part])
    return {"mean": mean.squeeze(1), "std": sample_deviation(squares, n).squeeze(1)}


def pool_heads(weight: Tensor, values: Tensor) -> Tensor:
    """Sums (batch, head, channel) of each head's channels, weighted by (batch, head, time).

    A few heads are pooled together over the channels of all of them, and each keeps its own
    channels. This computes more sums than needed, but with matrix products and without copies.
    """
    heads = weight.shape[1]
    n = math.gcd(heads, _HEADS_TOGETHER)
    channels = values.shape[2] // heads * n
    parts = []
    split = zip(torch.split(weight, n, dim=1), torch.split(values, channels, dim=2), strict=True)
    for w, v in split:
        sums = torch.bmm(w, v).view(len(w), n, n, -1)  # (batch, head, head, channel)
        parts.append(sums.diagonal(dim1=1, dim2=2).transpose(1, 2))
    return torch.cat(parts, dim=1)


def sample_deviation(squares: Tensor, n: Tensor) -> Tensor:
    """Sample deviation from summed squares; 0 for a set of one pixel."""
    variance = squares / (n - 1).clamp_min(1)
    return torch.sqrt(variance.clamp_min(_MIN_VARIANCE)) * (n > 1)


def row_of(counts: Tensor) -> Tensor:
    """Row index of each pixel; row i has ``counts[i]`` consecutive pixels."""
    return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


def _sums(pixels: Tensor, counts: Tensor) -> Tensor:
    """Sums (row, feature) of pixels (pixel, feature); row i has ``counts[i]`` consecutive ones."""
    # `embedding_bag` sums consecutive rows, five times faster than `index_add`.
    index = torch.arange(len(pixels), device=pixels.device)
    return functional.embedding_bag(index, pixels, counts.cumsum(dim=0) - counts, mode="sum")


def _pieces_of_sets(counts: Tensor, total: int) -> list[tuple[slice, slice]]:
    """Cut rows of ``counts`` consecutive pixels into pieces: slices of rows and of their pixels.

    On a graphics card, which has no small cache to fit, there is one piece.
    """
    if counts.is_cuda or total <= PIECE:
        return [(slice(None), slice(None))]
    ends = counts.cumsum(dim=0)
    cuts = torch.arange(1, total // PIECE + 1) * PIECE
    stops = {int(row) + 1 for row in torch.searchsorted(ends, cuts)}
    rows = [0, *sorted(stops - {len(ends)}), len(ends)]
    pixels = [0, *(int(ends[row - 1]) for row in rows[1:])]
    return [
        (slice(rows[i], rows[i + 1]), slice(pixels[i], pixels[i + 1])) for i in range(len(rows) - 1)
    ]


class Moments(torch.autograd.Function):
    """Mean and sample deviation, after a ReLU, of consecutive sets of pixels.

    Automatic gradients would keep three temporaries of the size of all pixels, which is most of
    the memory of a training step. Here temporaries have the size of one piece.
    """

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """Moments (row, feature) of pixels (pixel, feature); row i has ``counts[i]`` of them."""
        n = counts.unsqueeze(1).to(pixels.dtype)
        mean = pixels.new_empty(len(counts), pixels.shape[1])
        squares = torch.empty_like(mean)
        ctx.pieces = _pieces_of_sets(counts, len(pixels))
        for rows, part in ctx.pieces:
            x = pixels[part].relu()
            mean[rows] = _sums(x, counts[rows]) / n[rows]
            residual = mean[rows].index_select(0, row_of(counts[rows])).sub_(x)
            squares[rows] = _sums(residual.square_(), counts[rows])
        deviation = sample_deviation(squares, n)
        ctx.save_for_backward(pixels, counts, mean, deviation)
        return mean, deviation

    @staticmethod
    def backward(ctx: Any, d_mean: Tensor, d_std: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        """Gradients (pixel, feature) from those of the moments."""
        pixels, counts, mean, deviation = ctx.saved_tensors
        n = counts.unsqueeze(1).to(pixels.dtype)
        # d mean / d x = 1 / n; d std / d x = (x - mean) / (std (n - 1)), 0 if all pixels are equal.
        varies = deviation > 2 * _MIN_VARIANCE**0.5
        slope = torch.where(varies, d_std / (deviation * (n - 1)).clamp_min(1e-30), 0.0)
        level, out = d_mean / n, torch.empty_like(pixels)
        for rows, part in ctx.pieces:
            row = row_of(counts[rows])
            x = pixels[part]
            grad = x.relu().sub_(mean[rows].index_select(0, row))
            grad.mul_(slope[rows].index_select(0, row)).add_(level[rows].index_select(0, row))
            torch.mul(grad, x > 0, out=out[part])
        return out, None
