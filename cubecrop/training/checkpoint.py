"""Folder of a training: its state after each epoch, and its metrics as a table.

An interrupted training reads its state from there and continues with the same results.
"""

from __future__ import annotations

import csv
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cubecrop.errors import OutputError
from cubecrop.files import new_file
from cubecrop.staging import remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["METRICS", "STATE", "Checkpoint", "metrics_table"]

STATE = "state.pt"
METRICS = "metrics.csv"


class Checkpoint:
    """The folder of one training.

    Parameters
    ----------
    folder : path
        Is created if missing. A folder with another training is refused.
    origin : mapping of str to str
        All that determines a training (samples, settings, seed …). A training continues only
        from a state with the same origin.

    Raises
    ------
    OutputError
        The folder cannot be written, or its state is unreadable or of another training.
    """

    def __init__(self, folder: str | Path, origin: Mapping[str, str]) -> None:
        self.folder = Path(folder)
        self.origin = dict(origin)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.folder} cannot be created: {error}. Pass another folder as `checkpoint`."
            ) from error
        for name in (STATE, METRICS):
            remove_leftovers(self.folder / name)

    def of_member(self, member: int) -> Checkpoint:
        """The folder of one of several trainings that are averaged; the first one's is this."""
        if not member:
            return self
        return Checkpoint(
            self.folder / f"training-{member + 1}", {**self.origin, "training": str(member + 1)}
        )

    def load(self) -> dict[str, Any] | None:
        """The state after the last complete epoch, or None. Executes no code from the file."""
        path = self.folder / STATE
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            origin = dict(state["origin"])
        except (
            RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError,
            zipfile.BadZipFile,
        ) as error:  # fmt: skip
            raise OutputError(
                f"{path} is not the state of a training ({type(error).__name__}). Remove it to "
                "start again."
            ) from error
        differing = sorted(
            key for key in origin.keys() | self.origin if origin.get(key) != self.origin.get(key)
        )
        if differing:
            raise OutputError(
                f"{self.folder} holds a training that differs in {', '.join(differing)}. Use the "
                "same, or pass another folder as `checkpoint`."
            )
        return state

    def save(self, state: Mapping[str, Any], rows: Sequence[Mapping[str, float]]) -> None:
        """Replace the state and the metrics; each file is replaced atomically."""
        buffer = io.BytesIO()
        torch.save({**state, "origin": self.origin}, buffer)
        _replace(self.folder / METRICS, metrics_table(rows).encode())
        _replace(self.folder / STATE, buffer.getvalue())


def metrics_table(rows: Sequence[Mapping[str, float]]) -> str:
    """Metrics of each epoch as CSV; NaN becomes an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["epoch"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: "" if value != value else value for key, value in row.items()} for row in rows
    )
    return text.getvalue()


def _replace(path: Path, content: bytes) -> None:
    with new_file(path, cure="Free some space there.") as part, part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
