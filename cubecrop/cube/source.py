"""One file of an archive, as whatever opens or reads it knows it."""

from __future__ import annotations

from dataclasses import dataclass, field

from cubecrop.schema import Access

__all__ = ["Source", "Stated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What an item states of a file; see `cubecrop.schema.Asset`. None = it does not say.

    ``footprint`` is the item's (west, south, east, north), and stands where it has no bounds.
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
    """One file, with the names to blame when it fails.

    ``kind`` is a key of `cubecrop.cube.kinds.KINDS`, ``stated`` what the item says of the file;
    a file is held against both when it is opened.
    """

    item: str
    asset: str
    href: str
    nodata: float | None = None
    access: Access = field(default_factory=Access)
    kind: str = ""
    stated: Stated | None = None
