"""The grid of a cube, and how it is cut into chunks.

Every grid is a window of one lattice, whose pixel edges lie at whole multiples of the
resolution, counted from the CRS's origin. Two cubes with the same CRS and resolution therefore
have the same pixels wherever they overlap.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pyproj
from affine import Affine
from odc.geo.geobox import GeoBox

from cubecrop.checks import brief, check_number
from cubecrop.errors import AoiError, SchemaError

if TYPE_CHECKING:
    from cubecrop.aoi import Aoi

__all__ = [
    "BLOCK", "LONGEST_SIDE", "MEMORY", "Chunks", "Lattice", "Window", "check_crs",
    "check_resolution", "chunk_shape", "cut", "grid_for", "lattice_of", "strips",
]  # fmt: skip

#: Lengths of chunks along y and along x, as in Dask.
Chunks = tuple[tuple[int, ...], tuple[int, ...]]

#: Bytes of memory for each thread.
MEMORY = 2 * 10**9
#: Share of this memory for one chunk's series as stored in files; the decoded values of a part of
#: the chunk get the same share. The rest is for the other sensor and for what is computed from
#: the values, and because a chunk at an edge may be half as large again.
_SHARE = 0.3
#: Side in pixels of the blocks of most files.
BLOCK = 512
#: Narrower strips, in columns, have more margin than a square with as many pixels.
_NARROWEST = 64
#: Longest side of a cube in pixels; larger areas are mapped tile by tile.
LONGEST_SIDE = 30_000


@dataclass(frozen=True, slots=True)
class Window:
    """Rows and columns of the lattice: ``row`` grows southwards, ``column`` eastwards."""

    row: int
    column: int
    height: int
    width: int

    def widened(self, pixels: int) -> Window:
        """The window with a margin on every side."""
        return Window(
            self.row - pixels,
            self.column - pixels,
            self.height + 2 * pixels,
            self.width + 2 * pixels,
        )

    def meets(self, other: Window) -> bool:
        """Whether two windows share a pixel."""
        return (
            self.row < other.row + other.height
            and other.row < self.row + self.height
            and self.column < other.column + other.width
            and other.column < self.column + self.width
        )

    def within(self, other: Window) -> tuple[slice, slice]:
        """Slices of another window's rows and columns that this window covers."""
        row, column = self.row - other.row, self.column - other.column
        return (
            slice(max(row, 0), max(row + self.height, 0)),
            slice(max(column, 0), max(column + self.width, 0)),
        )


@dataclass(frozen=True, slots=True)
class Lattice:
    """All pixels of a CRS at a resolution in metres."""

    crs: str
    resolution: float

    def window(self, grid: GeoBox) -> Window:
        """The window of the lattice that a grid covers."""
        return Window(
            round(-grid.transform.f / self.resolution),
            round(grid.transform.c / self.resolution),
            *grid.shape,
        )

    def transform(self, window: Window) -> Affine:
        """Geotransform of a window."""
        size = self.resolution
        return Affine(size, 0, window.column * size, 0, -size, -window.row * size)


def lattice_of(grid: GeoBox) -> Lattice:
    """The lattice that a grid belongs to."""
    return Lattice(str(grid.crs), float(grid.transform.a))


def grid_for(aoi: Aoi, *, resolution: float = 10, crs: str | int | None = None) -> GeoBox:
    """The bounding rectangle of an area, snapped outward to the lattice.

    Parameters
    ----------
    aoi : Aoi
        The area.
    resolution : float, default 10
        Pixel size in metres.
    crs : str or int, optional
        A projected CRS in metres, or its EPSG code; by default the UTM zone of the area's centre.

    Returns
    -------
    odc.geo.geobox.GeoBox

    Raises
    ------
    AoiError
        The area is too large for one cube, or so close to a pole that no UTM zone covers it.
    SchemaError
        The CRS is not projected in metres, or the resolution is not positive.
    """
    resolution = check_resolution(resolution)
    target = _target_crs(aoi, crs)
    left, bottom, right, top = aoi.to_crs(target).geometry.bounds
    # With a slack of a thousandth of a pixel, rounding errors do not add a row to a rectangle
    # that already lies on the lattice.
    slack = 1e-3
    column = math.floor(left / resolution + slack)
    row = math.floor(-top / resolution + slack)
    width = max(1, math.ceil(right / resolution - slack) - column)
    height = max(1, math.ceil(-bottom / resolution - slack) - row)
    if max(width, height) > LONGEST_SIDE:
        raise AoiError(
            f"area of interest {aoi} is {width} x {height} pixels of {resolution} m, expected at "
            f"most {LONGEST_SIDE} a side for one cube. Map it tile by tile with `map_region` "
            "(`cubecrop map-region`)."
        )
    lattice = Lattice(target, float(resolution))
    window = Window(row, column, height, width)
    return GeoBox((height, width), lattice.transform(window), lattice.crs)


def chunk_shape(bytes_per_pixel: int, *, memory: float = MEMORY) -> tuple[int, int]:
    """Rows and columns of the largest chunk whose series fits in three tenths of the memory.

    The sides are at most 1,024 pixels: larger chunks do not read faster, and keep fewer cores
    busy. A chunk is whole blocks of 512 pixels, the size in most files, if these fit. Otherwise
    it is a strip as high as a block, which overlaps one or two adjacent blocks, or else a square.
    Sides are multiples of 4 where possible, to match pixels of 20 m.
    """
    pixels = int(memory * _SHARE) // max(bytes_per_pixel, 1)
    for rows, columns in ((2 * BLOCK, 2 * BLOCK), (BLOCK, 2 * BLOCK), (BLOCK, BLOCK)):
        if rows * columns <= pixels:
            return rows, columns
    if (columns := pixels // BLOCK // 4 * 4) >= _NARROWEST:
        return BLOCK, columns
    side = max(1, math.isqrt(pixels))
    side = side // 4 * 4 or side
    return side, side


def strips(chunks: Chunks, bytes_per_pixel: int, *, memory: float = MEMORY) -> tuple[int, ...]:
    """Cut chunks into strips of rows whose values fit in three tenths of the memory.

    Parameters
    ----------
    chunks : tuple
        Lengths of the chunks along y and along x.
    bytes_per_pixel : int
        Bytes of the values of a pixel.
    memory : float
        Bytes of memory for each thread.

    Returns
    -------
    tuple of int
        Lengths of the strips along y, multiples of 4 where possible, to match pixels of 20 m.
    """
    highest = max(1, int(memory * _SHARE) // (max(bytes_per_pixel, 1) * max(chunks[1])))
    parts: list[int] = []
    for length in chunks[0]:
        height = math.ceil(length / math.ceil(length / highest))
        height = min(-(-height // 4) * 4, highest // 4 * 4 or highest)
        edges = [*range(0, length, height), length]
        parts += (b - a for a, b in itertools.pairwise(edges))
    return tuple(parts)


def cut(grid: GeoBox, shape: tuple[int, int], corner: tuple[float, float] = (0.0, 0.0)) -> Chunks:
    """Cut a grid into chunks that are aligned with the blocks of files.

    A chunk at the edge of the grid with less than a quarter of a chunk's length is joined to its
    neighbour.

    Parameters
    ----------
    grid : odc.geo.geobox.GeoBox
        The grid.
    shape : tuple of int
        Rows and columns of a chunk. An axis that is not longer than this is not cut.
    corner : tuple of float
        Left and top edge of the files, CRS units.

    Returns
    -------
    tuple
        Lengths of the chunks along y and along x.
    """
    lattice = lattice_of(grid)
    window = lattice.window(grid)
    left, top = (edge / lattice.resolution for edge in corner)
    rows = _cut(window.height, shape[0], math.floor(window.row + top))
    return rows, _cut(window.width, shape[1], math.floor(window.column - left))


def _cut(length: int, step: int, start: int) -> tuple[int, ...]:
    """Cut a range that begins at ``start`` at the multiples of a step; returns the lengths."""
    if length <= step:
        return (length,)
    first = step - start % step
    edges = [0, *range(first, length, step), length]
    parts = [b - a for a, b in itertools.pairwise(edges)]
    for sliver, neighbour in ((0, 1), (-1, -2)):
        if len(parts) > 1 and parts[sliver] < step / 4:
            parts[neighbour] += parts[sliver]
            del parts[sliver]
    return tuple(parts)


def pixel_centres(grid: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates y, x of pixel centres, metres, float64."""
    size = float(grid.transform.a)
    window = lattice_of(grid).window(grid)
    # Computed from whole numbers, so that a crop's coordinates equal the cube's bit for bit.
    x = (np.arange(window.column, window.column + window.width) + 0.5) * size
    y = -(np.arange(window.row, window.row + window.height) + 0.5) * size
    return y, x


def _target_crs(aoi: Aoi, crs: str | int | None) -> str:
    if crs is None:
        try:
            target = gpd.GeoSeries([aoi.centre], crs="EPSG:4326").estimate_utm_crs()
        except RuntimeError as error:
            raise AoiError(
                f"area of interest {aoi} lies outside of the UTM zones, which cover 80 degrees "
                "south to 84 north. Give a projected CRS in metres, such as `crs='EPSG:3413'`."
            ) from error
        return f"EPSG:{target.to_epsg()}"
    return check_crs(crs)


def check_resolution(resolution: object) -> float:
    """Raise unless a resolution is a finite number of metres above 0."""
    return check_number("resolution", resolution, above=0, what="metres above 0", error=SchemaError)


def check_crs(crs: object) -> str:
    """Return a CRS as text; raise unless it is projected, in metres, with an EPSG code.

    The code alone, as a number or as text, is a CRS too.
    """
    try:
        # pyproj takes a code only as an int, not as text or as a NumPy integer.
        is_code = isinstance(crs, np.integer) or (isinstance(crs, str) and crs.strip().isdecimal())
        target = pyproj.CRS.from_user_input(int(crs) if is_code else crs)  # type: ignore[call-overload]
    except (pyproj.exceptions.CRSError, TypeError) as error:
        raise SchemaError(
            f"crs {brief(crs)} is unknown: {error}. Give a projected CRS in metres, such as "
            "'EPSG:32631', or leave `crs` out for the UTM zone of the area."
        ) from error
    code = target.to_epsg()
    metres = target.is_projected and target.axis_info[0].unit_name in {"metre", "meter"}
    if code is None or not metres:
        raise SchemaError(
            f"crs is {target.to_string()!r}, expected a projected CRS in metres with an EPSG "
            "code, such as 'EPSG:32631'; leave `crs` out for the UTM zone of the area."
        )
    return f"EPSG:{code}"
