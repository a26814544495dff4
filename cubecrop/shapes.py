"""Convert any geometries to valid, flat shapes that can be measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import shapely

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

__all__ = ["has_place", "plain_shapes"]

#: Geometries that are processed together; limits the memory.
_BATCH: Final = 100_000
#: No point of the Earth has larger coordinates in any CRS.
_FARTHEST: Final = 1e12
_POLYGON: Final = shapely.GeometryType.POLYGON
_MULTIPOINT: Final = shapely.GeometryType.MULTIPOINT
_MULTILINE: Final = shapely.GeometryType.MULTILINESTRING
_MULTIPOLYGON: Final = shapely.GeometryType.MULTIPOLYGON
_COLLECTION: Final = shapely.GeometryType.GEOMETRYCOLLECTION


def has_place(shapes: Iterable[BaseGeometry | None]) -> NDArray[np.bool_]:
    """Which geometries are present, not empty, and have coordinates within the Earth."""
    geometries = np.fromiter(shapes, dtype=object)
    placed = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
    numbers, owner = shapely.get_coordinates(geometries, return_index=True)
    placed[owner[~(np.abs(numbers) < _FARTHEST).all(axis=1)]] = False
    return np.asarray(placed, dtype=bool)


def plain_shapes(geometries: Iterable[BaseGeometry | None]) -> NDArray[np.object_]:
    """Flat and valid shapes that cover the same ground without overlaps.

    Heights and measures are dropped, whatever their values. Rings that cross themselves are
    repaired by the even-odd rule, as QGIS draws them, and overlapping parts become their union.
    Lines, points and empty parts are dropped if there are polygons.

    Parameters
    ----------
    geometries : iterable of shapely geometries
        None for a parcel without geometry.

    Returns
    -------
    numpy.ndarray
        (parcel,) geometries: None for one that is missing, empty or has coordinates that are
        not finite (below 1e12); the same object if it needs no change.
    """
    shapes = np.fromiter(geometries, dtype=object)
    for start in range(0, len(shapes), _BATCH):
        part = shapes[start : start + _BATCH]  # a view
        part[~has_place(part)] = None
        raised = shapely.get_coordinate_dimension(part) > 2
        part[raised] = shapely.force_2d(part[raised])
        for i in np.flatnonzero(_odd(part)):
            part[i] = _mended(part[i])
    return shapes


def _odd(shapes: NDArray[np.object_]) -> NDArray[np.bool_]:
    kind = shapely.get_type_id(shapes)
    odd = ~(shapely.is_valid(shapes) | shapely.is_missing(shapes))
    # Valid geometries of these types may still have overlapping parts.
    odd |= (kind == _MULTIPOINT) | (kind == _MULTILINE) | (kind == _COLLECTION)
    several = np.flatnonzero(kind == _MULTIPOLYGON)
    parts, owner = shapely.get_parts(shapes[several], return_index=True)
    odd[several[owner[shapely.is_empty(parts)]]] = True
    return np.asarray(odd, dtype=bool)


def _mended(shape: BaseGeometry) -> BaseGeometry | None:
    try:
        parts = _simple_parts(shapely.make_valid(_simple_parts(np.array([shape], dtype=object))))
        polygons = parts[shapely.get_type_id(parts) == _POLYGON]
        return shapely.union_all(polygons if len(polygons) else parts)
    except shapely.errors.GEOSException:  # finite numbers, but too large to calculate with
        return None


def _simple_parts(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    """Points, lines and polygons of nested geometries, without empty ones."""
    parts = shapely.get_parts(shapes)
    while (shapely.get_type_id(parts) >= _MULTIPOINT).any():
        parts = shapely.get_parts(parts)
    return np.asarray(parts[~shapely.is_empty(parts)])
