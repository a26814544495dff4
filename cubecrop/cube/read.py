"""Reading one file onto the lattice: bit for bit the same whatever window is asked for.

A file whose pixels nest in the lattice (same CRS, whole-number ratio) is replicated. Any
other is seen through a virtual warp whose blocks are anchored on the lattice, whose
transformer is exact and whose scale is that of the whole file. GDAL's own choices (bounds
fitted to the request, an eighth of a pixel of tolerance, a scale worked out for each
request, which below 0.95 blurs) make a pixel depend on the window it is read in.
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
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform, transform_bounds
from rasterio.windows import Window as RasterWindow

from cubecrop.cube.access import with_file
from cubecrop.cube.grid import Lattice, Window
from cubecrop.errors import ReadError
from cubecrop.schema import Access

__all__ = [
    "Layer", "Source", "WindowReader", "check_file", "nesting", "read_layer", "read_window",
]  # fmt: skip

Finish = Callable[[NDArray[np.generic], float], NDArray[np.generic]]

#: Blocks of a warp in pixels: 5,120 m at 10 m.
_WARP_BLOCK = 512
#: Pixels to which the part of a warp that a window needs is rounded.
_WARP_STEP = 64
#: In pixels. Zero, "exact", is refused by GDAL's warper together with a given transform.
_WARP_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file, with the names to blame when it fails."""

    item: str
    asset: str
    href: str
    nodata: float | None = None
    access: Access = field(default_factory=Access)


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
    read: WindowReader | None = None,
) -> NDArray[np.generic]:
    """Read a window of a file, finished as its layer says.

    Parameters
    ----------
    source, layer, lattice, window
        What to read, how, and where to.
    read : callable, optional
        What brings the file to the lattice; `read_window` by default.

    Returns
    -------
    numpy.ndarray
        (height, width) of the layer's dtype.

    Raises
    ------
    ReadError
        The file cannot be read; the message names the item and the asset.
    """
    margin = math.ceil(layer.halo / lattice.resolution)
    values = (read or read_window)(
        source,
        lattice,
        window.grown(margin),
        dtype=layer.dtype,
        fill=layer.fill if layer.raw_fill is None else layer.raw_fill,
        resampling=layer.resampling,
        replicate=layer.replicate,
    )
    if layer.finish is not None:
        values = layer.finish(values, lattice.resolution)
    return values[margin : margin + window.height, margin : margin + window.width]


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
        The file cannot be read; the message names the item and the asset.
    """

    def read(file: rasterio.DatasetReader) -> NDArray[np.generic]:
        check_file(file, source)
        nodata = source.nodata if source.nodata is not None else file.nodata
        factor = nesting(file, lattice) if replicate else None
        if factor is not None:
            return _read_nested(file, lattice, window, factor, nodata, fill, np.dtype(dtype))
        out = np.full((window.height, window.width), fill, dtype=dtype)
        _read_warped(file, lattice, window, nodata, fill, Resampling[resampling], out)
        return out

    return with_file(source, read)


def check_file(file: rasterio.DatasetReader, source: Source) -> None:
    """Raise `ReadError` unless a file has one band, a CRS and north up."""
    where = f"asset {source.asset!r} of item {source.item!r} ({source.href})"
    if file.count != 1:
        raise ReadError(f"{where} has {file.count} bands, expected one.")
    if file.crs is None or file.gcps[0]:
        raise ReadError(
            f"{where} has no CRS: it is damaged, or in radar geometry. Fetch the file again; of "
            "Sentinel-1, use a terrain-corrected product (RTC)."
        )
    if file.transform.b or file.transform.d or file.transform.a <= 0 or file.transform.e >= 0:
        raise ReadError(f"{where} is not north-up.")


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
    lattice: Lattice,
    window: Window,
    factor: int,
    nodata: float | None,
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
    block = file.read(1, window=RasterWindow(column, row, columns, rows))
    block = _mask(block, nodata, fill, dtype)
    if factor > 1:
        block = block.repeat(factor, axis=0).repeat(factor, axis=1)
        y, x = r0 - top - row * factor, c0 - left - column * factor
        block = block[y : y + r1 - r0, x : x + c1 - c0]
    if block.shape == shape:  # the file covers the window
        return block
    out = np.full(shape, fill, dtype)
    out[r0 - window.row : r1 - window.row, c0 - window.column : c1 - window.column] = block
    return out


def _mask(
    block: NDArray[np.generic], nodata: float | None, fill: float, dtype: np.dtype[Any]
) -> NDArray[np.generic]:
    """A block in another type, with a fill for nodata."""
    values = block.astype(dtype, copy=False)
    if nodata is None or math.isnan(nodata) or nodata == fill:
        return values
    return np.where(block == nodata, dtype.type(fill), values)


def _read_warped(
    file: rasterio.DatasetReader,
    lattice: Lattice,
    window: Window,
    nodata: float | None,
    fill: float,
    resampling: Resampling,
    out: NDArray[np.generic],
) -> None:
    step = _WARP_BLOCK * lattice.resolution
    left, bottom, right, top = transform_bounds(file.crs, lattice.crs, *file.bounds, densify_pts=21)
    column, row = (_WARP_BLOCK * math.floor(edge / step) for edge in (left, -top))
    width = _WARP_BLOCK * math.ceil(right / step) - column
    height = _WARP_BLOCK * math.ceil(-bottom / step) - row
    r0, r1 = max(window.row, row), min(window.row + window.height, row + height)
    c0, c1 = max(window.column, column), min(window.column + window.width, column + width)
    if r0 >= r1 or c0 >= c1:
        return
    if nodata is None:
        # No pixel holds it: it only makes the warp leave what the file does not reach empty.
        nodata = math.nan if np.issubdtype(np.dtype(file.dtypes[0]), np.floating) else fill
    x_scale, y_scale = _scale(file, lattice)
    # No more is warped than the window needs: GDAL fills whole blocks of a warp.
    row, column = (_WARP_STEP * (edge // _WARP_STEP) for edge in (r0, c0))
    height, width = (
        _WARP_STEP * -(-(end - start) // _WARP_STEP) for start, end in ((row, r1), (column, c1))
    )
    with WarpedVRT(
        file,
        crs=lattice.crs,
        transform=lattice.transform(Window(row, column, height, width)),
        width=width,
        height=height,
        resampling=resampling,
        tolerance=_WARP_TOLERANCE,
        src_nodata=nodata,
        nodata=fill,
        dtype=str(out.dtype),
        XSCALE=x_scale,
        YSCALE=y_scale,
    ) as warped:
        block = warped.read(1, window=RasterWindow(c0 - column, r0 - row, c1 - c0, r1 - r0))
    out[r0 - window.row : r1 - window.row, c0 - window.column : c1 - window.column] = block


def _scale(file: rasterio.DatasetReader, lattice: Lattice) -> tuple[float, float]:
    """Lattice pixels to a file's pixel along its rows and columns, at the file's centre."""
    place = file.transform
    left = place.c + place.a * (file.width / 2)
    top = place.f + place.e * (file.height / 2)
    corners = ([left, left + place.a, left], [top, top, top + place.e])
    x, y = transform(file.crs, lattice.crs, *corners)
    return (
        math.hypot(x[1] - x[0], y[1] - y[0]) / lattice.resolution,
        math.hypot(x[2] - x[0], y[2] - y[0]) / lattice.resolution,
    )
