"""Ignore PROJ data of other programs, which PROJ_DATA or PROJ_LIB may name.

QGIS, PostGIS and conda set these variables for their own libraries. The wheels of rasterio,
pyogrio and pyproj bring their own data, and rasterio's PROJ fails with data of another version:
it then finds no coordinate system at all.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

__all__ = ["leave_unusable_proj_data"]

_VARIABLES: Final = ("PROJ_DATA", "PROJ_LIB")
#: Folders in which wheels keep the data for their library.
_BUNDLED: Final = {
    "rasterio": "proj_data",
    "pyogrio": "proj_data",
    "pyproj": "proj_dir/share/proj",
}


def leave_unusable_proj_data() -> None:
    """Remove PROJ_DATA and PROJ_LIB from this process if its libraries cannot use them.

    A folder is usable if it holds a ``proj.db`` with the layout that the libraries need, or a
    later one. Child processes do not get the variables either. The call costs nothing if neither
    is set.
    """
    if not any(name in os.environ for name in _VARIABLES):
        return
    needed = _layout_needed()
    left = [name for name in _VARIABLES if not _usable(os.environ.get(name), needed)]
    for name in left:
        os.environ.pop(name, None)
    if left and "rasterio" in sys.modules:
        _set_again()


def _usable(folder: str | None, needed: tuple[int, int]) -> bool:
    """Whether a folder is None, or has data with the layout needed or a later one.

    A list of folders is not usable: rasterio reads it as the name of one folder.
    """
    if folder is None:
        return True
    layout = _layout(Path(folder, "proj.db")) if folder else None
    return layout is not None and layout >= needed and needed[0] in {0, layout[0]}


def _layout_needed() -> tuple[int, int]:
    """The latest layout among the libraries' own data; (0, 0) if they have none."""
    from importlib.util import find_spec

    found = [(0, 0)]
    for package, below in _BUNDLED.items():
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            found.append(_layout(Path(spec.origin).parent / below / "proj.db") or (0, 0))
    return max(found)


def _layout(file: Path) -> tuple[int, int] | None:
    """Layout version of a PROJ database, None if there is no database."""
    import sqlite3

    keys = [f"DATABASE.LAYOUT.VERSION.{part}" for part in ("MAJOR", "MINOR")]
    try:
        # Immutable: SQLite must not write a lock or journal next to another program's file.
        address = f"{file.resolve().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(address, uri=True)) as database:
            rows = dict(database.execute("SELECT key, value FROM metadata"))
        major, minor = (int(rows[key]) for key in keys)
    except (sqlite3.Error, OSError, KeyError, ValueError, TypeError):
        return None
    return major, minor


def _set_again() -> None:
    """Set the data folder of an already imported rasterio, which looks for it only at import."""
    from rasterio import env

    if not any(name in os.environ for name in _VARIABLES) and (
        own := env.PROJDataFinder().search_wheel()
    ):
        env.set_proj_data_search_path(own)
