"""Trees of crop classes: which groups stand above a class, and in which order their levels are."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Final

from cubecrop.errors import LabelError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LEAF_LEVEL", "above", "depths", "levels_of"]

#: Name of the finest level, that of the classes themselves.
LEAF_LEVEL: Final = "crop"


def above(code: str | None, parents: Mapping[str, str | None]) -> list[str]:
    """Codes of the groups from one upwards, nearest first.

    Parameters
    ----------
    code : str or None
        The first group, such as the parent of a class.
    parents : mapping of str to (str or None)
        The parent of each group.

    Returns
    -------
    list of str
        The group itself, its parent, and so on; empty for None.

    Raises
    ------
    LabelError
        A parent is missing, or a group is above itself.
    """
    found: list[str] = []
    while code is not None:
        if code not in parents:
            raise LabelError(
                f"the parent {code!r} is no group. Add the group, or leave the parent out."
            )
        if code in found:
            raise LabelError(
                f"the groups {found} are in a circle: {code!r} is above itself. Correct a parent."
            )
        found.append(code)
        code = parents[code]
    return found


def depths(parents: Mapping[str, str | None]) -> dict[str, int]:
    """Number of groups above each group."""
    return {code: len(above(parent, parents)) for code, parent in parents.items()}


def levels_of(parents: Mapping[str, str | None], level: Mapping[str, str]) -> list[str]:
    """Names of the levels above the classes, finest first.

    Parameters
    ----------
    parents, level : mapping
        The parent, and the name of the level, of each group.

    Raises
    ------
    LabelError
        A level has no name or that of the finest one, or is both above and below another.
    """
    deep = depths(parents)
    # The deepest group of each level decides between levels that nothing else puts in order.
    names = dict.fromkeys(sorted(level.values(), key=lambda name: -_deepest(name, level, deep)))
    if {"", LEAF_LEVEL} & names.keys():
        raise LabelError(
            f"levels of groups are {list(names)}, expected names that are not empty and not "
            f"{LEAF_LEVEL!r}, which is the level of the classes."
        )
    # Dicts and not sets, whose order differs between processes.
    finer: dict[str, dict[str, None]] = {name: {} for name in names}
    for code, parent in parents.items():
        if parent is not None:
            finer[level[parent]][level[code]] = None
    try:
        return list(TopologicalSorter(finer).static_order())
    except CycleError as error:
        raise LabelError(
            f"the levels {error.args[1]} are each above the other. Give the groups of one depth "
            "one level."
        ) from error


def _deepest(name: str, level: Mapping[str, str], deep: Mapping[str, int]) -> int:
    return max(deep[code] for code, own in level.items() if own == name)
