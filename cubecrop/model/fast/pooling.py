"""Sums over pixels and over dates that pass over memory few times.

`pool_in_place` and `Moments` are equal to the mean and sample deviation of the valid pixels of a
set behind a ReLU, gradients of `Moments` to automatic ones, and `pool_heads` to
``einsum("bht,bthc->bhc")`` of values in heads; all within 1e-5 where values are of order 1.
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

#: Pixels in one go at prediction: their widest layer stays in a processor's cache.
PIECE = 6144
#: Keeps the gradient of a root finite where all pixels are alike; far below any signal.
_LEAST_VARIANCE = 1e-20
#: Heads pooled in one product: fewer are too small for it, more compute much for nothing.
_HEADS_TOGETHER = 4


def pool_in_place(
    layers: Sequence[nn.Linear], values: Tensor, valid: Tensor | None
) -> dict[str, Tensor]:
    """Mean and deviation, piece by piece in the same memory.

    Fresh memory for every layer of every piece costs more than the layers do.

    Parameters
    ----------
    layers : sequence of torch.nn.Linear
        Each has a ReLU behind it.
    values : Tensor
        (row, pixel, band).
    valid : Tensor, optional
        (row, pixel) bool, at least one a row; by default all are.

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
        # Products with ones add faster than sums do.
        torch.bmm(weight[part], x, out=mean[part])
        mean[part] /= n[part]
        x.sub_(mean[part])
        torch.bmm(weight[part], x.mul_(x), out=squares[part])
    return {"mean": mean.squeeze(1), "std": sample_deviation(squares, n).squeeze(1)}


def pool_heads(weight: Tensor, values: Tensor) -> Tensor:
    """Sums (batch, head, channel) of each head's channels by its weights (batch, head, time).

    Some heads together over the channels of all of them, of which each keeps its own: more
    sums than needed, but in products of matrices and without copies.
    """
    heads = weight.shape[1]
    together = math.gcd(heads, _HEADS_TOGETHER)
    channels = values.shape[2] // heads * together
    parts = []
    split = zip(
        torch.split(weight, together, dim=1), torch.split(values, channels, dim=2), strict=True
    )
    for w, v in split:
        every = torch.bmm(w, v).view(len(w), together, together, -1)  # (batch, head, head, channel)
        parts.append(every.diagonal(dim1=1, dim2=2).transpose(1, 2))
    return torch.cat(parts, dim=1)


def sample_deviation(squares: Tensor, n: Tensor) -> Tensor:
    """Sample deviation from summed squares; a set of one pixel has none."""
    variance = squares / (n - 1).clamp_min(1)
    return torch.sqrt(variance.clamp_min(_LEAST_VARIANCE)) * (n > 1)


def row_of(counts: Tensor) -> Tensor:
    """The row that each pixel belongs to, where rows of ``counts`` pixels follow each other."""
    return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


def _sums(pixels: Tensor, counts: Tensor) -> Tensor:
    """Sums (row, feature) of pixels (pixel, feature), of which each row has some in turn."""
    # A bag of embeddings is a sum of rows that follow each other, and five times as quick as
    # adding each row to the place that it is for.
    every = torch.arange(len(pixels), device=pixels.device)
    return functional.embedding_bag(every, pixels, counts.cumsum(dim=0) - counts, mode="sum")


def _pieces_of_sets(counts: Tensor, total: int) -> list[tuple[slice, slice]]:
    """Rows and their pixels, where rows of ``counts`` pixels follow each other, piece by piece.

    All at once on a graphics card, which has no small cache to fit.
    """
    if counts.is_cuda or total <= PIECE:
        return [(slice(None), slice(None))]
    ends = counts.cumsum(dim=0)
    cuts = torch.arange(1, total // PIECE + 1) * PIECE
    found = {int(row) + 1 for row in torch.searchsorted(ends, cuts)}
    rows = [0, *sorted(found - {len(ends)}), len(ends)]
    pixels = [0, *(int(ends[row - 1]) for row in rows[1:])]
    return [
        (slice(rows[i], rows[i + 1]), slice(pixels[i], pixels[i + 1])) for i in range(len(rows) - 1)
    ]


class Moments(torch.autograd.Function):
    """Mean and sample deviation, behind a ReLU, of sets that follow each other.

    Automatic gradients would keep three temporaries of the size of all pixels, which is most of
    the memory of a training step; here even those of the moment are of a piece alone.
    """

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """Moments (row, feature) of pixels (pixel, feature), of which each row has some in turn."""
        n = counts.unsqueeze(1).to(pixels.dtype)
        mean = pixels.new_empty(len(counts), pixels.shape[1])
        squares = torch.empty_like(mean)
        ctx.pieces = _pieces_of_sets(counts, len(pixels))
        for rows, part in ctx.pieces:
            x = pixels[part].relu()
            mean[rows] = _sums(x, counts[rows]) / n[rows]
            apart = mean[rows].index_select(0, row_of(counts[rows])).sub_(x)
            squares[rows] = _sums(apart.square_(), counts[rows])
        deviation = sample_deviation(squares, n)
        ctx.save_for_backward(pixels, counts, mean, deviation)
        return mean, deviation

    @staticmethod
    def backward(ctx: Any, d_mean: Tensor, d_std: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        """Gradients (pixel, feature) from those of the moments."""
        pixels, counts, mean, deviation = ctx.saved_tensors
        n = counts.unsqueeze(1).to(pixels.dtype)
        # d mean / d x = 1 / n; d std / d x = (x - mean) / (std (n - 1)), none where all are alike.
        varies = deviation > 2 * _LEAST_VARIANCE**0.5
        slope = torch.where(varies, d_std / (deviation * (n - 1)).clamp_min(1e-30), 0.0)
        level, out = d_mean / n, torch.empty_like(pixels)
        for rows, part in ctx.pieces:
            row = row_of(counts[rows])
            x = pixels[part]
            apart = x.relu().sub_(mean[rows].index_select(0, row))
            apart.mul_(slope[rows].index_select(0, row)).add_(level[rows].index_select(0, row))
            torch.mul(apart, x > 0, out=out[part])
        return out, None
