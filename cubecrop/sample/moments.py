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

#: (time, band, parcel) each: valid pixels, mean, sum of squared deviations from the mean.
Moments: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def moments(
    block: NDArray[np.floating[Any]],
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
    size = block.itemsize
    shape = (*block.shape[:2], len(starts) - 1)
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
    planes = np.add.outer(dates, bands)  # (time, band)
    by_plane = [one.reshape(planes.size, shape[-1]) for one in out]
    _add_up(flat, planes.ravel(), steps[2], starts, rows, columns, lengths, *by_plane)
    return out


def add_up(
    flat: NDArray[np.floating[Any]],
    planes: NDArray[np.int64],
    step: int,
    starts: NDArray[np.int64],
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    lengths: NDArray[np.int32],
    count: NDArray[np.int64],
    mean: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """Fill ``count``, ``mean`` and ``squares``, (plane, parcel), from one pass over the values.

    Deviations are taken from the parcel's first valid value. The sum of their squares is then at
    most n times that from the mean, so that float64 loses no digit that float32 could show.
    """
    for plane in range(len(planes)):
        for parcel in range(len(starts) - 1):
            first = 0.0
            found = False
            for run in range(starts[parcel], starts[parcel + 1]):
                at = planes[plane] + rows[run] * step + columns[run]
                for i in range(at, at + lengths[run]):
                    if -np.inf < flat[i] < np.inf:
                        first = np.float64(flat[i])
                        found = True
                        break
                if found:
                    break
            if not found:
                continue
            n, total, square = 0, 0.0, 0.0
            for run in range(starts[parcel], starts[parcel + 1]):
                at = planes[plane] + rows[run] * step + columns[run]
                for i in range(at, at + lengths[run]):
                    valid = -np.inf < flat[i] < np.inf
                    apart = np.float64(flat[i]) - first if valid else 0.0
                    n += valid
                    total += apart
                    square += apart * apart
            count[plane, parcel] = n
            mean[plane, parcel] = first + total / n
            squares[plane, parcel] = max(square - total * total / n, 0.0)


#: Sums may be taken in another order, four and more at a time; nothing else is let go.
_add_up = compiled(add_up, fastmath={"reassoc", "nsz", "contract"})
