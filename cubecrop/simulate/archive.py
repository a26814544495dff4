"""Write the simulated season as a static STAC archive."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pystac
import shapely
from rasterio.transform import array_bounds
from rich.console import Console
from rich.progress import Progress

from cubecrop.errors import OutputError
from cubecrop.season import Season
from cubecrop.simulate.crops import Growth, make_growth
from cubecrop.simulate.land import Land, make_elevation, make_grid, make_land
from cubecrop.simulate.sensors import BANDS_10M, cloud_covers, see_optical, see_radar
from cubecrop.simulate.stac import add_raster, make_item, write_catalog
from cubecrop.simulate.weather import make_weather, season_shift, soil_wetness

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["simulate_archive"]

_EPSG: Final = 32631
_TILE: Final = "31UES"
# Two passes of each orbit in twelve days, one satellite: one image every six days.
_RADAR_ORBITS: Final = (
    ("ascending", 161, dt.time(17, 40, 42)),
    ("descending", 110, dt.time(5, 58, 12)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """What every scene needs to know."""

    root: Path
    season: Season
    seed: int
    land: Land
    growth: Growth
    wetness: pd.Series

    def day(self, date: dt.date) -> int:
        return (date - dt.date(self.season.year, 1, 1)).days

    def wetness_on(self, date: dt.date) -> float:
        return float(self.wetness.loc[pd.Timestamp(date)])

    def folder(self, item: pystac.Item, collection: str) -> Path:
        folder = self.root / collection / item.id
        folder.mkdir(parents=True)
        return folder


def simulate_archive(
    out: str | os.PathLike[str],
    *,
    year: int = 2024,
    size_km: float = 2.5,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Make a simple simulated archive of one harvest season, and its parcels.

    Simple: no radiative transfer and no growth model. Curves of crops, clouds, weather and
    backscatter are plausible shapes, good for a demo and for tests; scores reached on them
    say nothing about real fields. The form is that of the Planetary Computer. Writes at once;
    memory grows with the area, 0.25 GB at the default size;
    two runs with the same arguments and library versions write the same bytes, and two years
    of one seed show the same parcels with their crops rotated.

    Parameters
    ----------
    out : path
        Folder to make; it must not exist, or be empty.
    year : int, default 2024
        Harvest year; images cover ``Season(year)``.
    size_km : float, default 2.5
        Side of the square, 0.5 to 20, rounded to 60 m; 2.5 holds about 100 parcels.
    seed : int, default 0
        Not negative.
    progress : bool, default True
        Show a progress bar on standard error.

    Returns
    -------
    pathlib.Path
        ``out``, with ``catalog.json``, a folder a collection (``sentinel-2-l2a`` every 5 days
        at 10 and 20 m, uint16 DN; ``sentinel-1-rtc`` every 6 days at 10 m, float32 linear
        power; ``cop-dem-glo-30`` m; ``agera5-daily``) and ``parcels-YEAR.parquet`` with the
        columns ``id``, ``crop:code``, ``crop:name``, ``region``, ``geometry`` in EPSG:32631.

    Raises
    ------
    OutputError
        ``out`` is a file or a folder with something in it, or cannot be written.
    AoiError
        ``size_km`` is not from 0.5 to 20.
    SeasonError
        ``year`` is out of range.
    ValueError
        ``seed`` is negative.

    References
    ----------
    Form: https://planetarycomputer.microsoft.com/dataset/sentinel-2-l2a and
    https://planetarycomputer.microsoft.com/dataset/sentinel-1-rtc.
    """
    season, grid, target = Season(year), make_grid(size_km), Path(out)
    _check_free(target)
    land = make_land(grid, year=year, seed=seed)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the last step is one rename on one file system.
        with tempfile.TemporaryDirectory(
            dir=target.parent, prefix=f".{target.name}.", ignore_cleanup_errors=True
        ) as temporary:
            root = Path(temporary) / "archive"
            root.mkdir()
            _write_archive(root, season, land, seed=seed, progress=progress)
            _check_free(target)
            if target.exists():
                target.rmdir()
            root.rename(target)
    except OutputError:  # an OSError too, but one that says what to do
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write the simulated archive to {target}: {error}. Choose a folder that "
            "can be written, as in `simulate_archive('simulated')`."
        ) from error
    return target


def _check_free(target: Path) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() or target.is_symlink():
        seen = "holds files already" if target.is_dir() else "is not a folder"
        raise OutputError(
            f"{target} {seen}, expected a folder that is empty or does not exist. Remove it, "
            f"or choose another: `simulate_archive('{target}-2')`."
        )


def _write_archive(root: Path, season: Season, land: Land, *, seed: int, progress: bool) -> None:
    month = pd.DateOffset(months=1)
    centre = land.grid.footprint.centroid
    weather = make_weather(
        (pd.Timestamp(season.start) - month).date(),
        (pd.Timestamp(season.end) + month).date(),
        longitude=centre.x,
        latitude=centre.y,
        seed=seed,
    )
    shift = season_shift(weather, season.year)
    world = _World(
        root=root,
        season=season,
        seed=seed,
        land=land,
        growth=make_growth(land.crop, year=season.year, seed=seed, shift=shift),
        wetness=soil_wetness(weather),
    )
    jobs = [*_optical_jobs(world), *_radar_jobs(world)]
    # Threads, since GDAL, zlib and NumPy leave the interpreter free; each scene has its own
    # random stream, so that their order does not matter.
    console = Console(stderr=True)
    with (
        Progress(console=console, disable=not (progress and console.is_terminal)) as bar,
        ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool,
    ):
        task = bar.add_task("simulating", total=len(jobs))
        futures = [pool.submit(job) for job in jobs]
        items = []
        try:
            for future in futures:
                items.append(future.result())
                bar.advance(task)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    items += [_write_terrain(world), _write_weather(world, weather)]
    title = f"Simulated archive of harvest year {season.year}, seed {seed}; not real data."
    write_catalog(root, items, title=title)
    land.parcels.to_parquet(root / f"parcels-{season.year}.parquet", index=False)


def _dates(season: Season, step: int, phase: int) -> list[dt.date]:
    """Dates of a satellite that comes back every ``step`` days, whatever the year."""
    first = season.start + dt.timedelta((phase - season.start.toordinal()) % step)
    return [first + dt.timedelta(i) for i in range(0, (season.end - first).days + 1, step)]


def _optical_jobs(world: _World) -> list[Callable[[], pystac.Item]]:
    dates = _dates(world.season, 5, 2)
    days_of_year = np.array([date.timetuple().tm_yday for date in dates])
    covers = cloud_covers(days_of_year, year=world.season.year, seed=world.seed)
    return [
        partial(_write_optical, world, date, float(cover))
        for date, cover in zip(dates, covers, strict=True)
    ]


def _radar_jobs(world: _World) -> list[Callable[[], pystac.Item]]:
    return [partial(_write_radar, world, date) for date in _dates(world.season, 6, 4)]


def _write_optical(world: _World, date: dt.date, cover: float) -> pystac.Item:
    satellite = "AB"[date.toordinal() // 5 % 2]
    sensed = _moment(date, dt.time(10, 56, 21))
    stamp = f"{sensed:%Y%m%dT%H%M%S}"
    head, tail = f"S2{satellite}_MSIL2A_{stamp}", f"R094_T{_TILE}_{date:%Y%m%d}T170212"
    scene = see_optical(
        world.land,
        world.growth,
        day=world.day(date),
        wetness=world.wetness_on(date),
        cover=cover,
        key=(world.seed, date.toordinal()),
    )
    item = make_item(
        f"{head}_{tail}",
        "sentinel-2-l2a",
        footprint=world.land.grid.footprint,
        when=sensed,
        epsg=_EPSG,
        extensions=("eo", "sat"),
        properties={
            "platform": f"Sentinel-2{satellite}",
            "constellation": "Sentinel 2",
            "instruments": ["msi"],
            "gsd": 10,
            "eo:cloud_cover": scene.cloud_cover,
            "sat:orbit_state": "descending",
            "sat:relative_orbit": 94,
            "s2:mgrs_tile": _TILE,
            "s2:processing_baseline": "05.10",
            "s2:datatake_id": f"GS2{satellite}_{stamp}_{_absolute_orbit(date)}_N05.10",
            "s2:product_type": "S2MSI2A",
            "s2:product_uri": f"{head}_N0510_{tail}.SAFE",
        },
    )
    folder = world.folder(item, "sentinel-2-l2a")
    images: dict[str, NDArray[Any]] = {**scene.bands, "SCL": scene.scl}
    for key, image in images.items():
        resolution = 10 if key in BANDS_10M else 20
        add_raster(
            item,
            folder,
            key,
            image,
            transform=world.land.grid.transform(resolution),
            epsg=_EPSG,
            nodata=0,
            gsd=resolution,
        )
    return item


def _write_radar(world: _World, date: dt.date) -> pystac.Item:
    state, orbit, clock = _RADAR_ORBITS[date.toordinal() // 6 % 2]
    sensed = _moment(date, clock)
    absolute = _absolute_orbit(date)
    span = f"{sensed:%Y%m%dT%H%M%S}_{sensed + dt.timedelta(seconds=25):%Y%m%dT%H%M%S}"
    images = see_radar(
        world.land,
        world.growth,
        day=world.day(date),
        wetness=world.wetness_on(date),
        descending=state == "descending",
        key=(world.seed, date.toordinal()),
    )
    item = make_item(
        f"S1A_IW_GRDH_1SDV_{span}_{absolute}_05C1F2_rtc",
        "sentinel-1-rtc",
        footprint=world.land.grid.footprint,
        when=sensed,
        epsg=_EPSG,
        extensions=("sar", "sat"),
        properties={
            "platform": "SENTINEL-1A",
            "constellation": "Sentinel-1",
            "gsd": 10,
            "sar:instrument_mode": "IW",
            "sar:frequency_band": "C",
            "sar:polarizations": ["VV", "VH"],
            "sar:product_type": "GRD",
            "sat:orbit_state": state,
            "sat:relative_orbit": orbit,
            "sat:absolute_orbit": int(absolute),
        },
    )
    folder = world.folder(item, "sentinel-1-rtc")
    transform = world.land.grid.transform()
    for key, image in images.items():
        add_raster(item, folder, key, image, transform=transform, epsg=_EPSG, nodata=-32768)
    return item


def _write_terrain(world: _World) -> pystac.Item:
    elevation, transform = make_elevation(world.land.grid, seed=world.seed)
    height, width = elevation.shape
    item = make_item(
        "Copernicus_DSM_COG_10_N50_00_E003_00_DEM",
        "cop-dem-glo-30",
        footprint=shapely.box(*array_bounds(height, width, transform)),
        when=dt.datetime(2021, 4, 22, tzinfo=dt.UTC),
        epsg=4326,
        extensions=(),
        properties={"gsd": 30, "platform": "TanDEM-X"},
    )
    folder = world.folder(item, "cop-dem-glo-30")
    add_raster(item, folder, "data", elevation, transform=transform, epsg=4326)
    return item


def _write_weather(world: _World, weather: xr.Dataset) -> pystac.Item:
    first, last = (pd.Timestamp(weather["time"].to_numpy()[i]).date() for i in (0, -1))
    west, east = float(weather.longitude[0]) - 0.05, float(weather.longitude[-1]) + 0.05
    north, south = float(weather.latitude[0]) + 0.05, float(weather.latitude[-1]) - 0.05
    item = make_item(
        f"AgERA5_daily_{first.year}_{last.year}",
        "agera5-daily",
        footprint=shapely.box(west, south, east, north),
        when=(_moment(first), _moment(last)),
        extensions=("xarray",),
        properties={},
    )
    folder = world.folder(item, "agera5-daily")
    # Without compression: a few kilobytes, and bytes that no version of a codec changes.
    weather.to_zarr(
        folder / "agera5.zarr",
        zarr_format=2,
        consolidated=True,
        encoding={
            **{name: {"compressors": None} for name in weather.variables},
            "time": {"compressors": None, "units": f"days since {first}", "dtype": "int64"},
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


def _moment(date: dt.date, clock: dt.time = dt.time()) -> dt.datetime:
    return dt.datetime.combine(date, clock, tzinfo=dt.UTC)


def _absolute_orbit(date: dt.date) -> str:
    """Six digits that grow by the about 14.6 orbits that a Sentinel flies in a day."""
    return f"{round((date - dt.date(1982, 1, 1)).days * 14.6):06d}"
