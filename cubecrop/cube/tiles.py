"""Tiles: UTM zones cut along the files and blocks of Sentinel-2.

Sentinel-2 files begin at the corner of a square of 100 km, rounded to 60 m. Their blocks measure
5,120 m (512 pixels of 10 m) or 10,240 m, and those of 20 m bands twice as much. Tiles begin at the
same corners and are cut at multiples of their side, so a side of 20,480 m never cuts through a
block. Where a square ends, its last tiles are narrower, and the tiles of the next square begin with
the next file.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyproj
import shapely

from cubecrop.aoi import Aoi
from cubecrop.cube.grid import check_crs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

__all__ = ["SIDE", "Bounds", "Lands", "Tile", "TileLattice", "lands_of", "utm_codes"]

#: Left, bottom, right, top, metres.
Bounds = tuple[float, float, float, float]

#: Side of a tile in metres: two blocks of 1,024 pixels of 10 m, or one of 20 m.
SIDE: Final = 20_480.0
#: Squares of the military grid, and the length that corners of files are rounded to, metres.
_SQUARE: Final = 100_000.0
_STEP: Final = 60.0
#: Northing of the equator in UTM zones of the southern hemisphere.
_FALSE_NORTHING: Final = 10_000_000.0


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """One cell of a tile lattice: a rectangle in metres of a CRS."""

    crs: str
    left: float
    bottom: float
    right: float
    top: float

    @property
    def id(self) -> str:
        """EPSG code and upper left corner, such as ``32631_399960_5600040``."""
        return f"{self.crs.removeprefix('EPSG:')}_{self.left:.0f}_{self.top:.0f}"

    @property
    def bounds(self) -> Bounds:
        """Left, bottom, right, top, metres."""
        return self.left, self.bottom, self.right, self.top

    @property
    def box(self) -> BaseGeometry:
        """The rectangle in metres."""
        return shapely.box(*self.bounds)


@dataclass(frozen=True, slots=True)
class TileLattice:
    """All tiles of a CRS: its pixels are cut at lines that do not depend on any area.

    Parameters
    ----------
    crs : str
        A projected CRS in metres with an EPSG code.
    side : float
        Side of a tile, metres.
    resolution : float
        Pixel size in metres. Lines are moved to the nearest edge of pixels.
    """

    crs: str
    side: float
    resolution: float

    def columns(self, left: float, right: float) -> NDArray[np.float64]:
        """Ascending lines across the x axis that enclose an interval."""
        if not _is_utm(self.crs):
            return self._lines(_multiples(left, right, self.side))
        first, last = math.floor(left / _SQUARE) - 1, math.floor(right / _SQUARE) + 2
        squares = [math.floor(k * _SQUARE / _STEP) * _STEP for k in range(first, last + 1)]
        return self._enclosing(self._lines(self._cut(squares)), left, right)

    def rows(self, bottom: float, top: float) -> NDArray[np.float64]:
        """Ascending lines across the y axis that enclose an interval."""
        if not _is_utm(self.crs):
            return self._lines(_multiples(bottom, top, self.side))
        # Rows are counted from the top of each square, as in files; from the equator southwards.
        origin = _FALSE_NORTHING if self.crs.startswith("EPSG:327") else 0.0
        first = math.floor((bottom - origin) / _SQUARE) - 1
        last = math.floor((top - origin) / _SQUARE) + 2
        squares = [
            -(origin + math.ceil(k * _SQUARE / _STEP) * _STEP) for k in range(last, first - 1, -1)
        ]
        lines = self._lines([-line for line in self._cut(squares)])
        return self._enclosing(lines, bottom, top)

    def tiles(self, bounds: Bounds) -> Iterator[Tile]:
        """The tiles that share pixels with a rectangle, metres."""
        left, bottom, right, top = bounds
        x, y = self.columns(left, right), self.rows(bottom, top)
        for low, high in itertools.pairwise(y):
            for west, east in itertools.pairwise(x):
                tile = Tile(self.crs, float(west), float(low), float(east), float(high))
                if west < right and east > left and low < top and high > bottom:
                    yield tile

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> list[Tile | None]:
        """The tile of each point, metres; None for a point without finite coordinates.

        A point on a line belongs to the tile east or south of it.
        """
        known = np.isfinite(x) & np.isfinite(y)
        tiles: list[Tile | None] = [None] * len(x)
        if not known.any():
            return tiles
        columns = self.columns(float(x[known].min()), float(x[known].max()))
        rows = self.rows(float(y[known].min()), float(y[known].max()))
        right = np.searchsorted(columns, x[known], side="right")
        top = np.searchsorted(rows, y[known], side="left")
        for index, i, j in zip(np.flatnonzero(known), right, top, strict=True):
            tiles[index] = Tile(
                self.crs,
                float(columns[i - 1]), float(rows[j - 1]), float(columns[i]), float(rows[j]),
            )  # fmt: skip
        return tiles

    def _cut(self, squares: list[float]) -> list[float]:
        """Cut squares, given by ascending lines, at multiples of the side from each line."""
        lines: list[float] = []
        for start, stop in itertools.pairwise(squares):
            lines += np.arange(start, stop, self.side).tolist()
        return [*lines, squares[-1]]

    def _lines(self, lines: list[float]) -> NDArray[np.float64]:
        return np.unique(np.round(np.asarray(lines) / self.resolution)) * self.resolution

    @staticmethod
    def _enclosing(lines: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
        # One line more at each end: a point on a line belongs to either side.
        first = max(int(np.searchsorted(lines, low, side="left")) - 1, 0)
        last = int(np.searchsorted(lines, high, side="right"))
        return lines[first : last + 1]


@dataclass(frozen=True, slots=True)
class Lands:
    """The part of an area that one CRS maps.

    Parameters
    ----------
    crs : str
        UTM zone, or the CRS that the caller chose.
    geometry : shapely geometry
        The part in metres of the CRS.
    bounds : tuple of float
        Its bounding rectangle, snapped outward to pixels: left, bottom, right, top.
    is_shared : bool
        Whether other zones map other parts of the area. Pixels beyond the zone's meridians are
        then theirs.
    """

    crs: str
    geometry: BaseGeometry
    bounds: Bounds
    is_shared: bool = False

    def owns(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether this CRS maps each point, metres."""
        if not self.is_shared:
            return np.ones(np.shape(x), dtype=bool)
        to_degrees = pyproj.Transformer.from_crs(self.crs, "EPSG:4326", always_xy=True)
        return np.asarray(utm_codes(*to_degrees.transform(x, y)) == int(self.crs[5:]))


def lands_of(area: Aoi, *, resolution: float, crs: str | int | None = None) -> list[Lands]:
    """Divide an area between UTM zones, or take it whole in a CRS.

    Parameters
    ----------
    area : Aoi
        The area.
    resolution : float
        Pixel size in metres.
    crs : str or int, optional
        A projected CRS in metres for the whole area.

    Returns
    -------
    list of Lands
        One for each zone that the area meets, by EPSG code.
    """
    if crs is not None:
        return [_land(area, check_crs(crs), resolution)]
    lonlat = area.lonlat
    parts = {}
    for code in _codes_of(lonlat):
        part = shapely.intersection(lonlat, _zone_box(code))
        if not part.is_empty and (part.area > 0 or not lonlat.area > 0):
            parts[f"EPSG:{code}"] = part
    if len(parts) == 1:  # in its own coordinates, so that its rectangle is that of `classify`
        return [_land(area, next(iter(parts)), resolution)]
    return [_land(Aoi(part), code, resolution, shared=True) for code, part in parts.items()]


def utm_codes(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.int64]:
    """EPSG codes of the UTM zones of points in degrees; 0 where a coordinate is not finite."""
    lon, lat = np.asarray(lon, float), np.asarray(lat, float)
    known = np.isfinite(lon) & np.isfinite(lat)
    zone = np.floor((np.where(known, lon, 0) + 180) / 6).astype(np.int64) % 60 + 1
    return np.where(known, np.where(lat < 0, 32700, 32600) + zone, 0)


def _land(area: Aoi, crs: str, resolution: float, *, shared: bool = False) -> Lands:
    geometry = area.to_crs(crs).geometry
    left, bottom, right, top = geometry.bounds
    slack = 1e-3 * resolution  # as in `grid_for`
    bounds = (
        math.floor((left + slack) / resolution) * resolution,
        math.floor((bottom + slack) / resolution) * resolution,
        math.ceil((right - slack) / resolution) * resolution,
        math.ceil((top - slack) / resolution) * resolution,
    )
    return Lands(crs, geometry, bounds, shared)


def _codes_of(lonlat: BaseGeometry) -> list[int]:
    """Codes of all zones between the edges of each part of a geometry in degrees."""
    codes: set[int] = set()
    for west, south, east, north in shapely.bounds(shapely.get_parts(lonlat)):
        zones = range(math.floor((west + 180) / 6), math.floor((east + 180) / 6) + 1)
        bands = {32700 if south < 0 else 32600, 32700 if north < 0 else 32600}
        codes |= {band + zone % 60 + 1 for band in bands for zone in zones}
    return sorted(codes)


def _zone_box(code: int) -> BaseGeometry:
    west = (code % 100 - 1) * 6 - 180
    south, north = (-90, 0) if code >= 32700 else (0, 90)
    return shapely.box(west, south, west + 6, north)


def _is_utm(crs: str) -> bool:
    code = int(crs.removeprefix("EPSG:"))
    return code // 100 in {326, 327} and 1 <= code % 100 <= 60


def _multiples(low: float, high: float, side: float) -> list[float]:
    first, last = math.floor(low / side) - 1, math.ceil(high / side) + 1
    return [number * side for number in range(first, last + 1)]
