"""Archives: a folder with a static STAC catalog, an ItemCollection file, or a STAC API."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pystac
import pystac.stac_io
import shapely

from cubecrop.archive.api import MALFORMED, StacApiArchive
from cubecrop.archive.base import Archive, Extent, Interval
from cubecrop.archive.extent import collection_of, footprint_of, lighter, span_of
from cubecrop.archive.providers import LOCAL, PROVIDERS, Provider, provider_at, tell_provider
from cubecrop.archive.search_cache import CachedArchive
from cubecrop.checks import check_folder
from cubecrop.circle import bbox_around, bbox_of
from cubecrop.display import listed, plain
from cubecrop.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Archive", "Extent", "FileArchive", "StacApiArchive", "open_archive"]


def open_archive(
    source: str | Path | Archive,
    *,
    provider: str | None = None,
    collections: Iterable[str] | None = None,
    cache: str | Path | None = None,
) -> Archive:
    """Open an archive of satellite images.

    Parameters
    ----------
    source : str, Path or Archive
        ``planetary-computer``, ``earth-search`` or ``cdse``; the URL of a STAC API; a folder
        with a static STAC catalog (``catalog.json``), or an ItemCollection or catalog file.
        An Archive is returned unchanged.
    provider : str, optional
        The provider whose naming the items follow. A mirror needs it if neither its URL nor
        its items name the provider.
    collections : iterable of str, optional
        The only collections of the provider to search. By default the best collection for
        each acquisition, and all collections of a file or folder.
    cache : path, optional
        Folder that keeps the answers of a STAC API; see `CachedArchive`. A local folder or
        file is always read again.

    Returns
    -------
    Archive

    Raises
    ------
    ArchiveError
        Nothing exists there, or it is not STAC.
    """
    check_folder("cache", cache)
    if not isinstance(source, str | Path):
        archive: Archive = source
        if not isinstance(source, Archive):
            raise ArchiveError(
                f"archive is a {type(source).__name__}, expected a folder, a file or a URL."
            )
        if provider is not None or collections is not None:
            raise ArchiveError(
                "archive is already open, so provider= and collections= change nothing; pass "
                "them to the call that opens it."
            )
        return _cached(archive, cache)
    if provider is not None and provider not in PROVIDERS:
        raise ArchiveError(f"provider {provider!r} is not known, expected one of {[*PROVIDERS]}.")
    row = PROVIDERS[provider].searching() if provider else None
    url = str(source)
    if isinstance(source, str) and source in PROVIDERS and PROVIDERS[source].url:
        url, row = str(PROVIDERS[source].url), row or PROVIDERS[source]
    if urlsplit(url).scheme in {"http", "https"}:
        row = row or provider_at(url)
        row = row if collections is None else row.searching(collections)
        return _cached(StacApiArchive(url, row), cache)
    opened = _open_file(source, row)
    if collections is None:
        return opened
    return replace(opened, provider=opened.provider.searching(collections))


def _cached(archive: Archive, cache: str | Path | None) -> Archive:
    if cache is None or not isinstance(archive, StacApiArchive):
        return archive
    return CachedArchive(archive, Path(cache).expanduser())


def _open_file(source: str | Path, row: Provider | None) -> FileArchive:
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / "catalog.json"
    if not path.is_file():
        names = [name for name, provider in PROVIDERS.items() if provider.url]
        raise ArchiveError(
            f"no archive at {source}: expected a folder with catalog.json, an ItemCollection "
            f"file, the URL of a STAC API, or one of {names}. `cubecrop demo` makes an archive "
            "to try."
        )
    opened = FileArchive.read(path.resolve(), name=str(source))
    return opened if row is None else replace(opened, provider=row)


@dataclass(frozen=True, slots=True)
class FileArchive:
    """The items of a static catalog or an ItemCollection file, read once.

    No path may leave the folder of the file, so that an untrusted catalogue cannot name other
    files of this machine.
    """

    name: str
    records: tuple[Mapping[str, Any], ...] = field(repr=False)
    provider: Provider = LOCAL

    def __repr__(self) -> str:
        counts = Counter(str(item.get("collection")) for item in self.records)
        collections = listed([f"{name} ({n})" for name, n in sorted(counts.items())])
        return (
            f"<FileArchive {plain(self.name)!r} of provider {self.provider.name!r}, "
            f"{len(self.records)} items: {collections or 'none'}>"
        )

    @classmethod
    def read(cls, path: Path, *, name: str) -> FileArchive:
        """Read a catalog, collection or ItemCollection file."""
        reader = _ConfinedIO(path)
        try:
            with warnings.catch_warnings():
                # pystac migrates items to its own version of STAC and warns of fields that it
                # cannot migrate, such as storage tiers; they are not read here.
                warnings.filterwarnings("ignore", category=UserWarning, module=r"pystac\b")
                records = _read_records(path, reader)
        except ArchiveError:
            raise
        except (*MALFORMED, OSError) as error:
            if isinstance(error.__cause__, ArchiveError):  # our error, wrapped by pystac
                raise error.__cause__ from None
            raise ArchiveError(
                f"{reader.latest} cannot be read as STAC: {type(error).__name__}: {error}. Name a "
                "folder with catalog.json, or an ItemCollection file."
            ) from error
        rows = {row.name for row in map(tell_provider, records)}
        row = PROVIDERS[rows.pop()].searching() if len(rows) == 1 else LOCAL
        return cls(name, records, row)

    def items(
        self, collections: Iterable[str], area: shapely.Geometry, interval: Interval | None
    ) -> Iterator[Mapping[str, Any]]:
        """Items of the collections that meet an area (degrees) and an interval."""
        wanted = set(collections)
        shapely.prepare(area)
        for item in self.records:
            if collection_of(item) not in wanted:
                continue
            if interval is not None and not _overlaps(span_of(item), interval):
                continue
            if footprint_of(item).intersects(area):
                yield item

    def extent(self, collections: Iterable[str]) -> Extent | None:
        """The area and interval in which the collections have items."""
        wanted = set(collections)
        chosen = [item for item in self.records if collection_of(item) in wanted]
        if not chosen:
            return None
        spans = [span_of(item) for item in chosen]
        return Extent(
            bbox_around([bbox_of(footprint_of(item)) for item in chosen]),
            min(span[0] for span in spans),
            max(span[1] for span in spans),
        )


def _read_records(path: Path, reader: _ConfinedIO) -> tuple[Mapping[str, Any], ...]:
    kind = json.loads(path.read_text(encoding="utf-8")).get("type")
    if kind == "FeatureCollection":
        items = list(pystac.ItemCollection.from_file(str(path), stac_io=reader).items)
        for item in items:
            if not item.get_self_href():  # asset hrefs are relative to the file's folder
                item.set_self_href(_supposed_href(item, path))
    elif kind in {"Catalog", "Collection"}:
        form = pystac.Catalog if kind == "Catalog" else pystac.Collection
        catalog = form.from_file(str(path), stac_io=reader)
        # A collection opened alone is its own root: catalogs above it are not read.
        catalog.clear_links("root")
        catalog.set_root(catalog)
        items = list(catalog.get_items(recursive=True))
    else:
        raise ArchiveError(
            f"{path} has type {kind!r}, expected a STAC Catalog, Collection or FeatureCollection."
        )
    return tuple(_record(item, path, kind) for item in items)


class _ConfinedIO(pystac.stac_io.DefaultStacIO):
    """Reads only files in the folder of a catalog; ``latest`` is the last one."""

    def __init__(self, catalog: Path) -> None:
        super().__init__()
        self.folder = catalog.parent
        self.latest = str(catalog)

    def read_text_from_href(self, href: str) -> str:
        self.latest = _confine(href, self.folder, "the catalog links to")
        return super().read_text_from_href(href)

    def json_loads(self, txt: str, *args: Any, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        try:
            return super().json_loads(txt, *args, **options)
        except ValueError:
            # orjson refuses a lone surrogate; a later check names the item that has it.
            content: dict[str, Any] = json.loads(txt)
            return content

    def read_json(self, source: Any, *args: Any, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        return lighter(super().read_json(source, *args, **options))


def _confine(href: str, folder: Path, what: str) -> str:
    """Absolute path of a local href, which must lie below a folder; web addresses stay."""
    parts = urlsplit(href)
    if parts.scheme in {"http", "https", "s3"}:
        return href
    if parts.scheme not in {"", "file"}:
        raise ArchiveError(f"{what} {href!r}, expected a path or an http, https or s3 address.")
    path = Path(unquote(parts.path) if parts.scheme else href).resolve()
    if not path.is_relative_to(folder):
        raise ArchiveError(
            f"{what} {href!r}, which lies outside the archive's folder {folder}. Move the file "
            "into the folder, or move the catalog to a folder above it."
        )
    return str(path)


def _supposed_href(item: pystac.Item, collection: Path) -> str:
    return str(collection.parent / f"{item.id}.json")


def _record(item: pystac.Item, source: Path, kind: str) -> Mapping[str, Any]:
    """An item as JSON with absolute, confined hrefs, and a self link if its address is known."""
    item.make_asset_hrefs_absolute()
    supposed = kind == "FeatureCollection" and item.get_self_href() == _supposed_href(item, source)
    record = item.to_dict(include_self_link=not supposed, transform_hrefs=False)
    for key, asset in record["assets"].items():
        asset["href"] = _confine(
            asset["href"], source.parent, f"asset {key!r} of item {item.id!r} points to"
        )
    return record


def _overlaps(span: Interval, interval: Interval) -> bool:
    return span[0] <= interval[1] and span[1] >= interval[0]
