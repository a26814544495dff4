"""Fractal terrain of the simulated archive."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from pyproj import Transformer
from scipy.ndimage import map_coordinates

from cubecrop.simulate.draws import Purpose, fractal, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.simulate.regions import Grid, Region

__all__ = ["make_elevation", "sample_elevation"]

_ARCSECOND = 1 / 3600
# Measured terrain has slopes of 3 to 4; see `draws.fractal`.
_SLOPE = 3.4


def make_elevation(region: Region, grid: Grid, *, seed: int) -> tuple[NDArray[np.float32], Affine]:
    """Make fractal terrain for the square and a margin around it.

    Returns
    -------
    elevation (latitude, longitude) : ndarray of float32
        Metres above the geoid.
    transform : Affine
        EPSG:4326, 1 arcsecond, centres on whole arcseconds as in Copernicus GLO-30
        (Copernicus DEM Product Handbook, 2022).
    """
    west, south, east, north = grid.footprint.bounds
    margin = 20
    left = math.floor(west / _ARCSECOND) - margin
    top = math.ceil(north / _ARCSECOND) + margin
    width = math.ceil(east / _ARCSECOND) + margin - left
    height = top - math.floor(south / _ARCSECOND) + margin
    field = fractal(stream(Purpose.ELEVATION, seed, region.index), (height, width), _SLOPE)
    elevation = np.maximum(region.elevation + region.relief * field, 1.0).astype(np.float32)
    transform = Affine(
        _ARCSECOND, 0, (left - 0.5) * _ARCSECOND, 0, -_ARCSECOND, (top + 0.5) * _ARCSECOND
    )
    return elevation, transform


def sample_elevation(
    elevation: NDArray[np.float32],
    transform: Affine,
    grid: Grid,
    x: NDArray[np.floating],
    y: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Interpolate the elevation in m at points in the grid's CRS, bilinear."""
    lon, lat = Transformer.from_crs(grid.epsg, "EPSG:4326", always_xy=True).transform(x, y)
    column = (np.asarray(lon) - transform.c) / transform.a - 0.5
    row = (np.asarray(lat) - transform.f) / transform.e - 0.5
    height = map_coordinates(elevation.astype(np.float64), [row, column], order=1, mode="nearest")
    return np.asarray(height)
