"""The land-cover child of a season cube: a map of classes such as ESA WorldCover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import dask.array as da
import numpy as np
import shapely
import xarray as xr

from cubecrop.cube.backend import extent_of, reach_of, sources_of
from cubecrop.cube.grid import Lattice, Window, lattice_of
from cubecrop.cube.mosaic import Tile
from cubecrop.cube.read import Layer, read_layer
from cubecrop.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from cubecrop.cube.grid import Chunks
    from cubecrop.schema import Scene

__all__ = ["UNKNOWN", "landcover_child", "nearest_year"]

#: Code of a pixel whose class is not known, whatever the map.
UNKNOWN: Final = 0
_LAYER: Final = Layer(bands=("landcover",), dtype="uint8", fill=UNKNOWN, resampling="nearest")


def nearest_year(
    scenes: Sequence[Scene], year: int, area: BaseGeometry, *, preference: Sequence[str]
) -> list[Scene]:
    """Choose one collection, and for each place its map of the year nearest to a harvest year.

    Parameters
    ----------
    scenes : sequence of Scene
        Land-cover maps that meet the area.
    year : int
        Harvest year. Of two years equally near, the later one counts.
    area : shapely geometry
        The area in degrees.
    preference : sequence of str
        Collections, the preferred one first.

    Returns
    -------
    list of Scene
        Ordered by nearness, then by id. A map of a farther year is kept only if maps of nearer
        years do not cover its part of the area.
    """
    found = {scene.collection for scene in scenes}
    order = [*(name for name in preference if name in found), *sorted(found - {*preference})]
    own = [scene for scene in scenes if scene.collection == order[0]] if order else []
    years = sorted({s.start.year for s in own}, key=lambda one: (abs(one - year), -one))
    kept: list[Scene] = []
    covered: BaseGeometry = shapely.Polygon()
    for one in years:
        of_year = [
            scene
            for scene in sorted(own, key=lambda s: (s.id, s.files))
            if scene.start.year == one
            and not covered.covers(shapely.intersection(scene.footprint, area))
        ]
        kept += of_year
        covered = shapely.union_all([covered, *(scene.footprint for scene in of_year)])
    return kept


def landcover_child(scenes: Sequence[Scene], grid: GeoBox, *, chunks: Chunks) -> xr.Dataset:
    """Build ``landcover (y, x)``, lazily.

    Parameters
    ----------
    scenes : sequence of Scene
        Maps of one collection that meet the grid, at least one; where two of them have a class,
        the first counts.
    grid : odc.geo.geobox.GeoBox
        The cube's grid.
    chunks : tuple
        Lengths of the chunks along y and along x.

    Returns
    -------
    xarray.Dataset
        Codes uint8 of the map, nearest neighbour, 0 where no map has a class. CF flags name the
        classes; the attributes ``product``, ``collection`` and ``years`` say which map it is.
    """
    lattice = lattice_of(grid)
    classes = dict(scenes[0].classes)
    codes = da.map_blocks(
        _read_block,
        tiles=_tiles(scenes, lattice),
        lattice=lattice,
        origin=lattice.window(grid),
        known=tuple(classes),
        chunks=chunks,
        dtype=np.uint8,
        meta=np.empty((0, 0), np.uint8),
    )
    attrs = {
        "long_name": "land cover",
        "flag_values": np.array(list(classes), np.uint8),
        "flag_meanings": " ".join(classes.values()),
        "product": scenes[0].product,
        "collection": scenes[0].collection,
        "years": sorted({scene.start.year for scene in scenes}),
        "grid_mapping": "spatial_ref",
    }
    array = xr.DataArray(codes, dims=("y", "x"), attrs=attrs)
    array.encoding["_FillValue"] = np.uint8(UNKNOWN)
    return xr.Dataset({"landcover": array})


def _tiles(scenes: Sequence[Scene], lattice: Lattice) -> tuple[Tile, ...]:
    return tuple(
        Tile(
            source=source,
            # A file without bounds may reach further than its item's footprint.
            reach=reach_of(extent_of(scene, source.asset, lattice.crs), lattice)
            if scene.assets[source.asset].bounds
            else None,
        )
        for scene in scenes
        for source in sources_of(scene, _LAYER.bands)
    )


def _read_block(
    *,
    tiles: tuple[Tile, ...],
    lattice: Lattice,
    origin: Window,
    known: tuple[int, ...],
    block_info: Mapping[object, Mapping[str, Sequence[tuple[int, int]]]],
) -> NDArray[np.uint8]:
    (r0, r1), (c0, c1) = block_info[None]["array-location"]
    window = Window(origin.row + r0, origin.column + c0, r1 - r0, c1 - c0)
    out = np.full((window.height, window.width), UNKNOWN, np.uint8)
    for tile in tiles:
        todo = out == UNKNOWN
        if not todo.any():
            break
        if tile.reach is not None and not tile.reach.meets(window):
            continue
        codes = read_layer(tile.source, _LAYER, lattice, window)
        _check_codes(codes, tile, known)
        out[todo] = codes[todo]
    return out


def _check_codes(codes: NDArray[np.generic], tile: Tile, known: tuple[int, ...]) -> None:
    """Raise if a file holds codes that its map does not have: it is another product."""
    if strange := sorted(set(np.unique(codes).tolist()) - {UNKNOWN, *known}):
        source = tile.source
        raise ReadError(
            f"asset {source.asset!r} of item {source.item!r} ({source.href.split('?')[0]}) holds "
            f"the codes {strange[:5]}, expected {UNKNOWN} and {list(known)}. Fetch the file again, "
            "or remove the item from the archive."
        )
