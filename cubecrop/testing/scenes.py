"""Scenes of an archive for tests: dates, places and numbers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyproj
from numpy.typing import ArrayLike, NDArray

from cubecrop.schema import SENTINEL2_BANDS, WEATHER_UNITS

__all__ = [
    "Elevation",
    "LandCover",
    "Optical",
    "Pixels",
    "Place",
    "Radar",
    "Scene",
    "Weather",
    "season_scenes",
]

#: A number for every pixel, an array (y, x), or a function of the pixel centres' coordinates
#: ``x, y`` in the scene's CRS, both (y, x).
Pixels = ArrayLike | Callable[[NDArray[np.float64], NDArray[np.float64]], ArrayLike]

_BANDS_10M: Final = frozenset({"B02", "B03", "B04", "B08"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A rectangle of pixels: upper left corner and ``pixel`` in CRS units, size in pixels."""

    crs: str = "EPSG:32631"
    left: float = 500_000.0
    top: float = 5_630_000.0
    height: int = 60
    width: int = 60
    pixel: float = 10.0

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in CRS units."""
        right = self.left + self.width * self.pixel
        return self.left, self.top - self.height * self.pixel, right, self.top

    @property
    def footprint(self) -> list[list[float]]:
        """Closed ring of (longitude, latitude)."""
        left, bottom, right, top = self.bounds
        x, y = [left, right, right, left, left], [top, top, bottom, bottom, top]
        lonlat = pyproj.Transformer.from_crs(self.crs, "EPSG:4326", always_xy=True)
        return [list(map(float, point)) for point in zip(*lonlat.transform(x, y), strict=True)]

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees."""
        lon, lat = zip(*self.footprint, strict=True)
        return min(lon), min(lat), max(lon), max(lat)

    def paint(self, pixels: Pixels, dtype: str, pixel: float) -> NDArray[Any]:
        """Compute the values (y, x) at a pixel size."""
        height = round(self.height * self.pixel / pixel)
        width = round(self.width * self.pixel / pixel)
        if callable(pixels):
            x = self.left + (np.arange(width) + 0.5) * pixel
            y = self.top - (np.arange(height) + 0.5) * pixel
            pixels = pixels(*np.meshgrid(x, y))
        return np.broadcast_to(np.asarray(pixels), (height, width)).astype(dtype)


# One raster of a scene: values, pixel size and declared nodata.
_Raster = tuple[NDArray[Any], float, float | None]
# Collection, id, properties and rasters of a scene.
_Parts = tuple[str, str, dict[str, Any], dict[str, _Raster]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """Fields of every scene; ``properties`` override those of the item."""

    place: Place = field(default_factory=Place)
    id: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Optical(_Scene):
    """A Sentinel-2 L2A scene: ``dn`` uint16 for all bands or by band, ``scl`` in ESA's classes.

    Bands of 20 m and the SCL have half of the place's rows and columns.
    """

    when: str
    dn: Pixels | Mapping[str, Pixels] = 3000
    scl: Pixels = 4
    baseline: str = "05.10"
    platform: str = "Sentinel-2A"
    tile: str = "31UES"
    orbit: int = 51

    def describe(self) -> _Parts:
        """Return the collection, id, properties and rasters."""
        head = f"S2{self.platform[-1]}_MSIL2A_{_stamp(self.when)}_R{self.orbit:03d}_T{self.tile}"
        properties = {
            "datetime": self.when,
            "platform": self.platform,
            "eo:cloud_cover": 0.0,
            "sat:orbit_state": "descending",
            "sat:relative_orbit": self.orbit,
            "s2:mgrs_tile": self.tile,
            "s2:processing_baseline": self.baseline,
            "s2:product_uri": f"{head}.SAFE",
        }
        dn = {b: self.dn[b] if isinstance(self.dn, Mapping) else self.dn for b in SENTINEL2_BANDS}
        size = {b: self.place.pixel * (1 if b in _BANDS_10M else 2) for b in (*dn, "SCL")}
        rasters: dict[str, _Raster] = {
            band: (self.place.paint(dn[band], "uint16", size[band]), size[band], None)
            for band in dn
        }
        rasters["SCL"] = self.place.paint(self.scl, "uint8", size["SCL"]), size["SCL"], None
        return "sentinel-2-l2a", head, properties, rasters


@dataclass(frozen=True, slots=True, kw_only=True)
class Radar(_Scene):
    """A Sentinel-1 RTC scene: ``vv`` and ``vh`` in linear power, float32, nodata -32768."""

    when: str
    vv: Pixels = 0.1
    vh: Pixels = 0.02
    platform: str = "SENTINEL-1A"
    orbit_state: str = "ascending"
    orbit: int = 161

    def describe(self) -> _Parts:
        """Return the collection, id, properties and rasters."""
        properties = {
            "datetime": self.when,
            "platform": self.platform,
            "sat:orbit_state": self.orbit_state,
            "sat:relative_orbit": self.orbit,
        }
        size = self.place.pixel
        rasters: dict[str, _Raster] = {
            band: (self.place.paint(values, "float32", size), size, -32768.0)
            for band, values in (("vv", self.vv), ("vh", self.vh))
        }
        return "sentinel-1-rtc", f"S1A_IW_GRDH_1SDV_{_stamp(self.when)}_rtc", properties, rasters


@dataclass(frozen=True, slots=True, kw_only=True)
class Elevation(_Scene):
    """A tile of the elevation model: float32, metres, no nodata declared."""

    elevation: Pixels = 20.0

    def describe(self) -> _Parts:
        """Return the collection, id, properties and rasters."""
        values = self.place.paint(self.elevation, "float32", self.place.pixel)
        properties = {"datetime": "2021-04-22T00:00:00Z"}
        rasters: dict[str, _Raster] = {"data": (values, self.place.pixel, None)}
        return "cop-dem-glo-30", "Copernicus_DSM_COG_10_N50_00_E003_00_DEM", properties, rasters


@dataclass(frozen=True, slots=True, kw_only=True)
class LandCover(_Scene):
    """A tile of ESA WorldCover of a year: codes uint8, nodata 0, on pixels of 10 m in degrees."""

    place: Place = field(
        default=Place(crs="EPSG:4326", left=2.98, top=50.84, height=480, width=720, pixel=1 / 12000)
    )
    codes: Pixels = 40
    year: int = 2021

    def describe(self) -> _Parts:
        """Return the collection, id, properties and rasters."""
        version = "v100" if self.year == 2020 else "v200"
        properties: dict[str, Any] = {
            "datetime": None,
            "start_datetime": f"{self.year}-01-01T00:00:00Z",
            "end_datetime": f"{self.year}-12-31T23:59:59Z",
            "esa_worldcover:product_tile": "N48E003",
        }
        values = self.place.paint(self.codes, "uint8", self.place.pixel)
        rasters: dict[str, _Raster] = {"map": (values, self.place.pixel, 0.0)}
        name = f"ESA_WorldCover_10m_{self.year}_{version}_N48E003"
        return "esa-worldcover", name, properties, rasters


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather(_Scene):
    """Daily weather of cells of latitude and longitude; ``variables`` maps to (value, unit).

    A value is a number, an array (time,) or an array (time, latitude, longitude).
    """

    place: Place = field(
        default=Place(crs="EPSG:4326", left=2.85, top=50.95, height=3, width=3, pixel=0.1)
    )
    start: str
    end: str
    variables: Mapping[str, tuple[ArrayLike, str]] = field(
        default_factory=lambda: {
            name: (280.0 if unit == "K" else 2.0, unit) for name, unit in WEATHER_UNITS.items()
        }
    )

    def describe(self) -> _Parts:
        """Return the collection, id, properties and rasters."""
        properties: dict[str, Any] = {"datetime": None}
        properties |= {f"{e}_datetime": f"{getattr(self, e)}T00:00:00Z" for e in ("start", "end")}
        return "agera5-daily", f"AgERA5_daily_{self.start}_{self.end}", properties, {}


Scene = Optical | Radar | Elevation | LandCover | Weather


def season_scenes(year: int = 2018, *, place: Place | None = None) -> list[Scene]:
    """Scenes of a small season: four clear optical dates, three radar, elevation and weather."""
    place = place or Place()
    days = ("03-01", "05-01", "06-15", "08-01")
    passes = (("03-03", "ascending"), ("05-03", "descending"), ("06-18", "ascending"))
    return [
        *(
            Optical(when=f"{year}-{day}T10:56:21Z", dn=2000 + 500 * i, place=place)
            for i, day in enumerate(days)
        ),
        *(
            Radar(when=f"{year}-{day}T17:40:42Z", orbit_state=state, place=place)
            for day, state in passes
        ),
        Elevation(place=place),
        Weather(start=f"{year - 1}-08-01", end=f"{year}-11-30"),
    ]


def _stamp(when: str) -> str:
    return f"{dt.datetime.fromisoformat(when):%Y%m%dT%H%M%S}"
