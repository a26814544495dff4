"""The scenes of one simulated region as STAC items with their files."""

from __future__ import annotations

import datetime as dt
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
import pystac
import shapely
from rasterio.transform import array_bounds

from cubecrop.simulate.draws import Purpose, stream
from cubecrop.simulate.sentinel1 import ORBITS, Orbit, see_radar
from cubecrop.simulate.sentinel2 import BANDS_10M, see_optical
from cubecrop.simulate.stac import add_raster, make_item
from cubecrop.simulate.surface import sun_zenith

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cubecrop.simulate.world import World

__all__ = ["optical_jobs", "radar_jobs", "write_terrain", "write_weather"]

_SENTINEL2_STEP, _SENTINEL2_PHASE = 5, 2
_SENTINEL1_STEP = 12


def optical_jobs(
    root: Path, world: World, days: Sequence[dt.date], *, seed: int
) -> list[Callable[[], pystac.Item]]:
    """Make one job for each Sentinel-2 overpass, every five days across years."""
    return [
        partial(_write_optical, root, world, date, seed)
        for date in days
        if date.toordinal() % _SENTINEL2_STEP == _SENTINEL2_PHASE
    ]


def radar_jobs(
    root: Path, world: World, days: Sequence[dt.date], *, seed: int, sentinel_1b: bool
) -> list[Callable[[], pystac.Item]]:
    """Make one job for each Sentinel-1 pass, every twelve days on each track."""
    return [
        partial(_write_radar, root, world, date, orbit, seed)
        for date in days
        for orbit in ORBITS
        if date.toordinal() % _SENTINEL1_STEP == orbit.phase
        and (sentinel_1b or orbit.platform != "B")
    ]


def _folder(root: Path, item: pystac.Item, collection: str) -> Path:
    folder = root / collection / item.id
    folder.mkdir(parents=True)
    return folder


def _write_optical(root: Path, world: World, date: dt.date, seed: int) -> pystac.Item:
    region, day = world.region, world.weather.day(date)
    zenith = sun_zenith(region.lat, date.timetuple().tm_yday)
    scene = see_optical(
        world.land,
        world.surface.reflectance(day, zenith),
        cloud=float(world.weather.cloud[day]),
        zenith=zenith,
        snow=float(world.ground.snow[day]),
        summer=world.summer(date),
        rng=stream(Purpose.SENTINEL2, seed, region.index, date.toordinal()),
    )
    satellite = "AB"[date.toordinal() // 5 % 2]
    sensed = _moment(date, _utc(region.lon, 10.9))
    stamp = f"{sensed:%Y%m%dT%H%M%S}"
    head, tail = f"S2{satellite}_MSIL2A_{stamp}", f"R094_T{region.tile}_{date:%Y%m%d}T230212"
    item = make_item(
        f"{head}_{tail}",
        "sentinel-2-l2a",
        footprint=world.grid.footprint,
        when=sensed,
        epsg=region.epsg,
        extensions=("eo", "sat", "view"),
        properties={
            "platform": f"Sentinel-2{satellite}",
            "constellation": "Sentinel 2",
            "instruments": ["msi"],
            "gsd": 10,
            "eo:cloud_cover": scene.cloud_cover,
            "view:sun_elevation": round(90 - zenith, 3),
            "sat:orbit_state": "descending",
            "sat:relative_orbit": 94,
            "s2:mgrs_tile": region.tile,
            "s2:processing_baseline": "05.10",
            "s2:datatake_id": f"GS2{satellite}_{stamp}_{_absolute_orbit(date)}_N05.10",
            "s2:product_type": "S2MSI2A",
            "s2:product_uri": f"{head}_N0510_{tail}.SAFE",
        },
    )
    folder = _folder(root, item, "sentinel-2-l2a")
    images: dict[str, NDArray[Any]] = {**scene.bands, "SCL": scene.scl}
    for key, image in images.items():
        resolution = 10 if key in BANDS_10M else 20
        add_raster(
            item, folder, key, image, transform=world.grid.transform(resolution),
            epsg=region.epsg, nodata=0, gsd=resolution,
        )  # fmt: skip
    return item


def _write_radar(root: Path, world: World, date: dt.date, orbit: Orbit, seed: int) -> pystac.Item:
    region, day = world.region, world.weather.day(date)
    power = world.surface.backscatter(day, incidence=orbit.incidence, heading=orbit.heading)
    images = see_radar(
        world.land, power, stream(Purpose.SENTINEL1, seed, region.index, date.toordinal())
    )
    sensed = _moment(date, _utc(region.lon, orbit.clock.hour + orbit.clock.minute / 60))
    absolute = _absolute_orbit(date)
    span = f"{sensed:%Y%m%dT%H%M%S}_{sensed + dt.timedelta(seconds=25):%Y%m%dT%H%M%S}"
    item = make_item(
        # The part of the data take differs between regions, so that ids are unique.
        f"S1{orbit.platform}_IW_GRDH_1SDV_{span}_{absolute}_05C1{region.index:02X}_rtc",
        "sentinel-1-rtc",
        footprint=world.grid.footprint,
        when=sensed,
        epsg=region.epsg,
        extensions=("sar", "sat"),
        properties={
            "platform": f"SENTINEL-1{orbit.platform}",
            "constellation": "Sentinel-1",
            "gsd": 10,
            "sar:instrument_mode": "IW",
            "sar:frequency_band": "C",
            "sar:polarizations": ["VV", "VH"],
            "sar:product_type": "GRD",
            "sat:orbit_state": orbit.state,
            "sat:relative_orbit": orbit.number,
            "sat:absolute_orbit": int(absolute),
        },
    )
    folder = _folder(root, item, "sentinel-1-rtc")
    for key, image in images.items():
        add_raster(
            item, folder, key, image, transform=world.grid.transform(), epsg=region.epsg,
            nodata=-32768,
        )  # fmt: skip
    return item


def write_terrain(root: Path, world: World) -> pystac.Item:
    """Write the elevation; its id names the one-degree tile of the north-west corner."""
    elevation, transform = world.elevation, world.dem_transform
    height, width = elevation.shape
    lon, lat = math.floor(world.region.lon), math.floor(world.region.lat)
    tile = (
        f"{'N' if lat >= 0 else 'S'}{abs(lat):02d}_00_{'E' if lon >= 0 else 'W'}{abs(lon):03d}_00"
    )
    item = make_item(
        f"Copernicus_DSM_COG_10_{tile}_DEM",
        "cop-dem-glo-30",
        footprint=shapely.box(*array_bounds(height, width, transform)),
        when=dt.datetime(2021, 4, 22, tzinfo=dt.UTC),
        epsg=4326,
        extensions=(),
        properties={"gsd": 30, "platform": "TanDEM-X"},
    )
    folder = _folder(root, item, "cop-dem-glo-30")
    add_raster(item, folder, "data", elevation, transform=transform, epsg=4326)
    return item


def write_weather(root: Path, world: World, start: dt.date, end: dt.date) -> pystac.Item:
    """Write the daily weather of the region's cells as CF Zarr."""
    weather = world.weather.to_dataset(world.region, world.grid, start, end)
    longitude, latitude = weather.longitude.to_numpy(), weather.latitude.to_numpy()
    west, east = float(longitude.min()) - 0.05, float(longitude.max()) + 0.05
    south, north = float(latitude.min()) - 0.05, float(latitude.max()) + 0.05
    midnight = dt.time()
    item = make_item(
        f"AgERA5_daily_{world.region.name}_{start.year}_{end.year}",
        "agera5-daily",
        footprint=shapely.box(west, south, east, north),
        when=(_moment(start, midnight), _moment(end, midnight)),
        extensions=("xarray",),
        properties={},
    )
    folder = _folder(root, item, "agera5-daily")
    # Uncompressed, because the store has a few kilobytes and a codec's bytes change by version.
    weather.to_zarr(
        folder / "agera5.zarr",
        zarr_format=2,
        consolidated=True,
        encoding={
            **{name: {"compressors": None} for name in weather.variables},
            "time": {"compressors": None, "units": f"days since {start}", "dtype": "int64"},
        },
    )
    item.add_asset(
        "zarr",
        pystac.Asset(
            href="./agera5.zarr",
            media_type="application/vnd+zarr",
            roles=["data"],
            extra_fields={"xarray:open_kwargs": {"consolidated": True, "engine": "zarr"}},
        ),
    )
    return item


def _utc(lon: float, solar_hour: float) -> dt.time:
    """Time in UTC when the solar time at a longitude is ``solar_hour``."""
    seconds = round((solar_hour - lon / 15) % 24 * 3600)
    stamp = pd.Timestamp(0) + pd.Timedelta(seconds=seconds)
    return stamp.time()


def _moment(date: dt.date, clock: dt.time) -> dt.datetime:
    return dt.datetime.combine(date, clock, tzinfo=dt.UTC)


def _absolute_orbit(date: dt.date) -> str:
    """Six digits that grow by about 14.6 a day, the orbits that a Sentinel flies."""
    return f"{round((date - dt.date(1982, 1, 1)).days * 14.6):06d}"
