"""What a model remembers of its training, and season windows in words."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cubecrop.season import Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["TrainingRecord", "Window", "read_window", "window_text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """What a model learned from: archives, years, bboxes (degrees), parcels by class, seed.

    ``windows`` and ``composites`` are those of the samples, where these were of several.
    ``validation`` are parcels by class that chose the epoch (``best_epoch`` of ``epochs``) and
    calibrated the model, ``held_out`` those that were only scored.
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


def read_window(raw: Sequence[Sequence[int]]) -> Window:
    """A window from JSON types; TypeError or ValueError where it is none."""
    (from_year, from_month, from_day), (to_year, to_month, to_day) = raw
    window = (
        (int(from_year), int(from_month), int(from_day)),
        (int(to_year), int(to_month), int(to_day)),
    )
    for years, month, day in window:
        dt.date(2000 + 4 * years, month, day)  # of leap years: 29 February is every year's last
    return window


def window_text(window: Window) -> str:
    """A window for people: "09-01 of the year -1 to 10-31"."""

    def day(one: tuple[int, int, int]) -> str:
        year = "" if one[0] == 0 else f" of the year {one[0]:+d}"
        known = "the end of February" if one[1:] == (2, 29) else f"{one[1]:02d}-{one[2]:02d}"
        return known + year

    return f"{day(window[0])} to {day(window[1])}"
