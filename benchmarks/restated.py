"""The published computation of PSE+TAE and PSE+L-TAE, restated in plain torch.

It computes the same steps as the published code of Garnot et al. 2020 (arXiv:1911.07757) and Garnot
& Landrieu 2020 (arXiv:2007.00586): it normalises every pixel, and computes every date and its key
whether the date is clear or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CLASSES", "Restated"]

CLASSES = 20


class Restated(nn.Module):
    """PSE+TAE or PSE+L-TAE of the published sizes, computed as in the published code."""

    def __init__(self, temporal: str, n_dates: int, n_bands: int = 10) -> None:
        super().__init__()
        self.light = temporal == "ltae"
        self.heads, self.keys, width = (16, 8, 256) if self.light else (4, 32, 128)
        self.pixels = nn.ModuleList([_PixelLayer(n_bands, 32), _PixelLayer(32, 64)])
        self.sets = nn.Sequential(nn.Linear(128, 128), nn.BatchNorm1d(128))
        self.norm_in = nn.LayerNorm(128)
        self.widen = nn.Conv1d(128, 256, 1) if self.light else None
        self.norm_wide = nn.LayerNorm((256, n_dates)) if self.light else None
        self.to_key = nn.Linear(width, self.heads * self.keys)
        self.to_query = None if self.light else nn.Linear(width, self.heads * self.keys)
        inner = self.heads * self.keys
        self.master = nn.Sequential(nn.BatchNorm1d(inner), nn.Linear(inner, inner))
        self.query = nn.Parameter(torch.randn(self.heads, self.keys))
        widths = (256, 128) if self.light else (512, 128, 128)
        self.summary = _layers(widths)
        self.norm_out = nn.LayerNorm(128)
        self.decoder = nn.Sequential(*_layers((128, 64, 32)), nn.Linear(32, CLASSES))

    def forward(self, values: Tensor, mask: Tensor, days: Tensor) -> Tensor:
        """Logits of values (batch, time, band, pixel) with a mask (batch, time, pixel)."""
        n, dates = values.shape[:2]
        x, weight = values.flatten(0, 1), mask.flatten(0, 1)
        for layer in self.pixels:
            x = layer(x)  # (row, feature, pixel)
        x = torch.cat([_mean(x, weight), _deviation(x, weight)], dim=1)
        x = self.sets(x).view(n, dates, -1)
        x = self.norm_in(x)
        if self.widen is not None and self.norm_wide is not None:
            x = self.norm_wide(self.widen(x.transpose(1, 2))).transpose(1, 2)
        width = x.shape[2] // self.heads if self.light else x.shape[2]
        index = torch.arange(width)
        angle = days[:, None] / 1000.0 ** (2 * (index // 2) / width)
        position = torch.where(index % 2 == 0, angle.sin(), angle.cos())
        x = x + (position.repeat(1, self.heads) if self.light else position)
        key = self.to_key(x).view(n, dates, self.heads, self.keys)
        key = key.permute(2, 0, 1, 3).reshape(-1, dates, self.keys)  # (head x batch, time, key)
        if self.to_query is None:
            query = self.query.repeat_interleave(n, dim=0)
            value = torch.stack(x.split(width, dim=2)).flatten(0, 1)
        else:
            mean = self.to_query(x).mean(dim=1)
            query = self.master(mean).view(n, self.heads, self.keys).transpose(0, 1).flatten(0, 1)
            value = x.repeat(self.heads, 1, 1)
        score = torch.matmul(query.unsqueeze(1), key.transpose(1, 2)) / self.keys**0.5
        pooled = torch.matmul(torch.softmax(score, dim=2), value)  # (head x batch, 1, width)
        pooled = pooled.view(self.heads, n, -1).transpose(0, 1).flatten(1)
        logits: Tensor = self.decoder(self.norm_out(self.summary(pooled)))
        return logits


class _PixelLayer(nn.Module):
    """A layer over each pixel; channels come before pixels, as the normalisation needs."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(inside, outside), nn.BatchNorm1d(outside)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.linear(x.permute(0, 2, 1)).permute(0, 2, 1)))


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    """Masked mean of (row, feature, pixel)."""
    return (x * mask.unsqueeze(1)).sum(dim=2) / mask.sum(dim=1, keepdim=True)


def _deviation(x: Tensor, mask: Tensor) -> Tensor:
    """Masked deviation, which computes the mean again, as in the published code."""
    n = mask.sum(dim=1, keepdim=True)
    apart = (x - _mean(x, mask).unsqueeze(2)) * mask.unsqueeze(1)
    variance = apart.square().sum(dim=2) / torch.where(n == 1, 1, n - 1)
    return (variance + 1e-31).sqrt()


def _layers(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(len(widths) - 1):
        layers += [nn.Linear(widths[i], widths[i + 1]), nn.BatchNorm1d(widths[i + 1]), nn.ReLU()]
    return nn.Sequential(*layers)
