"""GeoJSON objects in memory (RFC 7946)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyproj
import shapely
from shapely.geometry import shape as as_shape

from cubecrop.errors import AoiError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shapely.geometry.base import BaseGeometry

__all__ = ["from_geojson"]


def from_geojson(given: Mapping[str, Any]) -> tuple[BaseGeometry, str]:
    """Read a geometry, a Feature or a FeatureCollection.

    Parameters
    ----------
    given : mapping
        A GeoJSON object. Coordinates are longitude and latitude, unless the object names
        another CRS in the member ``crs``, as GeoJSON of 2008 does.

    Returns
    -------
    geometry : shapely geometry
        For a FeatureCollection, the bounding box of its features.
    crs : str
        The CRS of its coordinates.

    Raises
    ------
    AoiError
        The object is not GeoJSON, has no geometry, or names an unknown CRS.
    """
    crs = _crs(given.get("crs"))
    kind = given.get("type")
    if kind == "Feature":
        return _geometry(given.get("geometry"), "the Feature"), crs
    if kind != "FeatureCollection":
        return _geometry(given, "the dict"), crs
    features = given.get("features")
    if not isinstance(features, list | tuple):
        raise AoiError(
            f"the FeatureCollection has features of the type {type(features).__name__}, expected "
            "a list."
        )
    members = [item.get("geometry") if hasattr(item, "get") else item for item in features]
    shapes = [
        _geometry(member, f"feature {i} of the FeatureCollection")
        for i, member in enumerate(members)
        if member is not None
    ]
    if shapely.is_empty(shapes).all():
        raise AoiError("the FeatureCollection has no geometry, or only empty ones. Add one.")
    return shapely.box(*shapely.total_bounds(shapes)), crs


def _geometry(given: object, what: str) -> BaseGeometry:
    if given is None:
        raise AoiError(f"{what} has no geometry, expected one with 'type' and 'coordinates'.")
    try:
        return as_shape(given)
    except Exception as error:  # shapely raises many types for invalid GeoJSON
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise AoiError(
            f"{what} is not a GeoJSON geometry ({text}), expected 'type', such as 'Polygon', and "
            "'coordinates' in longitude and latitude: {'type': 'Polygon', 'coordinates': "
            "[[[3.0, 50.8], [3.1, 50.8], [3.1, 50.9], [3.0, 50.8]]]}."
        ) from error


def _crs(member: object) -> str:
    if member is None:
        return "EPSG:4326"
    try:
        crs = pyproj.CRS.from_user_input(member["properties"]["name"])  # type: ignore[index]
    except (TypeError, KeyError, pyproj.exceptions.CRSError) as error:
        raise AoiError(
            f"the GeoJSON names its CRS as {member!r}, expected {{'type': 'name', 'properties': "
            "{'name': 'EPSG:…'}}. Leave 'crs' out if the coordinates are in degrees, or make a "
            "table: `geopandas.GeoDataFrame.from_features(features, crs='EPSG:…')`."
        ) from error
    # GeoJSON has the axes x, y, whatever the CRS defines.
    if crs.is_geographic and crs.equals(pyproj.CRS("EPSG:4326"), ignore_axis_order=True):
        return "EPSG:4326"
    return str(crs.to_string())
