"""Runs a plan: which tiles are made, what became of each, and what other processes see of it."""

from __future__ import annotations

import datetime as dt
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final

from cubecrop.errors import OutputError
from cubecrop.model import CropModel, handle_to
from cubecrop.progress import progress_bar
from cubecrop.region.collect import remove_collected
from cubecrop.region.engine import Outcome, run_jobs
from cubecrop.region.options import digest_of
from cubecrop.region.state import STATE, check_alone, driver_name, time_text
from cubecrop.region.status import (
    RegionRun,
    at_once,
    evidence_of,
    failure_name,
    failures_of,
    run_of,
)
from cubecrop.region.tile import Job
from cubecrop.region.together import collect_region

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from distributed import Client

    from cubecrop.region.log import RunLog
    from cubecrop.region.output import Output
    from cubecrop.region.planned import RegionPlan

__all__ = ["Driver"]

#: Seconds between two writings of the state.
_BEAT: Final = 2.0
#: So many outputs in a row that cannot be written end a run: the next ones could not be either.
_UNWRITABLE: Final = 3
#: Why a tile with the planned inputs is made again.
_INCOMPLETE: Final = "files are missing or damaged, or too many were lost"


class Driver:
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
        self._running: dict[str, str] = {}

    def run(
        self, *, resources: Mapping[str, float] | None, retry_failed: bool, progress: bool
    ) -> RegionRun:
        """Make what is missing, and put the results together."""
        plan, log = self.plan, self.log
        log.line(
            f"plan {plan.digest[:12]}: {len(plan.tiles):,} tiles, model {self.model.digest[:12]}"
        )
        check_alone(self.output)
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
        digests = {tile.tile.id: tile.digest for tile in self.plan.tiles}
        evidence = evidence_of(self.output, digests)
        current = self._current(evidence, digests, "tiles")
        failed = failures_of(self.output)
        jobs, why = [], dict[str, int]()
        for tile in self.plan.tiles:
            if tile.tile.id in current or (retry_failed and tile.tile.id not in failed):
                continue
            if (found := evidence.get(tile.tile.id)) is not None:
                reason = _difference(found.get("inputs"), tile.inputs)
                why[reason] = why.get(reason, 0) + 1
                if found.get("digest") == tile.digest:
                    # Nobody may take it for a result if it cannot be made again.
                    self.output.remove(f"tiles/{tile.tile.id}")
            jobs.append(self._job("tiles", tile, tile.inputs))
        for reason, number in sorted(why.items()):
            self.log.line(f"{number:,} finished tiles are made again: {reason}")
        if why:
            # Else files of an earlier model would show tiles of this one if the run is interrupted.
            remove_collected(self.output)
        kept = len(self.plan.tiles) - len(jobs)
        self.log.line(f"{len(jobs):,} tiles to map, {kept:,} are kept or left")
        return jobs

    def _edge_jobs(self) -> list[Job]:
        """Tiles whose parcels across edges can be classified and are not yet."""
        neighbours = self.plan.neighbours
        if not neighbours:
            return []
        tiles = {tile.tile.id: tile for tile in self.plan.tiles}
        digests = {name: tile.digest for name, tile in tiles.items()}
        current = self._current(evidence_of(self.output, digests), digests, "tiles")
        # Without an entry, a neighbour failed; its failure is recorded.
        inputs = {
            name: {part: digests[part] for part in sorted(parts)}
            for name, parts in neighbours.items()
            if current.issuperset(parts)
        }
        made = self._current(
            evidence_of(self.output, inputs, kind="edges"),
            {name: digest_of(own) for name, own in inputs.items()},
            "edges",
        )
        return [
            self._job("edges", tiles[name], own) for name, own in inputs.items() if name not in made
        ]

    def _current(
        self, evidence: Mapping[str, Mapping[str, Any]], digests: Mapping[str, str], kind: str
    ) -> set[str]:
        """Tiles whose results were made from the planned inputs, and are complete."""
        same = [
            name
            for name, found in evidence.items()
            if found.get("digest") == digests[name]
            and _lost_share(found) <= self.plan.options.max_lost
        ]
        there = at_once(self.output, self.output.sizes, [f"{kind}/{name}" for name in same])
        return {
            name
            for name, sizes in zip(same, there, strict=True)
            if _is_whole(evidence[name].get("sizes"), sizes)
        }

    def _job(self, kind: Any, tile: Any, inputs: Mapping[str, str]) -> Job:  # noqa: ANN401
        return Job(
            kind=kind, output=self.output, plan_digest=self.plan.digest,
            model=handle_to(self.model), tile=tile, inputs=inputs, device=self.device,
            mask_query=self.plan.mask_query,
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
        made = run_jobs(
            jobs, self.client, attempts=self.attempts, resources=resources, watch=self._watch
        )
        # Closed also if this process is interrupted, so that the cluster drops its tasks.
        with (
            closing(made) as outcomes,
            progress_bar(description, total=len(jobs), unit="tiles", progress=progress) as bar,
        ):
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
            with self._noted(f"{folder}: the failure before it could not be removed"):
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
            "worker": outcome.worker, "digest": outcome.job.digest, "time": time_text(),
        }  # fmt: skip
        with self._noted(f"{folder}: the failure could not be recorded"):
            self.output.write_json(failure_name(folder), record)

    def _remove_foreign(self) -> None:
        """Remove results of tiles that an earlier plan had and this one lacks."""
        planned = {
            "tiles": {tile.tile.id for tile in self.plan.tiles},
            "edges": set(self.plan.neighbours),
        }
        foreign = [
            f"{kind}/{name}"
            for kind, own in planned.items()
            for name in self.output.names(kind)
            if name not in own
        ]
        if foreign:
            remove_collected(self.output)
        for folder in foreign:
            self.output.remove(folder)
            self.log.line(f"{folder}: removed, it is not in the plan")

    @contextmanager
    def _state(self) -> Iterator[None]:
        """Keep the state up to date, also during a long tile, and say at the end that all ended."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(_BEAT):
                self._write_state()

        self._write_state()
        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._running = {}
            self._write_state(ended=True)

    def _watch(self, running: Mapping[str, str]) -> None:
        self._running = dict(running)

    def _write_state(self, *, ended: bool = False) -> None:
        state = {
            "driver": driver_name(), "plan": self.plan.digest,
            "started": self.started.isoformat(timespec="seconds"), "updated": time_text(),
            "running": self._running, "files": self.files, "ended": ended,
        }  # fmt: skip
        with self._noted("the state could not be written"):
            self.output.write_json(STATE, state)

    @contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        """Log that a file could not be written, and go on: no result depends on it."""
        try:
            yield
        except OutputError as error:
            self.log.line(f"{what}: {error}")


def _difference(before: object, after: Mapping[str, str]) -> str:
    """Which inputs differ from those that a tile was made from."""
    if not isinstance(before, dict):
        return "their evidence is damaged"
    names = [name for name in after if before.get(name) != after[name]]
    return f"changed {', '.join(names)}" if names else _INCOMPLETE


def _is_whole(stated: object, sizes: Mapping[str, int]) -> bool:
    """Whether all files of a result are there, and none of them is cut."""
    return isinstance(stated, dict) and stated.items() <= sizes.items()


def _lost_share(evidence: Mapping[str, Any]) -> float:
    """Share of a tile's items that were lost."""
    lost = {loss["item"] for loss in evidence.get("lost", ())}
    return len(lost) / max(len(evidence.get("items", ())), 1)


def _progress_text(description: str, rate: float, size: int, failed: int) -> str:
    parts = [description]
    if rate:
        parts.append(f"{rate / 1e6:.2f} Mpx/s")
    if size:
        parts.append(f"{size / 1e9:.1f} GB")
    if failed:
        parts.append(f"{failed} failed")
    return ", ".join(parts)
