"""A chain without cubecrop: stackstac, and the published computation in batches.

It is set up to be fast: uint16 values in chunks of whole files, pixels that are drawn beforehand,
one thread for torch, the best of several batch sizes. It does not mask cloud.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pystac
import torch

from benchmarks.restated import Restated
from cubecrop.model import one_thread
from cubecrop.schema import SENTINEL1_BANDS, SENTINEL2_BANDS

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["PlainChain"]

_BATCHES = (8, 16, 64, 256)
#: Seconds for which each batch size is tried.
_TRIAL = 1.0
#: Number of float32 values in memory at a time.
_GATHERED = 50_000_000


class PlainChain:
    """Classify pixel sets of one or two satellites; see `benchmarks.restated.Restated`.

    Each satellite has its own network, and their scores are added.
    """

    def __init__(self, archive: Path, bounds: tuple[float, ...], epsg: int) -> None:
        items = pystac.ItemCollection.from_file(str(archive))
        self.series = []
        for collection, bands in (
            ("sentinel-2-l2a", SENTINEL2_BANDS),
            ("sentinel-1-rtc", SENTINEL1_BANDS),
        ):
            if mine := [item for item in items if item.collection_id == collection]:
                self.series.append(_stacked(mine, bands, bounds, epsg))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.networks = [
                Restated("ltae", cube.sizes["time"], cube.sizes["band"]).eval()
                for cube in self.series
            ]
        self.batch = 0

    def tune(self, n_pixels: int) -> int:
        """Find the fastest batch size for sets of ``n_pixels`` pixels."""
        rng = np.random.default_rng(0)
        rate = {}
        for size in _BATCHES:
            sets = [
                rng.normal(size=(size, *cube.shape[:2], n_pixels)).astype(np.float32)
                for cube in self.series
            ]
            self.batch, done, start = size, 0, time.process_time()
            while not done or time.process_time() - start < _TRIAL:
                self.scores(sets)
                done += size
            rate[size] = done / (time.process_time() - start)
        self.batch = max(rate, key=lambda size: rate[size])
        return self.batch

    def classify(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Classify sets of pixels by their (set, pixel) rows and columns; reads the whole area."""
        cubes = [cube.compute().to_numpy() for cube in self.series]
        width = max(cube.shape[0] * cube.shape[1] for cube in cubes) * rows.shape[1]
        step = max(self.batch, _GATHERED // width)
        classes = []
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            # (time, band, set, pixel) to (set, time, band, pixel)
            sets = [
                _values(cube[:, :, rows[part], columns[part]].transpose(2, 0, 1, 3))
                for cube in cubes
            ]
            classes.append(self.scores(sets).argmax(axis=1))
        return np.concatenate(classes)

    def scores(self, sets: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Compute the scores (set, crop) from values (set, time, band, pixel) by satellite."""
        total: Any = 0
        with one_thread(), torch.inference_mode():
            for network, values in zip(self.networks, sets, strict=True):
                days = torch.linspace(0, 400, values.shape[1]).round()
                mask = torch.ones(values.shape[0], values.shape[1], values.shape[3])
                parts = zip(
                    torch.from_numpy(values).split(self.batch), mask.split(self.batch), strict=True
                )
                total = total + torch.cat([network(v, m, days) for v, m in parts])
        return np.asarray(total)


def _stacked(
    items: list[pystac.Item], bands: tuple[str, ...], bounds: tuple[float, ...], epsg: int
) -> xr.DataArray:
    import stackstac  # an extra, which other benchmarks go without

    dtype = "uint16" if bands == SENTINEL2_BANDS else "float32"
    return stackstac.stack(
        items,
        assets=list(bands),
        epsg=epsg,
        resolution=10,
        bounds=bounds,
        dtype=dtype,
        fill_value=np.dtype(dtype).type(0),
        rescale=False,
        chunksize=2048,
        xy_coords="center",
    )


def _values(numbers: NDArray[Any]) -> NDArray[np.float32]:
    """Convert stored numbers to reflectance, or to backscatter in dB."""
    if numbers.dtype == np.uint16:
        return np.ascontiguousarray(numbers * np.float32(1e-4) - np.float32(0.1))
    return np.ascontiguousarray(10 * np.log10(np.maximum(numbers, np.float32(1e-5))))
