"""Where parcels lie: the lattice, groups that belong together, and regions."""

import numpy as np
import pytest
from populations import METRE, SPHERE, crops_of, population_at, scattered, sets_at

from cubecrop.evaluation import Population
from cubecrop.evaluation.knndm import area_points
from cubecrop.evaluation.places import found_regions, lattice, united_groups


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
