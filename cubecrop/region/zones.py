"""Which pixels of a tile are its own, where several UTM zones or the area's outline cut it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyproj

from cubecrop.cube.backend import reach_of
from cubecrop.cube.grid import Lattice
from cubecrop.cube.tiles import utm_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.cube.outline import Outline
    from cubecrop.region.planned import PlannedTile

__all__ = ["foreign_pixels", "n_owned"]


def foreign_pixels(
    x: NDArray[np.float64], y: NDArray[np.float64], tile: PlannedTile
) -> NDArray[np.bool_] | None:
    """Which pixels (y, x) lie in another UTM zone; None if all are the tile's own."""
    if not tile.is_shared:
        return None
    to_degrees = pyproj.Transformer.from_crs(tile.tile.crs, "EPSG:4326", always_xy=True)

    def beyond(columns: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        lon, lat = to_degrees.transform(*np.meshgrid(columns, rows))
        return np.asarray(utm_codes(lon, lat) != int(tile.tile.crs.removeprefix("EPSG:")))

    # Meridians are nearly straight here: if none crosses the edges, none crosses the tile.
    ends = np.array([0, -1])
    if not (beyond(x, y[ends]).any() or beyond(x[ends], y).any()):
        return None
    return beyond(x, y)


def n_owned(tile: PlannedTile, resolution: float, outline: Outline | None) -> int:
    """Pixels that a tile maps, without those of other zones and outside of the area."""
    if tile.mapped is None:
        return 0
    left, bottom, right, top = tile.mapped
    half = resolution / 2
    x = np.arange(left + half, right, resolution, dtype=np.float64)
    y = np.arange(top - half, bottom, -resolution, dtype=np.float64)
    own = np.ones((len(y), len(x)), bool)
    if outline is not None:
        lattice = Lattice(tile.tile.crs, resolution)
        near = outline.to_crs(tile.tile.crs, tile.mapped)
        own = near.inside(lattice, reach_of(tile.mapped, lattice))
    foreign = foreign_pixels(x, y, tile)
    return int((own if foreign is None else own & ~foreign).sum())
