"""The state of a run, told from its files: also while another process runs it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pandas as pd

from cubecrop.display import block, html_table, plain
from cubecrop.region.output import PROOF, Output
from cubecrop.region.planned import RegionPlan
from cubecrop.region.state import STATE, is_alive, read_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from cubecrop.region.planned import PlannedTile

__all__ = [
    "STATE",
    "RegionRun",
    "at_once",
    "duration",
    "evidence_of",
    "failure_name",
    "failures_of",
    "is_alive",
    "run_of",
    "status",
]

T = TypeVar("T")

#: Files that are read at a time; each is a request where the output is remote.
_AT_ONCE: Final = 16
#: Failed tiles that are printed, and characters of their errors.
_LISTED: Final = 5
_ERROR: Final = 400
_COLUMNS: Final = (
    "tile", "state", "seconds", "pixels", "share_without_data", "lost", "parcels", "predicted",
    "worker", "peak_memory", "error",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionRun:
    """The tiles of a region and what became of each.

    Parameters
    ----------
    output : Output
        Where the run lies.
    table : pandas.DataFrame
        One row a tile: ``tile``; ``state``: "done", "no images", "running", "failed", "outdated"
        (made from other inputs than the plan's) or "waiting"; ``seconds``; ``pixels``;
        ``share_without_data``; ``lost`` files; ``parcels`` that it owns and ``predicted`` ones;
        ``worker``; ``peak_memory`` in bytes; ``error``.
    seconds_left : float or None
        Estimated from the finished tiles; None if nothing runs, or if no tile is finished.
    edges_waiting : int
        Tiles whose parcels across edges are not yet classified.
    edges_failed : mapping
        Those of them that failed, with their errors.
    files : mapping
        Files that stand for the whole region, by what they hold; empty before the run has ended.
    """

    output: Output
    table: pd.DataFrame = field(repr=False)
    seconds_left: float | None = None
    edges_waiting: int = 0
    edges_failed: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> pd.DataFrame:
        """The tiles that failed, with their errors."""
        return self.table[self.table["state"] == "failed"][["tile", "error"]]

    @property
    def is_complete(self) -> bool:
        """Whether every tile is finished and all parcels are classified."""
        return bool(self.table["state"].isin(["done", "no images"]).all()) and not (
            self.edges_waiting
        )

    def lines(self) -> list[tuple[str, str]]:
        """What to print: label and text."""
        counts = self.table["state"].value_counts()
        states = ", ".join(f"{n:,} {state}" for state, n in counts.items())
        rows = [("tiles", f"{len(self.table):,}: {states}" if len(self.table) else "none")]
        if n_parcels := int(self.table["parcels"].sum()):
            rows.append(
                ("parcels", f"{n_parcels:,}, {int(self.table['predicted'].sum()):,} predicted")
            )
        if self.edges_waiting:
            rows.append(("edges", f"{self.edges_waiting:,} tiles with parcels across edges wait"))
        running = self.table[self.table["state"] == "running"]
        if len(running):
            rows.append(
                ("running", ", ".join(f"{r.tile} on {r.worker}" for r in running[:4].itertuples()))
            )
        if self.seconds_left is not None:
            rows.append(("time left", f"about {duration(self.seconds_left)}"))
        rows += [
            ("failed", f"{row.tile}: {plain(row.error, longest=_ERROR)}")
            for row in self.failed[:_LISTED].itertuples()
        ]
        if len(self.failed) > _LISTED:
            rows.append(("", f"and {len(self.failed) - _LISTED:,} more"))
        rows += [
            ("failed", f"parcels across edges of {tile}: {plain(error, longest=_ERROR)}")
            for tile, error in list(self.edges_failed.items())[:_LISTED]
        ]
        rows += [(what, name) for what, name in self.files.items()]
        return rows

    def __repr__(self) -> str:
        return block(f"RegionRun in {plain(self.output.url)}", self.lines())

    def _repr_html_(self) -> str:
        return html_table(f"RegionRun in {plain(self.output.url)}", self.lines())


def status(out: str | Path) -> RegionRun:
    """State of a region's run at this moment, from its files; works from any process.

    Parameters
    ----------
    out : path or URL
        The folder of `map_region`.

    Returns
    -------
    RegionRun

    Raises
    ------
    OutputError
        There is no plan.
    """
    output = Output.at(out)
    return run_of(RegionPlan.read(output))


def run_of(plan: RegionPlan) -> RegionRun:
    """State of a planned run."""
    output = plan.output
    state = read_state(output)
    running = dict(state.get("running") or {}) if is_alive(state) else {}
    evidence = evidence_of(output, [tile.tile.id for tile in plan.tiles])
    failures = failures_of(output)
    rows = [
        _row(tile, evidence.get(tile.tile.id), failures.get(tile.tile.id), running)
        for tile in plan.tiles
    ]
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    digests = {tile.tile.id: tile.digest for tile in plan.tiles}
    edges = {
        name: found
        for name, found in evidence_of(output, list(plan.neighbours), kind="edges").items()
        if found.get("inputs") == {part: digests[part] for part in plan.neighbours[name]}
    }
    predicted = {name: int(found["parcels"]["predicted"]) for name, found in edges.items()}
    table["predicted"] += table["tile"].map(predicted).fillna(0).astype(int)
    waiting = set(plan.neighbours) - set(edges)
    failed = failures_of(output, kind="edges") if waiting else {}
    return RegionRun(
        output=output,
        table=table,
        seconds_left=_seconds_left(table, len(running)),
        edges_waiting=len(waiting),
        edges_failed={
            name: str(failed[name].get("error", "")) for name in sorted(waiting & set(failed))
        },
        files=dict(state.get("files") or {}),
    )


def evidence_of(
    output: Output, tiles: Iterable[str], *, kind: str = "tiles"
) -> dict[str, Mapping[str, Any]]:
    """Evidence of the tiles that have one."""
    there = set(output.names(kind))
    names = [tile for tile in tiles if tile in there]
    read = [f"{kind}/{name}/{PROOF}" for name in names]
    found = dict(zip(names, at_once(output, output.read_json, read), strict=True))
    return {name: one for name, one in found.items() if isinstance(one, dict)}


def failures_of(output: Output, *, kind: str = "tiles") -> dict[str, Mapping[str, Any]]:
    """Records of the tiles that failed, by tile."""
    ends = f".{kind}.json"
    names = [name for name in output.names("failures") if name.endswith(ends)]
    found = at_once(output, output.read_json, [f"failures/{name}" for name in names])
    tiles = [name.removesuffix(ends) for name in names]
    return {tile: one for tile, one in zip(tiles, found, strict=True) if isinstance(one, dict)}


def failure_name(folder: str) -> str:
    """File with the failure of a job, by the folder of its results, such as ``tiles/ID``."""
    kind, _, tile = folder.partition("/")
    return f"failures/{tile}.{kind}.json"


def duration(seconds: float) -> str:
    """Seconds as text for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def at_once(output: Output, ask: Callable[[str], T], names: Sequence[str]) -> list[T]:
    """Ask an output about many names; several at a time where each is a request."""
    if output.folder is not None or len(names) < 2:
        return [ask(name) for name in names]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(ask, names))


def _row(
    tile: PlannedTile,
    evidence: Mapping[str, Any] | None,
    failure: Mapping[str, Any] | None,
    running: Mapping[str, str],
) -> dict[str, Any]:
    name = tile.tile.id
    row: dict[str, Any] = {
        "tile": name, "state": "waiting", "seconds": float("nan"), "pixels": 0,
        "share_without_data": float("nan"), "lost": 0, "parcels": tile.parcels, "predicted": 0,
        "worker": "", "peak_memory": 0, "error": "",
    }  # fmt: skip
    is_current = evidence is not None and evidence.get("digest") == tile.digest
    if evidence is not None and is_current:
        row |= {key: evidence[key] for key in ("seconds", "pixels", "share_without_data", "worker",
                                               "peak_memory")}  # fmt: skip
        row |= {
            "state": "done" if evidence["outcome"] == "done" else "no images",
            "lost": len(evidence["lost"]),
            "predicted": evidence["parcels"]["predicted"],
        }
    elif name in running:
        row |= {"state": "running", "worker": running[name]}
    elif failure is not None:
        row |= {"state": "failed", "error": str(failure.get("error", "")),
                "worker": str(failure.get("worker", ""))}  # fmt: skip
    elif evidence is not None:
        row["state"] = "outdated"
    return row


def _seconds_left(table: pd.DataFrame, n_running: int) -> float | None:
    done = table[table["state"] == "done"]["seconds"]
    if not len(done) or not n_running:
        return None
    waiting = table["state"].isin(["waiting", "running", "outdated"]).sum()
    return float(done.mean() * waiting / n_running)
