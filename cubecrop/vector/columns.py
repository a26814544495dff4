"""Columns of a user's table, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cubecrop.errors import ParcelError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["check_active_geometry", "check_column_names"]


def check_column_names(parcels: gpd.GeoDataFrame) -> None:
    """Raise if a table has a column name twice, or column names of several levels.

    Raises
    ------
    ParcelError
        The message names the columns.
    """
    columns = parcels.columns
    if isinstance(columns, pd.MultiIndex):
        raise ParcelError(
            f"parcels have columns of {columns.nlevels} levels, such as {columns[0]!r}, expected "
            "plain names. Join them: `parcels.columns = ['_'.join(map(str, name)).strip('_') for "
            "name in parcels.columns]`."
        )
    if columns.is_unique:
        return
    twice = columns[columns.duplicated()].unique().tolist()
    raise ParcelError(
        f"parcels have the columns {twice} more than once, expected each name once. Keep the "
        "first of each with `parcels.loc[:, ~parcels.columns.duplicated()]`; or drop the wrong one "
        "before you rename the other: `parcels.drop(columns="
        f"{twice[0]!r}).rename(columns={{'OTHER': {twice[0]!r}}})`."
    )


def check_active_geometry(table: gpd.GeoDataFrame) -> None:
    """Raise if a table has no active geometry, or a column name twice.

    Raises
    ------
    ParcelError
        The message names the columns.
    """
    check_column_names(table)  # geopandas finds no geometry if two columns have its name
    if table.active_geometry_name is None:
        raise ParcelError(
            f"parcels have columns {sorted(map(str, table.columns))} and no active geometry. "
            "Choose it: `parcels.set_geometry('geometry')`."
        )
