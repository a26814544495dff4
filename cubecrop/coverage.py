"""How much of a season a satellite series covers, and whether a model can use it."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import xarray as xr
    from numpy.typing import ArrayLike, NDArray

    from cubecrop.season import Season

__all__ = [
    "SLACK", "Coverage", "acquired_days", "least_demanding", "longest_pause", "shortfalls",
    "weather_gap",
]  # fmt: skip

#: Days by which a series may begin later, end earlier or pause longer than in training: a month,
#: the longest step of a composite.
SLACK: Final = 31
#: A series needs at least this share of training's dates. It is low because the training area may
#: lie under several orbits, and its year may have two satellites. Gaps are checked separately.
_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The dates on which a sensor saw the ground in a season.

    Parameters
    ----------
    first, last : int
        First and last date, days since the first day of the season.
    longest_gap : int
        Most days between neighbouring dates; 0 for a single date. Time before the first and
        after the last date is not a gap.
    dates : int
        Days with an image. For a composite, periods with an image, each at its middle day.
    clear_dates : int, default 0
        In training: the number of dates with a valid pixel that 99 % of the parcels reach.
    gap_start : int, default 0
        The date at which the longest gap begins.
    shown_dates : int, default 0
        In training: the number of dates with a valid pixel that 95 % of the parcels still had in a
        step, after dates were dropped at random. 0 if not known.
    clear_pause : int, default 0
        In training: the longest run of days without a valid date, between the first and the
        last date of the series, that 99 % of the parcels do not exceed. 0 if not known.
    """

    first: int
    last: int
    longest_gap: int
    dates: int
    clear_dates: int = 0
    gap_start: int = 0
    clear_pause: int = 0
    shown_dates: int = 0

    @classmethod
    def of(cls, days: ArrayLike, *, clear_dates: int = 0) -> Coverage | None:
        """Coverage of the given days, in any order, with repetitions; None without a day."""
        unique = np.unique(np.asarray(days).astype(np.int64))
        if len(unique) == 0:
            return None
        gaps = np.diff(unique)
        at = int(gaps.argmax()) if len(gaps) else 0
        return cls(
            first=int(unique[0]),
            last=int(unique[-1]),
            longest_gap=int(gaps.max(initial=0)),
            dates=len(unique),
            clear_dates=clear_dates,
            gap_start=int(unique[at]),
        )

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Coverage:
        """Read the result of `to_dict`; other content raises KeyError, TypeError or ValueError."""
        return cls(**{str(key): int(value) for key, value in raw.items()})

    def to_dict(self) -> dict[str, int]:
        """As JSON types; without ``shown_dates`` if they are not known, as in older records."""
        known = asdict(self)
        return known if self.shown_dates else {k: v for k, v in known.items() if k != "shown_dates"}

    def dated(self, season: Season) -> dict[str, str | int]:
        """The coverage with dates instead of days, for metadata of products."""

        def day(number: int) -> str:
            return (season.start + dt.timedelta(days=number)).isoformat()

        return {
            "first": day(self.first),
            "last": day(self.last),
            "longest_gap_days": self.longest_gap,
            "gap_start": day(self.gap_start),
            "dates": self.dates,
        }

    @property
    def least_dates(self) -> int:
        """Valid dates that a parcel or pixel needs: as many as the network learned from.

        Where that is not known, half of those of training parcels.
        """
        return self.shown_dates or max(1, self.clear_dates // 2)

    def is_enough(self, seen: NDArray[np.bool_], days: NDArray[Any]) -> NDArray[np.bool_]:
        """Which parcels or pixels have enough observations for a model with this coverage.

        They need `least_dates` valid dates. Their longest pause may be twice that of training
        parcels, or a month longer if that is more.

        Parameters
        ----------
        seen : numpy.ndarray
            (parcel, time) bool, whether a parcel has a valid observation on a date.
        days : numpy.ndarray
            (time,) days since the season's start.

        Returns
        -------
        numpy.ndarray
            (parcel,) bool.
        """
        enough = np.asarray(seen.sum(axis=1) >= self.least_dates)
        if self.clear_pause:
            longest = max(2 * self.clear_pause, self.clear_pause + SLACK)
            enough &= longest_pause(seen, days, self.first, self.last) <= longest
        return enough


def longest_pause(
    seen: NDArray[np.bool_], days: NDArray[Any], first: int, last: int
) -> NDArray[np.float64]:
    """Longest run of days without a valid date between two days, (parcel,).

    Parameters
    ----------
    seen, days
        As for `Coverage.is_enough`.
    first, last : int
        Days since the season's start.
    """
    if len(days) == 0:
        return np.full(len(seen), float(last - first))
    order = np.argsort(days, kind="stable")
    when = np.maximum(np.asarray(days, dtype=np.float32)[order] - np.float32(first), 0)  # exact
    # All parcels date by date, with products instead of branches: by far the fastest way.
    valid = np.ascontiguousarray(seen.T, dtype=np.float32)[order]
    latest, longest = np.zeros((2, len(seen)), dtype=np.float32)
    for day, there in zip(when, valid, strict=True):
        np.maximum(longest, (day - latest) * there, out=longest)
        np.maximum(latest, day * there, out=latest)
    return np.asarray(np.maximum(longest, np.float32(last - first) - latest), dtype=np.float64)


def acquired_days(node: xr.DataTree | xr.Dataset, season: Season) -> NDArray[np.int64] | None:
    """Days since a season's start on which a satellite child has images.

    Returns
    -------
    numpy.ndarray or None
        (date,) int64, unique; None if the child does not state them, as in a table of samples.
    """
    if "acquisitions" not in node.coords or node.coords["acquisitions"].dims != ("time",):
        return None
    time = node.coords["time"].to_numpy()[node.coords["acquisitions"].to_numpy() > 0]
    days = time.astype("datetime64[D]") - np.datetime64(season.start, "D")
    return np.unique(days.astype(np.int64))


def weather_gap(data: xr.DataTree, sensors: Iterable[str], season: Season) -> str:
    """Describe images that lie more than a month from any day with weather; "" if there are none.

    A store may end in the middle of a season, as the weather of a past or of the running year does.
    """
    known = np.unique(data.children["weather"]["time"].to_numpy().astype("datetime64[D]"))
    far: list[NDArray[np.datetime64]] = []
    for name in sensors:
        if (days := acquired_days(data.children[name], season)) is None:
            images = data.children[name]["time"].to_numpy().astype("datetime64[D]")
        else:
            images = np.datetime64(season.start, "D") + days
        after = np.searchsorted(known, images)
        near = np.full(len(images), False)
        for at in (after - 1, after):
            other = known[np.clip(at, 0, len(known) - 1)] if len(known) else images
            near |= np.abs((images - other).astype(np.int64)) <= SLACK
        far.append(images if len(known) == 0 else images[~near])
    without = np.concatenate(far) if far else np.zeros(0, "datetime64[D]")
    if len(without) == 0:
        return ""
    has = f"has days from {known[0]} to {known[-1]}" if len(known) else "has no day"
    return (
        f"weather {has}, and images from {without.min()} to {without.max()} are more than "
        f"{SLACK} days from it."
    )


def least_demanding(coverages: Iterable[Coverage]) -> Coverage:
    """Combine coverages of several series: for each number, the least demanding one."""
    every = list(coverages)
    widest = max(every, key=lambda coverage: coverage.longest_gap)
    return Coverage(
        first=max(one.first for one in every),
        last=min(one.last for one in every),
        longest_gap=widest.longest_gap,
        gap_start=widest.gap_start,
        dates=min(one.dates for one in every),
        clear_dates=min(one.clear_dates for one in every),
        shown_dates=min(one.shown_dates for one in every),
        clear_pause=(
            max(one.clear_pause for one in every) if all(one.clear_pause for one in every) else 0
        ),
    )


def shortfalls(found: Coverage | None, trained: Coverage) -> list[str]:
    """Describe how a series covers less of its season than in training.

    Returns
    -------
    list of str
        Such as "the last image is 331 days earlier"; empty if it covers enough.
    """
    if found is None:
        return ["there is no image"]
    # The ends of sparse series vary by chance, but a long gap in training must not allow a series
    # to lack a whole summer.
    slack = max(SLACK, min(trained.longest_gap, 2 * SLACK))
    out = []
    if (late := found.first - trained.first) > slack:
        out.append(f"the first image is {late} days later")
    if (early := trained.last - found.last) > slack:
        out.append(f"the last image is {early} days earlier")
    if found.longest_gap > max(2 * trained.longest_gap, trained.longest_gap + SLACK):
        out.append(f"the longest gap is {found.longest_gap - trained.longest_gap} days longer")
    if found.dates < _SHARE * trained.dates:
        out.append(f"there are {found.dates} dates instead of {trained.dates}")
    return out
