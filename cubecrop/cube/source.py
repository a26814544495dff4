"""Description of one file of an archive, for opening and reading it."""

from __future__ import annotations

from dataclasses import dataclass, field

from cubecrop.schema import Access

__all__ = ["Source", "Stated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What an item states about a file; see `cubecrop.schema.Asset`. None = not stated.

    ``footprint`` is the item's (west, south, east, north) in degrees; it is used if the item
    states no bounds of the file.
    """

    crs: str | None = None
    bounds: tuple[float, float, float, float] | None = None
    shape: tuple[int, int] | None = None
    pixel: tuple[float, float] | None = None
    footprint: tuple[float, float, float, float] | None = None
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file, with the names of its item and asset for error messages.

    A file of no item has ``item`` "", and ``asset`` says what it is.
    ``kind`` is a key of `cubecrop.cube.kinds.KINDS`, and ``stated`` is what the item says about
    the file. An opened file is checked against both.
    """

    item: str
    asset: str
    href: str
    nodata: float | None = None
    access: Access = field(default_factory=Access)
    kind: str = ""
    stated: Stated | None = None
