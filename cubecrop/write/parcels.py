"""Parcel tables to GeoParquet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import geopandas as gpd
import pyarrow as pa

from cubecrop.checks import check_flag, check_path
from cubecrop.errors import OutputError, ParcelError
from cubecrop.files import new_file

if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["check_parcel_path", "write_parcels"]

_SUFFIXES: Final = (".parquet", ".geoparquet")


def write_parcels(
    parcels: gpd.GeoDataFrame, path: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write a parcel table as GeoParquet 1.1, all of it or nothing.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame
        What `cubecrop.classify_parcels` returns, or any table with geometries and a CRS.
        Columns are kept as they are; the index is not written.
    path : path
        File to write, ``.parquet`` or ``.geoparquet``. Missing parents are made.
    overwrite : bool, default False
        Replace the file if it is there.

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    ParcelError
        No GeoDataFrame, or one without geometries or CRS.
    OutputError
        Another suffix, a file that is there, or one that cannot be written.
    """
    _check_parcels(parcels)
    target = check_parcel_path(path, overwrite=overwrite)
    with new_file(target, cure="Name another file.") as staging:
        try:
            parcels.to_parquet(staging, index=False, compression="zstd", schema_version="1.1.0")
        except (ValueError, pa.ArrowException) as error:
            raise OutputError(
                f"{target} cannot be written: {error}. Give each column values of one type."
            ) from error
    return target


def check_parcel_path(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Raise unless a parcel table can be written to a path; before hours of work, say."""
    check_flag("overwrite", overwrite)
    target = check_path("path", path)
    if target.suffix.lower() not in _SUFFIXES:
        raise OutputError(
            f"{target} ends in {target.suffix!r}, expected '.parquet': parcels are written as "
            f"GeoParquet. Name it '{target.stem or 'parcels'}.parquet'."
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
    if parcels.crs is None:
        raise ParcelError(
            "parcels have no CRS, so their place is unknown. Set the one they are in with "
            "`parcels.set_crs('EPSG:4326')`, the code being yours."
        )
