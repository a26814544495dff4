"""Parcels of a part of the land, from a file or from the address of a GeoParquet file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import fsspec
import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj

from cubecrop.circle import box_of
from cubecrop.errors import AoiError, ReadError
from cubecrop.texts import place_name
from cubecrop.vector.read import read_vector

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["is_address", "read_part"]

_SCHEMES: Final = ("https", "http", "s3", "gs", "az", "abfs")
#: Bytes that are fetched at least; a row group of parcels has some MB.
_BLOCK: Final = 2**20
Bbox = tuple[float, float, float, float]


def is_address(source: object) -> bool:
    """Whether a text is the address of a file elsewhere, and not a path."""
    return isinstance(source, str) and urlsplit(source).scheme in _SCHEMES


def read_part(
    source: str | Path, *, bbox: Bbox | None = None, columns: Sequence[str] | None = None
) -> gpd.GeoDataFrame:
    """Read the parcels whose inner point lies in a rectangle.

    Of a GeoParquet file with a covering of boxes, such as those of fiboa, only the row groups
    that meet the rectangle are fetched.

    Parameters
    ----------
    source : path or str
        A vector file as for `read_vector`, or the address of a GeoParquet file (https, http, s3,
        gs, az, abfs).
    bbox : tuple, optional
        West, south, east, north in degrees; by default all parcels are read.
    columns : sequence of str, optional
        Columns that are needed beside the geometry; by default all.

    Returns
    -------
    geopandas.GeoDataFrame

    Raises
    ------
    AoiError
        The file is not there, holds no geometries with a CRS, or lacks a column.
    ReadError
        The address does not answer.
    """
    table = _read_address(source, bbox, columns) if is_address(source) else read_vector(source)
    if columns is not None:
        names = [*columns, table.geometry.name]
        if missing := sorted(set(columns) - set(table.columns)):
            raise AoiError(
                f"{source} lacks the columns {missing}; it has {sorted(map(str, table.columns))}."
            )
        table = table[list(dict.fromkeys(names))]
    if bbox is None:
        return table
    if table.crs is None:
        raise AoiError(f"{source} has no CRS; write it again with one.")
    points = gpd.GeoSeries(table.geometry.representative_point(), crs=table.crs)
    inside = points.to_crs("EPSG:4326").intersects(box_of(bbox))
    return table[inside.to_numpy()].reset_index(drop=True)


def _read_address(
    address: str | Path, bbox: Bbox | None, columns: Sequence[str] | None
) -> gpd.GeoDataFrame:
    address = str(address)
    name = place_name(address)  # without passwords and tokens
    try:
        with fsspec.open(address, "rb", block_size=_BLOCK) as file:
            about = pq.ParquetFile(file)
            metadata = about.schema_arrow.metadata or {}
            names = about.schema_arrow.names
            if b"geo" not in metadata:
                raise AoiError(
                    f"{name} is Parquet without geometries; it has the columns {names}. "
                    "Expected GeoParquet."
                )
            if missing := sorted(set(columns or ()) - set(names)):
                raise AoiError(f"{name} lacks the columns {missing}; it has {sorted(names)}.")
            options: dict[str, Any] = {}
            if columns is not None:
                options["columns"] = [*dict.fromkeys([*columns, _geometry_column(metadata)])]
            crosses = bbox is not None and bbox[0] > bbox[2]  # the 180th meridian
            has_boxes = "bbox" in names and b'"covering"' in metadata[b"geo"]
            if bbox is not None and has_boxes and not crosses:
                options["bbox"] = _in_crs(bbox, _crs(metadata))
            file.seek(0)
            return gpd.read_parquet(file, **options)
    except AoiError:
        raise
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError, KeyError) as error:
        raise AoiError(
            f"{name} cannot be read as GeoParquet: {' '.join(str(error).split())}. Other vector "
            "files cannot be read from an address: download the file and name its path."
        ) from error
    except Exception as error:  # each file system raises its own types
        text = " ".join(str(error).replace(address, name).split()) or type(error).__name__
        raise ReadError(
            f"{name} does not answer: {text}. Check the address and the network, or download "
            "the file and name its path."
        ) from error


def _geo(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    found = json.loads(metadata[b"geo"])
    if not isinstance(found, dict):
        raise ValueError("its metadata 'geo' is not an object")
    return found


def _geometry_column(metadata: dict[bytes, bytes]) -> str:
    return str(_geo(metadata)["primary_column"])


def _crs(metadata: dict[bytes, bytes]) -> pyproj.CRS:
    geo = _geo(metadata)
    found = geo["columns"][geo["primary_column"]].get("crs", "OGC:CRS84")
    if found is None:
        raise ValueError("it has no CRS")
    return pyproj.CRS.from_user_input(found)


def _in_crs(bbox: Bbox, crs: pyproj.CRS) -> Bbox:
    """A rectangle of the file's CRS that contains the one in degrees."""
    to_crs = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    found: Bbox = to_crs.transform_bounds(*bbox, densify_pts=21)
    return found
