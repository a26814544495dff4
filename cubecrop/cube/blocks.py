"""Read the pixels of a file that a chunk needs, block by block, and decode each block once.

`cubecrop.cube.shelf` keeps the rest of a block for other chunks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rasterio

from cubecrop.cube.grid import Lattice, Window
from cubecrop.cube.pixels import read_pixels
from cubecrop.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from cubecrop.cube.access import Web
    from cubecrop.cube.shelf import Cell, Key, Shelf, Unit
    from cubecrop.cube.source import Source

__all__ = ["Cells", "Nest", "Opener", "Request", "nest_of", "nesting", "read_for_chunk"]

#: Opens a file and calls a function with it.
Opener = Callable[[Callable[[rasterio.DatasetReader], None]], None]

#: Small blocks, such as strips of one line, are joined up to this side in pixels.
_SIDE: Final = 256
#: Of a block with more pixels, only the part that a chunk needs is read.
_LARGEST: Final = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class Nest:
    """How the pixels of a file nest in the lattice.

    Each pixel of the file covers ``factor`` x ``factor`` pixels of the lattice. ``row`` and
    ``column`` are the file's corner on the lattice, ``height`` and ``width`` its size in its own
    pixels. ``unit`` is the rows and columns that are decoded together; None if the file is one
    large block. ``is_joined`` says that a unit is several blocks.
    """

    factor: int
    row: int
    column: int
    height: int
    width: int
    unit: tuple[int, int] | None
    is_joined: bool = False

    @property
    def _unit(self) -> tuple[int, int]:
        return self.unit or (self.height, self.width)

    def pixels(self, window: Window) -> Window:
        """Rows and columns of the file that overlap a window; height or width 0 if none do."""
        top, bottom = self._range(window.row - self.row, window.height, self.height)
        left, right = self._range(window.column - self.column, window.width, self.width)
        return Window(top, left, max(bottom - top, 0), max(right - left, 0))

    def _range(self, start: int, length: int, size: int) -> tuple[int, int]:
        return max(start // self.factor, 0), min(-(-(start + length) // self.factor), size)

    def window(self, place: Window) -> Window:
        """The lattice pixels that rows and columns of the file cover."""
        return Window(
            self.row + place.row * self.factor,
            self.column + place.column * self.factor,
            place.height * self.factor,
            place.width * self.factor,
        )

    def units(self, place: Window) -> list[Unit]:
        """Units that overlap rows and columns of the file."""
        high, wide = self._unit
        rows = range(place.row // high, -(-(place.row + place.height) // high))
        columns = range(place.column // wide, -(-(place.column + place.width) // wide))
        return list(itertools.product(rows, columns))

    def place(self, unit: Unit) -> Window:
        """Rows and columns of a unit."""
        high, wide = self._unit
        row, column = unit[0] * high, unit[1] * wide
        return Window(row, column, min(high, self.height - row), min(wide, self.width - column))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The chunks of a cube, by their edges on the lattice along rows and columns."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def single(self) -> bool:
        """Whether there is only one chunk."""
        return len(self.rows) == len(self.columns) == 2

    def window(self, cell: Cell) -> Window:
        """The pixels of a chunk."""
        (y, x), rows, columns = cell, self.rows, self.columns
        return Window(rows[y], columns[x], rows[y + 1] - rows[y], columns[x + 1] - columns[x])

    def meeting(self, window: Window) -> Iterator[Cell]:
        """The chunks that overlap a window."""
        return itertools.product(
            _meeting(self.rows, window.row, window.row + window.height),
            _meeting(self.columns, window.column, window.column + window.width),
        )


def _meeting(edges: tuple[int, ...], start: int, stop: int) -> range:
    first, last = np.searchsorted(edges, (start, stop - 1), side="right") - 1
    return range(max(int(first), 0), min(int(last), len(edges) - 2) + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a chunk needs of a file: its pixels and ``margin`` lattice pixels on each side.

    ``web`` opens files of HTTP servers; None = GDAL does.
    """

    cells: Cells
    cell: Cell
    key: Key
    margin: int
    shelf: Shelf
    web: Web | None = None


@lru_cache(maxsize=512)
def _same_crs(wkt: str, crs: str) -> bool:
    return bool(rasterio.crs.CRS.from_wkt(wkt) == rasterio.crs.CRS.from_string(crs))


def nesting(file: rasterio.DatasetReader, lattice: Lattice) -> int | None:
    """Side of a file's pixel in lattice pixels; None if the file does not nest in the lattice."""
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


def nest_of(file: rasterio.DatasetReader, lattice: Lattice) -> Nest | None:
    """How a file nests in the lattice; None if it does not."""
    factor = nesting(file, lattice)
    if factor is None:
        return None
    rows, columns = (
        min(-(-_SIDE // side) * side, size)
        for side, size in zip(file.block_shapes[0], file.shape, strict=True)
    )
    return Nest(
        factor=factor,
        row=round(-file.transform.f / lattice.resolution),
        column=round(file.transform.c / lattice.resolution),
        height=file.height,
        width=file.width,
        unit=(rows, columns) if rows * columns <= _LARGEST else None,
        is_joined=(rows, columns) > tuple(file.block_shapes[0]),
    )


def read_for_chunk(
    opened: Opener,
    source: Source,
    nest: Nest,
    place: Window,
    request: Request,
    *,
    dtype: np.dtype[Any],
    fill: float,
) -> NDArray[Any]:
    """Read the rows and columns of a file that a chunk needs.

    Parameters
    ----------
    opened : callable
        ``opened(use)`` opens the file and calls ``use`` with it. It is not called if all
        blocks were decoded for other chunks.
    source, nest
        What the item says about the file, and how the file nests in the lattice.
    place : Window
        Rows and columns within the file.
    request : Request
        The chunk. Parts of the same blocks that other chunks need are kept for them.
    dtype, fill
        Type of the result, and the value of missing pixels.

    Returns
    -------
    numpy.ndarray
        (height, width) of ``dtype``.

    Raises
    ------
    ReadError
        The file cannot be read, or its numbers are impossible for its kind of band.
    """

    def alone() -> NDArray[Any]:
        values: list[NDArray[Any]] = []
        opened(lambda file: values.append(read_pixels(file, source, place, dtype=dtype, fill=fill)))
        return values[-1]

    if request.cells.single or nest.unit is None:
        return alone()
    try:
        return _read_units(opened, source, nest, place, request, dtype=dtype, fill=fill)
    except ReadError:
        if not nest.is_joined:
            raise
        return alone()  # the damage may lie outside of the blocks that this chunk needs


def _read_units(
    opened: Opener,
    source: Source,
    nest: Nest,
    place: Window,
    request: Request,
    *,
    dtype: np.dtype[Any],
    fill: float,
) -> NDArray[Any]:
    """Read whole units, and keep the parts that other chunks need."""
    shelf, key = request.shelf, request.key
    out: NDArray[Any] | None = None
    mine: list[Unit] = []
    todo = nest.units(place)

    def keep(file: rasterio.DatasetReader) -> None:
        nonlocal out
        for part in _rectangles(mine, nest):
            values = read_pixels(file, source, part, dtype=dtype, fill=fill)
            if part == place:
                out = values
            else:
                out = _blank(place, dtype) if out is None else out
                out[part.within(place)] = values[place.within(part)]
            _share(values, part, nest, request)

    while todo:
        found, mine, todo = shelf.claim(request.cell, key, todo)
        if mine:
            try:
                opened(keep)
            finally:
                shelf.release(key, mine)
        for part, values in found:
            out = _blank(place, dtype) if out is None else out
            out[part.within(place)] = values[place.within(part)]
        if todo:
            shelf.wait(key, todo)
    return _blank(place, dtype) if out is None else out


def _blank(place: Window, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.empty((place.height, place.width), dtype)


def _rectangles(units: Sequence[Unit], nest: Nest) -> list[Window]:
    """Join units into few rectangles; a server sends each of them in one response."""
    runs: list[tuple[int, int, int]] = []  # row of units, first and last column of units
    for row, column in sorted(units):
        if runs and runs[-1][0] == row and runs[-1][2] == column - 1:
            runs[-1] = (row, runs[-1][1], column)
        else:
            runs.append((row, column, column))
    stacked: list[tuple[int, int, int, int]] = []
    for row, left, right in runs:
        if stacked and stacked[-1][1:] == (row - 1, left, right):
            stacked[-1] = (stacked[-1][0], row, left, right)
        else:
            stacked.append((row, row, left, right))
    places = []
    for top, bottom, left, right in stacked:
        first, last = nest.place((top, left)), nest.place((bottom, right))
        places.append(
            Window(
                first.row,
                first.column,
                last.row + last.height - first.row,
                last.column + last.width - first.column,
            )
        )
    return places


def _share(values: NDArray[Any], part: Window, nest: Nest, request: Request) -> None:
    """Keep the parts of the read blocks that other chunks need."""
    for unit in nest.units(part):
        block = nest.place(unit)
        for cell in request.cells.meeting(nest.window(block).widened(request.margin)):
            if cell == request.cell or request.shelf.is_done(cell):
                continue
            wanted = nest.pixels(request.cells.window(cell).widened(request.margin))
            overlap = _common(wanted, block)
            if overlap.height > 0 and overlap.width > 0:
                copy = values[overlap.within(part)].copy()
                request.shelf.put(cell, request.key, unit, overlap, copy)


def _common(a: Window, b: Window) -> Window:
    row, column = max(a.row, b.row), max(a.column, b.column)
    bottom = min(a.row + a.height, b.row + b.height)
    right = min(a.column + a.width, b.column + b.width)
    return Window(row, column, max(bottom - row, 0), max(right - column, 0))
