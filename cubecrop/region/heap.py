"""Let malloc keep the memory of a tile until the tile ends."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["heap_kept"]

# Parameters of mallopt(3).
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
#: The largest size of blocks that malloc takes from its heap, in bytes; it accepts no larger one.
_LARGEST: Final = 32 * 2**20
#: The size above which blocks are taken from the system at first, in bytes.
_USUAL: Final = 128 * 2**10


@contextmanager
def heap_kept() -> Iterator[None]:
    """Reuse freed memory within a tile, and return it to the system when the tile ends.

    Dask starts its workers with ``MALLOC_TRIM_THRESHOLD_=65536``. glibc then returns each array
    of more than 128 kB to the system as soon as it is freed, and gets the next one page by page:
    a million page faults a tile, more than a third of its time. Without that variable, glibc
    learns to keep such memory, and nothing is done here; nor with another libc.
    """
    trim = os.environ.get("MALLOC_TRIM_THRESHOLD_", "")
    libc = ctypes.CDLL(None) if trim.isdecimal() and sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _LARGEST)
    libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _USUAL)
        libc.mallopt(_TRIM_THRESHOLD, min(int(trim), 2**31 - 1))
        libc.malloc_trim(0)
