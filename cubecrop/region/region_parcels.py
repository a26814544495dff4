"""All parcels of a region in one table: those of the input, with what the tiles found."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cubecrop.classification import with_results
from cubecrop.errors import OutputError
from cubecrop.region.output import PROOF
from cubecrop.region.parcels import ABSENT, OWNER
from cubecrop.region.results import AT_ONCE, failure_of
from cubecrop.shapes import has_place, plain_shapes
from cubecrop.write.parcels import write_geoparquet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cubecrop.region.output import Output
    from cubecrop.region.results import Results
    from cubecrop.write.provenance import Provenance

__all__ = ["PARCELS", "write_parcels"]

PARCELS: Final = "parcels.parquet"
#: Rows of a row group: enough for compression, few enough to read only a neighbourhood.
_ROWS: Final = 10_000
#: An equal-area projection of the whole Earth.
_EQUAL_AREA: Final = "EPSG:6933"
#: Column of a tile's table: position of the parcel in the input.
_POSITION: Final = "parcel"
_SQUARE_METRES: Final = 10_000
#: Types of columns that hold nulls where a parcel has no result, even if no parcel has one.
_NULLABLE: Final = {
    pa.int64(): pd.Int64Dtype(),
    pa.string(): pd.StringDtype("pyarrow"),
    pa.large_string(): pd.StringDtype("pyarrow"),
}


def write_parcels(output: Output, results: Results, facts: Provenance) -> pd.DataFrame:
    """Write the table of all parcels, sorted along a Hilbert curve.

    Every parcel of the input has one row, with its columns and those of
    `cubecrop.classify_parcels`. The ``status`` of a parcel without a result says why.

    Parameters
    ----------
    output : Output
        The run's folder, with ``plan/parcels.parquet``.
    results : Results
        Outcomes of the tiles.
    facts : Provenance
        Model of the region.

    Returns
    -------
    pandas.DataFrame
        ``code``, ``status`` and ``hectares`` of each parcel.

    Raises
    ------
    OutputError
        Two tiles have a result of the same parcel, or the file cannot be written.
    """
    with output.local(f"plan/{PARCELS}") as path:
        parcels = gpd.read_parquet(path)
    owners = parcels[OWNER].fillna("").astype(str).to_numpy(dtype=object)
    absent = parcels[ABSENT].fillna("").astype(str).to_numpy(dtype=object)
    parcels = parcels.drop(columns=[OWNER, ABSENT])
    edges = _current_edges(output, results, sorted(set(owners)))
    found = _in_input_order(_tables(output, results, edges), len(parcels))
    reasons = _reasons(output, results, edges, owners, absent)
    columns = _columns(found, reasons)
    table = with_results(parcels, columns)
    if "bbox" in table.columns:
        table = table.rename(columns={"bbox": "declared:bbox"})
    table.attrs = {
        "model_name": facts.model_name,
        "model_digest": facts.model_digest,
        "model_calibration": facts.calibration,
    }
    order = _curve(table.geometry, owners != "")
    with output.new_file(PARCELS) as staging:
        write_geoparquet(table.iloc[order], staging, target=output.href(PARCELS), rows=_ROWS)
    return pd.DataFrame(
        {
            "code": table["crop:code"] if "crop:code" in columns else None,
            "status": table["status"],
            "hectares": _hectares(parcels),
        }
    )


def _current_edges(output: Output, results: Results, owners: Sequence[str]) -> list[str]:
    """Tiles whose parcels across edges were classified from current tiles."""
    names = sorted(set(output.names("edges")) & set(owners))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        evidence = list(pool.map(lambda name: output.read_json(f"edges/{name}/{PROOF}"), names))
    digests = {name: one.digest for name, one in results.done.items()}
    return [
        name
        for name, one in zip(names, evidence, strict=True)
        if one and all(digests.get(part) == digest for part, digest in one["inputs"].items())
    ]


def _tables(output: Output, results: Results, edges: Sequence[str]) -> list[pa.Table]:
    """Results of tiles and of parcels across edges, in a fixed order."""
    names = [f"tiles/{one.id}" for one in results.done.values() if PARCELS in one.files]
    names += [f"edges/{name}" for name in edges]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(partial(_table, output), names))


def _table(output: Output, folder: str) -> pa.Table:
    return pq.read_table(io.BytesIO(output.read_bytes(f"{folder}/{PARCELS}")))


def _in_input_order(tables: Sequence[pa.Table], n_parcels: int) -> pa.Table:
    """One row a parcel of the input, with nulls for those without a result."""
    if not tables:
        return pa.table({"status": pa.nulls(n_parcels, pa.string())})
    # A tile without images of a sensor lacks its columns; the most complete table gives the order.
    first = max(tables, key=lambda table: table.num_columns)
    whole = pa.concat_tables([first.slice(0, 0), *tables], promote_options="permissive")
    positions = whole[_POSITION].to_numpy()
    rows, counts = np.unique(positions, return_counts=True)
    if (counts > 1).any():
        raise OutputError(
            f"{int((counts > 1).sum())} parcels have results of two tiles, such as number "
            f"{int(rows[counts > 1][0])} of the input. Map again into an empty folder."
        )
    index = np.full(n_parcels, -1, dtype=np.int64)
    index[positions] = np.arange(len(positions))
    return whole.drop_columns([_POSITION]).take(pa.array(index, mask=index < 0))


def _reasons(
    output: Output,
    results: Results,
    edges: Sequence[str],
    owners: NDArray[np.object_],
    absent: NDArray[np.object_],
) -> NDArray[np.object_]:
    """Why each parcel has no result, should it have none."""
    texts = {}
    for name in sorted(set(owners) - {""}):
        if name in results.failed:
            texts[name] = f"tile failed: {name}: {results.failed[name]}"
        elif name not in results.done:
            texts[name] = "outside the area"
        elif not results.done[name].has_images:
            texts[name] = "no image of its tile"
        elif name in edges:
            texts[name] = f"no result: tile {name} lacks the parcel"
        else:
            error = failure_of(output, name, kind="edges", unknown="a tile next to it failed")
            texts[name] = f"crosses the edge of its tile: {name}: {error}"
    return np.array(
        [texts[name] if name else reason or "outside the area"
         for name, reason in zip(owners, absent, strict=True)],
        dtype=object,
    )  # fmt: skip


def _columns(found: pa.Table, reasons: NDArray[np.object_]) -> dict[str, Any]:
    """Columns of the results; their types do not depend on which tiles failed."""
    columns: dict[str, Any] = {}
    for name in found.column_names:
        values = found[name]
        if name == "status":
            values = pc.if_else(pc.is_null(values), pa.array(reasons, pa.string()), values)
        if pa.types.is_null(values.type):  # a column of text in which no tile has any
            values = values.cast(pa.string())
        series = pa.table({name: values}).to_pandas(types_mapper=_NULLABLE.get)[name]
        columns[name] = series.array
    return columns


def _curve(geometry: gpd.GeoSeries, owned: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Order along a Hilbert curve; parcels outside the area, then those without a place, last."""
    placed = has_place(geometry)
    distance = np.zeros(len(geometry), dtype=np.int64)
    for group in (placed & owned, placed & ~owned):
        if group.any():  # a far parcel would coarsen the curve of the others
            distance[group] = geometry[group].hilbert_distance().to_numpy()
    return np.lexsort((distance, ~owned, ~placed))


def _hectares(parcels: gpd.GeoDataFrame) -> NDArray[np.float64]:
    """Area of each parcel; 0 for one without a place."""
    shapes = gpd.GeoSeries(plain_shapes(parcels.geometry), crs=parcels.crs)
    area = shapes.to_crs(_EQUAL_AREA).area.to_numpy()
    return np.where(np.isfinite(area), area, 0.0) / _SQUARE_METRES
