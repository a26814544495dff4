"""Reuse memory for the values of one part of a cube after the other.

For an array of more than 32 MB, malloc requests memory from the system each time, page by page.
That can take twenty times as long as writing to the memory.
"""

from __future__ import annotations

import math
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["Recycled"]


class Recycled:
    """Reuses the memory of a thread's last array, once nothing refers to that array.

    A thread so keeps no more than the largest array that it made. All memory is freed after one
    array for each part of the cube was made, or else with the cube.

    Parameters
    ----------
    parts : int
        Parts of the cube.
    """

    def __init__(self, parts: int) -> None:
        self._parts = parts
        self._made = 0
        self._kept: dict[int, tuple[NDArray[np.uint8], weakref.ref[NDArray[Any]]]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return Recycled, (self._parts,)

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        return sum(memory.nbytes for memory, _ in self._kept.values())

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Make an array, as `numpy.empty` does."""
        kind, size, thread = np.dtype(dtype), math.prod(shape), threading.get_ident()
        with self._lock:
            memory, last = self._kept.pop(thread, (None, None))
        if memory is None or memory.nbytes < size * kind.itemsize or (last and last() is not None):
            memory = None  # free it before more is allocated
            memory = np.empty(size * kind.itemsize, np.uint8)
        # All views refer to this array, whose base is not an array: it lives as long as they do.
        array = np.frombuffer(memory.data, kind, size)
        with self._lock:
            self._kept[thread] = memory, weakref.ref(array)
            self._made += 1
            if self._made == self._parts:
                self._made = 0
                self._kept.clear()
        return array.reshape(shape)
