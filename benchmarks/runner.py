"""Run a class of benchmarks without asv."""

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
    """Measure the value and unit of every benchmark of a class, in the class's order.

    As in asv, a ``setup`` that raises NotImplementedError means that the class cannot run here.
    """
    methods = _benchmarks(suite)
    results = {}
    with tempfile.TemporaryDirectory(prefix="cubecrop-benchmarks-") as folder:
        with chdir(folder):
            cache = (suite().setup_cache(),) if hasattr(suite, "setup_cache") else ()
        with _ready(suite, cache) as instance:
            timers = [name for name in methods if name.startswith("time_")]
            for name, seconds in _times(instance, timers, cache).items():
                results[name] = (seconds, "s")
            for name in methods:
                if name.startswith("track_"):
                    method = getattr(instance, name)
                    results[name] = (float(method(*cache)), method.unit)
        for name in methods:
            if name.startswith("peakmem_"):
                results[name] = (_peak_in_a_process(suite, name, cache), "MB")
    return {name: results[name] for name in methods}


def _benchmarks(suite: type) -> list[str]:
    """Names of the class's benchmarks, or its base's if it only changes parameters."""
    for base in suite.__mro__:
        names = [x for x in vars(base) if x.startswith(("time_", "track_", "peakmem_"))]
        if names:
            return names
    return []


@contextmanager
def _ready(suite: type, cache: tuple[Any, ...]) -> Iterator[Any]:
    instance = suite()
    if hasattr(instance, "setup"):
        instance.setup(*cache)
    try:
        yield instance
    finally:
        if hasattr(instance, "teardown"):
            instance.teardown(*cache)


def _times(instance: Any, names: list[str], cache: tuple[Any, ...]) -> dict[str, float]:
    """Minimum of several times of each; runs alternate, so that all share the machine's load."""
    best = dict.fromkeys(names, float("inf"))
    for _ in range(getattr(instance, "repeat", 3)):
        for name in names:
            start = time.perf_counter()
            getattr(instance, name)(*cache)
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def _peak_in_a_process(suite: type, name: str, cache: tuple[Any, ...]) -> float:
    """Peak memory of a method in its own process, so that no other method's memory counts."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_peak, suite, name, cache).result()


def _peak(suite: type, name: str, cache: tuple[Any, ...]) -> float:
    with _ready(suite, cache) as instance:
        getattr(instance, name)(*cache)
        return peak_mb()
