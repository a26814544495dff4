"""Values of packed numbers, looked up by functions that numba compiles.

Importing this module imports numba, so only what reads pixels imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cubecrop.compiled import compiled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["unpack_all", "unpack_rows"]


@compiled
def unpack_all(
    numbers: NDArray[np.uint16], values: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Write the value of each packed number to ``out``; all are flat."""
    for place in range(numbers.size):
        out[place] = values[numbers[place]]


@compiled
def unpack_rows(
    rows: NDArray[np.uint16],
    index: NDArray[np.int64],
    values: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write the values (chosen, band) of some rows of packed numbers (pixel, band) to ``out``."""
    for place in range(index.size):
        row = index[place]
        for band in range(rows.shape[1]):
            out[place, band] = values[rows[row, band]]
