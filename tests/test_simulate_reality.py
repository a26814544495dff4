"""The simulated world beside the real one: seasons, scene classes, transfer."""

import datetime as dt
import itertools
from pathlib import Path

import numpy as np
import pytest
import rasterio

from benchmarks import transfer
from benchmarks.seasons import COMPARED, compare, is_within
from cubecrop.simulate import simulate_archive

DATA = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(scope="module")
def data() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA}")
    return DATA


@pytest.mark.parametrize("place", COMPARED, ids=lambda place: place.name)
def test_simulated_seasons_lie_within_the_spread_of_real_ones(data, place):
    """The median by month lies between the tenth and the ninetieth percentile of real points.

    In three of five months of each crop and place that has at least twenty points, for NDVI and
    for VH; and nowhere on average more than 0.25 or 2.5 dB from the real median.
    """
    found = compare(data, place, n=400, seeds=(1, 2))
    assert found
    for season in found:
        assert is_within(season), season.describe()


# --- scene classes -----------------------------------------------------------------------------


def stack_of_classes(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Scene classes (time, y, x) in the order of their days, and their months."""
    days, layers = [], []
    for path in sorted(folder.glob("sentinel-2-l2a/*/SCL.tif"), key=day_of):
        with rasterio.open(path) as image:
            layers.append(image.read(1))
        days.append(day_of(path))
    return np.stack(layers), np.array([day.month for day in days])


def day_of(path: Path) -> dt.date:
    stamp = next(part for part in path.parent.name.split("_") if part[:8].isdigit())
    return dt.datetime.strptime(stamp[:8], "%Y%m%d").replace(tzinfo=dt.UTC).date()


def runs(clear: np.ndarray) -> float:
    """Mean length of runs of clear acquisitions over some pixels."""
    lengths = [
        len(list(group))
        for series in clear.reshape(clear.shape[0], -1)[:, ::37].T
        for seen, group in itertools.groupby(series)
        if seen
    ]
    return float(np.mean(lengths))


@pytest.mark.slow
def test_scene_classes_are_as_frequent_as_real_ones(data, tmp_path):
    real, real_month = stack_of_classes(data / "flanders-2018")
    parts = [
        stack_of_classes(
            simulate_archive(
                tmp_path / str(seed), years=[2018], size_km=0.66, seed=seed, progress=False
            )
        )
        for seed in range(4)
    ]
    simulated = np.concatenate([classes for classes, _ in parts])
    month = np.concatenate([months for _, months in parts])

    def share(classes, wanted):
        return np.isin(classes, wanted).mean()

    # Of one place and 15 months real, of four weathers simulated.
    for wanted, most in (([9], 0.08), ([8], 0.06), ([7], 0.06), ([10], 0.05), ([3], 0.03),
                         ([4, 5], 0.09), ([2, 6, 11], 0.04)):  # fmt: skip
        assert share(simulated, wanted) == pytest.approx(share(real, wanted), abs=most), wanted
    assert 0.25 < share(simulated, [9]) < 0.42
    # More cloud in winter than in summer, in both.
    for classes, months in ((real, real_month), (simulated, month)):
        winter, summer = (np.isin(months, some) for some in ((11, 12, 1, 2), (5, 6, 7, 8)))
        assert share(classes[winter], [8, 9]) > share(classes[summer], [8, 9])
    # One real year against four simulated: single months may differ by more.
    apart = [
        abs(share(simulated[month == m], [8, 9]) - share(real[real_month == m], [8, 9]))
        for m in range(1, 13)
    ]
    assert np.mean(apart) < 0.3
    clear = [2, 4, 5, 6, 7]
    length = np.mean([runs(np.isin(classes, clear)) for classes, _ in parts])
    assert length == pytest.approx(runs(np.isin(real, clear)), rel=0.35)


# --- what a learner sees -----------------------------------------------------------------------


@pytest.mark.slow
def test_a_network_of_simulated_points_knows_real_ones(data):
    found = transfer.scores(data, n=300, seeds=(0, 1), epochs=8)
    assert found["accuracy"] > 1.6 * found["accuracy of chance"]
    assert found["macro-F1"] > 2 * found["macro-F1 of chance"]
