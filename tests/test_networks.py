"""Masks, permutations and configurations of the default network; `test_fusion` tests the others."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cubecrop.errors import ModelFormatError
from cubecrop.model import (
    Batch,
    CropNetwork,
    NetworkConfig,
    NetworkOptions,
    SensorConfig,
    Series,
    layers,
)
from cubecrop.model.fast import linear
from cubecrop.model.fast.folding import fold
from cubecrop.model.positions import Positions, sinusoid

SMALL = {"pixel_mlp": (8, 12), "embedding": 16, "attention_width": 32, "heads": 4, "decoder": (8,)}


def make_network(*, seed=0, may_be_missing=(), train_steps=3):
    config = NetworkConfig(
        sensors=(
            SensorConfig(name="sentinel2", bands=("B02", "B04", "B08")),
            SensorConfig(name="sentinel1", bands=("vv", "vh")),
        ),
        n_classes=4,
        may_be_missing=may_be_missing,
        **SMALL,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = CropNetwork(config)
        for step in range(train_steps):  # so that running statistics are not those of birth
            network(make_batch(seed=step, n=6))
    return network.eval()


def make_batch(*, seed=0, n=3, dates=(7, 5), pixels=4, clear=0.6):
    rng = np.random.default_rng(seed)
    batch = {}
    for name, n_dates, bands in (("sentinel2", dates[0], 3), ("sentinel1", dates[1], 2)):
        valid = rng.random((n, n_dates, pixels)) < clear
        valid[:, 0, 0] = True
        days = np.sort(rng.choice(400, n_dates, replace=False)).astype("f4")
        batch[name] = Series(
            torch.from_numpy(rng.normal(size=(n, n_dates, pixels, bands)).astype("f4")),
            torch.from_numpy(valid),
            torch.from_numpy(np.tile(days, (n, 1))),
        )
    return Batch(batch)


def replaced(batch, name, **changes):
    changed = dataclasses.replace(batch.series[name], **changes)
    return dataclasses.replace(batch, series={**batch.series, name: changed})


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), name=st.sampled_from(["sentinel2", "sentinel1"]))
def test_masked_pixels_change_nothing(seed, name):
    network, batch = make_network(), make_batch(seed=seed)
    series = batch.series[name]
    poisoned = torch.where(series.valid[..., None], series.values, torch.nan)
    with torch.no_grad():
        assert torch.equal(network(batch), network(replaced(batch, name, values=poisoned)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), name=st.sampled_from(["sentinel2", "sentinel1"]))
def test_dates_of_masked_dates_change_nothing(seed, name):
    network, batch = make_network(), make_batch(seed=seed)
    series = batch.series[name]
    away = ~series.valid.any(dim=2)
    days = torch.where(away, series.days + 77, series.days)
    with torch.no_grad():
        assert torch.equal(network(batch), network(replaced(batch, name, days=days)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), name=st.sampled_from(["sentinel2", "sentinel1"]))
def test_the_order_of_pixels_and_dates_changes_nothing(seed, name):
    network, batch = make_network(), make_batch(seed=seed)
    series = batch.series[name]
    rng = np.random.default_rng(seed)
    pixel = torch.from_numpy(rng.permutation(series.valid.shape[2]))
    date = torch.from_numpy(rng.permutation(series.valid.shape[1]))
    shuffled = replaced(
        batch,
        name,
        values=series.values[:, date][:, :, pixel],
        valid=series.valid[:, date][:, :, pixel],
        days=series.days[:, date],
    )
    with torch.no_grad():
        torch.testing.assert_close(network(shuffled), network(batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["sentinel2", "sentinel1"])
def test_dates_and_values_matter(name):
    network, batch = make_network(), make_batch()
    with torch.no_grad():
        logits = network(batch)
        for change in (
            {"days": batch.series[name].days + 40},
            {"values": batch.series[name].values + 0.5},
            {"valid": batch.series[name].valid & (torch.arange(4) < 2)},
        ):
            assert not torch.allclose(network(replaced(batch, name, **change)), logits)


def test_identical_pixels_keep_gradients_finite():
    network, batch = make_network().train(), make_batch(n=4)
    same = batch.series["sentinel2"].values[:, :, :1].expand(-1, -1, 4, -1).clone()
    network(replaced(batch, "sentinel2", values=same)).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_sinusoids_are_exact_to_the_last_digits():
    days = torch.arange(0.0, 420.0)
    found = sinusoid(days, 16, 1000.0)
    index = np.arange(16)
    angle = days.double().numpy()[:, None] / 1000.0 ** (2 * (index // 2) / 16)
    wanted = np.where(index % 2 == 0, np.sin(angle), np.cos(angle))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, wanted, atol=1e-7, rtol=0)


def test_parcels_without_a_needed_sensor_are_not_predictable():
    batch = make_batch(n=3)
    for name, member in (("sentinel2", 0), ("sentinel1", 1)):
        valid = batch.series[name].valid.clone()
        valid[member] = False
        batch = replaced(batch, name, valid=valid)
    assert make_network().predictable(batch).tolist() == [False, False, True]
    lenient = make_network(may_be_missing=("sentinel1",))
    assert lenient.predictable(batch).tolist() == [False, True, True]
    only = Batch({"sentinel2": batch.series["sentinel2"]})
    assert lenient.predictable(only).tolist() == [False, True, True]


@pytest.mark.parametrize("pixels", [1, 4])
@pytest.mark.parametrize("clear", [0.6, 1.0])
def test_folding_changes_no_logit(pixels, clear, monkeypatch):
    monkeypatch.setattr(linear, "_WORTH_CONVOLVING", 0)
    network, batch = make_network(), make_batch(n=9, pixels=pixels, clear=clear)
    network.normalise_by("sentinel2", torch.tensor([0.1, -0.2, 3.0]), torch.tensor([2.0, 0.5, 1.0]))
    with torch.no_grad():
        torch.testing.assert_close(fold(network)(batch), network(batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_packed_dates_come_back_to_their_place(share):
    values, mask = torch.randn(3, 5, 2), torch.rand(3, 5) < share
    expected = torch.where(mask[..., None], values, 0.0)
    assert torch.equal(layers.dense(layers.packed(values, mask), mask), expected)


def test_attention_sums_to_one_over_valid_dates():
    network, batch = make_network(), make_batch()
    series = batch.series["sentinel2"]
    with torch.no_grad():
        embedding, mask = network.encoders["sentinel2"](series)
        _, attention = network.temporal["sentinel2"](
            embedding, mask, series.days, Positions(series.days)
        )
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(3, SMALL["heads"]))
    assert (attention[~mask] == 0).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n_classes": 0}, "sizes"),
        ({"attention_width": 30}, "heads"),
        ({"temporal": "gru"}, "heads is 4, but temporal 'gru' takes no heads"),
        ({"temporal": "transformer", "key_width": 8}, "key_width is 8"),
        ({"temporal": "gru", "heads": None, "temporal_mlp": ()}, "temporal_mlp is empty"),
        ({"may_be_missing": ("sentinel3",)}, "sentinel3"),
        ({"sensors": ()}, "sensors"),
        ({"dropout": 1.5}, "dropout"),
        ({"embedding": 10**9}, "sizes"),
        ({"thermal_step": 1e-6, "thermal_source": "temperature_mean"}, "thermal_step"),
    ],
)
def test_impossible_configurations_are_refused(change, says):
    sensors = (SensorConfig(name="sentinel2", bands=("B02",)),)
    with pytest.raises(ModelFormatError, match=says):
        NetworkConfig(**{"sensors": sensors, "n_classes": 3, **SMALL, **change})


def test_configuration_survives_json():
    config = make_network(may_be_missing=("sentinel1",)).config
    assert NetworkConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ModelFormatError, match="temporal is 'other'"):
        NetworkConfig.from_dict({**config.to_dict(), "temporal": "other"})
    with pytest.raises(ModelFormatError, match="surprise"):
        NetworkConfig.from_dict({**config.to_dict(), "surprise": 1})


def test_default_sizes_are_narrow_and_published_ones_stay():
    sensors = (SensorConfig(name="sentinel2", bands=("B02", "B04")),)
    narrow = NetworkConfig(sensors=sensors, n_classes=3)
    assert (narrow.pixel_mlp, narrow.embedding, narrow.attention_width) == ((32,), 64, 0)
    published = NetworkOptions.published()
    assert (published.pixel_mlp, published.embedding, published.heads) == ((32, 64), 128, 16)
    whole = NetworkConfig(sensors=sensors, n_classes=3, **dataclasses.asdict(published))
    # What a model of these sizes says of itself is read back as it is, whatever the defaults.
    assert NetworkConfig.from_dict(whole.to_dict()) == whole
    for temporal in ("tae", "tempcnn", "gru", "transformer"):
        plain = NetworkConfig(sensors=sensors, n_classes=3, temporal=temporal)
        named = dataclasses.asdict(NetworkOptions.published(temporal))
        assert plain == NetworkConfig(sensors=sensors, n_classes=3, **named)
    with pytest.raises(ModelFormatError, match="temporal is 'lstm'"):
        NetworkOptions.published("lstm")
