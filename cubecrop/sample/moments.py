"""Count, mean and squared deviations of the pixels of parcels in one chunk, compiled by numba.

Importing this module imports numba, so only tasks import it.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cubecrop.compiled import compiled

__all__ = ["Moments", "add_up", "moments"]

#: For each date, band and parcel: valid pixels, mean, sum of squared deviations from the mean.
Moments: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]

#: Pixels that `add_up` copies at a time.
_STEP: Final = 8


def moments(
    block: NDArray[np.floating[Any]],
    order: NDArray[np.int64],
    starts: NDArray[np.int64],
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    lengths: NDArray[np.int32],
) -> Moments:
    """Compute the moments of each parcel on each date and band of a chunk.

    Parameters
    ----------
    block : numpy.ndarray
        (time, band, y, x) float; only finite values count.
    order : numpy.ndarray
        (parcel,) order in which parcels are visited. Neighbours should follow each other, since
        they share values in the processor's cache.
    starts : numpy.ndarray
        (parcel + 1,) the first run of each parcel, and the number of runs.
    rows, columns, lengths : numpy.ndarray
        (run,) runs of adjacent pixels: row, first column, number of pixels.

    Returns
    -------
    tuple of numpy.ndarray
        Count int64, mean and sum of squared deviations float64, all (time, band, parcel);
        0 where no pixel is valid.
    """
    *lead, height, width = block.shape
    shape = (*lead, len(order))
    out = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
    # Each plane is copied to a buffer, which stays in the processor's cache: memory is then read in
    # order, at full speed, and only the cache is read parcel by parcel.
    buffer = np.zeros(height * width + _STEP, block.dtype.newbyteorder("="))
    plane = buffer[: height * width].reshape(height, width)
    before = np.append(0, np.cumsum(lengths))
    largest = int(np.diff(before[starts]).max(initial=0))
    pixels = np.empty(largest + _STEP, buffer.dtype)
    for at in np.ndindex(*lead):
        plane[:] = block[at]
        _add_up(buffer, width, order, starts, rows, columns, lengths, pixels, *(a[at] for a in out))
    return out


def add_up(
    plane: NDArray[np.floating[Any]],
    width: int,
    order: NDArray[np.int64],
    starts: NDArray[np.int64],
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    lengths: NDArray[np.int32],
    pixels: NDArray[np.floating[Any]],
    count: NDArray[np.int64],
    mean: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """Fill ``count``, ``mean`` and ``squares``, (parcel,), from the values of one plane.

    ``plane`` is (y * x + 8,), and ``pixels`` is a buffer with 8 more places than the largest
    parcel has pixels. The pixels of a parcel are first copied to ``pixels``, always eight at a
    time, since processors add many values at once only if these are adjacent.

    Deviations are taken from the parcel's first valid value. The sum of their squares is at most
    n times that of deviations from the mean, so float64 loses no digit that float32 could show.
    """
    for parcel in order:
        size = 0
        for run in range(starts[parcel], starts[parcel + 1]):
            first = rows[run] * width + columns[run]
            for done in range(0, lengths[run], 8):
                # Unsigned, so that numba does not check for negative indices.
                at, to = np.uint32(first + done), np.uint32(size + done)
                a, b, c, d = plane[at], plane[at + 1], plane[at + 2], plane[at + 3]
                e, f, g, h = plane[at + 4], plane[at + 5], plane[at + 6], plane[at + 7]
                pixels[to], pixels[to + 1], pixels[to + 2], pixels[to + 3] = a, b, c, d
                pixels[to + 4], pixels[to + 5], pixels[to + 6], pixels[to + 7] = e, f, g, h
            size += lengths[run]
        n = 0
        for i in range(size):
            n += abs(pixels[i]) < np.inf
        if n == 0:
            continue
        valid = 0
        while not abs(pixels[valid]) < np.inf:
            valid += 1
        origin, total, square = np.float64(pixels[valid]), 0.0, 0.0
        for i in range(size):
            apart = np.float64(pixels[i]) - origin if abs(pixels[i]) < np.inf else 0.0
            total += apart
            square += apart * apart
        count[parcel] = n
        mean[parcel] = origin + total / n
        squares[parcel] = max(square - total * total / n, 0.0)


# Allow sums in any order, eight values at once; everything else is computed as written.
_add_up = compiled(add_up, fastmath={"reassoc", "nsz"})
