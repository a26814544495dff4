"""Compile loops over pixels that would take many steps in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compiled"]

F = TypeVar("F", bound="Callable[..., object]")


def compiled(function: F, *, fastmath: bool | set[str] = False) -> F:
    """Compile a function of arrays and numbers with numba when it is first called.

    ``fastmath`` names the arithmetic rules that numba may ignore. Compiled code is cached on disk
    for the next process, next to the library or in the user's cache folder, if one of them is
    writable. The compiled function releases the GIL.
    """
    import numba

    try:
        made: F = numba.njit(function, nogil=True, cache=True, fastmath=fastmath)
    except RuntimeError:  # no writable cache folder
        made = numba.njit(function, nogil=True, fastmath=fastmath)
    return made
