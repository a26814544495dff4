"""Location of parcels in the CRS and on the lattice of a cube."""

from __future__ import annotations

from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import shapely

from cubecrop.circle import wrap
from cubecrop.schema import resolution_of

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["origin_of", "points_of", "zones_of"]


def zones_of(shapes: NDArray[np.object_], inset: float) -> NDArray[np.object_]:
    """Shrink shapes by an inset in metres; a shape that would vanish stays as it is."""
    if not inset > 0:
        return shapes
    shrunk = shapely.buffer(shapes, -inset)
    keep = ~(shapely.is_missing(shrunk) | shapely.is_empty(shrunk))
    return np.asarray(np.where(keep, shrunk, shapes))


def origin_of(season: xr.DataTree) -> tuple[int, int]:
    """Row and column of the cube's first pixel on the lattice."""
    size = resolution_of(season)
    y, x = (float(season[axis].to_numpy()[0]) for axis in ("y", "x"))
    return round(-y / size - 0.5), round(x / size - 0.5)


def points_of(
    table: gpd.GeoDataFrame, shapes: NDArray[np.object_], crs: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of a point in each parcel, degrees.

    ``shapes`` are the parcels in the cube's CRS, ``crs``. They are used for parcels whose own
    coordinates jump at the 180th meridian.
    """
    points = table.geometry.representative_point().to_crs("EPSG:4326")
    lon, lat = points.x.to_numpy(), points.y.to_numpy()
    bounds = table.geometry.bounds
    across = table.crs.is_geographic & (bounds["maxx"] - bounds["minx"] > 180).to_numpy()
    if across.any():
        inner = gpd.GeoSeries(shapes[across], crs=crs).representative_point().to_crs("EPSG:4326")
        lon, lat = lon.copy(), lat.copy()
        lon[across], lat[across] = inner.x.to_numpy(), inner.y.to_numpy()
    return wrap(lon), lat
