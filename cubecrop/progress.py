"""One computation with a progress bar, where there is a terminal to show it on."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Any

from dask.base import compute as dask_compute
from dask.callbacks import Callback
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

__all__ = ["compute"]


def compute(*collections: Any, description: str, progress: bool = True) -> tuple[Any, ...]:  # noqa: ANN401
    """Compute Dask collections together, in one pass over their shared graph.

    Parameters
    ----------
    *collections : Any
        Dask collections; anything else comes back as it is.
    description : str
        What the bar says is being done, such as ``"Mapping crops"``.
    progress : bool, default True
        Count finished tasks on standard error. There is no bar when standard error is not a
        terminal, nor when a ``distributed`` client is active: its dashboard shows more.

    Returns
    -------
    tuple
        The computed values, in the order of ``collections``.
    """
    console = Console(stderr=True)
    with ExitStack() as stack:
        if progress and console.is_terminal and not _client_is_active():
            bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console,
            )
            stack.enter_context(bar)
            stack.enter_context(_TaskCounter(bar, description))
        values: tuple[Any, ...] = dask_compute(*collections)
    return values


class _TaskCounter(Callback):
    """Moves a bar by one for each task that a local scheduler finishes."""

    def __init__(self, bar: Progress, description: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bar = bar
        self._task = bar.add_task(description, total=None)

    def _start_state(self, _graph: object, state: dict[str, Any]) -> None:
        total = sum(len(state[key]) for key in ("ready", "waiting", "running", "finished"))
        self._bar.update(self._task, total=total, completed=len(state["finished"]))

    def _posttask(self, *_task: object) -> None:
        self._bar.advance(self._task)


def _client_is_active() -> bool:
    # Importing distributed takes a second; if nobody has, there is no client either.
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.default_client()
    except ValueError:
        return False
    return True
