"""Streams that take what is told: also where they are not of Unicode, closed, or not there."""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Terminal", "lenient_streams"]


class Terminal(Console):
    """A console that falls silent when its reader goes away, as ``| head`` does.

    What a command has still to do, such as writing its result, is done all the same.
    """

    def on_broken_pipe(self) -> None:
        """Tell nothing more."""
        self.quiet = True
        _silence(self.file)


@contextmanager
def lenient_streams() -> Iterator[None]:
    """Let standard output and error replace what their encoding lacks, for a whole command.

    A file or a batch job may be of cp1252 or ASCII, and a name of a file may hold bytes that
    are no text. A stream that is missing swallows what it is told.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, io.StringIO())
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:  # Python would complain of it as it ends
                _silence(stream)


def _silence(stream: object) -> None:
    """Let what is still told to a stream go nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
        os.close(nowhere)
