"""Reading a season from a disk and from a far server: ours, odc-stac, a pool of threads."""

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
    """CPU seconds for all bands of some dates: files of 2,048 pixels in blocks of 512.

    Six dates are no season: they fit in one chunk as wide as the area, in which each block is
    decoded once however a cube is cut. What a season costs, `WholeSeason` measures.

    cubecrop scales, masks cloud with its margin of 60 m and gives float32, chunk by chunk as a
    model or a table of parcels takes it, or in one array; it reads one pixel a band of a
    date that is all cloud. The pool of threads scales and masks without a margin, into one array.
    odc-stac gives the digital numbers and SCL as they are, in one array.
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
        """The least of some runs of each, taken in turns so that all share the machine.

        Opening, which reads no pixel, is not of it: see `OpenSeason`.
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
        """Nothing was started."""

    def forget(self) -> None:
        """What one run leaves for the next; of a disk all have the same."""

    def open_chunks(self) -> Callable[[], object]:
        """Each chunk is made and let go, as those that read a cube do."""
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

        def read(one: int, key: str) -> np.ndarray:
            with (
                rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
                rasterio.open(self.items[one].assets[key].href) as file,
            ):
                values = file.read(1, window=from_bounds(*self.bounds, file.transform))
            factor = height // values.shape[0]
            return values.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else values

        def load(one: int) -> None:
            masked = np.isin(read(one, "SCL"), _MASKED)
            for number, band in enumerate(SENTINEL2_BANDS):
                numbers = read(one, band)
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
    """Seconds for a square kilometre of 297 files over HTTP, 30 ms before each answer.

    `cubecrop_async` is cubecrop with `AsyncBackend`: obstore asks in GDAL's place.
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
        """Go on with a server of another address: GDAL remembers what it had of one."""
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
    """Seconds and tasks of the graph of 300 scenes of a tile, whose files do not exist."""

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
        """Those that remain when Dask has joined what follows each other."""
        (joined,) = dask.optimize(self.open())
        return len(cull(dict(joined.__dask_graph__()), joined.__dask_keys__())[0])

    track_tasks.unit = track_tasks_run.unit = "tasks"


def _nothing_of(_: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.zeros((1, 1, 1, 1), np.float32)
