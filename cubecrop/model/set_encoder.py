"""The pixel-set encoder, which makes one embedding of a date's pixels.

Only dates with a valid pixel are computed. Training computes only valid pixels, so that padding
and cloud never enter a normalisation's statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from cubecrop.model.fast.pooling import PIECE, Moments, pool_in_place, row_of, sample_deviation
from cubecrop.model.layers import mlp, packed

if TYPE_CHECKING:
    from collections.abc import Callable

    from cubecrop.model.config import NetworkConfig
    from cubecrop.model.series import Series

__all__ = ["PixelSetEncoder"]

#: Below this share of valid pixels, gathering them is faster than computing all pixels.
_WORTH_PACKING = 0.5


class PixelSetEncoder(nn.Module):
    """Embeds the set of pixels of each date: shared layers, statistics, layers.

    It standardises the bands with the mean and deviation of its training data.

    Garnot et al. 2020, arXiv:1911.07757, section 3.1.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_bands: int, config: NetworkConfig, *, n_extras: int = 0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_bands))
        self.register_buffer("deviation", torch.ones(n_bands))
        self.statistics = config.statistics
        #: Whether the first layer standardises the bands already.
        self.folded = False
        self.pixels = mlp((n_bands, *config.pixel_widths))
        width = len(config.statistics) * config.pixel_widths[-1] + n_extras
        self.sets = mlp((width, *config.set_mlp, config.date_width), last=False)
        #: The same layers for sets of one pixel, once folded.
        self.singles: nn.Sequential | None = None

    def forward(self, series: Series, extras: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Embed a batch.

        Parameters
        ----------
        series : Series
            (batch, time, pixel, band).
        extras : Tensor, optional
            (batch, feature), standardised features of the parcels.

        Returns
        -------
        embedding : Tensor
            (row, embedding), one row per date with a valid pixel, in order of batch and time.
        mask : Tensor
            (batch, time) bool, the dates with a valid pixel.
        """
        if series.packed:
            return self._embed_packed(series, extras)
        mask = series.valid.any(dim=-1)  # (batch, time)
        whole = not self.training and bool(series.valid.all())
        features = None if extras is None else extras[mask.nonzero()[:, 0]]  # (row, feature)
        values = series.values.flatten(0, 1) if whole else packed(series.values, mask)
        if series.valid.shape[-1] == 1:
            return self._embed_singles(values.squeeze(1), features), mask
        valid = None if whole else packed(series.valid, mask)  # (row, pixel)
        pooled = self._pool(values, valid)
        if features is not None:
            pooled.append(features)
        return self.sets(torch.cat(pooled, dim=1)), mask

    def _embed_packed(self, series: Series, extras: Tensor | None) -> tuple[Tensor, Tensor]:
        """Embed a packed series, which has values of valid pixels only."""
        counts = series.valid.sum(dim=-1)
        mask = counts > 0
        features = None if extras is None else extras[mask.nonzero()[:, 0]]
        if series.valid.shape[-1] == 1:
            return self._embed_singles(series.values, features), mask
        pooled = self._statistics_of(series.values, counts[mask])
        if features is not None:
            pooled.append(features)
        return self.sets(torch.cat(pooled, dim=1)), mask

    def _pool(self, values: Tensor, valid: Tensor | None) -> list[Tensor]:
        """Statistics (row, feature) of rows (row, pixel, band), in pieces that fit the cache."""
        if self.training and valid is not None:
            return self._pool_packed(values, valid)
        if valid is not None and valid.float().mean() < _WORTH_PACKING:
            pieces = self._pieces(values, valid, self._pool_packed)
        elif self.folded and not values.is_cuda and {"mean", "std"} >= set(self.statistics):
            layers = [layer for layer in self.pixels if isinstance(layer, nn.Linear)]
            moments = pool_in_place(layers, values, valid)
            return [moments[name] for name in self.statistics]
        else:
            valid = torch.ones_like(values[..., 0], dtype=torch.bool) if valid is None else valid
            pieces = self._pieces(values, valid, self._pool_dense)
        return [torch.cat(statistic) for statistic in zip(*pieces, strict=True)]

    @staticmethod
    def _pieces(
        values: Tensor, valid: Tensor, pool: Callable[[Tensor, Tensor], list[Tensor]]
    ) -> list[list[Tensor]]:
        step = len(values) if values.is_cuda else max(1, PIECE // values.shape[1])
        rows = zip(torch.split(values, step), torch.split(valid, step), strict=True)
        return [pool(pixels, mask) for pixels, mask in rows]

    def _normalised(self, values: Tensor) -> Tensor:
        return values if self.folded else (values - self.mean) / self.deviation

    def weight_of_singles(self) -> Tensor:
        """Weights of the first layer after the statistics, for sets of one pixel.

        Mean, maximum and minimum of a single pixel are its value; its deviation is 0.
        """
        weight = cast("Tensor", self.sets[0].weight)
        width = cast("nn.Linear", self.pixels[-3]).out_features
        n = len(self.statistics)
        parts = weight[:, : n * width].view(-1, n, width)
        counts = [name != "std" for name in self.statistics]
        return torch.cat([parts[:, counts].sum(dim=1), weight[:, n * width :]], dim=1)

    def _embed_singles(self, values: Tensor, features: Tensor | None) -> Tensor:
        """Embed sets of one pixel (row, band)."""
        pixels = self.pixels(self._normalised(values))  # (row, feature)
        if features is not None:
            pixels = torch.cat([pixels, features], dim=1)
        if self.singles is not None:
            return self.singles(pixels)  # type: ignore[no-any-return]
        bias = cast("Tensor", self.sets[0].bias)
        out = functional.linear(pixels, self.weight_of_singles(), bias)
        return self.sets[1:](out)  # type: ignore[no-any-return]

    def _pool_packed(self, values: Tensor, valid: Tensor) -> list[Tensor]:
        """Statistics (row, feature) of the layers' output; valid pixels are gathered first."""
        return self._statistics_of(values[valid], valid.sum(dim=1))

    def _statistics_of(self, values: Tensor, counts: Tensor) -> list[Tensor]:
        """Statistics of packed pixels (valid pixel, band); ``counts`` (row,) pixels in each row."""
        # `Moments` applies the last ReLU itself, piece by piece.
        only_moments = {"mean", "std"} >= set(self.statistics) and "std" in self.statistics
        layers = self.pixels[:-1] if only_moments else self.pixels
        pixels = layers(self._normalised(values))  # (valid pixel, feature)
        statistics = {}
        if "std" in self.statistics:
            moments: Any = Moments.apply(pixels, counts)  # type: ignore[no-untyped-call]
            statistics["mean"], statistics["std"] = moments
        elif "mean" in self.statistics:
            empty = pixels.new_zeros(len(counts), pixels.shape[1])
            statistics["mean"] = empty.index_add(0, row_of(counts), pixels) / counts.unsqueeze(1)
        for name in {"max", "min"} & set(self.statistics):
            statistics[name] = torch.segment_reduce(pixels, name, lengths=counts, unsafe=True)
        return [statistics[name] for name in self.statistics]

    def _pool_dense(self, values: Tensor, valid: Tensor) -> list[Tensor]:
        """Like `_pool_packed`, but all pixels are computed and invalid ones get weight 0."""
        rows, size = valid.shape
        whole = bool(valid.all())
        if not whole:
            values = values.masked_fill(~valid.unsqueeze(-1), 0.0)
        pixels = self.pixels(self._normalised(values).flatten(0, 1)).view(rows, size, -1)
        weight = valid.to(pixels.dtype).unsqueeze(1)  # (row, 1, pixel)
        n = weight.sum(dim=2)  # (row, 1)
        mean = torch.bmm(weight, pixels).squeeze(1) / n
        statistics = {"mean": mean}
        for name, sign in (("max", 1.0), ("min", -1.0)):
            if name in self.statistics:
                signed = pixels * sign
                if not whole:
                    signed = signed.masked_fill(~valid.unsqueeze(-1), -torch.inf)
                statistics[name] = signed.amax(dim=1) * sign
        if "std" in self.statistics:
            squares = torch.bmm(weight, (pixels - mean.unsqueeze(1)).square())
            statistics["std"] = sample_deviation(squares.squeeze(1), n)
        return [statistics[name] for name in self.statistics]
