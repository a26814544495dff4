"""Shapes, boxes and intervals of longitude across the 180th meridian.

A shape in degrees has two forms here. An *unwrapped* shape has longitudes without a jump, which
may exceed ±180, so its bounds, middle and width are those on the ground. A *cut* shape lies within
±180 and is split at the meridian, as in RFC 7946 (section 3.1.9) and in archives.
A bbox (west, south, east, north) across the meridian has west > east (section 5.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import shapely

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from shapely.geometry.base import BaseGeometry

__all__ = [
    "BBox",
    "arc_of",
    "arcs_meet",
    "bbox_around",
    "bbox_of",
    "bounds_of",
    "box_of",
    "cut_at_180",
    "degrees_between",
    "halves_of",
    "mended",
    "unwrap",
    "wrap",
]  # fmt: skip

#: (west, south, east, north) in degrees; west > east across the 180th meridian.
BBox = tuple[float, float, float, float]

_HALF: Final = 180.0
_TURN: Final = 360.0
#: With more points than these, any outline becomes its hull, an invalid outline becomes its hull,
#: and an invalid outline is repaired by the faster method. The time to repair an outline grows
#: with the square of its crossings.
_VERY_MANY: Final = 20_000
_MANY: Final = 400
_SOME: Final = 60


def wrap(longitude: ArrayLike) -> NDArray[np.float64]:
    """Longitudes within ±180; values that are within already stay exactly the same."""
    values = np.asarray(longitude, dtype=np.float64)
    # Rounded far below the precision of files: 180.1 becomes -179.9, not -179.89999999999998.
    turned = np.round((values + _HALF) % _TURN - _HALF, 12)
    return np.where(np.abs(values) <= _HALF, values, turned)


def degrees_between(one: ArrayLike, other: ArrayLike) -> NDArray[np.float64]:
    """Degrees between longitudes, 0 to 180, the shorter way round."""
    apart = np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)) % _TURN
    return np.minimum(apart, _TURN - apart)


def arc_of(west: ArrayLike, east: ArrayLike) -> tuple[float, float]:
    """The shortest arc that contains all intervals: start within ±180, end not below it.

    Parameters
    ----------
    west, east : array-like
        Ends of the intervals, degrees, ``east`` not below ``west``; at least one.
    """
    starts, ends = (np.atleast_1d(np.asarray(edge, np.float64)) for edge in (west, east))
    first = wrap(starts)
    # Unturned values stay exactly the same: 3.1 must not become 3.1000000000000014.
    last = np.where(first == starts, ends, first + (ends - starts))
    order = np.argsort(first, kind="stable")
    first, last = first[order], last[order]
    reach = np.maximum.accumulate(last)
    before = np.maximum(np.concatenate([[-np.inf], reach[:-1]]), reach[-1] - _TURN)
    gaps = first - before
    widest = int(gaps.argmax())  # the first of equal gaps, which avoids the meridian
    if gaps[0] >= gaps[widest] or gaps[widest] <= 0:
        whole = gaps[widest] <= 0
        return (-_HALF, _HALF) if whole else (float(first[0]), float(reach[-1]))
    return float(first[widest]), float(before[widest] + _TURN)


def arcs_meet(
    one: tuple[ArrayLike, ArrayLike], other: tuple[ArrayLike, ArrayLike]
) -> NDArray[np.bool_]:
    """Whether arcs (west, east) share a longitude; an arc across the meridian has west > east."""
    (west, east), (left, right) = (
        (np.asarray(w, np.float64), np.asarray(e, np.float64)) for w, e in (one, other)
    )
    width = np.where(east < west, east - west + _TURN, east - west)
    wide = np.where(right < left, right - left + _TURN, right - left)
    return np.asarray(((left - west) % _TURN <= width) | ((west - left) % _TURN <= wide))


def bounds_of(shapes: NDArray[np.object_]) -> NDArray[np.float64]:
    """(shape, 4): west, south, east, north of each shape, unwrapped; NaN of empty ones.

    A shape with an edge over more than half the globe crosses the meridian.
    """
    bounds: NDArray[np.float64] = shapely.bounds(shapes)
    for i in np.flatnonzero(bounds[:, 2] - bounds[:, 0] > _HALF):
        bounds[i] = unwrap(shapes[i]).bounds
    return bounds


def bbox_of(shape: BaseGeometry) -> BBox:
    """The smallest bbox of a shape in degrees, cut or not."""
    bounds = shapely.bounds(shapely.get_parts(shape))
    west, east = arc_of(bounds[:, 0], bounds[:, 2])
    low, high = float(np.nanmin(bounds[:, 1])), float(np.nanmax(bounds[:, 3]))
    return west, low, float(wrap(east)), high


def bbox_around(boxes: Sequence[Sequence[float]]) -> BBox:
    """The smallest bbox that contains all given ones, at least one."""
    west, south, east, north = np.asarray(boxes, dtype=np.float64).T
    start, end = arc_of(west, np.where(east < west, east + _TURN, east))
    return start, float(south.min()), float(wrap(end)), float(north.max())


def halves_of(bbox: BBox) -> list[BBox]:
    """A bbox as one or two boxes that do not cross the meridian."""
    west, south, east, north = bbox
    if west <= east:
        return [bbox]
    return [(west, south, _HALF, north), (-_HALF, south, east, north)]


def box_of(bbox: Sequence[float]) -> BaseGeometry:
    """A bbox as a polygon, or as two if it crosses the meridian."""
    west, south, east, north = bbox
    boxes = [shapely.box(*half) for half in halves_of((west, south, east, north))]
    return boxes[0] if len(boxes) == 1 else shapely.MultiPolygon(boxes)


def unwrap(shape: BaseGeometry) -> BaseGeometry:
    """A shape in degrees with longitudes without a jump, on the shortest arc.

    An edge over more than half the globe crosses the meridian, unless the shape spans the globe.
    A shape around a pole has no such form and is returned unchanged.
    """
    west, _, east, _ = shape.bounds
    if not east - west > _HALF and west >= -_HALF and east <= _HALF:
        return shape
    parts = _without_jumps(shape)
    bounds = shapely.bounds(parts)
    start, end = arc_of(bounds[:, 0], bounds[:, 2])
    turns = _TURN * np.nan_to_num(np.floor((bounds[:, 0] - start) / _TURN))
    if end - start >= _TURN or (not turns.any() and len(parts) == 1):
        moved = parts
    else:
        coordinates, owner = shapely.get_coordinates(parts, return_index=True)
        coordinates[:, 0] -= turns[owner]
        moved = shapely.set_coordinates(shapely.force_2d(parts), coordinates)
    return _joined(list(moved))


def cut_at_180(shape: BaseGeometry) -> BaseGeometry:
    """Split a shape in degrees, unwrapped or not, at the meridian, within ±180."""
    parts = _without_jumps(shape)
    bounds = shapely.bounds(parts)
    if not ((bounds[:, 0] < -_HALF) | (bounds[:, 2] > _HALF)).any():
        return shape
    shape = unwrap(shape)
    west, south, east, north = shape.bounds
    shape = mended(shape)
    pieces: list[BaseGeometry] = []
    for turn in range(int((west + _HALF) // _TURN), int((east + _HALF) // _TURN) + 1):
        edge = turn * _TURN
        strip = shapely.box(edge - _HALF, south - 1, edge + _HALF, north + 1)
        found = shapely.get_parts(shape.intersection(strip))
        # A part that only touches the meridian has no area beyond it.
        whole = [one for one in found if shape.area == 0 or one.area > 0]
        pieces += shapely.transform(whole, lambda xy, edge=edge: xy - [edge, 0.0]).tolist()
    return _joined(pieces) if pieces else shape


def mended(shape: BaseGeometry) -> BaseGeometry:
    """A valid shape; very complex outlines become their hull, so that it never takes long."""
    count = shapely.get_num_coordinates(shape)
    if count > _VERY_MANY:  # even the check of validity takes long
        return shape.convex_hull
    if shape.is_valid:
        return shape
    if count > _MANY:
        return shape.convex_hull
    return shapely.make_valid(shape, method="linework" if count <= _SOME else "structure")


def _without_jumps(shape: BaseGeometry) -> NDArray[np.object_]:
    """The parts of a shape; parts that jump across the meridian are moved beyond it."""
    parts: NDArray[np.object_] = shapely.get_parts(shape)
    west, _, east, _ = shapely.bounds(parts).T
    for i in np.flatnonzero((east - west > _HALF) & (east - west < _TURN)):
        if _jumps(parts[i]):
            moved = shapely.transform(parts[i], lambda xy: xy + (xy[:, :1] < 0) * [_TURN, 0.0])
            parts[i] = parts[i] if _jumps(moved) else moved
    return parts


def _jumps(part: BaseGeometry) -> bool:
    rings = shapely.get_rings(part)
    lines = rings if len(rings) else [part]
    coordinates, owner = shapely.get_coordinates(lines, return_index=True)
    far = np.abs(np.diff(coordinates[:, 0])) > _HALF
    return bool((far & (np.diff(owner) == 0)).any())


def _joined(parts: Sequence[BaseGeometry]) -> BaseGeometry:
    """Join parts to one geometry of their common type."""
    if len(parts) == 1:
        return parts[0]
    kinds = {part.geom_type for part in parts}
    many = {"Polygon": shapely.MultiPolygon, "LineString": shapely.MultiLineString,
            "Point": shapely.MultiPoint}  # fmt: skip
    form = many.get(kinds.pop()) if len(kinds) == 1 else None
    return form(parts) if form else shapely.GeometryCollection(parts)
