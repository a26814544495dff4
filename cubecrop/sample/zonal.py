"""Which pixels of the lattice a parcel holds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

__all__ = ["ParcelPixels", "pixels_of"]

#: Candidate pixels looked at in one go; bounds the memory.
_BATCH = 4_000_000


@dataclass(frozen=True, slots=True)
class ParcelPixels:
    """Pixels of each parcel, parcel by parcel, row by row.

    ``counts`` is (parcel,) int64; ``rows`` and ``columns`` are (pixel,) int64, counted on
    the lattice; ``cover`` is (parcel,) float, the share of the bounding rectangle's pixels.
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
        In the lattice's CRS; None and empty ones have no pixel. Parcels may overlap.
    resolution : float
        Pixel size in metres.

    Returns
    -------
    ParcelPixels
        A parcel that holds no centre has the one pixel that it covers best.
    """
    shapes = _polygons(geometries)
    parts, owner = shapely.get_parts(shapes, return_index=True)
    shapely.prepare(parts)
    found = [
        _centres_within(parts[one], owner[one], resolution) for one in _batches(parts, resolution)
    ]
    parcel, rows, columns = (
        np.concatenate([piece[i] for piece in found]) if found else np.zeros(0, np.int64)
        for i in range(3)
    )
    bare = np.setdiff1d(np.arange(len(shapes)), parcel)
    extra = [
        (i, *pixel)
        for i in bare
        if (pixel := _best_covered(shapes[i], geometries[i], resolution)) is not None
    ]
    if extra:
        more = np.array(extra, dtype=np.int64).T
        parcel, rows, columns = (
            np.concatenate([a, b]) for a, b in zip((parcel, rows, columns), more, strict=True)
        )
    return _sorted(parcel, rows, columns, len(shapes))


def _polygons(geometries: NDArray[np.object_]) -> NDArray[np.object_]:
    """Valid geometries with finite coordinates; None for the rest."""
    shapes = np.array(geometries, dtype=object)
    invalid = ~(shapely.is_valid(shapes) | shapely.is_missing(shapes))
    bounds = shapely.bounds(shapes)
    usable = np.isfinite(bounds).all(axis=1)
    shapes[invalid & usable] = shapely.make_valid(shapes[invalid & usable])
    shapes[~usable] = None
    return shapes


def _window(
    bounds: NDArray[np.float64], resolution: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, column, height and width of the pixels that bounds touch."""
    left, bottom, right, top = bounds.T
    row, column = np.floor(-top / resolution), np.floor(left / resolution)
    height = np.maximum(np.ceil(-bottom / resolution) - row, 1)
    width = np.maximum(np.ceil(right / resolution) - column, 1)
    return (
        row.astype(np.int64), column.astype(np.int64),
        height.astype(np.int64), width.astype(np.int64),
    )  # fmt: skip


def _batches(parts: NDArray[np.object_], resolution: float) -> list[slice]:
    if len(parts) == 0:
        return []
    _, _, height, width = _window(shapely.bounds(parts), resolution)
    batch = np.cumsum(height * width) // _BATCH
    edges = [0, *(np.flatnonzero(np.diff(batch)) + 1).tolist(), len(parts)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _centres_within(
    parts: NDArray[np.object_], owner: NDArray[np.int64], resolution: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    row, column, height, width = _window(shapely.bounds(parts), resolution)
    sizes = height * width
    part = np.repeat(np.arange(len(parts)), sizes)
    position = np.arange(len(part)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rows = row[part] + position // width[part]
    columns = column[part] + position % width[part]
    inside = shapely.contains_xy(
        parts[part], (columns + 0.5) * resolution, -(rows + 0.5) * resolution
    )
    return owner[part[inside]], rows[inside], columns[inside]


def _best_covered(
    shape: BaseGeometry | None, original: BaseGeometry | None, resolution: float
) -> tuple[int, int] | None:
    if shape is None or shape.is_empty or original is None:
        return None
    row, column, height, width = (int(v[0]) for v in _window(np.array([shape.bounds]), resolution))
    rows, columns = (
        index.ravel() for index in np.mgrid[row : row + height, column : column + width]
    )
    boxes = shapely.box(
        columns * resolution, -(rows + 1) * resolution,
        (columns + 1) * resolution, -rows * resolution,
    )  # fmt: skip
    area = shapely.area(shapely.intersection(boxes, shape))
    if area.max() == 0:  # a line or a point
        area = shapely.intersects(boxes, shape.representative_point())
    best = int(np.argmax(area))
    return int(rows[best]), int(columns[best])


def _sorted(
    parcel: NDArray[np.int64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    n_parcels: int,
) -> ParcelPixels:
    order = np.lexsort((columns, rows, parcel))
    parcel, rows, columns = parcel[order], rows[order], columns[order]
    counts = np.bincount(parcel, minlength=n_parcels)
    cover = np.full(n_parcels, np.nan)
    held = np.flatnonzero(counts)
    if len(held):
        starts = (np.cumsum(counts) - counts)[held]
        spans = [
            np.maximum.reduceat(v, starts) - np.minimum.reduceat(v, starts) + 1
            for v in (rows, columns)
        ]
        cover[held] = counts[held] / (spans[0] * spans[1])
    return ParcelPixels(counts, rows, columns, cover)
