"""Memory for values of one part of a cube after the other.

An array of more than 32 MB is memory that malloc fetches from the system each time, page by
page, which can cost twenty times what writing to it does.
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
    """Gives a thread the memory of its last array again, once nobody holds that array.

    So a thread holds no more than the largest array that it made. When as many arrays were made
    as a cube has parts, nothing is kept; where fewer are made, as long as the cube lives.

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
        """An array as `numpy.empty` gives it."""
        kind, size, me = np.dtype(dtype), math.prod(shape), threading.get_ident()
        with self._lock:
            memory, last = self._kept.pop(me, (None, None))
        if memory is None or memory.nbytes < size * kind.itemsize or (last and last() is not None):
            memory = None  # let go of it before there is another
            memory = np.empty(size * kind.itemsize, np.uint8)
        # Views of an array hold the one that has no array for its base, which is this one.
        array = np.frombuffer(memory.data, kind, size)
        with self._lock:
            self._kept[me] = memory, weakref.ref(array)
            self._made += 1
            if self._made == self._parts:
                self._made = 0
                self._kept.clear()
        return array.reshape(shape)
