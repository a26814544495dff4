"""The memory of workers: whether tiles fit, and with how many threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask
from dask.system import CPU_COUNT

from cubecrop.region.evidence import worker_of_task
from cubecrop.region.plan_text import check_memory, fitting_threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributed import Client

    from cubecrop.region.planned import PlannedTile, RegionPlan

__all__ = ["check_capacity", "usable_threads"]


def check_capacity(
    plan: RegionPlan, client: Client | None, resources: Mapping[str, float] | None = None
) -> None:
    """Raise if a tile does not fit a worker even with one thread; see `check_memory`.

    Parameters
    ----------
    plan : RegionPlan
        The plan.
    client : distributed.Client or None
        The cluster; None for this process.
    resources : mapping, optional
        Dask resources of the workers that get tiles.
    """
    for memory in {_here()} if client is None else _workers(client, resources or {}):
        if memory:  # Dask knows no limit otherwise
            check_memory(plan, memory, 1)


def usable_threads(plan: RegionPlan, tile: PlannedTile) -> int:
    """How many threads a tile uses where this is called: all of the worker's that fit its memory.

    In a process that is no Dask worker these are the threads that Dask would use.
    """
    if (worker := worker_of_task()) is not None:
        memory = float(worker.memory_manager.memory_limit or 0)
        threads = int(worker.state.nthreads)
    else:
        memory, threads = _here(), int(dask.config.get("num_workers", None) or CPU_COUNT)
    return fitting_threads(plan, tile, memory or float("inf"), threads)


def _here() -> float:
    """Memory of this process, bytes."""
    from distributed.system import MEMORY_LIMIT  # knows the limits of containers

    return float(MEMORY_LIMIT)


def _workers(client: Client, resources: Mapping[str, float]) -> set[float]:
    """Memory of each kind of worker with some resources, bytes."""
    found: list[tuple[float, dict[str, float]]] = client.run_on_scheduler(_described)
    return {
        memory
        for memory, has in found
        if all(has.get(key, 0) >= least for key, least in resources.items())
    }


def _described(dask_scheduler: Any) -> list[tuple[float, dict[str, float]]]:  # noqa: ANN401
    return [
        (float(one.memory_limit or 0), dict(one.resources))
        for one in dask_scheduler.workers.values()
    ]
