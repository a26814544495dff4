"""Warp files in squares at fixed places of the lattice, so that pixels do not depend on windows.

The transformer is exact, and the scale is that of the whole file. GDAL's defaults make a pixel
depend on the window in which it is read: bounds fitted to the window, a tolerance of an eighth of
a pixel, and a scale computed for each window, which blurs below 0.95. GDAL's arithmetic depends
on the window too, since it counts from the corner of the warped raster. If a mean of pixels ends
in one half, as when pixels of 10 m become pixels of 7 m, an error in the sixteenth digit decides
how it is rounded.
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

#: Side of the squares in pixels: smaller squares slow down chunks, larger ones single parcels.
_SQUARE = 128
#: Lattice pixels between the points that are projected to find the needed part of a file.
_STEP = 64
#: In pixels. GDAL's warper does not accept zero, "exact", together with a given transform.
_WARP_TOLERANCE = 1e-9
#: Pixels of a file around a window, in addition to the two that interpolation needs.
_MARGIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """The pixels of a file or grid that a window of the lattice is interpolated from.

    ``place`` is their rows and columns. ``scale`` is the size of one of them in lattice pixels,
    along rows and along columns.
    """

    place: Window
    scale: tuple[float, float]


def footing(
    file: rasterio.DatasetReader, lattice: Lattice, window: Window, *, margin: int = 0
) -> Footing | None:
    """Find the part of a file that a warp to a window needs; None if the file does not reach it.

    ``margin`` adds pixels of the file on each side.
    """
    whole = Window(0, 0, *file.shape)
    grid = tuple(geotransform(file, lattice))[:6]
    needed = footing_of(file.crs.to_wkt(), grid, lattice, window, margin=margin, whole=whole)
    if needed is None or not needed.place.meets(whole):
        return None
    place = needed.place
    row, column = max(place.row, 0), max(place.column, 0)
    bottom = min(place.row + place.height, file.height)
    right = min(place.column + place.width, file.width)
    return Footing(place=Window(row, column, bottom - row, right - column), scale=needed.scale)


def geotransform(file: rasterio.DatasetReader, lattice: Lattice) -> Affine:
    """Geotransform of a file; longitudes are shifted by 360 degrees if the lattice needs it.

    So files on both sides of the 180th meridian lie next to each other.
    """
    own: Affine = file.transform
    if not file.crs.is_geographic:
        return own
    middle = own.c + own.a * file.width / 2
    shift = float(_on_one_turn(middle, lattice.crs)) - middle
    return Affine(own.a, own.b, own.c + shift, own.d, own.e, own.f)


def _on_one_turn(longitude: ArrayLike, crs: str) -> NDArray[np.float64]:
    """Shift longitudes to within 180 degrees of the middle of a CRS's area of use."""
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
    """Find the pixels of an endless grid that a warp to a window needs.

    Parameters
    ----------
    wkt, grid
        CRS and geotransform (six numbers) of the grid.
    lattice, window
        The target window.
    margin : int, default 0
        Additional pixels of the grid on each side.
    whole : Window, optional
        The scale is measured in the middle of these pixels of the grid, by default in the
        middle of the target window.

    Returns
    -------
    Footing or None
        None if the window cannot be projected to the grid's CRS.
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
    wide, high = (margin + _MARGIN + math.ceil(2 / min(size, 1)) for size in scale)
    top, bottom = math.floor(edges[0]) - high, math.ceil(edges[1]) + high
    left, right = math.floor(edges[2]) - wide, math.ceil(edges[3]) + wide
    return Footing(place=Window(top, left, bottom - top, right - left), scale=scale)


def _scale(
    crs: rasterio.crs.CRS, grid: Affine, middle: tuple[float, float], lattice: Lattice
) -> tuple[float, float]:
    """Size of a grid's pixel in lattice pixels along rows and columns, at a row and column."""
    left, top = grid * (middle[1], middle[0])
    corners = ([left, left + grid.a, left], [top, top, top + grid.e])
    x, y = transform(crs, lattice.crs, *corners)
    return (
        math.hypot(x[1] - x[0], y[1] - y[0]) / lattice.resolution,
        math.hypot(x[2] - x[0], y[2] - y[0]) / lattice.resolution,
    )


def lattice_squares(window: Window) -> Iterator[Window]:
    """The squares at fixed places of the lattice that overlap a window."""
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
    """Warp a raster whose nodata is ``fill`` to a square of the lattice.

    ``crs`` is the raster's CRS, by default the one that it declares. The arithmetic of a warp
    counts from the corner of the square, so with fixed squares it does not depend on windows.
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
