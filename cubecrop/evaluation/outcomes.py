"""Outcomes: what a run found, as a file that is whole or not there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from cubecrop.errors import ModelFormatError, ReadError
from cubecrop.evaluation.about import Refusal
from cubecrop.evaluation.predictions import Predictions
from cubecrop.files import new_file
from cubecrop.model import Calibration

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Outcome"]

_CURE: Final = "Choose another folder, `out=` (`--out`)."


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run found.

    Parameters
    ----------
    predictions : Predictions or None
        None if the run was refused, or makes none.
    refusals : tuple of Refusal
        What was refused, and why.
    seconds : float
        Processor seconds.
    calibration : Calibration, optional
        The calibration, of a run that makes one.
    """

    predictions: Predictions | None
    refusals: tuple[Refusal, ...]
    seconds: float
    calibration: Calibration | None = None

    def write(self, folder: Path, key: str) -> None:
        """Write the predictions, then the record that says that they are whole."""
        if self.predictions is not None:
            self.predictions.write(folder / f"{key}.parquet")
        record = {
            "predictions": self.predictions is not None,
            "refusals": [asdict(refusal) for refusal in self.refusals],
            "seconds": self.seconds,
            "calibration": self.calibration and asdict(self.calibration),
        }
        with new_file(folder / f"{key}.json", cure=_CURE) as staging:
            staging.write_text(json.dumps(record), "utf-8")

    @classmethod
    def read(cls, folder: Path, key: str) -> Outcome | None:
        """Read what `write` wrote; None if it is missing or damaged."""
        try:
            record = json.loads((folder / f"{key}.json").read_text("utf-8"))
            found = Predictions.read(folder / f"{key}.parquet") if record["predictions"] else None
            refusals = tuple(Refusal(**raw) for raw in record["refusals"])
            raw = record["calibration"]
            return cls(
                predictions=found, refusals=refusals, seconds=float(record["seconds"]),
                calibration=None if raw is None else Calibration.from_dict(raw),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, ReadError, ModelFormatError):
            return None
