"""Clusters for the command line: processes of this machine, or a running scheduler."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from cubecrop.checks import check_whole
from cubecrop.errors import ArgumentError, ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

__all__ = ["connected"]

#: Seconds to wait for a scheduler.
_TIMEOUT: Final = 10


@contextmanager
def connected(
    *, workers: int | None = None, scheduler: str | None = None
) -> Iterator[Client | None]:
    """Yield a client of a cluster; None if neither is asked for.

    Parameters
    ----------
    workers : int, optional
        Start so many worker processes on this machine; they share its cores and its memory.
    scheduler : str, optional
        Address of a running scheduler.

    Raises
    ------
    ArgumentError
        Both are given, or ``workers`` is below 1.
    ClusterError
        No scheduler answers at the address.
    """
    if workers is not None and scheduler is not None:
        raise ArgumentError(
            "workers and scheduler are both given; give the number of processes to start here, or "
            "the address of a running scheduler."
        )
    if workers is None and scheduler is None:
        yield None
        return
    from distributed import Client, LocalCluster

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=_TIMEOUT)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"no Dask scheduler answers at {scheduler!r}: {error}. Start one with `dask "
                "scheduler`, and workers with `dask worker ADDRESS`."
            ) from error
        with client:
            yield client
        return
    count = check_whole("workers", workers, minimum=1)
    threads = max(1, (os.cpu_count() or 1) // count)
    with warnings.catch_warnings():
        # That another port than 8787 was taken; whoever starts a cluster names its dashboard.
        warnings.filterwarnings("ignore", "Port .* is already in use", UserWarning)
        cluster = LocalCluster(
            n_workers=count,
            threads_per_worker=threads,
            host="127.0.0.1",
            # Dask warns of workers that end slowly or start again, which the run takes care of.
            silence_logs=logging.ERROR,
        )
    with cluster, Client(cluster) as client:
        _leave_interrupts_to_us(client)
        try:
            yield client
        except KeyboardInterrupt:
            # Calls that the closing cluster cuts off would be logged with their tracebacks.
            for name in ("tornado.application", "asyncio"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
            raise


def _leave_interrupts_to_us(client: Client) -> None:
    """Let workers ignore Ctrl-C, which reaches all processes of a terminal; we end them."""
    from distributed import WorkerPlugin

    class Deaf(WorkerPlugin):
        def setup(self, worker: object) -> None:  # noqa: ARG002
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    client.register_plugin(Deaf())
