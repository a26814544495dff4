"""The tiles in which parcels lie, over any number of UTM zones."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely

from cubecrop.aoi import Aoi
from cubecrop.cube.grid import check_crs
from cubecrop.cube.tiles import SIDE, Tile, TileLattice, utm_codes
from cubecrop.errors import ParcelError
from cubecrop.shapes import plain_shapes

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

__all__ = ["ParcelTile", "tiles_of"]

#: No parcel is wider or higher than this, metres; a larger one has a wrong coordinate.
_WIDEST: Final = 100_000.0
#: Rounding of a grid in pixels, as in `grid_for`.
_SLACK: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class ParcelTile:
    """A tile and the parcels that lie in it or cross its edge.

    Parameters
    ----------
    tile : Tile
        Cell of the lattice of a UTM zone.
    area : Aoi
        Bounding rectangle of its parcels within the cell, whole pixels.
    parcels : numpy.ndarray
        (parcel,) positions in the table.
    """

    tile: Tile
    area: Aoi
    parcels: NDArray[np.int64]


def tiles_of(
    parcels: gpd.GeoDataFrame, *, resolution: float, crs: str | int | None = None
) -> tuple[list[ParcelTile], NDArray[np.int64]]:
    """Find the tiles of parcels.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame
        Plain shapes with finite coordinates.
    resolution : float
        Pixel size in metres.
    crs : str or int, optional
        A projected CRS for all parcels; by default the UTM zone of each parcel's representative
        point.

    Returns
    -------
    tiles : list of ParcelTile
        By zone, from south to north and west to east.
    owner : numpy.ndarray
        (parcel,) index of the tile of each parcel's representative point.

    Raises
    ------
    ParcelError
        A parcel is larger than a tile of Sentinel-2; the message names it.
    """
    inner = parcels.geometry.representative_point()
    if crs is None:
        lonlat = shapely.get_coordinates(inner.to_crs("EPSG:4326").to_numpy())
        codes = utm_codes(lonlat[:, 0], lonlat[:, 1])
        zones = {f"EPSG:{code}": np.flatnonzero(codes == code) for code in np.unique(codes)}
    else:
        zones = {check_crs(crs): np.arange(len(parcels))}
    tiles: list[ParcelTile] = []
    owner = np.zeros(len(parcels), np.int64)
    for zone, members in zones.items():
        lattice = TileLattice(zone, SIDE, resolution)
        table = parcels.iloc[members]
        shapes = plain_shapes(table.geometry.to_crs(zone))
        _check_sizes(table, shapes)
        points = shapely.get_coordinates(inner.iloc[members].to_crs(zone).to_numpy())
        first = len(tiles)
        tiles += _in_zone(lattice, shapes, members)
        number: dict[Tile | None, int] = {
            one.tile: first + i for i, one in enumerate(tiles[first:])
        }
        owner[members] = [number.get(t, first) for t in lattice.at(points[:, 0], points[:, 1])]
    return tiles, owner


def _check_sizes(table: gpd.GeoDataFrame, shapes: NDArray[np.object_]) -> None:
    bounds = shapely.bounds(shapes)
    extent = np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1])
    if (wrong := np.flatnonzero(~(extent <= _WIDEST))).size:
        texts = [f"{table['id'].iloc[i]!r} ({extent[i] / 1000:.0f} km)" for i in wrong[:3]]
        raise ParcelError(
            f"{len(wrong)} parcels are wider or higher than {_WIDEST / 1000:.0f} km, among them "
            f"{', '.join(texts)}. Correct their coordinates, or leave them out."
        )


def _in_zone(
    lattice: TileLattice, shapes: NDArray[np.object_], members: NDArray[np.int64]
) -> list[ParcelTile]:
    bounds = shapely.bounds(shapes)
    # A point on the edge of a pixel has the pixel on either side, which may be in another tile.
    thin = shapely.get_dimensions(shapes) < 2
    bounds[thin] += 2 * _SLACK * lattice.resolution * np.array([-1, -1, 1, 1])
    columns = lattice.columns(float(bounds[:, 0].min()), float(bounds[:, 2].max()))
    rows = lattice.rows(float(bounds[:, 1].min()), float(bounds[:, 3].max()))
    spans = [
        np.clip(np.searchsorted(lines, bounds[:, side], side="right") - 1, 0, len(lines) - 2)
        for lines, side in ((columns, 0), (columns, 2), (rows, 1), (rows, 3))
    ]
    touching: dict[tuple[int, int], list[int]] = {}
    limits = zip(*(side.tolist() for side in spans), strict=True)
    for parcel, (west, east, south, north) in enumerate(limits):
        if west == east and south == north:
            touching.setdefault((south, west), []).append(parcel)
            continue
        for row, column in itertools.product(range(south, north + 1), range(west, east + 1)):
            cell = shapely.box(columns[column], rows[row], columns[column + 1], rows[row + 1])
            if shapely.intersects(shapes[parcel], cell):
                touching.setdefault((row, column), []).append(parcel)
    tiles = []
    for (row, column), found in sorted(touching.items()):
        tile = Tile(
            lattice.crs,
            float(columns[column]), float(rows[row]),
            float(columns[column + 1]), float(rows[row + 1]),
        )  # fmt: skip
        area = _rectangle(bounds[found], tile, lattice.resolution)
        if area is not None:
            tiles.append(ParcelTile(tile=tile, area=area, parcels=members[found]))
    return tiles


def _rectangle(bounds: NDArray[np.float64], tile: Tile, resolution: float) -> Aoi | None:
    """Whole pixels of a tile that hold the bounds (parcel, 4) within it; None without a pixel."""
    slack = _SLACK * resolution
    left = math.floor((bounds[:, 0].min() + slack) / resolution) * resolution
    bottom = math.floor((bounds[:, 1].min() + slack) / resolution) * resolution
    # A parcel that is thinner than the slack still has a pixel.
    right = max(
        math.ceil((bounds[:, 2].max() - slack) / resolution) * resolution, left + resolution
    )
    top = max(
        math.ceil((bounds[:, 3].max() - slack) / resolution) * resolution, bottom + resolution
    )
    west, south = max(left, tile.left), max(bottom, tile.bottom)
    east, north = min(right, tile.right), min(top, tile.top)
    if west >= east or south >= north:
        return None
    return Aoi(shapely.box(west, south, east, north), tile.crs)
