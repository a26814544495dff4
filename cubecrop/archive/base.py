"""What an archive is, whichever form it has."""

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
    """Where and when an archive has items: a bbox in degrees and an interval, UTC.

    The bbox has west > east where it runs across the 180th meridian.
    """

    bbox: BBox
    start: dt.datetime
    end: dt.datetime

    @property
    def area(self) -> shapely.Geometry:
        """The bbox as a polygon, or as two beside the 180th meridian."""
        return box_of(self.bbox)

    def __str__(self) -> str:
        west, south, east, north = self.bbox
        return f"lon {west:.4f} to {east:.4f}, lat {south:.4f} to {north:.4f}"


@runtime_checkable
class Archive(Protocol):
    """Anything that finds STAC items.

    ``items`` yields items as JSON with absolute hrefs. ``extent`` says where and when the
    given collections have items, None where that is not known.
    """

    @property
    def name(self) -> str:
        """What the archive was opened as."""

    @property
    def provider(self) -> Provider:
        """How its collections and assets are called."""

    def items(
        self, collections: Iterable[str], area: shapely.Geometry, interval: Interval | None
    ) -> Iterator[Mapping[str, Any]]:
        """Items of the collections that meet an area (degrees) and an interval."""

    def extent(self, collections: Iterable[str]) -> Extent | None:
        """Where and when the collections have items."""


def refuse_password(address: str) -> None:
    """Raise where a web address holds a user or a password.

    What was read is named by its address in every cube, map and model made from it.
    """
    parts = urlsplit(address)
    if "@" in parts.netloc:
        raise ArchiveError(
            f"the address at {parts.hostname} holds a user or a password, which would stand in "
            f"every map made from it. Leave them out, and put a line `machine {parts.hostname} "
            "login USER password PASSWORD` in ~/.netrc."
        )
