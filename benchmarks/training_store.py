"""Training on pixel sets that stay on disk: memory, and speed beside sets in memory."""

from __future__ import annotations

import time
from pathlib import Path
from unittest import mock

import numpy as np
import xarray as xr

from benchmarks.restated import CLASSES
from cubecrop import TrainConfig, fit
from cubecrop.sample import SetStore, StoredSets, join_stores, stored
from cubecrop.schema import GEOMETRY_FEATURES, SENTINEL2_BANDS
from cubecrop.training.loop import TrainingHistory, run_epochs

__all__ = ["TrainingFromDisk"]


class TrainingFromDisk:
    """Train on 20,000 parcels of 64 pixels and 100 dates, of which 40 % are masked.

    ``track_speed`` is the number of steps a second from disk, as a share of those from memory.
    Both train on the same parcels, drawn from all stores, and must give the same weights.
    """

    n_parcels, n_stores, n_pixels, n_dates = 20_000, 20, 64, 100
    n_in_memory = 1500
    repeat = 5
    timeout = 3600

    def setup_cache(self) -> str:
        folder = Path("stores").resolve()
        for number in range(self.n_stores):
            stored(folder, str(number), lambda number=number: self._sets(number), progress=False)
        return str(folder)

    def peakmem_fit(self, folder: str) -> None:
        sets, labels = self._joined(folder)
        fit(sets, labels, config=TrainConfig(epochs=1), device="cpu", progress=False)

    def track_speed(self, folder: str) -> float:
        sets, labels = self._joined(folder)
        rng = np.random.default_rng(0)
        chosen = np.sort(rng.choice(len(sets), self.n_in_memory, replace=False))
        some = sets.take(chosen)
        both = {"disk": some, "memory": some.load(np.arange(len(some)))}
        best = dict.fromkeys(both, float("inf"))
        config = TrainConfig(epochs=3, validation=0.0)
        digests = set()
        for _ in range(self.repeat):
            for name, samples in both.items():
                seconds, digest = _seconds(samples, [labels[i] for i in chosen], config)
                best[name] = min(best[name], seconds)
                digests.add(digest)
        if len(digests) > 1:
            raise ValueError("disk and memory give different weights")
        return best["memory"] / best["disk"]

    def track_bytes(self, folder: str) -> float:
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        return size / (self.n_parcels * self.n_pixels * self.n_dates * len(SENTINEL2_BANDS))

    track_speed.unit = "of memory"
    track_bytes.unit = "bytes a value"

    def _joined(self, folder: str) -> tuple[StoredSets, list[str]]:
        stores = [SetStore(Path(folder) / str(number)) for number in range(self.n_stores)]
        rows = np.split(np.arange(self.n_parcels), self.n_stores)
        owner = np.repeat(np.arange(self.n_stores), self.n_parcels // self.n_stores)
        ((sets, _),) = join_stores(stores, rows, owner)
        return sets, [f"crop {i % CLASSES}" for i in range(self.n_parcels)]

    def _sets(self, number: int) -> xr.DataTree:
        """Pixel sets of one store, with a course of the season for each parcel."""
        rng = np.random.default_rng(number)
        n = self.n_parcels // self.n_stores
        shape = (n, self.n_dates, len(SENTINEL2_BANDS), self.n_pixels)
        course = rng.integers(300, 5000, (*shape[:3], 1))
        numbers = course + rng.normal(0, 60, shape).astype(np.int16)
        values = (numbers * 1e-4).astype(np.float32)
        values[rng.random(shape[:2]) < 0.4] = np.nan
        days = np.linspace(0, 400, self.n_dates).astype(int)
        valid = np.isfinite(values[:, :, 0])
        optical = xr.Dataset(
            {
                "reflectance": (("parcel", "time", "band", "pixel"), values),
                "valid": (("parcel", "time", "pixel"), valid),
            },
            coords={
                "time": np.datetime64("2017-09-01", "ns") + days * np.timedelta64(1, "D"),
                "band": list(SENTINEL2_BANDS),
            },
        )
        root = xr.Dataset(
            {"geometry": (("parcel", "feature"), np.ones((n, 4), np.float32))},
            coords={
                "parcel": [f"parcel {number} {i}" for i in range(n)],
                "feature": list(GEOMETRY_FEATURES),
                "pixel_count": ("parcel", np.full(n, self.n_pixels)),
            },
            attrs={
                "season_year": 2018, "season_start": "2017-09-01", "season_end": "2018-10-31",
                "archive": "made up", "n_pixels": self.n_pixels, "seed": 0,
            },
        )  # fmt: skip
        return xr.DataTree.from_dict({"/": root, "sentinel2": optical})


def _seconds(
    samples: StoredSets | xr.DataTree, labels: list[str], config: TrainConfig
) -> tuple[float, str]:
    """Seconds of a training's epochs, and the digest of its model."""
    seconds = []

    def timed(*arguments: object, **options: object) -> TrainingHistory:
        start = time.perf_counter()
        history = run_epochs(*arguments, **options)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - start)
        return history

    with mock.patch("cubecrop.training.averaging.run_epochs", timed):
        model = fit(samples, labels, config=config, device="cpu", progress=False)
    return seconds[0], model.digest
