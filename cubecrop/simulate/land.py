"""The ground of the simulated archive: its grid, parcels, land units and elevation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from pyproj import Transformer
from rasterio.features import rasterize
from shapely import affinity
from shapely.ops import split

from cubecrop.errors import AoiError
from cubecrop.simulate.crops import CROPS, MARGIN_UNIT, MIN_PARCELS, WOOD_UNIT
from cubecrop.simulate.draws import Purpose, smooth_noise, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Grid", "Land", "make_elevation", "make_grid", "make_land"]

CRS: Final = "EPSG:32631"
# In MGRS tile 31UES, of 499980 to 609780 m east and 5590200 to 5700000 m north (Sentinel-2
# tiling grid, ESA); 20 km east and south of this corner stay inside it.
_LEFT, _TOP = 510_000, 5_620_020
# Sentinel-2 grids have pixels of 10, 20 and 60 m that share their corners.
_LATTICE = 60
_PIXEL = 10

# About 100 parcels on the default 2.5 km square, 6 ha each in the mean, as in northern
# France and Flanders; a small square still needs several parcels of every crop.
_PARCELS_PER_KM2 = 16.5
_MARGIN = 5.0
_WOOD_SHARE = 0.05
# In m2, before the margins are taken off; a small square has smaller parcels.
_SMALLEST, _LARGEST = 0.6e4, 20e4
_ARCSECOND = 1 / 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A square of ``size`` x ``size`` pixels of 10 m, in EPSG:32631."""

    left: float
    top: float
    size: int

    def transform(self, resolution: int = _PIXEL) -> Affine:
        """Pixel to CRS coordinates, north up."""
        return Affine(resolution, 0, self.left, 0, -resolution, self.top)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in metres."""
        extent = self.size * _PIXEL
        return (self.left, self.top - extent, self.left + extent, self.top)

    @property
    def footprint(self) -> shapely.Polygon:
        """The square in longitude and latitude."""
        to_degrees = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
        return shapely.transform(
            shapely.box(*self.bounds),
            lambda xy: np.column_stack(to_degrees.transform(xy[:, 0], xy[:, 1])),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Land:
    """What grows where.

    ``unit (y, x)`` indexes ``crop (unit)``, which indexes ``crops.CROPS``. Units 0 and 1
    are the grassy margins and the woods, then comes one unit a parcel in table order.
    """

    grid: Grid
    parcels: gpd.GeoDataFrame
    unit: NDArray[np.int32]
    crop: NDArray[np.int64]
    texture: NDArray[np.float32]


def make_grid(size_km: float) -> Grid:
    """Lay a square of about ``size_km`` on the 60 m lattice of Sentinel-2.

    Raises
    ------
    AoiError
        The size is not a number from 0.5 to 20.
    """
    if not isinstance(size_km, int | float) or not 0.5 <= size_km <= 20:
        raise AoiError(
            f"size_km is {size_km!r}, expected a number from 0.5 to 20, as in "
            "`simulate_archive(out, size_km=2.5)`."
        )
    steps = round(size_km * 1000 / _LATTICE)
    return Grid(left=_LEFT, top=_TOP, size=steps * _LATTICE // _PIXEL)


def make_land(grid: Grid, *, year: int, seed: int) -> Land:
    """Divide the square into parcels and give each a crop.

    Borders, woods and permanent grass depend on the seed alone, the other crops on the
    year too: two years of one seed are the same landscape with its crops rotated.

    Parameters
    ----------
    grid : Grid
        Where.
    year, seed : int
        Harvest year and seed.

    Returns
    -------
    Land
        Its table has ``id``, ``crop:code``, ``crop:name``, ``region`` (a quadrant) and
        ``geometry``.
    """
    rng = stream(Purpose.PARCELS, seed)
    area_km2 = (grid.size * _PIXEL / 1000) ** 2
    wanted = max(MIN_PARCELS, round(_PARCELS_PER_KM2 * area_km2))
    pieces = _divide(shapely.box(*grid.bounds), wanted, rng)
    wooded = rng.random(len(pieces)) < _WOOD_SHARE
    wooded[np.flatnonzero(wooded)[len(pieces) // 10 :]] = False
    woods = [piece for piece, wood in zip(pieces, wooded, strict=True) if wood]
    fields = [piece for piece, wood in zip(pieces, wooded, strict=True) if not wood]
    crop = _rotate(len(fields), year=year, seed=seed)

    shapes: list[tuple[Any, int]] = [(wood, WOOD_UNIT) for wood in woods]
    shapes += [(field, index) for index, field in enumerate(fields, start=WOOD_UNIT + 1)]
    unit = rasterize(
        shapes,
        out_shape=(grid.size, grid.size),
        transform=grid.transform(),
        fill=MARGIN_UNIT,
        dtype="int32",
    )
    codes = [CROPS[i] for i in crop]
    parcels = gpd.GeoDataFrame(
        {
            "id": [f"SIM{seed}-{i:04d}" for i in range(len(fields))],
            "crop:code": [c.code for c in codes],
            "crop:name": [c.name for c in codes],
            "region": [_quadrant(field.centroid, grid) for field in fields],
        },
        geometry=fields,
        crs=CRS,
    )
    names = [c.name for c in CROPS]
    units = np.concatenate([[names.index("permanent grass"), names.index("wood")], crop])
    texture = smooth_noise(stream(Purpose.TEXTURE, seed), (grid.size, grid.size), 2.5)
    return Land(grid=grid, parcels=parcels, unit=unit, crop=units, texture=texture)


def _divide(
    square: shapely.Polygon, wanted: int, rng: np.random.Generator
) -> list[shapely.Polygon]:
    """Cut the square across its largest piece until enough pieces are large enough."""
    least = min(_SMALLEST, 0.35 * square.area / wanted)
    # A tilted frame around the square makes field borders run askew of the pixel grid, and
    # irregular pieces along the edge.
    frame = affinity.rotate(affinity.scale(square, 1.5, 1.5), float(rng.uniform(12, 33)))
    pieces: list[tuple[float, shapely.Polygon]] = [(math.inf, frame)]
    usable = 0
    while usable < wanted:
        _, largest = pieces.pop(max(range(len(pieces)), key=lambda i: pieces[i][0]))
        usable -= largest.intersection(square).area >= least
        for piece in _cut(largest, rng):
            inside = piece.intersection(square).area
            usable += inside >= least
            # The random weight leaves fields of unequal size, but none of more than 20 ha.
            weight = math.exp(0.55 * float(rng.standard_normal()))
            pieces.append((math.inf if inside > _LARGEST else inside * weight, piece))
    inner = square.buffer(-_MARGIN, join_style="mitre")
    fields = (
        shapely.set_precision(piece.buffer(-_MARGIN, join_style="mitre").intersection(inner), 0.01)
        for _, piece in pieces
        if piece.intersection(square).area >= least
    )
    kept = [field for field in fields if isinstance(field, shapely.Polygon) and field.area > 0]
    return sorted(kept, key=lambda f: (round(-f.centroid.y / 200), f.centroid.x))


def _cut(piece: shapely.Polygon, rng: np.random.Generator) -> list[shapely.Polygon]:
    """Cut a convex polygon across its long side, near the middle and nearly square to it."""
    corners = shapely.get_coordinates(piece.minimum_rotated_rectangle)
    sides = np.diff(corners, axis=0)[:2]
    long = int(np.argmax(np.hypot(sides[:, 0], sides[:, 1])))
    along = sides[long]
    middle = corners[:4].mean(axis=0) + along * rng.uniform(-0.14, 0.14)
    angle = math.atan2(along[1], along[0]) + math.pi / 2 + math.radians(rng.normal(0, 4))
    reach = 2 * np.hypot(*along) * np.array([math.cos(angle), math.sin(angle)])
    parts = split(piece, shapely.LineString([middle - reach, middle + reach])).geoms
    return [part for part in parts if isinstance(part, shapely.Polygon) and part.area > 0]


def _rotate(n: int, *, year: int, seed: int) -> NDArray[np.int64]:
    """Draw a crop for each parcel, at least five parcels of each."""
    grown = [i for i, crop in enumerate(CROPS) if crop.share > 0]
    share = np.array([CROPS[i].share for i in grown])
    least = 5
    exact = share / share.sum() * (n - least * len(grown))
    count = least + np.floor(exact).astype(int)
    count[np.argsort(-(exact % 1), kind="stable")[: n - count.sum()]] += 1
    lasting = np.array([CROPS[i].permanent for i in grown])
    place = stream(Purpose.PARCELS, seed, 1).permutation(n)
    n_lasting = int(count[lasting].sum())
    place[n_lasting:] = stream(Purpose.CROPS, seed, year).permutation(place[n_lasting:])
    order = np.argsort(~lasting, kind="stable")
    crop = np.empty(n, dtype=np.int64)
    crop[place] = np.repeat(np.array(grown)[order], count[order])
    return crop


def _quadrant(point: shapely.Point, grid: Grid) -> str:
    left, bottom, right, top = grid.bounds
    north = "north" if point.y >= (bottom + top) / 2 else "south"
    return north + ("-west" if point.x < (left + right) / 2 else "-east")


def make_elevation(grid: Grid, *, seed: int) -> tuple[NDArray[np.float32], Affine]:
    """Raise gentle hills over the square and a margin around it.

    Returns
    -------
    elevation (latitude, longitude) : ndarray of float32
        Metres above the geoid.
    transform : Affine
        EPSG:4326, 1 arcsecond, centres on whole arcseconds as in Copernicus GLO-30
        (Copernicus DEM Product Handbook, 2022).
    """
    west, south, east, north = grid.footprint.bounds
    margin = 20
    left = math.floor(west / _ARCSECOND) - margin
    top = math.ceil(north / _ARCSECOND) + margin
    width = math.ceil(east / _ARCSECOND) + margin - left
    height = top - math.floor(south / _ARCSECOND) + margin
    rng = stream(Purpose.ELEVATION, seed)
    hills = smooth_noise(rng, (height, width), 22)
    knolls = smooth_noise(rng, (height, width), 7)
    elevation = (45 + 14 * hills + 3 * knolls).astype(np.float32)
    transform = Affine(
        _ARCSECOND, 0, (left - 0.5) * _ARCSECOND, 0, -_ARCSECOND, (top + 0.5) * _ARCSECOND
    )
    return elevation, transform
