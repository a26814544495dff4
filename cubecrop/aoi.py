"""Areas of interest in any form, as one geometry with a CRS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from cubecrop.circle import BBox, arc_of, bounds_of, cut_at_180, unwrap, wrap
from cubecrop.errors import AoiError
from cubecrop.shapes import has_place, plain_shapes
from cubecrop.vector import check_active_geometry, from_geojson, read_vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Aoi", "bbox_from_text", "has_place", "parse_aoi", "read_vector"]

LONLAT = "EPSG:4326"
#: With more points than this, edges are not divided one by one.
_MANY = 10_000
#: Margin around points and lines by whether they are in degrees: 0.5 m, more than the rounding of
#: a grid.
_MARGIN = {False: 0.5, True: 5e-6}
#: A table with more shapes has no outline: they are parcels, whose union takes long.
_SHAPES = 1_000


@dataclass(frozen=True, slots=True)
class Aoi:
    """One geometry and its CRS.

    A table of parcels becomes its bounding box in its own CRS, so that a grid in that CRS fits
    exactly. Longitudes continue across the 180th meridian and may exceed ±180; `lonlat` is
    split there.
    """

    geometry: BaseGeometry
    crs: str = LONLAT

    def to_crs(self, crs: str) -> Aoi:
        """Reproject; edges are divided so that they stay accurate to a metre."""
        target = pyproj.CRS.from_user_input(crs)
        if target == pyproj.CRS.from_user_input(self.crs):
            return self
        left, bottom, right, top = self.geometry.bounds
        # Messages use the original coordinates, since `__str__` needs this very reprojection.
        name = f"the area of interest, x {left} to {right}, y {bottom} to {top} in {self.crs},"
        failure = AoiError(
            f"{name} has no coordinates in {crs}. Check the coordinates and their CRS."
        )
        if not has_place([self.geometry])[0]:
            raise failure
        transformer = pyproj.Transformer.from_crs(self.crs, crs, always_xy=True)
        moved = shapely.transform(
            _with_short_edges(self.geometry),
            lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])),
        )
        if not np.isfinite(moved.bounds).all():
            raise failure
        if target.is_geographic:
            moved = unwrap(moved)
            if _is_around_a_pole(moved):
                raise AoiError(
                    f"{name} surrounds a pole or the globe, so it has no bbox in degrees. Choose "
                    "an area beside it."
                )
        return Aoi(moved, crs)

    @property
    def lonlat(self) -> BaseGeometry:
        """The geometry in degrees, longitudes within ±180, split at the 180th meridian."""
        return cut_at_180(self.to_crs(LONLAT).geometry)

    @property
    def centre(self) -> shapely.Point:
        """Centroid in degrees, also for a geometry across the 180th meridian."""
        point = unwrap(self.to_crs(LONLAT).geometry).centroid
        return shapely.Point(float(wrap(point.x)), point.y)

    @property
    def bbox(self) -> BBox:
        """(west, south, east, north) in degrees; west > east across the 180th meridian."""
        west, south, east, north = unwrap(self.to_crs(LONLAT).geometry).bounds
        if west >= -180 and east <= 180:
            return west, south, east, north
        return float(wrap(west)), south, float(wrap(east)), north

    def __str__(self) -> str:
        west, south, east, north = self.bbox
        return f"lon {west:.4f} to {east:.4f}, lat {south:.4f} to {north:.4f}"


def _with_short_edges(shape: BaseGeometry) -> BaseGeometry:
    """A shape whose edges are no longer than a 64th of its largest part."""
    bounds = shapely.bounds(shapely.get_parts(shape))
    step = float(np.nanmax(np.ptp(bounds.reshape(-1, 2, 2), axis=1))) / 64
    if not step > 0:
        return shape
    if shapely.get_num_coordinates(shape) > _MANY:
        # The time to divide edges grows with the square of their number.
        edges = np.diff(shapely.get_coordinates(shape), axis=0)
        if np.hypot(*edges.T).max() <= step:
            return shape
        return _with_short_edges(_few(shape))
    return shapely.segmentize(shape, step)


def _few(shape: BaseGeometry) -> BaseGeometry:
    """The hull of a shape with very many points, simplified to a millionth of its width."""
    hull = shape.convex_hull
    west, south, east, north = hull.bounds
    thin = hull.simplify(max(east - west, north - south) / 1e6, preserve_topology=False)
    return thin if shapely.get_num_coordinates(thin) <= _MANY else shape.envelope


def _is_around_a_pole(shape: BaseGeometry) -> bool:
    """Whether a shape in degrees still has a jump after it was unwrapped."""
    rings = shapely.get_rings(shape)
    if len(rings) == 0:
        return False
    coordinates, owner = shapely.get_coordinates(rings, return_index=True)
    far = np.abs(np.diff(coordinates[:, 0])) > 180
    return bool((far & (np.diff(owner) == 0)).any())


def parse_aoi(aoi: object, *, outline: bool = False) -> Aoi:
    """Convert an area of interest in any form to an `Aoi`.

    Parameters
    ----------
    aoi : sequence of float, shapely geometry, GeoDataFrame, GeoSeries, dict, str or Path
        A bbox (west, south, east, north) in degrees, also as text ``"3.0,50.8,3.1,50.9"``;
        a geometry in degrees; a table with a CRS; a GeoJSON object (geometry, Feature or
        FeatureCollection) as a dict, or an object with a ``__geo_interface__``, such as a
        pystac item; or the path of a vector file, see `cubecrop.vector.read_vector`.
        Longitudes may run from 0 to 360. An area across the 180th meridian has a bbox with
        west > east (RFC 7946), or a geometry whose edges jump there or that is split there.
    outline : bool, default False
        Keep the outline of a table of up to 1,000 shapes, such as a department's. Otherwise a
        table becomes its bounding rectangle.

    Returns
    -------
    Aoi

    Raises
    ------
    AoiError
        The area is empty, has no CRS, is out of the range of degrees, or has an unknown type.
    ParcelError
        A table has no active geometry, or a column name twice.
    """
    if isinstance(aoi, Aoi):
        return aoi
    if isinstance(aoi, str) and (bbox := bbox_from_text(aoi)):
        aoi = bbox
    if isinstance(aoi, str | Path):
        aoi = read_vector(aoi)
    if isinstance(aoi, gpd.GeoDataFrame | gpd.GeoSeries):
        whole = _from_table(aoi)
        return (_outline_of(aoi, whole) if outline else None) or whole
    if isinstance(aoi, BaseGeometry):
        return _from_geometry(aoi)
    if not isinstance(aoi, Mapping):
        aoi = getattr(aoi, "__geo_interface__", aoi)  # a pystac item, a feature of fiona
    if isinstance(aoi, Mapping):
        return _from_geometry(*from_geojson(aoi))
    if isinstance(aoi, Sequence | np.ndarray) and len(aoi) == 4:
        try:
            west, south, east, north = (float(value) for value in aoi)
        except (TypeError, ValueError) as error:
            raise AoiError(
                f"bbox is {list(aoi)!r}, expected four numbers in degrees: west, "
                "south, east, north."
            ) from error
        return _from_bbox(west, south, east, north)
    raise AoiError(
        f"area of interest is a {type(aoi).__name__}, expected a bbox (west, south, east, "
        "north), a shapely geometry in degrees, a GeoDataFrame, a GeoJSON dict or the path of a "
        "vector file."
    )


def bbox_from_text(text: str) -> list[float] | None:
    """The four numbers of a bbox as text; None if the text is none."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        return None
    return values if len(values) == 4 else None


def _from_geometry(geometry: BaseGeometry, crs: str = LONLAT) -> Aoi:
    area = _checked(Aoi(geometry, crs))
    # The time to repair a shape grows with the square of its crossings; the bounding rectangle
    # is enough, since a cube covers it anyway.
    many = shapely.get_num_coordinates(geometry) > _MANY and not geometry.is_valid
    plain = None if many else plain_shapes([geometry])[0]
    if plain is None or plain.bounds != geometry.bounds:  # a line among polygons counts too
        plain = shapely.box(*geometry.bounds)
    is_lonlat = pyproj.CRS.from_user_input(area.crs).is_geographic
    return Aoi(unwrap(plain) if is_lonlat else plain, area.crs)


def _from_bbox(west: float, south: float, east: float, north: float) -> Aoi:
    """A bbox, also across the 180th meridian; raises if west and east are swapped."""
    across = west > east and east + 360 - west <= 180
    if not ((west < east or across) and south < north):  # also if one is NaN
        raise AoiError(
            f"bbox is ({west}, {south}, {east}, {north}), expected (west, south, east, "
            "north) with west < east and south < north. Only a bbox across the 180th meridian has "
            "west > east, as in (179.9, -17, -179.9, -16.5)."
        )
    return _checked(Aoi(shapely.box(west, south, east + 360 if across else east, north)))


def _from_table(table: gpd.GeoDataFrame | gpd.GeoSeries) -> Aoi:
    if isinstance(table, gpd.GeoDataFrame):
        check_active_geometry(table)
    if table.crs is None:
        raise AoiError("the table has no CRS; set it with `table.set_crs('EPSG:…')`.")
    shapes = table.geometry
    shapes = shapes[has_place(shapes)]
    if len(shapes) == 0:
        raise AoiError("the table has no geometry, or only empty ones. Add one.")
    is_geographic = table.crs.is_geographic
    bounds = shapes.total_bounds
    if (shapely.get_dimensions(shapes.to_numpy()) < 2).any():
        bounds = _widened(bounds, is_geographic=is_geographic)
    box = _checked(Aoi(shapely.box(*bounds), table.crs.to_string()))
    if is_geographic:
        return _on_the_circle(shapes, box)
    if not _spans_half_the_globe(box):
        return box
    # If the CRS is cut at the 180th meridian, parcels near it lie at both ends.
    return _on_the_circle(shapes.to_crs(LONLAT), box)


def _widened(bounds: NDArray[np.float64], *, is_geographic: bool) -> NDArray[np.float64]:
    """Bounds with a margin, so that a cube has the pixels on both sides of a point on an edge."""
    margin = _MARGIN[is_geographic]
    west, south, east, north = bounds.tolist()
    if is_geographic:  # not beyond a pole, but a latitude beyond one is an error elsewhere
        return np.array([
            west - margin, max(south - margin, min(south, -90)),
            east + margin, min(north + margin, max(north, 90)),
        ])  # fmt: skip
    return np.array([west - margin, south - margin, east + margin, north + margin])


def _outline_of(table: gpd.GeoDataFrame | gpd.GeoSeries, whole: Aoi) -> Aoi | None:
    """The union of a table's shapes; None if there are very many, or if they have no area."""
    shapes = plain_shapes(table.geometry)
    shapes = shapes[~shapely.is_missing(shapes)]
    if len(shapes) > _SHAPES or _spans_half_the_globe(whole):
        return None
    union = shapely.union_all(shapes)
    return (
        Aoi(unwrap(union) if table.crs.is_geographic else union, whole.crs) if union.area else None
    )


def _on_the_circle(shapes: gpd.GeoSeries, box: Aoi) -> Aoi:
    """The smaller box of shapes in degrees: that of the table, or one across the meridian."""
    bounds = bounds_of(shapes.to_numpy())
    bounds = bounds[np.isfinite(bounds).all(axis=1)]
    if len(bounds) == 0:
        return box
    west, east = arc_of(bounds[:, 0], bounds[:, 2])
    if west >= -180 and east <= 180:
        return box
    across = shapely.box(west, bounds[:, 1].min(), east, bounds[:, 3].max())
    return Aoi(across, shapes.crs.to_string())


def _spans_half_the_globe(box: Aoi) -> bool:
    lonlat = pyproj.Transformer.from_crs(box.crs, LONLAT, always_xy=True)
    west, _, east, _ = box.geometry.bounds
    middle = box.geometry.centroid.y
    lon, _ = lonlat.transform(np.linspace(west, east, 65), np.full(65, middle))
    lon = np.unwrap(lon[np.isfinite(lon)], period=360)
    return len(lon) > 0 and bool(np.ptp(lon) > 180)


def _checked(aoi: Aoi) -> Aoi:
    if aoi.geometry.is_empty:
        raise AoiError("the area of interest is empty. Pass an area with at least one point.")
    if not has_place([aoi.geometry])[0]:
        raise AoiError(
            f"the area of interest has bounds {aoi.geometry.bounds}, expected finite coordinates."
        )
    if pyproj.CRS.from_user_input(aoi.crs).is_geographic:
        west, south, east, north = aoi.geometry.bounds
        inside = west >= -360 and east <= 360 and east - west <= 360
        if not (inside and south >= -90 and north <= 90):
            hint = (
                " Longitude and latitude look swapped: give (west, south, east, north)."
                if west >= -90 and east <= 90 and south >= -180 and north <= 180
                else " Coordinates in metres need a CRS: pass a GeoDataFrame or GeoSeries."
            )
            raise AoiError(
                f"area of interest spans x {west} to {east}, y {south} to {north}, expected "
                f"longitudes within ±180 (or 0 to 360) and latitudes within ±90.{hint}"
            )
    return aoi
