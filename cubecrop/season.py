"""Harvest years and their dates."""

from __future__ import annotations

import calendar
import datetime as dt
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cubecrop.display import day_text, html_table
from cubecrop.errors import SchemaError, SeasonError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Hemisphere", "Season", "Window", "windows_alike"]

Hemisphere = Literal["north", "south"]
#: First and last day as (years from the harvest year, month, day); 29 February means the last
#: day of February in any year.
Window = tuple[tuple[int, int, int], tuple[int, int, int]]

# (years before the harvest year, month, day). Winter crops are sown from September in
# the north; maize and sugar beet leave the field in October. South is half a year earlier.
_WINDOWS: dict[Hemisphere, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "north": ((1, 9, 1), (0, 10, 31)),
    "south": ((1, 3, 1), (0, 4, 30)),
}


@dataclass(frozen=True, slots=True)
class Season:
    """The dates whose images show the crop of one harvest year.

    Parameters
    ----------
    year : int
        Harvest year, 1982 to 2100.
    start, end : datetime.date, optional
        First and last day, both included. By default 1 September of the year before to
        31 October north of the equator, and 1 March of the year before to 30 April south of it.
    hemisphere : {"north", "south"}, default "north"
        Which default window applies.

    Raises
    ------
    SeasonError
        The year is out of range, or the season ends before it starts.

    Examples
    --------
    >>> Season(2018).start, Season(2018).end
    (datetime.date(2017, 9, 1), datetime.date(2018, 10, 31))
    """

    year: int
    start: dt.date = field(default=None, kw_only=True)  # type: ignore[assignment]
    end: dt.date = field(default=None, kw_only=True)  # type: ignore[assignment]
    hemisphere: Hemisphere = field(default="north", kw_only=True)

    def __post_init__(self) -> None:
        try:
            if isinstance(self.year, bool):
                raise TypeError
            object.__setattr__(self, "year", operator.index(self.year))
        except TypeError:
            raise SeasonError(f"harvest year is {self.year!r}, expected a whole number.") from None
        if not 1982 <= self.year <= 2100:
            raise SeasonError(
                f"harvest year is {self.year!r}, expected one from 1982 to 2100, as in "
                "`Season(2018)`."
            )
        if not isinstance(self.hemisphere, str) or self.hemisphere not in _WINDOWS:
            raise SeasonError(f"hemisphere is {self.hemisphere!r}, expected 'north' or 'south'.")
        for name, default in zip(("start", "end"), _WINDOWS[self.hemisphere], strict=True):
            given = getattr(self, name)
            if given is None:
                before, month, day = default
                object.__setattr__(self, name, dt.date(self.year - before, month, day))
            elif not isinstance(given, dt.date) or isinstance(given, dt.datetime):
                raise SeasonError(f"season {name} is {given!r}, expected a datetime.date.")
        if self.start >= self.end:
            raise SeasonError(
                f"season starts on {self.start} and ends on {self.end}; swap `start` and `end`."
            )

    @property
    def window(self) -> Window:
        """First and last day as (years from the harvest year, month, day).

        Two seasons of different years with the same window have comparable satellite series. The
        last day of February is given as the 29th in any year.
        """
        return self._from_harvest(self.start), self._from_harvest(self.end)

    def _from_harvest(self, day: dt.date) -> tuple[int, int, int]:
        ends_february = day.month == 2 and (day + dt.timedelta(days=1)).month == 3
        return day.year - self.year, day.month, 29 if ends_february else day.day

    def with_window(self, window: Window) -> Season:
        """The same year's season in a `window`; 29 February is the last day of that month."""
        try:
            start, end = (
                dt.date(year, month, min(day, calendar.monthrange(year, month)[1]))
                for year, month, day in ((self.year + away, *rest) for away, *rest in window)
            )
        except (TypeError, ValueError) as error:
            raise SeasonError(
                f"season window is {window!r}, expected two days as (years from the harvest year, "
                "month, day), as in `Season(2018).window`."
            ) from error
        return Season(self.year, start=start, end=end, hemisphere=self.hemisphere)

    @property
    def attrs(self) -> dict[str, int | str]:
        """Attributes of the season for a cube or pixel sets."""
        return {
            "season_year": self.year,
            "season_start": self.start.isoformat(),
            "season_end": self.end.isoformat(),
        }

    @classmethod
    def from_attrs(cls, attrs: Mapping[Any, Any]) -> Season:
        """Read the season of a cube, pixel sets or a map from their attributes.

        Parameters
        ----------
        attrs : mapping
            ``season_year``, ``season_start`` and ``season_end``, as `attrs` gives them.

        Raises
        ------
        SchemaError
            One of them is missing, or together they are not a season.
        """
        try:
            year, start, end = (attrs[f"season_{part}"] for part in ("year", "start", "end"))
        except KeyError as error:
            raise SchemaError(
                f"there is no attribute {error}, so the season is unknown. Make the cube with "
                "`cubecrop.open_season(...)`, or set season_year, season_start and season_end."
            ) from error
        try:
            days = dt.date.fromisoformat(start), dt.date.fromisoformat(end)
            return cls(int(year), start=days[0], end=days[1])
        except (TypeError, ValueError) as error:
            raise SchemaError(
                f"attributes give season {year!r} from {start!r} to {end!r}, expected a harvest "
                f"year and two dates as YYYY-MM-DD ({error}). Make the cube with "
                "`cubecrop.open_season(...)`, or set them."
            ) from error

    @property
    def n_days(self) -> int:
        """Length in days, both ends included."""
        return (self.end - self.start).days + 1

    def _repr_html_(self) -> str:
        days = [day_text(day.month, day.day) + f" {day.year}" for day in (self.start, self.end)]
        rows = [("from", days[0]), ("to", days[1]), ("days", str(self.n_days))]
        return html_table(f"Season {self.year}", rows)

    def __str__(self) -> str:
        return f"{self.year} ({self.start} to {self.end})"


def windows_alike(one: Window, other: Window) -> bool:
    """Whether two windows are the same, apart from 28 and 29 February.

    A window with 28 February may come from a year without a 29th.
    """
    return _without_leap_day(one) == _without_leap_day(other)


def _without_leap_day(window: Window) -> Window:
    start, end = (
        (years, month, 28 if (month, day) == (2, 29) else day) for years, month, day in window
    )
    return start, end
