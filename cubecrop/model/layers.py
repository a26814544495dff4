"""Small parts that networks are made of, and a network folded for prediction."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_linear_bn_eval

if TYPE_CHECKING:
    from collections.abc import Sequence

_Network = TypeVar("_Network", bound=nn.Module)

__all__ = ["RowNorm", "add_positions", "dense", "fold_norms", "mlp", "sinusoid"]


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


def mlp(widths: Sequence[int], *, last: bool = True) -> nn.Sequential:
    """Linear, norm and ReLU between each two widths; without the last ReLU on demand."""
    layers: list[nn.Module] = []
    for inside, outside in itertools.pairwise(widths):
        layers += [nn.Linear(inside, outside), RowNorm(outside), nn.ReLU(inplace=True)]
    return nn.Sequential(*(layers if last else layers[:-1]))


def fold_norms(network: _Network) -> _Network:
    """Copy a network with every batch normalisation folded into the layer before it.

    The standardising of bands goes into the first layer too. The copy computes the same, in
    evaluation mode, in fewer passes over memory.
    """
    folded = copy.deepcopy(network).eval()
    for block in [m for m in folded.modules() if isinstance(m, nn.Sequential)]:
        for i in range(len(block) - 1):
            linear, norm = block[i], block[i + 1]
            if isinstance(linear, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
                block[i] = fuse_linear_bn_eval(linear, norm)
                block[i + 1] = nn.Identity()
    for module in folded.modules():
        if isinstance(module, SelfScaling):
            module.fold_normalisation()
    return folded


@runtime_checkable
class SelfScaling(Protocol):
    """A module whose first layer can take its standardising over."""

    def fold_normalisation(self) -> None:
        """Let the first layer standardise."""
        ...


def add_positions(rows: Tensor, position: Tensor, mask: Tensor, period: float) -> Tensor:
    """Add sinusoids of the positions (batch, time) of a mask's dates, in place.

    ``rows`` (row, head, channel) must be nobody else's, as a normalisation's output is. Members
    that share their dates, by a stride of 0, share the computation.
    """
    channels = rows.shape[-1]
    if position.stride(0) or len(position) < 2 or not bool(mask.all()):
        return rows.add_(sinusoid(position[mask], channels, period).unsqueeze(1))
    table = sinusoid(position[:1], channels, period).unsqueeze(2)  # (1, time, 1, channel)
    return rows.view(*mask.shape, *rows.shape[1:]).add_(table).flatten(0, 1)


def dense(rows: Tensor, mask: Tensor) -> Tensor:
    """Rows (row, feature) of the dates of a mask (batch, time) as (batch, time, feature)."""
    if len(rows) == mask.numel():
        return rows.view(*mask.shape, -1)
    empty = rows.new_zeros(*mask.shape, rows.shape[-1])
    return empty.masked_scatter(mask.unsqueeze(-1), rows)


def sinusoid(position: Tensor, channels: int, period: float) -> Tensor:
    """Sines and cosines of positions (...,) at wavelengths up to a period: (..., channel).

    Vaswani et al. 2017, arXiv:1706.03762, with another longest wavelength.
    """
    index = torch.arange(channels, device=position.device)
    rate = period ** (-2 * (index // 2) / channels)
    angle = position.unsqueeze(-1) * rate
    return torch.where(index % 2 == 0, torch.sin(angle), torch.cos(angle))
