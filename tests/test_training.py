"""Fitting: seeds, labels, masks, several sample sets."""

import csv

import numpy as np
import pytest
import torch
import xarray as xr
from samples import make_samples

from cubecrop.classification import classify_pixel_sets
from cubecrop.errors import LabelError, ModelMismatchError, SchemaError
from cubecrop.model import CropModel, NetworkOptions, SampleArrays, sensor_arrays
from cubecrop.nomenclature import Nomenclature
from cubecrop.schema import SERIES
from cubecrop.training import TrainConfig, fit
from cubecrop.training.batches import batches
from cubecrop.training.sets import TrainingSet, band_statistics
from cubecrop.training.validation import split_validation

QUICK = TrainConfig(epochs=3, batch_size=6, n_pixels=4)


def weights(model):
    return {key: value.clone() for key, value in model.network.state_dict().items()}


def equal(one, other):
    return all(torch.equal(one[key], other[key]) for key in one)


def test_a_network_learns_separable_crops():
    samples, labels = make_samples(n=36)
    unseen, truth = make_samples(n=12, seed=7)
    model = fit(samples, labels, config=TrainConfig(epochs=40, n_pixels=4))
    guess = model.predict_proba(unseen).idxmax("crop").to_numpy()
    assert (guess == truth).mean() > 0.9


def test_same_seed_same_weights_and_no_trace_in_the_caller():
    samples, labels = make_samples()
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    first, again = (weights(fit(samples, labels, config=QUICK, seed=3)) for _ in range(2))
    assert equal(first, again)
    assert not equal(first, weights(fit(samples, labels, config=QUICK, seed=4)))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


def test_masked_values_are_never_learned_from():
    samples, labels = make_samples()
    poisoned, _ = make_samples()
    node = poisoned["sentinel2"]
    values = node["reflectance"].values
    values[~np.broadcast_to(node["valid"].values[:, :, None, :], values.shape)] = 1e6
    assert equal(
        weights(fit(samples, labels, config=QUICK)), weights(fit(poisoned, labels, config=QUICK))
    )


def test_parcels_without_label_are_left_out():
    samples, labels = make_samples(n=12)
    holes = [None if i % 4 == 0 else label for i, label in enumerate(labels)]
    kept = [i for i, label in enumerate(holes) if label]
    assert equal(
        weights(fit(samples, holes, config=QUICK)),
        weights(fit(samples.isel(parcel=kept), [labels[i] for i in kept], config=QUICK)),
    )


def test_labels_may_be_an_array_or_a_series():
    samples, labels = make_samples(n=12)
    array = xr.DataArray(np.array(labels, dtype=object), dims="parcel")
    plain = weights(fit(samples, labels, config=QUICK))
    for other in (array, array.to_series(), array.to_numpy()):
        model = fit(samples, other, config=QUICK)
        assert model.nomenclature.names == ["grass", "maize", "wheat"]
        assert equal(plain, weights(model))


def test_sets_with_their_own_dates_train_together():
    one, labels = make_samples(n=9)
    other, more = make_samples(n=6, seed=5, dates=(5, 11))
    model = fit([one, other], [labels, more], config=QUICK)
    assert sum(model.training.parcels.values()) == 15
    assert model.predict_proba(other).shape == (6, 3)


def test_a_sensor_that_may_be_missing_is_not_needed():
    samples, labels = make_samples(n=18)
    config = TrainConfig(epochs=20, n_pixels=4, may_be_missing=("sentinel1",))
    model = fit(samples, labels, config=config)
    alone, truth = make_samples(n=9, seed=3, sensors=("sentinel2",))
    found = model.predict_proba(alone)
    assert np.isfinite(found).all()
    assert (found.idxmax("crop").to_numpy() == truth).mean() > 0.6


@pytest.mark.parametrize("fusion", ["early", "mid", "late", "decision"])
def test_the_share_of_missing_sensors_changes_what_is_learned(fusion):
    samples, labels = make_samples(n=18)
    base = {"epochs": 1, "batch_size": 6, "n_pixels": 4, "may_be_missing": ("sentinel1",)}
    base["network"] = NetworkOptions(fusion=fusion)
    first, again, other = (
        weights(fit(samples, labels, config=TrainConfig(**base, sensor_dropout=share)))
        for share in (0.4, 0.4, 0.8)
    )
    assert equal(first, again)
    assert not equal(first, other)


@pytest.mark.parametrize("missing", [(), ("sentinel1",)])
def test_missing_sensors_count_in_the_choice_of_the_epoch(tmp_path, missing):
    samples, labels = make_samples(n=60, n_pixels=2)
    config = TrainConfig(epochs=1, validation=0.3, may_be_missing=missing)
    model = fit(samples, labels, config=config, checkpoint=tmp_path)
    (row,) = csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines())
    indices = np.unique(labels, return_inverse=True)[1]
    validation = split_validation(indices, samples["parcel"].values.tolist(), 0.3, seed=0)
    part, truth = samples.isel(parcel=np.flatnonzero(validation)), np.array(labels)[validation]
    cases = [part, *(part.filter(lambda node, name=name: node.name != name) for name in missing)]
    right = [(model.predict_proba(one).idxmax("crop") == truth).mean() for one in cases]
    assert float(row["validation_accuracy"]) == pytest.approx(np.mean(right))


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["wheat"] * 12, "two or more"),
        ([None] * 12, "every label is null"),
        (["wheat", "maize"], "2 labels"),
    ],
)
def test_labels_that_cannot_be_learned(labels, says):
    samples, _ = make_samples()
    with pytest.raises(LabelError, match=says):
        fit(samples, labels, config=QUICK)


@pytest.mark.parametrize("swap", [False, True])
def test_sets_may_differ_in_bands_steps_and_season(tmp_path, swap):
    one, labels = make_samples(n=15)
    other, more = make_samples(n=12, seed=5, dates=(5, 11))
    less = other["sentinel2"].to_dataset().drop_sel(band="B8A")
    other["sentinel2"] = xr.DataTree(less)
    other.attrs |= {"season_start": "2017-08-01", "season_end": "2018-09-30", "composite": "month"}
    pairs = [(one, labels), (other, more)][:: -1 if swap else 1]
    model = fit([tree for tree, _ in pairs], [part for _, part in pairs], config=QUICK)
    again = CropModel.load(model.save(tmp_path / "model"))
    assert again.season_window == ((-1, 8, 1), (0, 10, 31))
    assert "B8A" not in again.config.sensors[0].bands
    assert len(again.config.sensors[0].bands) == 9
    for tree, _ in pairs:
        assert np.isfinite(again.predict_proba(tree)).all()
        found = classify_pixel_sets(tree, again)["probability"]
        np.testing.assert_array_equal(found, again.predict_proba(tree))
    # Days count from the first day of the season that holds both.
    moved = one.copy()
    moved.attrs |= {"season_start": "2017-08-01"}
    np.testing.assert_array_equal(again.predict_proba(moved), again.predict_proba(one))
    moved.attrs |= {"season_start": "2017-07-01"}
    with pytest.raises(ModelMismatchError, match="season"):
        again.predict_proba(moved)


def test_years_to_the_end_of_february_are_learned_together():
    one, labels = make_samples(n=15)
    one.attrs |= {"season_start": "2017-03-01", "season_end": "2018-02-28"}
    other = one.copy()
    other.attrs |= {
        "season_year": 2020, "season_start": "2019-03-01", "season_end": "2020-02-29",
    }  # fmt: skip
    for name in ("sentinel2", "sentinel1"):
        node = other[name].to_dataset()
        other[name] = xr.DataTree(node.assign_coords(time=node["time"] + np.timedelta64(730, "D")))
    model = fit([one, other], [labels, labels], config=QUICK)
    assert model.season_window == ((-1, 3, 1), (0, 2, 29))
    assert model.training.windows == ()
    found = model.predict_proba(one)
    np.testing.assert_array_equal(found, model.predict_proba(other))


def test_seasons_that_differ_have_no_common_thermal_time():
    one, labels = make_samples(n=6)
    other, more = make_samples(n=6, seed=5)
    other.attrs |= {"season_start": "2017-08-01"}
    config = TrainConfig(epochs=1, network=NetworkOptions(time_encoding="thermal-time"))
    with pytest.raises(SchemaError, match="summed from its start"):
        fit([one, other], [labels, more], config=config)


@pytest.mark.parametrize("fusion", ["late", "mid"])
def test_sets_of_one_sensor_each_teach_a_network_that_may_miss_both(fusion):
    pairs = [make_samples(n=30, seed=i, sensors=(name,)) for i, name in enumerate(SERIES)]
    config = TrainConfig(
        epochs=1, n_pixels=4, validation=0.2, may_be_missing=tuple(SERIES),
        network=NetworkOptions(fusion=fusion),
    )  # fmt: skip
    model = fit([tree for tree, _ in pairs], [part for _, part in pairs], config=config)
    for tree, _ in pairs:
        assert np.isfinite(model.predict_proba(tree)).all()


@pytest.mark.parametrize("fusion", ["early", "mid", "late", "decision"])
@pytest.mark.parametrize("name", SERIES)
def test_a_sensor_whose_series_is_empty_is_an_absent_one(fusion, name):
    samples, labels = make_samples(n=9)
    config = TrainConfig(
        epochs=1, n_pixels=4, may_be_missing=tuple(SERIES), network=NetworkOptions(fusion=fusion)
    )
    model = fit(samples, labels, config=config)
    absent = samples.filter(lambda node: node.name != name)
    empty = samples.copy()
    empty[name] = xr.DataTree(samples[name].to_dataset(inherit=False).isel(time=slice(0)))
    found = model.predict_proba(empty)
    np.testing.assert_allclose(found, model.predict_proba(absent), atol=1e-6, rtol=0)
    np.testing.assert_array_equal(classify_pixel_sets(empty, model)["probability"], found)
    assert model.attention(empty)[name]["attention"].shape[:2] == (9, 0)


def test_parcels_need_ids():
    samples, labels = make_samples(n=6)
    bare = xr.DataTree.from_dict(
        {
            "/": samples.to_dataset().drop_vars("parcel"),
            **{name: samples[name].to_dataset(inherit=False) for name in samples.children},
        }
    )
    with pytest.raises(SchemaError, match="an id"):
        fit(bare, labels, config=QUICK)


def test_radar_of_two_calibrations_is_not_mixed():
    one, labels = make_samples(n=6)
    other, more = make_samples(n=6, seed=5)
    other["sentinel1"]["backscatter"].attrs["calibration"] = "sigma0"
    with pytest.raises(SchemaError, match="'gamma0', 'sigma0'"):
        fit([one, other], [labels, more], config=QUICK)


def test_shapes_measured_otherwise_do_not_fit_together():
    (one, labels), (other, more) = make_samples(n=6), make_samples(n=6, seed=5)
    other.dataset = other.to_dataset().isel(feature=slice(3))
    config = TrainConfig(epochs=1, network=NetworkOptions(geometry=True))
    with pytest.raises(SchemaError, match=r"\[4, 3\] features"):
        fit([one, other], [labels, more], config=config)


def test_sets_of_different_sensors_do_not_fit_together():
    one, labels = make_samples()
    other, more = make_samples(sensors=("sentinel2",))
    with pytest.raises(SchemaError, match="may_be_missing"):
        fit([one, other], [labels, more], config=QUICK)


def test_a_sensor_without_one_valid_pixel_is_named():
    samples, labels = make_samples(cloud=1.0)
    with pytest.raises(SchemaError, match="sentinel2"):
        fit(samples, labels, config=QUICK)


def test_weights_do_not_depend_on_how_validation_parcels_look():
    samples, labels = make_samples(n=60, n_pixels=2)
    config = TrainConfig(epochs=1, validation=0.3, network=NetworkOptions(geometry=True))
    indices = np.unique(labels, return_inverse=True)[1]
    validation = split_validation(indices, samples["parcel"].values.tolist(), 0.3, seed=0)
    other, _ = make_samples(n=60, n_pixels=2)
    other["geometry"][validation] = 1e6
    for name, variable in (("sentinel2", "reflectance"), ("sentinel1", "backscatter")):
        other[name][variable][validation] += 50
    one, two = (weights(fit(tree, labels, config=config)) for tree in (samples, other))
    assert validation.sum() == 18
    assert equal(one, two)


def test_statistics_by_hand():
    samples, labels = make_samples(n=3, n_pixels=2, dates=(2, 2), cloud=0.0)
    arrays = sensor_arrays(samples, ["sentinel1"])
    rows = arrays["sentinel1"].values[arrays["sentinel1"].valid]
    mean, deviation = band_statistics(
        [TrainingSet(SampleArrays(arrays), np.zeros(3, int), labels, np.ones(3, int))], "sentinel1"
    )
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(deviation, rows.std(axis=0), rtol=1e-4)


def test_each_epoch_draws_anew_and_every_parcel_keeps_a_date():
    samples, _ = make_samples(n=6, n_pixels=16)
    arrays = sensor_arrays(samples, ["sentinel2", "sentinel1"])
    counts = samples["pixel_count"].values
    one = TrainingSet(SampleArrays(arrays), np.arange(6) % 3, [f"p{i}" for i in range(6)], counts)
    deviations = {name: np.ones(a.values.shape[-1], "f4") for name, a in arrays.items()}
    config = TrainConfig(batch_size=6, n_pixels=4, date_dropout={"sentinel1": 0.95}, jitter=0.0)

    def epoch(number, seed=0):
        return list(batches([one], deviations, config, seed=seed, epoch=number))

    ((first, truth),) = epoch(0)
    ((again, _),) = epoch(0)
    ((other, _),) = epoch(1)
    assert torch.equal(first.series["sentinel2"].valid, again.series["sentinel2"].valid)
    drawn, anew = (batch.series["sentinel2"].valid for batch in (first, other))
    assert drawn.shape != anew.shape or not torch.equal(drawn, anew)
    assert sorted(truth.tolist()) == [0, 0, 1, 1, 2, 2]
    assert first.series["sentinel1"].valid.flatten(1).any(dim=1).all()


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"batch_size": 1}, {"label_smoothing": -1}, {"small_sets": 2}]
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(LabelError):
        TrainConfig(**change)


def test_one_class_is_refused_even_with_a_longer_nomenclature():
    samples, labels = make_samples()
    known = Nomenclature.from_labels(labels)
    with pytest.raises(LabelError, match=rf"the classes \['{labels[0]}'\], expected two or more"):
        fit(samples, [labels[0]] * len(labels), nomenclature=known, config=QUICK)
