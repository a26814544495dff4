"""Which frozen items each tile reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import shapely

from cubecrop.aoi import Aoi

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cubecrop.region.items import FrozenItems
    from cubecrop.region.layout import Draft

__all__ = ["items_of_tiles", "outlines"]

#: Tiles that are compared with all items at a time; bounds the memory.
_BATCH: Final = 1000


def outlines(drafts: Sequence[Draft]) -> NDArray[np.object_]:
    """What each tile reads (tile,) in degrees, as a cube's search has it."""
    shapes = [Aoi(shapely.box(*draft.read), draft.tile.crs).lonlat for draft in drafts]
    return np.fromiter(shapes, dtype=object, count=len(shapes))


def items_of_tiles(items: FrozenItems, shapes: NDArray[np.object_]) -> list[NDArray[np.int64]]:
    """Rows of the items that meet each outline, in order."""
    tree = shapely.STRtree(items.shapes)
    found: list[NDArray[np.int64]] = []
    for start in range(0, len(shapes), _BATCH):
        part = shapes[start : start + _BATCH]
        tile, row = tree.query(part, predicate="intersects")
        order = np.lexsort((row, tile))
        ends = np.searchsorted(tile[order], np.arange(1, len(part)))
        found += np.split(row[order], ends)
    return found
