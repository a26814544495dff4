"""Reading a season from a disk and a distant server: cubecrop, odc-stac, a pool of threads."""

from __future__ import annotations

import datetime as dt
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import dask
import geopandas as gpd
import numpy as np
import odc.stac
import pystac
import rasterio
import shapely
from dask.optimization import cull
from odc.geo.geobox import GeoBox
from rasterio.windows import from_bounds

import cubecrop
from benchmarks.reading import _MASKED, ReadSeason
from benchmarks.season_files import clouded, hilly, in_blocks
from benchmarks.web import served
from cubecrop.cube import AsyncBackend
from cubecrop.schema import SENTINEL2_BANDS
from cubecrop.testing import Optical, Place, write_archive

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.cube import Backend

_THREADS = 16
_YEAR = 2024


class LoadFromDisk(ReadSeason):
    """CPU seconds for all bands of six dates, from files of 2,048 pixels in blocks of 512.

    Six dates are much less than a season: they fit in one chunk as wide as the area, so each block
    is decoded once, however the cube is chunked. `WholeSeason` measures a season.

    cubecrop scales, masks cloud with its margin of 60 m and returns float32, either chunk by chunk,
    as models and tables of parcels consume it, or in one array. Of a date that is all cloud it
    reads one pixel per band. The pool of threads scales and masks without a margin, into one
    array. odc-stac returns unscaled digital numbers and the SCL in one array.
    """

    side = 2048
    n_dates = 6
    repeat = 5

    def setup_cache(self) -> str:
        place = Place(height=self.side, width=self.side)
        first = dt.date(_YEAR, 1, 5)
        days = [first + dt.timedelta(10 * i) for i in range(self.n_dates)]
        scenes = [
            Optical(when=f"{day}T10:56:21Z", dn=hilly(i), scl=clouded(i), place=place)
            for i, day in enumerate(days)
        ]
        archive = write_archive(Path.cwd() / "archive", scenes)
        for path in archive.rglob("*.tif"):
            in_blocks(path, 512)
        return str(archive)

    def track_cubecrop(self, _: str) -> float:
        return self.measured()["chunks"]

    def track_cubecrop_in_one_array(self, _: str) -> float:
        return self.measured()["cubecrop"]

    def track_rasterio_pool(self, _: str) -> float:
        return self.measured()["rasterio_pool"]

    def track_odc_stac(self, _: str) -> float:
        return self.measured()["odc_stac"]

    def track_share_of_pool(self, _: str) -> float:
        return self.measured()["chunks"] / self.measured()["rasterio_pool"]

    track_cubecrop.unit = track_rasterio_pool.unit = track_odc_stac.unit = "CPU s"
    track_cubecrop_in_one_array.unit, track_share_of_pool.unit = "CPU s", "pools"

    def measured(self) -> dict[str, float]:
        """Minimum of several runs of each; they alternate, so that all share the machine's load.

        The time to open the season is not included; `OpenSeason` measures it.
        """
        if not hasattr(self, "found"):
            self.found = dict.fromkeys(self.names, float("inf"))
            for _ in range(self.repeat):
                for name in self.names:
                    self.forget()
                    read = getattr(self, f"open_{name}")()
                    start = self.clock()
                    read()
                    self.found[name] = min(self.found[name], self.clock() - start)
        return self.found

    clock = staticmethod(time.process_time)
    names = ("chunks", "cubecrop", "rasterio_pool", "odc_stac")

    def teardown(self, _: str) -> None:
        """Do nothing, because ``setup`` started nothing."""

    def forget(self) -> None:
        """Remove what one run caches for the next; all runs share the disk's cache."""

    def open_chunks(self) -> Callable[[], object]:
        """Compute each chunk and drop it, as models and tables of parcels do."""
        return self.each_chunk(self.season())

    def each_chunk(self, season: xr.DataTree) -> Callable[[], object]:
        values = season["sentinel2/reflectance"].data
        ones = tuple((1,) * number for number in values.numblocks)
        return values.map_blocks(_nothing_of, chunks=ones, dtype=np.float32).compute

    def open_cubecrop(self) -> Callable[[], object]:
        return self.season()["sentinel2/reflectance"].compute

    def season(self, *, backend: Backend | None = None) -> xr.DataTree:
        return cubecrop.open_season(
            self.aoi, _YEAR, archive=self.archive, modalities=("sentinel2",), backend=backend
        )

    def open_rasterio_pool(self) -> Callable[[], object]:
        return self.rasterio_pool

    def open_odc_stac(self) -> Callable[[], object]:
        return self.odc_stac

    def rasterio_pool(self) -> np.ndarray:
        left, bottom, right, top = self.bounds
        height, width = round((top - bottom) / 10), round((right - left) / 10)
        out = np.empty((len(self.items), len(SENTINEL2_BANDS), height, width), np.float32)

        def read(date: int, key: str) -> np.ndarray:
            with (
                rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
                rasterio.open(self.items[date].assets[key].href) as file,
            ):
                values = file.read(1, window=from_bounds(*self.bounds, file.transform))
            factor = height // values.shape[0]
            return values.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else values

        def load(date: int) -> None:
            masked = np.isin(read(date, "SCL"), _MASKED)
            for number, band in enumerate(SENTINEL2_BANDS):
                numbers = read(date, band)
                values = numbers * np.float32(1e-4) - np.float32(0.1)
                values[masked | (numbers == 0)] = np.nan
                out[date, number] = values

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
    """Seconds for a square kilometre of 297 files over HTTP, 30 ms before each answer.

    `cubecrop_async` is cubecrop with `AsyncBackend`, where obstore makes the requests, not GDAL.
    """

    side = 1024
    n_dates = 27
    delay = 0.03
    repeat = 2
    clock = staticmethod(time.perf_counter)
    names = (*LoadFromDisk.names, "async")

    def setup(self, archive: str) -> None:
        super().setup(archive)
        left, _, _, top = self.bounds
        self.bounds = (left + 3000, top - 4000, left + 4000, top - 3000)
        self.aoi = gpd.GeoSeries([shapely.box(*self.bounds)], crs=self.aoi.crs)
        self.root = Path(archive)
        self.files = [
            (asset, Path(asset.href).relative_to(archive))
            for item in self.items
            for asset in item.assets.values()
        ]
        self.closing = ExitStack()

    def forget(self) -> None:
        """Start a server at another address, because GDAL caches what it read from the last."""
        self.closing.close()
        url = self.closing.enter_context(served(self.root, delay=self.delay))
        for asset, path in self.files:
            asset.href = f"{url}/{path}"
        path = self.root / "items-over-http.json"
        pystac.ItemCollection(self.items).save_object(str(path))
        self.archive = str(path)

    def teardown(self, _: str) -> None:
        self.closing.close()

    def open_async(self) -> Callable[[], object]:
        return self.each_chunk(self.season(backend=AsyncBackend()))

    def track_cubecrop_async(self, _: str) -> float:
        return self.measured()["async"]

    def track_cubecrop(self, _: str) -> float:
        return self.measured()["chunks"]

    def track_rasterio_pool(self, _: str) -> float:
        return self.measured()["rasterio_pool"]

    def track_odc_stac(self, _: str) -> float:
        return self.measured()["odc_stac"]

    def track_share_of_pool(self, _: str) -> float:
        return self.measured()["chunks"] / self.measured()["rasterio_pool"]

    track_cubecrop.unit = track_rasterio_pool.unit = track_odc_stac.unit = "s"
    track_cubecrop_async.unit = "s"
    track_share_of_pool.unit = "pools"


class OpenSeason:
    """Seconds and tasks of the graph of 300 scenes of a tile whose files do not exist."""

    n_scenes = 300
    side = 109_800
    repeat = 3

    def setup(self) -> None:
        import tempfile

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

    def track_tasks_run(self) -> int:
        """Number of tasks that remain after Dask has fused them."""
        (joined,) = dask.optimize(self.open())
        return len(cull(dict(joined.__dask_graph__()), joined.__dask_keys__())[0])

    track_tasks.unit = track_tasks_run.unit = "tasks"


def _nothing_of(_: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.zeros((1, 1, 1, 1), np.float32)
