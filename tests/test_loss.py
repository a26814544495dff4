"""Losses worked out by hand, and settings that change the training."""

import numpy as np
import pytest
import torch
from samples import make_samples
from torch.nn import functional

from cubecrop.errors import DeviceError, LabelError
from cubecrop.model import NetworkOptions, SampleArrays, sensor_arrays
from cubecrop.training import TrainConfig, fit
from cubecrop.training.batches import batches
from cubecrop.training.loss import CropLoss, class_weights
from cubecrop.training.sets import TrainingSet

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.2, 0.1]])
TRUTH = torch.tensor([0, 2])


def test_without_options_it_is_the_cross_entropy_of_torch():
    weights = torch.tensor([1.0, 2.0, 0.5])
    ours = CropLoss(weights, smoothing=0.1)(LOGITS, TRUTH)
    theirs = functional.cross_entropy(LOGITS, TRUTH, weight=weights, label_smoothing=0.1)
    torch.testing.assert_close(ours, theirs)


def test_focal_loss_by_hand():
    chance = torch.softmax(LOGITS, dim=1)[torch.arange(2), TRUTH]
    expected = -((1 - chance) ** 2 * chance.log()).mean()
    torch.testing.assert_close(CropLoss(torch.ones(3), focal=2.0)(LOGITS, TRUTH), expected)


def test_a_confident_parcel_has_a_finite_gradient():
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    CropLoss(torch.ones(2), focal=0.5)(logits, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("balance", "expected"), [(0, [1, 1, 0]), (1, [0.625, 2.5, 0]), (0.5, [0.833, 1.667, 0])]
)
def test_class_weights_by_hand(balance, expected):
    labels = np.repeat([0, 1], [8, 2])
    found = class_weights(labels, 3, balance).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"focal": 2.0},
        {"label_smoothing": 0.2},
        {"class_balance": 1.0},
        {"warm_up": 0.5},
        {"weight_decay": 0.5},
        {"clip_norm": 0.01},
        {"jitter": 0.3},
        {"offset": 0.3},
        {"shift_days": 20.0},
        {"small_sets": 0.0},
        {"learning_rate": 2e-3},
        {"batch_size": 7},
        {"n_pixels": 2},
        {"may_be_missing": ("sentinel1",)},
        {"date_dropout": {"sentinel2": 0.8}},
        {"validation": 0.3},
        {"precision": "bfloat16"},
    ],
)
def test_every_setting_changes_what_is_learned(change):
    base = {"epochs": 2, "batch_size": 6, "n_pixels": 4, "learning_rate": 1e-3}
    samples, labels = make_samples(n=40)
    one, other = (
        fit(samples, labels, config=TrainConfig(**{**base, **more})).network.state_dict()
        for more in ({}, change)
    )
    assert any(not torch.equal(one[key], other[key]) for key in one)


def made_batches(config, **changes):
    samples, _ = make_samples(n=6, n_pixels=1)
    arrays = sensor_arrays(samples, ["sentinel2", "sentinel1"])
    ids = [f"p{i}" for i in range(6)]
    one = TrainingSet(SampleArrays(arrays), np.arange(6) % 3, ids, np.ones(6, int))
    deviations = {name: np.ones(a.values.shape[-1], "f4") for name, a in arrays.items()}
    return arrays, list(batches([one], deviations, config, seed=0, epoch=0))


def test_a_date_shift_is_the_same_for_all_dates_and_sensors_of_a_parcel():
    plain = {"batch_size": 6, "jitter": 0.0, "date_dropout": {}}
    arrays, ((batch, _),) = made_batches(TrainConfig(**plain, shift_days=20))
    moved = {name: series.days.numpy() - arrays[name].days for name, series in batch.series.items()}
    shift = moved["sentinel2"][:, :1]
    assert 0 < np.abs(shift).max() <= 20
    assert len(np.unique(shift)) == 6
    for one in moved.values():
        np.testing.assert_allclose(one, np.broadcast_to(shift, one.shape), atol=1e-4)


def test_an_offset_is_the_same_on_all_dates():
    plain = {"batch_size": 6, "jitter": 0.0, "date_dropout": {}}
    _, ((still, _),) = made_batches(TrainConfig(**plain))
    _, ((moved, _),) = made_batches(TrainConfig(**plain, offset=0.5))
    seen = still.series["sentinel1"].valid[..., 0].numpy()
    # Members come in the same order: both draw it first.
    values, before = (one.series["sentinel1"].spread().values for one in (moved, still))
    change = (values - before)[:, :, 0].numpy()
    assert np.ptp(change[seen].reshape(6, -1, 2), axis=1).max() < 1e-4
    assert np.abs(change).max() > 0.1


def test_the_weight_of_the_auxiliary_loss_changes_what_is_learned():
    samples, labels = make_samples(n=24)
    base = {"epochs": 1, "batch_size": 6, "n_pixels": 4, "network": NetworkOptions(auxiliary=True)}
    one, other = (
        fit(samples, labels, config=TrainConfig(**base, auxiliary=weight)).network.state_dict()
        for weight in (0.1, 0.5)
    )
    shared = [key for key in one if not key.startswith("auxiliary")]
    assert any(not torch.equal(one[key], other[key]) for key in shared)


def test_auxiliary_classifiers_and_their_weight_come_together():
    for weight, there in ((0.5, False), (0.0, True)):
        with pytest.raises(LabelError, match="or neither"):
            TrainConfig(auxiliary=weight, network=NetworkOptions(auxiliary=there))


@pytest.mark.parametrize(
    "change",
    [
        {"focal": -1.0},
        {"validation": 1.0},
        {"patience": 0},
        {"learning_rate": 0.0},
        {"date_dropout": {"sentinel3": 0.4}},
        {"shift_days": float("inf")},
        {"precision": "float16"},
    ],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(LabelError):
        TrainConfig(**change)


def test_the_compiled_network_is_the_one_that_trains(monkeypatch):
    """Compiling itself takes a minute; what it gives is called at every step."""
    calls = []

    def compiled(function, *, dynamic):
        assert dynamic  # sets and dates vary from batch to batch

        def call(batch):
            calls.append(len(batch))
            return function(batch)

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    samples, labels = make_samples(n=12)
    fit(samples, labels, config=TrainConfig(epochs=2, batch_size=6, compile=True))
    assert calls == [6] * 4


@pytest.mark.gpu
# A part of torch that its compiler imports is deprecated by torch itself.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card")
@pytest.mark.parametrize("switch", [{}, {"precision": "bfloat16"}, {"compile": True}], ids=str)
def test_a_graphics_card_teaches_as_a_processor_does(switch):
    samples, labels = make_samples(n=60)
    unseen, truth = make_samples(n=30, seed=7)
    config = TrainConfig(epochs=30, n_pixels=4, **switch)
    model = fit(samples, labels, config=config, device="cuda")
    found = model.predict_proba(unseen, device="cuda")
    np.testing.assert_allclose(found, model.predict_proba(unseen, device="cpu"), atol=1e-3)
    assert (found.idxmax("crop").to_numpy() == truth).mean() > 0.8


def test_a_device_that_is_not_there_is_named():
    samples, labels = make_samples(n=6)
    model = fit(samples, labels, config=TrainConfig(epochs=1, n_pixels=4), device="cpu")
    absent = f"cuda:{torch.cuda.device_count()}"
    for device in (absent, "gpu", "meta"):
        with pytest.raises(DeviceError, match=f"{device}.*'cpu'"):
            fit(samples, labels, config=TrainConfig(epochs=1), device=device)
        for ask in (model.predict_proba, model.logits, model.embed, model.attention):
            with pytest.raises(DeviceError, match=device):
                ask(samples, device=device)


def test_patience_stops_early():
    samples, labels = make_samples(n=60)
    config = TrainConfig(epochs=60, n_pixels=4, validation=0.3, patience=5, learning_rate=1e-2)
    model = fit(samples, labels, config=config)
    assert 6 <= model.training.epochs < 60
    assert model.training.best_epoch <= model.training.epochs
