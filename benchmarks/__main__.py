"""Run the benchmarks without asv and print a table: ``python -m benchmarks [CLASS ...]``."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from contextlib import chdir, contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.demonstration import Demo
from benchmarks.graph import ClassifyGraph
from benchmarks.memory import peak_mb
from benchmarks.reading import ReadSeason
from benchmarks.sampling import SampleParcels

if TYPE_CHECKING:
    from collections.abc import Iterator

SUITES = (ClassifyGraph, Demo, ReadSeason, SampleParcels)
#: What must hold, by suite and benchmark: below, in the benchmark's unit.
TARGETS = {
    ("ClassifyGraph", "time_build"): 5,
    ("ClassifyGraph", "track_tasks"): 20_000,
    ("ClassifyGraph", "track_pickled"): 1000,
    ("ClassifyGraph", "track_peak"): 1000,
    ("Demo", "track_duration"): 120,
    ("Demo", "track_peak"): 2000,
}


def main() -> None:
    """Run what is asked for, all by default."""
    names = [suite.__name__ for suite in SUITES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="CLASS", help=", ".join(names))
    wanted = parser.parse_args().suites or names
    if unknown := set(wanted) - set(names):
        parser.error(f"no benchmark class {sorted(unknown)}, choose among {names}")
    console = Console()
    for suite in SUITES:
        if suite.__name__ in wanted:
            console.print(as_table(suite, measure(suite)))


def measure(suite: type) -> dict[str, tuple[float, str]]:
    """Value and unit of every benchmark of a class, in the class's own order."""
    methods = [name for name in vars(suite) if name.startswith(("time_", "track_", "peakmem_"))]
    found = {}
    with tempfile.TemporaryDirectory(prefix="cubecrop-benchmarks-") as folder:
        with chdir(folder):
            cache = (suite().setup_cache(),) if hasattr(suite, "setup_cache") else ()
        with _ready(suite, cache) as one:
            timers = [name for name in methods if name.startswith("time_")]
            for name, seconds in _times(one, timers, cache).items():
                found[name] = (seconds, "s")
            for name in methods:
                if name.startswith("track_"):
                    method = getattr(one, name)
                    found[name] = (float(method(*cache)), method.unit)
        for name in methods:
            if name.startswith("peakmem_"):
                # A process each: what another one held must not count.
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    found[name] = (pool.apply(_peak, (suite, name, cache)), "MB")
    return {name: found[name] for name in methods}


@contextmanager
def _ready(suite: type, cache: tuple[Any, ...]) -> Iterator[Any]:
    one = suite()
    if hasattr(one, "setup"):
        one.setup(*cache)
    try:
        yield one
    finally:
        if hasattr(one, "teardown"):
            one.teardown(*cache)


def _times(one: Any, names: list[str], cache: tuple[Any, ...]) -> dict[str, float]:
    """The shortest of several times of each, taken in turns so that all share the machine."""
    best = dict.fromkeys(names, float("inf"))
    for _ in range(getattr(one, "repeat", 3)):
        for name in names:
            start = time.perf_counter()
            getattr(one, name)(*cache)
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def _peak(suite: type, name: str, cache: tuple[Any, ...]) -> float:
    with _ready(suite, cache) as one:
        getattr(one, name)(*cache)
        return peak_mb()


def as_table(suite: type, found: dict[str, tuple[float, str]]) -> Table:
    """Values with their ratio to cubecrop's where there is one, and their target."""
    table = Table(title=f"{suite.__name__} ({os.cpu_count()} cores)", title_justify="left")
    for column in ("benchmark", "value", "unit", "ratio", "target"):
        table.add_column(column, justify="left" if column in {"benchmark", "unit"} else "right")
    for name, (value, unit) in found.items():
        ours = found.get(f"{name.split('_')[0]}_cubecrop")
        target = TARGETS.get((suite.__name__, name))
        table.add_row(
            name,
            f"{value:,.0f}" if value >= 100 else f"{value:.3g}",
            unit,
            f"{value / ours[0]:.2f}" if ours else "",
            f"< {target:,}" if target else "",
        )
    return table


if __name__ == "__main__":
    main()
