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
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from cubecrop.aoi import Aoi, bbox_from_text, parse_aoi
from cubecrop.circle import unwrap
from cubecrop.shapes import plain_shapes
from cubecrop.vector import from_geojson, read_vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.cube.grid import Lattice, Window

__all__ = ["Outline", "area_and_outline", "polygons_of"]

_LONLAT: Final = "EPSG:4326"
#: Parts of a shape's longer side that an edge is divided into before it is reprojected.
_PARTS: Final = 64


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

    def to_crs(self, crs: str) -> Outline:
        """Reproject; edges are divided so that they stay accurate to a metre."""
        if pyproj.CRS.from_user_input(crs) == pyproj.CRS.from_user_input(self.crs):
            return self
        transformer = pyproj.Transformer.from_crs(self.crs, crs, always_xy=True)
        sides = np.ptp(shapely.bounds(self.shapes).reshape(-1, 2, 2), axis=1).max(axis=1)
        moved = shapely.transform(
            shapely.segmentize(self.shapes, sides / _PARTS),
            lambda xy: np.column_stack(transformer.transform(*xy.T)),
        )
        # Shapes beyond the CRS's reach lie on no grid of it.
        finite = np.isfinite(shapely.bounds(moved)).all(axis=1)
        return Outline(moved[finite], crs)

    def meeting(self, bounds: tuple[float, float, float, float]) -> NDArray[np.object_]:
        """The shapes whose bounding rectangle meets (left, bottom, right, top)."""
        left, bottom, right, top = bounds
        west, south, east, north = shapely.bounds(self.shapes).T
        chosen = (west <= right) & (east >= left) & (south <= top) & (north >= bottom)
        return np.asarray(self.shapes[chosen])

    def meets(self, bounds: tuple[float, float, float, float]) -> bool:
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
    polygons = polygons[shapely.area(polygons) > 0]
    if pyproj.CRS.from_user_input(crs).is_geographic:
        wide = np.ptp(shapely.bounds(polygons)[:, ::2], axis=1) > 180
        for i in np.flatnonzero(wide):
            polygons[i] = unwrap(polygons[i])
    alone = len(polygons) == 1 and not rectangles
    if len(polygons) == 0 or (alone and bool(polygons[0].equals(polygons[0].envelope))):
        return None
    return Outline(polygons, crs)
