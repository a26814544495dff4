"""All pixels of parcels as runs of pixels side by side, chunk by chunk of a cube.

A field of 144 pixels is a dozen runs, so a million fields are a few hundred megabytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.sample.zonal import ParcelPixels, parcel_batches, pixels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.sample.places import Chunks

__all__ = ["ChunkRuns", "Runs", "runs_of"]

#: Parcels that begin within so many rows and columns are neighbours: a strip of rows stays in a
#: processor's cache until the next parcel of it.
_NEAR: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRuns:
    """The parcels of one chunk, ascending, and their runs in it.

    ``parcels`` is (parcel,); ``order`` (parcel,) an order that keeps neighbours together;
    ``starts`` (parcel + 1,) the first run of each and the number of runs; ``rows``,
    ``columns``, ``lengths`` are (run,), counted in the chunk.
    """

    parcels: NDArray[np.int64]
    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    lengths: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Runs of every chunk that a parcel touches; ``counts`` (parcel,) pixels in and outside."""

    chunks: dict[tuple[int, int], ChunkRuns]
    counts: NDArray[np.int64]


def runs_of(
    zones: NDArray[np.object_], *, resolution: float, origin: tuple[int, int], chunks: Chunks
) -> Runs:
    """Find the pixels of parcels in the chunks of a cube; see `pixels_of` for which these are.

    Parameters
    ----------
    zones : numpy.ndarray of shapely geometries
        (parcel,) plain shapes in the cube's CRS, None for a parcel without.
    resolution : float
        Pixel size in metres.
    origin : tuple of int
        Row and column on the lattice of the cube's first pixel.
    chunks : tuple
        Sizes of the cube's chunks along y and x.

    Returns
    -------
    Runs
    """
    edges = tuple(np.cumsum((0, *sizes)) for sizes in chunks)
    counts = np.zeros(len(zones), np.int64)
    pieces: dict[int, list[NDArray[np.int64]]] = {}
    for part in parcel_batches(zones, resolution):
        pixels = pixels_of(zones[part], resolution)
        counts[part] = pixels.counts
        chunk, runs = _cut(pixels, origin, edges)
        runs[0] += part.start
        order = np.argsort(chunk, kind="stable")  # within a chunk parcels stay ascending
        touched, starts = np.unique(chunk[order], return_index=True)
        for one, piece in zip(
            touched.tolist(), np.split(runs[:, order], starts[1:], axis=1), strict=True
        ):
            pieces.setdefault(one, []).append(piece)
    width = len(chunks[1])
    joined = {divmod(one, width): _joined(found) for one, found in sorted(pieces.items())}
    return Runs(chunks=joined, counts=counts)


def _cut(
    pixels: ParcelPixels,
    origin: tuple[int, int],
    edges: tuple[NDArray[np.int64], ...],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Chunk (run,) and parcel, row, column, length (4, run) of the pixels within the cube."""
    parcel = np.repeat(np.arange(len(pixels.counts)), pixels.counts)
    rows, columns = pixels.rows - origin[0], pixels.columns - origin[1]
    inside = (rows >= 0) & (rows < edges[0][-1]) & (columns >= 0) & (columns < edges[1][-1])
    parcel, rows, columns = parcel[inside], rows[inside], columns[inside]
    cy, cx = (
        np.searchsorted(edge, places, side="right") - 1
        for edge, places in zip(edges, (rows, columns), strict=True)
    )
    chunk = cy * (len(edges[1]) - 1) + cx
    begins = np.ones(len(parcel), dtype=bool)
    begins[1:] = (
        (np.diff(parcel) != 0) | (np.diff(rows) != 0) | (np.diff(columns) != 1)
        | (np.diff(chunk) != 0)
    )  # fmt: skip
    first = np.flatnonzero(begins)
    lengths = np.diff(np.append(first, len(parcel)))
    rows, columns = rows[first] - edges[0][cy[first]], columns[first] - edges[1][cx[first]]
    return chunk[first], np.stack([parcel[first], rows, columns, lengths])


def _joined(pieces: list[NDArray[np.int64]]) -> ChunkRuns:
    owner, rows, columns, lengths = np.concatenate(pieces, axis=1)
    parcels, starts = np.unique(owner, return_index=True)
    return ChunkRuns(
        parcels=parcels,
        order=np.lexsort((columns[starts] // _NEAR, rows[starts] // _NEAR)),
        starts=np.append(starts, len(owner)),
        rows=rows.astype(np.int32),
        columns=columns.astype(np.int32),
        lengths=lengths.astype(np.int32),
    )
