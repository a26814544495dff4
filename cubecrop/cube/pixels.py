"""Read pixels of a file and decide which are missing, before anything is resampled.

A pixel is missing if the file or its item declares its value as nodata, if the file masks it, or
if its value is impossible for the kind of band. This is decided on the file's own pixels, so that
it does not depend on whether the file is warped afterwards.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rasterio.io import MemoryFile
from rasterio.windows import Window as RasterWindow

from cubecrop.cube.grid import Window
from cubecrop.cube.headers import has_mask
from cubecrop.cube.kinds import KINDS, Kind
from cubecrop.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import rasterio
    from numpy.typing import NDArray

    from cubecrop.cube.source import Source

__all__ = ["as_raster", "read_pixels", "without_gaps"]

#: Blocks of up to this many pixels are checked as a whole.
_LARGEST_BLOCK: Final = 2**22
#: A block needs this many pixels with a value, or a quarter of a small block's pixels, to be
#: judged: at the border of a scene, or in layover, it may hold only a few odd ones.
_ENOUGH: Final = 1000
#: Pixels that are smaller than this, in pixels of the target, are averaged; larger ones are
#: interpolated.
_AVERAGED: Final = 0.75
#: Side of the blocks of a raster in memory.
_SIDE: Final = 256


def read_pixels(
    file: rasterio.DatasetReader,
    source: Source,
    place: Window,
    *,
    dtype: np.dtype[Any],
    fill: float,
) -> NDArray[Any]:
    """Read pixels of a file, with a fill value where they are missing.

    Parameters
    ----------
    file, source
        The open file, and what its item says about it.
    place : Window
        Rows and columns within the file.
    dtype, fill
        Type of the result, and the value of missing pixels.

    Returns
    -------
    numpy.ndarray
        (height, width) of ``dtype``.

    Raises
    ------
    ReadError
        A block of the file is full of numbers that are impossible for its kind of band.
    """
    kind = KINDS.get(source.kind)
    unit = _whole_blocks(file, place) if kind is not None and kind.absurd else place
    raw = file.read(1, window=_in_rasterio(unit))
    # For unsigned integers, the maximum alone often shows that all values are possible.
    largest = int(raw.max()) if raw.dtype.kind == "u" and raw.size else None
    missing = _missing(raw, file, source, kind, fill=fill, largest=largest)
    if has_mask(file):
        missing = _either(missing, file.read_masks(1, window=_in_rasterio(unit)) == 0)
    if kind is not None and not (largest is not None and kind.holds(largest)):
        if kind.absurd is not None:
            _judge(raw, missing, kind, (file, source, unit), fill=fill)
        missing = _either(missing, kind.impossible(raw))
    part = place.within(unit)
    values = _cast(raw[part], dtype)
    if missing is not None:
        return np.where(missing[part], dtype.type(fill), values)
    # Copied, since a view of a part would keep whole blocks in memory.
    return values if unit == place or values.base is None else values.copy()


def without_gaps(
    values: NDArray[Any], source: Source, scale: tuple[float, float], *, fill: float
) -> NDArray[Any]:
    """Pixels without those that would falsify a mean, if several of them make a target's pixel.

    Parameters
    ----------
    values : numpy.ndarray
        Pixels of `read_pixels`.
    source : Source
        Says which kind of band it is.
    scale : tuple of float
        Size of a pixel in pixels of the target.
    fill : float
        The value of missing pixels.

    Returns
    -------
    numpy.ndarray
        The same array, or one with the fill where there is no measurement.
    """
    kind = KINDS.get(source.kind)
    if kind is None or kind.gap is None or min(scale) >= _AVERAGED:
        return values
    return np.where(values <= kind.gap, values.dtype.type(fill), values)


@contextmanager
def as_raster(
    file: rasterio.DatasetReader, values: NDArray[Any], place: Window, *, fill: float
) -> Iterator[str]:
    """Make a raster in memory with a file's grid, CRS and some of its pixels; yields its name.

    The raster is sparse and has the file's whole grid. With the corner of a part, the arithmetic
    of a warp, and so its rounding, would depend on the part.
    """
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=file.width, height=file.height, count=1, dtype=values.dtype,
            crs=file.crs, transform=file.transform, nodata=fill, tiled=True, blockxsize=_SIDE,
            blockysize=_SIDE, sparse_ok=True, bigtiff="IF_SAFER",
        ) as raster:  # fmt: skip
            raster.write(values, 1, window=_in_rasterio(place))
        yield memory.name


def _whole_blocks(file: rasterio.DatasetReader, place: Window) -> Window:
    """Widen a window to the file's blocks, which are decoded anyway.

    Blocks are then always judged as a whole, whatever the window.
    """
    rows, columns = file.block_shapes[0]
    if rows * columns > _LARGEST_BLOCK:
        return place
    top, left = place.row // rows * rows, place.column // columns * columns
    bottom = min(file.height, -(-(place.row + place.height) // rows) * rows)
    right = min(file.width, -(-(place.column + place.width) // columns) * columns)
    return Window(top, left, bottom - top, right - left)


def _in_rasterio(window: Window) -> RasterWindow:
    return RasterWindow(window.column, window.row, window.width, window.height)


def _missing(
    raw: NDArray[Any],
    file: rasterio.DatasetReader,
    source: Source,
    kind: Kind | None,
    *,
    fill: float,
    largest: int | None,
) -> NDArray[np.bool_] | None:
    """Mask of pixels with a number that means "missing"; None if there are none.

    The numbers come from file, item and kind of band. Pixels that hold the fill already are not
    in the mask.
    """
    codes = {source.nodata} if source.nodata is not None else set()
    own = file.nodata
    if own is not None and (kind is None or own not in kind.kept):
        codes.add(own)
    if kind is not None:
        codes.update(kind.missing)
    missing = None
    for code in codes - {fill}:
        if largest is not None and code > largest:
            continue
        if (here := _equal(raw, code)) is not None:
            missing = _either(missing, here)
    if raw.dtype.kind == "f" and not (known := np.isfinite(raw)).all():
        missing = _either(missing, ~known)
    return missing


def _equal(raw: NDArray[Any], code: float) -> NDArray[np.bool_] | None:
    """Mask of pixels that equal a number; None if there are none."""
    if not math.isfinite(code):
        return None  # pixels that are not finite are always missing
    number: object = code
    if raw.dtype.kind != "f":
        limits = np.iinfo(raw.dtype)
        if not (float(code).is_integer() and limits.min <= code <= limits.max):
            return None
        number = int(code)
    with np.errstate(over="ignore"):
        here = np.asarray(raw == raw.dtype.type(number))
    return here if here.any() else None


def _either(a: NDArray[np.bool_] | None, b: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    if a is None or b is None:
        return b if a is None else a
    return a | b


def _cast(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert values to a type; those that uint8 cannot hold become 254, which is no class."""
    if dtype == np.uint8 and values.dtype != np.uint8:
        values = np.where((values < 0) | (values > 255), 254, values)
    return values.astype(dtype, copy=False)


def _judge(
    raw: NDArray[Any],
    missing: NDArray[np.bool_] | None,
    kind: Kind,
    where: tuple[rasterio.DatasetReader, Source, Window],
    *,
    fill: float,
) -> None:
    """Raise if more than half of a block's values are impossible for its kind of band."""
    lowest, highest = kind.absurd or (-math.inf, math.inf)
    with np.errstate(invalid="ignore"):
        absurd = (raw < lowest) | (raw > highest)
    if not absurd.any():
        return
    missing = (raw == fill) if missing is None else missing | (raw == fill)
    absurd &= ~missing
    file, source, unit = where
    rows, columns = file.block_shapes[0]
    if rows * columns > _LARGEST_BLOCK:
        rows, columns = raw.shape
    for row in range(0, raw.shape[0], rows):
        for column in range(0, raw.shape[1], columns):
            part = slice(row, row + rows), slice(column, column + columns)
            bad = int(np.count_nonzero(absurd[part]))
            if bad == 0:
                continue
            present = int(np.count_nonzero(~missing[part]))
            if 2 * bad > present >= min(_ENOUGH, raw[part].size // 4):
                numbers = raw[part][absurd[part]]
                is_code = numbers.min() == numbers.max()
                code = f" If {numbers[0]:g} means no data, declare it as nodata." if is_code else ""
                raise ReadError(
                    f"asset {source.asset!r} of item {source.item!r} "
                    f"({source.href.split('?')[0]}) holds numbers from {numbers.min():g} to "
                    f"{numbers.max():g} in {bad} of {present} pixels of its block at row "
                    f"{unit.row + row}, column {unit.column + column}; expected "
                    f"{kind.expected}, {lowest:g} to {highest:g}. {kind.cure}{code}"
                )
