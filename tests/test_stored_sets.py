"""Pixel sets of several stores as one, and training from them."""

import numpy as np
import pytest
import torch
import xarray as xr
from samples import as_in_files, make_samples, with_weather

import cubecrop
from cubecrop.errors import OutputError
from cubecrop.sample import StoredSets, join_stores, stored
from cubecrop.training import TrainConfig, fit, fit_forest


def assert_same(one, other):
    first, second = one.network.state_dict(), other.network.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert one.digest == other.digest


def test_batches_from_disk_train_the_same_weights(tmp_path):
    samples, labels = make_samples(n=120)
    samples = as_in_files(with_weather(samples))
    halves = [samples.isel(parcel=slice(0, 50)), samples.isel(parcel=slice(50, None))]
    stores = [stored(tmp_path, str(i), lambda half=half: half) for i, half in enumerate(halves)]
    rows = [np.arange(50), np.arange(50, 120)]
    ((sets, _),) = join_stores(stores, rows, np.repeat([0, 1], [50, 70]))
    network = cubecrop.NetworkOptions(weather=True, terrain=True, geometry=True)
    config = TrainConfig(
        network=network, epochs=3, batch_size=16, n_pixels=3, validation=0.2,
        may_be_missing=("sentinel1",),
    )  # fmt: skip
    memory, disk = (fit(one, labels, config=config, device="cpu") for one in (samples, sets))
    assert_same(memory, disk)
    assert memory.coverage == disk.coverage
    assert memory.calibration == disk.calibration
    forests = [fit_forest(one, labels).predict_proba(samples) for one in (samples, sets)]
    np.testing.assert_array_equal(*forests)


def test_a_step_reads_the_pixels_of_its_batch_only(tmp_path, monkeypatch):
    samples, labels = make_samples(n=60)
    store = stored(tmp_path, "key", lambda: samples)
    ((sets, _),) = join_stores([store], [np.arange(60)], np.zeros(60, int))
    read = []
    real = type(sets).numbers

    def spy(self, name, index):
        read.append(len(index))
        return real(self, name, index)

    monkeypatch.setattr(type(sets), "numbers", spy)
    config = TrainConfig(epochs=2, batch_size=8, n_pixels=2)
    fit(sets, labels, config=config, device="cpu")
    # Two sensors, 8 batches, 2 epochs; all are read once to find the valid ones, each sensor once
    # more for its mean, and all once to embed them.
    assert sorted(read) == [4] * 4 + [8] * 28 + [60] * 6


def test_memory_is_that_of_a_block_whatever_the_number_of_parcels(tmp_path, monkeypatch):
    monkeypatch.setattr("cubecrop.training.stored._WORK", 4 * 9 * 10)
    largest = []
    real = StoredSets.numbers

    def spy(self, name, index):
        numbers = real(self, name, index)
        largest[-1] = max(largest[-1], numbers.nbytes)
        return numbers

    monkeypatch.setattr(StoredSets, "numbers", spy)
    config = TrainConfig(epochs=1, batch_size=8, n_pixels=2, validation=0.2)
    for n in (240, 480):
        samples, labels = make_samples(n=n)
        store = stored(tmp_path, str(n), lambda samples=samples: samples)
        ((sets, _),) = join_stores([store], [np.arange(n)], np.zeros(n, int))
        largest.append(0)
        fit(sets, labels, config=config, device="cpu")
    parcel = 9 * 4 * 10 * 4  # dates, pixels, bands, bytes
    # A block of validation parcels of which one pixel is drawn, for the limits of pixels.
    assert largest == [22 * parcel, 22 * parcel]


def test_a_checkpoint_knows_its_stores(tmp_path):
    samples, labels = make_samples(n=40)
    config = TrainConfig(epochs=1, batch_size=8, n_pixels=2)

    def trained(tree, name):
        store = stored(tmp_path / "stores", name, lambda: tree)
        ((sets, _),) = join_stores([store], [np.arange(40)], np.zeros(40, int))
        return fit(sets, labels, config=config, device="cpu", checkpoint=tmp_path / "run")

    assert_same(trained(samples, "a"), trained(samples, "a"))
    other = samples.copy(deep=True)
    other["sentinel1"]["backscatter"] += 1
    with pytest.raises(OutputError, match="differs in samples"):
        trained(other, "b")


def renamed(samples, prefix):
    """The same pixel sets with other ids."""
    nodes = {name: node.to_dataset(inherit=False) for name, node in samples.children.items()}
    ids = [f"{prefix}{i}" for i in range(samples.sizes["parcel"])]
    root = samples.to_dataset().assign_coords(parcel=ids)
    return xr.DataTree.from_dict({"/": root, **nodes})


def dated(days, *, orbit=1, n=8, seed=0):
    """Pixel sets with chosen dates of Sentinel-1."""
    samples, _ = make_samples(n=n, dates=(4, len(days)), seed=seed)
    node = samples["sentinel1"].to_dataset(inherit=False)
    when = np.datetime64("2017-09-01T17:40", "ns") + np.array(days) * np.timedelta64(1, "D")
    samples["sentinel1"] = node.assign_coords(
        time=when, relative_orbit=("time", np.full(len(days), orbit, np.int16))
    )
    return renamed(samples, f"{seed} ")


def test_tiles_with_similar_dates_are_one_set(tmp_path):
    one, two, far = dated([10, 20, 30]), dated([10, 20, 40], seed=1), dated([5, 15, 25], seed=2)
    trees = [one, two, far]
    stores = [stored(tmp_path, str(i), lambda tree=tree: tree) for i, tree in enumerate(trees)]
    rows = [np.arange(8) + 8 * i for i in range(3)]
    groups = join_stores(stores, rows, np.repeat(np.arange(3), 8))
    assert [members.tolist() for _, members in groups] == [[*range(16)], [*range(16, 24)]]
    tree = groups[0][0].load(np.arange(16))
    days = tree["sentinel1"]["time"].to_numpy().astype("datetime64[D]")
    assert (days - np.datetime64("2017-09-01")).astype(int).tolist() == [10, 20, 30, 40]
    valid = tree["sentinel1"]["valid"].any("pixel").to_numpy()
    assert valid[:8, 2].all()
    assert not valid[:8, 3].any()
    assert not valid[8:, 2].any()
    np.testing.assert_array_equal(
        tree["sentinel1"]["backscatter"][8:, [0, 1, 3]], two["sentinel1"]["backscatter"]
    )


def test_a_tile_without_a_sensor_joins_the_others(tmp_path):
    both, lacking = make_samples(n=6)[0], make_samples(n=6, sensors=("sentinel2",), seed=1)[0]
    lacking = renamed(lacking, "q")
    stores = [stored(tmp_path, "a", lambda: both), stored(tmp_path, "b", lambda: lacking)]
    ((sets, _),) = join_stores(stores, [np.arange(6), np.arange(6, 12)], np.repeat([0, 1], 6))
    tree = sets.load(np.arange(12))
    assert tree["sentinel1"]["valid"][:6].any()
    assert not tree["sentinel1"]["valid"][6:].any()
    np.testing.assert_array_equal(
        tree["sentinel2"]["reflectance"][6:], lacking["sentinel2"]["reflectance"]
    )


def test_radar_of_two_orbits_keeps_both_dates_of_a_day(tmp_path):
    trees = [dated([10, 20], orbit=1), dated([10, 20], orbit=2, seed=1)]
    stores = [stored(tmp_path, str(i), lambda tree=tree: tree) for i, tree in enumerate(trees)]
    rows = [np.arange(8), np.arange(8, 16)]
    groups = join_stores(stores, rows, np.repeat([0, 1], 8))
    assert len(groups) == 2  # twice the dates
    several = join_stores(stores, [np.arange(8), np.arange(8)], np.zeros(8, int))
    assert several[0][0].nodes["sentinel1"].sizes["time"] == 4
