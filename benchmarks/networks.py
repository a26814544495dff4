"""Predicting with networks: cubecrop against the published computation, restated in plain torch.

The restatement computes what the code of Garnot et al. 2020 (arXiv:1911.07757) and Garnot &
Landrieu 2020 (arXiv:2007.00586) computes, step by step: batch normalisation of every pixel, keys
of every date, one batch after the other. It is measured at the best of several batch sizes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.memory import peak_mb
from cubecrop.model import CropNetwork, NetworkConfig, Predictor, SensorConfig, one_thread
from cubecrop.model.arrays import SampleArrays, SensorArrays
from cubecrop.model.series import Batch, Series
from cubecrop.schema import SENTINEL1_BANDS, SENTINEL2_BANDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Networks", "TrainingStep"]

_BATCHES = (8, 16, 64, 128, 512)
_CLASSES = 20


class Networks:
    """Parcels and pixels a second on one core, and how many times the restatement's.

    24 dates of 10 bands, all clear; parcels have 64 pixels. Only the network is measured, from
    arrays in memory to logits.
    """

    n_dates, n_pixels = 24, 64
    n_parcels, n_singles = 512, 8192
    repeat = 5
    timeout = 600

    def track_tae_parcels(self) -> float:
        return self._faster("tae", self.n_parcels, self.n_pixels)

    def track_ltae_parcels(self) -> float:
        return self._faster("ltae", self.n_parcels, self.n_pixels)

    def track_tae_pixels(self) -> float:
        return self._faster("tae", self.n_singles, 1)

    def track_ltae_pixels(self) -> float:
        return self._faster("ltae", self.n_singles, 1)

    track_tae_parcels.unit = track_ltae_parcels.unit = "x"
    track_tae_pixels.unit = track_ltae_pixels.unit = "x"

    def _faster(self, temporal: str, n: int, n_pixels: int) -> float:
        """How many times faster, the best of several runs of each, taken in turns."""
        sensors = (SensorConfig(name="sentinel2", bands=SENTINEL2_BANDS),)
        with torch.random.fork_rng(), one_thread():
            torch.manual_seed(0)
            config = published(temporal, sensors)
            predictor = Predictor(CropNetwork(config), "cpu")
            restated = Restated(temporal, self.n_dates).eval()
            shape = (n, self.n_dates, n_pixels, len(SENTINEL2_BANDS))
            values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
            days = np.linspace(0, 400, self.n_dates).round().astype(np.float32)
            arrays = SampleArrays(
                {"sentinel2": SensorArrays(values, np.ones(shape[:3], dtype=bool), days)}
            )
            # The published code stores (batch, time, band, pixel).
            theirs = torch.from_numpy(np.ascontiguousarray(values.swapaxes(2, 3)))
            mask = torch.ones(shape[:3])
            runs: dict[object, Callable[[], object]] = {"ours": lambda: predictor.logits(arrays)}
            for size in _BATCHES:
                runs[size] = _in_batches(restated, theirs, mask, torch.from_numpy(days), size)
            best = _best_times(runs, self.repeat)
        return min(best[size] for size in _BATCHES) / best["ours"]


class TrainingStep:
    """The most memory that a training step holds: 128 parcels, 64 pixels, 70 dates a sensor."""

    timeout = 600

    def peakmem_late_ltae(self) -> None:
        training_step("late", "ltae")

    def peakmem_early_tae(self) -> None:
        training_step("early", "tae")

    def peakmem_mid_transformer(self) -> None:
        training_step("mid", "transformer")

    def peakmem_mid_gru(self) -> None:
        training_step("mid", "gru")

    def peakmem_every_statistic(self) -> None:
        training_step("mid", "transformer", statistics=("mean", "std", "max", "min"))


def training_step(
    fusion: str,
    temporal: str,
    *,
    statistics: tuple[str, ...] = ("mean", "std"),
    n: int = 128,
    dates: int = 70,
    pixels: int = 64,
) -> float:
    """One step of a network on Sentinel-2 and Sentinel-1; the process' peak memory in MB."""
    bands = {"sentinel2": SENTINEL2_BANDS, "sentinel1": SENTINEL1_BANDS}
    with torch.random.fork_rng(), one_thread():
        torch.manual_seed(0)
        network = CropNetwork(
            NetworkConfig(
                sensors=tuple(SensorConfig(name=name, bands=b) for name, b in bands.items()),
                n_classes=_CLASSES,
                fusion=fusion,
                temporal=temporal,
                statistics=statistics,
            )
        ).train()
        days = torch.linspace(0, 400, dates).expand(n, dates).clone()
        batch = Batch(
            {
                name: Series(
                    torch.randn(n, dates, pixels, len(b)),
                    torch.ones(n, dates, pixels, dtype=torch.bool),
                    days,
                )
                for name, b in bands.items()
            }
        )
        truth = torch.arange(n) % _CLASSES
        functional.cross_entropy(network(batch), truth).backward()
    return peak_mb()


class Restated(nn.Module):
    """PSE+TAE or PSE+L-TAE of the published sizes, computed as the published code does."""

    def __init__(self, temporal: str, n_dates: int) -> None:
        super().__init__()
        self.light = temporal == "ltae"
        self.heads, self.keys, width = (16, 8, 256) if self.light else (4, 32, 128)
        self.pixels = nn.ModuleList([_PixelLayer(10, 32), _PixelLayer(32, 64)])
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
        self.decoder = nn.Sequential(*_layers((128, 64, 32)), nn.Linear(32, _CLASSES))

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
        found = torch.matmul(torch.softmax(score, dim=2), value)  # (head x batch, 1, width)
        found = found.view(self.heads, n, -1).transpose(0, 1).flatten(1)
        logits: Tensor = self.decoder(self.norm_out(self.summary(found)))
        return logits


class _PixelLayer(nn.Module):
    """A layer over each pixel, channels before pixels as the normalisation wants them."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(inside, outside), nn.BatchNorm1d(outside)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.linear(x.permute(0, 2, 1)).permute(0, 2, 1)))


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    """Masked mean of (row, feature, pixel)."""
    return (x * mask.unsqueeze(1)).sum(dim=2) / mask.sum(dim=1, keepdim=True)


def _deviation(x: Tensor, mask: Tensor) -> Tensor:
    """Masked deviation, which computes the mean for itself."""
    n = mask.sum(dim=1, keepdim=True)
    apart = (x - _mean(x, mask).unsqueeze(2)) * mask.unsqueeze(1)
    variance = apart.square().sum(dim=2) / torch.where(n == 1, 1, n - 1)
    return (variance + 1e-31).sqrt()


def _layers(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(len(widths) - 1):
        layers += [nn.Linear(widths[i], widths[i + 1]), nn.BatchNorm1d(widths[i + 1]), nn.ReLU()]
    return nn.Sequential(*layers)


def _in_batches(
    network: nn.Module, values: Tensor, mask: Tensor, days: Tensor, size: int
) -> Callable[[], object]:
    def run() -> list[Tensor]:
        with torch.inference_mode():
            parts = zip(values.split(size), mask.split(size), strict=True)
            return [network(v, m, days) for v, m in parts]

    return run


def _best_times(runs: dict[object, Callable[[], object]], repeat: int) -> dict[object, float]:
    """The shortest processor time of each, so that a busy machine distorts little."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(repeat):
        for name, run in runs.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return best
