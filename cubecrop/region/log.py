"""The log of a run: one line an event, readable while the run goes on."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from cubecrop.errors import OutputError
from cubecrop.texts import one_line

if TYPE_CHECKING:
    from types import TracebackType

    from cubecrop.region.output import Output

__all__ = ["RunLog"]

_FILE: Final = "run.log"
#: Longest line, in characters.
_LENGTH: Final = 2_000


class RunLog:
    """Appends lines to ``run.log``; a storage without appending gets all lines at the end."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._lines: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.line(f"ended by {type(error).__name__}: {error}")
        if self._output.folder is None and self._lines:
            with suppress(OutputError):  # the log must not hide the error that ends the run
                before = b""
                with suppress(FileNotFoundError):
                    before = self._output.read_bytes(_FILE)
                self._output.write_bytes(_FILE, before + "".join(self._lines).encode())

    def line(self, text: str) -> None:
        """Add a line with the time."""
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
        line = f"{now} {one_line(text, length=_LENGTH)}\n"
        if self._output.folder is None:
            self._lines.append(line)
            return
        # A full disk must not end a run; its tiles say so themselves.
        with suppress(OSError), (self._output.folder / _FILE).open("a", encoding="utf-8") as file:
            file.write(line)
