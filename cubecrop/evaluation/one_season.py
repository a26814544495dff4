"""One season window for samples of several tables."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cubecrop.model import season_of
from cubecrop.sample import StoredSets
from cubecrop.training.sets import tree_of
from cubecrop.training.together import as_one_season

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cubecrop.model import NetworkOptions
    from cubecrop.training.sets import Source

__all__ = ["in_one_season"]


def in_one_season(
    sources: Sequence[Source], networks: Iterable[NetworkOptions]
) -> tuple[tuple[Source, ...], bool]:
    """Give all sources one season window, and say whether they had one before.

    A model predicts samples of its own window only. So without this, a region whose table begins in
    another month than those of the training regions could not be tested.

    Parameters
    ----------
    sources : sequence
        Pixel sets in memory or on disk.
    networks : iterable of NetworkOptions
        What is to be trained on them.

    Raises
    ------
    SchemaError
        Windows differ, and a network needs thermal time, which is summed from the season's start.
    """
    given = [tree_of(source) for source in sources]
    trees = given
    for options in networks:
        trees = as_one_season(given, options)
    of_one_window = all(
        season_of(tree) == season_of(own) for tree, own in zip(trees, given, strict=True)
    )
    if of_one_window:
        return tuple(sources), True
    return tuple(
        replace(source, root=source.root.assign_attrs(tree.attrs))
        if isinstance(source, StoredSets)
        else tree
        for source, tree in zip(sources, trees, strict=True)
    ), False
