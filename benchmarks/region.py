"""Regions, tile by tile: bytes from a server, two workers beside one, and a plain loop."""

from __future__ import annotations

import json
import os
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import dask
import geopandas as gpd
import rasterio
import shapely
from distributed import Client, LocalCluster

import cubecrop
from benchmarks.graph import untrained_model
from benchmarks.nginx import Asked, missing, serving
from benchmarks.season_files import YEAR, located, scattered_parcels, write_season
from cubecrop import region
from cubecrop.model import CropModel, handle_to
from cubecrop.region.tile import Job, do

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cubecrop.region.planned import RegionPlan

__all__ = [
    "RegionBytes", "RegionBytes1024", "RegionFiles", "RegionWorkers",
    "RegionWorkersSeason", "workers",
]  # fmt: skip


class RegionFiles:
    """Files of a season, at the corner of a Sentinel-2 file, and a model of the default sizes."""

    side, block, painted = 2560, 512, 2
    n_optical, n_radar = 70, 0
    tile = 5120
    timeout = 3600

    def setup_cache(self) -> str:
        root = Path.cwd() / "archive"
        items = write_season(
            root, side=self.side, n_optical=self.n_optical, n_radar=self.n_radar,
            block=self.block, painted=self.painted,
        )  # fmt: skip
        (root / "written.json").write_text(json.dumps(items), "utf-8")
        located(items, root, root / "items.json")
        sensors = ("sentinel2", "sentinel1") if self.n_radar else ("sentinel2",)
        untrained_model(*sensors).save(root / "model")
        return str(root)

    def setup(self, root: str) -> None:
        self.closing = ExitStack()
        self.folder = Path(
            self.closing.enter_context(tempfile.TemporaryDirectory(prefix="cubecrop-region-"))
        )
        # Workers share the model through the cache; keep it out of the user's.
        cache = {"XDG_CACHE_HOME": str(self.folder / "cache")}
        self.closing.enter_context(mock.patch.dict(os.environ, cache))
        self.root = Path(root)
        self.archive, self.model = self.root / "items.json", self.root / "model"
        self.items = json.loads((self.root / "written.json").read_text("utf-8"))
        first = self.items[0]
        transform = first["assets"]["B02"]["proj:transform"]
        self.crs, self.left, self.top = first["properties"]["proj:code"], transform[2], transform[5]

    def teardown(self, _: str) -> None:
        self.closing.close()

    def area(self, right: float, down: float, width: float, height: float) -> gpd.GeoSeries:
        """A rectangle in metres from the upper left corner of the files."""
        left, top = self.left + right, self.top - down
        return gpd.GeoSeries([shapely.box(left, top - height, left + width, top)], crs=self.crs)

    def map(self, name: str, aoi: gpd.GeoSeries, **options: Any) -> region.RegionRun:
        """Map an area into a folder of its own name; every tile must succeed."""
        run = cubecrop.map_region(
            aoi, YEAR, self.folder / name, archive=self.archive, model=self.model,
            tile=self.tile, progress=False, **options,
        )  # fmt: skip
        if not run.is_complete:
            raise RuntimeError(str(run))
        return run


class RegionBytes(RegionFiles):
    """Bytes that a server sends for 30 x 30 km, divided by those of the distinct blocks in it.

    Blocks measure 512 pixels in all bands, also those of 20 m. The area begins between two lines
    of the tiles and crosses two others, and parcels lie scattered over it, many across lines.
    The bytes are those of nginx's log, with headers of files and of answers.
    """

    side, painted = 5120, 1
    n_optical = 4
    tile = 20_480
    offset, width = 15_010, 30_000
    n_parcels = 10_000
    n_workers = 2

    def setup(self, root: str) -> None:
        if why := missing():
            raise NotImplementedError(why)
        super().setup(root)
        folder = self.folder / "nginx"
        folder.mkdir()
        self.server = self.closing.enter_context(serving(root, folder, delay=0))
        self.aoi = self.area(self.offset, self.offset, self.width, self.width)
        parcels = scattered_parcels(self.side, self.n_parcels)
        self.parcels = parcels[parcels.within(self.aoi.iloc[0])].reset_index(drop=True)

    def track_map(self, _: str) -> float:
        return self.measured()["map"].sent / self.of_blocks()

    def track_parcels(self, _: str) -> float:
        return self.measured()["parcels"].sent / self.of_blocks()

    def track_requests(self, _: str) -> float:
        return self.measured()["map"].requests

    def track_blocks(self, _: str) -> float:
        return self.of_blocks() / 1e6

    track_map.unit = track_parcels.unit = "x"
    track_requests.unit, track_blocks.unit = "requests", "MB"

    def measured(self) -> dict[str, Asked]:
        if not hasattr(self, "found"):
            self.found = {}
            with workers(self.n_workers) as client:
                for name, parcels in (("map", None), ("parcels", self.parcels)):
                    located(self.items, self.server.address(), self.archive)
                    self.map(name, self.aoi, parcels=parcels, client=client)
                    self.found[name] = self.server.asked()
        return self.found

    def of_blocks(self) -> int:
        """Bytes of the blocks that the area meets, each counted once, over all files."""
        known: dict[int, int] = {}
        total = 0
        for item in self.items:
            for asset in item["assets"].values():
                path = self.root / asset["href"]
                content = path.stat().st_ino  # dates with the same content are links
                if content not in known:
                    known[content] = _bytes_of_blocks(path, tuple(self.aoi.total_bounds))
                total += known[content]
        return total


class RegionBytes1024(RegionBytes):
    """The same with files in blocks of 1,024 pixels, also in bands of 20 m."""

    block = 1024


class RegionWorkers(RegionFiles):
    """Two worker processes beside one, and one beside a plain loop over the same tiles.

    Workers have one thread and are warm: they have mapped a tile before. The plan is made before
    the clock starts, and what is written for the whole region counts. The loop runs in the same
    worker process as the run that it is compared with. ``track_start`` is apart: to start two
    workers, to import everything, and to map a first tile on each.
    """

    n_optical = 30
    across, down = 4, 2
    repeat = 2

    def track_start(self, _: str) -> float:
        return self.measured()["start"]

    def track_loop(self, _: str) -> float:
        return self.measured()["loop"]

    def track_one(self, _: str) -> float:
        return self.measured()["one"]

    def track_two(self, _: str) -> float:
        return self.measured()["two"]

    def track_faster(self, _: str) -> float:
        return self.measured()["one"] / self.measured()["two"]

    def track_engine(self, _: str) -> float:
        return 100 * (self.measured()["one"] / self.measured()["loop"] - 1)

    track_start.unit = track_loop.unit = track_one.unit = track_two.unit = "s"
    track_faster.unit, track_engine.unit = "x", "% of the loop"

    def measured(self) -> dict[str, float]:
        """Least wall seconds of each; runs alternate, so that all share the machine's load."""
        if not hasattr(self, "found"):
            with workers(1) as one, ExitStack() as later:
                self.warm(one, "first")
                start = time.perf_counter()
                two = later.enter_context(workers(2))
                self.warm(two, "second")
                self.found = {"start": time.perf_counter() - start}
                for number in range(self.repeat):
                    runs = {
                        "loop": lambda name: self.loop(name, one),
                        "one": lambda name: self.run(name, one),
                        "two": lambda name: self.run(name, two),
                    }
                    for name, run in runs.items():
                        seconds = run(f"{name} {number}")
                        self.found[name] = min(self.found.get(name, seconds), seconds)
        return self.found

    def warm(self, client: Client, name: str) -> None:
        """Let each worker import everything and map tiles."""
        n = len(client.nthreads())
        self.map(name, self.area(0, 0, n * self.tile, self.tile), client=client)

    def whole(self) -> gpd.GeoSeries:
        return self.area(0, 0, self.across * self.tile, self.down * self.tile)

    def planned(self, name: str) -> RegionPlan:
        return region.plan(
            self.whole(), YEAR, self.folder / name, archive=self.archive, model=self.model,
            tile=self.tile, progress=False,
        )  # fmt: skip

    def run(self, name: str, client: Client) -> float:
        self.planned(name)
        start = time.perf_counter()
        self.map(name, self.whole(), client=client)
        return time.perf_counter() - start

    def loop(self, name: str, client: Client) -> float:
        plan, handle = self.planned(name), handle_to(CropModel.load(self.model))
        jobs = [
            Job(
                kind="tiles", output=plan.output, plan_digest=plan.digest, model=handle, tile=tile,
                inputs=tile.inputs,
            )
            for tile in plan.tiles
        ]  # fmt: skip
        return float(client.submit(_seconds_of, jobs, pure=False).result())


class RegionWorkersSeason(RegionWorkers):
    """The same with the dates of a whole season, each run once."""

    n_optical = 70
    repeat = 1


@contextmanager
def workers(n: int) -> Iterator[Client | None]:
    """A cluster of processes of one thread each; none for 0.

    Dask's profiler is off: it keeps call stacks of the last 1,000 seconds of every worker, 0.1 to
    0.3 MB a second.
    """
    if n == 0:
        yield None
        return
    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),
        LocalCluster(
            n_workers=n, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(n)
        yield client


def _seconds_of(jobs: Sequence[Job]) -> float:
    start = time.perf_counter()
    for job in jobs:
        do(job)
    return time.perf_counter() - start


def _bytes_of_blocks(path: Path, bounds: tuple[float, ...]) -> int:
    """Compressed bytes of a file's blocks that share pixels with a rectangle in its CRS."""
    with rasterio.open(path) as file:
        inside = file.window(*bounds)
        return sum(
            int(file.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=1))
            for (row, column), block in file.block_windows(1)
            if rasterio.windows.intersect(inside, block)
        )
