"""Memory of workers that map a region, and what a tile of a country costs."""

from __future__ import annotations

import datetime as dt
import os
import statistics
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.nginx import missing, serving
from benchmarks.region import RegionFiles, workers
from benchmarks.season_files import located, scattered_parcels
from cubecrop.region.plan_text import peak_memory
from cubecrop.region.planned import RegionPlan
from cubecrop.region.status import evidence_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distributed import Client

__all__ = ["RegionMemory", "RegionTile"]

#: Tiles of 20,480 m that meet France, and workers of a cluster.
_FRANCE, _CLUSTER = 1500, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """Resident memory of a process at a time, bytes."""

    time: float
    worker: str
    resident: int


class RegionMemory(RegionFiles):
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
            with workers(self.n_workers) as client, _sampled(client) as samples:
                run = self.map("memory", aoi, client=client)
            plan = RegionPlan.read(run.output)
            self.bound = peak_memory(plan, 1)
            evidence = evidence_of(run.output, [tile.id for tile in plan.tiles]).values()
            self.seconds = statistics.median(float(one["seconds"]) for one in evidence)
            ends = sorted(evidence, key=lambda one: one["finished"])
            self.found = [_largest(samples, one) for one in ends]
        return self.found


class RegionTile(RegionFiles):
    """One tile of 20,480 m with 70 dates of Sentinel-2, 60 of Sentinel-1 and 6,000 parcels.

    One worker process with one thread, which has mapped before, reads it from nginx without a
    delay. The hours are those of France: as many CPU seconds for each of 1,500 tiles.
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
            # Not at the edges, where they would need the neighbouring tiles.
            parcels = parcels[parcels.within(aoi.iloc[0].buffer(-10))].reset_index(drop=True)
            with workers(1) as client, _sampled(client) as samples:
                self.map("warm", self.area(0, 0, 640, 640), client=client)
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
