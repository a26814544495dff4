"""The frozen items of a plan: one stac-geoparquet file, of which a worker reads only its part.

Rows are ordered by archive, collection, place, id and content, so that the file does not depend
on the order of an archive's answers, and items of one place share row groups.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from cubecrop.archive.search_cache import plain_item

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from cubecrop.schema import Scene

__all__ = ["IMAGES", "WEATHER", "FrozenItems", "freeze"]

#: The archives that items come from: that of the images, and another one of the weather.
IMAGES: Final = "images"
WEATHER: Final = "weather"
#: Rows of a row group: about 2 MB of JSON.
_ROWS: Final = 128
#: Column with the whole item as JSON; the columns of stac-geoparquet hold only a part of it.
_RAW: Final = "cubecrop:item"
_ARCHIVE: Final = "cubecrop:archive"
_MODALITY: Final = "cubecrop:modality"
_CONTENT: Final = "cubecrop:content"
_SIZES: Final = "cubecrop:bytes_per_km2"
_INDEX: Final = ["geometry", "datetime", "collection", _ARCHIVE, _MODALITY, _CONTENT, _SIZES]


class _Entry(NamedTuple):
    """Position of an item in the order of the file, and of its JSON in the temporary file."""

    archive: str
    collection: str
    latitude: int
    longitude: int
    name: str
    content: str
    whole: str
    modality: str
    start: str
    end: str
    sizes: str
    footprint: BaseGeometry
    offset: int
    length: int


def freeze(
    path: Path, found: Iterable[tuple[str, Mapping[str, Any], Scene, Mapping[str, float]]]
) -> None:
    """Write items to a file; memory does not grow with their content.

    Parameters
    ----------
    path : pathlib.Path
        File to write.
    found : iterable of tuple
        Archive (`IMAGES` or `WEATHER`), item, its scene, and bytes per km2 by band.
    """
    with tempfile.TemporaryFile(prefix="cubecrop-") as spool:
        entries: dict[tuple[str, str, str, str], _Entry] = {}
        keys: set[str] = set()
        for archive, item, scene, sizes in found:
            content = _content_of(item)
            identity = archive, scene.collection, scene.id, content
            text = json.dumps(item).encode()
            whole = hashlib.sha256(text).hexdigest()
            # Pages of an answer may overlap; of two copies, the choice must not depend on order.
            if identity in entries and entries[identity].whole <= whole:
                continue
            packed = zlib.compress(text, 1)
            west, south, _, _ = scene.bbox
            entries[identity] = _Entry(
                archive, scene.collection, math.floor(south), math.floor(west), scene.id, content,
                whole, scene.modality, scene.start.isoformat(), scene.end.isoformat(),
                json.dumps(dict(sizes)), scene.footprint, spool.tell(), len(packed),
            )  # fmt: skip
            spool.write(packed)
            keys.update(map(str, item["assets"]))
        ordered = [
            entries[identity] for identity in sorted(entries, key=lambda one: entries[one][:6])
        ]
        _write(path, ordered, sorted(keys), spool)


def _write(path: Path, entries: list[_Entry], keys: list[str], spool: Any) -> None:  # noqa: ANN401
    from stac_geoparquet.arrow import to_parquet

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, max(len(entries), 1), _ROWS):
            yield _batch(entries[start : start + _ROWS], keys, spool)

    first = _batch([], keys, spool)
    reader = pa.RecordBatchReader.from_batches(first.schema, batches())
    to_parquet(reader, path, compression="zstd")


def _batch(entries: list[_Entry], keys: list[str], spool: Any) -> pa.RecordBatch:  # noqa: ANN401
    from stac_geoparquet.arrow._api import stac_items_to_arrow

    texts = []
    # The first row has every asset, so that all batches have the same columns; it is left out.
    rows = [_every_column(keys)]
    for entry in entries:
        spool.seek(entry.offset)
        text = zlib.decompress(spool.read(entry.length)).decode()
        row = plain_item(json.loads(text), entry.footprint)
        spans = {"start_datetime": entry.start, "end_datetime": entry.end}
        row["properties"] |= {"datetime": entry.start, **spans}
        rows.append(row)
        texts.append(text)
    columns = stac_items_to_arrow(rows).slice(1)
    for name, values in (
        (_ARCHIVE, [entry.archive for entry in entries]),
        (_MODALITY, [entry.modality for entry in entries]),
        (_CONTENT, [entry.content for entry in entries]),
        (_SIZES, [entry.sizes for entry in entries]),
        (_RAW, texts),
    ):
        columns = columns.append_column(name, pa.array(values, pa.string()))
    return columns


def _every_column(keys: list[str]) -> dict[str, Any]:
    moment = "2000-01-01T00:00:00Z"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "",
        "collection": "",
        "geometry": {"type": "Point", "coordinates": [0.0, 0.0]},
        "bbox": [0.0, 0.0, 0.0, 0.0],
        "properties": {
            "datetime": moment, "start_datetime": moment, "end_datetime": moment,
            "platform": "", "eo:cloud_cover": 0.0,
        },
        "links": [],
        "assets": {key: {"href": ""} for key in keys},
    }  # fmt: skip


def _content_of(item: Mapping[str, Any]) -> str:
    """SHA-256 of an item without links and signatures, which differ between answers."""
    assets = {
        key: {**asset, "href": str(asset.get("href")).split("?")[0]}
        for key, asset in item["assets"].items()
    }
    text = json.dumps({**item, "links": None, "assets": assets}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenItems:
    """A file of frozen items: what all of them are, while their JSON stays in the file.

    ``shapes`` are footprints (item,) in degrees, and ``archive``, ``collection``, ``modality``
    and ``content`` (item,) text; ``hours`` (item,) are hours of the acquisitions since 1970, so
    that the images of one pass have the same or the next; ``sizes`` are bytes per km2 by band.
    """

    path: Path
    shapes: NDArray[np.object_]
    archive: NDArray[np.object_]
    collection: NDArray[np.object_]
    modality: NDArray[np.object_]
    content: NDArray[np.object_]
    hours: NDArray[np.int64]
    sizes: tuple[Mapping[str, float], ...]

    @classmethod
    def read(cls, path: Path) -> FrozenItems:
        """Read what `freeze` wrote, without the JSON."""
        table = pq.read_table(path, columns=_INDEX)
        archive, collection, modality, content = (
            table[name].to_numpy(zero_copy_only=False).astype(object)
            for name in (_ARCHIVE, "collection", _MODALITY, _CONTENT)
        )
        known: dict[str, Mapping[str, float]] = {}
        sizes = tuple(
            known.setdefault(text, json.loads(text)) for text in table[_SIZES].to_pylist()
        )
        hours = table["datetime"].to_numpy().astype("datetime64[h]").astype(np.int64)
        wkb = table["geometry"].to_numpy(zero_copy_only=False)
        shapes = np.asarray(shapely.from_wkb(wkb), dtype=object)
        return cls(
            path=path, shapes=shapes, archive=archive, collection=collection, modality=modality,
            content=content, hours=hours, sizes=sizes,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def digest(self) -> str:
        """SHA-256 over all items; it does not depend on their order."""
        return self.digest_of(np.arange(len(self)))

    def digest_of(self, rows: NDArray[np.int64]) -> str:
        """SHA-256 over some of the items; it does not depend on their order."""
        texts = sorted(f"{self.archive[i]} {self.content[i]}" for i in rows.tolist())
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()

    def collections_of(self, modality: str) -> set[str]:
        """Collections of the items of a modality."""
        return set(self.collection[self.modality == modality].tolist())

    def meeting(self, area: BaseGeometry) -> dict[str, list[Mapping[str, Any]]]:
        """Items that meet an area in degrees, by archive; reads only their row groups."""
        shapely.prepare(area)
        rows = np.flatnonzero(shapely.intersects(area, self.shapes))
        found: dict[str, list[Mapping[str, Any]]] = {IMAGES: [], WEATHER: []}
        with pq.ParquetFile(self.path) as file:
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            ends = np.cumsum(sizes)
            groups = np.searchsorted(ends, rows, side="right")
            for group in np.unique(groups).tolist():
                texts = file.read_row_group(group, columns=[_RAW])[_RAW]
                start = int(ends[group] - sizes[group])
                for row in rows[groups == group].tolist():
                    item = json.loads(texts[row - start].as_py())
                    found[self.archive[row]].append(item)
        return found
