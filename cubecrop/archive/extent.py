"""Where and when an item is."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import shapely
import shapely.errors
from shapely.geometry import shape

from cubecrop.archive.identity import utc
from cubecrop.errors import UnsupportedItemError

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["footprint_of", "name_of", "solar_day", "span_of"]

#: Degrees: a footprint of one satellite image that is wider crosses the antimeridian.
_HALF_TURN: Final = 180.0


def name_of(item: Mapping[str, Any]) -> str:
    """An item's id, as messages name it."""
    return str(item.get("id", "without id"))


def footprint_of(item: Mapping[str, Any]) -> BaseGeometry:
    """Where an item lies, in degrees: its geometry, or its bbox where it has none.

    An image whose ring runs across the antimeridian is cut there into two parts.
    """
    name = name_of(item)
    try:
        geometry = item.get("geometry")
        footprint = shape(geometry) if geometry else _box(item["bbox"])
        numbers = shapely.get_coordinates(footprint).ravel()
        usable = not footprint.is_empty and all(map(math.isfinite, numbers))
    except (
        KeyError, IndexError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError,
    ) as error:  # fmt: skip
        raise UnsupportedItemError(
            f"item {name!r} has no usable geometry or bbox: {error}."
        ) from error
    if not usable:
        raise UnsupportedItemError(f"item {name!r} has an empty geometry.")
    if _is_image(item):
        footprint = _cut_at_antimeridian(footprint)
    return footprint if footprint.is_valid else shapely.make_valid(footprint)


def _box(bbox: Iterable[float]) -> BaseGeometry:
    """A bbox in two or three dimensions; west of it is beyond east across the antimeridian."""
    numbers = [float(number) for number in bbox]
    west, south, east, north = (*numbers[:2], *numbers[len(numbers) // 2 :][:2])
    if west > east:
        east += 360
    return _cut_at_antimeridian(shapely.box(west, south, east, north))


def _is_image(item: Mapping[str, Any]) -> bool:
    """Whether an item is of a satellite, and so narrow; weather may span the globe."""
    properties = item.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    names = properties.get("platform"), properties.get("constellation")
    return any(str(name).lower().startswith("sentinel") for name in names)


def _cut_at_antimeridian(footprint: BaseGeometry) -> BaseGeometry:
    parts = []
    for part in shapely.get_parts(footprint):
        west, _, east, _ = part.bounds
        if east - west > _HALF_TURN:
            part = shapely.transform(part, lambda xy: xy + (xy < 0) * [360.0, 0.0])
        if part.bounds[2] <= _HALF_TURN:
            parts.append(part)
            continue
        part = part if part.is_valid else shapely.make_valid(part)
        here = part.intersection(shapely.box(-180, -90, 180, 90))
        there = part.intersection(shapely.box(180, -90, 540, 90))
        parts += [here, shapely.transform(there, lambda xy: xy - [360.0, 0.0])]
    whole = [part for part in parts if not part.is_empty]
    return whole[0] if len(whole) == 1 else shapely.union_all(whole)


def span_of(item: Mapping[str, Any]) -> tuple[dt.datetime, dt.datetime]:
    """First and last moment of an item, UTC."""
    name = name_of(item)
    properties = item.get("properties")
    if not isinstance(properties, Mapping):
        raise UnsupportedItemError(f"item {name!r} has properties {properties!r}.")
    moment = properties.get("datetime")
    first = properties.get("start_datetime") or moment
    last = properties.get("end_datetime") or moment
    try:
        return utc(str(first)), utc(str(last))
    except ValueError as error:
        raise UnsupportedItemError(
            f"item {name!r} has no readable datetime ({moment!r}, {first!r}, {last!r})."
        ) from error


def solar_day(moment: dt.datetime, footprint: BaseGeometry) -> dt.date:
    """Local date: UTC + longitude / 15 h, at the middle of a footprint."""
    west, _, east, _ = footprint.bounds
    wide = east - west > _HALF_TURN
    if wide and (east - west < 2 * _HALF_TURN or len(shapely.get_parts(footprint)) > 1):
        # Two parts on either side of the antimeridian have their mean at Greenwich.
        footprint = shapely.transform(footprint, lambda xy: xy + (xy < 0) * [360.0, 0.0])
    longitude = (footprint.centroid.x + _HALF_TURN) % (2 * _HALF_TURN) - _HALF_TURN
    return (moment + dt.timedelta(hours=longitude / 15)).date()
