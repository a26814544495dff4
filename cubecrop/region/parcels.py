"""Parcels of a plan: which tile owns each, and which tiles each touches."""

from __future__ import annotations

import bisect
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from cubecrop.cube.grid import LONGEST_SIDE
from cubecrop.cube.tiles import Tile, TileLattice, utm_codes
from cubecrop.errors import OutputError, ParcelError
from cubecrop.sample import plain_parcels
from cubecrop.sample.ground import points_of
from cubecrop.write.columns import UNWRITABLE, check_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cubecrop.aoi import Aoi
    from cubecrop.cube.tiles import Bounds, Lands

__all__ = [
    "ABSENT", "OWNER", "Pairs", "check_table", "digests_of", "extent_of", "owned", "pairs_of",
    "read_neighbours", "read_pairs", "write_pairs", "write_table",
]  # fmt: skip

#: Columns of plan/parcels.parquet beside those of the input: the tile that owns a parcel, ""
#: if there is none, and then why.
OWNER: Final = "region:owner"
ABSENT: Final = "region:absent"
#: Rows of a row group of the table of pairs.
_ROWS: Final = 4096
#: Why a parcel has no tile.
_NO_PLACE: Final = "no geometry"
_OUTSIDE_ARCHIVE: Final = "outside the archive"
_OUTSIDE_AREA: Final = "outside the area"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Which tiles parcels touch: one row a pair, sorted by tile and parcel.

    ``tiles`` are those that any parcel touches, sorted; ``tile`` (pair,) counts in them, and
    ``parcel`` (pair,) in the input. ``bounds`` (pair, 4) are those of the parcel within the
    tile, metres, snapped to pixels. ``owner`` (parcel,) counts in ``tiles``, -1 for none;
    ``absent`` (parcel,) says why. ``is_whole`` (parcel,) is whether its owner has all of it.
    """

    tiles: tuple[Tile, ...]
    tile: NDArray[np.int64]
    parcel: NDArray[np.int64]
    bounds: NDArray[np.float64]
    owner: NDArray[np.int64]
    absent: NDArray[np.object_]
    is_whole: NDArray[np.bool_]

    def count(self, tile: Tile) -> int:
        """Number of parcels that touch a tile."""
        rows = self.rows_of(tile)
        return int(rows.stop - rows.start)

    def on_edge(self, tile: Tile) -> int:
        """Number of parcels that touch a tile and also others."""
        return int((~self.is_whole[self.parcel[self.rows_of(tile)]]).sum())

    def rows_of(self, tile: Tile) -> slice:
        """Rows of the pairs of a tile."""
        number = bisect.bisect_left(self.tiles, tile)
        if self.tiles[number : number + 1] != (tile,):
            return slice(0, 0)
        low, high = np.searchsorted(self.tile, [number, number + 1])
        return slice(int(low), int(high))


def pairs_of(
    table: gpd.GeoDataFrame,
    area: Aoi,
    lands: Sequence[Lands],
    *,
    within: NDArray[np.bool_],
    side: float,
    resolution: float,
) -> Pairs:
    """Find the owner of each parcel, and the tiles that it touches.

    Parameters
    ----------
    table : geopandas.GeoDataFrame
        Checked parcels.
    area : Aoi
        Parcels count whose representative point it contains.
    lands : sequence of Lands
        Its parts, one a CRS.
    within : numpy.ndarray
        Which parcels (parcel,) lie in the archive.
    side, resolution : float
        Of the tiles and pixels, metres.
    """
    places = plain_parcels(table)
    shapes = places.geometry.to_numpy()
    has_place = ~shapely.is_missing(shapes)
    lon, lat = np.full(len(table), np.nan), np.full(len(table), np.nan)
    kept = np.flatnonzero(has_place & within)
    if len(kept):
        some = places.iloc[kept]
        lonlat = some.geometry.to_crs("EPSG:4326").to_numpy()
        lon[kept], lat[kept] = points_of(some, lonlat, "EPSG:4326")
    lonlat_area = area.lonlat
    shapely.prepare(lonlat_area)
    inside = shapely.intersects_xy(lonlat_area, lon, lat) & np.isfinite(lon)
    absent = np.full(len(table), "", dtype=object)
    absent[~inside] = _OUTSIDE_AREA
    absent[has_place & ~within] = _OUTSIDE_ARCHIVE
    absent[~has_place] = _NO_PLACE

    found = [
        _touching(places, rows, (lon, lat), TileLattice(land.crs, side, resolution))
        for land, rows in _by_land(lon, lat, np.flatnonzero(inside), lands)
        if len(rows)
    ]
    return _joined(found, absent)


def _by_land(
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    rows: NDArray[np.int64],
    lands: Sequence[Lands],
) -> list[tuple[Lands, NDArray[np.int64]]]:
    if len(lands) == 1:
        return [(lands[0], rows)]
    codes = np.array([int(land.crs.removeprefix("EPSG:")) for land in lands])
    of_rows = utm_codes(lon[rows], lat[rows])
    # A point on the area's edge may lie on the meridian of a zone that the area does not meet.
    of_rows = np.where(np.isin(of_rows, codes), of_rows, codes[0])
    return [(land, rows[of_rows == code]) for land, code in zip(lands, codes, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Pairs of one CRS; ``row`` counts in ``rows``, the parcels of that CRS."""

    rows: NDArray[np.int64]
    tiles: list[Tile]
    tile: NDArray[np.int64]
    row: NDArray[np.int64]
    bounds: NDArray[np.float64]
    owner: NDArray[np.int64]
    is_whole: NDArray[np.bool_]


def _touching(
    places: gpd.GeoDataFrame,
    rows: NDArray[np.int64],
    lonlat: tuple[NDArray[np.float64], NDArray[np.float64]],
    lattice: TileLattice,
) -> _Found:
    size = lattice.resolution
    shapes = places.geometry.iloc[rows].to_crs(lattice.crs)
    bounds = shapely.bounds(shapes.to_numpy())
    _check_sides(places["id"].iloc[rows], bounds, size)
    points = gpd.GeoSeries(
        gpd.points_from_xy(lonlat[0][rows], lonlat[1][rows]), crs="EPSG:4326"
    ).to_crs(lattice.crs)
    x, y = points.x.to_numpy(), points.y.to_numpy()
    # One pixel more on each side: another version of PROJ may round a corner to the next pixel.
    left, bottom = (np.floor(np.minimum(bounds[:, i], p) / size - 1) * size
                    for i, p in ((0, x), (1, y)))  # fmt: skip
    right, top = (np.ceil(np.maximum(bounds[:, i], p) / size + 1) * size
                  for i, p in ((2, x), (3, y)))  # fmt: skip
    columns = lattice.columns(float(left.min()), float(right.max()))
    lines = lattice.rows(float(bottom.min()), float(top.max()))
    west = np.searchsorted(columns, left, side="right") - 1
    east = np.searchsorted(columns, right, side="left") - 1
    south = np.searchsorted(lines, bottom, side="right") - 1
    north = np.searchsorted(lines, top, side="left") - 1
    width, height = east - west + 1, north - south + 1
    count = width * height
    row = np.repeat(np.arange(len(rows)), count)
    step = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    column, line = west[row] + step % width[row], south[row] + step // width[row]
    cells, tile = np.unique(column * len(lines) + line, return_inverse=True)
    tiles = [
        Tile(lattice.crs, float(columns[c]), float(lines[r]), float(columns[c + 1]),
             float(lines[r + 1]))
        for c, r in (divmod(int(cell), len(lines)) for cell in cells)
    ]  # fmt: skip
    clipped = np.column_stack(
        [
            np.maximum(left[row], columns[column]), np.maximum(bottom[row], lines[line]),
            np.minimum(right[row], columns[column + 1]), np.minimum(top[row], lines[line + 1]),
        ]
    )  # fmt: skip
    # As in `TileLattice.at`: a point on a line belongs to the tile east or south of it.
    own = (np.searchsorted(columns, x, side="right") - 1) * len(lines)
    own += np.searchsorted(lines, y, side="left") - 1
    return _Found(
        rows=rows, tiles=tiles, tile=tile, row=row, bounds=clipped,
        owner=np.searchsorted(cells, own), is_whole=count == 1,
    )  # fmt: skip


def _check_sides(ids: pd.Series[Any], bounds: NDArray[np.float64], resolution: float) -> None:
    """Raise if a parcel is larger than a cube can be."""
    with np.errstate(invalid="ignore"):
        sides = (bounds[:, 2:] - bounds[:, :2]).max(axis=1) / resolution
    far = np.flatnonzero(~(sides <= LONGEST_SIDE))
    if len(far):
        names = ", ".join(repr(ids.iloc[i]) for i in far[:3].tolist())
        raise ParcelError(
            f"{len(far)} parcels have points that are too far apart for one cube (more than "
            f"{LONGEST_SIDE} pixels of {resolution:g} m), such as {names}. Correct their "
            "coordinates, or leave them out."
        )


def _joined(found: Sequence[_Found], absent: NDArray[np.object_]) -> Pairs:
    tiles = sorted(tile for one in found for tile in one.tiles)
    number = {tile: i for i, tile in enumerate(tiles)}
    owner = np.full(len(absent), -1, dtype=np.int64)
    is_whole = np.zeros(len(absent), dtype=bool)
    parts = []
    for one in found:
        renumbered = np.array([number[tile] for tile in one.tiles], dtype=np.int64)
        owner[one.rows] = renumbered[one.owner]
        is_whole[one.rows] = one.is_whole
        parts.append((renumbered[one.tile], one.rows[one.row], one.bounds))
    tile = np.concatenate([part[0] for part in parts] or [np.zeros(0, np.int64)])
    parcel = np.concatenate([part[1] for part in parts] or [np.zeros(0, np.int64)])
    bounds = np.concatenate([part[2] for part in parts] or [np.zeros((0, 4))])
    order = np.lexsort((parcel, tile))
    return Pairs(
        tiles=tuple(tiles), tile=tile[order], parcel=parcel[order], bounds=bounds[order],
        owner=owner, absent=absent, is_whole=is_whole,
    )  # fmt: skip


def digests_of(table: gpd.GeoDataFrame, pairs: Pairs) -> dict[Tile, str]:
    """SHA-256 over number, id and shape of the parcels of each tile."""
    shapes = shapely.to_wkb(table.geometry.to_numpy(), byte_order=1)
    ids = [str(value) for value in table["id"]]
    crs = table.crs.to_wkt()
    digests = {}
    for tile in pairs.tiles:
        total = hashlib.sha256(crs.encode())
        for i in pairs.parcel[pairs.rows_of(tile)].tolist():
            text = f"\n{i} {ids[i]} {pairs.owner[i] >= 0} "
            total.update(text.encode("utf-8", "surrogatepass"))
            total.update(shapes[i])
        digests[tile] = total.hexdigest()
    return digests


def owned(pairs: Pairs) -> dict[Tile, int]:
    """Number of parcels that each tile owns."""
    counts = np.bincount(pairs.owner[pairs.owner >= 0], minlength=len(pairs.tiles))
    return dict(zip(pairs.tiles, counts.tolist(), strict=True))


def extent_of(pairs: Pairs, tile: Tile) -> Bounds | None:
    """Bounding rectangle of the parcels of a tile within it, metres."""
    bounds = pairs.bounds[pairs.rows_of(tile)]
    if len(bounds) == 0:
        return None
    left, bottom = bounds[:, :2].min(axis=0).tolist()
    right, top = bounds[:, 2:].max(axis=0).tolist()
    return left, bottom, right, top


def check_table(table: gpd.GeoDataFrame) -> None:
    """Raise unless a plan can store the columns of a table.

    Raises
    ------
    OutputError
        Parquet cannot hold a column, or a name is one of the plan's.
    """
    if taken := sorted({OWNER, ABSENT} & set(map(str, table.columns))):
        raise OutputError(f"parcels have the columns {taken}, which a plan adds. Rename them.")
    check_columns(table)


def write_table(path: Path, table: gpd.GeoDataFrame, pairs: Pairs) -> None:
    """Write the input with its columns, in its order, and the owners."""
    ids = [tile.id for tile in pairs.tiles]
    owners = [ids[i] if i >= 0 else "" for i in pairs.owner.tolist()]
    whole = table.assign(**{OWNER: owners, ABSENT: pairs.absent})
    whole.attrs = {}
    try:
        whole.to_parquet(path, index=False, compression="zstd", schema_version="1.1.0")
    except UNWRITABLE as error:
        raise OutputError(
            f"{path} cannot be written: {error}. Give each column values of one type."
        ) from error


def write_pairs(path: Path, table: gpd.GeoDataFrame, pairs: Pairs) -> None:
    """Write one row a pair, sorted by tile, for `read_pairs`."""
    ids = np.array([tile.id for tile in pairs.tiles], dtype=object)
    places = plain_parcels(table)
    shapes = places.geometry.to_numpy()
    names = pa.array(places["id"])
    schema = pa.schema(
        [
            ("tile", pa.string()), ("parcel", pa.int64()), ("id", names.type),
            ("geometry", pa.binary()), ("owner", pa.string()), ("is_whole", pa.bool_()),
        ],
        metadata={"crs": table.crs.to_wkt()},
    )  # fmt: skip
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, max(len(pairs.parcel), 1), _ROWS):
            part = slice(start, start + _ROWS)
            parcel = pairs.parcel[part]
            columns: list[Any] = [
                pa.array(ids[pairs.tile[part]], pa.string()),
                pa.array(parcel),
                names.take(pa.array(parcel)),
                pa.array(shapely.to_wkb(shapes[parcel]), pa.binary()),
                pa.array(ids[pairs.owner[parcel]], pa.string()),
                pa.array(pairs.is_whole[parcel]),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def read_pairs(path: Path, tile: Tile) -> gpd.GeoDataFrame:
    """Parcels that a tile owns or that touch it; reads only their row groups."""
    found = pq.read_table(path, filters=[("tile", "==", tile.id)])
    crs = found.schema.metadata[b"crs"].decode()
    table = found.drop_columns(["tile", "geometry"]).to_pandas()
    shapes = shapely.from_wkb(found["geometry"].to_numpy(zero_copy_only=False))
    ordered = pd.DataFrame(table)[["parcel", "id", "owner", "is_whole"]]
    made = gpd.GeoDataFrame(ordered, geometry=gpd.GeoSeries(shapes, crs=crs))
    return made[["parcel", "id", "geometry", "owner", "is_whole"]]


def read_neighbours(path: Path) -> dict[str, tuple[str, ...]]:
    """For each tile that owns parcels across its edges: all tiles that they touch, sorted."""
    pairs = pq.read_table(path, columns=["tile", "owner"], filters=[("is_whole", "==", False)])
    table: pd.DataFrame = pairs.to_pandas().drop_duplicates()
    return {str(owner): tuple(sorted(tiles)) for owner, tiles in table.groupby("owner")["tile"]}
