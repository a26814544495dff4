"""Which pixels of the lattice a parcel holds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely

from cubecrop.errors import ParcelError
from cubecrop.shapes import plain_shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ParcelPixels", "parcel_batches", "pixels_of"]

#: Candidate pixels that are processed at a time; bounds the memory.
_BATCH = 1_000_000
#: Pixels that are intersected with shapes at a time: fewer, since each becomes a geometry.
_CUT = 50_000
#: Maximum number of pixels in the rectangle around one part of a parcel.
_MAXIMUM = 2e8


@dataclass(frozen=True, slots=True)
class ParcelPixels:
    """Pixels of parcels, sorted by parcel and row.

    ``counts`` is (parcel,) int64. ``rows`` and ``columns`` are (pixel,) int64 on the lattice.
    ``cover`` is (parcel,) float: the number of pixels divided by that of the rectangle around
    them.
    """

    counts: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    cover: NDArray[np.float64]


def pixels_of(geometries: NDArray[np.object_], resolution: float) -> ParcelPixels:
    """Find the pixels whose centre lies within each parcel.

    Parameters
    ----------
    geometries : numpy.ndarray of shapely geometries
        (parcel,) in the lattice's CRS; None and empty geometries have no pixel. Parcels may
        overlap.
    resolution : float
        Pixel size in metres.

    Returns
    -------
    ParcelPixels
        A parcel without a pixel centre gets the one pixel that it covers best.

    Raises
    ------
    ParcelError
        A parcel has more pixels than fit in memory.
    """
    shapes = plain_shapes(geometries)
    parts, owner = shapely.get_parts(shapes, return_index=True)
    _check_extent(shapely.bounds(parts), resolution)
    shapely.prepare(parts)
    pieces = [
        _centres_within(parts[batch], owner[batch], resolution)
        for batch in _batches(shapely.bounds(parts), resolution, _BATCH)
    ]
    parcel, rows, columns = (
        np.concatenate([piece[i] for piece in pieces]) if pieces else np.zeros(0, np.int64)
        for i in range(3)
    )
    bare = np.setdiff1d(np.flatnonzero(~shapely.is_missing(shapes)), parcel)
    bounds = shapely.bounds(shapes[bare])
    extra = [
        (bare[batch], *_best_covered(shapes[bare[batch]], bounds[batch], resolution))
        for batch in _batches(bounds, resolution, _CUT)
    ]
    parcel, rows, columns = (
        np.concatenate([values, *(piece[i] for piece in extra)])
        for i, values in enumerate((parcel, rows, columns))
    )
    return _sorted(parcel, rows, columns, len(shapes))


def _check_extent(bounds: NDArray[np.float64], resolution: float) -> None:
    """Raise if a part of a parcel has more pixels than fit in memory."""
    sides = (bounds[:, 2:] - bounds[:, :2]) / resolution
    wide = np.flatnonzero(sides.prod(axis=1) > _MAXIMUM)
    if len(wide):
        left, bottom, right, top = bounds[wide[0]].tolist()
        raise ParcelError(
            f"a parcel spans x {left:g} to {right:g}, y {bottom:g} to {top:g} in the cube's CRS, "
            f"expected at most {_MAXIMUM:.0e} pixels. Correct its coordinates, or leave it out."
        )


def parcel_batches(geometries: NDArray[np.object_], resolution: float) -> list[slice]:
    """Cut parcels into runs for which `pixels_of` needs a bounded memory.

    Parameters
    ----------
    geometries : numpy.ndarray of shapely geometries
        (parcel,), finite or None.
    resolution : float
        Pixel size in metres.

    Returns
    -------
    list of slice
        Consecutive slices of all parcels. A parcel that is larger than a batch has its own.
    """
    bounds = np.nan_to_num(shapely.bounds(geometries))
    # Clip parcels that are too large for `pixels_of`, so that the sum does not overflow.
    bounds[:, 2:] = np.minimum(bounds[:, 2:], bounds[:, :2] + _MAXIMUM * resolution)
    return _batches(bounds, resolution, _BATCH)


def _window(
    bounds: NDArray[np.float64], resolution: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, column, height and width of the pixels that overlap bounds."""
    left, bottom, right, top = bounds.T
    row, column = np.floor(-top / resolution), np.floor(left / resolution)
    height = np.maximum(np.ceil(-bottom / resolution) - row, 1)
    width = np.maximum(np.ceil(right / resolution) - column, 1)
    return (
        row.astype(np.int64), column.astype(np.int64),
        height.astype(np.int64), width.astype(np.int64),
    )  # fmt: skip


def _batches(bounds: NDArray[np.float64], resolution: float, size: int) -> list[slice]:
    if len(bounds) == 0:
        return []
    _, _, height, width = _window(bounds, resolution)
    batch = np.cumsum(np.minimum(height * width, size)) // size
    edges = [0, *(np.flatnonzero(np.diff(batch)) + 1).tolist(), len(bounds)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _centres_within(
    parts: NDArray[np.object_], owner: NDArray[np.int64], resolution: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    part, rows, columns = _candidates(shapely.bounds(parts), resolution)
    inside = shapely.contains_xy(
        parts[part], (columns + 0.5) * resolution, -(rows + 0.5) * resolution
    )
    return owner[part[inside]], rows[inside], columns[inside]


def _candidates(
    bounds: NDArray[np.float64], resolution: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pixels that overlap bounds, row by row: index of the bounds, row, column."""
    row, column, height, width = _window(bounds, resolution)
    sizes = height * width
    owner = np.repeat(np.arange(len(bounds)), sizes)
    position = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return owner, row[owner] + position // width[owner], column[owner] + position % width[owner]


def _best_covered(
    shapes: NDArray[np.object_], bounds: NDArray[np.float64], resolution: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of the pixel that each shape covers best; of equals, the first."""
    owner, rows, columns = _candidates(bounds, resolution)
    boxes = shapely.box(
        columns * resolution, -(rows + 1) * resolution,
        (columns + 1) * resolution, -rows * resolution,
    )  # fmt: skip
    area = shapely.area(shapely.intersection(boxes, shapes[owner]))
    starts = np.searchsorted(owner, np.arange(len(shapes)))
    bare = (np.maximum.reduceat(area, starts) == 0)[owner]  # a line or a point
    points = shapely.point_on_surface(shapes)[owner[bare]]
    area[bare] = shapely.intersects(boxes[bare], points)
    # The sort is stable, so of equal areas the first comes first.
    best = np.lexsort((-area, owner))[starts]
    return rows[best], columns[best]


def _sorted(
    parcel: NDArray[np.int64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    n_parcels: int,
) -> ParcelPixels:
    if not _is_sorted(parcel, rows, columns):  # parcels of one part each come in order
        order = np.lexsort((columns, rows, parcel))
        parcel, rows, columns = parcel[order], rows[order], columns[order]
    repeated = np.zeros(len(parcel), dtype=bool)  # from lines that cross on a centre
    repeated[1:] = (np.diff(parcel) == 0) & (np.diff(rows) == 0) & (np.diff(columns) == 0)
    if repeated.any():
        parcel, rows, columns = parcel[~repeated], rows[~repeated], columns[~repeated]
    counts = np.bincount(parcel, minlength=n_parcels)
    cover = np.full(n_parcels, np.nan)
    filled = np.flatnonzero(counts)
    if len(filled):
        starts = (np.cumsum(counts) - counts)[filled]
        spans = [
            np.maximum.reduceat(v, starts) - np.minimum.reduceat(v, starts) + 1
            for v in (rows, columns)
        ]
        cover[filled] = counts[filled] / (spans[0] * spans[1])
    return ParcelPixels(counts, rows, columns, cover)


def _is_sorted(
    parcel: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> bool:
    """Whether pixels are sorted by parcel, then row, then column."""
    owner, down, right = np.diff(parcel), np.diff(rows), np.diff(columns)
    return bool(np.all((owner > 0) | ((owner == 0) & ((down > 0) | ((down == 0) & (right >= 0))))))
