"""Cost of training: memory of a step, and processor time beside that of a plain training."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import torch
from torch.nn import functional

from benchmarks.memory import peak_mb
from benchmarks.networks import MASKED, SEASON, arrays_of, network_of
from benchmarks.restated import CLASSES
from cubecrop import TrainConfig
from cubecrop.model import (
    Batch,
    CropNetwork,
    NetworkConfig,
    NetworkOptions,
    SensorConfig,
    Series,
    one_thread,
)
from cubecrop.sample import draw_positions, hash_ids
from cubecrop.schema import SENTINEL1_BANDS, SENTINEL2_BANDS
from cubecrop.training.loop import run_epochs
from cubecrop.training.sets import TrainingSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["TrainingCost", "TrainingStep"]

_SMALL = (1, 2, 4, 8, 16)


class TrainingStep:
    """Peak memory of a training step with 128 parcels, 64 pixels and 70 dates per sensor."""

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
    """Take one step of a network on both satellites; return the process's peak memory in MB."""
    bands = {"sentinel2": SENTINEL2_BANDS, "sentinel1": SENTINEL1_BANDS}
    with torch.random.fork_rng(), one_thread():
        torch.manual_seed(0)
        network = CropNetwork(
            NetworkConfig(
                sensors=tuple(SensorConfig(name=name, bands=b) for name, b in bands.items()),
                n_classes=CLASSES,
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
        truth = torch.arange(n) % CLASSES
        functional.cross_entropy(network(batch), truth).backward()
    return peak_mb()


class TrainingCost:
    """Processor time of an epoch of `fit` on 800 parcels with 85 + 60 dates, 40 % of them masked.

    ``plain`` draws all pixels of all dates, masked or not, and trains the published sizes.
    """

    n_parcels, n_pixels, epochs = 800, 64, 2
    repeat = 2
    timeout = 900

    def setup(self) -> None:
        # torch imports its compiler with the first optimiser; that second is not training.
        torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).zero_grad()

    def track_epoch(self) -> float:
        return self._seconds(NetworkOptions(), plain=False)

    def track_plain_epoch(self) -> float:
        return self._seconds(NetworkOptions.published(), plain=True)

    def track_share_of_plain(self) -> float:
        """Alternate both, so that a busy machine distorts the ratio little."""
        ours = plain = float("inf")
        for _ in range(self.repeat):
            ours = min(ours, self._seconds(NetworkOptions(), plain=False))
            plain = min(plain, self._seconds(NetworkOptions.published(), plain=True))
        return ours / plain

    track_epoch.unit = track_plain_epoch.unit = "CPU s"
    track_share_of_plain.unit = "of plain"

    def _seconds(self, options: NetworkOptions, *, plain: bool) -> float:
        arrays = arrays_of(self.n_parcels, self.n_pixels, SEASON, masked=MASKED)
        labels = np.random.default_rng(0).integers(0, CLASSES, self.n_parcels)
        training_set = TrainingSet(
            arrays,
            labels,
            [f"parcel {i}" for i in range(self.n_parcels)],
            np.full(self.n_parcels, self.n_pixels),
        )
        network = network_of(options, *SEASON)
        config = TrainConfig(epochs=self.epochs)
        drawn = mock.patch("cubecrop.training.loop.batches", plain_batches)
        with torch.random.fork_rng(), one_thread(), drawn if plain else nullcontext():
            torch.manual_seed(0)
            start = time.process_time()
            run_epochs(network, [training_set], [], config, seed=0, device="cpu", progress=False)
            return (time.process_time() - start) / self.epochs


def plain_batches(
    sets: Sequence[TrainingSet],
    deviations: Mapping[str, NDArray[np.float32]],
    config: TrainConfig,
    *,
    n_days: int,  # noqa: ARG001 (of the batches that these stand for)
    seed: int,
    epoch: int,
) -> Iterator[tuple[Batch, Tensor]]:
    """Yield the batches of one set with all pixels and dates, as arrays of full size."""
    rng = np.random.default_rng([seed, epoch])
    (training_set,) = sets
    order = rng.permutation(len(training_set.labels))
    for start in range(0, len(order), config.batch_size):
        members = order[start : start + config.batch_size]
        size = min(config.n_pixels, int(training_set.drawn[members].max()))
        if rng.random() < config.small_sets:
            size = min(size, int(rng.choice(_SMALL)))
        hashes = hash_ids([training_set.ids[i] for i in members], seed, epoch)
        pixels = draw_positions(training_set.drawn[members], hashes, size)
        row, column = members[:, None, None], pixels[:, None, :]
        series = {}
        for name, arrays in training_set.arrays.series.items():
            date = np.arange(len(arrays.days))[None, :, None]
            values, valid = arrays.values[row, date, column], arrays.valid[row, date, column]
            dropped = rng.random(valid.shape[:2]) < config.date_dropout.get(name, 0.0)
            noise = rng.standard_normal(values.shape, dtype=np.float32) * np.float32(config.jitter)
            series[name] = Series(
                torch.from_numpy(values + noise * deviations[name]),
                torch.from_numpy(valid & ~dropped[:, :, None]),
                torch.from_numpy(np.tile(arrays.days, (len(members), 1))),
            )
        yield Batch(series), torch.from_numpy(training_set.labels[members])
