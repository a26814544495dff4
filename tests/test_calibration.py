"""Validation parcels, probability calibration and crop sets."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import make_samples
from shapely import Point

from cubecrop.classification import classify_pixel_sets, parcel_table
from cubecrop.errors import ModelMismatchError
from cubecrop.model import Calibration, CropModel, tempered
from cubecrop.training import TrainConfig, fit
from cubecrop.training.probability_calibration import calibrate
from cubecrop.training.validation import split_validation


def draw(n, sharpness, seed=0):
    """Probabilities whose truth follows them once their logits are divided by `sharpness`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, 4))
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (chance.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    sure = np.exp(logits * sharpness)
    return (sure / sure.sum(axis=1, keepdims=True)).astype(np.float32), truth


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(sharpness):
    found = calibrate(*draw(8000, sharpness), alpha=0.1)
    assert found.temperature == pytest.approx(sharpness, rel=0.1)


@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_crop_sets_hold_the_truth_as_often_as_promised(alpha):
    shares = []
    for seed in range(20):
        found = calibrate(*draw(200, 2.0, seed), alpha=alpha)
        probability, truth = draw(2000, 2.0, 100 + seed)
        inside = found.crop_sets(tempered(probability, found.temperature))
        shares.append(inside[np.arange(len(truth)), truth].mean())
    assert 1 - alpha - 0.01 < np.mean(shares) < 1 - alpha / 4


def test_crop_sets_by_hand():
    found = Calibration(temperature=1, alpha=0.1, threshold=0.3, n=50)
    probability = np.array(
        [[0.6, 0.3, 0.1], [0.4, 0.4, 0.2], [np.nan] * 3, [0.28, 0.26, 0.2]], np.float32
    )
    expected = [[1, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]]
    np.testing.assert_array_equal(found.crop_sets(probability), np.array(expected, bool))


def test_too_few_parcels_for_alpha_put_every_crop_in():
    found = calibrate(*draw(25, 1.0), alpha=0.01)
    assert found.threshold == 0
    assert found.crop_sets(draw(5, 1.0)[0]).all()
    assert calibrate(*draw(19, 1.0), alpha=0.1) is None


def test_tempered_keeps_what_is_missing_and_the_order():
    probability = np.array([[0.7, 0.2, 0.1], [np.nan] * 3], np.float32)
    flat = tempered(probability, 2.0)
    assert np.isnan(flat[1]).all()
    np.testing.assert_allclose(flat[0].sum(), 1, rtol=1e-6)
    assert flat[0, 0] < 0.7
    assert flat[0].argsort().tolist() == probability[0].argsort().tolist()


def test_a_temperature_of_two_takes_the_roots_of_probabilities():
    samples, labels = make_samples(n=12)
    model = fit(samples, labels, config=TrainConfig(epochs=2, n_pixels=4))
    sure = model.predict_proba(samples).to_numpy()
    flat = model.with_calibration(Calibration(temperature=2, alpha=0.1, threshold=0.3, n=50))
    root = np.sqrt(sure)
    expected = root / root.sum(axis=1, keepdims=True)
    assert np.abs(expected - sure).max() > 0.01
    np.testing.assert_allclose(flat.predict_proba(samples), expected, atol=1e-5)
    found = classify_pixel_sets(samples, flat)["probability"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_calibration_of_whole_numbers_comes_back_as_the_same_model(tmp_path):
    samples, labels = make_samples(n=6)
    model = fit(samples, labels, config=TrainConfig(epochs=1, n_pixels=4))
    whole = model.with_calibration(Calibration(temperature=2, alpha=0.1, threshold=0, n=50))
    again = CropModel.load(whole.save(tmp_path / "model"))
    assert again.calibration == whole.calibration
    assert again.digest == whole.digest


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=200),
    st.floats(0.05, 0.5),
)
def test_validation_keeps_groups_whole_and_most_of_each_class_in_training(rows, share):
    labels = np.array([label for label, _ in rows])
    groups = [group for _, group in rows]
    validation = split_validation(labels, groups, share, seed=0)
    for group in set(groups):
        assert len({bool(validation[i]) for i in range(len(rows)) if groups[i] == group}) == 1
    for label in set(labels):
        mine = labels == label
        assert validation[mine].sum() <= mine.sum() / 2
        if mine.sum() < 10:
            assert not validation[mine].any()


def test_validation_takes_the_share_of_each_class_whatever_the_order():
    labels = np.repeat([0, 1, 2], [1800, 400, 9])
    ids = [f"p{i}" for i in range(len(labels))]
    validation = split_validation(labels, ids, None, seed=0)
    assert [int(validation[labels == one].sum()) for one in range(3)] == [270, 60, 0]
    order = np.random.default_rng(0).permutation(len(labels))
    again = split_validation(labels[order], [ids[i] for i in order], None, seed=0)
    np.testing.assert_array_equal(validation[order], again)
    assert (validation != split_validation(labels, ids, None, seed=1)).any()
    assert not split_validation(labels[:1999], ids[:1999], None, seed=0).any()


def test_a_fitted_model_has_crop_sets_and_keeps_them(tmp_path):
    samples, labels = make_samples(n=120)
    config = TrainConfig(epochs=8, n_pixels=4, validation=0.3, alpha=0.2)
    model = fit(samples, labels, config=config)
    assert model.calibration.alpha == 0.2
    assert model.calibration.n == sum(model.training.validation.values()) == 36
    assert sum(model.training.parcels.values()) == 84
    again = CropModel.load(model.save(tmp_path / "model"))
    assert again.digest == model.digest
    unseen, truth = make_samples(n=60, seed=8)
    inside = again.crop_sets(unseen)
    assert inside.dims == ("parcel", "crop")
    index = [again.nomenclature.index(one) for one in truth]
    assert inside.to_numpy()[np.arange(60), index].mean() > 0.7


def test_a_model_without_validation_says_how_to_get_crop_sets():
    samples, labels = make_samples(n=12)
    model = fit(samples, labels, config=TrainConfig(epochs=1, n_pixels=4))
    assert model.calibration is None
    with pytest.raises(ModelMismatchError, match="validation"):
        model.crop_sets(samples)


def test_a_table_of_parcels_names_the_crops_of_each_set():
    samples, labels = make_samples(n=60)
    config = TrainConfig(epochs=3, n_pixels=4, validation=0.4)
    model = fit(samples, labels, config=config)
    assert model.calibration is not None
    found = classify_pixel_sets(samples, model).compute()
    found["probability"][0] = np.nan
    parcels = gpd.GeoDataFrame(
        {"id": samples["parcel"].to_numpy()}, geometry=[Point(0, 0)] * 60, crs="EPSG:4326"
    )
    table = parcel_table(parcels, found, model)
    assert pd.isna(table["crop:set"][0])
    inside = model.calibration.crop_sets(found["probability"].to_numpy())
    for row in range(1, 60):
        crops = table["crop:set"][row].split(" | ")
        assert crops[0] == table["crop:name"][row]
        assert len(crops) == inside[row].sum()
