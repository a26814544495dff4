"""All pixels of parcels as runs of adjacent pixels, chunk by chunk of a cube.

A parcel of 144 pixels has a dozen runs, so a million parcels take a few hundred megabytes.
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

#: Parcels that begin within this many rows and columns are visited together, so that their rows
#: stay in the processor's cache.
_NEAR: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRuns:
    """The parcels of one chunk, ascending, and their runs in it.

    ``parcels`` (parcel,) are their indices; ``order`` (parcel,) is an order that keeps neighbours
    together; ``starts`` (parcel + 1,) are the first run of each parcel and the number of runs;
    ``rows``, ``columns`` and ``lengths`` are (run,), counted in the chunk.
    """

    parcels: NDArray[np.int64]
    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    lengths: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Runs of every chunk that parcels touch.

    ``counts`` (parcel,) are all pixels of each parcel, also those outside of the cube.
    """

    chunks: dict[tuple[int, int], ChunkRuns]
    counts: NDArray[np.int64]


def runs_of(
    zones: NDArray[np.object_], *, resolution: float, origin: tuple[int, int], chunks: Chunks
) -> Runs:
    """Find the pixels of parcels in the chunks of a cube; see `pixels_of`.

    Parameters
    ----------
    zones : numpy.ndarray of shapely geometries
        (parcel,) plain shapes in the cube's CRS; None for a parcel without geometry.
    resolution : float
        Pixel size in metres.
    origin : tuple of int
        Row and column of the cube's first pixel on the lattice.
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
        if not len(touched):  # `np.split` would give one empty piece
            continue
        for number, piece in zip(
            touched.tolist(), np.split(runs[:, order], starts[1:], axis=1), strict=True
        ):
            pieces.setdefault(number, []).append(piece)
    width = len(chunks[1])
    joined = {divmod(number, width): _joined(parts) for number, parts in sorted(pieces.items())}
    return Runs(chunks=joined, counts=counts)


def _cut(
    pixels: ParcelPixels,
    origin: tuple[int, int],
    edges: tuple[NDArray[np.int64], ...],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Runs within the cube: their chunks (run,) and parcels, rows, columns, lengths (4, run)."""
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
