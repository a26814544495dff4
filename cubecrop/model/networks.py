"""The network: a pixel-set encoder and temporal attention a sensor, fused late.

Only real pixels on real dates are computed: sets are packed into rows before the first
layer, so that padding and cloud cost nothing and no normalisation ever sees them.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_linear_bn_eval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cubecrop.model.config import NetworkConfig

__all__ = ["LateFusion", "LightweightAttention", "PixelSetEncoder", "Series", "fold_norms"]


@dataclass(frozen=True, slots=True)
class Series:
    """A batch of one sensor's pixel sets.

    Parameters
    ----------
    values : Tensor
        (batch, time, pixel, band) float32 in the sensor's unit; anything where not valid.
    valid : Tensor
        (batch, time, pixel) bool.
    days : Tensor
        (batch, time) float32, days since the season's start.
    """

    values: Tensor
    valid: Tensor
    days: Tensor


class PixelSetEncoder(nn.Module):
    """Embeds the set of pixels of each date: shared layers, mean and deviation, a layer.

    Carries the mean and deviation of the bands that it was trained on, and normalises by
    them.

    Garnot et al. 2020, arXiv:1911.07757, section 3.1.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_bands: int, config: NetworkConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_bands))
        self.register_buffer("deviation", torch.ones(n_bands))
        self.pixels = _mlp((n_bands, *config.pixel_mlp))
        width = 2 * config.pixel_mlp[-1]
        self.sets = nn.Sequential(nn.Linear(width, config.embedding), _RowNorm(config.embedding))

    def forward(self, series: Series) -> tuple[Tensor, Tensor]:
        """Embed a batch.

        Returns
        -------
        embedding : Tensor
            (row, embedding), a row for each date that has a valid pixel, in order of batch
            and time.
        mask : Tensor
            (batch, time) bool, which dates those are.
        """
        mask = series.valid.any(dim=-1)  # (batch, time)
        bands = (series.values[series.valid] - self.mean) / self.deviation
        pixels = self.pixels(bands)  # (valid pixel, feature)
        if series.valid.shape[-1] == 1:
            # A set of one is its own mean and has no deviation: half the layer's input is 0.
            linear: Any = self.sets[0]
            norm = self.sets[1]
            weight = linear.weight[:, : pixels.shape[1]]
            return norm(functional.linear(pixels, weight, linear.bias)), mask
        counts = series.valid.sum(dim=-1)[mask]  # (row,)
        row = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        n = counts.unsqueeze(1).to(pixels.dtype)
        empty = pixels.new_zeros(len(counts), pixels.shape[1])
        mean = empty.index_add(0, row, pixels) / n  # (row, feature)
        squares = empty.index_add(0, row, (pixels - mean[row]) ** 2)
        variance = squares / (n - 1).clamp_min(1)
        # The floor keeps the root's gradient finite where all pixels are alike; a set of
        # one pixel has no deviation at all.
        deviation = torch.sqrt(variance.clamp_min(1e-10)) * (n > 1)
        return self.sets(torch.cat([mean, deviation], dim=1)), mask


class LightweightAttention(nn.Module):
    """Lightweight temporal attention (L-TAE) over any dates, with masks.

    Each head has one learned query and its own channels of the values. In place of the
    published LayerNorm over (channel, time), which ties weights to one number of dates,
    channels alone are normalised.

    Garnot & Landrieu 2020, arXiv:2007.00586.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, heads = config.attention_width, config.heads
        self.heads, self.key_width, self.period = heads, config.key_width, config.period
        self.norm_in = nn.LayerNorm(config.embedding)
        self.widen = nn.Linear(config.embedding, width)
        self.norm_wide = nn.LayerNorm(width)
        self.keys = nn.Linear(width, heads * config.key_width, bias=False)
        self.query = nn.Parameter(torch.empty(heads, config.key_width))
        nn.init.normal_(self.query, std=(2.0 / config.key_width) ** 0.5)
        nn.init.normal_(self.keys.weight, std=(2.0 / config.key_width) ** 0.5)
        self.attention_dropout = nn.Dropout(config.attention_dropout)
        self.out = nn.Sequential(_mlp((width, config.embedding)), nn.Dropout(config.dropout))
        self.norm_out = nn.LayerNorm(config.embedding)

    def forward(self, embedding: Tensor, mask: Tensor, days: Tensor) -> tuple[Tensor, Tensor]:
        """Summarise series.

        Parameters
        ----------
        embedding : Tensor
            (row, embedding), a row for each date of the mask.
        mask : Tensor
            (batch, time) bool; every member has at least one date.
        days : Tensor
            (batch, time) float32.

        Returns
        -------
        summary : Tensor
            (batch, embedding).
        attention : Tensor
            (batch, time, head), 0 at masked dates, summing to 1 over time.
        """
        x = self.norm_wide(self.widen(self.norm_in(embedding)))  # (row, width)
        x = (x.view(len(x), self.heads, -1) + self._positions(days[mask])).flatten(1)
        weights = self.keys.weight.view(self.heads, self.key_width, -1)
        # A query that does not depend on the input makes keys a matter of weights alone.
        scorer = torch.einsum("hkc,hk->ch", weights, self.query) / self.key_width**0.5
        scores = x.new_full((*mask.shape, self.heads), float("-inf"))
        scores = scores.masked_scatter(
            mask.unsqueeze(-1), (x @ scorer).to(x.dtype)
        )  # (batch, time, head)
        attention = torch.softmax(scores, dim=1)
        weight = self.attention_dropout(attention)[mask]  # (row, head)
        parts = x.view(len(x), self.heads, -1) * weight.unsqueeze(-1)  # (row, head, channel)
        member = mask.nonzero()[:, 0]
        pooled = x.new_zeros(len(mask), x.shape[1]).index_add(0, member, parts.flatten(1))
        return self.norm_out(self.out(pooled)), attention

    def _positions(self, days: Tensor) -> Tensor:
        """Sinusoid of the day, the same in every head: (row, 1, channel)."""
        channels = self.widen.out_features // self.heads
        index = torch.arange(channels, device=days.device)
        rate = self.period ** (-2 * (index // 2) / channels)
        angle = days.unsqueeze(1) * rate  # (row, channel)
        return torch.where(index % 2 == 0, torch.sin(angle), torch.cos(angle)).unsqueeze(1)


class LateFusion(nn.Module):
    """One pixel-set encoder and attention a sensor; embeddings are joined and decoded."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleDict(
            {s.name: PixelSetEncoder(len(s.bands), config) for s in config.sensors}
        )
        self.attentions = nn.ModuleDict(
            {s.name: LightweightAttention(config) for s in config.sensors}
        )
        self.missing = nn.ParameterDict(
            {
                name: nn.Parameter(torch.randn(config.embedding) * 0.1)
                for name in config.may_be_missing
            }
        )
        widths = (config.embedding * len(config.sensors), *config.decoder)
        self.decoder = nn.Sequential(_mlp(widths), nn.Linear(widths[-1], config.n_classes))

    def forward(self, batch: Mapping[str, Series]) -> Tensor:
        """Logits (batch, class).

        A sensor that is not in the batch, or a member of it without one valid date, enters
        as the sensor's token, or as zeros where the network has none: `predictable` says
        for which members that is allowed.
        """
        n = len(next(iter(batch.values())).valid)
        joined = torch.cat([self._summary(s.name, batch, n) for s in self.config.sensors], dim=1)
        logits: Tensor = self.decoder(joined)
        return logits

    def _summary(self, name: str, batch: Mapping[str, Series], n: int) -> Tensor:
        """Embedding of one sensor's series: (batch, embedding)."""
        fallback = self.missing.get(name, None)
        width = self.config.embedding
        parameter = next(self.parameters())
        out = parameter.new_zeros(n, width) if fallback is None else fallback.expand(n, width)
        if name not in batch:
            return out
        series = batch[name]
        seen = series.valid.flatten(1).any(dim=1)  # (batch,)
        if not seen.any():
            return out
        if not seen.all():
            series = Series(series.values[seen], series.valid[seen], series.days[seen])
        embedding, mask = self.encoders[name](series)
        summary, _ = self.attentions[name](embedding, mask, series.days)
        if len(summary) == n:
            return summary  # type: ignore[no-any-return]
        return out.clone().index_copy(0, seen.nonzero()[:, 0], summary)

    def predictable(self, batch: Mapping[str, Series]) -> Tensor:
        """Which members can be predicted: (batch,) bool.

        Every sensor that may not be missing has a valid date, and at least one sensor has.
        """
        n = len(next(iter(batch.values())).valid)
        device = next(self.parameters()).device
        every = torch.ones(n, dtype=torch.bool, device=device)
        some = torch.zeros(n, dtype=torch.bool, device=device)
        for sensor in self.config.sensors:
            if sensor.name in batch:
                seen = batch[sensor.name].valid.flatten(1).any(dim=1)
            else:
                seen = torch.zeros_like(some)
            some |= seen
            if sensor.name not in self.config.may_be_missing:
                every &= seen
        return every & some


class _RowNorm(nn.BatchNorm1d):
    """Batch normalisation of rows that also takes a batch of one row, or none."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > 1:
            return super().forward(x)
        # One row has no deviation to learn from: it is normalised as at prediction time.
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


def fold_norms(network: LateFusion) -> LateFusion:
    """Copy a network with every batch normalisation folded into the layer before it.

    The copy computes the same, in evaluation mode, in fewer passes over memory.
    """
    folded = copy.deepcopy(network).eval()
    for block in [m for m in folded.modules() if isinstance(m, nn.Sequential)]:
        for i in range(len(block) - 1):
            linear, norm = block[i], block[i + 1]
            if isinstance(linear, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
                block[i] = fuse_linear_bn_eval(linear, norm)
                block[i + 1] = nn.Identity()
    return folded


def _mlp(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inside, outside in itertools.pairwise(widths):
        layers += [nn.Linear(inside, outside), _RowNorm(outside), nn.ReLU()]
    return nn.Sequential(*layers)
