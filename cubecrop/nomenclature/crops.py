"""Crop classes, the groups above them, and how both are made of the rows of a list."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cubecrop.colours import colours_of
from cubecrop.errors import LabelError
from cubecrop.nomenclature.tree import above, depths

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from cubecrop.class_table import ClassRow

__all__ = ["Crop", "Group", "classes_of_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """One class: its code in the source's list, its name, colour and its parent's code."""

    code: str
    name: str
    colour: str
    parent: str | None = None

    def __post_init__(self) -> None:
        if not self.name or not self.code:
            raise LabelError("a crop has an empty name or code; drop such labels first.")
        try:
            f"{self.name}{self.code}".encode()
        except UnicodeEncodeError as error:
            raise LabelError(
                f"crop {self.name!r} has half a character (a lone surrogate) in its name or code, "
                "so no file can hold it. Correct the label."
            ) from error
        if not re.fullmatch(r"#[0-9A-Fa-f]{6}", self.colour):
            raise LabelError(f"crop {self.name!r} has colour {self.colour!r}, expected '#rrggbb'.")

    def as_crop(self) -> Crop:
        """The same class without a level."""
        return Crop(code=self.code, name=self.name, colour=self.colour, parent=self.parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Crop):
    """A coarser class above others; groups of one depth share the name of their level."""

    level: str


def classes_of_rows(
    rows: Sequence[ClassRow], chosen: Collection[int] | None
) -> tuple[tuple[Crop, ...], tuple[Group, ...]]:
    """The classes at positions of rows, and the groups above them.

    Parameters
    ----------
    rows : sequence of ClassRow
        Rows with unique codes.
    chosen : collection of int or None
        Positions of the classes; None for those that are no row's parent.

    Returns
    -------
    crops, groups : tuple
        Both in the order of the rows. A class is never a group: what stands below a class is below
        the group of that class. If no parent is a row, the parents are only kept.

    Raises
    ------
    LabelError
        A parent is missing, or a row is above itself.
    """
    parents = {row.code: row.parent for row in rows}
    if chosen is None:
        inner = set(parents.values())
        classes = [row for row in rows if row.code not in inner]
        # Rows that are each other's parents are all inner ones; `above` names them.
        classes = classes or list(rows)
    else:
        classes = [row for position, row in enumerate(rows) if position in chosen]
    if not any(row.parent in parents for row in rows):
        return tuple(_coloured(classes, {})), ()
    codes = {row.code for row in classes}
    lines = {row.code: above(row.parent, parents) for row in rows}
    free = {code: [one for one in line if one not in codes] for code, line in lines.items()}
    nearest = {code: line[0] if line else None for code, line in free.items()}
    used = {one for code in codes for one in free[code]}
    inner_rows = [row for row in rows if row.code in used]
    names = {row.code: row.name for row in rows}
    kin = {code: [names[one] for one in line] for code, line in lines.items()}
    crops = [replace(crop, parent=nearest[crop.code]) for crop in _coloured(classes, kin)]
    depth = depths(parents)
    named = any(row.level for row in inner_rows)
    groups = [
        Group(
            code=crop.code,
            name=crop.name,
            colour=crop.colour,
            parent=nearest[crop.code],
            level=(row.level or "") if named else f"level {depth[row.code] + 1}",
        )
        for row, crop in zip(
            inner_rows,
            _coloured(inner_rows, kin, but=[crop.colour for crop in crops]),
            strict=True,
        )
    ]
    return tuple(crops), tuple(groups)


def _coloured(
    rows: Sequence[ClassRow], kin: Mapping[str, Sequence[str]], *, but: Iterable[str] = ()
) -> list[Crop]:
    """Rows as crops; a row without a colour gets that of its name, or a shade of its kin's."""
    plain_rows = [row for row in rows if row.colour is None]
    given = [row.colour for row in rows if row.colour is not None]
    names = [row.name for row in plain_rows]
    relatives = {row.name: (*row.kin, *kin.get(row.code, ())) for row in plain_rows}
    made = dict(zip(names, colours_of(names, but=[*but, *given], kin=relatives), strict=True))
    return [
        Crop(code=r.code, name=r.name, colour=r.colour or made[r.name], parent=r.parent)
        for r in rows
    ]
