"""Progress bars for terminals and notebooks."""

from __future__ import annotations

import html
import sys
import time
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

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

from cubecrop.checks import brief
from cubecrop.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Bar", "Scheduler", "check_scheduler", "client_is_active", "compute", "progress_bar"]

#: Where Dask computes: in threads of this process, or in the calling thread.
Scheduler = Literal["threads", "synchronous"]

#: Seconds between two updates in a notebook, since each is a message to the browser.
_PAUSE: Final = 0.1


class Bar:
    """The progress of some work; without a display it only counts."""

    def __init__(
        self,
        description: str,
        *,
        total: int | None = None,
        show: Callable[[Bar], None] | None = None,
    ) -> None:
        self.description = description
        self.total = total
        self.completed = 0
        self._show = show

    def update(
        self,
        *,
        completed: int | None = None,
        total: int | None = None,
        description: str | None = None,
    ) -> None:
        """Set the given values and show them."""
        self.completed = self.completed if completed is None else completed
        self.total = self.total if total is None else total
        self.description = self.description if description is None else description
        if self._show is not None:
            self._show(self)

    def advance(self) -> None:
        """Count one more step."""
        self.update(completed=self.completed + 1)


@contextmanager
def progress_bar(
    description: str, *, total: int | None = None, unit: str = "", progress: bool = True
) -> Iterator[Bar]:
    """Show a bar while the block runs.

    Parameters
    ----------
    description : str
        What is being done, such as ``"Training"``.
    total : int, optional
        Number of steps, if known.
    unit : str
        Name of the steps, such as ``"epochs"``.
    progress : bool, default True
        False shows nothing. A terminal shows the bar on standard error, a Jupyter notebook
        below its cell. Elsewhere, as in a log file, there is no bar.
    """
    console = Console(stderr=True)
    with ExitStack() as stack:
        show = None
        if progress and console.is_jupyter:
            show = _in_notebook(unit)
        elif progress and console.is_terminal:
            show = stack.enter_context(_on_terminal(console, unit))
        bar = Bar(description, total=total, show=show)
        bar.update()
        yield bar


def check_scheduler(scheduler: object) -> None:
    """Raise `ArgumentError` unless a scheduler is None or known to `compute`."""
    known = get_args(Scheduler)
    if scheduler is not None and not (isinstance(scheduler, str) and scheduler in known):
        raise ArgumentError(f"scheduler is {brief(scheduler)}, expected None or one of {[*known]}.")


def compute(
    *collections: Any,  # noqa: ANN401
    description: str,
    progress: bool = True,
    scheduler: Scheduler | None = None,
) -> tuple[Any, ...]:
    """Compute Dask collections together, in one pass over their shared graph.

    Parameters
    ----------
    *collections : Any
        Dask collections; anything else is returned unchanged.
    description : str
        Text of the bar, such as ``"Mapping crops"``.
    progress : bool, default True
        Count finished tasks in a `progress_bar`. With a ``distributed`` client there is no bar,
        since its dashboard shows more.
    scheduler : {"threads", "synchronous"}, optional
        Compute in this process, in one thread per core or in one thread. By default Dask
        chooses: the cluster of an active client. Inside a task that is the cluster of the worker,
        so the computation would leave the worker.

    Returns
    -------
    tuple
        The computed values, in the order of ``collections``.
    """
    if not progress or (scheduler is None and client_is_active()):
        return tuple(dask_compute(*collections, scheduler=scheduler))
    with progress_bar(description) as bar, _TaskCounter(bar):
        return tuple(dask_compute(*collections, scheduler=scheduler))


class _TaskCounter(Callback):
    """Moves a bar by one for each task that a local scheduler finishes."""

    def __init__(self, bar: Bar) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bar = bar

    def _start_state(self, _graph: object, state: dict[str, Any]) -> None:
        total = sum(len(state[key]) for key in ("ready", "waiting", "running", "finished"))
        self._bar.update(total=total, completed=len(state["finished"]))

    def _posttask(self, *_task: object) -> None:
        self._bar.advance()


@contextmanager
def _on_terminal(console: Console, unit: str) -> Iterator[Callable[[Bar], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *([TextColumn(unit)] if unit else []),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as shown:
        task = shown.add_task("", total=None, visible=False)  # until it has a name

        def show(bar: Bar) -> None:
            shown.update(
                task,
                description=bar.description,
                completed=bar.completed,
                total=bar.total,
                visible=True,
            )

        yield show


def _in_notebook(unit: str) -> Callable[[Bar], None]:
    """Draw as HTML, since the widgets that rich and tqdm need are often not installed."""
    ipython: Any = import_module("IPython.display")
    start = time.monotonic()
    handle: Any = None
    drawn = 0.0

    def show(bar: Bar) -> None:
        nonlocal handle, drawn
        now = time.monotonic()
        done = bar.total is not None and bar.completed >= bar.total
        if handle is not None and not done and now - drawn < _PAUSE:
            return
        drawn = now
        picture = ipython.HTML(_as_html(bar, unit, now - start))
        if handle is None:
            handle = ipython.display(picture, display_id=True)
        else:
            handle.update(picture)

    return show


def _as_html(bar: Bar, unit: str, seconds: float) -> str:
    if not bar.total:
        return f"<div>{html.escape(bar.description)} …</div>"
    left = seconds * (bar.total - bar.completed) / max(bar.completed, 1)
    text = f"{bar.completed}/{bar.total} {unit}".rstrip()
    if bar.completed >= bar.total:
        text += f", {_clock(seconds)}"
    elif bar.completed:
        text += f", {_clock(left)} left"
    return (
        f"<div>{html.escape(bar.description)} "
        f'<progress value="{bar.completed}" max="{bar.total}"></progress> {html.escape(text)}</div>'
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"


def client_is_active() -> bool:
    """Whether Dask computes on a cluster by default."""
    # Importing distributed takes a second; if it is not imported, there is no client either.
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.default_client()
    except ValueError:
        return False
    return True
