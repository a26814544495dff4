"""The terrain child of a season cube: elevation, slope and aspect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import xarray as xr

from cubecrop.cube.backend import extent_of, reach_of, sources_of
from cubecrop.cube.grid import Lattice, Window, lattice_of
from cubecrop.cube.mosaic import Tile, read_mosaic
from cubecrop.schema import TERRAIN_UNITS, TERRAIN_VARIABLES, Scene

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from cubecrop.cube.grid import Chunks

__all__ = ["slope_and_aspect", "terrain_child"]


def terrain_child(scenes: Sequence[Scene], grid: GeoBox, *, chunks: Chunks) -> xr.Dataset:
    """Build ``terrain (variable, y, x)``, lazily.

    Parameters
    ----------
    scenes : sequence of Scene
        Elevation tiles that meet the grid, at least one.
    grid : odc.geo.geobox.GeoBox
        The cube's grid.
    chunks : tuple
        Lengths of the chunks along y and along x.

    Returns
    -------
    xarray.Dataset
        Float32: elevation in m, slope in degrees, sine and cosine of the aspect. The aspect is
        the downhill direction, clockwise from north; sine and cosine are 0 on flat ground.
    """
    lattice = lattice_of(grid)
    terrain = da.map_blocks(
        _read_block,
        tiles=_tiles(scenes, lattice),
        lattice=lattice,
        origin=lattice.window(grid),
        chunks=((len(TERRAIN_VARIABLES),), *chunks),
        dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32),
    )
    attrs = {"long_name": "terrain", "grid_mapping": "spatial_ref"}
    return xr.Dataset(
        {"terrain": (("variable", "y", "x"), terrain, attrs)},
        coords={
            "variable": list(TERRAIN_VARIABLES),
            "units": ("variable", list(TERRAIN_UNITS)),
        },
    )


def _tiles(scenes: Sequence[Scene], lattice: Lattice) -> tuple[Tile, ...]:
    """The files, in an order that does not depend on the order of the scenes."""
    return tuple(
        Tile(
            source=source,
            # A file without bounds may reach further than its item's footprint.
            reach=reach_of(extent_of(scene, source.asset, lattice.crs), lattice)
            if scene.assets[source.asset].bounds
            else None,
        )
        for scene in sorted(scenes, key=lambda s: (s.id, s.assets["elevation"].href))
        for source in sources_of(scene, ["elevation"])
    )


def _read_block(
    *,
    tiles: tuple[Tile, ...],
    lattice: Lattice,
    origin: Window,
    block_info: Mapping[object, Mapping[str, Sequence[tuple[int, int]]]],
) -> NDArray[np.float32]:
    (_, _), (r0, r1), (c0, c1) = block_info[None]["array-location"]
    # With one more pixel on each side, slopes do not depend on chunks.
    window = Window(origin.row + r0, origin.column + c0, r1 - r0, c1 - c0).widened(1)
    # A coarser grid is interpolated even if its pixels nest, since slopes would become stairs.
    elevation = read_mosaic(tiles, lattice, window)
    return np.stack([elevation[1:-1, 1:-1], *slope_and_aspect(elevation, lattice.resolution)])


def slope_and_aspect(
    elevation: NDArray[np.float32], resolution: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Compute slope and aspect by Horn's method (1981, Proc. IEEE 69), as GDAL does.

    Parameters
    ----------
    elevation : numpy.ndarray
        (y + 2, x + 2) float32, metres, with a margin of one pixel.
    resolution : float
        Pixel size in metres.

    Returns
    -------
    tuple of numpy.ndarray
        Slope in degrees, sine and cosine of the aspect, each (y, x) float32. A missing
        neighbour is replaced by the pixel's own height; NaN where that is missing.
    """
    z = elevation.astype(np.float64)
    middle = z[1:-1, 1:-1]

    def at(dy: int, dx: int) -> NDArray[np.float64]:
        near = z[1 + dy : z.shape[0] - 1 + dy, 1 + dx : z.shape[1] - 1 + dx]
        return np.where(np.isnan(near), middle, near)

    east = (at(-1, 1) + 2 * at(0, 1) + at(1, 1)) - (at(-1, -1) + 2 * at(0, -1) + at(1, -1))
    south = (at(1, -1) + 2 * at(1, 0) + at(1, 1)) - (at(-1, -1) + 2 * at(-1, 0) + at(-1, 1))
    rise_east, rise_south = east / (8 * resolution), south / (8 * resolution)
    steepness = np.hypot(rise_east, rise_south)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Downhill points against the gradient: east component -rise_east, north +rise_south.
        sine = np.where(steepness > 0, -rise_east / steepness, 0.0)
        cosine = np.where(steepness > 0, rise_south / steepness, 0.0)
    unknown = np.isnan(middle)
    slope = np.degrees(np.arctan(steepness))
    for values in (slope, sine, cosine):
        values[unknown] = np.nan
    return slope.astype(np.float32), sine.astype(np.float32), cosine.astype(np.float32)
