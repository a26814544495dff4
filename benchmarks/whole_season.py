"""Reading a whole season once: cubecrop beside a pool of threads that opens every file once.

The pool is the loop of a careful programmer who needs one date at a time: it opens each file,
decodes it whole, masks it, scales it to float32 and drops it. cubecrop must give every place with
all its dates, which models and tables of parcels need. The pool does not do that, so its time is a
target to approach, not a comparison of equals.
"""

from __future__ import annotations

import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import geopandas as gpd
import numpy as np
import odc.stac
import pystac
import rasterio
import shapely
from odc.geo.geobox import GeoBox

import cubecrop
from benchmarks.nginx import Asked
from benchmarks.reading import _MASKED
from benchmarks.season_files import YEAR, located, scattered_parcels, write_season
from cubecrop.cube.access import OPTIONS
from cubecrop.sample import reading_order
from cubecrop.schema import SENTINEL2_BANDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dask.array as da
    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.cube import Backend

_THREADS = 16
#: GDAL options of the pool: the fewest requests for a file that is read whole.
_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    # The first reader of a process sets the size of the cache for all readers.
    "CPL_VSIL_CURL_CACHE_SIZE": OPTIONS["CPL_VSIL_CURL_CACHE_SIZE"],
}
#: Side of the chunks of odc-stac and stackstac: whole files, so that each is decoded once.
_CHUNK = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Processor and wall seconds, bytes read from files, and requests to a server of one run."""

    cpu: float
    wall: float
    read: float
    asked: Asked


class WholeSeason:
    """CPU seconds for all bands and dates of 2,048² pixels; medians of alternating runs.

    cubecrop masks clouds with a margin and returns float32 at 10 m, either all pixels chunk by
    chunk, or 64 pixels of each of 3,000 parcels, group by group, as for a table. The pool masks
    without a margin, file by file. odc-stac and stackstac return the files' uint16 at 10 m,
    unmasked, chunk by chunk. All times include opening and building graphs.
    """

    side = 2048
    n_dates = 70
    block = 512
    n_parcels = 3000
    repeat = 3
    timeout = 7200
    runs = ("rasterio_pool", "cubecrop", "cubecrop_parcels", "odc_stac", "stackstac")

    def setup_cache(self) -> str:
        root = Path.cwd() / "archive"
        items = write_season(root, side=self.side, n_optical=self.n_dates, block=self.block)
        (root / "written.json").write_text(json.dumps(items), "utf-8")
        return str(root)

    def setup(self, root: str) -> None:
        self.root = Path(root)
        self.items = json.loads((self.root / "written.json").read_text("utf-8"))
        transform = self.items[0]["assets"]["B02"]["proj:transform"]
        left, top = transform[2], transform[5]
        self.bounds = (left, top - 10 * self.side, left + 10 * self.side, top)
        self.crs = self.items[0]["properties"]["proj:code"]
        self.aoi = gpd.GeoSeries([shapely.box(*self.bounds)], crs=self.crs)
        self.parcels = scattered_parcels(self.side, self.n_parcels)
        self.archive = self.root / "items.json"
        self.begin()

    def track_rasterio_pool(self, _: str) -> float:
        return self.measured()["rasterio_pool"].cpu

    def track_cubecrop(self, _: str) -> float:
        return self.measured()["cubecrop"].cpu

    def track_cubecrop_parcels(self, _: str) -> float:
        return self.measured()["cubecrop_parcels"].cpu

    def track_odc_stac(self, _: str) -> float:
        return self.measured()["odc_stac"].cpu

    def track_stackstac(self, _: str) -> float:
        return self.measured()["stackstac"].cpu

    def track_share_of_pool(self, _: str) -> float:
        return self.share("cubecrop")

    def track_parcels_share_of_pool(self, _: str) -> float:
        return self.share("cubecrop_parcels")

    def track_times_read(self, _: str) -> float:
        return self.times_read("cubecrop")

    def track_parcels_times_read(self, _: str) -> float:
        return self.times_read("cubecrop_parcels")

    def track_pool_times_read(self, _: str) -> float:
        return self.times_read("rasterio_pool")

    def peakmem_rasterio_pool(self, _: str) -> None:
        self.rasterio_pool()

    def peakmem_cubecrop(self, _: str) -> None:
        self.cubecrop()

    def peakmem_cubecrop_parcels(self, _: str) -> None:
        self.cubecrop_parcels()

    track_rasterio_pool.unit = track_cubecrop.unit = track_cubecrop_parcels.unit = "CPU s"
    track_odc_stac.unit = track_stackstac.unit = "CPU s"
    track_share_of_pool.unit = track_parcels_share_of_pool.unit = "pools"
    track_times_read.unit = track_parcels_times_read.unit = track_pool_times_read.unit = "x"

    def share(self, name: str) -> float:
        """CPU seconds of a run divided by those of the pool."""
        return self.measured()[name].cpu / self.measured()["rasterio_pool"].cpu

    def times_read(self, name: str) -> float:
        """Bytes that the process reads divided by the size of the files.

        This includes what cubecrop reads again from its temporary file: a block is decoded once.
        """
        hrefs = [asset["href"] for item in self.items for asset in item["assets"].values()]
        return self.measured()[name].read / sum((self.root / x).stat().st_size for x in hrefs)

    def measured(self) -> dict[str, Run]:
        if not hasattr(self, "found"):
            all_runs: dict[str, list[Run]] = {name: [] for name in self.runs}
            for _ in range(self.repeat):
                for name, mine in all_runs.items():
                    mine.append(self.once(name))
            self.found = {name: _median(mine) for name, mine in all_runs.items()}
        return self.found

    def once(self, name: str) -> Run:
        self.begin()
        read, wall, cpu = _bytes_read(), time.perf_counter(), time.process_time()
        getattr(self, name)()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return Run(cpu=cpu, wall=wall, read=_bytes_read() - read, asked=self.asked())

    def begin(self) -> None:
        """Write the items for the next run."""
        located(self.items, self.root, self.archive)

    def asked(self) -> Asked:
        """Requests of the last run to a server; a disk has none."""
        return Asked(requests=0, sent=0)

    def season(self, *, backend: Backend | None = None) -> xr.DataTree:
        return cubecrop.open_season(
            self.aoi, YEAR, archive=self.archive, modalities=("sentinel2",), backend=backend
        )

    def cubecrop(self) -> None:
        _let_go(self.season()["sentinel2/reflectance"].data)

    def sets(self) -> xr.DataTree:
        season = self.season()
        parcels = self.parcels.iloc[reading_order(season, self.parcels)]
        return cubecrop.sample_pixel_sets(season, parcels, n_pixels=64)

    def cubecrop_parcels(self) -> None:
        sets = self.sets()["sentinel2"]
        _let_go(sets["reflectance"].data, sets["valid"].data)

    def rasterio_pool(self) -> None:
        def load(item: dict[str, Any]) -> None:
            for _ in self.bands_of(item):
                pass

        items = json.loads(self.archive.read_text("utf-8"))["features"]
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(load, items))

    def bands_of(self, item: dict[str, Any]) -> Iterator[NDArray[np.float32]]:
        """Yield the reflectance (y, x) of each band of a date."""

        def read(key: str) -> NDArray[np.generic]:
            with rasterio.Env(**_OPTIONS), rasterio.open(item["assets"][key]["href"]) as file:
                values = file.read(1)
            factor = self.side // values.shape[0]
            return values.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else values

        masked = np.isin(read("SCL"), _MASKED)
        for band in SENTINEL2_BANDS:
            numbers = read(band)
            values = numbers * np.float32(1e-4) - np.float32(0.1)
            values[masked | (numbers == 0)] = np.nan
            yield values

    def odc_stac(self) -> None:
        grid = GeoBox.from_bbox(self.bounds, crs=self.crs, resolution=10, tight=True)
        cube = odc.stac.load(
            pystac.ItemCollection.from_file(str(self.archive)),
            bands=[*SENTINEL2_BANDS, "SCL"],
            geobox=grid,
            dtype="uint16",
            nodata=0,
            chunks={"x": _CHUNK, "y": _CHUNK},
        )
        _let_go(*(variable.data for variable in cube.data_vars.values()))

    def stackstac(self) -> None:
        import stackstac  # an extra, which other benchmarks go without

        cube = stackstac.stack(
            pystac.ItemCollection.from_file(str(self.archive)),
            assets=[*SENTINEL2_BANDS, "SCL"],
            epsg=int(self.crs.removeprefix("EPSG:")),
            resolution=10,
            bounds=self.bounds,
            dtype="uint16",
            fill_value=np.uint16(0),
            rescale=False,
            chunksize=_CHUNK,
        )
        _let_go(cube.data)


class WholeSeason1024(WholeSeason):
    """The same with files in blocks of 1,024 pixels, as those of the Planetary Computer."""

    block = 1024


class WholeSeason140(WholeSeason):
    """The same with 140 dates: two satellites, including cloudy dates."""

    n_dates = 140


class WholeSeason140Of1024(WholeSeason):
    """The same with 140 dates in blocks of 1,024 pixels."""

    n_dates, block = 140, 1024


class SampleSeason(WholeSeason):
    """CPU seconds to read a season of 30 dates, and to draw 64 pixels of each of 20,000 parcels."""

    n_dates = 30
    n_parcels = 20_000
    runs = ("rasterio_pool", "cubecrop", "cubecrop_parcels")

    def track_rasterio_pool(self, _: str) -> float:
        return self.measured()["rasterio_pool"].cpu

    def track_cubecrop(self, _: str) -> float:
        return self.measured()["cubecrop"].cpu

    def track_cubecrop_parcels(self, _: str) -> float:
        return self.measured()["cubecrop_parcels"].cpu

    def track_share_of_reading(self, _: str) -> float:
        return self.measured()["cubecrop_parcels"].cpu / self.measured()["cubecrop"].cpu

    track_rasterio_pool.unit = track_cubecrop.unit = track_cubecrop_parcels.unit = "CPU s"
    track_share_of_reading.unit = "readings"


def _let_go(*arrays: da.Array) -> None:
    """Compute each chunk and drop it, as models and tables of parcels do."""
    dropped = [
        array.map_blocks(
            _nothing_of, chunks=tuple((1,) * n for n in array.numblocks), dtype=np.float32
        )
        for array in arrays
    ]
    dask.compute(*dropped)


def _nothing_of(block: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.zeros((1,) * block.ndim, np.float32)


def _median(runs: list[Run]) -> Run:
    """Median of each number on its own; the requests are those of the first run."""
    middle = {
        key: statistics.median(getattr(run, key) for run in runs) for key in ("cpu", "wall", "read")
    }
    return Run(**middle, asked=runs[0].asked)


def _bytes_read() -> float:
    """Bytes that this process has read from files; NaN without /proc."""
    counters = Path("/proc/self/io")
    if not counters.exists():
        return float("nan")
    return float(counters.read_text().splitlines()[0].removeprefix("rchar:"))
