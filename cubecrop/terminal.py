"""Output streams that accept any text, also if they are not Unicode, closed or missing."""

from __future__ import annotations

import io
import os
import sys
import warnings
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from rich.console import Console, ConsoleDimensions

from cubecrop.texts import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Terminal", "lenient_streams", "short_warnings", "silence"]

#: Columns that help and tables are laid out for at least.
_NARROWEST: Final = 40


class Terminal(Console):
    """A console that falls silent when its reader goes away, as ``| head`` does.

    The command still finishes its work, such as writing its result. Text is laid out for 40 columns
    or more, since rich never ends laying out a frame for a single one.
    """

    @property
    def size(self) -> ConsoleDimensions:
        """Columns and rows to lay text out for."""
        width, height = super().size
        return ConsoleDimensions(max(width, _NARROWEST), height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size

    def on_broken_pipe(self) -> None:
        """Print nothing more."""
        self.quiet = True
        silence(self.file)


@contextmanager
def lenient_streams() -> Iterator[None]:
    """Let standard output and error replace characters that their encoding lacks.

    The output of a batch job may be cp1252 or ASCII, and a file name may hold bytes that are
    not text. A missing stream is replaced by one that discards its text. Where text cannot be
    written, as on a full disk, the process ends with one message and exit code 1.
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
            except OSError as error:  # Python would report it at exit
                silence(stream)
                if not isinstance(error, BrokenPipeError):
                    sys.exit(f"error: the output cannot be written: {error.strerror}")


@contextmanager
def short_warnings() -> Iterator[None]:
    """Print each warning as one message while the block runs."""
    before = warnings.formatwarning
    warnings.formatwarning = _warning_text  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.formatwarning = before


def _warning_text(message: Warning | str, *_: object) -> str:
    """The message alone: the line of code that warned means nothing to a user."""
    return f"warning: {printable(message)}\n"


def silence(stream: object) -> None:
    """Discard whatever is still written to a stream."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
        os.close(nowhere)
