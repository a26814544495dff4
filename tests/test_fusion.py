"""Every fusion and time encoding: options have effects, masks hold, gradients arrive."""

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cubecrop.errors import ModelFormatError
from cubecrop.model import Batch, CropNetwork, NetworkConfig, SensorConfig, Series, layers
from cubecrop.model.fast.folding import fold
from cubecrop.model.series import interpolate, resample_thermal

SMALL = {"pixel_mlp": (6,), "embedding": 8, "decoder": (6,)}
SIZES = {
    "ltae": {"attention_width": 16, "heads": 2, "key_width": 4, "temporal_mlp": (8,)},
    "tae": {"attention_width": 0, "heads": 2, "key_width": 4, "temporal_mlp": (8, 8)},
    "tempcnn": {"attention_width": 8, "temporal_mlp": (8,)},
    "gru": {"attention_width": 8, "temporal_mlp": (8,)},
    "transformer": {"attention_width": 8, "heads": 2, "temporal_mlp": (8,)},
}
FUSIONS = ("early", "mid", "late", "decision")
EVERY = list(itertools.product(FUSIONS, SIZES))
FULL = {
    "weather": True, "terrain": True, "geometry": True,
    "weather_variables": ("temperature_mean", "precipitation"),
    "terrain_variables": ("elevation", "slope", "aspect_sine"), "n_geometry": 4,
}  # fmt: skip


def make_network(*, train_steps=2, temporal="ltae", **options):
    config = NetworkConfig(
        sensors=(
            SensorConfig(name="sentinel2", bands=("B02", "B04", "B08")),
            SensorConfig(name="sentinel1", bands=("vv", "vh")),
        ),
        n_classes=4,
        temporal=temporal,
        **{"may_be_missing": ("sentinel2", "sentinel1"), **SMALL, **SIZES[temporal], **options},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CropNetwork(config)
        for step in range(train_steps):
            network(make_batch(seed=step, n=6))
    return network.eval()


def make_batch(*, seed=0, n=3, pixels=4):
    rng = np.random.default_rng(seed)
    series = {}
    for name, n_dates, bands in (("sentinel2", 7, 3), ("sentinel1", 5, 2), ("weather", 6, 2)):
        size = 1 if name == "weather" else pixels
        valid = rng.random((n, n_dates, size)) < (1 if name == "weather" else 0.6)
        valid[:, 0, 0] = True
        days = np.sort(rng.choice(400, n_dates, replace=False)).astype("f4")
        series[name] = Series(
            torch.from_numpy(rng.normal(size=(n, n_dates, size, bands)).astype("f4")),
            torch.from_numpy(valid),
            torch.from_numpy(np.tile(days, (n, 1))),
            torch.from_numpy(np.tile(days * 5 + rng.normal(), (n, 1)).astype("f4")),
        )
    return Batch(
        series,
        torch.from_numpy(rng.normal(size=(n, 4)).astype("f4")),
        torch.from_numpy(rng.normal(size=(n, 3)).astype("f4")),
    )


def changed(batch, name, **changes):
    one = dataclasses.replace(batch.series[name], **changes)
    return dataclasses.replace(batch, series={**batch.series, name: one})


@pytest.mark.parametrize(("fusion", "temporal"), EVERY)
def test_masked_values_and_dates_change_no_logit_and_teach_nothing(fusion, temporal):
    network, batch = make_network(fusion=fusion, temporal=temporal, **FULL), make_batch(n=5)
    learned = {}
    for what in (None, torch.nan, torch.inf, 1e30):
        poisoned = batch
        for name in ("sentinel2", "sentinel1") if what is not None else ():
            one = batch.series[name]
            away = ~one.valid.any(dim=2)
            poisoned = changed(
                poisoned,
                name,
                values=torch.where(one.valid[..., None], one.values, what),
                days=torch.where(away, one.days + 9, one.days),
            )
        with torch.no_grad():
            logits = network(poisoned)
        student = copy.deepcopy(network).train()
        with torch.random.fork_rng():
            torch.manual_seed(0)  # of dropout
            student(poisoned).square().sum().backward()
        gradients = {k: p.grad for k, p in student.named_parameters() if p.grad is not None}
        learned[what] = {"logits": logits, **student.state_dict(), **gradients}
    for what in (torch.nan, torch.inf, 1e30):
        torch.testing.assert_close(learned[what], learned[None], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_masked_date_is_not_the_first(fusion):
    network, batch = make_network(fusion=fusion, time_encoding="first-date"), make_batch()
    for name in ("sentinel2", "sentinel1"):
        valid = batch.series[name].valid.clone()
        valid[:, 0], valid[:, 1, 0] = False, True
        batch = changed(batch, name, valid=valid)
    earlier = batch
    for name in ("sentinel2", "sentinel1"):
        days = batch.series[name].days.clone()
        days[:, 0] -= 40
        earlier = changed(earlier, name, days=days)
    with torch.no_grad():
        torch.testing.assert_close(network(earlier), network(batch), atol=1e-6, rtol=0)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 100))
@pytest.mark.parametrize(("fusion", "temporal"), EVERY)
def test_the_order_of_pixels_changes_nothing(fusion, temporal, seed):
    network, batch = make_network(fusion=fusion, temporal=temporal), make_batch(seed=seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(4))
    moved = {
        name: dataclasses.replace(one, values=one.values[:, :, order], valid=one.valid[:, :, order])
        if name != "weather" else one for name, one in batch.series.items()
    }  # fmt: skip
    with torch.no_grad():
        torch.testing.assert_close(
            network(dataclasses.replace(batch, series=moved)), network(batch), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize(("fusion", "temporal"), EVERY)
def test_a_member_of_a_batch_does_not_depend_on_the_others(fusion, temporal):
    network, batch = make_network(fusion=fusion, temporal=temporal, **FULL), make_batch(n=4)
    for name, member in (("sentinel2", 0), ("sentinel1", 1)):  # one lacks each sensor
        valid = batch.series[name].valid.clone()
        valid[member] = False
        batch = changed(batch, name, valid=valid)
    with torch.no_grad():
        together = network(batch)
        assert torch.isfinite(together).all()
        folded = fold(network)(batch)
        torch.testing.assert_close(folded, together, atol=1e-5, rtol=0)
        for i in range(4):
            alone = network(batch.take(torch.tensor([i])))
            torch.testing.assert_close(alone, together[i : i + 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize(("fusion", "temporal"), EVERY)
def test_batches_of_any_size_train(fusion, temporal, n):
    network = make_network(fusion=fusion, temporal=temporal, train_steps=0, **FULL).train()
    found = network(make_batch(n=n))
    assert found.shape == (n, 4)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize(("fusion", "temporal"), EVERY)
def test_every_parameter_learns(fusion, temporal):
    auxiliary = fusion != "early"
    network = make_network(fusion=fusion, temporal=temporal, auxiliary=auxiliary, **FULL).train()
    batch = make_batch(n=8)
    for name, members in (("sentinel2", slice(0, 2)), ("sentinel1", slice(2, 4)),
                          ("weather", slice(4, 5))):  # fmt: skip
        valid = batch.series[name].valid.clone()
        valid[members] = False
        batch = changed(batch, name, valid=valid)
    found = network.forward_all(batch)
    target = torch.arange(8) % 4
    loss = torch.nn.functional.cross_entropy(found.logits, target)
    for logits, seen in found.auxiliary.values():
        loss = loss + torch.nn.functional.cross_entropy(logits, target[seen])
    loss.backward()
    still = {
        name
        for name, p in network.named_parameters()
        if p.grad is None or not torch.isfinite(p.grad).all() or p.grad.abs().max() < 1e-12
    }
    # Taken out by a softmax or by the mean of a normalisation: zero by algebra.
    zero = ("keys.bias", "queries.bias", "pixels.0.bias", "sets.0.bias", "out.0.0.bias",
            "out.0.bias", "out.0.3.bias", "decoders.fused.0.bias")  # fmt: skip
    assert {name for name in still if not name.endswith(zero)} == set()


@pytest.mark.parametrize("away", [("sentinel2",), ("sentinel1",), ("sentinel2", "sentinel1")])
@pytest.mark.parametrize(("fusion", "temporal"), EVERY)
def test_sensors_without_any_date_stay_finite(fusion, temporal, away):
    network = make_network(fusion=fusion, temporal=temporal).train()
    batch = make_batch(n=4)
    for name in away:
        batch = changed(batch, name, valid=torch.zeros_like(batch.series[name].valid))
    logits = network(batch)
    assert torch.isfinite(logits).all()
    if len(away) == 2:
        assert not network.predictable(batch).any()
    if fusion == "decision" and len(away) == 2:
        return  # a mean over no network's decision depends on no weight
    logits.square().sum().backward()
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    assert grads
    assert all(torch.isfinite(g).all() for g in grads)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_an_absent_sensor_equals_one_without_dates(fusion):
    network, batch = make_network(fusion=fusion), make_batch()
    for name, n_bands in (("sentinel2", 3), ("sentinel1", 2)):  # 0 is not their mean
        network.normalise_by(name, torch.full((n_bands,), -15.0), torch.full((n_bands,), 2.0))
    for name, other in (("sentinel1", "sentinel2"), ("sentinel2", "sentinel1")):
        dark = changed(batch, name, valid=torch.zeros_like(batch.series[name].valid))
        with torch.no_grad():
            torch.testing.assert_close(
                network(Batch({other: batch.series[other]})), network(dark), atol=1e-6, rtol=0
            )


@pytest.mark.parametrize(
    "options",
    [
        *({"fusion": name} for name in FUSIONS[:2] + FUSIONS[3:]),
        *({"temporal": name} for name in list(SIZES)[1:]),
        {"period": 50.0}, {"statistics": ("mean",)}, {"statistics": ("mean", "std", "max", "min")},
        {"time_encoding": "calendar-day"}, {"time_encoding": "none"},
        {"time_encoding": "thermal-time", "thermal_source": "temperature_mean"},
        {"time_encoding": "first-date"}, {"time_encoding": "order"},
        {"thermal_step": 900.0, "thermal_source": "temperature_mean"},
        {"weather": True, "weather_variables": ("temperature_mean", "precipitation")},
        {"terrain": True, "terrain_variables": ("elevation", "slope", "aspect_sine")},
        {"geometry": True, "n_geometry": 4},
    ],
    ids=str,
)  # fmt: skip
def test_every_network_option_changes_the_output(options):
    batch = make_batch()
    with torch.no_grad():
        assert not torch.allclose(make_network(**options)(batch), make_network()(batch), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"weather": True, "weather_variables": ("temperature_mean", "precipitation")}, "weather"),
        ({"terrain": True, "terrain_variables": ("elevation", "slope", "aspect_sine")}, "terrain"),
        ({"geometry": True, "n_geometry": 4}, "geometry"),
        ({"time_encoding": "thermal-time", "thermal_source": "temperature_mean"}, "thermal"),
        ({"thermal_step": 900.0, "thermal_source": "temperature_mean"}, "thermal"),
    ],
    ids=["weather", "terrain", "geometry", "thermal time", "thermal sampling"],
)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_input_matters(fusion, options, part):
    network, batch = make_network(fusion=fusion, **options), make_batch()
    if part == "weather":
        other = changed(batch, "weather", values=batch.series["weather"].values + 1)
    elif part == "thermal":
        one = batch.series["sentinel2"]
        other = changed(batch, "sentinel2", thermal=one.thermal * 1.5)
    else:
        other = dataclasses.replace(batch, **{part: getattr(batch, part) + 1})
    with torch.no_grad():
        assert not torch.allclose(network(other), network(batch), atol=1e-5)


def test_auxiliary_classifiers_exist_only_if_asked_for():
    for fusion in FUSIONS[1:]:
        found = make_network(fusion=fusion, auxiliary=True).forward_all(make_batch())
        assert set(found.auxiliary) == {"sentinel2", "sentinel1"}
        assert not make_network(fusion=fusion).forward_all(make_batch()).auxiliary
    with pytest.raises(ModelFormatError, match="early fusion"):
        make_network(fusion="early", auxiliary=True)


@pytest.mark.parametrize("fusion", ["late", "decision"])
def test_a_training_step_also_predicts_without_each_sensor(fusion):
    network, batch = make_network(fusion=fusion), make_batch(n=5)
    with torch.no_grad():  # sure: probabilities far below the rounding of one another's
        for decoder in network.decoders.values():
            decoder[-1].weight *= 40
    for name, member in (("sentinel2", 0), ("sentinel1", 1)):
        valid = batch.series[name].valid.clone()
        valid[member] = False
        batch = changed(batch, name, valid=valid)
    assert not network.forward_all(batch).without
    # Its layers stay as at prediction, so that both can be compared.
    network.training = True
    with torch.no_grad():
        found = network.forward_all(batch)
        network.training = False
        assert set(found.without) == {"sentinel2", "sentinel1"}
        torch.testing.assert_close(found.logits, network(batch), atol=1e-6, rtol=0)
        for name, (logits, members) in found.without.items():
            # A member that has but one sensor cannot do without it, nor learns from its absence.
            assert members.tolist() == [False, False, True, True, True]
            others = {key: one for key, one in batch.series.items() if key != name}
            alone = network(dataclasses.replace(batch, series=others))
            torch.testing.assert_close(logits, alone[members], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fusion", ["late", "decision"])
def test_a_batch_of_one_sensor_is_not_predicted_without_it(fusion):
    network, batch = make_network(fusion=fusion, may_be_missing=()).train(), make_batch(n=4)
    assert set(network.forward_all(batch).without) == {"sentinel2", "sentinel1"}
    alone = dataclasses.replace(batch, series={"sentinel1": batch.series["sentinel1"]})
    assert not network.forward_all(alone).without


def test_network_options_must_match_the_data():
    with pytest.raises(ModelFormatError, match="weather is True"):
        make_network(weather=True)
    with pytest.raises(ModelFormatError, match="geometry is False"):
        make_network(n_geometry=3)


def test_interpolation_by_hand():
    days = torch.tensor([[0.0, 10.0, 20.0, 30.0]])
    values = torch.tensor([1.0, torch.nan, 5.0, 7.0]).view(1, 4, 1, 1)
    valid = torch.tensor([True, False, True, True]).view(1, 4, 1)
    at = torch.tensor([[-5.0, 0.0, 5.0, 10.0, 20.0, 25.0, 99.0]])
    found, known = interpolate(Series(values, valid, days), at)
    assert found.flatten().tolist() == [1, 1, 2, 3, 5, 6, 7]
    assert known.all()
    _, known = interpolate(Series(values, torch.zeros_like(valid), days), at)
    assert not known.any()


def test_thermal_sampling_by_hand():
    thermal = torch.tensor([[0.0, 40.0, 110.0, 390.0]])
    days = torch.tensor([[0.0, 100.0, 130.0, 200.0]])
    values = torch.tensor([1.0, 3.0, 5.0, 7.0]).view(1, 4, 1, 1)
    valid = torch.tensor([True, True, True, False]).view(1, 4, 1)
    found = resample_thermal(Series(values, valid, days, thermal), 100.0)
    assert found.values.flatten().tolist() == [2, 5]
    assert found.days.tolist() == [[50, 130]]
    assert found.thermal.tolist() == [[20, 110]]
    assert found.valid.all()


@pytest.mark.parametrize("temporal", ["gru", "transformer"])
def test_saving_memory_in_training_changes_no_gradient(temporal, monkeypatch):
    def gradients():
        network = make_network(temporal=temporal, dropout=0.0).train()
        network(make_batch(n=5)).square().sum().backward()
        return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}

    expected = gradients()
    monkeypatch.setattr(layers, "_LARGE", 0)
    monkeypatch.setattr(layers, "_MEMBERS", 2)
    for name, found in gradients().items():
        torch.testing.assert_close(found, expected[name], atol=1e-4, rtol=1e-4, msg=name)
