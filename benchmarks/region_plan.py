"""The plan of a country, without a worker: seconds, peak memory, tiles.

The archive is made up: real items of the Planetary Computer, copied to every square of 100 km that
meets France, on the dates of two satellites and overlapping orbits.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import pyproj
import shapely
from rich.console import Console

from benchmarks.graph import untrained_model
from benchmarks.memory import peak_mb
from cubecrop import region
from cubecrop.archive import PROVIDERS
from cubecrop.archive.base import Extent
from cubecrop.circle import bbox_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cubecrop.archive.base import Interval

ITEMS = Path(__file__).parents[2] / "shared" / "data" / "stac-items"
#: Mainland France, coarsely, degrees; 550,000 km2.
FRANCE = shapely.Polygon(
    [(2.5, 51.1), (4.2, 50.1), (5.9, 49.5), (8.2, 49.0), (7.6, 47.6), (6.1, 46.5), (7.0, 45.9),
     (6.6, 45.1), (7.0, 44.2), (7.5, 43.8), (6.2, 43.0), (4.6, 43.4), (3.1, 43.1), (3.1, 42.4),
     (0.7, 42.7), (-1.8, 43.3), (-1.1, 46.0), (-2.5, 47.3), (-4.8, 48.0), (-4.8, 48.6),
     (-3.2, 48.9), (-1.5, 48.7), (-1.9, 49.7), (0.2, 49.7), (1.6, 50.9)]
)  # fmt: skip
_YEAR = 2024
_SEASON = dt.datetime(2023, 9, 1, 10, 50, tzinfo=dt.UTC)
_DAYS = 425
#: Squares of the military grid, and files that are a little larger, metres.
_SQUARE, _FILE = 100_000, 109_800
#: Images of Sentinel-1 are about as large, metres.
_SLICE = 200_000


class RegionPlan:
    """`cubecrop.region.plan` of France in tiles of 20 km."""

    side = 20_480
    dates = 70
    area = FRANCE
    repeat = 1
    timeout = 300

    def setup(self) -> None:
        if not ITEMS.is_dir():
            raise NotImplementedError(f"no real items at {ITEMS}")
        self.found = _in_another_process(self.side, self.dates, self.area.wkt)

    def track_seconds(self) -> float:
        return self.found["seconds"]

    track_seconds.unit = "s"

    def track_peak(self) -> float:
        return self.found["peak"]

    track_peak.unit = "MB"

    def track_tiles(self) -> int:
        return self.found["tiles"]

    track_tiles.unit = "tiles"

    def track_items(self) -> int:
        return self.found["items"]

    track_items.unit = "items"


class RegionPlanSmallTiles(RegionPlan):
    """The same in tiles of 10 km, about 6,000."""

    side = 10_240


class MadeArchive:
    """An archive that makes up its items when it is searched, in any order.

    Parameters
    ----------
    dates : int
        Dates of each square; those in overlaps of orbits have twice as many.
    shuffled : int, optional
        Seed of another order.
    """

    name = "made up"
    provider = PROVIDERS["planetary-computer"]

    def __init__(self, dates: int, *, area: shapely.Geometry = FRANCE, shuffled: int = 0) -> None:
        self.dates, self.area, self.shuffled = dates, area, shuffled
        self.optical = _first("pc__sentinel-2-l2a")
        self.radar = _first("pc__sentinel-1-rtc")

    def items(
        self,
        collections: Iterable[str],
        area: shapely.Geometry,
        interval: Interval | None,  # noqa: ARG002 (all lie in it)
    ) -> Iterator[Mapping[str, Any]]:
        """Items that meet an area; all of them lie in the season."""
        places = {"sentinel-2-l2a": (self.optical, _FILE), "sentinel-1-rtc": (self.radar, _SLICE)}
        shapely.prepare(area)
        for collection in collections:
            if collection not in places:
                continue
            item, side = places[collection]
            step = _SQUARE if side == _FILE else _SLICE
            squares = [one for one in _squares(self.area, step, side) if one[3].intersects(area)]
            # Every other square lies in two orbits.
            images = [
                (square, date)
                for number, square in enumerate(squares)
                for date in range(self.dates * (1 + number % 2) if side == _FILE else self.dates)
            ]
            if self.shuffled:
                random.Random(self.shuffled).shuffle(images)
            for (crs, left, top, shape), date in images:
                yield _moved(item, crs, left, top, side, shape, date, self.dates)

    def extent(self, collections: Iterable[str]) -> Extent | None:  # noqa: ARG002
        """The area of all items."""
        return Extent(bbox_of(self.area), _SEASON, _SEASON + dt.timedelta(days=_DAYS))


def plan(out: str, side: float, archive: MadeArchive, area: shapely.Geometry) -> region.RegionPlan:
    """The plan of the area."""
    return region.plan(
        area, _YEAR, out, archive=archive, model=untrained_model(), tile=side, progress=False
    )


def _first(folder: str) -> str:
    return min((ITEMS / folder).glob("*.json")).read_text()


def _squares(
    area: shapely.Geometry, step: float, side: float
) -> list[tuple[int, float, float, shapely.Geometry]]:
    """EPSG code, left and top edge in metres, and footprint of the files over an area."""
    found = []
    west, _, east, _ = area.bounds
    for zone in range(math.floor((west + 180) / 6) + 1, math.floor((east + 180) / 6) + 2):
        part = area.intersection(shapely.box(zone * 6 - 186, -80, zone * 6 - 180, 84))
        if part.is_empty:
            continue
        code = 32600 + zone
        left, bottom, right, top = gpd.GeoSeries([part], crs=4326).to_crs(code).total_bounds
        for x in range(math.floor(left / step), math.ceil(right / step)):
            for y in range(math.floor(bottom / step) + 1, math.ceil(top / step) + 1):
                corner = math.floor(x * step / 60) * 60, math.ceil(y * step / 60) * 60
                shape = _footprint(code, *corner, side)
                if shape.intersects(part):
                    found.append((code, *corner, shape))
    return found


def _footprint(code: int, left: float, top: float, side: float) -> shapely.Geometry:
    lonlat = pyproj.Transformer.from_crs(code, 4326, always_xy=True)
    x, y = [left, left + side, left + side, left], [top, top, top - side, top - side]
    return shapely.Polygon(zip(*lonlat.transform(x, y), strict=True))


def _moved(
    item: str,
    crs: int,
    left: float,
    top: float,
    side: float,
    shape: shapely.Geometry,
    date: int,
    dates: int,
) -> dict[str, Any]:
    """A copy of an item at another place and time."""
    moment = _SEASON + dt.timedelta(days=date % dates * _DAYS / dates, minutes=3 * (date // dates))
    made = json.loads(item)
    stamp = moment.strftime("%Y%m%dT%H%M%S")
    tile = f"{crs}_{left:.0f}_{top:.0f}"
    name = made["id"]
    made["id"] = f"{name[:10]}_{stamp}_{tile}"
    made["geometry"] = shapely.geometry.mapping(shape)
    made["bbox"] = list(shape.bounds)
    bounds = [left, top - side, left + side, top]
    properties = made["properties"]
    properties |= {
        "datetime": moment.isoformat(), "proj:epsg": crs, "s2:mgrs_tile": tile,
        "s2:datatake_id": f"GS2A_{stamp}_018417_N02.12",
    }  # fmt: skip
    if "start_datetime" in properties:
        properties |= {"start_datetime": moment.isoformat(), "end_datetime": moment.isoformat()}
    if "proj:bbox" in properties:
        pixels = round(side / 10)
        grid = {"proj:shape": [pixels, pixels], "proj:transform": [10, 0, left, 0, -10, top]}
        properties |= {"proj:bbox": bounds, **grid}
    for asset in made["assets"].values():
        asset["href"] = asset["href"].replace(name, made["id"])
        if "proj:transform" in asset:
            asset["proj:bbox"] = bounds
            asset["proj:transform"][2], asset["proj:transform"][5] = left, top
    return made


def _in_another_process(side: int, dates: int, area: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.region_plan", str(side), str(dates), area]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Plan in this process, and print the plan and what it took."""
    side, dates, area = float(sys.argv[1]), int(sys.argv[2]), shapely.from_wkt(sys.argv[3])
    archive, console = MadeArchive(dates, area=area), Console(width=200)
    with tempfile.TemporaryDirectory(prefix="cubecrop-plan-") as out:
        start = time.perf_counter()
        made = plan(out, side, archive, area)
        console.print(str(made), markup=False)
        seconds = time.perf_counter() - start
    found = {
        "seconds": seconds, "peak": peak_mb(), "tiles": len(made.tiles), "items": made.n_items,
    }  # fmt: skip
    console.out(json.dumps(found))


if __name__ == "__main__":
    main()
