"""Parcel tables to GeoParquet or GeoPackage."""

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
    """Write a parcel table as GeoParquet 1.1 or GeoPackage, all of it or nothing.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame
        What `cubecrop.classify_parcels` returns, or any table with geometries and a CRS.
        The index is not written; ``attrs``, which say what the model was, go into the file's
        metadata.
    path : path
        File to write: ``.parquet`` or ``.geoparquet``, or ``.gpkg`` for a GeoPackage with one
        layer of the file's name. Missing parents are made.
    columns : {"fiboa", "plain"}, default "fiboa"
        Keep the names, such as ``crop:name``, or write plain ones, such as ``predicted_crop``,
        that SQL need not quote. See `cubecrop.write.plain_names.plain_columns`.
    overwrite : bool, default False
        Replace the file if it is there.

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    ParcelError
        No GeoDataFrame, or one without geometries or CRS, or with a column twice.
    OutputError
        Another suffix, a file that is there, or one that cannot be written; a column that the
        file's format cannot hold.
    """
    _check_parcels(parcels)
    check_naming(columns)
    target = check_parcel_path(path, overwrite=overwrite)
    table = with_plain_columns(parcels) if columns == "plain" else parcels.copy(deep=False)
    table.attrs = {key: value for key, value in parcels.attrs.items() if _is_json(value)}
    with new_file(target, cure="Name another file.") as staging:
        if target.suffix.lower() == _GEOPACKAGE:
            write_geopackage(table, staging, target=target)
        else:
            _write_parquet(table, staging, target=target)
    return target


def check_table(
    parcels: gpd.GeoDataFrame, path: str | os.PathLike[str], *, columns: Columns = "fiboa"
) -> None:
    """Raise unless the columns of a table can be written to a path; before hours of work, say.

    Raises
    ------
    ParcelError
        A column stands twice.
    OutputError
        A column that the file's format cannot hold, by name.
    """
    check_column_names(parcels)
    target = Path(path)
    table = with_plain_columns(parcels) if columns == "plain" else parcels
    if target.suffix.lower() == _GEOPACKAGE:
        check_geopackage(table, target)
        if columns == "fiboa" and (twins := found_alike(parcels.columns)):
            raise OutputError(
                f"parcels have columns {twins}, and columns of these names in small letters are to "
                "be added, which a GeoPackage takes for the same. Rename them, or pass "
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
    check_mixtures(table)  # of columns that can be converted, as it expects


def _is_json(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def check_parcel_path(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Raise unless a parcel table can be written to a path; before hours of work, say."""
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
            f"{target} is there already. Name another file, or pass `overwrite=True` "
            "(`--overwrite`)."
        )
    return target


def _check_parcels(parcels: gpd.GeoDataFrame) -> None:
    if not isinstance(parcels, gpd.GeoDataFrame) or parcels.active_geometry_name is None:
        raise ParcelError(
            f"parcels are a {type(parcels).__name__} without geometries, expected a "
            "geopandas.GeoDataFrame. Make one with `geopandas.GeoDataFrame(parcels, "
            "geometry=..., crs=...)`."
        )
    check_column_names(parcels)  # with two geometry columns of one name there is no CRS to ask for
    if parcels.crs is None:
        raise ParcelError(
            "parcels have no CRS, so their place is unknown. Set the one they are in with "
            "`parcels.set_crs('EPSG:4326')`, the code being yours."
        )
