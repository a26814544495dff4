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
    nothing = np.float32(np.nan)
    line = np.empty(values.shape[1], np.float32)
    spread = np.empty(values.shape[1] * factor, np.float32)
    last = -1
    for y in range(height):
        here = (y + top) // factor
        if here != last:
            row = values[here]
            for x in range(row.size):
                line[x] = np.float32(np.float64(row[x]) * scale + offset)
            for x in range(row.size * (factor > 1)):
                for again in range(factor):
                    spread[x * factor + again] = line[x]
            last = here
        found = line[left : left + width] if factor == 1 else spread[left : left + width]
        target, member_of = out[y], code[y]
        # No branches: the compiler then takes several pixels at a time.
        if rest:
            for x in range(width):
                target[x] = found[x] if member_of[x] == member else nothing
        else:
            for x in range(width):
                target[x] = found[x] if member_of[x] == member else target[x]


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
