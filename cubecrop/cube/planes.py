"""Pixels of files over a chunk, in the resolution and the data type of the files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cubecrop.lost_scenes import Loss

__all__ = ["Plane", "Reading"]


@dataclass(frozen=True, slots=True)
class Plane:
    """One band of one scene over a chunk, at the resolution of its file.

    The value at a row and column of the chunk is
    ``values[(row + top) // factor, (column + left) // factor]``. ``factor`` is the side of a
    file's pixel in pixels of the chunk. ``top`` and ``left`` say by how many pixels of the chunk
    ``values`` begins above it and to the left of it.
    """

    values: NDArray[Any]
    factor: int = 1
    top: int = 0
    left: int = 0

    def spread(self, shape: tuple[int, int]) -> NDArray[Any]:
        """Repeat the values on the chunk's pixels, (y, x)."""
        if self.factor == 1:
            return self.values
        rows, columns = (
            (np.arange(size) + start) // self.factor
            for size, start in zip(shape, (self.top, self.left), strict=True)
        )
        return self.values[rows[:, None], columns]

    def strip(self, start: int, stop: int) -> Plane:
        """The plane of some rows of the chunk."""
        first, last = (start + self.top) // self.factor, -(-(stop + self.top) // self.factor)
        top = (start + self.top) % self.factor
        return Plane(self.values[first:last], self.factor, top, self.left)

    def flat(self, rows: NDArray[np.int32], columns: NDArray[np.int32]) -> NDArray[np.int32]:
        """Positions of rows and columns of the chunk in ``values.ravel()``."""
        down, right = (rows + self.top) // self.factor, (columns + self.left) // self.factor
        places: NDArray[np.int32] = down * self.values.shape[1] + right
        return places


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a task read for a chunk: planes, and the scenes that could not be read.

    ``planes`` are by layer, scene and band; None means that all pixels are the layer's fill.
    ``shape`` is the chunk's (y, x).
    """

    planes: Sequence[Sequence[Sequence[Plane | None]]]
    shape: tuple[int, int]
    losses: tuple[Loss, ...] = ()

    def __sizeof__(self) -> int:
        # Dask calls this to measure how much memory a worker uses.
        return sum(
            plane.values.nbytes
            for layer in self.planes
            for scene in layer
            for plane in scene
            if plane is not None
        )
