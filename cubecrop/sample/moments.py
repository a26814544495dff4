"""Count, mean and squared deviations of the pixels of parcels in one chunk, compiled by numba.

Importing this module imports numba, so only what runs in a task does.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from cubecrop.compiled import compiled

__all__ = ["Moments", "add_up", "moments"]

#: Of each parcel, date and band: valid pixels, mean, sum of squared deviations from the mean.
Moments: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


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
        Count int64, mean and sum of squared deviations float64, all (parcel, time, band);
        0 where no pixel is valid.
    """
    size = block.itemsize
    shape = (len(order), *block.shape[:2])
    out = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
    if block.size == 0:
        return out
    odd = block.strides[-1] != size or any(s < 0 or s % size for s in block.strides)
    if odd or not (block.dtype.isnative and block.flags.aligned):
        block = np.array(block, dtype=block.dtype.newbyteorder("="), order="C")
    # One flat view over all that the block spans: numba compiles one kernel for chunks that lie
    # by themselves and for parts of a larger array, and nothing is copied.
    steps = [stride // size for stride in block.strides]
    span = 1 + sum((n - 1) * step for n, step in zip(block.shape, steps, strict=True))
    flat = as_strided(block, (span,), (size,), writeable=False)
    dates, bands = (np.arange(n) * step for n, step in zip(block.shape[:2], steps[:2], strict=True))
    planes = np.add.outer(dates, bands).ravel()  # (time and band,)
    by_plane = [one.reshape(len(order), planes.size) for one in out]
    _add_up(flat, planes, steps[2], order, starts, rows, columns, lengths, *by_plane)
    return out


def add_up(
    flat: NDArray[np.floating[Any]],
    planes: NDArray[np.int64],
    step: int,
    order: NDArray[np.int64],
    starts: NDArray[np.int64],
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    lengths: NDArray[np.int32],
    count: NDArray[np.int64],
    mean: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """Fill ``count``, ``mean`` and ``squares``, (parcel, plane), from one pass over the values.

    Deviations are taken from the parcel's first valid value. The sum of their squares is then at
    most n times that from the mean, so that float64 loses no digit that float32 could show.
    """
    for plane in range(len(planes)):
        for parcel in order:
            n, first, total, square = 0, 0.0, 0.0, 0.0
            for run in range(starts[parcel], starts[parcel + 1]):
                at = planes[plane] + rows[run] * step + columns[run]
                for i in range(at, at + lengths[run]):
                    if abs(flat[i]) < np.inf:
                        if n == 0:
                            first = np.float64(flat[i])
                        apart = np.float64(flat[i]) - first
                        n += 1
                        total += apart
                        square += apart * apart
            if n > 0:
                count[parcel, plane] = n
                mean[parcel, plane] = first + total / n
                squares[parcel, plane] = max(square - total * total / n, 0.0)


_add_up = compiled(add_up)
