"""Temporal encoders that read dates one after another: TempCNN, GRU and Transformer.

Inputs and outputs are those of `cubecrop.model.temporal`. None of these encoders has attention by
date and head, so their attention is None.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from cubecrop.model.layers import RowNorm, checkpointed, dense, mlp
from cubecrop.model.positions import add_positions

if TYPE_CHECKING:
    from cubecrop.model.config import NetworkConfig
    from cubecrop.model.positions import Positions

__all__ = ["BidirectionalGru", "TemporalConvolution", "Transformer"]

_KERNEL = 5
_LAYERS = 2


class _SequenceEncoder(nn.Module):
    """Sorts the dates of a mask, with their positions added, and pads them at the end."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.period = config.period
        self.norm_in = nn.LayerNorm(config.date_width)

    def ordered(
        self, embedding: Tensor, mask: Tensor, days: Tensor, position: Positions | None
    ) -> tuple[Tensor, Tensor]:
        """Embeddings (batch, date, embedding) by day, and (batch, date) bool, False = padding."""
        x = self.norm_in(embedding)
        if position is not None:
            x = add_positions(x, position, mask, self.period)
        order = torch.where(mask, days, torch.inf).argsort(dim=1, stable=True)
        order = order[:, : int(mask.sum(dim=1).max())]
        x = dense(x, mask).gather(1, order.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
        return x, mask.gather(1, order)


class TemporalConvolution(_SequenceEncoder):
    """Convolutions over the dates in order, then their mean (TempCNN).

    After Pelletier et al. 2019, doi:10.3390/rs11050523. A mean over valid dates replaces their
    dense layer, which needs a fixed number of dates.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        width = config.attention_width or config.date_width
        widths = (config.date_width, *[width] * _LAYERS)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(a, b, _KERNEL, padding="same", bias=False)
            for a, b in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(RowNorm(b) for b in widths[1:])
        self.dropout = nn.Dropout(config.dropout)
        self.out = mlp((width, *cast("tuple[int, ...]", config.temporal_mlp)))

    def forward(
        self, embedding: Tensor, mask: Tensor, days: Tensor, position: Positions | None
    ) -> tuple[Tensor, None]:
        """Summarise series; see `cubecrop.model.temporal`."""
        x, real = self.ordered(embedding, mask, days, position)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            rows = convolution(x.transpose(1, 2)).transpose(1, 2)[real]
            x = dense(self.dropout(functional.relu(norm(rows))), real)
        mean = x.sum(dim=1) / real.sum(dim=1, keepdim=True)
        return self.out(mean), None


class BidirectionalGru(_SequenceEncoder):
    """Gated recurrent units over the dates, forwards and backwards.

    Cho et al. 2014, arXiv:1406.1078; for crops Garnot et al. 2019, arXiv:1901.10503.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        width = config.attention_width or config.date_width
        self.units = nn.GRU(config.date_width, width, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        self.out = mlp((2 * width, *cast("tuple[int, ...]", config.temporal_mlp)))

    def forward(
        self, embedding: Tensor, mask: Tensor, days: Tensor, position: Positions | None
    ) -> tuple[Tensor, None]:
        """Summarise series; see `cubecrop.model.temporal`."""
        x, real = self.ordered(embedding, mask, days, position)
        return self.out(self.dropout(checkpointed(self._last, x, real))), None

    def _last(self, x: Tensor, real: Tensor) -> Tensor:
        """States (batch, width of both) after the last date in each direction."""
        lengths = real.sum(dim=1).cpu()
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, last = self.units(packed)  # (direction, batch, width)
        return torch.cat([last[0], last[1]], dim=1)


class Transformer(_SequenceEncoder):
    """Layers of self-attention over the dates, then their mean.

    Vaswani et al. 2017, arXiv:1706.03762; for crops Rußwurm & Körner 2020, arXiv:1910.10536.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        width = config.attention_width or config.date_width
        layer = nn.TransformerEncoderLayer(
            config.date_width,
            cast("int", config.heads),
            dim_feedforward=2 * width,
            dropout=config.dropout,
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
        self.out = mlp((config.date_width, *cast("tuple[int, ...]", config.temporal_mlp)))

    def forward(
        self, embedding: Tensor, mask: Tensor, days: Tensor, position: Positions | None
    ) -> tuple[Tensor, None]:
        """Summarise series; see `cubecrop.model.temporal`."""
        x, real = self.ordered(embedding, mask, days, position)
        return self.out(checkpointed(self._mean, x, real)), None

    def _mean(self, x: Tensor, real: Tensor) -> Tensor:
        """Mean (batch, embedding) over the dates of the layers' output."""
        x = self.layers(x, src_key_padding_mask=~real).masked_fill(~real.unsqueeze(-1), 0.0)
        return x.sum(dim=1) / real.sum(dim=1, keepdim=True)
