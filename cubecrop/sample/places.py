"""Places of the drawn pixels of parcels in the chunks of a cube.

A million parcels of 64 pixels have 64 million places. Therefore places are computed for a bounded
number of parcels at a time, stored in few bytes, and shared by all children of a cube.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from dask.base import tokenize

from cubecrop.sample.draw import draw_positions
from cubecrop.sample.zonal import ParcelPixels, parcel_batches, pixels_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Places", "place_pixels"]

Chunks = tuple[tuple[int, ...], tuple[int, ...]]
#: Places that are processed at a time; bounds the memory.
_BATCH: Final = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where each drawn pixel lies in the cube.

    ``which``, ``rows`` and ``columns`` are (parcel, pixel). ``which`` is the pixel's chunk, as an
    index into the chunks that the parcel touches, or -1 for no pixel; ``rows`` and ``columns``
    are the place in that chunk. A run of parcels, from one of ``starts`` to the next, touches
    the same chunks; ``blocks`` lists them for each run. ``counts`` and ``cover`` are (parcel,),
    see `ParcelPixels`.
    """

    which: NDArray[np.int16]
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    starts: list[int]
    blocks: list[list[tuple[int, int]]]
    chunks: Chunks
    counts: NDArray[np.int64]
    cover: NDArray[np.float64]
    token: str

    def runs(self, maximum: int) -> Iterator[tuple[slice, list[tuple[int, int]]]]:
        """Runs of up to ``maximum`` parcels that touch the same chunks, and these chunks."""
        stops = [*self.starts[1:], len(self.which)]
        for start, stop, blocks in zip(self.starts, stops, self.blocks, strict=True):
            for first in range(start, stop, maximum):
                yield slice(first, min(first + maximum, stop)), blocks


def place_pixels(
    zones: NDArray[np.object_],
    hashes: NDArray[np.uint64],
    n_pixels: int,
    *,
    resolution: float,
    origin: tuple[int, int],
    chunks: Chunks,
) -> Places:
    """Draw pixels of parcels and find them in the chunks of a cube.

    Parameters
    ----------
    zones : numpy.ndarray of shapely geometries
        (parcel,) plain shapes in the cube's CRS; None for a parcel without geometry.
    hashes : numpy.ndarray
        (parcel,) uint64 that decide the draw; see `draw_positions`.
    n_pixels : int
        Maximum number of pixels drawn from each parcel.
    resolution : float
        Pixel size in metres.
    origin : tuple of int
        Row and column of the cube's first pixel on the lattice.
    chunks : tuple
        Sizes of the cube's chunks along y and x.

    Returns
    -------
    Places
    """
    shape = (len(zones), n_pixels)
    rows, columns = np.full(shape, -1, np.int32), np.full(shape, -1, np.int32)
    counts, cover = np.zeros(len(zones), np.int64), np.full(len(zones), np.nan)
    sizes = sum(chunks[0]), sum(chunks[1])
    for part in parcel_batches(zones, resolution):
        pixels = pixels_of(zones[part], resolution)
        counts[part], cover[part] = pixels.counts, pixels.cover
        drawn = draw_positions(pixels.counts, hashes[part], n_pixels)
        rows[part], columns[part] = _within(pixels, drawn, origin, sizes)
    token = tokenize(rows, columns)
    which, starts, blocks = _split(rows, columns, chunks)
    return Places(
        which=which,
        rows=rows,
        columns=columns,
        starts=starts,
        blocks=blocks,
        chunks=chunks,
        counts=counts,
        cover=cover,
        token=token,
    )


def _within(
    pixels: ParcelPixels, drawn: NDArray[np.int64], origin: tuple[int, int], sizes: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of drawn positions in the cube; -1 outside of the cube."""
    starts = (np.cumsum(pixels.counts) - pixels.counts)[:, None]
    padding = np.zeros(1, np.int64)
    index = np.where(drawn < 0, len(pixels.rows), starts + drawn)
    rows = np.append(pixels.rows, padding)[index] - origin[0]
    columns = np.append(pixels.columns, padding)[index] - origin[1]
    outside = (
        (drawn < 0)
        | (rows < 0) | (rows >= sizes[0])
        | (columns < 0) | (columns >= sizes[1])
    )  # fmt: skip
    rows[outside] = columns[outside] = -1
    return rows, columns


def _split(
    rows: NDArray[np.int32], columns: NDArray[np.int32], chunks: Chunks
) -> tuple[NDArray[np.int16], list[int], list[list[tuple[int, int]]]]:
    """Turn places in the cube into places in its chunks; changes ``rows`` and ``columns``.

    Returns
    -------
    which : numpy.ndarray
        (parcel, pixel) index into the chunks that the parcel touches; -1 for no pixel.
    starts, blocks : list
        The first parcel of each run of parcels that touch the same chunks, and these chunks.
    """
    edges = [np.cumsum((0, *sizes)).astype(np.int32) for sizes in chunks]
    width = len(chunks[1])
    which = np.full(rows.shape, -1, np.int16)
    starts: list[int] = []
    blocks: list[list[tuple[int, int]]] = []
    last = None
    for first in range(0, len(rows), step := max(1, _BATCH // max(1, rows.shape[1]))):
        part = slice(first, first + step)
        here = rows[part] >= 0
        cy, cx = (
            np.searchsorted(edge, places[part], side="right") - 1
            for edge, places in ((edges[0], rows), (edges[1], columns))
        )
        flat = np.where(here, cy * width + cx, -1)
        rows[part] -= edges[0][cy]
        columns[part] -= edges[1][cx]
        touched = _distinct(flat)
        begins = np.ones(len(flat), dtype=bool)
        begins[1:] = (touched[1:] != touched[:-1]).any(axis=1)
        at = np.flatnonzero(begins)
        for start, stop in zip(at, [*at[1:], len(flat)], strict=True):
            chosen = touched[start][touched[start] >= 0]
            run = slice(start, stop)
            which[part][run] = np.where(here[run], np.searchsorted(chosen, flat[run]), -1)
            if start > 0 or last is None or not np.array_equal(chosen, last):
                starts.append(first + int(start))
                blocks.append([divmod(number, width) for number in chosen.tolist()])
            last = chosen
    return which, starts, blocks


def _distinct(flat: NDArray[np.int64]) -> NDArray[np.int64]:
    """The distinct numbers of each row, ascending; -1 fills the front of the row."""
    ordered = np.sort(flat, axis=1)
    repeated = ordered[:, 1:] == ordered[:, :-1]
    ordered[:, 1:][repeated] = -1
    ordered.sort(axis=1)
    return ordered
