"""Weather, growth and surface of one region through its years, before any image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.simulate.crops import crop_index
from cubecrop.simulate.growth import make_growth
from cubecrop.simulate.land import COVERS, Land, deal_rotations, make_land
from cubecrop.simulate.regions import Grid, Region, make_grid
from cubecrop.simulate.surface import Surface
from cubecrop.simulate.terrain import make_elevation, sample_elevation
from cubecrop.simulate.weather import Ground, Weather, make_weather

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from affine import Affine
    from numpy.typing import NDArray

    from cubecrop.simulate.state import Growth

__all__ = ["World", "grow_world"]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that the scenes of one region need.

    Attributes
    ----------
    crops : dict
        For each harvest year an ndarray of int64 (parcel,), the true crops.
    """

    region: Region
    grid: Grid
    land: Land
    weather: Weather
    ground: Ground
    growth: Growth
    surface: Surface
    crops: dict[int, NDArray[np.int64]]
    elevation: NDArray[np.float32]
    dem_transform: Affine

    def summer(self, date: dt.date) -> float:
        """Position in the year, from 0 in January to 1 in July."""
        return float(0.5 - 0.5 * np.cos(2 * np.pi * (date.timetuple().tm_yday - 20) / 365.25))


def grow_world(
    region: Region,
    years: Sequence[int],
    *,
    size_km: float,
    seed: int,
    cloudiness: float = 0.0,
) -> World:
    """Lay out a region and grow its crops over some harvest years.

    Parameters
    ----------
    region : Region
        Region to grow.
    years : sequence of int
        Harvest years; the years between the first and the last grow too.
    size_km : float
        Side of the square, km.
    seed : int
        Seed of the random numbers.
    cloudiness : float, default 0
        See `weather.make_weather`.

    Returns
    -------
    World
    """
    grid = make_grid(region, size_km)
    first, last = min(years), max(years)
    weather = make_weather(region, first - 2, last + 1, seed=seed, cloudiness=cloudiness)
    ground = Ground.from_weather(weather)
    land = make_land(region, grid, seed=seed)
    elevation, transform = make_elevation(region, grid, seed=seed)
    left, bottom, right, top = grid.bounds
    middle = [((left + right) / 2, (bottom + top) / 2)] * len(COVERS)
    points = np.array([*middle, *((p.centroid.x, p.centroid.y) for p in land.geometry)])
    height = sample_elevation(elevation, transform, grid, points[:, 0], points[:, 1])
    # In September the crop of the year before still stands; in October that of the year after
    # is sown.
    grown_years = list(range(first - 1, last + 2))
    crops = deal_rotations(region, land.geometry.size, grown_years, seed=seed)
    margins = np.full(len(COVERS), crop_index("permanent grass"))
    units = {year: np.concatenate([margins, crop]) for year, crop in crops.items()}
    growth = make_growth(region, weather, ground, units, height, seed=seed)
    surface = Surface.make(region, weather, ground, growth, covers=len(COVERS), seed=seed)
    return World(
        region=region, grid=grid, land=land, weather=weather, ground=ground, growth=growth,
        surface=surface, crops=crops, elevation=elevation, dem_transform=transform,
    )  # fmt: skip
