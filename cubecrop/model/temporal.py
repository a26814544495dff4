"""Temporal encoders, which make one summary of the embeddings of a series' dates.

All encoders take:

- rows (row, embedding): one row for each date of a mask (batch, time), in order of batch and time;
  or one row for every date, where rows outside the mask are finite and have no effect;
- the mask, in which every member has a date;
- the days (batch, time) and positions of the dates.

They return a summary (batch, width) and, if they have attention by date, attention (batch, time,
head), which is 0 at masked dates and sums to 1 over time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from cubecrop.model.fast.linear import linear
from cubecrop.model.fast.pooling import pool_heads
from cubecrop.model.layers import RowNorm, dense, mlp, unpacked
from cubecrop.model.positions import add_positions
from cubecrop.model.sequence import BidirectionalGru, TemporalConvolution, Transformer

if TYPE_CHECKING:
    from cubecrop.model.config import NetworkConfig
    from cubecrop.model.positions import Positions

__all__ = ["LightweightAttention", "TemporalAttention", "temporal_encoder"]


def temporal_encoder(config: NetworkConfig) -> nn.Module:
    """The temporal encoder that a configuration names."""
    kinds = {
        "ltae": LightweightAttention,
        "tae": TemporalAttention,
        "tempcnn": TemporalConvolution,
        "gru": BidirectionalGru,
        "transformer": Transformer,
    }
    return kinds[config.temporal](config)


class LightweightAttention(nn.Module):
    """Lightweight temporal attention (L-TAE) over any dates, with masks.

    Each head has one learned query and its own channels of the values. The published LayerNorm
    over (channel, time) needs a fixed number of dates; it is applied if ``config.n_dates`` is
    set. By default only channels are normalised.

    Garnot & Landrieu 2020, arXiv:2007.00586.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.attention_width or config.date_width
        self.heads, self.key_width = cast("int", config.heads), cast("int", config.key_width)
        self.period = config.period
        self.norm_in: nn.Module = nn.LayerNorm(config.date_width)
        self.widen = _widening(config)
        self.keys = nn.Linear(width, self.heads * self.key_width)
        self.query = nn.Parameter(torch.empty(self.heads, self.key_width))
        nn.init.normal_(self.query, std=(2.0 / self.key_width) ** 0.5)
        nn.init.normal_(self.keys.weight, std=(2.0 / self.key_width) ** 0.5)
        self.attention_dropout = nn.Dropout(config.attention_dropout)
        self.out = _summary_layers(width, config)
        self.norm_out = nn.LayerNorm(config.summary_width)

    def forward(
        self, embedding: Tensor, mask: Tensor, _days: Tensor, position: Positions | None
    ) -> tuple[Tensor, Tensor]:
        """Summarise series; see the module."""
        x = self.norm_in(embedding)
        if self.widen is not None:
            x = self.widen(x, mask)
        scorer, bias = self.scorer()
        scores, values = unpacked(linear(x, scorer, bias), mask), unpacked(x, mask)
        place = None
        if position is not None:
            # The channels of every head get the same sinusoids, so these are weighted apart
            # from the values, once per date and not once per head.
            place = position.table(x.shape[1] // self.heads, self.period)
            scores = scores + place @ scorer.view(self.heads, self.heads, -1).sum(dim=1).t()
        attention = _softmax(scores, mask)  # (batch, time, head)
        weight = self.attention_dropout(attention).transpose(1, 2)  # (batch, head, time)
        pooled = pool_heads(weight, values)  # (batch, head, channel)
        if place is not None:
            pooled = pooled + weight @ place
        return self.norm_out(self.out(pooled.flatten(1))), attention

    def scorer(self) -> tuple[Tensor, Tensor]:
        """Weights (head, channel) and bias (head,) of the scores of dates.

        The query does not depend on the input, so queries and keys fold into constant weights.
        """
        weights = self.keys.weight.view(self.heads, self.key_width, -1)
        scorer = torch.einsum("hkc,hk->hc", weights, self.query) / self.key_width**0.5
        bias = (self.keys.bias.view_as(self.query) * self.query).sum(dim=1) / self.key_width**0.5
        return scorer, bias


class TemporalAttention(nn.Module):
    """Temporal attention (TAE) over any dates, with masks.

    The query of a head is computed from the mean of the dates' queries. Every head takes the
    whole inputs as values.

    Garnot et al. 2020, arXiv:1911.07757, section 3.2.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.attention_width or config.date_width
        self.heads, self.key_width = cast("int", config.heads), cast("int", config.key_width)
        self.period = config.period
        self.norm_in = nn.LayerNorm(config.date_width)
        self.widen = _widening(config)
        inner = self.heads * self.key_width
        self.queries, self.keys = nn.Linear(width, inner), nn.Linear(width, inner)
        for layer in (self.queries, self.keys):
            nn.init.normal_(layer.weight, std=(2.0 / self.key_width) ** 0.5)
        self.master = nn.Sequential(RowNorm(inner), nn.Linear(inner, inner))
        self.attention_dropout = nn.Dropout(config.attention_dropout)
        self.out = _summary_layers(self.heads * width, config)
        self.norm_out = nn.LayerNorm(config.summary_width)

    def forward(
        self, embedding: Tensor, mask: Tensor, _days: Tensor, position: Positions | None
    ) -> tuple[Tensor, Tensor]:
        """Summarise series; see the module."""
        x = self.norm_in(embedding)  # (row, channel)
        if position is not None:
            x = add_positions(x, position, mask, self.period)
        if self.widen is not None:
            x = self.widen(x, mask)
        values = dense(x, mask)  # (batch, time, channel), 0 at masked dates
        n = mask.sum(dim=1, keepdim=True).to(x.dtype)
        # Queries are linear, so their mean is the query of the mean.
        query = self.master(self.queries(values.sum(dim=1) / n)).view(
            -1, self.heads, self.key_width
        )
        weights = self.keys.weight.view(self.heads, self.key_width, -1)
        scorer = torch.einsum("bhk,hkc->bch", query, weights) / self.key_width**0.5
        bias = (query * self.keys.bias.view(self.heads, -1)).sum(dim=2) / self.key_width**0.5
        scores = torch.bmm(values, scorer) + bias.unsqueeze(1)  # (batch, time, head)
        attention = _softmax(scores, mask)
        pooled = torch.bmm(self.attention_dropout(attention).transpose(1, 2), values)
        return self.norm_out(self.out(pooled.flatten(1))), attention


class _Widening(nn.Module):
    """A linear layer and a normalisation of channels, of channels and dates together, or none."""

    def __init__(self, n_in: int, n_out: int, n_dates: int, *, normalises: bool) -> None:
        super().__init__()
        self.linear: nn.Module = nn.Linear(n_in, n_out)
        self.n_dates = n_dates if normalises else 0
        shape = (n_dates, n_out) if n_dates else n_out
        self.norm = nn.LayerNorm(shape) if normalises else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.linear(x)
        if not self.n_dates:
            return self.norm(x)  # type: ignore[no-any-return]
        if mask.shape[1] != self.n_dates or not bool(mask.all()):
            raise ValueError(
                f"weights need {self.n_dates} dates, all of them valid; series have "
                f"{mask.shape[1]} dates"
            )
        return self.norm(x.view(*mask.shape, -1)).flatten(0, 1)  # type: ignore[no-any-return]


def _widening(config: NetworkConfig) -> _Widening | None:
    if not config.attention_width:
        return None
    return _Widening(
        config.date_width,
        config.attention_width,
        config.n_dates,
        normalises=config.normalises_widened,
    )


def _summary_layers(width: int, config: NetworkConfig) -> nn.Sequential:
    widths = (width, *cast("tuple[int, ...]", config.temporal_mlp))
    return nn.Sequential(mlp(widths), nn.Dropout(config.dropout))


def _softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Attention (batch, time, head) from scores of the same shape, 0 at masked dates."""
    masked = scores.masked_fill(~mask.unsqueeze(-1), float("-inf"))
    # A softmax along the last dimension takes a third of the time.
    return torch.softmax(masked.transpose(1, 2), dim=2).transpose(1, 2)
