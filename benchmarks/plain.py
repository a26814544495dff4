"""What is written without cubecrop: stackstac, and the published computation in batches.

It is given what makes it quick: values as uint16 in chunks of whole files, the places of the
drawn pixels, one thread for torch, the best of several batch sizes. It masks no cloud.
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
#: Seconds of a batch size that is tried.
_TRIAL = 1.0
#: Values in memory at a time as float32.
_GATHERED = 50_000_000


class PlainChain:
    """Classifies pixel sets of one or two satellites; see `benchmarks.networks.Restated`.

    The scores of two satellites are added, each from a network of its own.
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
                Restated("ltae", one.sizes["time"], one.sizes["band"]).eval() for one in self.series
            ]
        self.batch = 0

    def tune(self, n_pixels: int) -> int:
        """Find the batch size that is quickest for sets of so many pixels."""
        rng = np.random.default_rng(0)
        rate = {}
        for size in _BATCHES:
            sets = [
                rng.normal(size=(size, *one.shape[:2], n_pixels)).astype(np.float32)
                for one in self.series
            ]
            self.batch, done, start = size, 0, time.process_time()
            while not done or time.process_time() - start < _TRIAL:
                self.scores(sets)
                done += size
            rate[size] = done / (time.process_time() - start)
        self.batch = max(rate, key=lambda size: rate[size])
        return self.batch

    def classify(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Classes of sets of pixels, (set, pixel) rows and columns of the area; reads all of it."""
        cubes = [one.compute().to_numpy() for one in self.series]
        width = max(one.shape[0] * one.shape[1] for one in cubes) * rows.shape[1]
        step = max(self.batch, _GATHERED // width)
        found = []
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            # (time, band, set, pixel) to (set, time, band, pixel)
            sets = [
                _values(cube[:, :, rows[part], columns[part]].transpose(2, 0, 1, 3))
                for cube in cubes
            ]
            found.append(self.scores(sets).argmax(axis=1))
        return np.concatenate(found)

    def scores(self, sets: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Scores (set, crop) of values (set, time, band, pixel) of each satellite."""
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
    """Reflectance, or backscatter in dB."""
    if numbers.dtype == np.uint16:
        return np.ascontiguousarray(numbers * np.float32(1e-4) - np.float32(0.1))
    return np.ascontiguousarray(10 * np.log10(np.maximum(numbers, np.float32(1e-5))))
