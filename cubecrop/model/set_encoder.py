"""The pixel-set encoder: the pixels of a date become one embedding.

Only dates with a valid pixel are computed; in training only valid pixels are, so that no
normalisation ever sees padding or cloud.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from cubecrop.model.layers import mlp, packed

if TYPE_CHECKING:
    from collections.abc import Callable

    from cubecrop.model.config import NetworkConfig
    from cubecrop.model.series import Series

__all__ = ["PixelSetEncoder"]

#: Below this share of valid pixels it is cheaper to gather them than to compute all.
_WORTH_PACKING = 0.5
#: Pixels in one go at prediction: their widest layer stays in a processor's cache.
_PIECE = 6144
#: Keeps the gradient of a root finite where all pixels are alike; far below any signal.
_LEAST_VARIANCE = 1e-20


class PixelSetEncoder(nn.Module):
    """Embeds the set of pixels of each date: shared layers, statistics, layers.

    Carries the mean and deviation of the bands that it was trained on, and normalises by
    them.

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
            (row, embedding), a row for each date that has a valid pixel, in order of batch
            and time.
        mask : Tensor
            (batch, time) bool, which dates those are.
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
        """Embed a series that has values of valid pixels alone."""
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
        """Statistics (row, feature) of rows (row, pixel, band), a piece that fits a cache a go."""
        if self.training and valid is not None:
            return self._pool_packed(values, valid)
        if valid is not None and valid.float().mean() < _WORTH_PACKING:
            pieces = self._pieces(values, valid, self._pool_packed)
        elif self.folded and not values.is_cuda and {"mean", "std"} >= set(self.statistics):
            return self._pool_in_place(values, valid)
        else:
            valid = torch.ones_like(values[..., 0], dtype=torch.bool) if valid is None else valid
            pieces = self._pieces(values, valid, self._pool_dense)
        return [torch.cat(one) for one in zip(*pieces, strict=True)]

    @staticmethod
    def _pieces(
        values: Tensor, valid: Tensor, pool: Callable[[Tensor, Tensor], list[Tensor]]
    ) -> list[list[Tensor]]:
        step = len(values) if values.is_cuda else max(1, _PIECE // values.shape[1])
        rows = zip(torch.split(values, step), torch.split(valid, step), strict=True)
        return [pool(row, ok) for row, ok in rows]

    def _pool_in_place(self, values: Tensor, valid: Tensor | None) -> list[Tensor]:
        """Mean and deviation, piece by piece in the same memory.

        Fresh memory for every layer of every piece costs more than the layers do.
        """
        rows, size = values.shape[:2]
        step = min(rows, max(1, _PIECE // size))
        layers = [layer for layer in self.pixels if isinstance(layer, nn.Linear)]
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
        found = {"mean": mean.squeeze(1), "std": _deviation(squares, n).squeeze(1)}
        return [found[name] for name in self.statistics]

    def _normalised(self, values: Tensor) -> Tensor:
        return values if self.folded else (values - self.mean) / self.deviation

    def fold(self) -> None:
        """Let the first layer standardise the bands, and make layers for sets of one pixel."""
        first = cast("nn.Linear", self.pixels[0])
        with torch.no_grad():
            weight = first.weight.double() / self.deviation.double()
            first.bias.copy_(first.bias.double() - weight @ self.mean.double())
            first.weight.copy_(weight)
            self.singles = copy.deepcopy(self.sets)
            opening = cast("nn.Linear", self.singles[0])
            opening.weight = nn.Parameter(self._weight_of_singles())
            opening.in_features = opening.weight.shape[1]
        self.folded = True

    def _weight_of_singles(self) -> Tensor:
        """Weights of the first layer behind the statistics, for sets of one pixel.

        Such a pixel is its own mean and extremes, and deviates by nothing.
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
        out = functional.linear(pixels, self._weight_of_singles(), bias)
        return self.sets[1:](out)  # type: ignore[no-any-return]

    def _pool_packed(self, values: Tensor, valid: Tensor) -> list[Tensor]:
        """Statistics (row, feature) of the layers' output over valid pixels, gathered first."""
        return self._statistics_of(values[valid], valid.sum(dim=1))

    def _statistics_of(self, values: Tensor, counts: Tensor) -> list[Tensor]:
        """The same of pixels (valid pixel, band), of which each row has ``counts`` (row,)."""
        # Moments are those behind the last ReLU, which they compute piece by piece.
        alone = {"mean", "std"} >= set(self.statistics) and "std" in self.statistics
        layers = self.pixels[:-1] if alone else self.pixels
        pixels = layers(self._normalised(values))  # (valid pixel, feature)
        found = {}
        if "std" in self.statistics:
            moments: Any = _Moments.apply(pixels, counts)  # type: ignore[no-untyped-call]
            found["mean"], found["std"] = moments
        elif "mean" in self.statistics:
            empty = pixels.new_zeros(len(counts), pixels.shape[1])
            found["mean"] = empty.index_add(0, _row_of(counts), pixels) / counts.unsqueeze(1)
        for name in {"max", "min"} & set(self.statistics):
            found[name] = torch.segment_reduce(pixels, name, lengths=counts, unsafe=True)
        return [found[name] for name in self.statistics]

    def _pool_dense(self, values: Tensor, valid: Tensor) -> list[Tensor]:
        """The same with every pixel computed, those that are not valid weighed by zero."""
        rows, size = valid.shape
        whole = bool(valid.all())
        if not whole:
            values = values.masked_fill(~valid.unsqueeze(-1), 0.0)
        pixels = self.pixels(self._normalised(values).flatten(0, 1)).view(rows, size, -1)
        weight = valid.to(pixels.dtype).unsqueeze(1)  # (row, 1, pixel)
        n = weight.sum(dim=2)  # (row, 1)
        mean = torch.bmm(weight, pixels).squeeze(1) / n
        found = {"mean": mean}
        for name, sign in (("max", 1.0), ("min", -1.0)):
            if name in self.statistics:
                signed = pixels * sign
                if not whole:
                    signed = signed.masked_fill(~valid.unsqueeze(-1), -torch.inf)
                found[name] = signed.amax(dim=1) * sign
        if "std" in self.statistics:
            squares = torch.bmm(weight, (pixels - mean.unsqueeze(1)).square())
            found["std"] = _deviation(squares.squeeze(1), n)
        return [found[name] for name in self.statistics]


def _deviation(squares: Tensor, n: Tensor) -> Tensor:
    """Sample deviation from summed squares; a set of one pixel has none."""
    variance = squares / (n - 1).clamp_min(1)
    return torch.sqrt(variance.clamp_min(_LEAST_VARIANCE)) * (n > 1)


def _row_of(counts: Tensor) -> Tensor:
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
    if counts.is_cuda or total <= _PIECE:
        return [(slice(None), slice(None))]
    ends = counts.cumsum(dim=0)
    cuts = torch.arange(1, total // _PIECE + 1) * _PIECE
    found = {int(row) + 1 for row in torch.searchsorted(ends, cuts)}
    rows = [0, *sorted(found - {len(ends)}), len(ends)]
    pixels = [0, *(int(ends[row - 1]) for row in rows[1:])]
    return [
        (slice(rows[i], rows[i + 1]), slice(pixels[i], pixels[i + 1])) for i in range(len(rows) - 1)
    ]


class _Moments(torch.autograd.Function):
    """Mean and sample deviation, behind a ReLU, of sets that follow each other.

    Automatic gradients would keep three temporaries of the size of all pixels, which is most of
    the memory of a training step; here even those of the moment are of a piece alone.
    """

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        n = counts.unsqueeze(1).to(pixels.dtype)
        mean = pixels.new_empty(len(counts), pixels.shape[1])
        squares = torch.empty_like(mean)
        ctx.pieces = _pieces_of_sets(counts, len(pixels))
        for rows, part in ctx.pieces:
            x = pixels[part].relu()
            mean[rows] = _sums(x, counts[rows]) / n[rows]
            apart = mean[rows].index_select(0, _row_of(counts[rows])).sub_(x)
            squares[rows] = _sums(apart.square_(), counts[rows])
        deviation = _deviation(squares, n)
        ctx.save_for_backward(pixels, counts, mean, deviation)
        return mean, deviation

    @staticmethod
    def backward(ctx: Any, d_mean: Tensor, d_std: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        pixels, counts, mean, deviation = ctx.saved_tensors
        n = counts.unsqueeze(1).to(pixels.dtype)
        # d mean / d x = 1 / n; d std / d x = (x - mean) / (std (n - 1)), none where all are alike.
        varies = deviation > 2 * _LEAST_VARIANCE**0.5
        slope = torch.where(varies, d_std / (deviation * (n - 1)).clamp_min(1e-30), 0.0)
        level, out = d_mean / n, torch.empty_like(pixels)
        for rows, part in ctx.pieces:
            row = _row_of(counts[rows])
            x = pixels[part]
            apart = x.relu().sub_(mean[rows].index_select(0, row))
            apart.mul_(slope[rows].index_select(0, row)).add_(level[rows].index_select(0, row))
            torch.mul(apart, x > 0, out=out[part])
        return out, None
