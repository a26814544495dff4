"""A large table of parcels as GeoParquet, sorted by place, a few rows in memory at a time.

The table stays in Arrow, as geometries in Python would take several times its memory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyproj
import shapely

from cubecrop.classification import declared_names
from cubecrop.shapes import has_place, plain_shapes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Measures", "along_curve", "measure", "write_sorted"]

#: Rows of a row group: enough for compression, few enough to read only a neighbourhood.
_ROWS: Final = 10_000
#: Geometries in memory at a time.
_BATCH: Final = 50_000
#: An equal-area projection of the whole Earth.
_EQUAL_AREA: Final = "EPSG:6933"
_SQUARE_METRES: Final = 10_000
_BBOX: Final = "bbox"
_SIDES: Final = ("xmin", "ymin", "xmax", "ymax")
_BOX: Final = pa.struct([(side, pa.float64()) for side in _SIDES])
_VERSION: Final = "1.1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Bounds (parcel, 4) in the table's CRS, NaN without a place, and hectares (parcel)."""

    bounds: NDArray[np.float64]
    hectares: NDArray[np.float64]

    @property
    def placed(self) -> NDArray[np.bool_]:
        """Which parcels have a place."""
        return np.asarray(np.isfinite(self.bounds).all(axis=1))


def measure(parcels: pa.Table) -> Measures:
    """Measure the geometries of a GeoParquet table."""
    name, about = _geometry(parcels.schema)
    crs = pyproj.CRS.from_json_dict(about["crs"]) if "crs" in about else "OGC:CRS84"
    bounds, hectares = [], []
    for start in range(0, len(parcels), _BATCH):
        shapes = shapely.from_wkb(parcels[name].slice(start, _BATCH).to_numpy())
        placed = has_place(shapes)
        box = shapely.bounds(shapes)
        box[~placed] = np.nan
        bounds.append(box)
        flat = gpd.GeoSeries(plain_shapes(shapes), crs=crs)
        area = flat.to_crs(_EQUAL_AREA).area.to_numpy() / _SQUARE_METRES
        hectares.append(np.where(np.isfinite(area), area, 0.0))
    return Measures(
        bounds=np.concatenate(bounds) if bounds else np.zeros((0, 4)),
        hectares=np.concatenate(hectares) if hectares else np.zeros(0),
    )


def along_curve(measures: Measures, *, owned: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Order along a Hilbert curve; parcels outside the area, then those without a place, last."""
    placed = measures.placed
    west, south, east, north = measures.bounds.T
    middle = gpd.GeoSeries(shapely.points((west + east) / 2, (south + north) / 2))
    distance = np.zeros(len(placed), dtype=np.int64)
    for group in (placed & owned, placed & ~owned):
        if group.any():  # a far parcel would coarsen the curve of the others
            distance[group] = middle[group].hilbert_distance().to_numpy()
    return np.lexsort((distance, ~owned, ~placed))


def write_sorted(
    path: Path,
    parcels: pa.Table,
    found: pa.Table,
    *,
    rows: NDArray[np.int64],
    reasons: NDArray[np.object_],
    measures: Measures,
    order: NDArray[np.int64],
    attrs: Mapping[str, str],
) -> None:
    """Write parcels with their results as GeoParquet 1.1 with the bounds of each parcel.

    Parameters
    ----------
    path : pathlib.Path
        File to write.
    parcels : pyarrow.Table
        A GeoParquet table as read. Columns that results would overwrite, and ``bbox``, get the
        prefix ``declared:``.
    found : pyarrow.Table
        Results, with ``status``.
    rows : numpy.ndarray
        Row (parcel) of each parcel in ``found``; -1 for none.
    reasons : numpy.ndarray
        Status (parcel) of a parcel without a result.
    measures : Measures
        Bounds of the parcels.
    order : numpy.ndarray
        Parcels in the order of the file.
    attrs : mapping
        Metadata, which geopandas reads as ``attrs``.
    """
    new = declared_names(parcels.column_names, [*found.column_names, _BBOX])
    metadata = _metadata(parcels.schema, new, attrs)
    parcels = parcels.rename_columns([new.get(name, name) for name in parcels.column_names])
    parcels = parcels.combine_chunks()  # taking rows from many chunks is slow
    schema = pa.schema([*parcels.schema, *found.schema, pa.field(_BBOX, _BOX)], metadata=metadata)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, max(len(order), 1), _ROWS):
            chosen = order[start : start + _ROWS]
            results = _results(found, rows[chosen], reasons[chosen])
            columns = [*parcels.take(pa.array(chosen)).columns, *results.columns]
            columns.append(_boxes(measures.bounds[chosen]))
            writer.write_table(pa.table(columns, schema=schema), row_group_size=_ROWS)


def _results(found: pa.Table, rows: NDArray[np.int64], reasons: NDArray[np.object_]) -> pa.Table:
    """Results of some parcels: nulls, and a status that says why, for those without one."""
    taken = found.take(pa.array(rows, mask=rows < 0))
    place = taken.column_names.index("status")
    status = pc.coalesce(taken["status"], pa.array(reasons, taken["status"].type))
    return taken.set_column(place, found.schema.field("status"), status)


def _boxes(bounds: NDArray[np.float64]) -> pa.StructArray:
    missing = ~np.isfinite(bounds).all(axis=1)
    sides = [pa.array(side) for side in np.where(missing, 0.0, bounds.T)]
    return pa.StructArray.from_arrays(sides, fields=list(_BOX), mask=pa.array(missing))


def _geometry(schema: pa.Schema) -> tuple[str, dict[str, Any]]:
    """Name of the geometry of a GeoParquet table, and what the file says about it."""
    about = json.loads(schema.metadata[b"geo"])
    name = about["primary_column"]
    return name, about["columns"][name]


def _metadata(
    schema: pa.Schema, new: Mapping[str, str], attrs: Mapping[str, str]
) -> dict[str, str]:
    """Metadata of GeoParquet that tell readers about the bounds of each parcel."""
    about = json.loads(schema.metadata[b"geo"])
    columns = {new.get(name, name): one for name, one in about["columns"].items()}
    primary = new.get(about["primary_column"], about["primary_column"])
    columns[primary]["covering"] = {_BBOX: {side: [_BBOX, side] for side in _SIDES}}
    geo = {**about, "version": _VERSION, "primary_column": primary, "columns": columns}
    return {"geo": json.dumps(geo), "PANDAS_ATTRS": json.dumps(dict(attrs))}
