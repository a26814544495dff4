"""All parcels of a region in one table: those of the input, with what the tiles found."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cubecrop.errors import OutputError
from cubecrop.region.output import PROOF
from cubecrop.region.parcel_file import along_curve, measure, write_sorted
from cubecrop.region.parcels import ABSENT, OWNER
from cubecrop.region.results import AT_ONCE, failure_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cubecrop.region.output import Output
    from cubecrop.region.results import Results
    from cubecrop.write.provenance import Provenance

__all__ = ["PARCELS", "write_parcels"]

PARCELS: Final = "parcels.parquet"
#: Column of a tile's table: position of the parcel in the input.
_POSITION: Final = "parcel"


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
        parcels = pq.read_table(path)
    owners, absent = (
        parcels[name].combine_chunks().fill_null("").to_pandas().to_numpy(dtype=object)
        for name in (OWNER, ABSENT)
    )
    parcels = parcels.drop_columns([OWNER, ABSENT])
    edges = _current_edges(output, results, sorted(set(owners)))
    found = _joined(_tables(output, results, edges))
    rows = _rows_of(found[_POSITION].to_numpy(), len(parcels))
    reasons = _reasons(output, results, edges, owners, absent)
    found = found.drop_columns([_POSITION])
    attrs = {
        "model_name": facts.model_name,
        "model_digest": facts.model_digest,
        "model_calibration": facts.calibration,
    }
    measures = measure(parcels)
    order = along_curve(measures, owned=owners != "")
    with output.new_file(PARCELS) as staging:
        write_sorted(
            staging, parcels, found, rows=rows, reasons=reasons, measures=measures, order=order,
            attrs=attrs,
        )  # fmt: skip
    known = rows >= 0
    status = reasons.copy()
    status[known] = np.asarray(found["status"].to_pandas(), dtype=object)[rows[known]]
    code = np.full(len(parcels), None, dtype=object)
    if "crop:code" in found.column_names:
        code[known] = np.asarray(found["crop:code"].to_pandas(), dtype=object)[rows[known]]
    return pd.DataFrame({"code": code, "status": status, "hectares": measures.hectares})


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


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """All results in one table, whose types do not depend on which tiles have one."""
    if not tables:
        return pa.table({_POSITION: pa.array([], pa.int64()), "status": pa.array([], pa.string())})
    # A tile without images of a sensor lacks its columns; the most complete table gives the order.
    first = max(tables, key=lambda table: table.num_columns)
    whole = pa.concat_tables([first.slice(0, 0), *tables], promote_options="permissive")
    fields = [
        # A column of text in which no parcel has any has no type.
        field.with_type(pa.string()) if pa.types.is_null(field.type) else field
        for field in whole.schema.remove_metadata()
    ]
    return whole.cast(pa.schema(fields)).combine_chunks()


def _rows_of(positions: NDArray[np.int64], n_parcels: int) -> NDArray[np.int64]:
    """Row of each parcel's result; -1 for none."""
    unique, counts = np.unique(positions, return_counts=True)
    if (counts > 1).any():
        raise OutputError(
            f"{int((counts > 1).sum())} parcels have results of two tiles, such as number "
            f"{int(unique[counts > 1][0])} of the input. Map again into an empty folder."
        )
    rows = np.full(n_parcels, -1, dtype=np.int64)
    rows[positions] = np.arange(len(positions))
    return rows


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
