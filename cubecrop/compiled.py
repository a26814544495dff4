"""Loops that are compiled, for passes over pixels that NumPy would make in many steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compiled"]

F = TypeVar("F", bound="Callable[..., object]")


def compiled(function: F, *, fastmath: bool | set[str] = False) -> F:
    """Compile a function of arrays and numbers with numba when it is first called.

    ``fastmath`` is numba's: which rules of arithmetic may be let go. What was compiled is kept
    on disk for the next process, beside the library or in the user's cache folder, where one
    of the two may be written to. It lets other threads run.
    """
    import numba

    try:
        made: F = numba.njit(function, nogil=True, cache=True, fastmath=fastmath)
    except RuntimeError:  # no folder to keep it in
        made = numba.njit(function, nogil=True, fastmath=fastmath)
    return made
