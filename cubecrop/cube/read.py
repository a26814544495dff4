"""Reading one file onto the lattice: bit for bit the same whatever window is asked for.

A file whose pixels nest in the lattice (same CRS, whole-number ratio) is replicated. Any other
is warped, see `cubecrop.cube.warp`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
import rasterio
from numpy.typing import DTypeLike, NDArray
from rasterio.enums import Resampling

from cubecrop.cube.access import with_file
from cubecrop.cube.grid import Lattice, Window
from cubecrop.cube.headers import Stated, check_file
from cubecrop.cube.pixels import as_raster, read_pixels
from cubecrop.cube.warp import footing, lattice_squares, warp_square
from cubecrop.errors import ReadError
from cubecrop.schema import Access

__all__ = ["Layer", "Source", "WindowReader", "nesting", "read_layer", "read_window"]

Finish = Callable[[NDArray[np.generic], float], NDArray[np.generic]]


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
    if (rows.start, columns.start) == (0, 0) and (
        rows.stop >= window.height and columns.stop >= window.width
    ):
        return values
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
