"""Read tiles of one surface, such as an elevation model, without seams between them.

Interpolation needs pixels on both sides of a place. A tile that is read alone lacks the pixels
beyond its edge, so its surface is flat for the last half pixel: a step of metres on a slope.
Therefore tiles with the same grid are joined into one sheet, which is warped as a whole. Tiles
with different grids (Copernicus' are coarser from 50 degrees on) form several sheets. Each sheet
then gets a rim of pixels, interpolated from the other sheets, before it is warped.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyproj
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.warp import transform

from cubecrop.cube.access import with_file
from cubecrop.cube.grid import Lattice, Window
from cubecrop.cube.headers import check_file
from cubecrop.cube.neighbours import dilated
from cubecrop.cube.pixels import read_pixels
from cubecrop.cube.warp import (
    footing,
    footing_of,
    geotransform,
    lattice_squares,
    warp_square,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cubecrop.cube.source import Source

__all__ = ["Tile", "read_mosaic"]

_FLOAT: Final = np.dtype(np.float32)
#: Pixels of the coarsest grid around a window that interpolation and rims need.
_MARGIN: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A file, and the part of the lattice that it may cover; None = unknown."""

    source: Source
    reach: Window | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """An endless grid of pixels: CRS, pixel size, and the CRS's origin within a pixel.

    The numbers are rounded a little, so that tiles whose headers differ in the last digits share
    a grid, and results do not depend on which tiles are read.
    """

    wkt: str
    size: tuple[float, float]
    phase: tuple[float, float]

    def transform(self, row: int, column: int) -> Affine:
        """Geotransform of the pixels that begin at a row and column."""
        (dx, dy), (right, down) = self.size, self.phase
        return Affine(dx, 0, (column + right) * dx, 0, -dy, -(row + down) * dy)

    def point(
        self, row: NDArray[np.int64], column: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Coordinates of pixel centres."""
        (dx, dy), (right, down) = self.size, self.phase
        return (column + right + 0.5) * dx, -(row + down + 0.5) * dy

    def pixel(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Row and column of coordinates; whole numbers at pixel centres."""
        (dx, dy), (right, down) = self.size, self.phase
        return -y / dy - down - 0.5, x / dx - right - 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """Heights on a part of a grid, NaN = unknown; ``row`` and ``column`` of its corner."""

    grid: _Grid
    row: int
    column: int
    values: NDArray[np.float32]

    def cut(self, window: Window, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Copy this sheet's values to a window of its grid; NaN beyond the sheet."""
        out = np.full((window.height, window.width), np.nan, np.float32)
        own = Window(self.row, self.column, *values.shape)
        if own.meets(window):
            out[own.within(window)] = values[window.within(own)]
        return out


def read_mosaic(tiles: Sequence[Tile], lattice: Lattice, window: Window) -> NDArray[np.float32]:
    """Read a window of a surface that is stored in several files.

    Parameters
    ----------
    tiles : sequence of Tile
        Files. Where two files overlap, the finer grid counts, or on the same grid the first file.
    lattice, window
        The target window.

    Returns
    -------
    numpy.ndarray
        (height, width) float32, NaN where no file has a value.

    Raises
    ------
    ReadError
        A file cannot be read, or is not what its item says.
    """
    sheets = _sheets(tiles, lattice, window)
    if len(sheets) > 1:
        # The width of a rim is known only after all files were read.
        metres = max(_metres(sheet.grid, lattice, window) for sheet in sheets)
        wide = window.widened(math.ceil(2 * _MARGIN * max(metres / lattice.resolution, 1)))
        rimmed = _with_rims(_sheets(tiles, lattice, wide), lattice, window)
        return _joined(rimmed, lattice, window)
    out = np.full((window.height, window.width), np.nan, np.float32)
    for sheet in sheets:
        out = _warped(sheet, sheet.values, lattice, window, Resampling.bilinear)
    return out


def _sheets(tiles: Sequence[Tile], lattice: Lattice, window: Window) -> list[_Sheet]:
    """One sheet per grid, the finest first."""
    parts: dict[_Grid, list[_Sheet]] = {}
    for tile in tiles:
        if tile.reach is not None and not tile.reach.meets(window.widened(_MARGIN)):
            continue
        part = _part(tile.source, lattice, window)
        if part is not None:
            parts.setdefault(part.grid, []).append(part)
    order = sorted(parts, key=lambda grid: (_metres(grid, lattice, window), repr(grid)))
    return [_merged(parts[grid]) for grid in order]


def _part(source: Source, lattice: Lattice, window: Window) -> _Sheet | None:
    """The part of a file that a window needs; None if the file does not reach it."""

    def read(file: rasterio.DatasetReader) -> _Sheet | None:
        check_file(file, source)
        needed = footing(file, lattice, window)
        if needed is None:
            return None
        values = read_pixels(file, source, needed.place, dtype=_FLOAT, fill=math.nan)
        grid, row, column = _grid_of(file, lattice)
        place = needed.place
        return _Sheet(grid=grid, row=row + place.row, column=column + place.column, values=values)

    return with_file(source, read)


def _grid_of(file: rasterio.DatasetReader, lattice: Lattice) -> tuple[_Grid, int, int]:
    """The grid of a file, and the row and column of its corner."""
    own = geotransform(file, lattice)
    size = float(f"{own.a:.12g}"), float(f"{-own.e:.12g}")
    corner = own.c / size[0], -own.f / size[1]
    phase = tuple(round(edge % 1, 6) % 1 for edge in corner)
    column, row = (round(edge - part) for edge, part in zip(corner, phase, strict=True))
    return _Grid(wkt=file.crs.to_wkt(), size=size, phase=(phase[0], phase[1])), row, column


def _merged(parts: Sequence[_Sheet]) -> _Sheet:
    """Merge parts of one grid; where two have a value, the first counts."""
    row, column = min(p.row for p in parts), min(p.column for p in parts)
    bottom = max(p.row + p.values.shape[0] for p in parts)
    right = max(p.column + p.values.shape[1] for p in parts)
    whole = Window(row, column, bottom - row, right - column)
    values = np.full((whole.height, whole.width), np.nan, np.float32)
    for part in parts:
        place = Window(part.row, part.column, *part.values.shape).within(whole)
        here = values[place]
        values[place] = np.where(np.isnan(here), part.values, here)
    return _Sheet(grid=parts[0].grid, row=row, column=column, values=values)


def _metres(grid: _Grid, lattice: Lattice, window: Window) -> float:
    """Larger side of a grid's pixel at a window, metres."""
    x, y = _centre(lattice, window)
    crs = rasterio.crs.CRS.from_wkt(grid.wkt)
    (u,), (v,) = transform(lattice.crs, crs, [x], [y])
    dx, dy = grid.size
    a, b = transform(crs, lattice.crs, [u, u + dx, u], [v, v, v + dy])
    return max(math.hypot(a[i] - a[0], b[i] - b[0]) for i in (1, 2))


def _centre(lattice: Lattice, window: Window) -> tuple[float, float]:
    size = lattice.resolution
    return (window.column + window.width / 2) * size, -(window.row + window.height / 2) * size


def _with_rims(
    sheets: list[_Sheet], lattice: Lattice, window: Window
) -> list[tuple[_Sheet, _Sheet]]:
    """Pairs of each sheet and the same sheet with a rim of pixels from the others.

    The coarsest sheet gets its rim first, so that finer sheets find values in it up to their edge.
    """
    full = list(sheets)
    for index in reversed(range(len(sheets))):
        sheet = sheets[index]
        reach = max(1.0, lattice.resolution / _metres(sheet.grid, lattice, window))
        others = [other for k, other in enumerate(full) if k != index]
        full[index] = _rimmed(sheet, others, math.ceil(1.5 * reach) + 1)
    return list(zip(sheets, full, strict=True))


def _rimmed(sheet: _Sheet, others: Sequence[_Sheet], pixels: int) -> _Sheet:
    values = np.pad(sheet.values, pixels, constant_values=np.nan)
    row, column = sheet.row - pixels, sheet.column - pixels
    known = ~np.isnan(values)
    rows, columns = np.nonzero(dilated(known, 1.5 * pixels, 1.0) & ~known)
    x, y = sheet.grid.point(rows + row, columns + column)
    heights = np.full(len(rows), np.nan)
    # Prefer points between four known pixels to points at a sheet's edge.
    for whole in (True, False):
        for other in others:
            todo = np.isnan(heights)
            if todo.any():
                heights[todo] = _sampled(other, sheet.grid.wkt, x[todo], y[todo], whole=whole)
    values[rows, columns] = heights
    return _Sheet(grid=sheet.grid, row=row, column=column, values=values)


def _sampled(
    sheet: _Sheet, wkt: str, x: NDArray[np.float64], y: NDArray[np.float64], *, whole: bool
) -> NDArray[np.float64]:
    """Interpolate heights at points from the known pixels around them; NaN if none is near.

    With ``whole``, NaN unless all four pixels are known.
    """
    if wkt != sheet.grid.wkt:
        own = rasterio.crs.CRS.from_wkt(sheet.grid.wkt)
        x, y = map(np.asarray, transform(rasterio.crs.CRS.from_wkt(wkt), own, x, y))
    v, u = sheet.grid.pixel(x, y)
    known = np.isfinite(u) & np.isfinite(v)
    # Points that cannot be reprojected are moved to a pixel outside of the sheet.
    u, v = np.where(known, u, sheet.column - 9), np.where(known, v, sheet.row - 9)
    left, top = np.floor(u).astype(int), np.floor(v).astype(int)
    total, weights, count = np.zeros(len(u)), np.zeros(len(u)), np.zeros(len(u), int)
    rows, columns = sheet.values.shape
    for down in (0, 1):
        for right in (0, 1):
            r, c = top + down - sheet.row, left + right - sheet.column
            inside = (r >= 0) & (r < rows) & (c >= 0) & (c < columns)
            value = np.full(len(u), np.nan)
            value[inside] = sheet.values[r[inside], c[inside]]
            weight = np.abs(1 - right - (u - left)) * np.abs(1 - down - (v - top))
            use = np.isfinite(value)
            total += np.where(use, value * weight, 0)
            weights += np.where(use, weight, 0)
            count += use | (weight < 1e-9)
    near = (weights > 0.2) & ((count == 4) | (not whole))
    return np.where(near, total / np.where(near, weights, 1), np.nan)


def _joined(
    sheets: Sequence[tuple[_Sheet, _Sheet]], lattice: Lattice, window: Window
) -> NDArray[np.float32]:
    """Take each pixel from the finest sheet that has a value of its own there."""
    out = np.full((window.height, window.width), np.nan, np.float32)
    for own, full in sheets:
        if not (todo := np.isnan(out)).any():
            break
        here = _warped(own, own.values, lattice, window, Resampling.nearest)
        values = _warped(full, full.values, lattice, window, Resampling.bilinear)
        take = todo & ~np.isnan(here)
        out[take] = values[take]
    return out


def _warped(
    sheet: _Sheet,
    values: NDArray[np.float32],
    lattice: Lattice,
    window: Window,
    resampling: Resampling,
) -> NDArray[np.float32]:
    """Warp a sheet to the lattice, square by square; see `cubecrop.cube.warp.warp_square`."""
    out = np.full((window.height, window.width), np.nan, np.float32)
    crs = rasterio.crs.CRS.from_wkt(sheet.grid.wkt)
    anchor = tuple(sheet.grid.transform(0, 0))[:6]
    for square in lattice_squares(window):
        needed = footing_of(sheet.grid.wkt, anchor, lattice, square)
        if needed is None or np.isnan(block := sheet.cut(needed.place, values)).all():
            continue
        place = needed.place
        own, anchored = _placed(crs, sheet.grid.transform(place.row, place.column), place.width)
        with MemoryFile() as memory:
            with memory.open(
                driver="GTiff", width=place.width, height=place.height, count=1, dtype="float32",
                transform=anchored, nodata=math.nan,
            ) as raster:  # fmt: skip
                raster.write(block, 1)
            with memory.open() as raster:
                part = warp_square(
                    raster, lattice, square, needed.scale, math.nan, resampling, crs=own
                )
        out[square.within(window)] = part[window.within(square)]
    return out


def _placed(crs: rasterio.crs.CRS, anchored: Affine, width: int) -> tuple[rasterio.crs.CRS, Affine]:
    """CRS and geotransform of pixels; pixels beyond ±180 degrees count from the 180th meridian.

    GDAL only returns longitudes within ±180 degrees, so it would not find pixels beyond.
    """
    left, right = anchored.c, anchored.c + width * anchored.a
    if not crs.is_geographic or (left >= -180 and right <= 180):
        return crs, anchored
    moved = Affine.translation(-180.0 if right > 180 else 180.0, 0) * anchored
    return _from_180(crs.to_wkt()), moved


@lru_cache(maxsize=16)
def _from_180(wkt: str) -> rasterio.crs.CRS:
    """A CRS in degrees whose longitudes count from the 180th meridian."""
    described = pyproj.CRS.from_wkt(wkt).to_wkt("WKT1_GDAL")
    turned = re.sub(
        r'PRIMEM\["[^"]*",[^\[\]]*(,AUTHORITY\[[^\]]*\])?\]', 'PRIMEM["180",180]', described
    )
    # Without the EPSG code, which stands for the unchanged CRS.
    return rasterio.crs.CRS.from_wkt(re.sub(r',AUTHORITY\["EPSG","\d+"\]\]$', "]", turned))
