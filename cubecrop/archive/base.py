"""The interface that every archive has."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

from cubecrop.circle import BBox, box_of
from cubecrop.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import shapely

    from cubecrop.archive.providers import Provider

__all__ = ["Archive", "Extent", "Interval", "refuse_password"]

Interval = tuple[dt.datetime, dt.datetime]


@dataclass(frozen=True, slots=True)
class Extent:
    """The area and interval of an archive's items: a bbox in degrees and two times in UTC.

    A bbox across the 180th meridian has west > east.
    """

    bbox: BBox
    start: dt.datetime
    end: dt.datetime

    @property
    def area(self) -> shapely.Geometry:
        """The bbox as a polygon, or as two polygons if it crosses the 180th meridian."""
        return box_of(self.bbox)

    def __str__(self) -> str:
        west, south, east, north = self.bbox
        return f"lon {west:.4f} to {east:.4f}, lat {south:.4f} to {north:.4f}"


@runtime_checkable
class Archive(Protocol):
    """Anything that finds STAC items.

    ``items`` yields items as JSON with absolute hrefs. ``extent`` gives the area and interval
    of the given collections, or None if it is not known.
    """

    @property
    def name(self) -> str:
        """The name or address that the archive was opened with."""

    @property
    def provider(self) -> Provider:
        """The names of its collections and assets."""

    def items(
        self, collections: Iterable[str], area: shapely.Geometry, interval: Interval | None
    ) -> Iterator[Mapping[str, Any]]:
        """Items of the collections that meet an area (degrees) and an interval."""

    def extent(self, collections: Iterable[str]) -> Extent | None:
        """The area and interval in which the collections have items."""


def refuse_password(address: str) -> None:
    """Raise if a web address holds a user name or a password.

    Every cube, map and model names the address of the data that it was made from.
    """
    parts = urlsplit(address)
    if "@" in parts.netloc:
        raise ArchiveError(
            f"the address at {parts.hostname} holds a user name or a password, and every map made "
            f"from it would show them. Leave them out, and put the line `machine {parts.hostname} "
            "login USER password PASSWORD` in ~/.netrc."
        )
