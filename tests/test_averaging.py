"""Averaged trainings: the mean of their weights, their checkpoints, and their limits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import make_samples

from cubecrop.errors import LabelError, ModelMismatchError
from cubecrop.training import TrainConfig, averaging, fit, refit

ONE = TrainConfig(epochs=2, batch_size=6, n_pixels=4)
THREE = replace(ONE, n_averaged=3)


@pytest.fixture(scope="module")
def start():
    return fit(*make_samples(n=18, seed=8), config=ONE)


def weights(model):
    return {name: values.clone() for name, values in model.network.state_dict().items()}


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def trained(monkeypatch):
    """The weights with which each training begins, and with which it ends."""
    ends, run = [], averaging.run_epochs

    def noted(network, *args, **options):
        before = {name: values.clone() for name, values in network.state_dict().items()}
        history = run(network, *args, **options)
        ends.append((before, {k: v.clone() for k, v in network.state_dict().items()}))
        return history

    monkeypatch.setattr(averaging, "run_epochs", noted)
    return ends


def test_a_model_has_the_mean_of_trainings_from_one_start(start, trained):
    samples, labels = make_samples(n=18)
    model = fit(samples, labels, config=THREE, init=start)
    begun, ended = zip(*trained, strict=True)
    assert len(ended) == 3
    assert equal(begun[0], begun[1])
    assert equal(begun[0], begun[2])
    assert not equal(ended[1], ended[2])
    assert equal(ended[0], weights(fit(samples, labels, config=ONE, init=start)))
    for name, values in weights(model).items():
        if values.is_floating_point():
            mean = np.mean([one[name].numpy() for one in ended], axis=0)
            np.testing.assert_allclose(values.numpy(), mean, rtol=1e-5, atol=1e-6)
    assert equal(weights(model), weights(fit(samples, labels, config=THREE, init=start)))
    assert model.training.settings["n_averaged"] == 3
    assert np.isfinite(model.predict_proba(samples)).all()


def test_an_interrupted_mean_goes_on_where_it_was(start, tmp_path, monkeypatch):
    samples, labels = make_samples(n=18)
    expected = weights(fit(samples, labels, config=THREE, init=start))
    run, calls = averaging.run_epochs, []

    def broken(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(*args, **options)

    monkeypatch.setattr(averaging, "run_epochs", broken)
    with pytest.raises(KeyboardInterrupt):
        fit(samples, labels, config=THREE, init=start, checkpoint=tmp_path)
    monkeypatch.undo()
    again = fit(samples, labels, config=THREE, init=start, checkpoint=tmp_path)
    assert equal(weights(again), expected)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {
        "training-2", "training-3",
    }  # fmt: skip


def test_a_mean_that_scores_lower_than_a_training_is_not_taken(start, trained, monkeypatch):
    samples, labels = make_samples(n=30)
    validate = averaging.validate
    monkeypatch.setattr(
        averaging, "validate", lambda *args: validate(*args) | {"validation_macro_f1": -1.0}
    )
    model = fit(samples, labels, config=replace(THREE, validation=0.3), init=start)
    assert any(equal(weights(model), ended) for _, ended in trained)


def test_trainings_from_random_weights_are_not_averaged(start):
    samples, labels = make_samples(n=18)
    with pytest.raises(LabelError, match=r"n_averaged is 3.*init="):
        fit(samples, labels, config=THREE)
    with pytest.raises(ModelMismatchError, match="n_averaged is 3"):
        refit(start, [(samples, labels)], THREE, seed=0)
    with pytest.raises(LabelError, match="n_averaged"):
        TrainConfig(n_averaged=0)
