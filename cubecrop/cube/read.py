"""Read one file onto the lattice; a pixel is bit for bit the same in every window.

If a file's pixels nest in the lattice (same CRS, whole-number ratio), they are replicated.
Other files are warped, see `cubecrop.cube.warp`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import rasterio
from numpy.typing import DTypeLike, NDArray
from rasterio.enums import Resampling

from cubecrop.cube.access import with_file
from cubecrop.cube.blocks import nest_of
from cubecrop.cube.headers import check_file
from cubecrop.cube.pixels import as_raster, read_pixels, without_gaps
from cubecrop.cube.warp import footing, lattice_squares, warp_square
from cubecrop.errors import ReadError

if TYPE_CHECKING:
    from cubecrop.cube.grid import Lattice, Window
    from cubecrop.cube.source import Source

__all__ = [
    "Layer", "WindowReader", "covers", "filled", "finished", "lay", "margin_of",
    "raw_fill", "read_layer", "read_window", "warp_onto", "within",
]  # fmt: skip

Finish = Callable[[NDArray[np.generic], float], NDArray[np.generic]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Which assets to read, and how to turn them into values.

    Parameters
    ----------
    bands : tuple of str
        Asset names of a scene.
    dtype : str
        Type of the values, before scale and offset.
    fill : float
        Value where a file has no data or does not reach.
    raw_fill : float, optional
        The same before ``finish``, if that is another value.
    resampling : {"nearest", "bilinear"}
        How a file is warped if its pixels do not nest in the lattice.
    replicate : bool, default True
        Whether nested pixels are replicated; if False they are warped too.
    lost : float, optional
        Value where a scene could not be read, if not ``fill``.
    halo : float, default 0
        Metres around a window that ``finish`` needs.
    highest : float, optional
        Higher numbers are an error, except the one that means "missing".
    finish : callable, optional
        ``finish(values, resolution)`` turns the numbers of a window with its margin into final
        values. A pixel's value must not depend on pixels farther away than ``halo``.
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
    """Read a window of a file and turn it into the values of a layer.

    Parameters
    ----------
    source, layer, lattice, window
        The file, how to read it, and the target window.
    reach : Window, optional
        The part of the lattice that the file may cover according to its item. Pixels beyond get
        the fill, since chunks that lie completely beyond are not read either.
    read : callable, optional
        Reads the file onto the lattice; `read_window` by default.

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
    margin = margin_of(layer, lattice)
    values = (read or read_window)(
        source,
        lattice,
        window.widened(margin),
        dtype=layer.dtype,
        fill=raw_fill(layer),
        resampling=layer.resampling,
        replicate=layer.replicate,
    )
    values = finished(values, source, layer, lattice, window)
    if reach is None or covers(reach, window):
        return values
    return within(values, window, reach, layer.fill)


def filled(window: Window, fill: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Like `numpy.full`, but without writing zeros to fresh memory, which holds zeros already."""
    shape = (window.height, window.width)
    return np.full(shape, fill, dtype) if fill else np.zeros(shape, dtype)


def covers(reach: Window, window: Window) -> bool:
    """Whether a window lies completely within ``reach``."""
    return (
        reach.row <= window.row
        and reach.column <= window.column
        and reach.row + reach.height >= window.row + window.height
        and reach.column + reach.width >= window.column + window.width
    )


def within(values: NDArray[Any], window: Window, reach: Window, fill: float) -> NDArray[Any]:
    """Replace the values of a window beyond ``reach`` by a fill."""
    inside = np.full(values.shape, fill, values.dtype)
    rows, columns = reach.within(window)
    inside[rows, columns] = values[rows, columns]
    return inside


def margin_of(layer: Layer, lattice: Lattice) -> int:
    """Pixels around a window that a layer's ``finish`` needs."""
    return math.ceil(layer.halo / lattice.resolution)


def raw_fill(layer: Layer) -> float:
    """The value of missing pixels before a layer's ``finish``."""
    return layer.fill if layer.raw_fill is None else layer.raw_fill


def finished(
    values: NDArray[Any], source: Source, layer: Layer, lattice: Lattice, window: Window
) -> NDArray[Any]:
    """Check the numbers of a widened window, apply ``finish``, and cut off the margin."""
    margin = margin_of(layer, lattice)
    if layer.highest is not None:
        _check_highest(values, source, layer.highest, raw_fill(layer))
    if layer.finish is not None:
        values = layer.finish(values, lattice.resolution)
    return values[margin : margin + window.height, margin : margin + window.width]


def _check_highest(values: NDArray[Any], source: Source, highest: float, fill: float) -> None:
    above = (values > highest) & (values != fill)
    if above.any():
        # Numbers that uint8 cannot hold were read as 254.
        numbers = [
            "254 or more" if value >= 254 else int(value) for value in np.unique(values[above])
        ]
        raise ReadError(
            f"asset {source.asset!r} of item {source.item!r} ({source.href.split('?')[0]}) holds "
            f"{', '.join(map(str, numbers[:5]))}, expected 0 to {highest:g}. If these numbers mean "
            "missing pixels, declare them as the file's nodata; otherwise fetch the file again."
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
        nest = nest_of(file, lattice) if replicate else None
        if nest is not None:
            place = nest.pixels(window)
            out = np.full((window.height, window.width), fill, kind)
            if place.height > 0 and place.width > 0:
                values = read_pixels(file, source, place, dtype=kind, fill=fill)
                lay(out, window, values, nest.window(place), nest.factor)
            return out
        return warp_onto(
            file, source, lattice, window, dtype=kind, fill=fill, resampling=resampling
        )

    return with_file(source, read)


def warp_onto(
    file: rasterio.DatasetReader,
    source: Source,
    lattice: Lattice,
    window: Window,
    *,
    dtype: np.dtype[Any],
    fill: float,
    resampling: Literal["nearest", "bilinear"],
) -> NDArray[np.generic]:
    """Warp the part of an open file that a window needs, square by square."""
    out = np.full((window.height, window.width), fill, dtype)
    needed = footing(file, lattice, window)
    if needed is None:
        return out
    values = read_pixels(file, source, needed.place, dtype=dtype, fill=fill)
    values = without_gaps(values, source, needed.scale, fill=fill)
    with (
        as_raster(file, values, needed.place, fill=fill) as name,
        rasterio.open(name) as raster,
    ):
        for square in lattice_squares(window):
            part = warp_square(raster, lattice, square, needed.scale, fill, Resampling[resampling])
            out[square.within(window)] = part[window.within(square)]
    return out


def lay(
    out: NDArray[Any], window: Window, values: NDArray[Any], place: Window, factor: int
) -> None:
    """Write pixels of a file to the array of a window, each ``factor`` x ``factor`` times.

    ``window`` and ``place`` are where ``out`` and ``values`` lie on the lattice.
    """
    rows, columns = place.within(window)
    if rows.start >= out.shape[0] or columns.start >= out.shape[1]:
        return
    here = out[rows, columns]
    if factor > 1:
        y, x = (max(start, 0) for start in (window.row - place.row, window.column - place.column))
        near = values[y // factor :, x // factor :]
        near = near[: -(-(y % factor + here.shape[0]) // factor)]
        near = near[:, : -(-(x % factor + here.shape[1]) // factor)]
        values = near.repeat(factor, axis=0).repeat(factor, axis=1)
        values = values[y % factor :, x % factor :]
    else:
        inside = window.within(place)
        values = values[inside]
    here[...] = values[: here.shape[0], : here.shape[1]]
