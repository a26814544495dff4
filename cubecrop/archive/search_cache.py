"""Keep answers of STAC APIs on disk, so that a repeated search needs no request."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from cubecrop.archive.base import Extent
from cubecrop.archive.extent import footprint_of
from cubecrop.archive.identity import cloud_cover_of
from cubecrop.circle import bbox_of
from cubecrop.display import plain
from cubecrop.errors import ArchiveError
from cubecrop.files import new_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from shapely.geometry.base import BaseGeometry

    from cubecrop.archive.base import Archive, Interval
    from cubecrop.archive.providers import Provider

__all__ = ["CachedArchive", "plain_item"]

_FORMAT: Final = 1
_CURE: Final = "Name another cache."
#: Column with the complete item as JSON; the other columns hold only a part of it.
_RAW: Final = "item"
_SEAL: Final = b"cubecrop"
#: Items of a day may be published up to this long after it.
_SETTLED: Final = dt.timedelta(days=30)
#: Lifetime of an answer whose interval may still get items.
_FRESH: Final = dt.timedelta(days=1)
#: Properties that other readers of the file may want and that always have the same type.
_DATES: Final = ("datetime", "start_datetime", "end_datetime")


@dataclass(frozen=True, slots=True)
class CachedArchive:
    """An archive whose answers are kept in a folder, one stac-geoparquet file a question.

    A question is the archive's name, collections, area and interval. An answer is valid until
    its file is deleted. Three kinds of answers are valid for one day only: those stored less
    than 30 days after the end of the interval, empty ones, and extents of collections. If the
    server does not answer, an expired answer is used with a warning. A damaged or incomplete
    file is replaced by another request.
    """

    archive: Archive
    folder: Path

    def __repr__(self) -> str:
        return f"<CachedArchive of {self.archive!r}, answers kept in {plain(self.folder)!r}>"

    @property
    def name(self) -> str:
        """Name of the cached archive."""
        return self.archive.name

    @property
    def provider(self) -> Provider:
        """Provider of the cached archive."""
        return self.archive.provider

    def items(
        self, collections: Iterable[str], area: shapely.Geometry, interval: Interval | None
    ) -> Iterator[Mapping[str, Any]]:
        """Items of the collections that meet an area (degrees) and an interval."""
        wanted = sorted(collections)
        path, query = self._question(
            wanted,
            "parquet",
            area=shapely.to_wkb(shapely.normalize(area), hex=True),
            interval=[moment.isoformat() for moment in interval] if interval else None,
        )
        kept = _read(path, query)
        if kept is not None and not _is_stale(kept[1], interval, empty=not kept[0]):
            yield from kept[0]
            return
        try:
            found = list(self.archive.items(wanted, area, interval))
        except ArchiveError as error:
            if kept is None:
                raise
            self._warn(path, kept[1], error)
            found = kept[0]
        else:
            _write(path, found, query)
        yield from found

    def extent(self, collections: Iterable[str]) -> Extent | None:
        """The area and interval in which the collections have items."""
        wanted = sorted(collections)
        path, query = self._question(wanted, "json", extent=True)
        kept = _read_extent(path, query)
        if kept is not None and dt.datetime.now(dt.UTC) - kept[1] <= _FRESH:
            return kept[0]
        try:
            found = self.archive.extent(wanted)
        except ArchiveError as error:
            if kept is None:
                raise
            self._warn(path, kept[1], error)
            return kept[0]
        _write_extent(path, found, query)
        return found

    def _question(
        self, wanted: list[str], suffix: str, **asked: object
    ) -> tuple[Path, dict[str, object]]:
        """The file for the answer to a question, and the question as that file must state it."""
        query = {"format": _FORMAT, "archive": self.name, "collections": wanted, **asked}
        key = hashlib.sha256(json.dumps(query, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{'+'.join(wanted)[:80]}-{key[:32]}.{suffix}", query

    def _warn(self, path: Path, stored: dt.datetime, error: ArchiveError) -> None:
        warnings.warn(
            f"{self.name} does not answer, so the answer of {stored:%Y-%m-%d} in {path} is "
            f"used. It may lack items that were published since ({error}).",
            stacklevel=3,
        )


def _is_stale(stored: dt.datetime, interval: Interval | None, *, empty: bool) -> bool:
    # A collection without dates does not grow, but an empty one may be filled later.
    settled = not empty and (interval is None or stored >= interval[1] + _SETTLED)
    return not settled and dt.datetime.now(dt.UTC) - stored > _FRESH


def _read(
    path: Path, query: Mapping[str, Any]
) -> tuple[list[Mapping[str, Any]], dt.datetime] | None:
    """Items and the time they were stored; None unless the file is complete and intact."""
    try:
        table = pq.read_table(path, columns=[_RAW])
        seal = json.loads(table.schema.metadata[_SEAL])
        texts = table[_RAW].to_pylist()
        if seal["query"] != query or seal["sha256"] != _digest(texts):
            return None
        return [json.loads(text) for text in texts], dt.datetime.fromisoformat(seal["stored"])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def _write(path: Path, items: list[Mapping[str, Any]], query: Mapping[str, Any]) -> None:
    import stac_geoparquet.arrow

    texts = [json.dumps(item) for item in items]
    try:
        # stac-geoparquet cannot make a table without items, so an empty one is made here.
        plain = (
            pa.table(stac_geoparquet.arrow.parse_stac_items_to_arrow(map(plain_item, items)))
            if items
            else pa.table({"id": pa.array([], pa.string())})
        )
    except (pa.ArrowException, LookupError, TypeError, ValueError, AttributeError):
        return  # an item is malformed; `normalise_item` raises and names it
    table = plain.append_column(_RAW, pa.array(texts, pa.string()))
    seal = {
        "query": query,
        "sha256": _digest(texts),
        "stored": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    with new_file(path, cure=_CURE) as part:
        if items:
            stac_geoparquet.arrow.to_parquet(table, part)
        else:
            pq.write_table(table, part)
        # stac-geoparquet replaces the metadata, so ours is added afterwards.
        made = pq.read_table(part)
        known = made.schema.metadata or {}
        pq.write_table(
            made.replace_schema_metadata({**known, _SEAL: json.dumps(seal).encode()}), part
        )


def _read_extent(path: Path, query: Mapping[str, Any]) -> tuple[Extent | None, dt.datetime] | None:
    """An extent (or None) and the time it was stored; None unless the file is intact."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        stored, found = dt.datetime.fromisoformat(kept["stored"]), kept["found"]
        if kept["query"] != query:
            return None
        if found is None:
            return None, stored
        west, south, east, north = map(float, found["bbox"])
        start, end = map(dt.datetime.fromisoformat, found["interval"])
        return Extent((west, south, east, north), start, end), stored
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _write_extent(path: Path, found: Extent | None, query: Mapping[str, Any]) -> None:
    interval = [found.start.isoformat(), found.end.isoformat()] if found else None
    content = {
        "query": query,
        "stored": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "found": {"bbox": found.bbox, "interval": interval} if found else None,
    }
    with new_file(path, cure=_CURE) as part:
        part.write_text(json.dumps(content), encoding="utf-8")


def plain_item(item: Mapping[str, Any], footprint: BaseGeometry | None = None) -> dict[str, Any]:
    """The part of an item that has the same types in all items, for columns of a table."""
    stated = item["properties"]
    footprint = footprint_of(item) if footprint is None else footprint
    return {
        "type": "Feature",
        "stac_version": str(item.get("stac_version", "1.0.0")),
        "id": str(item["id"]),
        "collection": str(item.get("collection")),
        "geometry": shapely.geometry.mapping(footprint),
        "bbox": list(bbox_of(footprint)),
        "properties": {
            **{key: stated[key] for key in _DATES if key in stated},
            "platform": str(stated.get("platform", "")),
            "eo:cloud_cover": cloud_cover_of(item),
        },
        "links": [],
        "assets": {key: {"href": str(asset.get("href"))} for key, asset in item["assets"].items()},
    }


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
