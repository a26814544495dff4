"""Areas of interest: anything a user points at, as one geometry with a CRS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from cubecrop.errors import AoiError
from cubecrop.shapes import has_place, plain_shapes
from cubecrop.vector import from_geojson, read_vector

__all__ = ["Aoi", "has_place", "parse_aoi", "read_vector"]

LONLAT = "EPSG:4326"


@dataclass(frozen=True, slots=True)
class Aoi:
    """One geometry and its CRS.

    A table of parcels becomes the bounding box of the table in the table's own CRS, so
    that a grid in that CRS fits it exactly.
    """

    geometry: BaseGeometry
    crs: str = LONLAT

    def to_crs(self, crs: str) -> Aoi:
        """Reproject; straight edges are cut fine enough to stay within a metre of the truth."""
        if pyproj.CRS.from_user_input(crs) == pyproj.CRS.from_user_input(self.crs):
            return self
        left, bottom, right, top = self.geometry.bounds
        # In its own coordinates: those that a message tells are worked out here.
        failure = AoiError(
            f"the area of interest, x {left} to {right}, y {bottom} to {top} in {self.crs}, has no "
            f"coordinates in {crs}. Look for mistaken coordinates, or give their CRS."
        )
        if not has_place([self.geometry])[0]:
            raise failure
        step = max(right - left, top - bottom) / 64
        transformer = pyproj.Transformer.from_crs(self.crs, crs, always_xy=True)
        moved = shapely.transform(
            shapely.segmentize(self.geometry, step) if step > 0 else self.geometry,
            lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])),
        )
        if not np.isfinite(moved.bounds).all():
            raise failure
        return Aoi(moved, crs)

    @property
    def lonlat(self) -> BaseGeometry:
        """The geometry in longitude and latitude, degrees."""
        return self.to_crs(LONLAT).geometry

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees."""
        west, south, east, north = self.lonlat.bounds
        return west, south, east, north

    def __str__(self) -> str:
        west, south, east, north = self.bbox
        return f"lon {west:.4f} to {east:.4f}, lat {south:.4f} to {north:.4f}"


def parse_aoi(aoi: object) -> Aoi:
    """Understand an area of interest.

    Parameters
    ----------
    aoi : sequence of float, shapely geometry, GeoDataFrame, GeoSeries, dict, str or Path
        A bbox (west, south, east, north) in degrees, also as text ``"3.0,50.8,3.1,50.9"``;
        a geometry in degrees; a table with a CRS; a GeoJSON object (geometry, Feature or
        FeatureCollection) as a dict, or what has a ``__geo_interface__``, such as a pystac
        item; or the path of a vector file, see `cubecrop.vector.read_vector`.

    Returns
    -------
    Aoi

    Raises
    ------
    AoiError
        Empty, without CRS, out of the range of degrees, or of an unknown kind.
    """
    if isinstance(aoi, Aoi):
        return aoi
    if isinstance(aoi, str) and (bbox := _bbox_from_text(aoi)):
        aoi = bbox
    if isinstance(aoi, str | Path):
        aoi = read_vector(aoi)
    if isinstance(aoi, gpd.GeoDataFrame | gpd.GeoSeries):
        return _from_table(aoi)
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
        if not (west < east and south < north):  # also where one is NaN
            raise AoiError(
                f"bbox is ({west}, {south}, {east}, {north}), expected (west, south, east, "
                "north) with west < east and south < north. An area across the 180th "
                "meridian is two areas."
            )
        return _checked(Aoi(shapely.box(west, south, east, north)))
    raise AoiError(
        f"area of interest is a {type(aoi).__name__}, expected a bbox (west, south, east, "
        "north), a shapely geometry in degrees, a GeoDataFrame, a GeoJSON dict or the path of a "
        "vector file."
    )


def _bbox_from_text(text: str) -> list[float] | None:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        return None
    return values if len(values) == 4 else None


def _from_geometry(geometry: BaseGeometry, crs: str = LONLAT) -> Aoi:
    area = _checked(Aoi(geometry, crs))
    plain = plain_shapes([geometry])[0]
    if plain is None or plain.bounds != geometry.bounds:  # a line beside polygons counts too
        plain = shapely.box(*geometry.bounds)
    return Aoi(plain, area.crs)


def _from_table(table: gpd.GeoDataFrame | gpd.GeoSeries) -> Aoi:
    if table.crs is None:
        raise AoiError("the table has no CRS; set it with `table.set_crs('EPSG:…')`.")
    shapes = table.geometry
    shapes = shapes[has_place(shapes)]
    if len(shapes) == 0:
        raise AoiError("the table holds no geometry that is not empty.")
    return _checked(Aoi(shapely.box(*shapes.total_bounds), table.crs.to_string()))


def _checked(aoi: Aoi) -> Aoi:
    if aoi.geometry.is_empty:
        raise AoiError("the area of interest is empty.")
    if not has_place([aoi.geometry])[0]:
        raise AoiError(
            f"the area of interest has bounds {aoi.geometry.bounds}, expected finite coordinates."
        )
    if pyproj.CRS.from_user_input(aoi.crs).is_geographic:
        west, south, east, north = aoi.geometry.bounds
        if not (west >= -180 and east <= 180 and south >= -90 and north <= 90):
            hint = (
                " Longitude and latitude look swapped: give (west, south, east, north)."
                if west >= -90 and east <= 90 and south >= -180 and north <= 180
                else " Coordinates in metres need a CRS: pass a GeoDataFrame or GeoSeries."
            )
            raise AoiError(
                f"area of interest spans x {west} to {east}, y {south} to {north}, expected "
                f"longitudes within ±180 and latitudes within ±90.{hint}"
            )
    return aoi
