"""Check that a file can hold the columns of a parcel table, before hours of work."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cubecrop.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    import geopandas as gpd

__all__ = ["UNWRITABLE", "check_columns", "check_mixtures", "check_texts"]

#: A 64-bit float holds every whole number up to this one.
_EXACT: Final = 2**53
#: Exceptions of pyarrow, pandas and Python for values that no column can hold.
UNWRITABLE: Final = (pa.ArrowException, ValueError, TypeError, ArithmeticError, RuntimeError)


def check_columns(parcels: gpd.GeoDataFrame) -> None:
    """Raise unless Parquet can hold every column of a table as it is.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame
        Each column name once. Attributes are converted as for writing; geometries are not checked.

    Raises
    ------
    OutputError
        A name is not text, or Parquet cannot hold the type or mixture of the values.
    """
    check_texts(parcels)
    reasons = {
        name: reason
        for name, kind in parcels.dtypes.items()
        if str(kind) != "geometry" and (reason := _reason_against(parcels[name]))
    }
    _refuse(reasons)


def check_mixtures(parcels: gpd.GeoDataFrame) -> None:
    """Raise if Parquet would change values of a column.

    Call it only with a table that can be converted.

    Raises
    ------
    OutputError
        The message names the columns.
    """
    reasons = {
        name: reason
        for name, kind in parcels.dtypes.items()
        if pd.api.types.is_object_dtype(kind) and (reason := _mixture(parcels[name]))
    }
    _refuse(reasons)


def check_texts(parcels: gpd.GeoDataFrame) -> None:
    """Raise `OutputError` unless every column's name is text."""
    if other := [name for name in parcels.columns if not isinstance(name, str)]:
        raise OutputError(
            f"parcels have columns named {other[:5]}, but Parquet needs text as names. "
            "Rename them: `parcels.rename(columns=str)`."
        )


def _refuse(reasons: Mapping[Hashable, str]) -> None:
    if reasons:
        names = list(reasons)
        details = "; ".join(f"{name!r}: {reason}" for name, reason in list(reasons.items())[:3])
        raise OutputError(
            f"Parquet cannot hold the columns {names} ({details}). Give each column values of one "
            "type: make them text with "
            f"`parcels.astype(dict.fromkeys({names}, str))`, or leave them out with "
            f"`parcels.drop(columns={names})`."
        )


def _reason_against(column: pd.Series[Any]) -> str | None:
    """Why a column cannot be written, or would be read back with other values."""
    # With its dtype, or pandas 3 makes text of objects, and fails where it is no UTF-8.
    values = pd.DataFrame({"values": pd.Series(column.array, dtype=column.dtype)})
    try:
        table = pa.Table.from_pandas(values, preserve_index=False)
        pq.write_table(table.slice(0, 0), pa.BufferOutputStream())
    except UNWRITABLE as error:
        first = error.args[0] if error.args else error
        return " ".join(str(first).split())[:120]
    return _mixture(column) if column.dtype == object else None


def _mixture(column: pd.Series[Any]) -> str | None:
    """Types of values that pyarrow would merge into one."""
    present = column[column.notna()]
    kinds = {type(value) for value in present}
    for one, other in ((str, bytes), (dt.date, dt.datetime)):
        if one in kinds and any(issubclass(kind, other) for kind in kinds):
            return f"{one.__name__} and {other.__name__}"
    if any(issubclass(kind, dt.datetime) for kind in kinds) and (
        len({value.tzinfo is None for value in present}) > 1
    ):
        return "times with and without a zone"
    if len(kinds) > 1 and float in kinds and int in kinds:
        large = any(isinstance(value, int) and abs(value) > _EXACT for value in present)
        return "decimal and whole numbers above 2**53" if large else None
    return None
