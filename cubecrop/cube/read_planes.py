"""Read what a chunk needs of a file, in the file's own resolution where possible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cubecrop.cube.access import with_file
from cubecrop.cube.blocks import Nest, Opener, Request, nest_of, read_for_chunk
from cubecrop.cube.grid import Lattice, Window
from cubecrop.cube.headers import check_file
from cubecrop.cube.planes import Plane
from cubecrop.cube.read import (
    Layer,
    covers,
    filled,
    finished,
    lay,
    raw_fill,
    warp_onto,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import rasterio
    from numpy.typing import NDArray

    from cubecrop.cube.source import Source

__all__ = ["read_plane"]


def read_plane(
    source: Source,
    layer: Layer,
    lattice: Lattice,
    need: Window,
    request: Request,
    *,
    reach: Window,
) -> Plane | None:
    """Read what a chunk needs of a file, and keep what other chunks need of the same blocks.

    Parameters
    ----------
    source, layer, lattice
        The file, how to read it, and the target lattice.
    need : Window
        The part of the chunk where values are needed; elsewhere they are arbitrary.
    request : Request
        The chunk.
    reach : Window
        The part of the lattice that the file may cover according to its item; see `read_layer`.

    Returns
    -------
    Plane or None
        In the file's resolution, if its pixels nest in the lattice and the layer has no
        ``finish``; otherwise on the chunk's pixels. None if the file does not reach the chunk.

    Raises
    ------
    ReadError
        See `read_layer`.
    """
    shelf, key = request.shelf, request.key
    dtype, fill = np.dtype(layer.dtype), raw_fill(layer)
    wide = need.widened(request.margin)
    kept = shelf.headers.setdefault(key, {})

    def opened(use: Callable[[rasterio.DatasetReader], None]) -> None:
        with_file(source, use, is_known=True, web=request.web, kept=kept)

    def nested(nest: Nest, opened: Opener) -> NDArray[Any] | None:
        place = nest.pixels(wide)
        if place.height == 0 or place.width == 0:
            return None
        return read_for_chunk(opened, source, nest, place, request, dtype=dtype, fill=fill)

    nest: Nest | None = None

    def first(file: rasterio.DatasetReader) -> NDArray[Any] | None:
        nonlocal nest
        check_file(file, source)
        nest = nest_of(file, lattice) if layer.replicate else None
        shelf.nests[key] = nest
        shelf.known(key)
        if nest is not None:
            return nested(nest, lambda use: use(file))
        return warp_onto(
            file, source, lattice, wide, dtype=dtype, fill=fill, resampling=layer.resampling
        )

    is_first = shelf.first(key)
    try:
        nest = shelf.nests.get(key)
        if nest is None:
            values = with_file(source, first, web=request.web, kept=kept)
        else:
            values = nested(nest, opened)
    finally:
        if is_first:
            shelf.known(key)
    if values is None:
        return None
    window = request.cells.window(request.cell)
    if nest is not None and layer.finish is None and layer.highest is None:
        plane = _as_plane(values, nest, nest.pixels(wide), window, fill)
        return plane if covers(reach, window) else _clipped(plane, window, reach, layer)
    if nest is not None:
        place, spread = nest.window(nest.pixels(wide)), filled(wide, fill, dtype)
        lay(spread, wide, values, place, nest.factor)
        values = spread
    values = finished(values, source, layer, lattice, need)
    whole = filled(window, layer.fill, values.dtype)
    rows, columns = need.within(window)
    whole[rows, columns] = values
    return _clipped(Plane(whole), window, reach, layer)


def _as_plane(
    values: NDArray[Any], nest: Nest, place: Window, window: Window, fill: float
) -> Plane:
    """Extend pixels of a file to the whole of a chunk."""
    top, left = (
        start % nest.factor for start in (window.row - nest.row, window.column - nest.column)
    )
    whole = Window(
        (window.row - nest.row) // nest.factor,
        (window.column - nest.column) // nest.factor,
        -(-(top + window.height) // nest.factor),
        -(-(left + window.width) // nest.factor),
    )
    if place != whole:
        spread = filled(whole, fill, values.dtype)
        spread[place.within(whole)] = values
        values = spread
    return Plane(values, nest.factor, top, left)


def _clipped(plane: Plane, window: Window, reach: Window, layer: Layer) -> Plane:
    """Replace the values beyond what a file may cover by the fill; see `read_layer`."""
    if covers(reach, window):
        return plane
    values = plane.spread((window.height, window.width))
    return Plane(within(values, window, reach, layer.fill))
