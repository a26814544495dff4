"""Outlines of areas: which pixels of a grid lie in polygons, block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import geopandas as gpd
import numpy as np
import pyproj
import shapely
from pyproj.enums import TransformDirection
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from cubecrop.aoi import Aoi, bbox_from_text, parse_aoi
from cubecrop.circle import unwrap
from cubecrop.errors import AoiError
from cubecrop.shapes import plain_shapes
from cubecrop.vector import from_geojson, read_vector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cubecrop.cube.grid import Lattice, Window
    from cubecrop.cube.tiles import Bounds

__all__ = ["Outline", "area_and_outline", "polygons_of"]

_LONLAT: Final = "EPSG:4326"
#: Longest parts that edges are divided into before they are reprojected. A part along a parallel
#: bends by at most 0.3 m.
_DEGREES: Final = 0.05
_METRES: Final = 2500.0
#: Margin around a rectangle: metres, and as a share of its longer side, for its curved edges.
_MARGIN: Final = 1000.0
_SHARE: Final = 0.01
#: Parts of a rectangle's longer side that its edges are divided into.
_PARTS: Final = 128


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """Polygons (shape,) and their CRS; a pixel lies inside if its centre does."""

    shapes: NDArray[np.object_]
    crs: str

    @property
    def digest(self) -> str:
        """SHA-256 over CRS and shapes; it does not depend on their order."""
        found = hashlib.sha256(pyproj.CRS.from_user_input(self.crs).to_wkt().encode())
        for wkb in sorted(shapely.to_wkb(shapely.normalize(self.shapes), byte_order=1)):
            found.update(hashlib.sha256(wkb).digest())
        return found.hexdigest()

    def to_crs(self, crs: str, bounds: Bounds) -> Outline:
        """Reproject what lies in a rectangle of the target CRS, and a margin around it.

        Shapes are cut to that place first, so that shapes of any size can be taken to a CRS that
        reaches only a part of them. Long edges are divided, so that they stay accurate to a metre.

        Parameters
        ----------
        crs : str
            The target, projected in metres.
        bounds : tuple of float
            Left, bottom, right, top of the rectangle, metres.

        Raises
        ------
        AoiError
            A shape there has no place in the CRS.
        """
        own, target = (pyproj.CRS.from_user_input(one) for one in (self.crs, crs))
        if own == target:
            return Outline(self.meeting(bounds), crs)
        to_target = pyproj.Transformer.from_crs(own, target, always_xy=True)
        longest = _DEGREES if own.is_geographic else _METRES
        found = []
        for box, turn in _windows(to_target, bounds):
            # Divided before they are cut: a pixel then lies inside whatever the rectangle.
            near = shapely.segmentize(shapely.get_parts(self.meeting(box)), longest)
            found.append(
                shapely.transform(
                    _cut(Outline(near, self.crs).meeting(box), box, longest),
                    lambda xy, turn=turn: np.column_stack(to_target.transform(*(xy - turn).T)),
                )
            )
        moved = np.concatenate([np.empty(0, object), *found])
        if not np.isfinite(shapely.bounds(moved)).all():
            raise AoiError(
                f"a polygon in {self.crs} has no place in {crs}, though it meets the area that is "
                "mapped there. Give the polygons in degrees (EPSG:4326)."
            )
        return Outline(moved, crs)

    def meeting(self, bounds: Bounds) -> NDArray[np.object_]:
        """The shapes whose bounding rectangle meets (left, bottom, right, top)."""
        left, bottom, right, top = bounds
        west, south, east, north = shapely.bounds(self.shapes).T
        chosen = (west <= right) & (east >= left) & (south <= top) & (north >= bottom)
        return np.asarray(self.shapes[chosen])

    def meets(self, bounds: Bounds) -> bool:
        """Whether a shape meets a rectangle (left, bottom, right, top)."""
        return bool(shapely.intersects(self.meeting(bounds), shapely.box(*bounds)).any())

    def inside(self, lattice: Lattice, window: Window) -> NDArray[np.bool_]:
        """Which pixels (height, width) of a window of its CRS's lattice have their centre inside.

        Only shapes near the window are drawn, and nothing larger than the window is made.
        """
        transform = lattice.transform(window)
        right, bottom = transform * (window.width, window.height)
        near = self.meeting((transform.c, bottom, right, transform.f))
        if len(near) == 0:
            return np.zeros((window.height, window.width), bool)
        burnt: NDArray[np.uint8] = rasterize(
            near.tolist(), out_shape=(window.height, window.width), transform=transform,
            fill=0, default_value=1, dtype="uint8",
        )  # fmt: skip
        return np.asarray(burnt == 1)


def area_and_outline(aoi: object, *, outline: bool = False) -> tuple[Aoi, Outline | None]:
    """An area of interest, and its polygons unless it is a rectangle.

    Parameters
    ----------
    aoi : bbox, geometry, GeoDataFrame or path
        See `cubecrop.aoi.parse_aoi`. A file is read once.
    outline : bool, default False
        As for `parse_aoi`.

    Returns
    -------
    tuple
        The area, and its polygons; None for a bbox, for a single shape that is a rectangle in its
        own CRS, and for points and lines.
    """
    if isinstance(aoi, str | Path):
        aoi = (bbox_from_text(aoi) if isinstance(aoi, str) else None) or read_vector(aoi)
    return parse_aoi(aoi, outline=outline), polygons_of(aoi)


def polygons_of(aoi: object, *, rectangles: bool = False) -> Outline | None:
    """The polygons of an area that was read; None if there is none, or a single rectangle.

    With ``rectangles``, a single rectangle is a polygon too.
    """
    crs = _LONLAT
    if isinstance(aoi, gpd.GeoDataFrame | gpd.GeoSeries):
        shapes, crs = aoi.geometry.to_numpy(), aoi.crs.to_string()
    elif isinstance(aoi, Aoi):
        shapes, crs = np.array([aoi.geometry], dtype=object), aoi.crs
    elif isinstance(aoi, BaseGeometry):
        shapes = np.array([aoi], dtype=object)
    else:
        found = getattr(aoi, "__geo_interface__", aoi)
        if not isinstance(found, Mapping):
            return None  # a bbox
        # As one object, a FeatureCollection is its bounding rectangle.
        is_many = found.get("type") == "FeatureCollection"
        features = [one for one in found["features"] if one["geometry"]] if is_many else [found]
        read = [from_geojson({**one, "crs": found.get("crs")}) for one in features]
        shapes, crs = np.fromiter((shape for shape, _ in read), dtype=object), read[0][1]
    polygons = plain_shapes(shapes)
    polygons = polygons[~shapely.is_missing(polygons)]
    if pyproj.CRS.from_user_input(crs).is_geographic:
        wide = np.ptp(shapely.bounds(polygons)[:, ::2], axis=1) > 180
        polygons[wide] = plain_shapes([unwrap(one) for one in polygons[wide]])
    polygons = polygons[shapely.area(polygons) > 0]
    alone = len(polygons) == 1 and not rectangles
    if len(polygons) == 0 or (alone and bool(polygons[0].equals(polygons[0].envelope))):
        return None
    return Outline(polygons, crs)


def _windows(
    to_target: pyproj.Transformer, bounds: Bounds
) -> Iterator[tuple[Bounds, NDArray[np.float64]]]:
    """Rectangles (left, bottom, right, top) of the source CRS around one of the target CRS.

    In degrees there is one for each way to count longitudes, each with what to subtract from
    (x, y) so that the longitudes are those of the target.
    """
    left, bottom, right, top = bounds
    side = max(right - left, top - bottom)
    box = shapely.box(*bounds).buffer(_MARGIN + _SHARE * side, join_style="mitre")
    edges = shapely.get_coordinates(shapely.segmentize(box, side / _PARTS + 1))
    x, y = to_target.transform(edges[:, 0], edges[:, 1], direction=TransformDirection.INVERSE)
    known = np.isfinite(x) & np.isfinite(y)
    source = to_target.source_crs
    if source is None or not source.is_geographic:
        # Where the source CRS does not reach all of the rectangle, any polygon may meet it.
        everywhere = (-np.inf, -np.inf, np.inf, np.inf)
        found = (x.min(), y.min(), x.max(), y.max()) if known.all() else everywhere
        yield found, np.zeros(2)
        return
    if known.all():
        x = np.unwrap(x, period=360)
        west, south, east, north = x.min(), y.min(), x.max(), y.max()
        spans = east - west >= 360
    else:  # the rectangle is larger than the Earth, as its corners are in some CRS
        west, south, east, north, spans = -180.0, -90.0, 180.0, 90.0, True
    for pole in (-90.0, 90.0):  # around a pole lie all longitudes
        there = to_target.transform(0.0, pole)
        if np.isfinite(there).all() and box.covers(shapely.Point(there)):
            spans, south, north = True, min(south, pole), max(north, pole)
    if spans:
        west, east = -180.0, 180.0
    # Longitudes of the rectangle, of shapes across the 180th meridian, and of 0 to 360.
    for turn in (-360.0, 0.0, 360.0):
        yield (west + turn, south, east + turn, north), np.array([turn, 0.0])


def _cut(shapes: NDArray[np.object_], box: Bounds, longest: float) -> NDArray[np.object_]:
    """What lies in a rectangle of shapes that meet it; shapes within are returned as they are."""
    left, bottom, right, top = box
    west, south, east, north = shapely.bounds(shapes).T
    beyond = (west < left) | (east > right) | (south < bottom) | (north > top)
    shapes = shapes.copy()
    cut = shapely.intersection(shapes[beyond], shapely.box(*box))
    shapes[beyond] = shapely.segmentize(cut, longest)
    # A shape whose rectangle alone meets the box has nothing in it.
    return np.asarray(shapes[shapely.area(shapes) > 0])
