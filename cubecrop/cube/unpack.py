"""From numbers as files have them to values, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cubecrop.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["paint", "pick"]


@compiled
def paint(
    out: NDArray[np.float32],
    values: NDArray[Any],
    factor: int,
    top: int,
    left: int,
    scale: float,
    offset: float,
    code: NDArray[np.uint8],
    member: int,
    rest: bool,
) -> None:
    """Write ``value * scale + offset`` into ``out (y, x)`` where the code is a member's.

    In float64 and rounded once: float32 arithmetic would make the same reflectance differ with
    the order in which a provider states scale and offset. With ``rest`` all else becomes NaN.
    """
    height, width = out.shape
    for y in range(height):
        row = values[(y + top) // factor]
        if factor == 1:
            for x in range(width):
                if code[y, x] == member:
                    out[y, x] = np.float32(np.float64(row[x]) * scale + offset)
                elif rest:
                    out[y, x] = np.nan
        else:
            column, phase = left // factor, left % factor
            for x in range(width):
                if code[y, x] == member:
                    out[y, x] = np.float32(np.float64(row[column]) * scale + offset)
                elif rest:
                    out[y, x] = np.nan
                phase += 1
                if phase == factor:
                    phase = 0
                    column += 1


@compiled
def pick(
    out: NDArray[np.float32],
    values: NDArray[Any],
    index: NDArray[np.int64],
    chosen: NDArray[np.uint8],
    member: int,
    scale: float,
    offset: float,
) -> None:
    """Write values at flat places ``index (parcel, pixel)`` where ``chosen`` is a member's.

    ``out`` is (parcel, pixel) float32, ``values`` (pixel of the file,).
    """
    parcels, pixels = index.shape
    for parcel in range(parcels):
        for pixel in range(pixels):
            if chosen[parcel, pixel] == member:
                number = np.float64(values[index[parcel, pixel]])
                out[parcel, pixel] = np.float32(number * scale + offset)
