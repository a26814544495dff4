"""A model's record of its training, and season windows in words."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from cubecrop.season import Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["AdaptationRecord", "TrainingRecord", "Window", "read_window", "window_text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """Training data of a model: archives, years, bboxes (degrees), parcels by class, seed.

    ``windows`` and ``composites`` are those of the samples, if these had several. ``validation``
    counts the parcels of each class that chose the epoch (``best_epoch`` of ``epochs``) and
    calibrated the probabilities. ``held_out`` counts those that were only scored.
    """

    archives: tuple[str, ...] = ()
    years: tuple[int, ...] = ()
    bboxes: tuple[tuple[float, float, float, float], ...] = ()
    windows: tuple[Window, ...] = ()
    composites: tuple[str, ...] = ()
    parcels: Mapping[str, int] = field(default_factory=dict)
    validation: Mapping[str, int] = field(default_factory=dict)
    held_out: Mapping[str, int] = field(default_factory=dict)
    never_held_out: tuple[str, ...] = ()
    epochs: int = 0
    best_epoch: int = 0
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> TrainingRecord:
        """Read a record from JSON types."""
        values = dict(raw)
        for key in ("archives", "composites", "never_held_out"):
            values[key] = tuple(map(str, values.get(key, ())))
        values["years"] = tuple(map(int, values["years"]))
        values["windows"] = tuple(map(read_window, values.get("windows", ())))
        values["bboxes"] = tuple(
            (float(west), float(south), float(east), float(north))
            for west, south, east, north in values["bboxes"]
        )
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptationRecord:
    """How a model was changed for a place and year, or why it was not.

    Parameters
    ----------
    method : str
        ``"self-training"`` or ``"fine-tuning"``.
    applied : bool
        False if the check showed harm, so that the network is that of the model before.
    parcels : int
        Parcels of the place and year whose pixels were used.
    labelled : int
        How many of these had a label.
    blocks : tuple of str
        Parts of the source that took the place of the target in the check; empty if none was made.
    tested : tuple of int
        Parcels (block,) that were predicted in the check.
    before, after : tuple of float
        Macro-F1 (block,) without and with the method.
    error : float
        Standard error of the mean difference over the blocks, by a paired bootstrap of the parcels
        within each block.
    """

    method: str
    applied: bool
    parcels: int
    labelled: int = 0
    blocks: tuple[str, ...] = ()
    tested: tuple[int, ...] = ()
    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()
    error: float = 0.0

    @property
    def difference(self) -> float:
        """Mean difference of macro-F1 over the blocks; 0 without a check."""
        return fmean(self.after) - fmean(self.before) if self.blocks else 0.0

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> AdaptationRecord:
        """Read a record from JSON types."""
        values = dict(raw)
        values["blocks"] = tuple(map(str, values["blocks"]))
        for key in ("before", "after"):
            values[key] = tuple(map(float, values[key]))
        # Some files lack the next two.
        values["tested"] = tuple(map(int, values.get("tested", ())))
        values["error"] = float(values.get("error", 0.0))
        return cls(**values)


def read_window(raw: Sequence[Sequence[int]]) -> Window:
    """Read a window from JSON types; TypeError or ValueError if it is not a window."""
    (from_year, from_month, from_day), (to_year, to_month, to_day) = raw
    window = (
        (int(from_year), int(from_month), int(from_day)),
        (int(to_year), int(to_month), int(to_day)),
    )
    for years, month, day in window:
        dt.date(2000 + 4 * years, month, day)  # a leap year, since 29 February is allowed
    return window


def window_text(window: Window) -> str:
    """A window as text: "09-01 of the year -1 to 10-31"."""

    def day(date: tuple[int, int, int]) -> str:
        years, *month_day = date
        year = "" if years == 0 else f" of the year {years:+d}"
        text = "the end of February" if month_day == [2, 29] else "{:02d}-{:02d}".format(*month_day)
        return text + year

    return f"{day(window[0])} to {day(window[1])}"
