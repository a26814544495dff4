"""Write a parcel table as the only layer of a GeoPackage."""

from __future__ import annotations

import errno
import json
import os
import shutil
from typing import TYPE_CHECKING, Any, Final

import geopandas as gpd
import numpy as np
import pandas as pd

from cubecrop.errors import OutputError
from cubecrop.texts import one_line

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_geopackage", "write_geopackage"]

#: Prefixes that SQLite or the format reserves.
_RESERVED: Final = ("gpkg", "sqlite_", "rtree_")
_LAYER: Final = "parcels"
_SHAPES: Final = "geom"
#: Longest layer name in characters; every program accepts it.
_LENGTH: Final = 100
#: Bytes of a GeoPackage without a row, as GDAL writes it. On a disk with less space, SQLite misses
#: its own tables instead of saying that the disk is full.
_EMPTY: Final = 98_304


def check_geopackage(table: gpd.GeoDataFrame, target: Path) -> None:
    """Raise `OutputError` unless a GeoPackage can hold every column of a table, by name."""
    _storable(table, target)


def write_geopackage(table: gpd.GeoDataFrame, part: Path, *, target: Path) -> None:
    """Write a table to a hidden file that will become a GeoPackage.

    SQLite's journals lie next to it and disappear with the hidden folder.

    Parameters
    ----------
    table : geopandas.GeoDataFrame
        A table with a CRS; its ``attrs`` become metadata of the layer.
    part : pathlib.Path
        The hidden file.
    target : pathlib.Path
        Final path: its stem names the layer, and errors name it.

    Raises
    ------
    OutputError
        A GeoPackage cannot hold a column; the message names it.
    OSError
        The disk is full or fails.
    """
    storable = _storable(table, target)
    names = [str(name) for name in storable.columns]
    metadata = {str(key): value if isinstance(value, str) else json.dumps(value)
            for key, value in table.attrs.items()}  # fmt: skip
    made = part.with_name("made.gpkg")
    try:
        storable.to_file(
            made,
            driver="GPKG",
            engine="pyogrio",
            layer=_layer(target),
            index=False,
            layer_metadata=metadata or None,
            layer_options={
                "FID": _free("fid", names),
                "GEOMETRY_NAME": storable.geometry.name,
            },
        )
        made.replace(part)
    except (RuntimeError, ValueError, OverflowError) as error:
        if fault := _of_the_disk(str(error), made):
            raise fault from error
        raise OutputError(
            f"{target} cannot be written: {error}. Write '{target.stem}.parquet', or give each "
            "column values of one type that a GeoPackage holds: text, numbers, dates."
        ) from error


def _of_the_disk(message: str, made: Path) -> OSError | None:
    """The error of a disk that a message of SQLite is about; None if it is about the values."""
    if "database or disk is full" in message or shutil.disk_usage(made.parent).free < _EMPTY:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return OSError(message) if "disk I/O error" in message else None


def _layer(target: Path) -> str:
    """The name of the layer: the file name without characters that a layer may not have."""
    name = one_line(target.stem, length=_LENGTH)
    for character in "/\\:*?\"<>|'`":
        name = name.replace(character, "_")
    name = name.strip(". ")
    reserved = name.lower().startswith(_RESERVED)
    return f"{_LAYER}_{name}" if reserved else name or _LAYER


def _free(name: str, taken: list[str]) -> str:
    """A name that no column has, whatever the case of its letters."""
    used = {column.casefold() for column in taken}
    while name in used:
        name = f"{name}_"
    return name


def _storable(table: gpd.GeoDataFrame, target: Path) -> gpd.GeoDataFrame:
    """Convert a table to values that a GeoPackage can hold; raise if a column has others."""
    by_folded_name: dict[str, str] = {}
    columns: dict[str, Any] = {}
    for name, values in table.drop(columns=table.geometry.name).items():
        text = str(name)
        if not text.strip():
            raise OutputError(
                f"{target} is a GeoPackage, and a column of the parcels has no name. Name it with "
                "`parcels.rename(columns={...})`."
            )
        if (other := by_folded_name.get(text.casefold())) is not None:
            raise OutputError(
                f"{target} is a GeoPackage, which ignores case: columns {other!r} and {text!r} "
                "would clash. Rename one with `parcels.rename(columns={...})`, or write '.parquet'."
            )
        by_folded_name[text.casefold()] = text
        columns[text] = _column(text, values, target).array
    shapes = _free(_SHAPES, list(columns))
    frame = pd.DataFrame(columns, index=range(len(table)))
    frame[shapes] = table.geometry.array
    return gpd.GeoDataFrame(frame, geometry=shapes)


def _column(name: str, values: pd.Series[Any], target: Path) -> pd.Series[Any]:
    """Convert a column to a type of the format; nested values become JSON."""
    kind = values.dtype
    if pd.api.types.is_object_dtype(kind):
        return values.map(_plain_value, na_action="ignore")
    if kind == np.float16:
        return values.astype(np.float32)
    if pd.api.types.is_unsigned_integer_dtype(kind) and kind != np.uint8:
        if values.max() <= np.iinfo(np.int64).max:
            return values.astype("Int64" if values.hasnans else np.int64)
    elif not (
        pd.api.types.is_timedelta64_dtype(kind)
        or pd.api.types.is_complex_dtype(kind)
        or str(kind) == "geometry"
    ):
        return values
    raise OutputError(
        f"{target} is a GeoPackage, which cannot hold column {name!r} of type {kind}. Make it "
        f"text, `parcels.assign(**{{{name!r}: parcels[{name!r}].astype(str)}})`, or drop it."
    )


def _plain_value(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode() if not value.isascii() else value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, default=str, ensure_ascii=False)
    return value
