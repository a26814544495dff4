"""Run jobs in this process or on a Dask cluster: a bounded number at a time, each tried again."""

from __future__ import annotations

import time
import uuid
from collections import deque
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from cubecrop.errors import ClusterError, CubecropError
from cubecrop.region.failures import error_text, is_transient
from cubecrop.region.tile import Job, do

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from distributed import Client, Future

__all__ = ["Outcome", "check_client", "run_jobs"]

#: Seconds before a second attempt; each later attempt waits three times as long.
_PAUSE: Final = 2.0
#: Seconds between two looks at the cluster while nothing ends.
_LOOK: Final = 1.0
#: Seconds without a scheduler, or without any worker, after which a run ends.
_PATIENCE: Final = 60.0
#: Seconds in which the small record of a finished job must arrive.
_FETCH: Final = 30.0
#: Seconds without a worker after which a job is given to another one.
_ORPHANED: Final = 5.0
#: States of a client that may be running again in a moment.
_COMING: Final = {"running", "connecting", "newly-created"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a job: its evidence, or why there is none."""

    job: Job
    evidence: Mapping[str, Any] | None = None
    error: str = ""
    kind: str = ""
    worker: str = ""


@dataclass(slots=True)
class _Running:
    """A job, the worker that does it, and since when (monotonic) no worker is known to do it."""

    job: Job
    address: str
    orphaned: float | None = None


def run_jobs(
    jobs: Iterable[Job],
    client: Client | None,
    *,
    attempts: int,
    resources: Mapping[str, float] | None = None,
    watch: Callable[[dict[str, str]], None] = lambda _running: None,
) -> Generator[Outcome]:
    """Run jobs and yield their outcomes as they end.

    Parameters
    ----------
    jobs : iterable of Job
        The jobs; they start in this order.
    client : distributed.Client or None
        The cluster; one job at a time runs in each of its worker processes. Without it, jobs run
        in this process, one after another.
    attempts : int
        How often a job is tried if it fails for a reason that may pass.
    resources : mapping, optional
        Dask resources that a worker must have, such as ``{"GPU": 1}``.
    watch : callable
        Called about once a second with the worker of each running job's tile.

    Raises
    ------
    ClusterError
        The scheduler or all workers are gone, or the scheduler was restarted.
    """
    if client is None:
        yield from _here(jobs, attempts, watch)
    else:
        yield from _on_cluster(deque(jobs), client, attempts, resources, watch)


def check_client(client: object, resources: Mapping[str, float] | None = None) -> None:
    """Raise `ClusterError` unless a client is connected to a cluster with a usable worker."""
    from distributed import Client

    if not isinstance(client, Client):
        raise ClusterError(
            f"client is a {type(client).__name__}, expected a distributed.Client, as from "
            "`Client('tcp://scheduler:8786')`, or None to compute in this process."
        )
    if client.asynchronous:
        raise ClusterError("client is asynchronous, expected one made without asynchronous=True.")
    found = _workers(client, resources)
    if found is None:
        raise ClusterError(
            f"the client has no scheduler (it is {client.status}). Start one with `dask scheduler` "
            "and connect with `Client(address)`."
        )
    if not found:
        needed = f" with the resources {dict(resources)}" if resources else ""
        try:
            client.wait_for_workers(1, timeout=10)
        except TimeoutError:
            found = {}
        else:
            found = _workers(client, resources)
        if not found:
            raise ClusterError(
                f"the cluster at {_address(client)} has no worker{needed}. Start some with "
                "`dask worker ADDRESS`, or scale the cluster, and run the command again."
            )


def _here(
    jobs: Iterable[Job], attempts: int, watch: Callable[[dict[str, str]], None]
) -> Generator[Outcome]:
    for job in jobs:
        for attempt in range(1, attempts + 1):
            watch({job.tile.tile.id: "this process"})
            result = _attempt(_numbered(job, attempt, attempts))
            if "error" not in result or not result["transient"] or attempt == attempts:
                break
            time.sleep(_pause(attempt))
        yield _outcome(job, result)


def _attempt(job: Job) -> dict[str, Any]:
    """Do a job; a failure becomes a small record, since some errors cannot be sent."""
    from cubecrop.region.evidence import worker_name

    try:
        return do(job)
    except Exception as error:  # noqa: BLE001 (another tile may succeed)
        return {
            "error": error_text(error),
            "kind": type(error).__name__,
            "transient": is_transient(error),
            "worker": worker_name(),
        }


def _outcome(job: Job, result: Mapping[str, Any]) -> Outcome:
    if "error" in result:
        return Outcome(
            job=job, error=result["error"], kind=result["kind"], worker=str(result["worker"])
        )
    return Outcome(job=job, evidence=result, worker=str(result["worker"]))


def _numbered(job: Job, attempt: int, attempts: int) -> Job:
    return replace(job, attempt=attempt, is_last=attempt == attempts)


def _pause(attempt: int) -> float:
    return float(_PAUSE * 3 ** (attempt - 1))


class _Queue:
    """Jobs that wait: for a worker, or for the pause before another attempt."""

    def __init__(self, jobs: deque[Job], attempts: int) -> None:
        self._jobs = jobs
        self._attempts = attempts
        self._later: list[tuple[float, Job, str]] = []

    def __bool__(self) -> bool:
        return bool(self._jobs or self._later)

    def again(self, job: Job, address: str) -> bool:
        """Queue another attempt, on another worker than the last; False if there were enough."""
        if job.attempt >= self._attempts:
            return False
        later = _numbered(job, job.attempt + 1, self._attempts)
        self._later.append((time.monotonic() + _pause(job.attempt), later, address))
        return True

    def back(self, job: Job) -> None:
        """Queue a job whose result was lost; that is no attempt."""
        self._later.append((time.monotonic(), job, ""))

    def next_for(self, address: str, *, is_only: bool) -> Job | None:
        """The next job for a worker: first those whose pause is over."""
        for entry in self._later:
            due, job, failed_on = entry
            if due <= time.monotonic() and (is_only or failed_on != address):
                self._later.remove(entry)
                return job
        return _numbered(self._jobs.popleft(), 1, self._attempts) if self._jobs else None


def _on_cluster(
    jobs: deque[Job],
    client: Client,
    attempts: int,
    resources: Mapping[str, float] | None,
    watch: Callable[[dict[str, str]], None],
) -> Generator[Outcome]:
    from distributed import wait

    queue, running = _Queue(jobs, attempts), dict[Any, _Running]()
    seen = time.monotonic()
    try:
        while queue or running:
            workers = _workers(client, resources)
            if workers:
                seen = time.monotonic()
            elif time.monotonic() - seen > _PATIENCE or client.status not in _COMING:
                raise ClusterError(_gone(client, workers))
            for future in _orphans(client, running, workers or {}):
                one = running.pop(future)
                client.cancel([future])
                if not queue.again(one.job, one.address):
                    yield _outcome(one.job, _killed(one, attempts))
            _submit(client, queue, running, workers or {}, resources)
            watch({one.job.tile.tile.id: one.address for one in running.values()})
            if not running:
                time.sleep(_LOOK / 10 if workers else _LOOK)
                continue
            try:
                done = wait(list(running), timeout=_LOOK, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                continue
            for future in done:
                if future.status == "lost":
                    continue  # its worker died with the result: another one does the job again
                one = running.pop(future)
                try:
                    result = _result(future, one)
                except TimeoutError:
                    # The result was lost with its worker. The scheduler should have the job done
                    # again, but a death between two messages can make it forget to.
                    client.cancel([future])
                    queue.back(one.job)
                    continue
                if "error" in result and result["transient"] and queue.again(one.job, one.address):
                    continue
                yield _outcome(one.job, result)
    except (CancelledError, OSError) as error:  # jobs return their errors, so this is Dask's
        if isinstance(error, CubecropError):
            raise
        raise ClusterError(_gone(client, _workers(client, resources))) from error
    finally:
        if running and client.status == "running":
            with suppress(OSError):
                client.cancel(list(running))


def _orphans(
    client: Client, running: Mapping[Any, _Running], workers: Mapping[str, int]
) -> list[Any]:
    """Jobs whose worker died and that no other worker does.

    If all workers die at once, the scheduler does not give their jobs to those that come later.
    Jobs that it gave to another worker get the address of that one.
    """
    lost = {future: one for future, one in running.items() if one.address not in workers}
    if not lost or not workers:
        return []
    try:
        processing = client.processing()
    except (OSError, TimeoutError, RuntimeError, ValueError):
        return []
    doing = {key: address for address, keys in processing.items() for key in keys}
    found = []
    for future, one in lost.items():
        if future.status != "pending":
            continue
        if (address := doing.get(future.key)) is not None:
            one.address, one.orphaned = address, None
        elif one.orphaned is None:
            one.orphaned = time.monotonic()
        elif time.monotonic() - one.orphaned > _ORPHANED:
            found.append(future)
    return found


def _submit(
    client: Client,
    queue: _Queue,
    running: dict[Any, _Running],
    workers: Mapping[str, int],
    resources: Mapping[str, float] | None,
) -> None:
    """Give each idle worker process a job."""
    busy = {one.address for one in running.values()}
    for address in sorted(set(workers) - busy):
        job = queue.next_for(address, is_only=len(workers) == 1)
        if job is None:
            continue
        future = client.submit(
            _attempt,
            job,
            key=f"cubecrop-{job.kind}-{job.tile.tile.id}-{uuid.uuid4().hex[:8]}",
            # If this worker dies, the scheduler gives the job to another one.
            workers=[address],
            allow_other_workers=True,
            resources=dict(resources) if resources else None,
            pure=False,
        )
        running[future] = _Running(job, address)


def _result(future: Future[Any], one: _Running) -> Mapping[str, Any]:
    from distributed import KilledWorker

    error = future.exception() if future.status == "error" else None
    if error is None:
        result: dict[str, Any] = future.result(timeout=_FETCH)
        return result
    if isinstance(error, KilledWorker):
        return _killed(one, error.allowed_failures + 1)
    return {
        "error": error_text(error), "kind": type(error).__name__,
        "transient": is_transient(error), "worker": one.address,
    }  # fmt: skip


def _killed(one: _Running, times: int) -> dict[str, Any]:
    """The record of a job on which workers died."""
    memory = one.job.tile.memory / 1e9
    text = (
        f"{times} workers died while they worked on it. It is planned to take {memory:.1f} GB of "
        "memory: give workers more, or plan with less `memory` or a smaller `tile`."
    )
    return {"error": text, "kind": "KilledWorker", "transient": False, "worker": one.address}


def _workers(client: Client, resources: Mapping[str, float] | None) -> dict[str, int] | None:
    """Address and threads of each usable worker process; None without a scheduler."""
    if client.status != "running":
        return None
    try:
        threads: dict[str, int] = dict(client.nthreads())
        if not resources:
            return threads
        described = client.run_on_scheduler(_resources_of)
    except (OSError, TimeoutError, RuntimeError, ValueError):
        return None
    return {
        address: n
        for address, n in threads.items()
        if all(described.get(address, {}).get(key, 0) >= least for key, least in resources.items())
    }


def _resources_of(dask_scheduler: Any) -> dict[str, dict[str, float]]:  # noqa: ANN401
    return {address: dict(one.resources) for address, one in dask_scheduler.workers.items()}


def _gone(client: Client, workers: Mapping[str, int] | None) -> str:
    if workers:
        what = "it has dropped the tasks of this run"
    else:
        what = "its workers are gone" if workers is not None else "its scheduler is gone"
    return (
        f"the cluster at {_address(client)} cannot go on: {what}. Finished tiles are kept: "
        "start the cluster again and run the same command."
    )


def _address(client: Client) -> str:
    return str(getattr(client.scheduler, "address", "the client's address"))
