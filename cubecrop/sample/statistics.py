"""Mean and standard deviation of all pixels of each parcel, for object-based classifiers."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from cubecrop.checks import check_number
from cubecrop.errors import SchemaError
from cubecrop.sample.ground import origin_of, points_of, zones_of
from cubecrop.sample.parcels import plain_parcels, read_parcels
from cubecrop.sample.runs import ChunkRuns, Runs, runs_of
from cubecrop.schema import SERIES, check_season_cube, crs_of, resolution_of
from cubecrop.shapes import plain_shapes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import geopandas as gpd
    from numpy.typing import NDArray

    from cubecrop.sample.moments import Moments
    from cubecrop.sample.places import Chunks

__all__ = ["parcel_statistics"]

#: Bytes of the statistics of one block of parcels.
_BLOCK_BYTES: Final = 64 * 10**6
#: The statistics of each parcel, date and band.
_STATISTICS: Final = (("mean", np.float32), ("std", np.float32), ("count", np.int32))


def parcel_statistics(
    season: xr.DataTree, parcels: gpd.GeoDataFrame | str | Path, *, inset: float = 0.0
) -> xr.DataTree:
    """Summarise all pixels of each parcel, on each date and band, lazily.

    This function uses the geometries; pixels are read by ``.compute()``, each chunk of the cube
    once, and only its statistics are kept. Sums are in float64, and sums of a parcel that spans
    chunks are joined, so that results depend on chunks only by rounding. Parcels are computed in
    blocks of 64 MB; if you need only a few parcels, pass only these.

    Parameters
    ----------
    season : xarray.DataTree
        A season cube, chunked in any way; see `cubecrop.schema`.
    parcels : geopandas.GeoDataFrame or path
        Columns ``id``, ``geometry``; any CRS. As in `sample_pixel_sets`, a parcel holds the
        pixels whose centre lies within it, or the one pixel that it covers best.
    inset : float, default 0
        Pixels closer to the parcel's edge than this, in metres, are left out. A parcel that is
        too small for the inset keeps all pixels.

    Returns
    -------
    xarray.DataTree
        Children ``sentinel2`` and ``sentinel1``, if the cube has them, each with
        ``(parcel, time, band)``: ``mean`` and ``std`` float32, in the unit of the values (1, dB),
        NaN where no pixel is valid; ``count`` int32, the valid pixels of each band. ``std``
        divides by the number of pixels, not by one less, like the zonal statistics of
        exactextract, QGIS and rasterstats: these are all pixels of the parcel, not a sample. A
        single pixel has a deviation of 0. Root coordinates ``lon``, ``lat``, ``pixel_count``.

    Raises
    ------
    SchemaError
        ``season`` does not have a season cube's dims or CRS, or has no satellite series.
    ParcelError
        No CRS, no ids, duplicated ids, or a duplicated column.

    References
    ----------
    Joining of sums: Chan, Golub & LeVeque 1983, doi:10.1080/00031305.1983.10483115.
    """
    check_season_cube(season)
    inset = check_number("inset", inset, minimum=0, what="metres, 0 or more", error=SchemaError)
    names = [name for name in SERIES if name in season.children]
    if not names:
        raise SchemaError(
            f"season cube has children {sorted(season.children)}, expected at least one satellite "
            f"series to summarise: {', '.join(SERIES)}. Open it with one in `modalities`."
        )
    table = plain_parcels(read_parcels(parcels))
    shapes = plain_shapes(table.geometry.to_crs(crs_of(season)))
    zones = zones_of(shapes, inset)
    runs: dict[Chunks, Runs] = {}
    nodes = {}
    for name in names:
        child = season[name].dataset
        source = da.asarray(child[SERIES[name]].data)
        chunks = source.chunks[-2], source.chunks[-1]
        if chunks not in runs:
            runs[chunks] = runs_of(
                zones, resolution=resolution_of(season), origin=origin_of(season), chunks=chunks
            )
        nodes[name] = _summarised(child, SERIES[name], source, runs[chunks])
    lon, lat = points_of(table, shapes, crs_of(season))
    root = xr.Dataset(
        coords={
            "parcel": table["id"].to_numpy(),
            "lon": ("parcel", lon, {"units": "degrees_east"}),
            "lat": ("parcel", lat, {"units": "degrees_north"}),
            "pixel_count": ("parcel", next(iter(runs.values())).counts),
        },
        attrs=dict(season.attrs),
    )
    return xr.DataTree.from_dict({"/": root, **nodes}, name="parcel_statistics")


def _summarised(child: xr.Dataset, variable: str, source: da.Array, runs: Runs) -> xr.Dataset:
    lead = child[variable].dims[:-2]
    coords = {
        key: coord.variable
        for key, coord in child.coords.items()
        if set(coord.dims) <= set(lead) and key != "spatial_ref"
    }
    units = child[variable].attrs.get("units", "")
    arrays = _statistics(source, runs)
    return xr.Dataset(
        {
            name: (("parcel", *lead), array, {"units": "1" if name == "count" else units})
            for (name, _), array in zip(_STATISTICS, arrays, strict=True)
        },
        coords=coords,
    )


def _statistics(source: da.Array, runs: Runs) -> list[da.Array]:
    """Mean, deviation and count, (parcel, time, band): a task per chunk, then one per block."""
    n_parcels, lead = len(runs.counts), source.chunks[:-2]
    if n_parcels == 0:  # a dask array needs at least one chunk
        shape = (0, *source.shape[:-2])
        return [da.zeros(shape, dtype=dtype) for _, dtype in _STATISTICS]
    each = sum(np.dtype(dtype).itemsize for _, dtype in _STATISTICS)
    step = max(1, _BLOCK_BYTES // (each * max(1, int(np.prod([max(c, default=1) for c in lead])))))
    sizes = tuple(min(step, n_parcels - first) for first in range(0, n_parcels, step))
    token = tokenize(
        source.name, step, n_parcels, [(at, _all_of(x)) for at, x in runs.chunks.items()]
    )
    part, whole = f"parcel-moments-{token}", f"parcel-summary-{token}"
    graph: dict[Any, Any] = {}
    for at in np.ndindex(*(len(sizes) for sizes in lead)):
        for place, chunk in runs.chunks.items():
            spec = chunk.order, chunk.starts, chunk.rows, chunk.columns, chunk.lengths
            graph[part, *at, *place] = (_moments, (source.name, *at, *place), *spec)
        shape = tuple(lengths[i] for lengths, i in zip(lead, at, strict=True))
        for number, size in enumerate(sizes):
            pieces = _touched(runs, number * step, size)
            keys = [(part, *at, *place) for place, _, _ in pieces]
            where = [(in_chunk, in_block) for _, in_chunk, in_block in pieces]
            graph[whole, number, *at] = (_joined, keys, where, shape, size)
    below = HighLevelGraph.from_collections(whole, graph, [source])  # type: ignore[list-item]
    blocks = [rest for name, *rest in graph if name == whole]
    arrays = []
    for i, (name, dtype) in enumerate(_STATISTICS):
        key = f"parcel-{name}-{token}"
        picks: dict[Any, Any] = {
            (key, *rest): (operator.getitem, (whole, *rest), i) for rest in blocks
        }
        layers = HighLevelGraph({**below.layers, key: picks}, {**below.dependencies, key: {whole}})
        arrays.append(da.Array(layers, key, chunks=(sizes, *lead), dtype=dtype))
    return arrays


def _all_of(runs: ChunkRuns) -> list[NDArray[Any]]:
    return [runs.parcels, runs.starts, runs.rows, runs.columns, runs.lengths]


def _touched(
    runs: Runs, first: int, size: int
) -> list[tuple[tuple[int, int], slice, NDArray[np.int64]]]:
    """Chunks that a block of parcels touches: place, indices in the chunk and in the block."""
    touched = []
    for place, chunk in runs.chunks.items():
        start, stop = np.searchsorted(chunk.parcels, (first, first + size)).tolist()
        if stop > start:
            touched.append((place, slice(start, stop), chunk.parcels[start:stop] - first))
    return touched


def _moments(block: NDArray[np.float32], *runs: NDArray[Any]) -> Moments:
    from cubecrop.sample.moments import moments  # numba takes a while to import

    return moments(block, *runs)


def _joined(
    parts: Sequence[Moments],
    where: Sequence[tuple[slice, NDArray[np.int64]]],
    lead: tuple[int, ...],
    size: int,
) -> tuple[NDArray[np.generic], ...]:
    """Join the moments of chunks to mean, deviation and count (parcel, …) of a block."""
    count = np.zeros((*lead, size), np.int64)  # parcels last, as in the parts
    mean, squares = np.zeros(count.shape), np.zeros(count.shape)
    for moments, (in_chunk, in_block) in zip(parts, where, strict=True):
        n, part_mean, part_squares = (values[..., in_chunk] for values in moments)
        before = count[..., in_block]
        share = n / np.maximum(before + n, 1)
        difference = part_mean - mean[..., in_block]
        mean[..., in_block] += difference * share
        squares[..., in_block] += part_squares + difference**2 * before * share
        count[..., in_block] = before + n
    deviation = np.sqrt(squares / np.maximum(count, 1))
    mean[count == 0] = deviation[count == 0] = np.nan
    return tuple(
        np.ascontiguousarray(np.moveaxis(values.astype(dtype), -1, 0))
        for values, (_, dtype) in zip((mean, deviation, count), _STATISTICS, strict=True)
    )
