"""Small parts that networks are made of."""

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
    "RowNorm", "dense", "lean", "mlp", "packed", "unpacked",
]  # fmt: skip

#: Numbers from which a training step computes intermediates of a tensor twice, for so many
#: members in one go, rather than keep them.
_LARGE = 500_000
_MEMBERS = 16


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation of rows that also takes a batch of one row, or none."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise rows (row, feature)."""
        if self.training and len(x) > 1:
            return super().forward(x)
        # One row has no deviation to learn from: it is normalised as at prediction time.
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


def lean(function: Callable[..., Tensor], *members: Tensor) -> Tensor:
    """What a function gives (batch, ...) of tensors (batch, ...), in little memory.

    Where tensors are large and memory is a processor's, training takes few members at a time,
    and computes their intermediates again for gradients. The function must treat members
    alone and keep no statistics.
    """
    first = members[0]
    if first.is_cuda or first.numel() < _LARGE or not torch.is_grad_enabled():
        return function(*members)
    pieces = zip(*(torch.split(one, _MEMBERS) for one in members), strict=True)
    return torch.cat([checkpoint(function, *piece, use_reentrant=False) for piece in pieces])


def mlp(widths: Sequence[int], *, last: bool = True) -> nn.Sequential:
    """Linear, norm and ReLU between each two widths; without the last ReLU on demand."""
    layers: list[nn.Module] = []
    for inside, outside in itertools.pairwise(widths):
        layers += [nn.Linear(inside, outside), RowNorm(outside), nn.ReLU(inplace=True)]
    return nn.Sequential(*(layers if last else layers[:-1]))


def packed(values: Tensor, mask: Tensor) -> Tensor:
    """Rows (row, ...) of the dates of a mask (batch, time) among values (batch, time, ...)."""
    return values.flatten(0, 1).index_select(0, mask.flatten().nonzero()[:, 0])


def dense(rows: Tensor, mask: Tensor) -> Tensor:
    """Rows (row, feature) of a mask's dates, or of all, as (batch, time, feature), 0 elsewhere."""
    whole = unpacked(rows, mask)
    if len(rows) == mask.numel() and not bool(mask.all()):
        whole = whole.masked_fill(~mask.unsqueeze(-1), 0.0)
    return whole


def unpacked(rows: Tensor, mask: Tensor) -> Tensor:
    """The same with anything finite elsewhere: 0, or what stands there where rows are all."""
    if len(rows) == mask.numel():
        return rows.view(*mask.shape, -1)
    # Copying whole rows by their number is ten times as quick as scattering by a mask.
    empty = rows.new_zeros(mask.numel(), rows.shape[-1])
    return empty.index_copy(0, mask.flatten().nonzero()[:, 0], rows).view(*mask.shape, -1)
