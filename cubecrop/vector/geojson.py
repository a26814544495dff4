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
    """Understand a geometry, a Feature or a FeatureCollection.

    Parameters
    ----------
    given : mapping
        A GeoJSON object. Coordinates are longitude and latitude, unless the object names
        another CRS in the member ``crs``, as GeoJSON of 2008 does.

    Returns
    -------
    geometry : shapely geometry
        That of a FeatureCollection is the bounding box of its features.
    crs : str
        The CRS of its coordinates.

    Raises
    ------
    AoiError
        The object is no GeoJSON, holds no geometry, or names a CRS that is not known.
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
    members = [one.get("geometry") if hasattr(one, "get") else one for one in features]
    shapes = [
        _geometry(one, f"feature {i} of the FeatureCollection")
        for i, one in enumerate(members)
        if one is not None
    ]
    if shapely.is_empty(shapes).all():
        raise AoiError("the FeatureCollection holds no geometry that is not empty.")
    return shapely.box(*shapely.total_bounds(shapes)), crs


def _geometry(given: object, what: str) -> BaseGeometry:
    if given is None:
        raise AoiError(f"{what} has no geometry, expected one with 'type' and 'coordinates'.")
    try:
        return as_shape(given)
    except Exception as error:  # shapely raises many kinds on what is no GeoJSON
        told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise AoiError(
            f"{what} is no GeoJSON geometry ({told}), expected 'type', such as 'Polygon', and "
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
            "{'name': 'EPSG:…'}}. Leave 'crs' out where coordinates are in degrees, or make a "
            "table: `geopandas.GeoDataFrame.from_features(features, crs='EPSG:…')`."
        ) from error
    # Axes are x, y in GeoJSON, whatever the definition of the CRS says.
    if crs.is_geographic and crs.equals(pyproj.CRS("EPSG:4326"), ignore_axis_order=True):
        return "EPSG:4326"
    return str(crs.to_string())
