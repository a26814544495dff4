"""Regions, tile by tile: bytes from a server, two workers beside one, memory, seconds a tile."""

from __future__ import annotations

import datetime as dt
import json
import os
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import geopandas as gpd
import psutil
import rasterio
import shapely
from distributed import Client, LocalCluster

import cubecrop
from benchmarks.graph import untrained_model
from benchmarks.nginx import Asked, missing, serving
from benchmarks.season_files import YEAR, located, scattered_parcels, write_season
from cubecrop import region
from cubecrop.model import CropModel, handle_to
from cubecrop.region.plan_text import peak_memory
from cubecrop.region.planned import RegionPlan
from cubecrop.region.status import evidence_of
from cubecrop.region.tile import Job, do

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FRANCE = 1500
_CLUSTER = 32


class _Region:
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


class RegionBytes(_Region):
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
            with _workers(self.n_workers) as client:
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


class RegionWorkers(_Region):
    """Two worker processes beside one, and one beside a plain loop over the same tiles.

    Workers have one thread and are warm: they have mapped a tile before. The plan is made before
    the clock starts, and what is written for the whole region counts. The loop runs in the same
    worker process as the run that it is compared with.
    """

    n_optical = 30
    across = 4
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
            start = time.perf_counter()
            with _workers(1) as one, _workers(2) as two:
                for client, name in ((one, "first"), (two, "second")):
                    self.warm(client, name)
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

    def planned(self, name: str) -> RegionPlan:
        side = self.across * self.tile
        return region.plan(
            self.area(0, 0, side, side), YEAR, self.folder / name, archive=self.archive,
            model=self.model, tile=self.tile, progress=False,
        )  # fmt: skip

    def run(self, name: str, client: Client) -> float:
        self.planned(name)
        side = self.across * self.tile
        start = time.perf_counter()
        self.map(name, self.area(0, 0, side, side), client=client)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """Resident memory of a process at a time, bytes."""

    time: float
    worker: str
    resident: int


class RegionMemory(_Region):
    """Resident memory of two workers over 60 tiles of 2,560 m with 70 dates.

    ``track_of_bound`` is the largest that was sampled, as a share of what the plan states, and
    ``track_growth`` compares the tiles that ended last with those that ended early: medians over
    tiles of the largest that was sampled while they ran.
    """

    painted, tile = 1, 2560
    columns, rows = 10, 6
    n_workers = 2
    early, late = (10, 20), (50, 60)

    def track_peak(self, _: str) -> float:
        return max(self.measured()) / 1e6

    def track_of_bound(self, _: str) -> float:
        return max(self.measured()) / self.bound

    def track_growth(self, _: str) -> float:
        early, late = (
            statistics.median(self.measured()[slice(*part)]) for part in (self.early, self.late)
        )
        return late / early

    def track_seconds(self, _: str) -> float:
        self.measured()
        return self.seconds

    def track_tiles(self, _: str) -> int:
        return len(self.measured())

    track_peak.unit, track_of_bound.unit, track_growth.unit = "MB", "of the bound", "x"
    track_seconds.unit, track_tiles.unit = "s a tile", "tiles"

    def measured(self) -> list[int]:
        """Largest resident memory of the worker while each tile ran, in the order of their ends."""
        if not hasattr(self, "found"):
            aoi = self.area(0, 0, self.columns * self.tile, self.rows * self.tile)
            with _workers(self.n_workers) as client, _sampled(client) as samples:
                run = self.map("memory", aoi, client=client)
            plan = RegionPlan.read(run.output)
            self.bound = peak_memory(plan, 1)
            evidence = evidence_of(run.output, [tile.id for tile in plan.tiles]).values()
            self.seconds = statistics.median(float(one["seconds"]) for one in evidence)
            ends = sorted(evidence, key=lambda one: one["finished"])
            self.found = [_largest(samples, one) for one in ends]
        return self.found


class RegionTile(_Region):
    """One tile of 20,480 m with 70 dates of Sentinel-2, 60 of Sentinel-1 and 6,000 parcels.

    One worker process with one thread reads it from nginx without a delay. The hours are those of
    France: as many seconds for each of 1,500 tiles.
    """

    tile = 20_480
    n_radar = 60
    n_parcels = 9400  # about 6,000 of them lie within the tile

    def setup(self, root: str) -> None:
        if why := missing():
            raise NotImplementedError(why)
        super().setup(root)
        folder = self.folder / "nginx"
        folder.mkdir()
        self.server = self.closing.enter_context(serving(root, folder, delay=0))

    def track_seconds(self, _: str) -> float:
        return self.measured()["seconds"]

    def track_cpu(self, _: str) -> float:
        return self.measured()["cpu"]

    def track_sent(self, _: str) -> float:
        return self.measured()["sent"] / 1e6

    def track_planned(self, _: str) -> float:
        return self.measured()["planned"] / 1e6

    def track_requests(self, _: str) -> float:
        return self.measured()["requests"]

    def track_of_bound(self, _: str) -> float:
        return self.measured()["peak"] / self.measured()["bound"]

    def track_hours_of_a_core(self, _: str) -> float:
        return _FRANCE * self.measured()["cpu"] / 3600

    def track_hours_of_a_cluster(self, _: str) -> float:
        return _FRANCE * self.measured()["cpu"] / 3600 / _CLUSTER

    track_seconds.unit, track_cpu.unit, track_requests.unit = "s", "CPU s", "requests"
    track_sent.unit = track_planned.unit = "MB"
    track_of_bound.unit = "of the bound"
    track_hours_of_a_core.unit = "h"
    track_hours_of_a_cluster.unit = f"h, {_CLUSTER} workers"

    def measured(self) -> dict[str, float]:
        if not hasattr(self, "found"):
            aoi = self.area(0, 0, self.tile, self.tile)
            parcels = scattered_parcels(self.side, self.n_parcels)
            parcels = parcels[parcels.within(aoi.iloc[0])].reset_index(drop=True)
            with _workers(1) as client, _sampled(client) as samples:
                located(self.items, self.server.address(), self.archive)
                before = client.submit(time.process_time, pure=False).result()
                run = self.map("tile", aoi, parcels=parcels, client=client)
                cpu = client.submit(time.process_time, pure=False).result() - before
                asked = self.server.asked()
            plan = RegionPlan.read(run.output)
            (tile,) = plan.tiles
            (done,) = evidence_of(run.output, [tile.id]).values()
            self.found = {
                "seconds": done["seconds"], "cpu": cpu, "sent": asked.sent,
                "requests": asked.requests, "planned": tile.bytes,
                "peak": max(one.resident for one in samples), "bound": peak_memory(plan, 1),
            }  # fmt: skip
        return self.found


@contextmanager
def _workers(n: int) -> Iterator[Client | None]:
    """A cluster of processes of one thread each; none for 0."""
    if n == 0:
        yield None
        return
    with (
        LocalCluster(
            n_workers=n, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(n)
        yield client


@contextmanager
def _sampled(client: Client) -> Iterator[list[_Sample]]:
    """Sample the resident memory of all workers ten times a second."""
    names = {address: str(one["id"]) for address, one in client.scheduler_info()["workers"].items()}
    processes = {
        names[address]: psutil.Process(number) for address, number in client.run(os.getpid).items()
    }
    samples: list[_Sample] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.1):
            for name, process in processes.items():
                resident = process.memory_info().rss
                samples.append(_Sample(time=time.time(), worker=name, resident=resident))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def _largest(samples: Sequence[_Sample], evidence: dict[str, Any]) -> int:
    """Largest resident memory of a tile's worker while the tile ran."""
    start = dt.datetime.fromisoformat(evidence["started"]).timestamp()  # cut to seconds
    end = start + 1 + evidence["seconds"]
    return max(
        one.resident
        for one in samples
        if one.worker == evidence["worker"] and start <= one.time <= end
    )


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
