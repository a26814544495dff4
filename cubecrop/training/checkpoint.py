"""A training's folder: its state after each epoch, and its metrics as a table.

A training that was killed reads its state back and goes on as if nothing had happened.
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
        Made where it is missing. One that holds another training is refused.
    origin : mapping of str to str
        What makes a training what it is (samples, settings, seed …): a training goes on only
        from a state whose origin is the same.

    Raises
    ------
    OutputError
        The folder cannot be written, or holds the state of another training or none at all.
    """

    def __init__(self, folder: str | Path, origin: Mapping[str, str]) -> None:
        self.folder = Path(folder)
        self.origin = dict(origin)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.folder} cannot be made: {error}. Name another folder as checkpoint."
            ) from error
        for name in (STATE, METRICS):
            remove_leftovers(self.folder / name)

    def load(self) -> dict[str, Any] | None:
        """The state after the last whole epoch, None before the first. Executes nothing."""
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
                "start anew."
            ) from error
        differing = sorted(
            key for key in origin.keys() | self.origin if origin.get(key) != self.origin.get(key)
        )
        if differing:
            raise OutputError(
                f"{self.folder} holds a training that differs in {', '.join(differing)}. Go on "
                "with the same, or name another folder as checkpoint."
            )
        return state

    def save(self, state: Mapping[str, Any], rows: Sequence[Mapping[str, float]]) -> None:
        """Replace the state and the metrics, each whole or not at all."""
        buffer = io.BytesIO()
        torch.save({**state, "origin": self.origin}, buffer)
        _replace(self.folder / METRICS, metrics_table(rows).encode())
        _replace(self.folder / STATE, buffer.getvalue())


def metrics_table(rows: Sequence[Mapping[str, float]]) -> str:
    """Metrics of each epoch as CSV; a value that is not known is an empty cell."""
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
