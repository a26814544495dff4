"""Reading pixels of a file for a chunk, block by block and each block once.

See `cubecrop.cube.shelf` for what becomes of the rest of a block.
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

#: Opens a file, and calls a function with it.
Opener = Callable[[Callable[[rasterio.DatasetReader], None]], None]

#: Side in pixels up to which small blocks, such as strips of a line, are taken together.
_SIDE: Final = 256
#: Pixels of a block beyond which only what a chunk needs of it is read.
_LARGEST: Final = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class Nest:
    """How the pixels of a file lie on the lattice, each on ``factor`` x ``factor`` of its own.

    ``row`` and ``column`` are where the file begins on the lattice, ``height`` and ``width``
    its pixels, ``unit`` the rows and columns of what is decoded in one go; None where a file
    is one large block. ``is_joined`` says that a unit is several blocks.
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
        """Rows and columns of the file that a window meets; of no height or width if none."""
        top, bottom = self._range(window.row - self.row, window.height, self.height)
        left, right = self._range(window.column - self.column, window.width, self.width)
        return Window(top, left, max(bottom - top, 0), max(right - left, 0))

    def _range(self, start: int, length: int, size: int) -> tuple[int, int]:
        return max(start // self.factor, 0), min(-(-(start + length) // self.factor), size)

    def window(self, place: Window) -> Window:
        """The lattice pixels of rows and columns of the file."""
        return Window(
            self.row + place.row * self.factor,
            self.column + place.column * self.factor,
            place.height * self.factor,
            place.width * self.factor,
        )

    def units(self, place: Window) -> list[Unit]:
        """Blocks that rows and columns of the file meet."""
        high, wide = self._unit
        rows = range(place.row // high, -(-(place.row + place.height) // high))
        columns = range(place.column // wide, -(-(place.column + place.width) // wide))
        return list(itertools.product(rows, columns))

    def place(self, unit: Unit) -> Window:
        """Rows and columns of a block."""
        high, wide = self._unit
        row, column = unit[0] * high, unit[1] * wide
        return Window(row, column, min(high, self.height - row), min(wide, self.width - column))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The chunks of a cube: where they begin and end on the lattice, along rows and columns."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def single(self) -> bool:
        """Whether there is only one."""
        return len(self.rows) == len(self.columns) == 2

    def window(self, cell: Cell) -> Window:
        """The pixels of a chunk."""
        (y, x), rows, columns = cell, self.rows, self.columns
        return Window(rows[y], columns[x], rows[y + 1] - rows[y], columns[x + 1] - columns[x])

    def meeting(self, window: Window) -> Iterator[Cell]:
        """The chunks that a window meets."""
        return itertools.product(
            _meeting(self.rows, window.row, window.row + window.height),
            _meeting(self.columns, window.column, window.column + window.width),
        )


def _meeting(edges: tuple[int, ...], start: int, stop: int) -> range:
    first, last = np.searchsorted(edges, (start, stop - 1), side="right") - 1
    return range(max(int(first), 0), min(int(last), len(edges) - 2) + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a chunk needs of a file: ``margin`` lattice pixels more than its own on each side.

    ``web`` opens it, where it is another's than GDAL's way.
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


def nest_of(file: rasterio.DatasetReader, lattice: Lattice) -> Nest | None:
    """How a file lies on the lattice; None where its pixels do not nest in it."""
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
    """Read rows and columns of a file that a chunk needs.

    Parameters
    ----------
    opened : callable
        ``opened(use)`` opens the file, and calls ``use`` with it; it is not called where
        all of the blocks were decoded for other chunks.
    source, nest
        What the file's item says of it, and how it lies on the lattice.
    place : Window
        Rows and columns within the file.
    request : Request
        For which chunk; what others need of the same blocks is kept for them.
    dtype, fill
        Type of what is given, and what stands for missing pixels.

    Returns
    -------
    numpy.ndarray
        (height, width) of ``dtype``.

    Raises
    ------
    ReadError
        The file cannot be read, or holds numbers that no product of its kind has.
    """

    def alone() -> NDArray[Any]:
        found: list[NDArray[Any]] = []
        opened(lambda file: found.append(read_pixels(file, source, place, dtype=dtype, fill=fill)))
        return found[-1]

    if request.cells.single or nest.unit is None:
        return alone()
    try:
        return _read_units(opened, source, nest, place, request, dtype=dtype, fill=fill)
    except ReadError:
        if not nest.is_joined:
            raise
        return alone()  # what is broken may be beside the blocks that this chunk needs


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
    """Read whole units, and keep what other chunks need of them."""
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
    """Blocks as few rectangles, each read in one go: a server then gives them in one answer."""
    runs: list[tuple[int, int, int]] = []  # row of blocks, first and last column of blocks
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
    """Keep for other chunks what they need of blocks that were read."""
    for unit in nest.units(part):
        block = nest.place(unit)
        for cell in request.cells.meeting(nest.window(block).grown(request.margin)):
            if cell == request.cell or request.shelf.is_done(cell):
                continue
            wanted = nest.pixels(request.cells.window(cell).grown(request.margin))
            both = _common(wanted, block)
            if both.height > 0 and both.width > 0:
                copy = values[both.within(part)].copy()
                request.shelf.put(cell, request.key, unit, both, copy)


def _common(a: Window, b: Window) -> Window:
    row, column = max(a.row, b.row), max(a.column, b.column)
    bottom = min(a.row + a.height, b.row + b.height)
    right = min(a.column + a.width, b.column + b.width)
    return Window(row, column, max(bottom - row, 0), max(right - column, 0))
