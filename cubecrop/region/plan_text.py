"""What a plan costs as a whole: memory of a worker, hours, and lines of text."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Final

from cubecrop.cube import LEAST_MEMORY
from cubecrop.display import listed, plain
from cubecrop.errors import ArgumentError
from cubecrop.region.land import mask_text
from cubecrop.region.output import PROOF
from cubecrop.schema import SERIES
from cubecrop.texts import place_name

if TYPE_CHECKING:
    from cubecrop.region.planned import PlannedTile, RegionPlan

__all__ = [
    "bytes_text", "check_memory", "fitting_threads", "hours", "lines_of", "peak_memory",
    "seconds_measured",
]  # fmt: skip

#: Bytes of a process before it reads: Python and libraries (0.5 GB) and GDAL's cache of remote
#: blocks (0.5 GB, see `cubecrop.cube.access.OPTIONS`).
PROCESS: Final = 1e9
#: Bytes of a thread before it reads: arrays of a batch of pixels in the network.
_THREAD: Final = 0.25e9
#: Bytes of a pixel of a scene as stored: 12 bands of Sentinel-2 with SCL and clouds.
_STORED: Final = 26
#: Share of a thread's memory that pixels as stored take; see `cubecrop.cube.grid.chunk_shape`.
_SHARE: Final = 0.3
#: What a second satellite takes, as a share of a thread's memory: its readings and values are held
#: beside those of the first. Measured with 70 and 60 dates (benchmark `RegionTile`).
_SECOND: Final = 0.9
#: Sides of tiles to advise, metres: multiples of blocks of files.
_SIDES: Final = (20_480.0, 10_240.0, 5_120.0, 640.0)
#: Finished tiles that are asked how long they took.
_ASKED: Final = 20


def peak_memory(plan: RegionPlan, threads: int) -> int:
    """Bytes that a worker with so many threads needs for any tile of a plan."""
    return max(_needed(plan, tile, threads) for tile in plan.tiles)


def check_memory(plan: RegionPlan, worker_memory: float, threads: int) -> None:
    """Raise if a tile does not fit a worker.

    Parameters
    ----------
    plan : RegionPlan
        The plan.
    worker_memory : float
        Bytes of a worker.
    threads : int
        Its threads.

    Raises
    ------
    ArgumentError
        The message says which tile needs how much, and the side of a tile that would fit.
    """
    worst = max(plan.tiles, key=lambda tile: _needed(plan, tile, threads))
    needed = _needed(plan, worst, threads)
    fixed = needed - worst.memory
    if needed <= worker_memory:
        return
    start = (
        f"tile {worst.id} needs {needed / 1e9:.1f} GB: {_number(threads)} of "
        f"{(fixed - PROCESS) / threads / 1e9:.2f} GB, {PROCESS / 1e9:.1f} GB for the process and "
        f"{worst.memory / 1e9:.2f} GB of results; a worker has {worker_memory / 1e9:.1f} GB. "
    )
    # Maps shrink with the square of the side, pixel sets of parcels on edges with the side.
    side = plan.options.tile * (worker_memory - fixed) / max(worst.memory, 1)
    step = next((s for s in _SIDES if side >= s), 0)
    if not step:
        left = (worker_memory - PROCESS - worst.memory) / threads
        less = _rounded_down(left / _times_memory(plan))
        raise ArgumentError(
            start
            + (
                f"Pass `memory={less:.1e}`, or give workers more memory or fewer threads."
                if less >= LEAST_MEMORY
                else "Give workers more memory or fewer threads."
            )
        )
    raise ArgumentError(f"{start}Pass `tile={side // step * step:.0f}`.")


def fitting_threads(plan: RegionPlan, tile: PlannedTile, memory: float, threads: int) -> int:
    """How many of a worker's threads a tile may use so that it fits the worker's memory."""
    fit = [n for n in range(1, threads + 1) if _needed(plan, tile, n) <= memory]
    return max(fit, default=1)


def hours(plan: RegionPlan, seconds_a_tile: float, workers: int) -> float:
    """Hours of a run, from the seconds that one worker needs for a whole tile.

    Tiles that are cut by the edge of the area, or only sample parcels, count by their area.
    """
    whole = plan.options.tile**2
    return sum(map(_area, plan.tiles)) / whole * seconds_a_tile / workers / 3600


def _needed(plan: RegionPlan, tile: PlannedTile, threads: int) -> int:
    """Bytes for a tile; a small one does not fill the memory that its threads may use."""
    series = _area(tile) / plan.options.resolution**2 * tile.scenes * _STORED
    most = plan.options.memory * _times_memory(plan)
    used = min(most, _THREAD + series / _SHARE / threads)
    return round(PROCESS + threads * used + tile.memory)


def _times_memory(plan: RegionPlan) -> float:
    """How many times ``memory`` a thread takes."""
    satellites = sum(name in SERIES for name in plan.options.modalities)
    return 1 + _SECOND * (satellites - 1)


def _rounded_down(number: float) -> float:
    """The next lower number of two digits; 0 for a negative one."""
    if number <= 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(number)) - 1)
    return math.floor(number / step) * step


def _number(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def seconds_measured(plan: RegionPlan) -> float | None:
    """Seconds of a whole tile, from tiles that are finished; None if there are none."""
    done = set(plan.output.names("tiles"))
    found = []
    for tile in [one for one in plan.tiles if one.id in done and one.mapped is not None][:_ASKED]:
        evidence = plan.output.read_json(f"tiles/{tile.id}/{PROOF}") or {}
        if evidence.get("outcome") == "done" and evidence.get("seconds"):
            found.append(float(evidence["seconds"]) * plan.options.tile**2 / _area(tile))
    return statistics.median(found) if found else None


def lines_of(plan: RegionPlan, *, measured: bool = False) -> list[tuple[str, str]]:
    """A plan as pairs of name and text; ``measured`` reads how long finished tiles took."""
    options, tiles = plan.options, plan.tiles
    n_bytes, requests = sum(one.bytes for one in tiles), sum(one.requests for one in tiles)
    zones = sorted({one.tile.crs for one in tiles})
    only_parcels = sum(one.mapped is None for one in tiles)
    text = f"{len(tiles):,} of {options.tile / 1000:g} km in {listed(zones)}"
    if only_parcels:
        text += f"; {only_parcels:,} only sample parcels"
    scenes = [one.scenes for one in tiles]
    empty = scenes.count(0)
    rows = [
        ("tiles", text),
        ("season", f"{options.season}"),
        ("archive", plain(place_name(options.archive))),
        (
            "items",
            f"{plan.n_items:,} frozen; {min(scenes):,} to {max(scenes):,} scenes a tile"
            + (f"; {empty:,} tiles without" if empty else ""),
        ),
    ]
    if options.mask is not None:
        rows.append(("cropland", plain(mask_text(options.mask))))
    if options.layers:
        rows.append(("layers", ", ".join(options.layers)))
    if plan.n_parcels is not None:
        left = plan.n_without_tile
        text = f"{plan.n_parcels:,}"
        if left:
            text += f"; {left:,} outside the area or the archive, or without geometry"
        rows.append(("parcels", text))
    largest = max(one.memory for one in tiles)
    thread = options.memory * _times_memory(plan)
    rows += [
        ("to read", f"{bytes_text(n_bytes)} in at most {requests:,} requests"),
        (
            "memory",
            f"{bytes_text(peak_memory(plan, 1))} for a worker with one thread, and at most "
            f"{bytes_text(thread)} for each further one; up to {bytes_text(largest)} of it "
            "are results",
        ),
        ("model", plan.model_digest[:12]),
        ("digest", plan.digest[:12]),
    ]
    seconds = seconds_measured(plan) if measured else None
    if seconds is not None:
        rows.append(
            (
                "time",
                f"{hours(plan, seconds, 1):,.1f} hours of one worker, by the tiles that are "
                f"finished ({seconds:,.0f} s each)",
            )
        )
    return rows


def _area(tile: PlannedTile) -> float:
    left, bottom, right, top = tile.read
    return (right - left) * (top - bottom)


def bytes_text(number: float) -> str:
    """A number of bytes in words."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number / 1e3:,.1f} kB"
