"""Tables of parcels: what they must have before anything is drawn from them."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import geopandas as gpd
import numpy as np

from cubecrop.checks import brief
from cubecrop.errors import LabelError, ParcelError
from cubecrop.nomenclature import label_text
from cubecrop.shapes import plain_shapes
from cubecrop.vector import check_column_names, read_vector

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_parcels", "labels_of", "plain_parcels", "read_parcels"]

_ID_KINDS: Final = (str, bytes, int, np.integer, uuid.UUID)


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


def plain_parcels(parcels: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Ids and shapes of parcels, as what looks at their ground takes them.

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
        ids = ids.astype(str)  # which draws by the same hash, and which Zarr holds
    return gpd.GeoDataFrame({"id": ids}, geometry=shapes)


def check_parcels(parcels: gpd.GeoDataFrame) -> None:
    """Raise unless a table has an id for each parcel, once, and a CRS.

    Raises
    ------
    ParcelError
        No GeoDataFrame, no CRS, no column ``id``, a null or duplicated id, ids that no file
        holds, or a column that stands twice.
    """
    if not isinstance(parcels, gpd.GeoDataFrame):
        raise ParcelError(
            f"parcels is a {type(parcels).__name__}, expected a geopandas.GeoDataFrame or the "
            "path of a vector file. Of GeoJSON, `geopandas.GeoDataFrame.from_features(features, "
            "crs='EPSG:4326')` makes one."
        )
    check_column_names(parcels)
    if parcels.active_geometry_name is None:
        raise ParcelError(
            f"parcels have columns {sorted(map(str, parcels.columns))} and no active geometry. "
            "Choose it: `parcels.set_geometry('geometry')`."
        )
    if parcels.crs is None:
        raise ParcelError("parcels have no CRS; set it with `parcels.set_crs('EPSG:…')`.")
    if "id" not in parcels.columns:
        raise ParcelError(
            f"parcels have columns {sorted(map(str, parcels.columns))} and no 'id'. "
            f"{_naming(parcels)}"
        )
    _check_ids(parcels["id"])


def _naming(parcels: gpd.GeoDataFrame) -> str:
    """How to name the column that tells parcels apart."""
    if "id" in parcels.index.names:
        return "The index is named so; make it a column: `parcels.reset_index()`."
    words = [str(name) for name in parcels.columns if name != parcels.geometry.name]
    likely = [word for word in words if word.lower() == "id"]
    likely += [word for word in words if re.search(r"(^|[_ ])id([_ ]|$)", word.lower())]
    return (
        "Name the one that identifies a parcel: "
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
        kinds = {type(one) for one in ids}
        if len(kinds) > 1:
            raise ParcelError(
                f"parcel ids are of the types {sorted(kind.__name__ for kind in kinds)}, expected "
                f"one, or no file could hold them. {text}"
            )
        if not all(issubclass(kind, _ID_KINDS) for kind in kinds):
            raise ParcelError(
                f"parcel ids are of the type {kinds.pop().__name__}, expected text or whole "
                f"numbers. {text}"
            )
        if kinds == {int} and not all(-(2**63) <= one < 2**63 for one in ids):
            raise ParcelError(
                f"parcel ids are whole numbers up to {max(ids)}, above 64 bit, which no file could "
                f"hold. {text}"
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
        The column is not there, is the id or the geometry, or holds no labels.
    ParcelError
        A column stands twice.
    """
    check_column_names(parcels)
    if not isinstance(label, str):
        raise LabelError(f"label is {brief(label)}, expected the name of a column.")
    aside = ("id", parcels.geometry.name)
    if label not in parcels.columns or label in aside:
        columns = sorted(str(c) for c in parcels.columns if c not in aside)
        kind = {"id": "each parcel's own id", aside[1]: "the geometry"}.get(label)
        seen = f"column {label!r} is {kind}" if kind else f"parcels have no column {label!r}"
        raise LabelError(f"{seen}; choose the label among {columns}.")
    try:
        return [label_text(value) for value in parcels[label]]
    except (TypeError, ValueError) as error:  # an array is neither equal to itself nor not
        raise LabelError(
            f"column {label!r} holds values that are no labels ({error}), expected text or whole "
            f"numbers. Make them text: `parcels.astype({{{label!r}: str}})`."
        ) from error
