"""Land cover of the simulated archive, in the form of ESA WorldCover."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Final

import numpy as np
import pyproj
import shapely
from affine import Affine
from rasterio.transform import array_bounds

from cubecrop.simulate.crops import CROPS
from cubecrop.simulate.land import COVERS
from cubecrop.simulate.stac import add_raster, make_item

if TYPE_CHECKING:
    from pathlib import Path

    import pystac
    from numpy.typing import NDArray

    from cubecrop.simulate.world import World

__all__ = ["make_landcover", "write_landcover"]

#: WorldCover's pixels: a degree has 12,000, on a grid that begins at 0 degrees.
_PER_DEGREE: Final = 12_000
_MARGIN: Final = 4
#: The year of WorldCover's last map.
_YEAR: Final = 2021
#: WorldCover's codes of the land between parcels. It sees a hedge as trees, a track as bare.
_CODES: Final = {
    "margin": 30, "track": 60, "hedge": 10, "wood": 10, "conifers": 10, "village": 50, "water": 80,
}  # fmt: skip
_CROPLAND: Final = 40
#: WorldCover's cropland is sown every year; vines are shrubs to it, and fruit trees are trees.
_PERENNIAL: Final = {"permanent grass": 30, "vineyard": 20, "orchard": 10, "olive grove": 10}


def make_landcover(world: World, year: int) -> tuple[NDArray[np.uint8], Affine]:
    """Map the land as it is, without the errors of a real map.

    Parameters
    ----------
    world : World
        The region.
    year : int
        Harvest year whose crops tell grassland from cropland.

    Returns
    -------
    codes (latitude, longitude) : ndarray of uint8
        WorldCover's codes; the land at the square's edge goes on around it.
    transform : Affine
        EPSG:4326, pixels of 1/12,000 degree.
    """
    west, south, east, north = world.grid.footprint.bounds
    left, top = (math.floor(west * _PER_DEGREE) - _MARGIN, math.ceil(north * _PER_DEGREE) + _MARGIN)
    width = math.ceil(east * _PER_DEGREE) + _MARGIN - left
    height = top - math.floor(south * _PER_DEGREE) + _MARGIN
    size = 1 / _PER_DEGREE
    transform = Affine(size, 0, left * size, 0, -size, top * size)
    lon, lat = np.meshgrid(
        (left + np.arange(width) + 0.5) * size, (top - np.arange(height) - 0.5) * size
    )
    to_grid = pyproj.Transformer.from_crs("EPSG:4326", world.grid.epsg, always_xy=True)
    x, y = to_grid.transform(lon, lat)
    inverse = ~world.grid.transform()
    column = np.clip(np.floor((x * inverse.a) + inverse.c), 0, world.grid.size - 1).astype(int)
    row = np.clip(np.floor((y * inverse.e) + inverse.f), 0, world.grid.size - 1).astype(int)
    of_crop = np.array([_PERENNIAL.get(crop.name, _CROPLAND) for crop in CROPS])
    fields = of_crop[world.crops[year]]
    of_unit = np.array([*(_CODES[name] for name in COVERS), *fields], np.uint8)
    return of_unit[world.land.unit[row, column]], transform


def write_landcover(root: Path, world: World, year: int) -> pystac.Item:
    """Write the land cover as a tile of WorldCover, named by its south-west corner."""
    codes, transform = make_landcover(world, year)
    lon, lat = (3 * math.floor(degrees / 3) for degrees in (world.region.lon, world.region.lat))
    tile = f"{'N' if lat >= 0 else 'S'}{abs(lat):02d}{'E' if lon >= 0 else 'W'}{abs(lon):03d}"
    item = make_item(
        # Two regions may lie in one tile.
        f"ESA_WorldCover_10m_{_YEAR}_v200_{tile}_{world.region.name}",
        "esa-worldcover",
        footprint=shapely.box(*array_bounds(*codes.shape, transform)),
        when=(
            dt.datetime(_YEAR, 1, 1, tzinfo=dt.UTC),
            dt.datetime(_YEAR, 12, 31, 23, 59, 59, tzinfo=dt.UTC),
        ),
        epsg=4326,
        extensions=(),
        properties={"esa_worldcover:product_tile": tile, "esa_worldcover:product_version": "2.0.0"},
    )
    folder = root / "esa-worldcover" / item.id
    folder.mkdir(parents=True)
    add_raster(item, folder, "map", codes, transform=transform, epsg=4326, nodata=0)
    return item
