"""Reading a season from a disk and from a far server: ours, odc-stac, a pool of threads."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import odc.stac
import pystac
from odc.geo.geobox import GeoBox

import cubecrop
from benchmarks.reading import _MASKED, ReadSeason, _read
from benchmarks.web import served
from cubecrop.schema import SENTINEL2_BANDS

if TYPE_CHECKING:
    from collections.abc import Callable

_THREADS = 16
_YEAR = 2024


class LoadFromDisk(ReadSeason):
    """CPU seconds for all bands and dates of a simulated archive.

    cubecrop scales, masks cloud with its margin of 60 m and gives float32, and reads one
    pixel a band of a date that is all cloud; the pool of threads scales and masks without a margin;
    odc-stac gives the digital numbers and SCL as they are.
    """

    def track_cubecrop(self, _: str) -> float:
        return _cpu(self.cubecrop)

    def track_rasterio_pool(self, _: str) -> float:
        return _cpu(self.rasterio_pool)

    def track_odc_stac(self, _: str) -> float:
        return _cpu(self.odc_stac)

    track_cubecrop.unit = track_rasterio_pool.unit = track_odc_stac.unit = "CPU s"

    def rasterio_pool(self) -> np.ndarray:
        left, bottom, right, top = self.bounds
        height, width = round((top - bottom) / 10), round((right - left) / 10)
        out = np.empty((len(self.items), len(SENTINEL2_BANDS), height, width), np.float32)

        def load(one: int) -> None:
            masked = np.isin(_read(self.items[one], "SCL", height, width), _MASKED)
            for number, band in enumerate(SENTINEL2_BANDS):
                numbers = _read(self.items[one], band, height, width)
                values = numbers * np.float32(1e-4) - np.float32(0.1)
                values[masked | (numbers == 0)] = np.nan
                out[one, number] = values

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(load, range(len(self.items))))
        return out

    def odc_stac(self) -> object:
        left, bottom, right, top = self.bounds
        grid = GeoBox.from_bbox(
            (left, bottom, right, top), crs=f"EPSG:{self.epsg}", resolution=10, tight=True
        )
        return odc.stac.load(
            self.items,
            bands=[*SENTINEL2_BANDS, "SCL"],
            geobox=grid,
            dtype="uint16",
            nodata=0,
            pool=_THREADS,
        )


class LoadOverHttp(LoadFromDisk):
    """Seconds for the same over HTTP, 30 ms before each answer."""

    size_km = 1.0
    delay = 0.03
    repeat = 2

    def setup(self, archive: str) -> None:
        super().setup(archive)
        self.closing = ExitStack()
        url = self.closing.enter_context(served(archive, delay=self.delay))
        for item in self.items:
            for asset in item.assets.values():
                asset.href = f"{url}/{Path(asset.href).relative_to(archive)}"
        path = Path(archive) / "items-over-http.json"
        pystac.ItemCollection(self.items).save_object(str(path))
        self.archive = str(path)

    def teardown(self, _: str) -> None:
        self.closing.close()

    def time_cubecrop(self, _: str) -> None:
        self.cubecrop()

    def time_rasterio_pool(self, _: str) -> None:
        self.rasterio_pool()

    def time_odc_stac(self, _: str) -> None:
        self.odc_stac()


class OpenSeason:
    """Seconds and tasks of the graph of 300 scenes of a tile, whose files do not exist."""

    n_scenes = 300
    side = 109_800
    repeat = 3

    def setup(self) -> None:
        import tempfile

        import geopandas as gpd

        from benchmarks.graph import _CRS, _rectangle, write_items

        self.folder = tempfile.TemporaryDirectory(prefix="cubecrop-open-")
        path = write_items(Path(self.folder.name), self.side, self.n_scenes, 0)
        self.archive = cubecrop.open_archive(path)
        self.aoi = gpd.GeoSeries([_rectangle(self.side)], crs=_CRS)

    def teardown(self) -> None:
        self.folder.cleanup()

    def open(self) -> object:
        cube = cubecrop.open_season(self.aoi, 2018, archive=self.archive, modalities=("sentinel2",))
        return cube["sentinel2/reflectance"].data

    def time_search(self) -> None:
        cubecrop.search(self.aoi, 2018, archive=self.archive, modalities=("sentinel2",))

    def time_search_and_open(self) -> None:
        self.open()

    def track_tasks(self) -> int:
        return len(self.open().__dask_graph__())

    track_tasks.unit = "tasks"


def _cpu(function: Callable[[], object]) -> float:
    """The least CPU time of three runs."""
    found = []
    for _ in range(3):
        start = time.process_time()
        function()
        found.append(time.process_time() - start)
    return min(found)
