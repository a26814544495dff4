"""Whether the workers of a run have the memory that its tiles need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask
from dask.system import CPU_COUNT

from cubecrop.region.plan_text import check_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributed import Client

    from cubecrop.region.planned import RegionPlan

__all__ = ["check_capacity"]


def check_capacity(
    plan: RegionPlan, client: Client | None, resources: Mapping[str, float] | None = None
) -> None:
    """Raise if a tile does not fit a worker; see `check_memory`.

    Parameters
    ----------
    plan : RegionPlan
        The plan.
    client : distributed.Client or None
        The cluster; None for this process.
    resources : mapping, optional
        Dask resources of the workers that get tiles.
    """
    for memory, threads in _here() if client is None else _workers(client, resources or {}):
        if memory:  # Dask knows no limit otherwise
            check_memory(plan, memory, threads)


def _here() -> set[tuple[float, int]]:
    """Memory and threads of this process."""
    from distributed.system import MEMORY_LIMIT  # knows the limits of containers

    return {(float(MEMORY_LIMIT), int(dask.config.get("num_workers", None) or CPU_COUNT))}


def _workers(client: Client, resources: Mapping[str, float]) -> set[tuple[float, int]]:
    """Memory and threads of each kind of worker with some resources."""
    found: list[tuple[float, int, dict[str, float]]] = client.run_on_scheduler(_described)
    return {
        (memory, threads)
        for memory, threads, has in found
        if all(has.get(key, 0) >= least for key, least in resources.items())
    }


def _described(dask_scheduler: Any) -> list[tuple[float, int, dict[str, float]]]:  # noqa: ANN401
    return [
        (float(one.memory_limit or 0), int(one.nthreads), dict(one.resources))
        for one in dask_scheduler.workers.values()
    ]
