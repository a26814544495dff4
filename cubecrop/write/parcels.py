"""Write parcel tables as GeoParquet or GeoPackage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import geopandas as gpd

from cubecrop.checks import check_flag, check_path
from cubecrop.errors import OutputError, ParcelError
from cubecrop.files import new_file
from cubecrop.vector import check_column_names
from cubecrop.write.columns import UNWRITABLE, check_columns, check_mixtures, check_texts
from cubecrop.write.geopackage import check_geopackage, write_geopackage
from cubecrop.write.plain_names import Columns, check_naming, found_alike, with_plain_columns

if TYPE_CHECKING:
    import os

__all__ = ["check_parcel_path", "check_table", "write_parcels"]

_GEOPACKAGE: Final = ".gpkg"
_SUFFIXES: Final = (".parquet", ".geoparquet", _GEOPACKAGE)


def write_parcels(
    parcels: gpd.GeoDataFrame,
    path: str | os.PathLike[str],
    *,
    columns: Columns = "fiboa",
    overwrite: bool = False,
) -> Path:
    """Write a parcel table as GeoParquet 1.1 or GeoPackage, complete or not at all.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame
        The result of `cubecrop.classify_parcels`, or any table with geometries and a CRS.
        The index is not written. The ``attrs``, which describe the model, become metadata of
        the file.
    path : path
        File to write: ``.parquet`` or ``.geoparquet``, or ``.gpkg`` for a GeoPackage with one
        layer of the file's name. Missing parents are made.
    columns : {"fiboa", "plain"}, default "fiboa"
        Keep the names, such as ``crop:name``, or write plain ones, such as ``predicted_crop``,
        that need no quotes in SQL. See `cubecrop.write.plain_names.plain_columns`.
    overwrite : bool, default False
        Replace the file if it exists.

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    ParcelError
        ``parcels`` is not a GeoDataFrame, lacks geometries or a CRS, or has a column twice.
    OutputError
        The suffix is another one, the file exists or cannot be written, or its format cannot
        hold a column.
    """
    _check_parcels(parcels)
    check_naming(columns)
    target = check_parcel_path(path, overwrite=overwrite)
    table = with_plain_columns(parcels) if columns == "plain" else parcels.copy(deep=False)
    table.attrs = {key: value for key, value in parcels.attrs.items() if _is_json(value)}
    with new_file(target, cure="Free some space there or name another file.") as staging:
        if target.suffix.lower() == _GEOPACKAGE:
            write_geopackage(table, staging, target=target)
        else:
            _write_parquet(table, staging, target=target)
    return target


def check_table(
    parcels: gpd.GeoDataFrame, path: str | os.PathLike[str], *, columns: Columns = "fiboa"
) -> None:
    """Raise unless a file can hold the columns of a table; call it before long work.

    Raises
    ------
    ParcelError
        The table has a column name twice.
    OutputError
        The file's format cannot hold a column; the message names it.
    """
    check_column_names(parcels)
    target = Path(path)
    table = with_plain_columns(parcels) if columns == "plain" else parcels
    if target.suffix.lower() == _GEOPACKAGE:
        check_geopackage(table, target)
        if columns == "fiboa" and (twins := found_alike(parcels.columns)):
            raise OutputError(
                f"parcels have columns {twins}. The classification adds columns with these names "
                "in small letters, and a GeoPackage ignores case. Rename them, or pass "
                "`columns='plain'` (`--columns plain`)."
            )
    else:
        check_columns(table)


def _write_parquet(table: gpd.GeoDataFrame, staging: Path, *, target: Path) -> None:
    check_texts(table)
    try:
        table.to_parquet(staging, index=False, compression="zstd", schema_version="1.1.0")
    except UNWRITABLE as error:
        check_columns(table)  # converts each column again to name those that fail
        raise OutputError(
            f"{target} cannot be written: {error}. Give each column values of one type."
        ) from error
    check_mixtures(table)  # the conversion above succeeded, which it needs


def _is_json(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def check_parcel_path(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Raise unless a parcel table can be written to a path; call it before long work."""
    check_flag("overwrite", overwrite)
    target = check_path("path", path)
    if target.suffix.lower() not in _SUFFIXES:
        raise OutputError(
            f"{target} ends in {target.suffix!r}, expected '.parquet' or '.gpkg': parcels are "
            f"written as GeoParquet or GeoPackage. Name it '{target.stem or 'parcels'}.parquet'."
        )
    if target.is_dir():
        raise OutputError(f"{target} is a folder, expected a file. Name another one.")
    if target.exists() and not overwrite:
        raise OutputError(
            f"{target} already exists. Name another file, or pass `overwrite=True` (`--overwrite`)."
        )
    return target


def _check_parcels(parcels: gpd.GeoDataFrame) -> None:
    if not isinstance(parcels, gpd.GeoDataFrame) or parcels.active_geometry_name is None:
        raise ParcelError(
            f"parcels are a {type(parcels).__name__} without geometries, expected a "
            "geopandas.GeoDataFrame. Make one with `geopandas.GeoDataFrame(parcels, "
            "geometry=..., crs=...)`."
        )
    check_column_names(parcels)  # two geometry columns of one name have no common CRS
    if parcels.crs is None:
        raise ParcelError(
            "parcels have no CRS, so their place is unknown. Set the one they are in with "
            "`parcels.set_crs('EPSG:4326')`, with your own code."
        )
