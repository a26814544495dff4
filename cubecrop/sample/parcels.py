"""Tables of parcels: what they must have before anything is drawn from them."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd

from cubecrop.aoi import read_vector
from cubecrop.checks import told
from cubecrop.errors import LabelError, ParcelError
from cubecrop.nomenclature import label_text

__all__ = ["check_parcels", "labels_of", "read_parcels"]


def read_parcels(parcels: gpd.GeoDataFrame | str | Path) -> gpd.GeoDataFrame:
    """Parcels from a table or a vector file, checked.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame or path
        Columns ``id`` (unique), ``geometry``; any CRS.

    Returns
    -------
    geopandas.GeoDataFrame
        The table as it is.

    Raises
    ------
    AoiError
        The file cannot be read.
    ParcelError
        As for `check_parcels`.
    """
    table = read_vector(parcels) if isinstance(parcels, str | Path) else parcels
    check_parcels(table)
    return table


def check_parcels(parcels: gpd.GeoDataFrame) -> None:
    """Raise unless a table has an id for each parcel, once, and a CRS.

    Raises
    ------
    ParcelError
        No GeoDataFrame, no CRS, no column ``id``, a null or duplicated id.
    """
    if not isinstance(parcels, gpd.GeoDataFrame):
        raise ParcelError(
            f"parcels is a {type(parcels).__name__}, expected a geopandas.GeoDataFrame or the "
            "path of a vector file."
        )
    if parcels.active_geometry_name is None:
        raise ParcelError(
            f"parcels have columns {sorted(map(str, parcels.columns))} and no active geometry. "
            "Choose it: `parcels.set_geometry('geometry')`."
        )
    if parcels.crs is None:
        raise ParcelError("parcels have no CRS; set it with `parcels.set_crs('EPSG:…')`.")
    if "id" not in parcels.columns:
        raise ParcelError(
            f"parcels have columns {sorted(map(str, parcels.columns))} and no 'id'. Name the one "
            "that identifies a parcel: `parcels.rename(columns={'ID_PARCEL': 'id'})`."
        )
    ids = parcels["id"]
    if ids.isna().any():
        raise ParcelError(
            f"{int(ids.isna().sum())} parcels have no id; number them: "
            "`parcels.assign(id=range(len(parcels)))`."
        )
    if ids.dtype == object and len(kinds := {type(one).__name__ for one in ids}) > 1:
        raise ParcelError(
            f"parcel ids are of the types {sorted(kinds)}, expected one, or no file could hold "
            "them. Make them text: `parcels.assign(id=parcels['id'].astype(str))`."
        )
    if ids.duplicated().any():
        repeated = ids[ids.duplicated()].unique()[:5].tolist()
        raise ParcelError(
            f"parcel ids are duplicated, among them {repeated}. Drop the copies with "
            "`parcels.drop_duplicates('id')`, or dissolve their parts with "
            "`parcels.dissolve('id').reset_index()`."
        )


def labels_of(parcels: gpd.GeoDataFrame, label: str) -> list[str | None]:
    """Labels of a column as text, None where a parcel has none.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame
        The table.
    label : str
        One of its columns, of text or whole numbers.

    Returns
    -------
    list of str or None
        One a parcel.

    Raises
    ------
    LabelError
        The column is not there, or is the geometry.
    """
    if not isinstance(label, str):
        raise LabelError(f"label is {told(label)}, expected the name of a column.")
    shapes = parcels.geometry.name
    if label not in parcels.columns or label == shapes:
        columns = sorted(str(c) for c in parcels.columns if c != shapes)
        seen = f"column {label!r} is the geometry" if label == shapes else f"no column {label!r}"
        raise LabelError(f"parcels have {seen}; choose the label among {columns}.")
    return [label_text(value) for value in parcels[label]]
