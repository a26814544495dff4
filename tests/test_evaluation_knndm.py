"""kNNDM: distances of the folds against those of the map."""

import numpy as np
import pytest
from populations import SPHERE, population_at
from scipy.stats import wasserstein_distance

from cubecrop.evaluation import folds
from cubecrop.evaluation.knndm import area_points, fold_distances, knndm
from cubecrop.evaluation.places import on_sphere


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


def test_no_fold_of_knndm_has_more_than_half_of_the_parcels():
    lon, lat = clustered()
    lon[:150], lat[:150] = 10 + (lon[:150] - 5) / 100, 50 + (lat[:150] - 50) / 100
    far, _ = matched(lon, lat, np.array([[40.0, 50.0]]))
    assert np.bincount(far.fold).max() <= 120


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
