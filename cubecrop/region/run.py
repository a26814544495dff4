"""`map_region`: plan a region, run its tiles, and put the results together."""

from __future__ import annotations

import datetime as dt
import os
import platform
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from cubecrop.checks import check_flag, check_whole
from cubecrop.cube import MEMORY
from cubecrop.cube.tiles import SIDE
from cubecrop.errors import OutputError
from cubecrop.model import CropModel, check_device_name, handle_to
from cubecrop.pipeline.inputs import as_model
from cubecrop.progress import progress_bar
from cubecrop.region.capacity import check_capacity
from cubecrop.region.engine import Outcome, check_client, run_jobs
from cubecrop.region.log import RunLog
from cubecrop.region.options import digest_of
from cubecrop.region.planning import plan as plan_region
from cubecrop.region.status import (
    STATE,
    RegionRun,
    evidence_of,
    failure_name,
    failures_of,
    is_alive,
    run_of,
)
from cubecrop.region.tile import Job
from cubecrop.region.together import collect_region

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import geopandas as gpd
    from distributed import Client

    from cubecrop.archive import Archive
    from cubecrop.region.output import Output
    from cubecrop.region.planned import RegionPlan
    from cubecrop.season import Season

__all__ = ["map_region"]

#: Seconds between two writings of the state.
_BEAT: Final = 2.0
#: So many outputs in a row that cannot be written end a run: the next ones could not be either.
_UNWRITABLE: Final = 3


def map_region(
    aoi: object,
    year: int,
    out: str | Path,
    *,
    archive: str | Path | Archive,
    model: CropModel | str | Path,
    parcels: gpd.GeoDataFrame | str | Path | None = None,
    client: Client | None = None,
    tile: float = SIDE,
    season: Season | None = None,
    resolution: float | None = None,
    crs: str | int | None = None,
    memory: float = MEMORY,
    device: str | None = None,
    clouds: str | None = None,
    weather: str | Path | Archive | None = None,
    allow_gaps: bool = False,
    max_lost: float = 0,
    attempts: int = 3,
    resources: Mapping[str, float] | None = None,
    replan: bool = False,
    retry_failed: bool = False,
    progress: bool = True,
) -> RegionRun:
    """Map the crops of an area of any size, tile by tile, on this machine or on a Dask cluster.

    The plan is made once and kept in ``out/plan``: tiles, and the items that they are made from. A
    tile appears in ``out/tiles`` complete or not at all. The same call continues a run that was
    interrupted at any moment: finished tiles are kept if they were made from the same inputs.

    Parameters
    ----------
    aoi, year, archive, model, season, resolution, crs, memory, device, weather, allow_gaps
        As for `cubecrop.classify`. Without ``crs``, an area over several UTM zones is mapped in
        each of them, up to the meridians between them.
    out : path or URL
        Folder of the run, or an address such as ``s3://bucket/run`` that fsspec can write to. All
        workers must be able to read and write it.
    parcels : geopandas.GeoDataFrame or path, optional
        Parcels to classify, as for `cubecrop.classify_parcels`. A parcel belongs to one tile, and
        is sampled whole, also beyond the tile's edge.
    client : distributed.Client, optional
        Client of a Dask cluster. Each worker process maps one tile at a time, with as many
        threads as it has. By default tiles are mapped in this process, one after another.
    tile : float, default 20480
        Side of a tile in metres. Multiples of 20,480 never cut through a block of a Sentinel-2
        file, so that no block is read twice.
    clouds : {"scl", "probability"}, optional
        The cloud mask; by default that of training.
    max_lost : float, default 0
        Share of a tile's items, 0 to 1, that may be unreadable; see `cubecrop.write_map`. A tile
        with more of them fails, and the others go on.
    attempts : int, default 3
        How often a tile is tried if a server does not answer, or if its files are unreadable for
        another reason that may pass.
    resources : mapping, optional
        Dask resources that a worker must have to get a tile, such as ``{"GPU": 1}``.
    replan : bool, default False
        Search the archive again and replace the plan. By default the plan in ``out`` is used.
    retry_failed : bool, default False
        Only try the tiles that failed.
    progress : bool, default True
        Show a progress bar on a terminal or in a notebook.

    Returns
    -------
    RegionRun
        A table of the tiles and their outcomes. Failed tiles raise no error; they are listed, and
        the same call tries them again.

    Raises
    ------
    NoScenesError, ParcelError, AoiError, ModelFormatError, SchemaError
        As for `cubecrop.classify` and `cubecrop.classify_parcels`, before any tile is begun.
    ArgumentError
        A tile needs more memory than a worker has; the message says what would fit.
    ClusterError
        The cluster is not there, or went away. Finished tiles are kept.
    OutputError
        ``out`` holds another run or other files, or cannot be written.
    """
    attempts = check_whole("attempts", attempts, minimum=1)
    for name, flag in (("progress", progress), ("retry_failed", retry_failed)):
        check_flag(name, flag)
    check_device_name(device)
    if client is not None:
        check_client(client, resources)
    crop_model = as_model(model)
    the_plan = plan_region(
        aoi, year, out, archive=archive, model=crop_model, parcels=parcels, season=season,
        tile=tile, resolution=resolution, crs=crs, memory=memory, clouds=clouds, weather=weather,
        allow_gaps=allow_gaps, max_lost=max_lost, replan=replan, progress=progress,
    )  # fmt: skip
    check_capacity(the_plan, client, resources)
    with RunLog(the_plan.output) as log:
        driver = _Driver(the_plan, crop_model, log, client=client, device=device, attempts=attempts)
        return driver.run(resources=resources, retry_failed=retry_failed, progress=progress)


class _Driver:
    """Runs a plan: chooses what to make, records outcomes, and tells other processes the state."""

    def __init__(
        self,
        plan: RegionPlan,
        model: CropModel,
        log: RunLog,
        *,
        client: Client | None,
        device: str | None,
        attempts: int,
    ) -> None:
        self.plan = plan
        self.model = model
        self.log = log
        self.client = client
        self.device = device
        self.attempts = attempts
        self.output: Output = plan.output
        self.started = dt.datetime.now(dt.UTC)
        self.files: dict[str, str] = {}
        self._beat = 0.0

    def run(
        self, *, resources: Mapping[str, float] | None, retry_failed: bool, progress: bool
    ) -> RegionRun:
        """Make what is missing, and put the results together."""
        plan, log = self.plan, self.log
        log.line(
            f"plan {plan.digest[:12]}: {len(plan.tiles):,} tiles, model {self.model.digest[:12]}"
        )
        self.output.remove_leftovers()
        self._remove_foreign()
        if self.client is not None:
            from cubecrop.model.send import send_model

            send_model(self.model, self.client)
            log.line(f"Dask's dashboard: {self.client.dashboard_link}")
        with self._state():
            self._make("tiles", self._tile_jobs(retry_failed), resources, progress)
            self._make("edges", self._edge_jobs(), resources, progress)
            log.line("collecting")
            self._collect()
        result = run_of(plan)
        log.line("; ".join(f"{name} {text}" for name, text in result.lines()[:3]))
        return result

    def _collect(self) -> None:
        """Write what stands for the whole region, from the tiles that are finished."""
        ended = {"done"} if self.plan.n_parcels is None else {"done", "no images"}
        if not run_of(self.plan).table["state"].isin(ended).any():
            return
        found = collect_region(self.plan, self.model)
        for sentence in found.sentences:
            self.log.line(sentence)
        names = ("crop_type", "confidence", "clear_dates", "collection", "areas", "picture",
                 "parcels")  # fmt: skip
        self.files = {name: str(getattr(found, name)) for name in names if getattr(found, name)}

    def _tile_jobs(self, retry_failed: bool) -> list[Job]:
        """Tiles to be made; the log says why those that exist are made again."""
        evidence = evidence_of(self.output, [tile.tile.id for tile in self.plan.tiles])
        failed = failures_of(self.output)
        jobs, why = [], dict[str, int]()
        for tile in self.plan.tiles:
            found = evidence.get(tile.tile.id)
            if found is not None and self._is_current(found, tile.digest, "tiles"):
                continue
            if retry_failed and tile.tile.id not in failed:
                continue
            if found is not None:
                reason = _difference(found.get("inputs"), tile.inputs)
                why[reason] = why.get(reason, 0) + 1
            jobs.append(self._job("tiles", tile, tile.inputs))
        for reason, number in sorted(why.items()):
            self.log.line(f"{number:,} finished tiles are made again: {reason}")
        kept = len(self.plan.tiles) - len(jobs)
        self.log.line(f"{len(jobs):,} tiles to map, {kept:,} are kept or left")
        return jobs

    def _edge_jobs(self) -> list[Job]:
        """Tiles whose parcels across edges can be classified and are not yet."""
        neighbours = self.plan.neighbours
        if not neighbours:
            return []
        tiles = {tile.tile.id: tile for tile in self.plan.tiles}
        evidence = evidence_of(self.output, tiles)
        current = {
            name: str(found["digest"])
            for name, found in evidence.items()
            if self._is_current(found, tiles[name].digest, "tiles")
        }
        made = evidence_of(self.output, neighbours, kind="edges")
        jobs = []
        for name, parts in neighbours.items():
            if not set(parts) <= set(current):
                continue  # a neighbour failed; its failure is recorded
            inputs = {part: current[part] for part in sorted(parts)}
            found = made.get(name)
            if found is None or not self._is_current(found, digest_of(inputs), "edges"):
                jobs.append(self._job("edges", tiles[name], inputs))
        return jobs

    def _is_current(self, evidence: Mapping[str, Any], digest: str, kind: str) -> bool:
        """Whether results were made from the planned inputs, and are complete."""
        if evidence.get("digest") != digest:
            return False
        # Without an effect on the values of a tile that has lost fewer files.
        lost = {loss["item"] for loss in evidence.get("lost", ())}
        if len(lost) / max(len(evidence.get("items", ())), 1) > self.plan.options.max_lost:
            return False
        files = set(evidence.get("files") or {})
        return not files or files <= set(self.output.names(f"{kind}/{evidence['tile']}"))

    def _job(self, kind: Any, tile: Any, inputs: Mapping[str, str]) -> Job:  # noqa: ANN401
        return Job(
            kind=kind, output=self.output, plan_digest=self.plan.digest,
            model=handle_to(self.model), tile=tile, inputs=inputs, device=self.device,
        )  # fmt: skip

    def _make(
        self,
        kind: str,
        jobs: Sequence[Job],
        resources: Mapping[str, float] | None,
        progress: bool,
    ) -> None:
        """Run jobs; record each outcome as it comes."""
        if not jobs:
            return
        description = "Mapping tiles" if kind == "tiles" else "Parcels across edges"
        clock, pixels, size, failed, unwritable = time.monotonic(), 0, 0, 0, 0
        with progress_bar(description, total=len(jobs), unit="tiles", progress=progress) as bar:
            outcomes = run_jobs(
                jobs, self.client, attempts=self.attempts, resources=resources, watch=self._watch
            )
            for outcome in outcomes:
                self._record(outcome)
                failed += outcome.evidence is None
                unwritable = unwritable + 1 if outcome.kind == "OutputError" else 0
                if outcome.evidence is not None:
                    pixels += int(outcome.evidence.get("pixels", 0))
                    size += int(outcome.evidence.get("bytes", 0))
                rate = pixels / max(time.monotonic() - clock, 1e-3)
                bar.update(
                    completed=bar.completed + 1,
                    description=_progress_text(description, rate, size, failed),
                )
                if unwritable >= _UNWRITABLE:
                    raise OutputError(
                        f"{unwritable} tiles in a row could not be written: {outcome.error} "
                        "Finished tiles are kept: run the same command when that is mended."
                    )

    def _record(self, outcome: Outcome) -> None:
        """Note an outcome in the log and in the record of failures."""
        folder = outcome.job.folder
        if outcome.evidence is not None:
            self.output.remove(failure_name(folder))
            found, lost = outcome.evidence, len(outcome.evidence.get("lost", ()))
            self.log.line(
                f"{folder}: {found['outcome']} in {found['seconds']:.1f} s on {outcome.worker}"
                f"{f', {lost} files lost' if lost else ''}"
            )
            return
        self.log.line(f"{folder}: failed on {outcome.worker}: {outcome.error}")
        record = {
            "tile": outcome.job.tile.tile.id, "error": outcome.error, "kind": outcome.kind,
            "worker": outcome.worker, "digest": outcome.job.digest, "time": _time_text(),
        }  # fmt: skip
        try:
            self.output.write_json(failure_name(folder), record)
        except OutputError as error:
            self.log.line(f"{folder}: the failure could not be recorded: {error}")

    def _remove_foreign(self) -> None:
        """Remove results of tiles that an earlier plan had and this one lacks."""
        planned = {tile.tile.id for tile in self.plan.tiles}
        for kind in ("tiles", "edges"):
            for name in set(self.output.names(kind)) - planned:
                self.output.remove(f"{kind}/{name}")
                self.log.line(f"{kind}/{name}: removed, it is not in the plan")

    @contextmanager
    def _state(self) -> Iterator[None]:
        """Keep the state up to date, and say at the end that nothing runs."""
        self._check_alone()
        self._write_state({})
        try:
            yield
        finally:
            self._write_state({}, ended=True)

    def _check_alone(self) -> None:
        """Raise if another process runs here: both would make the same tiles."""
        state = self.output.read_json(STATE) or {}
        driver = str(state.get("driver", ""))
        if is_alive(state) and driver != _driver_name() and not _is_dead(driver):
            raise OutputError(
                f"{self.output.url} is being written by {driver}, which wrote its state at "
                f"{state['updated']}. Wait until it has ended, or stop it and wait a minute."
            )

    def _watch(self, running: Mapping[str, str]) -> None:
        if time.monotonic() - self._beat >= _BEAT:
            self._write_state(running)

    def _write_state(self, running: Mapping[str, str], *, ended: bool = False) -> None:
        self._beat = time.monotonic()
        state = {
            "driver": _driver_name(), "plan": self.plan.digest,
            "started": self.started.isoformat(timespec="seconds"), "updated": _time_text(),
            "running": dict(running), "files": self.files, "ended": ended,
        }  # fmt: skip
        try:
            self.output.write_json(STATE, state)
        except OutputError as error:
            self.log.line(f"the state could not be written: {error}")


def _driver_name() -> str:
    return f"{platform.node()}:{os.getpid()}"


def _is_dead(driver: str) -> bool:
    """Whether a driver of this machine is no longer a process; unknown for another machine."""
    machine, _, pid = driver.rpartition(":")
    if machine != platform.node() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _difference(before: object, after: Mapping[str, str]) -> str:
    """Which inputs differ from those that a tile was made from."""
    if not isinstance(before, dict):
        return "their evidence is damaged"
    names = [name for name in after if before.get(name) != after[name]]
    return f"changed {', '.join(names)}" if names else "files are missing"


def _progress_text(description: str, rate: float, size: int, failed: int) -> str:
    parts = [description]
    if rate:
        parts.append(f"{rate / 1e6:.2f} Mpx/s")
    if size:
        parts.append(f"{size / 1e9:.1f} GB")
    if failed:
        parts.append(f"{failed} failed")
    return ", ".join(parts)


def _time_text() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
