"""Pixels of files over a chunk, as large and as wide as the files have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cubecrop.losses import Loss

__all__ = ["Plane", "Reading"]


@dataclass(frozen=True, slots=True)
class Plane:
    """One band of one scene over a chunk, at the resolution of its file.

    ``values[(row + top) // factor, (column + left) // factor]`` stands at a row and column of
    the chunk: ``factor`` is how many of the chunk's pixels make a side of one of the file's, and
    ``top`` and ``left`` how many of them the first lies beyond the chunk's edges.
    """

    values: NDArray[Any]
    factor: int = 1
    top: int = 0
    left: int = 0

    def spread(self, shape: tuple[int, int]) -> NDArray[Any]:
        """The values on the chunk's own pixels, (y, x)."""
        if self.factor == 1:
            return self.values
        rows, columns = (
            (np.arange(size) + start) // self.factor
            for size, start in zip(shape, (self.top, self.left), strict=True)
        )
        return self.values[rows[:, None], columns]

    def strip(self, start: int, stop: int) -> Plane:
        """Some rows of the chunk."""
        first, last = (start + self.top) // self.factor, -(-(stop + self.top) // self.factor)
        top = (start + self.top) % self.factor
        return Plane(self.values[first:last], self.factor, top, self.left)

    def flat(self, rows: NDArray[np.int32], columns: NDArray[np.int32]) -> NDArray[np.int32]:
        """Where rows and columns of the chunk are in ``values.ravel()``."""
        down, right = (rows + self.top) // self.factor, (columns + self.left) // self.factor
        places: NDArray[np.int32] = down * self.values.shape[1] + right
        return places


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a task read of a chunk: planes, and the scenes that are missing in them.

    ``planes`` are by layer, scene and band; None where there is nothing but the layer's fill.
    ``shape`` is the chunk's (y, x).
    """

    planes: Sequence[Sequence[Sequence[Plane | None]]]
    shape: tuple[int, int]
    losses: tuple[Loss, ...] = ()

    def __sizeof__(self) -> int:
        # Dask asks this to know how much memory a worker holds.
        return sum(
            plane.values.nbytes
            for layer in self.planes
            for scene in layer
            for plane in scene
            if plane is not None
        )
