"""Reading one file onto the lattice: bit for bit the same whatever window is asked for.

A file whose pixels nest in the lattice (same CRS, whole-number ratio) is replicated. Any
other is warped in squares that stand at fixed places of the lattice, with an exact
transformer and the scale of the whole file. GDAL's own choices (bounds fitted to the request,
an eighth of a pixel of tolerance, a scale worked out for each request, which below 0.95
blurs) make a pixel depend on the window it is read in. So does its arithmetic, which counts
from the corner of what is warped: where a mean of pixels ends in one half, as at 7 m of
pixels of 10 m, an error in the sixteenth digit decides how it is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import DTypeLike, NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform

from cubecrop.cube.access import with_file
from cubecrop.cube.grid import Lattice, Window
from cubecrop.cube.headers import Stated, check_file
from cubecrop.cube.pixels import as_raster, read_pixels
from cubecrop.errors import ReadError
from cubecrop.schema import Access

__all__ = [
    "Footing", "Layer", "Source", "WindowReader", "footing", "footing_of", "lattice_squares",
    "nesting", "read_layer", "read_window", "warp_square",
]  # fmt: skip

Finish = Callable[[NDArray[np.generic], float], NDArray[np.generic]]

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
class Source:
    """One file, with the names to blame when it fails.

    ``kind`` is a key of `cubecrop.cube.kinds.KINDS`, ``stated`` what the item says of the file;
    a file is held against both when it is opened.
    """

    item: str
    asset: str
    href: str
    nodata: float | None = None
    access: Access = field(default_factory=Access)
    kind: str = ""
    stated: Stated | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What is wanted of a set of files.

    Parameters
    ----------
    bands : tuple of str
        Asset names of a scene.
    dtype : str
        Type of the values, before any scale.
    fill : float
        Stands where a file has no data or does not reach.
    raw_fill : float, optional
        The same before ``finish``, where that is another value.
    resampling : {"nearest", "bilinear"}
        How a file is brought to the lattice where its pixels do not nest in it.
    replicate : bool, default True
        Whether nested pixels are replicated, rather than resampled as well.
    lost : float, optional
        Stands where a scene could not be read, if that is another value than ``fill``.
    halo : float, default 0
        Metres around a window that ``finish`` needs.
    highest : float, optional
        A number above it, other than what stands for missing, is an error.
    finish : callable, optional
        ``finish(values, resolution)`` turns the values of a grown window into those of it;
        must not depend on anything farther than ``halo``.
    """

    bands: tuple[str, ...]
    dtype: str
    fill: float
    resampling: Literal["nearest", "bilinear"]
    replicate: bool = True
    raw_fill: float | None = None
    lost: float | None = None
    halo: float = 0.0
    highest: float | None = None
    finish: Finish | None = None


class WindowReader(Protocol):
    """Reads a window of a file onto the lattice, as `read_window` does."""

    def __call__(
        self,
        source: Source,
        lattice: Lattice,
        window: Window,
        *,
        dtype: DTypeLike,
        fill: float,
        resampling: Literal["nearest", "bilinear"],
        replicate: bool = True,
    ) -> NDArray[np.generic]:
        """Read a window of a file."""


def read_layer(
    source: Source,
    layer: Layer,
    lattice: Lattice,
    window: Window,
    *,
    reach: Window | None = None,
    read: WindowReader | None = None,
) -> NDArray[np.generic]:
    """Read a window of a file, finished as its layer says.

    Parameters
    ----------
    source, layer, lattice, window
        What to read, how, and where to.
    reach : Window, optional
        What of the lattice the file may reach, by its item. Nothing is kept beyond, since a
        chunk that lies there altogether is not read.
    read : callable, optional
        What brings the file to the lattice; `read_window` by default.

    Returns
    -------
    numpy.ndarray
        (height, width) of the layer's dtype.

    Raises
    ------
    ReadError
        The file cannot be read, or is not what its item says; the message names the item and
        the asset.
    """
    margin = math.ceil(layer.halo / lattice.resolution)
    fill = layer.fill if layer.raw_fill is None else layer.raw_fill
    values = (read or read_window)(
        source,
        lattice,
        window.grown(margin),
        dtype=layer.dtype,
        fill=fill,
        resampling=layer.resampling,
        replicate=layer.replicate,
    )
    if layer.highest is not None:
        _check_highest(values, source, layer.highest, fill)
    if layer.finish is not None:
        values = layer.finish(values, lattice.resolution)
    values = values[margin : margin + window.height, margin : margin + window.width]
    if reach is None:
        return values
    rows, columns = reach.within(window)
    inside = np.full(values.shape, layer.fill, values.dtype)
    inside[rows, columns] = values[rows, columns]
    return inside


def _check_highest(values: NDArray[Any], source: Source, highest: float, fill: float) -> None:
    above = (values > highest) & (values != fill)
    if above.any():
        # What an 8-bit type cannot hold was read as 254.
        found = [
            "254 or more" if value >= 254 else int(value) for value in np.unique(values[above])
        ]
        raise ReadError(
            f"asset {source.asset!r} of item {source.item!r} ({source.href.split('?')[0]}) holds "
            f"{', '.join(map(str, found[:5]))}, expected 0 to {highest:g}. If they stand for "
            "missing pixels, declare them as the file's nodata; else fetch the file again."
        )


def read_window(
    source: Source,
    lattice: Lattice,
    window: Window,
    *,
    dtype: DTypeLike,
    fill: float,
    resampling: Literal["nearest", "bilinear"],
    replicate: bool = True,
) -> NDArray[np.generic]:
    """Read a window of a file onto the lattice.

    Returns
    -------
    numpy.ndarray
        (height, width); ``fill`` where the file has nodata or does not reach.

    Raises
    ------
    ReadError
        The file cannot be read, or is not what its item says; the message names the item and
        the asset.
    """
    kind = np.dtype(dtype)

    def read(file: rasterio.DatasetReader) -> NDArray[np.generic]:
        check_file(file, source)
        factor = nesting(file, lattice) if replicate else None
        if factor is not None:
            return _read_nested(file, source, lattice, window, factor, fill, kind)
        found = footing(file, lattice, window)
        if found is None:
            return np.full((window.height, window.width), fill, kind)
        values = read_pixels(file, source, found.place, dtype=kind, fill=fill)
        with (
            as_raster(file, values, found.place, fill=fill) as name,
            rasterio.open(name) as raster,
        ):
            out = np.full((window.height, window.width), fill, kind)
            for square in lattice_squares(window):
                part = warp_square(
                    raster, lattice, square, found.scale, fill, Resampling[resampling]
                )
                out[square.within(window)] = part[window.within(square)]
            return out

    return with_file(source, read)


@lru_cache(maxsize=512)
def _same_crs(wkt: str, crs: str) -> bool:
    return bool(rasterio.crs.CRS.from_wkt(wkt) == rasterio.crs.CRS.from_string(crs))


def nesting(file: rasterio.DatasetReader, lattice: Lattice) -> int | None:
    """How many lattice pixels make a side of a file's pixel, None where they do not nest."""
    if not _same_crs(file.crs.to_wkt(), lattice.crs):
        return None
    size = lattice.resolution
    numbers = (
        file.transform.a / size,
        -file.transform.e / size,
        file.transform.c / size,
        file.transform.f / size,
    )
    whole = [round(number) for number in numbers]
    close = all(abs(n - w) < 1e-6 for n, w in zip(numbers, whole, strict=True))
    return whole[0] if close and whole[0] == whole[1] >= 1 else None


def _read_nested(
    file: rasterio.DatasetReader,
    source: Source,
    lattice: Lattice,
    window: Window,
    factor: int,
    fill: float,
    dtype: np.dtype[Any],
) -> NDArray[np.generic]:
    top = round(-file.transform.f / lattice.resolution)
    left = round(file.transform.c / lattice.resolution)
    r0, r1 = max(window.row, top), min(window.row + window.height, top + file.height * factor)
    c0, c1 = (
        max(window.column, left),
        min(window.column + window.width, left + file.width * factor),
    )
    shape = (window.height, window.width)
    if r0 >= r1 or c0 >= c1:
        return np.full(shape, fill, dtype)
    row, column = (r0 - top) // factor, (c0 - left) // factor
    rows, columns = -(-(r1 - top) // factor) - row, -(-(c1 - left) // factor) - column
    place = Window(row, column, rows, columns)
    block = read_pixels(file, source, place, dtype=dtype, fill=fill)
    if factor > 1:
        block = block.repeat(factor, axis=0).repeat(factor, axis=1)
        y, x = r0 - top - row * factor, c0 - left - column * factor
        block = block[y : y + r1 - r0, x : x + c1 - c0]
    if block.shape == shape:  # the file covers the window
        return block
    out = np.full(shape, fill, dtype)
    out[r0 - window.row : r1 - window.row, c0 - window.column : c1 - window.column] = block
    return out


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
    grid = tuple(file.transform)[:6]
    found = footing_of(file.crs.to_wkt(), grid, lattice, window, margin=margin, whole=whole)
    if found is None or not found.place.meets(whole):
        return None
    place = found.place
    row, column = max(place.row, 0), max(place.column, 0)
    bottom = min(place.row + place.height, file.height)
    right = min(place.column + place.width, file.width)
    return Footing(place=Window(row, column, bottom - row, right - column), scale=found.scale)


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
    columns, rows = ~place * np.array(transform(lattice.crs, crs, xs, ys))
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
) -> NDArray[np.generic]:
    """Bring a raster whose nodata is the fill to a square of the lattice.

    The arithmetic of a warp counts from the corner of what is warped: from fixed corners, it
    does not depend on what is asked for.
    """
    with WarpedVRT(
        raster,
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
