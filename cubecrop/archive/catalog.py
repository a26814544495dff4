"""Archives: a folder with a static STAC catalog, an ItemCollection file, or a STAC API."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

import pystac
import pystac.stac_io
import shapely

from cubecrop.archive.items import footprint_of, span_of
from cubecrop.archive.providers import LOCAL, Provider
from cubecrop.errors import ArchiveError, UnsupportedItemError

__all__ = ["Archive", "Extent", "FileArchive", "StacApiArchive", "open_archive"]

#: What pystac raises at JSON that is not STAC.
_MALFORMED = (
    pystac.STACError, pystac.STACTypeError, ValueError, LookupError, TypeError, AttributeError,
)  # fmt: skip
#: Hosts that are this machine.
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}

Interval = tuple[dt.datetime, dt.datetime]


@dataclass(frozen=True, slots=True)
class Extent:
    """Where and when an archive has items: a bbox in degrees and an interval, UTC."""

    bbox: tuple[float, float, float, float]
    start: dt.datetime
    end: dt.datetime


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


def open_archive(source: str | Path | Archive) -> Archive:
    """Open an archive of satellite images.

    Parameters
    ----------
    source : str, Path or Archive
        A folder with a static STAC catalog (``catalog.json``), an ItemCollection or
        catalog file, or the URL of a STAC API. An Archive comes back as it is.

    Returns
    -------
    Archive

    Raises
    ------
    ArchiveError
        Nothing is there, or what is there is not STAC.
    """
    if not isinstance(source, str | Path):
        if isinstance(source, Archive):
            return source
        raise ArchiveError(
            f"archive is a {type(source).__name__}, expected a folder, a file or a URL."
        )
    if urlsplit(str(source)).scheme in {"http", "https"}:
        return StacApiArchive(str(source))
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / "catalog.json"
    if not path.is_file():
        raise ArchiveError(
            f"no archive at {source}: expected a folder with catalog.json, an ItemCollection "
            "file, or the URL of a STAC API. `cubecrop demo` makes an archive to try."
        )
    return FileArchive.read(path.resolve(), name=str(source))


@dataclass(frozen=True, slots=True)
class FileArchive:
    """The items of a static catalog or an ItemCollection file, read once.

    No path may leave the folder of the file: a catalogue from a stranger cannot name
    other files of this machine.
    """

    name: str
    records: tuple[Mapping[str, Any], ...] = field(repr=False)
    provider: Provider = LOCAL

    @classmethod
    def read(cls, path: Path, *, name: str) -> FileArchive:
        """Read a catalog, collection or ItemCollection file."""
        reader = _ConfinedIO(path)
        try:
            kind = json.loads(path.read_text(encoding="utf-8")).get("type")
            if kind == "FeatureCollection":
                items = list(pystac.ItemCollection.from_file(str(path)).items)
                for item in items:
                    item.set_self_href(str(path.parent / f"{item.id}.json"))
            elif kind in {"Catalog", "Collection"}:
                form = pystac.Catalog if kind == "Catalog" else pystac.Collection
                catalog = form.from_file(str(path), stac_io=reader)
                # A collection opened alone is its own root: what stands above is not asked.
                catalog.clear_links("root")
                catalog.set_root(catalog)
                items = list(catalog.get_items(recursive=True))
            else:
                raise ArchiveError(
                    f"{path} has type {kind!r}, expected a STAC Catalog, Collection or "
                    "FeatureCollection."
                )
            records = tuple(_record(item, path, kind) for item in items)
        except ArchiveError:
            raise
        except (*_MALFORMED, OSError) as error:
            if isinstance(error.__cause__, ArchiveError):  # ours, in pystac's wrapping
                raise error.__cause__ from None
            raise ArchiveError(
                f"{reader.latest} cannot be read as STAC: {type(error).__name__}: {error}"
            ) from error
        return cls(name, records)

    def items(
        self, collections: Iterable[str], area: shapely.Geometry, interval: Interval | None
    ) -> Iterator[Mapping[str, Any]]:
        """Items of the collections that meet an area (degrees) and an interval."""
        wanted = set(collections)
        for item in self.records:
            if item.get("collection") not in wanted:
                continue
            if interval is not None and not _overlaps(span_of(item), interval):
                continue
            if footprint_of(item).intersects(area):
                yield item

    def extent(self, collections: Iterable[str]) -> Extent | None:
        """Where and when the collections have items."""
        wanted = set(collections)
        chosen = [item for item in self.records if item.get("collection") in wanted]
        if not chosen:
            return None
        boxes = [footprint_of(item).bounds for item in chosen]
        spans = [span_of(item) for item in chosen]
        west, south, east, north = zip(*boxes, strict=True)
        return Extent(
            (min(west), min(south), max(east), max(north)),
            min(span[0] for span in spans),
            max(span[1] for span in spans),
        )


@dataclass(frozen=True, slots=True)
class StacApiArchive:
    """A STAC API, searched with pystac-client."""

    name: str
    provider: Provider = LOCAL

    def items(
        self, collections: Iterable[str], area: shapely.Geometry, interval: Interval | None
    ) -> Iterator[Mapping[str, Any]]:
        """Items of the collections that meet an area (degrees) and an interval."""
        client = self._client()
        known = {collection.id for collection in self._ask(lambda: list(client.get_collections()))}
        wanted = [collection for collection in collections if collection in known]
        if not wanted:
            return
        search = client.search(
            collections=wanted, bbox=shapely.bounds(area).tolist(), datetime=interval, limit=250
        )
        found = self._ask(lambda: list(search.items_as_dicts()))
        for item in found:
            if urlsplit(self.name).hostname not in _LOOPBACK:
                _check_on_the_web(item)
            if footprint_of(item).intersects(area):
                yield item

    def extent(self, collections: Iterable[str]) -> Extent | None:
        """Where and when the collections say they have items."""
        wanted = set(collections)
        client = self._client()
        boxes, spans = [], []
        for collection in self._ask(lambda: list(client.get_collections())):
            if collection.id in wanted:
                boxes += [box[:2] + box[-2:] for box in collection.extent.spatial.bboxes]
                spans += collection.extent.temporal.intervals
        if not boxes:
            return None
        west, south, east, north = zip(*boxes, strict=True)
        now = dt.datetime.now(dt.UTC)
        starts = [span[0] or dt.datetime(1970, 1, 1, tzinfo=dt.UTC) for span in spans]
        ends = [span[1] or now for span in spans]
        return Extent(
            (min(west), min(south), max(east), max(north)),
            min(map(_aware, starts)),
            max(map(_aware, ends)),
        )

    def _client(self) -> Any:  # noqa: ANN401 (pystac-client has no public type for its stub)
        import pystac_client

        return self._ask(lambda: pystac_client.Client.open(self.name, timeout=30))

    def _ask(self, call: Any) -> Any:  # noqa: ANN401
        import pystac_client.exceptions
        import requests

        try:
            return call()
        except (
            pystac.STACError,
            pystac_client.exceptions.APIError,
            requests.RequestException,
            OSError,
            ValueError,
        ) as error:
            raise ArchiveError(
                f"the STAC API at {self.name} did not answer as one: "
                f"{type(error).__name__}: {error}"
            ) from error


class _ConfinedIO(pystac.stac_io.DefaultStacIO):
    """Reads files in the folder of a catalog and nothing else; ``latest`` is the last one."""

    def __init__(self, catalog: Path) -> None:
        super().__init__()
        self.folder = catalog.parent
        self.latest = str(catalog)

    def read_text_from_href(self, href: str) -> str:
        self.latest = _confine(href, self.folder, "the catalog links to")
        return super().read_text_from_href(href)


def _confine(href: str, folder: Path, what: str) -> str:
    """Absolute path of a local href, which must lie below a folder; web addresses pass."""
    parts = urlsplit(href)
    if parts.scheme in {"http", "https", "s3"}:
        return href
    if parts.scheme not in {"", "file"}:
        raise ArchiveError(f"{what} {href!r}, expected a path or an http, https or s3 address.")
    path = Path(unquote(parts.path) if parts.scheme else href).resolve()
    if not path.is_relative_to(folder):
        raise ArchiveError(
            f"{what} {href!r}, which lies outside the archive's folder {folder}. Move the file "
            "into the folder, or put the catalog above it."
        )
    return str(path)


def _check_on_the_web(item: Mapping[str, Any]) -> None:
    """Raise where an item from another machine names a file of this one."""
    assets = item.get("assets")
    for key, asset in assets.items() if isinstance(assets, Mapping) else ():
        href = str(asset.get("href", "")) if isinstance(asset, Mapping) else ""
        if href and not href.startswith(("http://", "https://", "s3://")):
            raise UnsupportedItemError(
                f"asset {key!r} of item {str(item.get('id'))!r} has href {href!r}, expected an "
                "http, https or s3 address from an API of another machine."
            )


def _record(item: pystac.Item, source: Path, kind: str) -> Mapping[str, Any]:
    """An item as JSON with absolute, confined hrefs and a self link where it has a file."""
    item.make_asset_hrefs_absolute()
    record = item.to_dict(include_self_link=kind != "FeatureCollection", transform_hrefs=False)
    for key, asset in record["assets"].items():
        asset["href"] = _confine(
            asset["href"], source.parent, f"asset {key!r} of item {item.id!r} points to"
        )
    return record


def _overlaps(span: Interval, interval: Interval) -> bool:
    return span[0] <= interval[1] and span[1] >= interval[0]


def _aware(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
