"""Checks of parcel tables, before pixels are drawn."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import geopandas as gpd
import numpy as np

from cubecrop.checks import brief
from cubecrop.errors import LabelError, ParcelError
from cubecrop.shapes import plain_shapes
from cubecrop.texts import label_text
from cubecrop.vector import check_active_geometry, check_column_names, read_vector

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_parcels", "labels_of", "plain_parcels", "read_parcels"]

_ID_KINDS: Final = (str, bytes, int, np.integer, uuid.UUID)


def read_parcels(parcels: gpd.GeoDataFrame | str | Path) -> gpd.GeoDataFrame:
    """Take parcels from a table or read them from a vector file, and check them.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame or path
        Columns ``id`` (unique), ``geometry``; any CRS.

    Returns
    -------
    geopandas.GeoDataFrame
        The table, unchanged.

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


def plain_parcels(parcels: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Keep only ids and plain shapes of parcels, for sampling.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame
        A checked table.

    Returns
    -------
    geopandas.GeoDataFrame
        ``id`` and ``geometry`` on the same index and CRS; shapes as `plain_shapes` gives them.
    """
    shapes = gpd.GeoSeries(plain_shapes(parcels.geometry), index=parcels.index, crs=parcels.crs)
    ids = parcels["id"]
    if ids.dtype == object and isinstance(ids.iloc[0] if len(ids) else None, uuid.UUID):
        ids = ids.astype(str)  # same hash, so the same draws; and Zarr can store text
    return gpd.GeoDataFrame({"id": ids}, geometry=shapes)


def check_parcels(parcels: gpd.GeoDataFrame) -> None:
    """Raise unless a table has a CRS and a unique id for each parcel.

    Raises
    ------
    ParcelError
        No GeoDataFrame, no CRS, no column ``id``, a null or duplicated id, ids that files cannot
        store, or a duplicated column.
    """
    if not isinstance(parcels, gpd.GeoDataFrame):
        raise ParcelError(
            f"parcels is a {type(parcels).__name__}, expected a geopandas.GeoDataFrame or the "
            "path of a vector file. Convert GeoJSON with `geopandas.GeoDataFrame.from_features("
            "features, crs='EPSG:4326')`."
        )
    check_active_geometry(parcels)
    if parcels.crs is None:
        raise ParcelError("parcels have no CRS; set it with `parcels.set_crs('EPSG:…')`.")
    if "id" not in parcels.columns:
        raise ParcelError(
            f"parcels have columns {sorted(map(str, parcels.columns))} and no 'id'. "
            f"{_naming(parcels)}"
        )
    _check_ids(parcels["id"])


def _naming(parcels: gpd.GeoDataFrame) -> str:
    """Advice on which column to rename to ``id``."""
    if "id" in parcels.index.names:
        return "The index is named 'id'; make it a column: `parcels.reset_index()`."
    names = [str(name) for name in parcels.columns if name != parcels.geometry.name]
    likely = [name for name in names if name.lower() == "id"]
    likely += [name for name in names if re.search(r"(^|[_ ])id([_ ]|$)", name.lower())]
    return (
        "Rename the column that identifies a parcel: "
        f"`parcels.rename(columns={{{(likely or ['ID_PARCEL'])[0]!r}: 'id'}})`."
    )


def _check_ids(ids: pd.Series[Any]) -> None:
    if ids.isna().any():
        raise ParcelError(
            f"{int(ids.isna().sum())} parcels have no id; number them: "
            "`parcels.assign(id=range(len(parcels)))`."
        )
    text = "Make them text: `parcels.assign(id=parcels['id'].astype(str))`."
    if str(ids.dtype) == "geometry":
        raise ParcelError(
            "column 'id' is a geometry, expected text or whole numbers. Rename it and number the "
            "parcels: `parcels.rename_geometry('geometry').assign(id=range(len(parcels)))`."
        )
    if ids.dtype == object:
        kinds = {type(value) for value in ids}
        if len(kinds) > 1:
            raise ParcelError(
                f"parcel ids have the types {sorted(kind.__name__ for kind in kinds)}, expected "
                f"one type, so that files can store them. {text}"
            )
        if not all(issubclass(kind, _ID_KINDS) for kind in kinds):
            raise ParcelError(
                f"parcel ids have the type {kinds.pop().__name__}, expected text or whole "
                f"numbers. {text}"
            )
        if kinds == {int} and not all(-(2**63) <= value < 2**63 for value in ids):
            raise ParcelError(
                f"parcel ids are whole numbers up to {max(ids)}, expected at most 64 bits, so that "
                f"files can store them. {text}"
            )
    if ids.duplicated().any():
        repeated = ids[ids.duplicated()].unique()[:5].tolist()
        raise ParcelError(
            f"parcel ids are duplicated, among them {repeated}. Drop the copies with "
            "`parcels.drop_duplicates('id')`, or dissolve their parts with "
            "`parcels.dissolve('id').reset_index()`."
        )


def labels_of(parcels: gpd.GeoDataFrame, label: str) -> list[str | None]:
    """Labels of a column as text; None for parcels without a label.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame
        The table.
    label : str
        A column of text or whole numbers.

    Returns
    -------
    list of str or None
        One label per parcel.

    Raises
    ------
    LabelError
        The column does not exist, is the id or the geometry, or holds no labels.
    ParcelError
        A column is duplicated.
    """
    check_column_names(parcels)
    if not isinstance(label, str):
        raise LabelError(f"label is {brief(label)}, expected the name of a column.")
    reserved = ("id", parcels.geometry.name)
    if label not in parcels.columns or label in reserved:
        columns = sorted(str(c) for c in parcels.columns if c not in reserved)
        kind = {"id": "each parcel's own id", reserved[1]: "the geometry"}.get(label)
        fault = f"column {label!r} is {kind}" if kind else f"parcels have no column {label!r}"
        raise LabelError(f"{fault}; choose the label among {columns}.")
    try:
        return [label_text(value) for value in parcels[label]]
    except (TypeError, ValueError) as error:  # such as arrays, which cannot be compared
        raise LabelError(
            f"column {label!r} holds values that are not labels ({error}), expected text or whole "
            f"numbers. Make them text: `parcels.astype({{{label!r}: str}})`."
        ) from error
