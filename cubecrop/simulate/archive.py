"""Write a simulated world as a static STAC archive."""

from __future__ import annotations

import datetime as dt
import math
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Final

import geopandas as gpd
import pandas as pd

from cubecrop.checks import check_flag, check_path
from cubecrop.errors import OutputError, SimulationError
from cubecrop.files import swap_folder
from cubecrop.progress import progress_bar
from cubecrop.season import Season
from cubecrop.simulate.land import declare, parcel_table
from cubecrop.simulate.landcover import write_landcover
from cubecrop.simulate.presets import Preset, find_preset
from cubecrop.simulate.products import optical_jobs, radar_jobs, write_terrain, write_weather
from cubecrop.simulate.regions import REGIONS, find_region, make_grid
from cubecrop.simulate.stac import write_catalog
from cubecrop.simulate.world import World, grow_world
from cubecrop.staging import remove_leftovers_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pystac

__all__ = ["simulate_archive"]

_RESERVE: Final = pd.DateOffset(months=1)


def simulate_archive(
    out: str | os.PathLike[str],
    *,
    preset: str = "demo",
    regions: Sequence[str] | None = None,
    years: Sequence[int] | None = None,
    size_km: float | None = None,
    cloudiness: float | None = None,
    wrong_labels: float | None = None,
    sentinel_1b: bool | None = None,
    land_cover: bool | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Simulate an archive of regions and years, with the declared and the true crop of parcels.

    Weather drives the growth of the crops, growth drives what Sentinel-1 and Sentinel-2 see, and
    rain drives cloud. The page on the simulator lists what is simulated, compares it with real
    seasons and names its limits. The archive has the form of the Planetary Computer's. The
    function writes all files before it returns. At 3 km it needs less than 1 GB of memory, and
    about 100 MB of disk for each region and year.

    Two runs with the same arguments and library versions write the same bytes with any number of
    threads. A region's images do not depend on the other regions. Years of one seed and size show
    the same parcels with their crops rotated.

    Parameters
    ----------
    out : path
        Folder to write to. It must be empty or not exist.
    preset : {"demo", "regions", "years", "cloudy", "no-sentinel-1b"}, default "demo"
        Supplies the arguments that are None. "demo" is one region of 3 km and one year; the
        others differ from it by three regions, three years, more cloud, no descending track.
    regions : sequence of str, optional
        Any of "flanders", "normandy", "bavaria", "aquitaine", "ontario", "maritimes",
        "languedoc", "andalusia".
    years : sequence of int, optional
        Harvest years; images cover ``Season(year)`` of each.
    size_km : float, optional
        Side of each region's square, 0.5 to 20, rounded to 60 m.
    cloudiness : float, optional
        Shift of the latent normal variable of cloud, -3 to 3; 0 is as in Flanders.
    wrong_labels : float, optional
        Share of parcels whose declared crop is wrong, 0 to 1.
    sentinel_1b : bool, optional
        False leaves out Sentinel-1B, which flies the descending track.
    land_cover : bool, optional
        True adds a land-cover map in the form of ESA WorldCover 2021. It shows the land as it is,
        without the errors of a real one, and grassland where permanent grass grows in the first
        harvest year. `classify` then maps only cropland and grassland.
    seed : int, default 0
        Seed of all random numbers, 0 or more.
    progress : bool, default True
        Show a progress bar on a terminal or in a notebook.

    Returns
    -------
    pathlib.Path
        ``out``. It holds ``catalog.json`` and one folder for each collection:
        ``sentinel-2-l2a`` every 5 days at 10 and 20 m, uint16 DN; ``sentinel-1-rtc`` every 12
        days on each track at 10 m, float32 linear power; ``cop-dem-glo-30`` in m;
        ``agera5-daily``; ``esa-worldcover`` if asked for. For each year,
        ``parcels-YEAR.parquet`` has the columns ``id``, ``crop:code``, ``crop:name``
        (declared), ``region``, ``geometry``, and
        ``truth-YEAR.parquet`` has the same columns with the crops that really grew. Their CRS
        is the UTM zone of a single region, or EPSG:4326 for several.

    Raises
    ------
    OutputError
        ``out`` is a file or a folder that is not empty, or cannot be written.
    AoiError
        ``size_km`` is not from 0.5 to 20, or there is no such region.
    SeasonError
        A year is out of range.
    SimulationError
        There is no such preset, or another argument is out of range.

    References
    ----------
    Form of the archive: https://planetarycomputer.microsoft.com/dataset/sentinel-2-l2a and
    https://planetarycomputer.microsoft.com/dataset/sentinel-1-rtc.
    """
    given = {
        "regions": _listed(regions, "regions", f"regions=[{REGIONS[0].name!r}]"),
        "years": _listed(years, "years", "years=[2024]"),
        "size_km": size_km,
        "cloudiness": cloudiness,
        "wrong_labels": wrong_labels,
        "sentinel_1b": sentinel_1b,
        "land_cover": land_cover,
    }
    target = check_path("out", out)
    check_flag("progress", progress)
    chosen = replace(find_preset(preset), **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
    _check(chosen, seed)
    _check_free(target)
    cure = "Choose a folder that can be written, as in `simulate_archive('simulated')`."
    with swap_folder(target, cure=cure, check=_check_free) as root:
        _write_archive(root, chosen, seed=seed, progress=progress)
    return target


def _listed(values: object, what: str, example: str) -> tuple[object, ...] | None:
    """Return a list as a tuple; reject a single name, which would be split into letters."""
    if values is None:
        return None
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise SimulationError(
            f"{what} is {values!r}, expected a list, as in `simulate_archive(out, {example})`."
        )
    return tuple(values)


def _check_number(value: object, what: str, kind: type, name: str) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SimulationError(
            f"{what} is {value!r}, expected {name}, as in `simulate_archive(out, {what}=0)`."
        )


def _check(chosen: Preset, seed: int) -> None:
    _check_number(chosen.wrong_labels, "wrong_labels", Real, "a number")
    _check_number(chosen.cloudiness, "cloudiness", Real, "a number")
    _check_number(seed, "seed", Integral, "a whole number")
    check_flag("sentinel_1b", chosen.sentinel_1b)
    check_flag("land_cover", chosen.land_cover)
    for name in chosen.regions:
        make_grid(find_region(name), chosen.size_km)
    for year in chosen.years:
        Season(year)
    for values, what, example in (
        (chosen.regions, "regions", f"regions=[{REGIONS[0].name!r}]"),
        (chosen.years, "years", "years=[2024]"),
    ):
        if not values or len(set(values)) < len(values):
            raise SimulationError(
                f"{what} is {list(values)}, expected at least one and none twice, as in "
                f"`simulate_archive(out, {example})`."
            )
    if not 0 <= chosen.wrong_labels <= 1:
        raise SimulationError(
            f"wrong_labels is {chosen.wrong_labels}, expected a share from 0 to 1, as in "
            "`simulate_archive(out, wrong_labels=0.03)`."
        )
    if not (math.isfinite(chosen.cloudiness) and abs(chosen.cloudiness) <= 3):
        raise SimulationError(
            f"cloudiness is {chosen.cloudiness}, expected a number from -3 to 3, as in "
            "`simulate_archive(out, cloudiness=0.8)`."
        )
    if seed < 0:
        raise SimulationError(f"seed is {seed}, which is negative. Choose 0 or more: `seed=0`.")


def _check_free(target: Path) -> None:
    if target.is_dir():
        remove_leftovers_in(target)
        if not any(target.iterdir()):
            return
    if target.exists() or target.is_symlink():
        problem = "holds files already" if target.is_dir() else "is not a folder"
        raise OutputError(
            f"{target} {problem}, expected a folder that is empty or does not exist. Remove it, "
            f"or choose another: `simulate_archive('{target}-2')`."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tables:
    """Declared and true parcels of each year, gathered over the regions."""

    declared: dict[int, list[gpd.GeoDataFrame]]
    truth: dict[int, list[gpd.GeoDataFrame]]

    def add(self, world: World, chosen: Preset, seed: int) -> None:
        for year in chosen.years:
            crop = world.crops[year]
            declared = declare(
                crop, year, region=world.region, share=chosen.wrong_labels, seed=seed
            )
            for tables, crops in ((self.declared, declared), (self.truth, crop)):
                table = parcel_table(world.land, crops, region=world.region, seed=seed)
                one_zone = len(chosen.regions) == 1
                tables.setdefault(year, []).append(table if one_zone else table.to_crs(4326))

    def write(self, root: Path) -> None:
        for name, tables in (("parcels", self.declared), ("truth", self.truth)):
            for year, parts in tables.items():
                whole = gpd.GeoDataFrame(pd.concat(parts, ignore_index=True), crs=parts[0].crs)
                whole.to_parquet(root / f"{name}-{year}.parquet", index=False)


def _write_archive(root: Path, chosen: Preset, *, seed: int, progress: bool) -> None:
    items: list[pystac.Item] = []
    tables = _Tables(declared={}, truth={})
    dates = sorted({day for year in chosen.years for day in _days(Season(year))})
    years = sorted(chosen.years)
    # Threads suffice because GDAL, zlib and NumPy release the interpreter lock. Each scene has
    # its own random stream, so that the order of the scenes does not matter.
    with (
        progress_bar("Simulating", unit="scenes", progress=progress) as bar,
        ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool,
    ):
        for name in chosen.regions:
            world = grow_world(
                find_region(name), years, size_km=chosen.size_km, seed=seed,
                cloudiness=chosen.cloudiness,
            )  # fmt: skip
            jobs = [
                *optical_jobs(root, world, dates, seed=seed),
                *radar_jobs(root, world, dates, seed=seed, sentinel_1b=chosen.sentinel_1b),
            ]
            bar.update(total=len(jobs) * len(chosen.regions))
            futures = [pool.submit(job) for job in jobs]
            try:
                for future in futures:
                    items.append(future.result())
                    bar.advance()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            start, end = (pd.Timestamp(dates[0]) - _RESERVE), (pd.Timestamp(dates[-1]) + _RESERVE)
            items += [
                write_terrain(root, world),
                write_weather(root, world, start.date(), end.date()),
            ]
            if chosen.land_cover:
                items.append(write_landcover(root, world, years[0]))
            tables.add(world, chosen, seed)
    where = f"{', '.join(chosen.regions)}, harvest {', '.join(map(str, years))}"
    write_catalog(root, items, title=f"Simulated archive of {where}, seed {seed}; not real data.")
    tables.write(root)


def _days(season: Season) -> list[dt.date]:
    return [season.start + dt.timedelta(i) for i in range((season.end - season.start).days + 1)]
