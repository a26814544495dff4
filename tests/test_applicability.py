"""The area of applicability of a model, in the embedding of its network."""

from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from samples import make_samples

from cubecrop.errors import ModelFormatError, ModelMismatchError
from cubecrop.model import MOST_PARCELS, CropModel, NetworkOptions, TrainingSpace
from cubecrop.model.spec_file import MODEL_FILES, digest_of, metadata_of
from cubecrop.model.storage import packed, unpacked
from cubecrop.training import TrainConfig, fit

QUICK = TrainConfig(epochs=2, n_pixels=4)


@pytest.fixture(scope="module")
def trained():
    samples, labels = make_samples(n=30)
    return fit(samples, labels, config=QUICK), samples


def line(n=30):
    """Embeddings at 0, 1, 2, … of one feature, and a constant feature."""
    return np.stack([np.arange(n), np.full(n, 7)], axis=1).astype(np.float32)


def test_the_dissimilarity_index_by_hand():
    space = TrainingSpace.of(line(), range(30))
    deviation = np.arange(30).std()
    # The mean distance of 0, 1, …, n - 1 to each other is (n + 1) / 3.
    assert space.mean_distance == pytest.approx(31 / 3 / deviation, rel=1e-3)
    assert space.threshold == pytest.approx(3 / 31, rel=2e-2)  # float16
    new = np.array([[31, 7], [29.25, 7], [np.nan, 7]], np.float32)
    np.testing.assert_allclose(space.dissimilarity(new), [2, 0.25, np.nan], rtol=2e-2)


def test_the_nearest_parcel_is_one_of_another_group():
    alone = TrainingSpace.of(line(), range(30))
    fives = TrainingSpace.of(line(), np.arange(30) // 5)
    assert fives.threshold == pytest.approx(5 * alone.threshold, rel=2e-2)


def test_an_outlier_does_not_raise_the_threshold():
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(200, 4)).astype(np.float32)
    usual = TrainingSpace.of(embedding, range(200))
    embedding[0] = 60
    odd = TrainingSpace.of(embedding, range(200))
    far = usual.threshold * usual.mean_distance * usual.deviation.mean()
    assert odd.threshold * odd.mean_distance * odd.deviation.mean() < 3 * far
    assert usual.dissimilarity(np.full((1, 4), 30, np.float32)) > 10


@pytest.mark.parametrize(
    ("embedding", "groups"),
    [
        (line(19), range(19)),
        (line(30), ["one"] * 30),
        (np.ones((30, 2), np.float32), range(30)),
        (np.full((30, 2), np.nan, np.float32), range(30)),
    ],
)
def test_too_few_or_equal_parcels_have_no_threshold(embedding, groups):
    assert TrainingSpace.of(embedding, groups) is None


def test_training_parcels_are_inside_and_noise_is_outside(trained):
    model, samples = trained
    inside = model.applicability(samples)
    assert inside.dims == ("parcel",)
    assert inside.name == "dissimilarity"
    np.testing.assert_array_equal(inside["parcel"], samples["parcel"])
    assert inside.max() < 0.05  # each is its own nearest one
    foreign, _ = make_samples(n=30, seed=1, noise=3)
    assert (model.applicability(foreign) > 1).mean() > 0.9


def test_a_parcel_without_observations_has_no_dissimilarity(trained):
    model, samples = trained
    cloudy = samples.copy(deep=True)
    for name in ("sentinel2", "sentinel1"):
        cloudy[name]["valid"][0] = False
    found = model.applicability(cloudy, allow_gaps=True)
    assert np.isnan(found).to_numpy().tolist() == [True] + [False] * 29


@pytest.mark.parametrize("fusion", ["early", "mid", "late", "decision"])
def test_it_is_saved_with_the_model_and_is_part_of_its_digest(tmp_path, fusion):
    samples, labels = make_samples(n=24)
    options = replace(QUICK, network=NetworkOptions(fusion=fusion))
    model = fit(samples, labels, config=options)
    model.save(tmp_path / "model")
    read = CropModel.load(tmp_path / "model")
    assert read.digest == model.digest
    np.testing.assert_array_equal(read.applicability(samples), model.applicability(samples))
    assert replace(model, training_space=None).digest != model.digest


def test_a_model_without_it_loads_and_says_how_to_get_it(tmp_path, trained):
    model, samples = trained
    replace(model, training_space=None).save(tmp_path / "bare")
    bare = CropModel.load(tmp_path / "bare")
    assert bare.training_space is None
    np.testing.assert_array_equal(bare.predict_proba(samples), model.predict_proba(samples))
    with pytest.raises(ModelMismatchError, match="Train it again"):
        bare.applicability(samples)


def test_it_does_not_depend_on_the_order_of_parcels(trained):
    model, samples = trained
    labels = make_samples(n=30)[1]
    turned = fit(samples.isel(parcel=slice(None, None, -1)), labels[::-1], config=QUICK)
    assert turned.digest == model.digest


def test_parcels_beyond_the_bound_are_left_out_by_hash(monkeypatch):
    monkeypatch.setattr("cubecrop.training.applicability.MOST_PARCELS", 21)
    samples, labels = make_samples(n=30)
    few = fit(samples, labels, config=QUICK).training_space
    assert few.embedding.shape[0] == 21
    again = fit([samples], [labels], config=QUICK).training_space
    np.testing.assert_array_equal(few.embedding, again.embedding)


def damaged(model, **changes):
    """Files of the model with other arrays, and the digest of these files."""
    files = packed(model, model.network, model.parcels_seen, model.training_space)
    tensors = safetensors.torch.load(files[MODEL_FILES[0]])
    for name, tensor in changes.items():
        key = f"cubecrop:training_space:{name}"
        if tensor is None:
            del tensors[key]
        else:
            tensors[key] = tensor(tensors[key])
    weights = safetensors.torch.save(tensors)
    text = files[MODEL_FILES[1]].decode()
    text = text.replace(model.digest, digest_of(weights, metadata_of(model)))
    return {MODEL_FILES[0]: weights, MODEL_FILES[1]: text.encode()}


@pytest.mark.parametrize(
    "changes",
    [
        {"distances": None},
        {"distances": lambda one: one[:1].clone()},
        {"distances": lambda one: -one},
        {"distances": lambda one: one * float("nan")},
        {"embedding": lambda one: one * float("inf")},
        {"embedding": lambda one: one.float()},
        {"embedding": lambda one: one.to(torch.bfloat16)},
        {"embedding": lambda one: one[:0].clone()},
        {"embedding": lambda one: one.repeat(MOST_PARCELS // len(one) + 1, 1)},
        {"mean": lambda one: one[:-1].clone()},
        {"deviation": lambda one: one * 0},
        {name: (lambda one: one[..., :-1].clone()) for name in ("embedding", "mean", "deviation")},
    ],
)
def test_a_file_with_other_arrays_is_refused(trained, changes):
    model, _ = trained
    assert unpacked(damaged(model), "files")[3].threshold == model.training_space.threshold
    with pytest.raises(ModelFormatError, match="embeddings of training parcels"):
        unpacked(damaged(model, **changes), "files")
