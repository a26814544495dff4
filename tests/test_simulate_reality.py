"""The simulated world compared with the real one: seasons, scene classes, transfer."""

import datetime as dt
import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from benchmarks import transfer
from benchmarks.seasons import COMPARED, compare, is_within
from cubecrop.simulate.draws import Purpose, stream
from cubecrop.simulate.regions import find_region
from cubecrop.simulate.sentinel2 import see_optical
from cubecrop.simulate.surface import sun_zenith
from cubecrop.simulate.world import grow_world

DATA = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(scope="module")
def data() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA}")
    return DATA


@pytest.mark.parametrize("place", COMPARED, ids=lambda place: place.name)
def test_simulated_seasons_lie_within_the_spread_of_real_ones(data, place):
    """The median by month lies between the tenth and the ninetieth percentile of real points.

    In at least seven of ten months of each crop and place that has twenty points, for NDVI and
    for VH; and nowhere on average more than 0.15 or 1.5 dB from the real median.
    """
    found = compare(data, place, n=400, seeds=(1, 2))
    assert found
    for season in found:
        assert is_within(season), season.describe()


# --- scene classes -----------------------------------------------------------------------------

CLEAR = (2, 4, 5, 6, 7, 11)
#: Clear land, unclassified, dark or water or snow, shadow, medium and high probability, cirrus.
GROUPS = ((4, 5), (7,), (2, 6, 11), (3,), (8,), (9,), (10,))
SEASONS = ((12, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11))


def day_of(path: Path) -> dt.date:
    stamp = next(part for part in path.parent.name.split("_") if part[:8].isdigit())
    return dt.datetime.strptime(stamp[:8], "%Y%m%d").replace(tzinfo=dt.UTC).date()


def real_classes(folder: Path) -> tuple[list[dt.date], np.ndarray]:
    """Days of the acquisitions, and their scene classes (time, y, x)."""
    layers = []
    paths = sorted(folder.glob("sentinel-2-l2a/*/SCL.tif"), key=day_of)
    for path in paths:
        with rasterio.open(path) as image:
            layers.append(image.read(1))
    return [day_of(path) for path in paths], np.stack(layers)


def simulated_classes(days: list[dt.date], seed: int, cloudiness: float = 0.0) -> np.ndarray:
    """Scene classes (time, y, x) of 660 m in Flanders on the same days."""
    region = find_region("flanders")
    world = grow_world(region, [2018], size_km=0.66, seed=seed, cloudiness=cloudiness)
    layers = []
    for date in days:
        day, zenith = world.weather.day(date), sun_zenith(region.lat, date.timetuple().tm_yday)
        scene = see_optical(
            world.land, world.surface.reflectance(day, zenith),
            cloud=float(world.weather.cloud[day]), zenith=zenith,
            snow=float(world.ground.snow[day]), summer=world.summer(date),
            rng=stream(Purpose.SENTINEL2, seed, region.index, date.toordinal()),
        )  # fmt: skip
        layers.append(scene.scl)
    return np.stack(layers)


def shares(classes: np.ndarray) -> np.ndarray:
    """Share of each of the groups."""
    return np.array([np.isin(classes, group).mean() for group in GROUPS])


def apart(
    real: np.ndarray, simulated: np.ndarray, months: np.ndarray, steps: Iterable[tuple[int, ...]]
) -> float:
    """Total variation between the distributions of classes, mean over steps of the year."""
    found = []
    for step in steps:
        mine = np.isin(months, step)
        there = np.mean([shares(year[mine]) for year in simulated], axis=0)
        found.append(0.5 * np.abs(shares(real[mine]) - there).sum())
    return float(np.mean(found))


def clear_runs(classes: np.ndarray) -> list[int]:
    """Lengths of runs of clear acquisitions over some pixels."""
    clear = np.isin(classes, CLEAR)
    return [
        len(list(group))
        for series in clear.reshape(clear.shape[0], -1)[:, ::37].T
        for seen, group in itertools.groupby(series)
        if seen
    ]


@pytest.mark.slow
def test_scene_classes_are_as_frequent_as_real_ones(data):
    """One real year and place against six simulated years, on the same 118 days.

    A month has three to seventeen acquisitions, most all clear or all cloud: the distance of
    one simulated year from the others by month is 0.24 to 0.37. The real year must not be
    farther from them than such a year, and a cloudier world must be.
    """
    days, real = real_classes(data / "flanders-2018")
    months = np.array([day.month for day in days])
    years = np.stack([simulated_classes(days, seed) for seed in range(6)])
    by_month = [(month,) for month in range(1, 13)]
    whole_year = [tuple(range(1, 13))]
    assert apart(real, years, months, whole_year) < 0.12
    assert apart(real, years, months, SEASONS) < 0.2
    others = [
        apart(years[i], np.delete(years, i, axis=0), months, by_month) for i in range(len(years))
    ]
    assert apart(real, years, months, by_month) < np.median(others)
    # A third of the real pixels are of class 9.
    assert (years == 9).mean() == pytest.approx((real == 9).mean(), abs=0.1)
    # Simulated fair weather lasts a little longer: a tenth of the runs have more than 6 dates,
    # of the real ones more than 4.
    quantiles = (0.25, 0.5, 0.75, 0.9)
    pooled = np.quantile([run for year in years for run in clear_runs(year)], quantiles)
    less = np.abs(pooled - np.quantile(clear_runs(real), quantiles))
    assert (less <= (0, 1, 1, 2)).all()

    grey = np.stack([simulated_classes(days, seed, cloudiness=0.8) for seed in range(2)])
    assert apart(real, grey, months, whole_year) > 0.12
    assert apart(real, grey, months, SEASONS) > 0.2


# --- what a learner sees -----------------------------------------------------------------------


@pytest.mark.slow
def test_a_network_of_simulated_points_knows_real_ones(data):
    found = transfer.scores(data, n=300, seeds=(0, 1), epochs=8)
    assert found["accuracy"] > 1.6 * found["accuracy of chance"]
    assert found["macro-F1"] > 2 * found["macro-F1 of chance"]
