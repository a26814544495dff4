"""Small building blocks of the networks."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "RowNorm", "checkpointed", "dense", "mlp", "packed", "unpacked",
]  # fmt: skip

#: From this many numbers in a tensor, a training step recomputes its intermediates instead of
#: keeping them, for this many members at a time.
_LARGE = 500_000
_MEMBERS = 16


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation of rows that also takes a batch of one row or of no row."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise rows (row, feature)."""
        if self.training and len(x) > 1:
            return super().forward(x)
        # A single row has no deviation to learn from, so it is normalised as at prediction.
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


def checkpointed(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Apply a function of tensors (batch, ...) to (batch, ...) in little memory.

    For large tensors on a CPU, training takes few members at a time and recomputes their
    intermediates for the gradients (gradient checkpointing). The function must treat each member
    by itself and keep no statistics.
    """
    first = tensors[0]
    if first.is_cuda or first.numel() < _LARGE or not torch.is_grad_enabled():
        return function(*tensors)
    pieces = zip(*(torch.split(tensor, _MEMBERS) for tensor in tensors), strict=True)
    return torch.cat([checkpoint(function, *piece, use_reentrant=False) for piece in pieces])


def mlp(widths: Sequence[int], *, last: bool = True) -> nn.Sequential:
    """A linear layer, norm and ReLU for each pair of widths; ``last=False`` omits the last ReLU."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out), RowNorm(n_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*(layers if last else layers[:-1]))


def packed(values: Tensor, mask: Tensor) -> Tensor:
    """Select the dates of a mask (batch, time) from values (batch, time, ...): (row, ...)."""
    return values.flatten(0, 1).index_select(0, mask.flatten().nonzero()[:, 0])


def dense(rows: Tensor, mask: Tensor) -> Tensor:
    """Bring rows (row, feature) of a mask's dates, or of all dates, to (batch, time, feature).

    Dates outside the mask are 0.
    """
    whole = unpacked(rows, mask)
    if len(rows) == mask.numel() and not bool(mask.all()):
        whole = whole.masked_fill(~mask.unsqueeze(-1), 0.0)
    return whole


def unpacked(rows: Tensor, mask: Tensor) -> Tensor:
    """Like `dense`, but dates outside the mask hold any finite value."""
    if len(rows) == mask.numel():
        return rows.view(*mask.shape, -1)
    # Copying whole rows by their index is ten times faster than scattering by a mask.
    empty = rows.new_zeros(mask.numel(), rows.shape[-1])
    return empty.index_copy(0, mask.flatten().nonzero()[:, 0], rows).view(*mask.shape, -1)
