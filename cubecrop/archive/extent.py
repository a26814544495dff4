"""The footprint and dates of a STAC item."""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyproj
import shapely
import shapely.errors
from shapely.geometry import mapping, shape

from cubecrop.archive.grid import grid_of
from cubecrop.archive.identity import code_of, utc
from cubecrop.checks import brief
from cubecrop.circle import arcs_meet, bbox_of, box_of, cut_at_180, mended, unwrap, wrap
from cubecrop.errors import UnsupportedItemError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

__all__ = [
    "collection_of",
    "footprint_of",
    "identity_of",
    "lighter",
    "name_of",
    "solar_day",
    "span_of",
]

_HALF_TURN: Final = 180.0
#: An outline with more points is replaced by its hull; outlines by ESA have a few dozen.
_MANY: Final = 10_000
#: Directions in which the farthest point becomes a corner of a hull.
_DIRECTIONS: Final = 32
#: Degrees by which an item's statements about its place may differ.
_NEAR: Final = 0.01
_CURE: Final = "Mend the item, or leave it out of the archive."
_UNREADABLE: Final = (
    KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError,
    shapely.errors.ShapelyError, pyproj.exceptions.ProjError,
)  # fmt: skip


def name_of(item: Mapping[str, Any]) -> str:
    """An item's id for messages."""
    return str(item.get("id", "without id"))


def collection_of(item: Mapping[str, Any]) -> str | None:
    """The id of an item's collection, None if it has none; raises if the id is not text."""
    collection = item.get("collection")
    if collection is not None and not isinstance(collection, str):
        raise UnsupportedItemError(
            f"item {name_of(item)!r} has collection {brief(collection)}, expected the id of one "
            f"collection. {_CURE}"
        )
    return collection


def identity_of(item: Mapping[str, Any]) -> str:
    """A text that is equal for two copies of the same item.

    It leaves out links and signatures, which may differ between answers.
    """
    assets = item.get("assets")
    found = assets if isinstance(assets, Mapping) else {}
    hrefs = {
        str(key): str(asset.get("href")).split("?")[0]
        for key, asset in found.items()
        if isinstance(asset, Mapping)
    }
    return json.dumps([item.get("properties"), hrefs], sort_keys=True, default=str)


def footprint_of(item: Mapping[str, Any]) -> BaseGeometry:
    """The footprint of an item in degrees, split at the 180th meridian.

    The footprint is the geometry, or the bbox if there is no geometry. For an image both are
    compared with the bounds and CRS that the item states for its files. A geometry or bbox that
    lies elsewhere, or is in metres, is replaced by one that is right.

    Raises
    ------
    UnsupportedItemError
        The item does not state where it lies, or contradicts itself.
    """
    name = name_of(item)
    image = _is_image(item)
    stated: list[tuple[str, BaseGeometry]] = []
    wrong: list[tuple[str, BaseGeometry | None]] = []
    for what, read in (("geometry", _geometry), ("bbox", _box)):
        try:
            if (found := read(item.get(what), image=image)) is not None:
                (stated if _is_in_degrees(found) else wrong).append((what, found))
        except _UNREADABLE as error:
            why = f"{what} ({type(error).__name__}: {error})"
            if what == "geometry":
                raise UnsupportedItemError(f"item {name!r} has no usable {why}. {_CURE}") from error
            wrong.append((why, None))
    if not stated and not wrong:
        raise UnsupportedItemError(f"item {name!r} has no usable geometry or bbox. {_CURE}")
    if image or not stated:
        return _checked_by_files(item, stated, wrong)
    found = stated[0][1]
    west, _, east, _ = found.bounds
    # A footprint that spans the globe runs from edge to edge, not across the meridian.
    inside = west >= -_HALF_TURN and east <= _HALF_TURN
    return mended(found) if inside else _cut_and_mended(found)


def _geometry(raw: object, *, image: bool) -> BaseGeometry | None:
    """A footprint from GeoJSON; one with very many points becomes a hull."""
    if not raw:
        return None
    if (numbers := _many_points(raw)) is not None:
        return _outline(numbers, image=image)
    found = shape(raw)
    numbers = shapely.get_coordinates(found)
    if found.is_empty or not np.isfinite(numbers).all():
        raise ValueError("it is empty" if found.is_empty else "its coordinates are not finite")
    return found


def _many_points(raw: object) -> NDArray[np.float64] | None:
    """Points (point, 2) of a (multi)polygon's rings if there are very many, else None."""
    kind = raw["type"]  # type: ignore[index]
    if kind not in {"Polygon", "MultiPolygon"}:
        return None
    parts = raw["coordinates"]  # type: ignore[index]
    rings = parts if kind == "Polygon" else [ring for part in parts for ring in part]
    if sum(map(len, rings)) <= _MANY:
        return None
    points = np.concatenate([np.array(ring, dtype=np.float64)[:, :2] for ring in rings])
    if not np.isfinite(points).all():
        raise ValueError("its coordinates are not finite")
    return points


def _outline(points: NDArray[np.float64], *, image: bool) -> BaseGeometry:
    """A hull of points, at most a hundredth of its width too wide."""
    apart = image and np.ptp(points[:, 0]) > _HALF_TURN
    # Each side of the meridian has its own hull; a common one would go round the globe.
    west = points[:, 0] < 0
    sides = [points[west], points[~west]] if apart else [points]
    hulls = [_hull(side) for side in sides if len(side)]
    return hulls[0] if len(hulls) == 1 else shapely.MultiPolygon(hulls)


def _hull(points: NDArray[np.float64]) -> BaseGeometry:
    angles = np.linspace(0, 2 * np.pi, _DIRECTIONS, endpoint=False)
    farthest = [points[(points @ [np.cos(a), np.sin(a)]).argmax()] for a in angles]
    hull = shapely.multipoints(np.array(farthest)).convex_hull
    west, south, east, north = hull.bounds
    return hull.buffer(max(east - west, north - south) / 100, quad_segs=1)


def lighter(content: dict[str, Any]) -> dict[str, Any]:
    """JSON of one or several items, with the hull in place of an outline of very many points.

    Libraries copy an item point by point, several times.
    """
    if isinstance(features := content.get("features"), list):
        return {**content, "features": [lighter(f) if isinstance(f, dict) else f for f in features]}
    try:
        points = _many_points(content.get("geometry"))
        hull = None if points is None else _outline(points, image=_is_image(content))
    except _UNREADABLE:
        return content  # `footprint_of` raises with the item's name
    return content if hull is None else {**content, "geometry": mapping(hull)}


def _box(raw: object, *, image: bool) -> BaseGeometry | None:  # noqa: ARG001 (as of _geometry)
    """A bbox in two or three dimensions; across the 180th meridian west > east."""
    if raw is None:
        return None
    numbers = [float(number) for number in raw]  # type: ignore[attr-defined]
    west, south, east, north = (*numbers[:2], *numbers[len(numbers) // 2 :][:2])
    if not np.isfinite(numbers).all():
        raise ValueError("its numbers are not finite")
    return box_of((west, south, east, north))


def _is_in_degrees(found: BaseGeometry) -> bool:
    west, south, east, north = found.bounds
    # An elevation model may extend half a pixel beyond the edge of the globe.
    return bool(west >= -361 and east <= 361 and south >= -90.1 and north <= 90.1)


def _cut_and_mended(found: BaseGeometry) -> BaseGeometry:
    return mended(cut_at_180(found))


def _checked_by_files(
    item: Mapping[str, Any],
    stated: list[tuple[str, BaseGeometry]],
    wrong: list[tuple[str, BaseGeometry | None]],
) -> BaseGeometry:
    """The first stated geometry or bbox that agrees with the bounds of the item's files."""
    places = [(what, _cut_and_mended(found)) for what, found in stated]
    files = _files_of(item)
    name = name_of(item)
    if files is not None:
        for _, place in places:
            if _meet(place, files):
                # Some catalogues state a band around the globe for an image across the meridian.
                return files if _width(place) > _HALF_TURN else place
        if not places:
            return files  # no statement in degrees contradicts them
        raise UnsupportedItemError(
            f"item {name!r} has {' and '.join(what for what, _ in places)} at "
            f"{_place_text(places[0][1])}, but its proj: fields place its files at "
            f"{_place_text(files)}. Longitude and latitude may be swapped, or the CRS may be "
            f"wrong. {_CURE}"
        )
    if not places:
        listed = ", ".join(w if found is None else f"{w} of {found.bounds}" for w, found in wrong)
        raise UnsupportedItemError(
            f"item {name!r} has {listed}, expected degrees of longitude and latitude, and does "
            "not state bounds and CRS of its files (proj:bbox, or proj:transform and proj:shape). "
            f"{_CURE}"
        )
    if len(places) > 1 and not _meet(places[0][1], places[1][1]):
        raise UnsupportedItemError(
            f"item {name!r} has geometry at {_place_text(places[0][1])} and bbox at "
            f"{_place_text(places[1][1])}, expected one place. Longitude and latitude may be "
            f"swapped in one of them. {_CURE}"
        )
    return places[0][1]


def _meet(one: BaseGeometry, other: BaseGeometry) -> bool:
    if one.intersects(other):
        return True
    (west, south, east, north), (left, bottom, right, top) = map(bbox_of, (one, other))
    beside = arcs_meet((west - _NEAR, east + _NEAR), (left, right))
    return bool(beside) and south - _NEAR <= top and bottom - _NEAR <= north


def _width(place: BaseGeometry) -> float:
    west, _, east, _ = unwrap(place).bounds
    return float(east - west)


def _place_text(place: BaseGeometry) -> str:
    west, south, east, north = bbox_of(place)
    return f"lon {west:.4f} to {east:.4f}, lat {south:.4f} to {north:.4f}"


def _files_of(item: Mapping[str, Any]) -> BaseGeometry | None:
    """Rectangle of an item's files in degrees, as an asset or the item states it."""
    properties, assets = item.get("properties"), item.get("assets")
    of_item = properties if isinstance(properties, Mapping) else {}
    of_assets = list(assets.values()) if isinstance(assets, Mapping) else []
    for stated in (*of_assets, of_item):
        if not isinstance(stated, Mapping):
            continue
        try:
            code = code_of(stated) or code_of(of_item)
            bounds = grid_of(stated, {}, alike=True).bounds if code is not None else None
            if code is not None and bounds is not None:
                return _in_degrees(bounds, code)
        except _UNREADABLE:
            continue  # the check that reads this field for the scene raises
    return None


def _in_degrees(bounds: tuple[float, float, float, float], code: str) -> BaseGeometry | None:
    left, bottom, right, top = bounds
    transformer, projected = _to_degrees(code)
    if not projected:
        return None  # radar geometry has no usable bounds
    x = np.array([left, (left + right) / 2, right, right, right, (left + right) / 2, left, left])
    y = np.array([bottom, bottom, bottom, (bottom + top) / 2, top, top, top, (bottom + top) / 2])
    lon, lat = transformer.transform(x, y)
    if not np.isfinite(np.concatenate([lon, lat])).all():
        return None
    lon = np.unwrap(lon, period=2 * _HALF_TURN)
    return cut_at_180(shapely.box(lon.min(), lat.min(), lon.max(), lat.max()))


@functools.lru_cache(maxsize=512)
def _to_degrees(code: str) -> tuple[pyproj.Transformer, bool]:
    crs = pyproj.CRS.from_user_input(code)
    return pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True), crs.is_projected


def _is_image(item: Mapping[str, Any]) -> bool:
    """Whether an item is a satellite image, which is narrow; weather may span the globe."""
    properties = item.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    names = properties.get("platform"), properties.get("constellation"), item.get("collection")
    return any(str(name).lower().startswith("sentinel") for name in names)


def span_of(item: Mapping[str, Any]) -> tuple[dt.datetime, dt.datetime]:
    """First and last moment of an item, UTC."""
    name = name_of(item)
    properties = item.get("properties")
    if not isinstance(properties, Mapping):
        raise UnsupportedItemError(
            f"item {name!r} has properties {brief(properties)}, expected an object. {_CURE}"
        )
    moment = properties.get("datetime")
    first = properties.get("start_datetime") or moment
    last = properties.get("end_datetime") or moment
    try:
        return utc(str(first)), utc(str(last))
    except (ValueError, OverflowError) as error:
        raise UnsupportedItemError(
            f"item {name!r} has no readable datetime ({moment!r}, {first!r}, {last!r}), expected "
            f"text such as '2018-05-01T10:50:31Z'. {_CURE}"
        ) from error


def solar_day(moment: dt.datetime, footprint: BaseGeometry) -> dt.date:
    """Local date at the middle of a footprint: UTC + longitude / 15 h."""
    longitude = float(wrap(unwrap(footprint).centroid.x))
    return (moment + dt.timedelta(hours=longitude / 15)).date()
