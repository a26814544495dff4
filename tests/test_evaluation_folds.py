"""Folds of each protocol: what is trained on, what is tested, and what may not be in both."""

import numpy as np
import pandas as pd
import pytest
from populations import SPHERE, canadian, crops_of, population_at, scattered, sets_at

from cubecrop.errors import ArgumentError
from cubecrop.evaluation import Population, folds
from cubecrop.evaluation.places import found_regions, lattice, united_groups
from cubecrop.sample import join_stores, stored

IN_FOLDS = ("random", "blocked", "knndm")


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
    groups = [f"g{i % 90}" for i in range(120)]  # pairs that lie apart
    samples, labels = sets_at(lon, lat, groups=groups), np.array(crops_of(120))
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


def test_canada():
    population = canadian()
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
