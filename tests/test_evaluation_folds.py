"""Folds of each protocol: what is trained on, what is tested, and what may not be in both."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from populations import METRE, crops_of, population_at, scattered, sets_at
from pyproj import Geod
from scipy.stats import wasserstein_distance

from cubecrop.errors import ArgumentError
from cubecrop.evaluation import Population, folds
from cubecrop.evaluation.knndm import area_points, fold_distances, knndm
from cubecrop.evaluation.places import found_regions, lattice, on_sphere, united_groups
from cubecrop.sample import join_stores, read_worldcereal, stored

SPHERE = Geod(a=6_371_008.8, f=0)
IN_FOLDS = ("random", "blocked", "knndm")
CANADA = Path(__file__).parents[2] / "shared/data/points/canada-2017-monthly.parquet"


def metres_between(population, one, other):
    """Distance of all pairs (one, other) on the sphere."""
    grid = np.meshgrid(one, other, indexing="ij")
    lon, lat = population.lon, population.lat
    return SPHERE.inv(lon[grid[0]], lat[grid[0]], lon[grid[1]], lat[grid[1]])[2]


@pytest.fixture(scope="module")
def many():
    """240 parcels in 2 by 2 degrees, some in groups of three that lie apart."""
    lon, lat = scattered(240)
    groups = [f"g{i // 3}" if i < 60 else f"p{i}" for i in range(240)]
    return population_at(lon, lat, groups=groups)


@pytest.mark.parametrize("protocol", IN_FOLDS)
def test_every_parcel_is_tested_once_and_no_group_is_split(many, protocol):
    group = united_groups(many)
    made = folds(many, protocol)
    assert [fold.name for fold in made] == [f"{i} of 5" for i in range(1, 6)]
    assert {fold.protocol for fold in made} == {protocol}
    everyone = np.concatenate([fold.test for fold in made])
    assert sorted(everyone) == list(range(240))
    for fold in made:
        assert len(fold.test) > 0
        assert len(fold.train) > 0
        assert not set(fold.test) & set(fold.train)
        assert not set(group[fold.test]) & set(group[fold.train])
        assert (np.diff(fold.train) > 0).all()
        if protocol != "blocked":
            assert len(fold.train) + len(fold.test) == 240
    assert len(set(group)) == 200


@pytest.mark.parametrize("protocol", IN_FOLDS)
def test_folds_do_not_depend_on_the_order_of_parcels(protocol):
    lon, lat = scattered(120, seed=3)
    samples, labels = sets_at(lon, lat), np.array(crops_of(120))
    order = np.random.default_rng(1).permutation(120)
    one = Population.of(samples, labels.tolist())
    other = Population.of(samples.isel(parcel=order), labels[order].tolist())
    assert (united_groups(one)[order] == united_groups(other)).all()
    for first, second in zip(folds(one, protocol), folds(other, protocol), strict=True):
        assert first.note == second.note
        for part in ("train", "test"):
            names = [set(p.ids[getattr(f, part)]) for p, f in ((one, first), (other, second))]
            assert names[0] == names[1]


def parts_of(population, protocol, **options):
    return [fold.test.tolist() for fold in folds(population, protocol, **options)]


@pytest.mark.parametrize("protocol", ["random", "blocked"])
def test_the_seed_decides(many, protocol):
    first = parts_of(many, protocol, seed=1)
    assert first == parts_of(many, protocol, seed=1)
    assert sorted(first) != sorted(parts_of(many, protocol, seed=2))


def test_random_folds_hold_their_share_of_each_class(many):
    for fold in folds(many, "random", n_folds=4):
        for index in range(3):
            total = (many.label == index).sum()
            assert (many.label[fold.test] == index).sum() == pytest.approx(total / 4, abs=4)


def test_classes_rarer_than_folds_are_kept():
    labels = ["rye", *crops_of(59)]
    population = population_at(*scattered(60), labels)
    made = folds(population, "random")
    assert sum(len(fold.test) for fold in made) == 60
    alone = [fold for fold in made if 0 in fold.test]
    rye = population.nomenclature.index("rye")
    assert rye in population.label[alone[0].test]
    assert rye not in population.label[alone[0].train]


def test_no_training_parcel_lies_within_the_buffer(many):
    for options in ({}, {"block": 30e3, "buffer": 12e3}, {"block": 30e3, "buffer": 0}):
        n_left_out = 0
        buffer = options.get("buffer", 2e3)
        for fold in folds(many, "blocked", **options):
            away = metres_between(many, fold.train, fold.test).min(axis=1)
            assert away.min() > buffer
            left_out = np.setdiff1d(np.arange(240), np.concatenate([fold.train, fold.test]))
            n_left_out += len(left_out)
            if len(left_out):
                assert metres_between(many, left_out, fold.test).min(axis=1).max() <= buffer
            size = options.get("block", 20e3) / 1e3
            assert fold.note.startswith(f"blocks of {size:g} km and a buffer of {buffer / 1e3:g}")
        assert (n_left_out > 0) == (buffer > 0)


def test_blocks_are_never_split(many):
    lone = population_at(*scattered(240, seed=4), ids=[f"q{i}" for i in range(240)])
    cells = [tuple(cell) for cell in lattice(lone.lon, lone.lat, 40e3)]
    group = united_groups(lone)
    fold_of = np.zeros(240, dtype=int)
    for number, fold in enumerate(folds(lone, "blocked", block=40e3, buffer=0)):
        fold_of[fold.test] = number
    alone = np.isin(group, [g for g, n in pd.Series(group).value_counts().items() if n == 1])
    frame = pd.DataFrame({"cell": cells, "fold": fold_of})[alone]
    assert frame.groupby("cell")["fold"].nunique().max() == 1
    assert frame["cell"].nunique() > 10


def test_cells_of_the_lattice_have_their_size():
    for lat in (0.0, 45.0, -70.0):
        lon = np.arange(0, 0.2, 0.00002)
        cells = lattice(lon, np.full_like(lon, lat), 300)
        assert len(np.unique(cells[:, 0])) == 1
        width = SPHERE.inv(0, lat, 0.2, lat)[2] / len(np.unique(cells[:, 1]))
        assert width == pytest.approx(300, rel=0.05)


def groups_of(*sources, labels=None):
    population = Population.of(
        list(sources), labels or [crops_of(tree.sizes["parcel"]) for tree in sources]
    )
    return united_groups(population)


def test_parcels_of_a_group_belong_together():
    lon, lat = scattered(4)
    names = groups_of(sets_at(lon, lat, groups=["a", "b", "a", "c"]))
    assert names.tolist() == ["a", "b", "a", "c"]


def test_copies_belong_together_wherever_they_lie():
    lon, lat = scattered(6)
    samples = sets_at(lon, lat, cloud=0)
    for name in ("sentinel2", "sentinel1"):
        for values in samples[name].data_vars.values():
            values[4] = values[1].to_numpy()[..., ::-1]  # the order of pixels does not matter
    names = groups_of(samples)
    assert names[1] == names[4]
    assert len(set(names)) == 5
    # Masked values are not part of a series.
    samples["sentinel2"]["valid"][[1, 4], 2] = False
    samples["sentinel2"]["reflectance"][4, 2] = 9
    assert len(set(groups_of(samples))) == 5
    samples["sentinel2"]["reflectance"][4, 0] += 1e-3
    assert len(set(groups_of(samples))) == 6


def test_parcels_without_any_observation_are_no_copies():
    samples = sets_at(*scattered(6))
    for name in ("sentinel2", "sentinel1"):
        samples[name]["valid"][:] = False
    assert len(set(groups_of(samples))) == 6


def test_neighbours_belong_together():
    # The middle of a cell of 300 m at the equator, and places north of it.
    middle = 150 * METRE
    north = np.array([0, 140, 160, 1000, 1009, 2000, 2011])
    lon, lat = np.full(7, middle), middle + north * METRE
    lat[3:5] = 1200 * METRE + np.array([-4, 5]) * METRE  # across the edge of two cells
    lat[5:7] = 2100 * METRE + np.array([-5, 6]) * METRE
    names = groups_of(sets_at(lon, lat))
    assert names[0] == names[1]
    assert names[1] != names[2]
    assert names[3] == names[4]  # 9 m
    assert names[5] != names[6]  # 11 m


def test_ids_of_two_tables_are_not_the_same_parcels():
    lon, lat = scattered(5)
    here = sets_at(lon, lat)
    there = sets_at(lon + 40, lat, seed=1)
    assert len(set(groups_of(here, there))) == 10
    # The same places in another year are the same parcels.
    later = sets_at(lon, lat, seed=2, year=2019)
    names = groups_of(here, later)
    assert names[:5].tolist() == names[5:].tolist()
    # Without places only names are known.
    nowhere = [sets_at(np.full(5, np.nan), lat, year=year, seed=year) for year in (2018, 2019)]
    assert len(set(groups_of(*nowhere))) == 5


def test_groups_of_two_tables_are_one_if_they_lie_in_one_region():
    lon, lat = scattered(4, width=1)
    names = ["a", "a", "b", "b"]
    here = sets_at(lon, lat, groups=names)
    assert len(set(groups_of(here, sets_at(lon, lat + 0.3, groups=names, year=2019)))) == 2
    assert len(set(groups_of(here, sets_at(lon + 40, lat, groups=names, year=2019)))) == 4


def test_regions_are_found():
    lon = np.r_[np.linspace(3, 8, 50), np.linspace(30, 31, 50), np.linspace(-60, -59, 50)]
    lat = np.r_[np.full(50, 50.0), np.full(50, 50.0), np.full(50, -33.0)]
    names = found_regions(population_at(lon, lat))
    assert [len(set(part)) for part in np.split(names, 3)] == [1, 1, 1]
    assert [names[0], names[50], names[100]] == ["50.0N 5.5E", "50.0N 30.5E", "33.0S 59.5W"]


@pytest.mark.parametrize(("step", "n"), [(190e3, 1), (215e3, 2)])
def test_regions_are_200_km_apart(step, n):
    lat = 50 + np.array([0, 0, step, step]) * METRE
    assert len(set(found_regions(population_at(np.full(4, 3.0), lat)))) == n


def test_a_few_parcels_are_no_region():
    lon, lat = np.r_[scattered(198)[0], 8.0, 9.0], np.r_[scattered(198)[1], 51.0, 51.0]
    assert len(set(found_regions(population_at(lon, lat)))) == 1


def test_a_region_across_the_180th_meridian():
    lon, lat = np.array([179.5, -179.5, 179.9, -179.9]), np.full(4, -17.0)
    assert set(found_regions(population_at(lon, lat))) <= {"17.0S 180.0E", "17.0S 180.0W"}
    points = area_points(np.append(lon, 180), np.append(lat, -18), np.zeros(5, int))
    assert (np.abs(points[:, 0]) >= 179.5).all()
    assert (points[:, 1] < -17).all()


def test_each_region_is_left_out():
    lon, lat = scattered(40)
    lon[25:] += 30
    population = population_at(lon, lat)
    found = folds(population, "leave-region-out")
    assert sorted(len(fold.test) for fold in found) == [15, 25]
    assert sorted(len(fold.train) for fold in found) == [15, 25]
    given = ["east" if i >= 10 else "west" for i in range(40)]
    east, west = folds(population_at(lon, lat, regions=given), "leave-region-out")
    assert (east.name, west.name) == ("east", "west")
    assert east.test.tolist() == west.train.tolist() == list(range(10, 40))


def test_a_group_across_two_regions_is_not_trained_on():
    lon, lat = scattered(6)
    groups = ["a", "shared", "b", "c", "shared", "d"]
    population = population_at(lon, lat, groups=groups, regions=["x"] * 3 + ["y"] * 3)
    x, y = folds(population, "leave-region-out")
    assert (x.test.tolist(), x.train.tolist()) == ([0, 1, 2], [3, 5])
    assert (y.test.tolist(), y.train.tolist()) == ([3, 4, 5], [0, 2])


def test_a_class_of_one_region_is_tested():
    lon, lat = scattered(9)
    labels = ["rice", *["maize", "wheat"] * 4]
    population = population_at(lon, lat, labels, regions=["x"] * 3 + ["y"] * 6)
    x, y = folds(population, "leave-region-out")
    rice = population.nomenclature.index("rice")
    assert rice in population.label[x.test]
    assert rice not in population.label[x.train]
    assert len(x.test) + len(y.test) == 9


def years(n=8, **options):
    """Two regions in two years, at the same places in both."""
    lon, lat = scattered(n)
    lon[n // 2 :] += 30
    trees = [sets_at(lon, lat, year=year, seed=year) for year in (2018, 2019)]
    regions = [["west"] * (n // 2) + ["east"] * (n // 2)] * 2
    return Population.of(trees, [crops_of(n, seed=1)] * 2, regions=regions, **options)


def test_each_year_is_left_out():
    one, other = folds(years(), "leave-year-out")
    assert (one.name, other.name) == ("2018", "2019")
    assert one.test.tolist() == other.train.tolist() == list(range(8))
    assert other.test.tolist() == one.train.tolist() == list(range(8, 16))


def test_one_region_in_one_year_is_left_out():
    population = years()
    made = folds(population, "region-and-year")
    assert [fold.name for fold in made] == ["east, 2018", "east, 2019", "west, 2018", "west, 2019"]
    for fold in made:
        place, year = fold.name.split(", ")
        assert set(population.region[fold.test]) == {place}
        assert set(population.year[fold.test]) == {int(year)}
        assert len(fold.test) == len(fold.train) == 4
        assert place not in population.region[fold.train]
        assert int(year) not in population.year[fold.train]


def nowhere(population):
    population.lon[2] = np.nan
    return population


@pytest.mark.parametrize(
    ("make", "protocol", "options", "message"),
    [
        (lambda: population_at(*scattered(9)), "loo", {}, r"protocol is 'loo', expected.*'knndm'"),
        (lambda: population_at(*scattered(9)), "leave-year-out", {}, "all parcels.*year '2018'"),
        (lambda: population_at(*scattered(9)), "region-and-year", {}, "region '5.*of another"),
        (lambda: population_at(*scattered(9)), "leave-region-out", {}, "all parcels.*region '5"),
        (lambda: population_at(*scattered(9), regions=["x", *[""] * 8]), "leave-region-out", {},
         "8 of 9 parcels have no region"),
        (lambda: nowhere(population_at(*scattered(9))), "leave-region-out", {},
         "1 of 9 parcels have no coordinates, which finding regions needs.*`lon` and `lat`"),
        (lambda: nowhere(population_at(*scattered(9))), "blocked", {}, "1 of 9.*'blocked' needs"),
        (lambda: nowhere(population_at(*scattered(9))), "knndm", {}, "1 of 9.*'knndm' needs"),
        (lambda: population_at(np.full(9, 3.0), np.full(9, 50.0)), "random", {},
         "9 parcels form 1 groups.*smaller n_folds"),
        (lambda: population_at(np.full(9, 3.0), np.full(9, 50.0)), "knndm", {}, "form 1 groups"),
        (lambda: population_at(*scattered(9, width=0.01)), "blocked", {}, "no blocks of 1,000 m"),
        (lambda: population_at(*scattered(60)), "blocked", {"buffer": 1e6}, "no parcel is left"),
        (lambda: population_at(*scattered(9)), "blocked", {"block": 0}, "block is 0"),
        (lambda: population_at(*scattered(9)), "blocked", {"buffer": -1}, "buffer is -1"),
        (lambda: population_at(*scattered(9)), "random", {"block": 5}, "block is given for 'rand"),
        (lambda: population_at(*scattered(9)), "random", {"target": [[3, 4]]}, "only for 'knndm'"),
        (lambda: population_at(*scattered(9)), "knndm", {"target": [3, 4]}, r"shape \(2,\)"),
        (lambda: population_at(*scattered(9)), "random", {"n_folds": 1}, "n_folds is 1"),
        (lambda: population_at(*scattered(9)), "random", {"seed": -1}, "seed is -1"),
    ],
)  # fmt: skip
def test_what_the_data_cannot_give_is_named(make, protocol, options, message):
    with pytest.raises(ArgumentError, match=message):
        folds(make(), protocol, **options)


def test_region_and_year_needs_a_crossing():
    lon, lat = scattered(6)
    trees = [sets_at(lon, lat, year=2018), sets_at(lon, lat + 1, year=2019, seed=1)]
    regions = [["x"] * 6, ["x"] * 5 + ["y"]]
    # Region y was seen in 2019 alone, and 2018 has region x alone: both cross.
    crossing = Population.of(trees, [crops_of(6)] * 2, regions=regions)
    assert [f.name for f in folds(crossing, "region-and-year")] == ["x, 2018", "y, 2019"]
    same_year = [["x"] * 3 + ["y"] * 3, [None] * 6]
    labels = [crops_of(6), [None] * 6]
    with pytest.raises(ArgumentError, match="year '2018'"):
        folds(Population.of(trees, labels, regions=same_year), "region-and-year")


def test_stored_sets_have_the_folds_of_those_in_memory(tmp_path):
    lon, lat = scattered(60)
    samples, labels = sets_at(lon, lat, cloud=0), crops_of(60)
    for variable in samples["sentinel1"].data_vars.values():
        variable[7] = variable[3].to_numpy()
    for variable in samples["sentinel2"].data_vars.values():
        variable[7] = variable[3].to_numpy()
    store = stored(tmp_path, "all", lambda: samples)
    ((sets, _),) = join_stores([store], [np.arange(60)], np.zeros(60, int))
    memory, disk = (Population.of(source, labels) for source in (samples, sets))
    assert united_groups(disk)[3] == united_groups(disk)[7]
    for protocol in IN_FOLDS:
        assert parts_of(memory, protocol) == parts_of(disk, protocol)


def matched(lon, lat, target, seed=0):
    """kNNDM's folds and random ones."""
    random = np.random.default_rng(seed).permutation(np.arange(len(lon)) % 5)
    return knndm(lon, lat, np.arange(len(lon)), target, random), random


def clustered(seed=0):
    rng = np.random.default_rng(seed)
    middles = rng.random((12, 2)) * 4 + [3, 48]
    return (np.repeat(middles, 20, axis=0) + rng.normal(0, 0.02, (240, 2))).T


def test_knndm_tests_far_from_training_where_the_map_is_far():
    lon, lat = clustered()
    target = np.random.default_rng(1).random((300, 2)) * 4 + [3, 48]
    one, random = matched(lon, lat, target)
    parcels = on_sphere(lon, lat)
    near, far = (np.median(fold_distances(parcels, fold)) for fold in (random, one.fold))
    assert far > 10 * near
    assert one.n_clusters >= 5
    assert one.of_folds == pytest.approx(far)
    assert 0.5 < one.of_folds / one.of_target < 2
    # The further the target, the further the folds, as far as the clusters allow.
    further, _ = matched(lon, lat, target + np.array([8, 0]))
    assert further.of_folds > one.of_folds
    assert further.wasserstein > one.wasserstein
    assert np.bincount(further.fold).max() <= 120


def test_knndm_resembles_random_folds_where_samples_cover_the_map():
    lon, lat = np.random.default_rng(0).random((2, 400)) * 2 + [[3], [48]]
    target = np.random.default_rng(1).random((1000, 2)) * 2 + [3, 48]
    one, random = matched(lon, lat, target)
    of_random = np.median(fold_distances(on_sphere(lon, lat), random))
    assert one.of_folds == pytest.approx(of_random, rel=0.15)


def test_knndm_tells_the_difference_of_distances():
    lon, lat = clustered(2)
    target = np.random.default_rng(3).random((50, 2)) * 4 + [3, 48]
    one, random = matched(lon, lat, target)
    pairs = np.meshgrid(np.arange(240), np.arange(240), indexing="ij")
    between = SPHERE.inv(lon[pairs[0]], lat[pairs[0]], lon[pairs[1]], lat[pairs[1]])[2]
    pairs = np.meshgrid(np.arange(50), np.arange(240), indexing="ij")
    to_map = SPHERE.inv(*target[pairs[0]].T.swapaxes(1, 2), lon[pairs[1]], lat[pairs[1]])[2]

    def unlike(fold):
        own = np.where(fold[:, None] == fold, np.inf, between).min(axis=1)
        return wasserstein_distance(own, to_map.min(axis=1))

    assert one.wasserstein == pytest.approx(unlike(one.fold))
    assert one.wasserstein < unlike(random) / 2


def test_knndm_takes_a_target_and_tells_what_it_chose():
    lon, lat = clustered()
    population = population_at(lon, lat)
    near = folds(population, "knndm", target=np.stack([lon, lat], axis=-1))
    far = folds(population, "knndm", target=[[20, 48], [20, 49]])
    assert near[0].note.endswith("(W1) 0.948 km")
    assert "of the target to the parcels 0 km" in near[0].note
    assert far[0].note.startswith("5 clusters; ")
    assert len({fold.note for fold in far}) == 1


def test_many_places_are_clustered_by_cells(monkeypatch):
    lon, lat = clustered()
    target = np.random.default_rng(1).random((300, 2)) * 4 + [3, 48]
    whole, _ = matched(lon, lat, target)
    monkeypatch.setattr("cubecrop.evaluation.knndm._MOST_PLACES", 60)
    coarse, _ = matched(lon, lat, target)
    assert coarse.wasserstein < 2 * whole.wasserstein


def test_the_target_covers_the_hull_of_each_area():
    corners = np.array([[3, 48], [5, 48], [5, 50], [3, 50]], float)
    lon, lat = np.r_[corners, corners / [1, 2] + [40, 0], [[80, 10]]].T
    points = area_points(lon, lat, np.r_[np.zeros(4, int), np.ones(4, int), 2])
    inside = [
        ((points >= low) & (points <= high)).all(axis=1)
        for low, high in ([[3, 48], [5, 50]], [[43, 24], [45, 25]])
    ]
    areas = np.diff(np.sin(np.radians([[48, 50], [24, 25]]))).ravel()
    assert [part.sum() for part in inside] == pytest.approx(1000 * areas / areas.sum(), abs=1)
    middles = [points[part].mean(axis=0) for part in inside]
    np.testing.assert_allclose(middles, [[4, 48.98], [44, 24.5]], atol=0.02)
    assert points[~inside[0] & ~inside[1]].tolist() == [[80, 10]]


def test_canada():
    if not CANADA.exists():
        pytest.skip(f"the real table is not there: {CANADA}")
    samples = read_worldcereal(CANADA, label="CROPTYPE_LABEL")
    labels = pd.Series(samples["label"].to_numpy())
    labels[~labels.isin(labels.value_counts().index[:9])] = None
    population = Population.of(samples, labels.tolist())
    assert len(population) == 2395
    names = found_regions(population)
    assert dict(zip(*np.unique(names, return_counts=True), strict=True)) == {
        "43.7N 81.0W": 1444,
        "46.1N 64.3W": 951,
    }
    ontario, maritimes = folds(population, "leave-region-out")
    assert (population.lon[ontario.test] > -85).all()
    assert (population.lon[ontario.test] < -79).all()
    assert (population.lon[maritimes.test] > -72).all()
    assert [len(fold.train) for fold in (ontario, maritimes)] == [951, 1444]
    for protocol in IN_FOLDS:
        made = folds(population, protocol)
        assert sum(len(fold.test) for fold in made) == 2395
        for fold in made:
            assert len(fold.train) > 1500
    assert "blocks of 200 km and a buffer of 20 km" in folds(population, "blocked")[0].note
