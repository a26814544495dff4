"""Count, mean and squared deviations of the pixels of parcels in one chunk, compiled by numba.

Importing this module imports numba, so only what runs in a task does.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cubecrop.compiled import compiled

__all__ = ["Moments", "add_up", "moments"]

#: Of each date, band and parcel: valid pixels, mean, sum of squared deviations from the mean.
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
    """Moments of each parcel on each date and band of a chunk.

    Parameters
    ----------
    block : numpy.ndarray
        (time, band, y, x) float; what is not finite is not counted.
    order : numpy.ndarray
        (parcel,) in which parcels are visited: neighbours after each other, since what one of
        them brought into the processor's cache serves the next.
    starts : numpy.ndarray
        (parcel + 1,) the first run of each parcel, and the number of runs.
    rows, columns, lengths : numpy.ndarray
        (run,) pixels side by side: row, first column, number.

    Returns
    -------
    tuple of numpy.ndarray
        Count int64, mean and sum of squared deviations float64, all (time, band, parcel);
        0 where no pixel is valid.
    """
    *lead, height, width = block.shape
    shape = (*lead, len(order))
    out = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
    # Each plane is copied to one place, which stays in the processor's cache: memory is read in
    # order, at its full speed, and only the cache is visited parcel by parcel.
    held = np.zeros(height * width + _STEP, block.dtype.newbyteorder("="))
    plane = held[: height * width].reshape(height, width)
    before = np.append(0, np.cumsum(lengths))
    largest = int(np.diff(before[starts]).max(initial=0))
    pixels = np.empty(largest + _STEP, held.dtype)
    for at in np.ndindex(*lead):
        plane[:] = block[at]
        _add_up(held, width, order, starts, rows, columns, lengths, pixels, *(a[at] for a in out))
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

    ``plane`` is (y * x + 8,) and ``pixels`` has 8 more than the largest parcel: the pixels of a
    parcel are put side by side there, eight at a time whatever the length of a run, since
    processors add up many values at once only where they stand side by side.

    Deviations are taken from the parcel's first valid value. The sum of their squares is then at
    most n times that from the mean, so that float64 loses no digit that float32 could show.
    """
    for parcel in order:
        size = 0
        for run in range(starts[parcel], starts[parcel + 1]):
            first = rows[run] * width + columns[run]
            for done in range(0, lengths[run], 8):
                # Of unsigned places numba does not ask whether they count from the end.
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


# Sums may be taken in any order, eight at once; all else is as written.
_add_up = compiled(add_up, fastmath={"reassoc", "nsz"})
