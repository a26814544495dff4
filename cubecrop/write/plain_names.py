"""Column names of a parcel table that need no quotes in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

from cubecrop.errors import OutputError
from cubecrop.schema import SERIES
from cubecrop.texts import slug

if TYPE_CHECKING:
    from collections.abc import Iterable

    import geopandas as gpd

__all__ = ["Columns", "check_naming", "found_alike", "plain_columns", "with_plain_columns"]

#: "fiboa" are the names as `cubecrop.classify_parcels` gives them.
Columns = Literal["fiboa", "plain"]

_PLAIN: Final = {
    "crop:name": "predicted_crop",
    "crop:code": "predicted_code",
    "confidence": "confidence",
    "crop:name_2": "second_crop",
    "crop:code_2": "second_code",
    "confidence_2": "second_confidence",
    "crop:set": "crop_set",
    "crop:set_size": "crop_set_size",
    "crop:level": "known_level",
    "crop:name_at_level": "known_crop",
    "crop:code_at_level": "known_code",
    "dissimilarity": "dissimilarity",
    "status": "status",
    "part": "part",
    **{
        f"{what}:{sensor}": f"{what}_{sensor}"
        for what in ("valid_dates", "first_date", "last_date", "longest_gap")
        for sensor in SERIES
    },
}
_PROBABILITY: Final = "probability:"
_ASIDE: Final = "declared_"


def check_naming(columns: str) -> Columns:
    """Raise `OutputError` unless the argument is a known way to name columns."""
    if columns not in get_args(Columns):
        raise OutputError(f"columns is {columns!r}, expected one of {list(get_args(Columns))}.")
    return columns  # type: ignore[return-value]


def found_alike(names: Iterable[object]) -> list[str]:
    """Names that differ only in case from a column of `cubecrop.classify_parcels`."""
    return [name for name in map(str, names) if name not in _PLAIN and name.lower() in _PLAIN]


def with_plain_columns(parcels: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return a parcel table with plain column names; see `plain_columns`."""
    shapes = parcels.geometry.name
    names = plain_columns(map(str, parcels.columns))
    renamed = parcels.set_axis(names, axis=1)
    place = list(parcels.columns).index(shapes)
    return renamed.set_geometry(names[place])


def plain_columns(columns: Iterable[str]) -> list[str]:
    """Plain, unique names of a parcel table's columns, in their order.

    ``crop:name`` becomes ``predicted_crop``, ``probability:NAME`` the name in small letters,
    digits and ``_``. In any other name ``_`` replaces ``:``. Columns of the classification get
    their names first. Another column that would have the same name, ignoring case, gets the
    prefix ``declared_``, repeated until the name is unique.

    Parameters
    ----------
    columns : iterable of str
        Names as `cubecrop.classify_parcels` gives them.

    Returns
    -------
    list of str
    """
    given = list(columns)
    taken: set[str] = set()
    names: dict[int, str] = {}
    found = [i for i, name in enumerate(given) if name in _PLAIN and name not in given[:i]]
    chances = [i for i, name in enumerate(given) if name.startswith(_PROBABILITY)]
    for position in found:
        names[position] = _PLAIN[given[position]]
        taken.add(names[position])
    for number, position in enumerate(chances):
        names[position] = _numbered(
            f"probability_{slug(given[position].removeprefix(_PROBABILITY)) or f'class_{number}'}",
            taken,
        )
        taken.add(names[position])
    rest = [i for i in range(len(given)) if i not in names]
    # Names without ":" come first, so that they stay as they are.
    for position in sorted(rest, key=lambda i: (":" in given[i], i)):
        name = given[position].replace(":", "_")
        while name.casefold() in taken:
            name = f"{_ASIDE}{name}"
        names[position] = name
        taken.add(name.casefold())
    return [names[i] for i in range(len(given))]


def _numbered(name: str, taken: set[str]) -> str:
    """A name, with a number from 2 on if it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free
