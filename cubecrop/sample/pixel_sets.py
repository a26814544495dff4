"""Pixel sets: a fixed number of pixels from each parcel, drawn from a season cube."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import shapely
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from cubecrop.checks import check_number, check_whole
from cubecrop.circle import degrees_between
from cubecrop.errors import SchemaError
from cubecrop.lost_scenes import readings_of
from cubecrop.sample.draw import draw_positions, hash_ids
from cubecrop.sample.ground import origin_of, points_of, zones_of
from cubecrop.sample.parcels import plain_parcels, read_parcels
from cubecrop.sample.places import Places, place_pixels
from cubecrop.schema import (
    GEOMETRY_FEATURES,
    OPTIONAL_MODALITIES,
    SERIES,
    check_season_cube,
    crs_of,
    resolution_of,
)
from cubecrop.shapes import plain_shapes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import geopandas as gpd
    from numpy.typing import NDArray

__all__ = ["fewer_pixels", "places_of_fewer", "reading_order", "sample_pixel_sets"]

#: Bytes of one block of gathered pixels. For blocks of more than 32 MB, malloc requests memory from
#: the system each time, which can take ten times as long as writing to it.
_BLOCK_BYTES = 24 * 10**6
#: A parcel gets no weather from cells farther away than this, degrees.
_FARTHEST_CELL = 0.5


def sample_pixel_sets(
    season: xr.DataTree,
    parcels: gpd.GeoDataFrame | str | Path,
    *,
    n_pixels: int = 64,
    seed: int = 0,
    inset: float = 0.0,
) -> xr.DataTree:
    """Draw a fixed-size set of pixels from each parcel, lazily.

    This function uses the geometries; pixels are read by ``.compute()``, chunk by chunk of the
    cube. Afterwards the sets are put in the order of the table, which needs all of them in
    memory. A table that is already in `cubecrop.sample.reading_order` avoids this: its sets can
    be processed block by block. Computing one parcel reads only the chunks that it touches.

    Parameters
    ----------
    season : xarray.DataTree
        A season cube; see `cubecrop.schema`.
    parcels : geopandas.GeoDataFrame or path
        Columns ``id``, ``geometry``; any CRS, reprojected to the cube's. A parcel holds each
        pixel whose centre lies within it once, even if its parts overlap. A parcel without a
        pixel centre holds the pixel that it covers best. Heights are ignored, and rings that
        cross themselves are repaired; see `cubecrop.shapes.plain_shapes`. Parcels without
        geometry, or outside the cube, have no valid pixel.
    n_pixels : int, default 64
        Pixels per parcel. Smaller parcels are padded; ``valid`` is False for padding.
    seed : int, default 0
        The draw depends only on the seed and the parcel's id.
    inset : float, default 0
        Pixels closer to the parcel's edge than this, in metres, are left out. A parcel that is
        too small for the inset keeps all pixels.

    Returns
    -------
    xarray.DataTree
        ``sentinel2/reflectance (parcel, time, band, pixel)`` float32, unit 1, and
        ``sentinel1/backscatter`` likewise in dB, NaN where masked; ``valid (parcel, time,
        pixel)`` bool; ``weather (parcel, time, variable)``; ``terrain (parcel, variable,
        pixel)``; root ``geometry (parcel, feature)`` in m, m2, 1/m and 1.

    Raises
    ------
    SchemaError
        ``season`` does not have a season cube's dims, units or CRS.
    ParcelError
        No CRS, no ids, duplicated ids, or a duplicated column.

    References
    ----------
    Garnot et al. 2020, arXiv:1911.07757.
    """
    check_season_cube(season)
    n_pixels = check_whole("n_pixels", n_pixels, minimum=1, error=SchemaError)
    seed = check_whole("seed", seed, minimum=0)
    inset = check_number("inset", inset, minimum=0, what="metres, 0 or more", error=SchemaError)
    table = plain_parcels(read_parcels(parcels))
    # Once more in the cube's CRS: reprojection can make edges touch.
    shapes = plain_shapes(table.geometry.to_crs(crs_of(season)))
    order = _order(season, shapes)
    table, shapes = table.iloc[order], shapes[order]
    places = place_pixels(
        zones_of(shapes, inset),
        hash_ids(table["id"].tolist(), seed),
        n_pixels,
        resolution=resolution_of(season),
        origin=origin_of(season),
        chunks=_chunks(season),
    )

    lon, lat = points_of(table, shapes, crs_of(season))
    nodes = {}
    for child in season.children:
        if child in OPTIONAL_MODALITIES:
            continue  # no model learns from it
        if child == "weather":
            nodes[child] = _weather(season[child].dataset, lon, lat)
        else:
            nodes[child] = _gathered(season[child].dataset, child, places)
    root = xr.Dataset(
        {"geometry": (("parcel", "feature"), _features(shapes, places.cover))},
        coords={
            "parcel": table["id"].to_numpy(),
            "feature": list(GEOMETRY_FEATURES),
            "lon": ("parcel", lon, {"units": "degrees_east"}),
            "lat": ("parcel", lat, {"units": "degrees_north"}),
            "pixel_count": ("parcel", places.counts),
        },
        attrs={**season.attrs, "n_pixels": n_pixels, "seed": seed},
    )
    sets = xr.DataTree.from_dict({"/": root, **nodes}, name="pixel_sets")
    if np.array_equal(order, np.arange(len(order))):
        return sets  # without reordering, the sets of a chunk are used before the next is read
    return sets.isel(parcel=np.argsort(order))


def reading_order(season: xr.DataTree, parcels: gpd.GeoDataFrame) -> NDArray[np.int64]:
    """Order parcels so that those of a chunk are together, for sets larger than memory.

    Returns
    -------
    numpy.ndarray
        (parcel,) positions for ``parcels.iloc``.
    """
    check_season_cube(season)
    return _order(season, plain_shapes(plain_parcels(parcels).geometry.to_crs(crs_of(season))))


def _order(season: xr.DataTree, shapes: NDArray[np.object_]) -> NDArray[np.int64]:
    bounds = shapely.bounds(shapes)
    size = resolution_of(season)
    shape = (season.sizes["y"], season.sizes["x"])
    chunks = _chunks(season)
    corners = []
    for side, extent, edges in (
        (-bounds[:, 3] / size - origin_of(season)[0], shape[0], chunks[0]),
        (-bounds[:, 1] / size - origin_of(season)[0], shape[0], chunks[0]),
        (bounds[:, 0] / size - origin_of(season)[1], shape[1], chunks[1]),
        (bounds[:, 2] / size - origin_of(season)[1], shape[1], chunks[1]),
    ):
        inside = np.clip(np.nan_to_num(side, nan=0.0), 0, extent - 1)
        corners.append(np.searchsorted(np.cumsum(edges), inside, side="right"))
    top, bottom, left, right = corners
    return np.lexsort((right, bottom, left, top))


def _chunks(season: xr.DataTree) -> tuple[tuple[int, ...], tuple[int, ...]]:
    for child in season.children:
        if child != "weather":
            series = season[child][SERIES.get(child, child)]
            readings = readings_of(series.data) if isinstance(series.data, da.Array) else None
            if readings is not None:
                return readings.chunks[0], readings.chunks[1]
            chunks = series.chunks or tuple((size,) for size in series.shape)
            return chunks[-2], chunks[-1]
    raise SchemaError("season cube has no gridded child to draw pixels from.")


def _features(shapes: NDArray[np.object_], cover: NDArray[np.float64]) -> NDArray[np.float32]:
    length, area = shapely.length(shapes), shapely.area(shapes)
    ratio = np.divide(length, area, out=np.full_like(area, np.nan), where=area > 0)
    return np.stack([length, area, ratio, cover], axis=1).astype(np.float32)


def _gathered(child: xr.Dataset, name: str, places: Places) -> xr.Dataset:
    """The drawn pixels of one child, and which of them are valid."""
    variable = SERIES.get(name, name)
    source = child[variable]
    lead = source.dims[:-2]
    values = _gather(da.asarray(source.data), places)
    coords = {
        key: coord
        for key, coord in child.coords.items()
        if set(coord.dims) <= set(lead) and key != "spatial_ref"
    }
    attrs = {key: value for key, value in source.attrs.items() if key != "grid_mapping"}
    out = xr.Dataset({variable: (("parcel", *lead, "pixel"), values, attrs)}, coords=coords)
    if name in SERIES:
        valid = da.blockwise(
            _finite, "ptx", values, "ptbx", dtype=bool, meta=np.empty((0, 0, 0), bool)
        )
        out["valid"] = (("parcel", "time", "pixel"), valid)
    return out


def _finite(blocks: Sequence[NDArray[np.float32]]) -> NDArray[np.bool_]:
    """Whether pixels have finite values in all bands; Dask passes the blocks along bands."""
    (values,) = blocks
    return np.asarray(np.isfinite(values).all(axis=2))  # (parcel, time, pixel)


def _gather(source: da.Array, places: Places) -> da.Array:
    """Gather pixels of a (…, y, x) array into (parcel, …, pixel), in one task a run of parcels."""
    lead = source.shape[:-2]
    if any(len(chunk) > 1 for chunk in source.chunks[:-2]):
        raise SchemaError(
            f"season cube has the chunks {source.chunks[:-2]} before y and x, expected one chunk "
            "for time and band. Rechunk it: `cube.chunk(time=-1, band=-1)`."
        )
    # If the numbers as read are available, decode only the pixels that are drawn.
    readings = readings_of(source)
    if readings is not None and readings.chunks != places.chunks:
        readings = None
    if readings is None and source.chunks[-2:] != places.chunks:
        source = source.rechunk((*source.chunks[:-2], *places.chunks))
    blocks_of = source if readings is None else readings
    n_parcels, n_pixels = places.which.shape
    if n_parcels == 0:  # a dask array needs at least one chunk
        empty: da.Array = da.zeros((0, *lead, n_pixels), dtype=source.dtype)
        return empty
    cap = max(1, _BLOCK_BYTES // (source.dtype.itemsize * n_pixels * int(np.prod(lead))))
    name = f"gather-{tokenize(source.name, places.token, cap)}"
    front = () if readings is not None else (0,) * len(lead)
    graph: dict[Any, Any] = {}
    sizes = []
    for number, (part, blocks) in enumerate(places.runs(cap)):
        spec = (places.which[part], places.rows[part], places.columns[part])  # views
        parts = []
        for index, block in enumerate(blocks):
            # One task a chunk, so that no chunk waits in memory for others of the same parcels.
            graph[f"{name}-part", number, index] = (
                _gather_part, (blocks_of.name, *front, *block), index, *spec, lead,
                np.dtype(source.dtype),
            )  # fmt: skip
            parts.append((f"{name}-part", number, index))
        key = (name, number, *(0,) * (len(lead) + 1))
        graph[key] = (_joined, parts, spec[0], lead, np.dtype(source.dtype))
        sizes.append(part.stop - part.start)
    return da.Array(
        HighLevelGraph.from_collections(name, graph, [blocks_of]),  # type: ignore[list-item]
        name,
        chunks=(tuple(sizes), *((size,) for size in lead), (n_pixels,)),
        dtype=source.dtype,
    )


def _gather_part(
    block: Any,  # noqa: ANN401
    number: int,
    which: NDArray[np.int16],
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    lead: tuple[int, ...],
    dtype: np.dtype[np.generic],
) -> NDArray[np.generic]:
    """Take the pixels of a run of parcels from one chunk.

    Returns
    -------
    numpy.ndarray
        (parcel, …, pixel) if all pixels lie in this chunk, which is the usual case; otherwise
        (1, …, pixel) with only the pixels in this chunk, one parcel after the other.
    """
    here = which == number
    if not _is_whole(which):
        rows, columns, here = rows[here][None], columns[here][None], here[here][None]
    out = np.full((len(rows), *lead, rows.shape[1]), np.nan, dtype=dtype)
    if not isinstance(block, np.ndarray):
        block.gather(np.where(here, rows, -1), columns, out)
    else:
        values = block[..., rows[here], columns[here]]  # (…, n)
        np.moveaxis(out, -1, 1)[here] = np.moveaxis(values, -1, 0)
    return out


def _is_whole(which: NDArray[np.int16]) -> bool:
    return int(which.max(initial=0)) == 0


def _joined(
    parts: Sequence[NDArray[Any]],
    which: NDArray[np.int16],
    lead: tuple[int, ...],
    dtype: np.dtype[np.generic],
) -> NDArray[np.generic]:
    """Join the pixels of a run of parcels, (parcel, …, pixel); NaN where ``which`` is -1."""
    if len(parts) == 1:
        return parts[0]
    out = np.full((len(which), *lead, which.shape[1]), np.nan, dtype=dtype)
    for number, part in enumerate(parts):
        np.moveaxis(out, -1, 1)[which == number] = np.moveaxis(part[0], -1, 0)
    return out


def _weather(child: xr.Dataset, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> xr.Dataset:
    """Weather of the cell nearest to each parcel; NaN if no cell is near."""
    index, near = {}, np.ones(len(lon), dtype=bool)
    for axis, values in (("latitude", lat), ("longitude", lon)):
        cells = child[axis].to_numpy()
        distance = degrees_between(values[:, None], cells[None, :])
        distance = np.nan_to_num(distance, nan=np.inf)
        index[axis] = xr.DataArray(distance.argmin(axis=1), dims="parcel")
        near &= distance.min(axis=1) <= _FARTHEST_CELL
    weather = child["weather"].isel(index).transpose("parcel", "time", "variable")
    weather = weather.where(xr.DataArray(near, dims="parcel"))
    return weather.drop_vars(["latitude", "longitude"]).to_dataset()


def places_of_fewer(root: xr.Dataset, n_pixels: int) -> NDArray[np.int64]:
    """Places (parcel, pixel), among drawn pixels, of those that fewer would have drawn.

    ``root`` holds the parcels' ids and pixel counts; -1 is padding. Errors as for `fewer_pixels`.
    """
    drawn = int(root.attrs["n_pixels"])
    if not 1 <= n_pixels <= drawn:
        raise SchemaError(f"n_pixels is {n_pixels}, expected 1 to {drawn}, which were drawn.")
    counts = root["pixel_count"].to_numpy()
    hashes = hash_ids(root["parcel"].to_numpy().tolist(), root.attrs["seed"])
    large, small = (draw_positions(counts, hashes, n) for n in (drawn, n_pixels))
    # Draws with the same seed are nested, so each small draw is part of the large one.
    places: NDArray[np.int64] = (large[:, :, None] == small[:, None, :]).argmax(axis=1)
    places[small < 0] = -1
    return places


def fewer_pixels(samples: xr.DataTree, n_pixels: int) -> xr.DataTree:
    """Reduce pixel sets in memory to those that a smaller ``n_pixels`` would have drawn.

    Parameters
    ----------
    samples : xarray.DataTree
        Computed pixel sets of `sample_pixel_sets`.
    n_pixels : int
        Pixels per parcel, at most as many as were drawn.

    Returns
    -------
    xarray.DataTree
        Equal to ``sample_pixel_sets(..., n_pixels=n_pixels)`` with the same seed.

    Raises
    ------
    SchemaError
        ``n_pixels`` is below 1 or above what was drawn.
    """
    places = places_of_fewer(samples.to_dataset(), n_pixels)
    index, padded = np.maximum(places, 0), places < 0
    nodes = {"/": samples.to_dataset().assign_attrs(n_pixels=n_pixels)}
    for name in samples.children:
        child = samples.children[name].to_dataset(inherit=False)
        if "pixel" in child.dims:
            child = child.isel(pixel=xr.DataArray(index, dims=("parcel", "pixel")))
            padding = xr.DataArray(padded, dims=("parcel", "pixel"))
            child = child.map(
                lambda v, padding=padding: v & ~padding if v.dtype == bool else v.where(~padding)
            ).transpose(..., "pixel")
        nodes[name] = child
    return xr.DataTree.from_dict(nodes, name="pixel_sets")
