"""Make a test fail where dask computes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import dask

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["forbid_compute"]


@contextmanager
def forbid_compute() -> Iterator[None]:
    """Raise if dask computes anything inside the block.

    Raises
    ------
    AssertionError
        Dask computed; the message gives the number of results and names one.

    Examples
    --------
    >>> with forbid_compute():
    ...     cube = open_season(aoi, 2018, archive=folder)  # doctest: +SKIP
    """

    def fail(_graph: object, keys: object, **_: object) -> NoReturn:
        results = list(_flat(keys))
        raise AssertionError(
            f"dask computed {len(results)} results, such as {results[0]!r}, where only a graph "
            "should be built. Find the call in this traceback and keep it lazy."
        )

    with dask.config.set(scheduler=fail):
        yield


def _flat(keys: object) -> Iterator[object]:
    if isinstance(keys, list):
        for key in keys:
            yield from _flat(key)
    else:
        yield keys
