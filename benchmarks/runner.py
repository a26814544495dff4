"""Run one class of benchmarks without asv."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir, contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.memory import peak_mb

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["measure"]


def measure(suite: type) -> dict[str, tuple[float, str]]:
    """Value and unit of every benchmark of a class, in the class's own order."""
    methods = [name for name in vars(suite) if name.startswith(("time_", "track_", "peakmem_"))]
    found = {}
    with tempfile.TemporaryDirectory(prefix="cubecrop-benchmarks-") as folder:
        with chdir(folder):
            cache = (suite().setup_cache(),) if hasattr(suite, "setup_cache") else ()
        if not _can_run(suite, cache):
            return {}
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
                found[name] = (_peak_in_a_process(suite, name, cache), "MB")
    return {name: found[name] for name in methods}


def _can_run(suite: type, cache: tuple[Any, ...]) -> bool:
    """False where setting up raises NotImplementedError, which asv skips as well."""
    try:
        with _ready(suite, cache):
            return True
    except NotImplementedError:
        return False


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


def _peak_in_a_process(suite: type, name: str, cache: tuple[Any, ...]) -> float:
    """Peak memory of a method in a process of its own: what others held must not count."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_peak, suite, name, cache).result()


def _peak(suite: type, name: str, cache: tuple[Any, ...]) -> float:
    with _ready(suite, cache) as one:
        getattr(one, name)(*cache)
        return peak_mb()
