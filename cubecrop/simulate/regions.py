"""Regions of the simulated world: place, climate and crops.

Climates are rounded monthly normals of 1991 to 2020 of a station near the place (E-OBS version
29, ECA&D; Environment and Climate Change Canada). Those of languedoc and andalusia are near the
normals of Montpellier and Córdoba, but were not taken from a table. Rotations are typical, not
statistics; every crop grows on at least about one parcel in twenty, so that a model can learn it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from affine import Affine
from pyproj import Transformer

from cubecrop.errors import AoiError

__all__ = ["REGIONS", "Grid", "Region", "find_region", "make_grid"]

# Sentinel-2 grids have pixels of 10, 20 and 60 m that share their corners.
_LATTICE = 60
_PIXEL = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One region.

    Attributes
    ----------
    index : int
        Number of the region, part of the key of every stream of random numbers.
    lon, lat : float
        North-west corner of the simulated square, degrees.
    temperature : tuple of 12 floats
        Monthly means, degree Celsius.
    wet_days : tuple of 12 floats
        Share of each month's days with at least 1 mm of rain.
    rain : float
        Mean rain of a wet day, mm.
    departure : tuple of 2 floats
        Standard deviation of daily temperature from the yearly course, in winter and in
        summer, K.
    elevation, relief : float
        Mean and standard deviation of the terrain, m.
    parcel_ha : float
        Median area of a parcel, ha.
    cultivar : tuple of 2 floats
        Factor on the thermal time that the region's winter and spring cultivars need.
    late_sowing : float
        Days by which ground that is wet after the thaw delays sowing in spring.
    catch : float
        Share of the parcels without a crop over winter that carry a catch crop. It is large
        where the Nitrates Directive requires one; where it is small, volunteers are thin too.
    grain_maize : bool
        Whether maize stands until the grain is dry; otherwise it is cut green for silage.
    curing : float
        Share of the grass that dies when its root zone dries out and comes back with the autumn
        rain, as annual grasses of the Mediterranean do (grassland curing: Newnham et al. 2011,
        Remote Sens. Environ. 115, 1155-1165). At 0, grass thins and stays green in part.
    soil : tuple of 2 floats
        Factors on the brightness and redness of the table's soil; 1 leaves them as they are.
    rotations : tuple of (share of parcels, crops in order)
    hedges, woods, villages, water : float
        Share of borders with a hedge; shares of the land under woods, villages and water.
    """

    index: int
    name: str
    lon: float
    lat: float
    temperature: tuple[float, ...]
    wet_days: tuple[float, ...]
    rain: float
    departure: tuple[float, float] = (3.2, 2.6)
    elevation: float = 60.0
    relief: float = 15.0
    parcel_ha: float = 3.0
    cultivar: tuple[float, float] = (1.0, 1.0)
    late_sowing: float = 0.0
    catch: float = 0.7
    grain_maize: bool = False
    curing: float = 0.0
    soil: tuple[float, float] = (1.0, 1.0)
    rotations: tuple[tuple[float, tuple[str, ...]], ...]
    hedges: float = 0.15
    woods: float = 0.06
    villages: float = 0.03
    water: float = 0.01

    @property
    def epsg(self) -> int:
        """Code of the UTM zone of its square."""
        return 32601 + int((self.lon + 180) // 6)

    @property
    def tile(self) -> str:
        """Name of the Sentinel-2 tile (MGRS) that holds its corner."""
        x, y = _to_utm(self.lon, self.lat, self.epsg)
        zone = self.epsg - 32600
        columns = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")[(zone - 1) % 3]
        rows = "ABCDEFGHJKLMNPQRSTUV"
        band = "CDEFGHJKLMNPQRSTUVWX"[int((self.lat + 80) // 8)]
        row = rows[(int(y // 100_000) + (0 if zone % 2 else 5)) % 20]
        return f"{zone:02d}{band}{columns[int(x // 100_000) - 1]}{row}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A square of ``size`` x ``size`` pixels of 10 m in the UTM zone ``epsg``."""

    epsg: int
    left: float
    top: float
    size: int

    def transform(self, resolution: int = _PIXEL) -> Affine:
        """Transform from pixels to CRS coordinates, north up."""
        return Affine(resolution, 0, self.left, 0, -resolution, self.top)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in metres."""
        extent = self.size * _PIXEL
        return (self.left, self.top - extent, self.left + extent, self.top)

    @property
    def footprint(self) -> shapely.Polygon:
        """The square in longitude and latitude."""
        to_degrees = Transformer.from_crs(self.epsg, "EPSG:4326", always_xy=True)
        return shapely.transform(
            shapely.box(*self.bounds),
            lambda xy: np.column_stack(to_degrees.transform(xy[:, 0], xy[:, 1])),
        )


def _to_utm(lon: float, lat: float, epsg: int) -> tuple[float, float]:
    x, y = Transformer.from_crs("EPSG:4326", epsg, always_xy=True).transform(lon, lat)
    return float(x), float(y)


def make_grid(region: Region, size_km: float) -> Grid:
    """Lay a square of about ``size_km`` on the 60 m lattice of Sentinel-2.

    Raises
    ------
    AoiError
        The size is not a number from 0.5 to 20.
    """
    if (
        isinstance(size_km, bool)
        or not isinstance(size_km, int | float)
        or not 0.5 <= size_km <= 20
    ):
        raise AoiError(
            f"size_km is {size_km!r}, expected a number from 0.5 to 20, as in "
            "`simulate_archive(out, size_km=2.5)`."
        )
    x, y = _to_utm(region.lon, region.lat, region.epsg)
    steps = round(size_km * 1000 / _LATTICE)
    return Grid(
        epsg=region.epsg,
        left=_LATTICE * round(x / _LATTICE),
        top=_LATTICE * round(y / _LATTICE),
        size=steps * _LATTICE // _PIXEL,
    )


def find_region(name: str) -> Region:
    """Look a region up by name.

    Raises
    ------
    AoiError
        There is no such region.
    """
    for region in REGIONS:
        if region.name == name:
            return region
    names = [region.name for region in REGIONS]
    raise AoiError(
        f"region is {name!r}, expected one of {names}, as in "
        f"`simulate_archive(out, regions=[{names[0]!r}])`."
    )


_GRASS = ("permanent grass",)
_ALFALFA = ("alfalfa", "alfalfa", "alfalfa", "winter wheat", "maize")
_DRY_ALFALFA = ("alfalfa", "alfalfa", "alfalfa", "winter wheat")

#: Keep the order: the index is part of every random key.
REGIONS: Final = (
    Region(
        index=0, name="flanders", lon=3.142, lat=50.734, elevation=40, relief=12, parcel_ha=2.6,
        temperature=(3.7, 4.2, 6.9, 10.0, 13.7, 16.5, 18.6, 18.3, 15.2, 11.4, 7.1, 4.4),
        wet_days=(0.42, 0.39, 0.38, 0.33, 0.34, 0.34, 0.34, 0.34, 0.34, 0.39, 0.44, 0.45),
        rain=5.2,
        rotations=(
            (15, _GRASS),
            (12, ("maize", "maize", "winter wheat")),
            (16, ("winter wheat", "sugar beet", "winter barley", "potato")),
            (12, ("winter wheat", "potato", "winter wheat", "sugar beet")),
            (20, ("winter rapeseed", "winter wheat", "maize", "winter barley")),
            (10, _ALFALFA),
            (24, ("spring barley", "sugar beet", "spring wheat", "winter wheat")),
        ),
    ),
    Region(
        index=1, name="normandy", lon=0.302, lat=48.46, elevation=150, relief=30, parcel_ha=3.6,
        temperature=(4.6, 5.0, 7.6, 10.1, 13.7, 16.8, 19.0, 18.9, 15.9, 12.4, 8.0, 5.2),
        wet_days=(0.39, 0.35, 0.34, 0.31, 0.32, 0.28, 0.27, 0.26, 0.28, 0.36, 0.4, 0.42),
        rain=5.4, hedges=0.35, woods=0.1, soil=(0.95, 1.02), cultivar=(1.0, 1.02),
        rotations=(
            (28, _GRASS),
            (24, ("winter rapeseed", "winter wheat", "winter barley")),
            (18, ("maize", "winter wheat")),
            (10, _ALFALFA),
            (20, ("spring pea", "winter wheat", "spring barley")),
        ),
    ),
    Region(
        index=2, name="bavaria", lon=12.362, lat=48.72, elevation=420, relief=35, parcel_ha=2.2,
        temperature=(-0.8, 0.4, 4.5, 9.3, 13.8, 17.3, 18.9, 18.4, 14.0, 9.3, 4.0, 0.3),
        wet_days=(0.33, 0.3, 0.31, 0.3, 0.36, 0.39, 0.38, 0.35, 0.31, 0.29, 0.31, 0.34),
        rain=6.0, departure=(4.4, 3.2), woods=0.16, soil=(0.88, 0.95), cultivar=(0.97, 0.98),
        rotations=(
            (17, _GRASS),
            (20, ("maize", "winter wheat", "winter barley")),
            (22, ("winter rapeseed", "winter wheat", "sugar beet", "winter wheat")),
            (16, ("potato", "winter wheat", "spring barley")),
            (10, _ALFALFA),
            (15, ("soybean", "winter wheat", "maize")),
        ),
    ),
    Region(
        index=3, name="aquitaine", lon=-0.36, lat=43.9, elevation=120, relief=25, parcel_ha=3.0,
        temperature=(6.2, 7.0, 9.9, 12.4, 16.0, 19.6, 21.5, 21.6, 18.5, 14.9, 9.7, 6.8),
        wet_days=(0.38, 0.34, 0.34, 0.36, 0.33, 0.27, 0.22, 0.23, 0.25, 0.32, 0.38, 0.38),
        rain=7.6, departure=(3.4, 2.9), woods=0.14, soil=(1.06, 1.04), cultivar=(1.02, 1.15),
        grain_maize=True,
        rotations=(
            (16, _GRASS),
            (22, ("maize", "maize", "soybean")),
            (16, ("sunflower", "winter wheat")),
            (22, ("winter rapeseed", "winter wheat", "maize", "winter barley")),
            (9, _ALFALFA),
            (15, ("spring pea", "winter wheat", "sunflower")),
        ),
    ),
    Region(
        index=4, name="ontario", lon=-81.22, lat=43.5, elevation=310, relief=12, parcel_ha=4.5,
        temperature=(-5.5, -5.0, -0.5, 6.3, 13.0, 18.2, 20.7, 19.8, 16.2, 9.8, 3.8, -2.0),
        wet_days=(0.4, 0.33, 0.31, 0.33, 0.32, 0.3, 0.28, 0.28, 0.3, 0.33, 0.37, 0.39),
        rain=7.6, departure=(5.4, 3.2), woods=0.12, soil=(1.05, 1.0),
        cultivar=(0.84, 1.12), late_sowing=6, grain_maize=True, catch=0.25,
        rotations=(
            (14, _GRASS),
            (36, ("maize", "soybean", "winter wheat")),
            (10, ("maize", "soybean")),
            (16, _ALFALFA),
            (22, ("spring barley", "soybean", "winter wheat")),
            (20, ("potato", "spring barley", "maize")),
        ),
    ),
    Region(
        index=5, name="maritimes", lon=-63.52, lat=46.38, elevation=45, relief=18, parcel_ha=3.6,
        temperature=(-7.0, -6.8, -2.5, 3.2, 9.5, 15.0, 19.2, 19.0, 14.8, 9.0, 3.6, -2.5),
        wet_days=(0.42, 0.36, 0.36, 0.36, 0.35, 0.33, 0.31, 0.3, 0.32, 0.37, 0.42, 0.43),
        rain=8.0, departure=(5.0, 3.0), woods=0.2, soil=(1.0, 1.2),
        cultivar=(0.88, 1.0), late_sowing=3, catch=0.2,
        rotations=(
            (20, _GRASS),
            (22, ("potato", "spring barley", "alfalfa")),
            (20, ("spring wheat", "soybean", "spring barley")),
            (14, ("potato", "spring wheat", "maize")),
            (16, ("winter wheat", "soybean", "maize")),
            (8, _ALFALFA),
        ),
    ),
    Region(
        index=6, name="languedoc", lon=3.1, lat=43.48, elevation=80, relief=30, parcel_ha=2.0,
        temperature=(7.3, 8.0, 11.1, 13.7, 17.5, 21.6, 24.2, 24.0, 20.2, 16.4, 11.1, 8.0),
        wet_days=(0.18, 0.16, 0.15, 0.19, 0.16, 0.12, 0.08, 0.11, 0.15, 0.22, 0.2, 0.17),
        rain=10.8, woods=0.12, soil=(1.08, 1.08), cultivar=(1.02, 1.25), catch=0.4, curing=0.85,
        rotations=(
            (18, ("vineyard",)),
            (8, ("olive grove",)),
            (9, ("orchard",)),
            (14, _GRASS),
            (12, _DRY_ALFALFA),
            (16, ("winter wheat", "sunflower")),
            (15, ("winter rapeseed", "winter wheat", "winter barley")),
        ),
    ),
    Region(
        index=7, name="andalusia", lon=-4.8, lat=37.9, elevation=180, relief=35, parcel_ha=3.4,
        temperature=(9.3, 11.1, 14.4, 17.0, 21.3, 25.9, 28.7, 28.5, 24.1, 19.3, 13.4, 10.3),
        wet_days=(0.22, 0.21, 0.2, 0.22, 0.16, 0.05, 0.02, 0.03, 0.1, 0.2, 0.22, 0.24),
        rain=9.8, hedges=0.06, woods=0.06, soil=(1.12, 1.05), cultivar=(1.0, 1.15), catch=0.2,
        curing=0.95,
        rotations=(
            (26, ("olive grove",)),
            (10, ("orchard",)),
            (8, ("vineyard",)),
            (12, _GRASS),
            (10, _DRY_ALFALFA),
            (24, ("winter wheat", "sunflower")),
            (12, ("winter barley", "sunflower")),
        ),
    ),
)  # fmt: skip
