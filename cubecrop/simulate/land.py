"""The land of the simulated archive: parcels, the land between them, rotations, labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import geopandas as gpd
import numpy as np
import shapely
from rasterio.features import rasterize
from shapely import affinity
from shapely.ops import split

from cubecrop.simulate.crops import CROPS, crop_index
from cubecrop.simulate.draws import Purpose, smooth_noise, stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cubecrop.simulate.regions import Grid, Region

__all__ = ["COVERS", "Land", "deal_rotations", "declare", "make_land"]

#: Kinds of land outside parcels, in the order of the first units of `Land.unit`.
COVERS: Final = ("margin", "track", "hedge", "wood", "conifers", "village", "water")

#: With this many parcels, each rotation shows most of its years.
MIN_PARCELS: Final = 54
_MARGIN = 4.0
# Area of a piece in m2, before its margins are cut off; a small square has smaller parcels.
_SMALLEST, _LARGEST = 0.25e4, 20.5e4
# Standard deviation of the logarithm of a piece's area.
_SPREAD = 0.62


@dataclass(frozen=True, slots=True, kw_only=True)
class Land:
    """Map of the land of one region.

    Attributes
    ----------
    grid : Grid
    geometry : ndarray of shapely polygons (parcel,)
        In the grid's CRS.
    unit : ndarray of int32 (y, x)
        Index of `COVERS`, or ``len(COVERS)`` + index of the parcel.
    texture : ndarray of float32 (y, x)
        Correlated field of mean 0 and deviation 1; crops grow better where it is high.
    """

    grid: Grid
    geometry: NDArray[Any]
    unit: NDArray[np.int32]
    texture: NDArray[np.float32]


def make_land(region: Region, grid: Grid, *, seed: int) -> Land:
    """Divide the square into parcels, woods, villages and water, with tracks and hedges.

    The land depends on the seed, the region and the size, not on years. Areas of parcels are
    log-normal, from 0.2 to 20 ha; parcels are smaller where the square would hold too few.
    """
    rng = stream(Purpose.PARCELS, seed, region.index)
    square = shapely.box(*grid.bounds)
    # At this spread the median is 0.75 of the mean, and margins and covers take some land.
    target = min(1.22e4 * region.parcel_ha, square.area / (1.15 * MIN_PARCELS))
    pieces, borders = _divide(square, target, rng)
    kinds = _deal_covers(pieces, region, stream(Purpose.LAND_COVER, seed, region.index))
    inner = square.buffer(-_MARGIN, join_style="mitre")
    fields = []
    shapes: list[tuple[Any, int]] = []
    for piece, kind in zip(pieces, kinds, strict=True):
        if kind:
            shapes.append((piece, COVERS.index(kind)))
            continue
        field = shapely.set_precision(
            piece.buffer(-_MARGIN, join_style="mitre").intersection(inner), 0.01
        )
        if isinstance(field, shapely.Polygon) and field.area >= 0.2e4:
            fields.append(field)
    fields.sort(key=lambda f: (round(-f.centroid.y / 200), f.centroid.x))
    hedged = rng.random(len(borders)) < region.hedges
    tracked = [i < 6 or chance < 0.05 for i, chance in enumerate(rng.random(len(borders)))]
    shapes += [
        (line.buffer(6.0), COVERS.index("hedge"))
        for line, chosen in zip(borders, hedged, strict=True)
        if chosen
    ]
    shapes += [
        (line.buffer(5.0), COVERS.index("track"))
        for line, chosen in zip(borders, tracked, strict=True)
        if chosen
    ]
    shapes += [(field, i) for i, field in enumerate(fields, start=len(COVERS))]
    unit = rasterize(
        shapes,
        out_shape=(grid.size, grid.size),
        transform=grid.transform(),
        fill=COVERS.index("margin"),
        dtype="int32",
    )
    texture = smooth_noise(stream(Purpose.TEXTURE, seed, region.index), (grid.size, grid.size), 2.5)
    return Land(grid=grid, geometry=np.array(fields, dtype=object), unit=unit, texture=texture)


def _divide(
    square: shapely.Polygon, target: float, rng: np.random.Generator
) -> tuple[list[shapely.Polygon], list[shapely.LineString]]:
    """Cut the square until each piece is as small as the area drawn for it.

    Returns the pieces inside the square and the cuts, the longest first.
    """
    # The frame is tilted so that borders do not follow the pixel grid.
    frame = affinity.rotate(affinity.scale(square, 1.5, 1.5), float(rng.uniform(12, 33)))
    waiting, done, borders = [frame], [], []
    while waiting:
        piece = waiting.pop(0)
        inside = piece.intersection(square).area
        if inside < 0.08e4:
            continue
        size = target * math.exp(_SPREAD * float(rng.standard_normal()))
        if inside < min(max(size * 1.35, _SMALLEST), _LARGEST) and piece.area < 2 * _LARGEST:
            done.append(piece.intersection(square))
            continue
        parts, line = _cut(piece, rng)
        waiting.extend(parts)
        borders.append(line.intersection(piece).intersection(square))
    pieces = [p for p in done if isinstance(p, shapely.Polygon)]
    lines = [b for b in borders if isinstance(b, shapely.LineString) and b.length > 0]
    return pieces, sorted(lines, key=lambda line: -line.length)


def _cut(
    piece: shapely.Polygon, rng: np.random.Generator
) -> tuple[list[shapely.Polygon], shapely.LineString]:
    """Cut a polygon across its long side, nearly at a right angle, sometimes with a bend."""
    corners = shapely.get_coordinates(piece.minimum_rotated_rectangle)
    sides = np.diff(corners, axis=0)[:2]
    long = int(np.argmax(np.hypot(sides[:, 0], sides[:, 1])))
    along = sides[long]
    middle = corners[:4].mean(axis=0) + along * rng.uniform(-0.16, 0.16)
    angle = math.atan2(along[1], along[0]) + math.pi / 2 + math.radians(rng.normal(0, 7))
    reach = 2 * np.hypot(*along) * np.array([math.cos(angle), math.sin(angle)])
    bend = along * rng.normal(0, 0.06) if rng.random() < 0.3 else np.zeros(2)
    line = shapely.LineString([middle - reach, middle + bend, middle + reach])
    parts = split(piece, line).geoms
    return [part for part in parts if isinstance(part, shapely.Polygon) and part.area > 0], line


def _deal_covers(
    pieces: Sequence[shapely.Polygon], region: Region, rng: np.random.Generator
) -> list[str]:
    """Choose pieces for woods, villages and water until each has its share of the land."""
    area = np.array([piece.area for piece in pieces])
    kinds = [""] * len(pieces)
    for name, share in (
        ("village", region.villages),
        ("water", region.water),
        ("wood", 0.7 * region.woods),
        ("conifers", 0.3 * region.woods),
    ):
        have = 0.0
        centre = pieces[int(rng.integers(len(pieces)))].centroid
        # Pieces of woods and villages lie together.
        order = sorted(range(len(pieces)), key=lambda i: pieces[i].centroid.distance(centre))
        for i in order:
            if kinds[i]:
                continue
            if have + 0.5 * area[i] > share * area.sum():
                break
            kinds[i] = name
            have += area[i]
    return kinds


def deal_rotations(region: Region, n: int, years: Sequence[int], *, seed: int) -> dict[
    int, NDArray[np.int64]
]:  # fmt: skip
    """Give each parcel a rotation, and with it a crop in every year.

    Each rotation and phase gets its exact share of the parcels instead of a random one, so that
    each crop has its share in every year even among few parcels.

    Returns
    -------
    dict
        For each year an ndarray of int64 (parcel,), the index into `CROPS`.
    """
    rotations = [
        (share / len(crops), crops, phase)
        for share, crops in region.rotations
        for phase in range(len(crops))
    ]
    share = np.array([part for part, _, _ in rotations])
    exact = share / share.sum() * n
    count = np.floor(exact).astype(int)
    count[np.argsort(-(exact % 1), kind="stable")[: n - count.sum()]] += 1
    rng = stream(Purpose.CROPS, seed, region.index)
    dealt = rng.permutation(np.repeat(np.arange(len(rotations)), count))
    return {
        year: np.array(
            [
                crop_index(rotations[i][1][(year + rotations[i][2]) % len(rotations[i][1])])
                for i in dealt
            ],
            dtype=np.int64,
        )
        for year in years
    }


def declare(
    crop: NDArray[np.int64], year: int, *, region: Region, share: float, seed: int
) -> NDArray[np.int64]:
    """Declare a crop for each parcel, wrong for a share of them.

    A wrong declaration names a crop of the region, a common crop more often than a rare one.
    """
    rng = stream(Purpose.LABELS, seed, region.index, year)
    wrong = rng.random(crop.size) < share
    drawn = crop[rng.integers(crop.size, size=crop.size)]
    return np.where(wrong, drawn, crop)


def parcel_table(
    land: Land, crop: NDArray[np.int64], *, region: Region, seed: int
) -> gpd.GeoDataFrame:
    """Make a table with columns ``id``, ``crop:code``, ``crop:name``, ``region``, ``geometry``."""
    codes = [CROPS[i] for i in crop]
    return gpd.GeoDataFrame(
        {
            "id": [f"SIM{seed}-{region.name}-{i:04d}" for i in range(crop.size)],
            "crop:code": [c.code for c in codes],
            "crop:name": [c.name for c in codes],
            "region": region.name,
        },
        geometry=land.geometry,
        crs=land.grid.epsg,
    )
