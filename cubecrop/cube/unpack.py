"""Decode stored numbers into values, in one pass."""

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
    """Write ``value * scale + offset`` to ``out (y, x)`` where ``code`` equals ``member``.

    Computed in float64 and rounded once: with float32 the same reflectance would differ between
    providers that state scale and offset in different ways. With ``rest``, all other pixels
    become NaN.
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
        decoded = line[left : left + width] if factor == 1 else spread[left : left + width]
        target, member_of = out[y], code[y]
        # Without branches the compiler can process several pixels at a time.
        if rest:
            for x in range(width):
                target[x] = decoded[x] if member_of[x] == member else nothing
        else:
            for x in range(width):
                target[x] = decoded[x] if member_of[x] == member else target[x]


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
    """Write ``value * scale + offset`` to ``out (parcel, pixel)`` where ``chosen`` is ``member``.

    ``index (parcel, pixel)`` are positions in ``values``, the flat pixels of a file. ``out`` is
    float32.
    """
    parcels, pixels = index.shape
    for parcel in range(parcels):
        for pixel in range(pixels):
            if chosen[parcel, pixel] == member:
                number = np.float64(values[index[parcel, pixel]])
                out[parcel, pixel] = np.float32(number * scale + offset)
