"""Warping in squares that stand at fixed places of the lattice.

With an exact transformer and the scale of the whole file. GDAL's own choices (bounds fitted to
the request, an eighth of a pixel of tolerance, a scale worked out for each request, which below
0.95 blurs) make a pixel depend on the window it is read in. So does its arithmetic, which counts
from the corner of what is warped: where a mean of pixels ends in one half, as at 7 m of pixels
of 10 m, an error in the sixteenth digit decides how it is rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyproj
import rasterio
from affine import Affine
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform

from cubecrop.cube.grid import Lattice, Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray
    from rasterio.enums import Resampling

__all__ = ["Footing", "footing", "footing_of", "geotransform", "lattice_squares", "warp_square"]

#: Side in pixels of the squares that are warped: smaller ones cost more for a chunk, larger
#: ones for a parcel.
_SQUARE = 128
#: Pixels of the lattice between the points by which the part of a file is found.
_STEP = 64
#: In pixels. Zero, "exact", is refused by GDAL's warper together with a given transform.
_WARP_TOLERANCE = 1e-9
#: Pixels of a file around a window, beyond the two that interpolation takes.
_MARGIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """The pixels that a window of the lattice is interpolated from.

    ``place`` is rows and columns of a file or grid, ``scale`` lattice pixels to one of its
    pixels, along its rows and columns.
    """

    place: Window
    scale: tuple[float, float]


def footing(
    file: rasterio.DatasetReader, lattice: Lattice, window: Window, *, margin: int = 0
) -> Footing | None:
    """What of a file a warp to a window needs; None where the file does not reach.

    ``margin`` is pixels of the file more on each side.
    """
    whole = Window(0, 0, *file.shape)
    grid = tuple(geotransform(file, lattice))[:6]
    found = footing_of(file.crs.to_wkt(), grid, lattice, window, margin=margin, whole=whole)
    if found is None or not found.place.meets(whole):
        return None
    place = found.place
    row, column = max(place.row, 0), max(place.column, 0)
    bottom = min(place.row + place.height, file.height)
    right = min(place.column + place.width, file.width)
    return Footing(place=Window(row, column, bottom - row, right - column), scale=found.scale)


def geotransform(file: rasterio.DatasetReader, lattice: Lattice) -> Affine:
    """Geotransform of a file; of one in degrees, on the turn of the globe that a lattice is on.

    So files on both sides of the 180th meridian lie beside each other.
    """
    own: Affine = file.transform
    if not file.crs.is_geographic:
        return own
    middle = own.c + own.a * file.width / 2
    turned = float(_on_one_turn(middle, lattice.crs)) - middle
    return Affine(own.a, own.b, own.c + turned, own.d, own.e, own.f)


def _on_one_turn(longitude: ArrayLike, crs: str) -> NDArray[np.float64]:
    """Longitudes less than half a turn from the middle of the area that a CRS is used in."""
    values, middle = np.asarray(longitude, np.float64), _middle_of(crs)
    values = np.where(values > middle + 180, values - 360, values)
    return np.where(values < middle - 180, values + 360, values)


@lru_cache(maxsize=64)
def _middle_of(crs: str) -> float:
    used = pyproj.CRS.from_user_input(crs).area_of_use
    return 0.0 if used is None else used.west + (used.east - used.west) % 360 / 2


@lru_cache(maxsize=4096)
def footing_of(
    wkt: str,
    grid: tuple[float, ...],
    lattice: Lattice,
    window: Window,
    *,
    margin: int = 0,
    whole: Window | None = None,
) -> Footing | None:
    """What of a grid without end a warp to a window needs; None where the CRS does not reach.

    Parameters
    ----------
    wkt, grid
        CRS and geotransform, six numbers.
    lattice, window
        Where to.
    margin : int, default 0
        Pixels of the grid more on each side.
    whole : Window, optional
        Where the scale is measured, in the middle; by default where the window lies.
    """
    crs, place = rasterio.crs.CRS.from_wkt(wkt), Affine(*grid)
    y, x = (
        np.append(np.arange(start, start + length, _STEP), start + length) * lattice.resolution
        for start, length in ((window.row, window.height), (window.column, window.width))
    )
    xs, ys = (points.ravel() for points in np.meshgrid(x, -y))
    xs, ys = transform(lattice.crs, crs, xs, ys)
    if crs.is_geographic:
        xs = _on_one_turn(xs, lattice.crs)
    columns, rows = ~place * np.array([xs, ys])
    known = np.isfinite(columns) & np.isfinite(rows)
    if not known.any():
        return None
    edges = (rows[known].min(), rows[known].max(), columns[known].min(), columns[known].max())
    middle = (edges[0] + edges[1]) / 2, (edges[2] + edges[3]) / 2
    if whole is not None:
        middle = whole.row + whole.height / 2, whole.column + whole.width / 2
    scale = _scale(crs, place, middle, lattice)
    more = [margin + _MARGIN + math.ceil(2 / min(one, 1)) for one in scale]
    top, bottom = math.floor(edges[0]) - more[1], math.ceil(edges[1]) + more[1]
    left, right = math.floor(edges[2]) - more[0], math.ceil(edges[3]) + more[0]
    return Footing(place=Window(top, left, bottom - top, right - left), scale=scale)


def _scale(
    crs: rasterio.crs.CRS, grid: Affine, middle: tuple[float, float], lattice: Lattice
) -> tuple[float, float]:
    """Lattice pixels to a pixel of a grid along its rows and columns, at a row and column."""
    left, top = grid * (middle[1], middle[0])
    corners = ([left, left + grid.a, left], [top, top, top + grid.e])
    x, y = transform(crs, lattice.crs, *corners)
    return (
        math.hypot(x[1] - x[0], y[1] - y[0]) / lattice.resolution,
        math.hypot(x[2] - x[0], y[2] - y[0]) / lattice.resolution,
    )


def lattice_squares(window: Window) -> Iterator[Window]:
    """The squares of the lattice, at fixed places, that a window meets."""
    bottom, right = window.row + window.height, window.column + window.width
    for row in range(window.row // _SQUARE, -(-bottom // _SQUARE)):
        for column in range(window.column // _SQUARE, -(-right // _SQUARE)):
            yield Window(row * _SQUARE, column * _SQUARE, _SQUARE, _SQUARE)


def warp_square(
    raster: rasterio.DatasetReader,
    lattice: Lattice,
    square: Window,
    scale: tuple[float, float],
    fill: float,
    resampling: Resampling,
    *,
    crs: rasterio.crs.CRS | None = None,
) -> NDArray[np.generic]:
    """Bring a raster whose nodata is the fill to a square of the lattice.

    ``crs`` is the raster's, by default as it says itself.

    The arithmetic of a warp counts from the corner of what is warped: from fixed corners, it
    does not depend on what is asked for.
    """
    with WarpedVRT(
        raster,
        src_crs=crs,
        crs=lattice.crs,
        transform=lattice.transform(square),
        width=square.width,
        height=square.height,
        resampling=resampling,
        tolerance=_WARP_TOLERANCE,
        src_nodata=fill,
        nodata=fill,
        dtype=raster.dtypes[0],
        XSCALE=scale[0],
        YSCALE=scale[1],
    ) as warped:
        values: NDArray[np.generic] = warped.read(1)
    return values
