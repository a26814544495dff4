"""Models adapted to another region, without labels of it and with few."""

import inspect
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import shapely
import torch
import xarray as xr
from samples import make_samples
from test_cache import as_in_files

from cubecrop.errors import LabelError, ModelMismatchError, SchemaError
from cubecrop.evaluation import Population, adapt, fine_tune, self_training
from cubecrop.evaluation.guard import check_change, source_blocks
from cubecrop.model import Calibration, CropModel
from cubecrop.pipeline.known import parts_known
from cubecrop.sample import join_stores, stored
from cubecrop.training import TrainConfig, fit, refit, settings_of

QUICK = TrainConfig(epochs=12, n_pixels=4)


def region(*, west=3.0, n=90, seed=0, darker=0.0, noise=0.3):
    """Parcels along a line from a longitude; ``darker`` is taken from all optical values."""
    samples, labels = make_samples(n=n, seed=seed, noise=noise)
    rng = np.random.default_rng(seed)
    root = samples.to_dataset().assign_coords(
        parcel=[f"{west}-{i}" for i in range(n)],
        lon=("parcel", west + rng.permutation(n) / n),
        lat=("parcel", 50 + rng.permutation(n) / n),
    )
    optical = samples["sentinel2"].to_dataset(inherit=False)
    optical["reflectance"] = optical["reflectance"] - np.float32(darker)
    radar = samples["sentinel1"].to_dataset(inherit=False)
    nodes = {"/": root, "sentinel2": optical, "sentinel1": radar}
    return xr.DataTree.from_dict(nodes), labels


def accuracy(model, samples, labels):
    return float((model.predict_proba(samples).idxmax("crop").to_numpy() == labels).mean())


@pytest.fixture(scope="module")
def source():
    return region()


@pytest.fixture(scope="module")
def model(source):
    return fit(*source, config=QUICK)


@pytest.fixture(scope="module")
def target():
    return region(west=10.0, seed=5, darker=0.3)


@pytest.fixture(scope="module")
def adapted(model, source, target):
    return adapt(model, target[0], source=source, progress=False)


def same_weights(one, other):
    a, b = one.network.state_dict(), other.network.state_dict()
    return all(torch.equal(a[key], b[key]) for key in a)


def test_adapting_helps_in_a_region_that_looks_different(model, adapted, target):
    assert adapted.adaptation.applied
    assert accuracy(adapted, *target) > accuracy(model, *target) + 0.05
    record = adapted.adaptation
    assert (record.method, record.parcels, record.labelled) == ("self-training", 90, 0)
    assert record.blocks == ("western third", "eastern third", "northern third")
    assert np.mean(record.after) > np.mean(record.before)


def test_another_seed_gives_another_model(model, adapted, source, target):
    other = adapt(model, target[0], source=source, seed=4, progress=False)
    assert not same_weights(other, adapted)


def test_the_same_seed_gives_the_same_model_and_labels_of_the_target_are_not_read(
    model, adapted, source, target
):
    assert "labels" not in inspect.signature(adapt).parameters
    samples, labels = target
    root = samples.to_dataset().assign(label=("parcel", labels))
    nodes = {name: samples[name].to_dataset(inherit=False) for name in samples.children}
    named = xr.DataTree.from_dict({"/": root, **nodes})
    again = adapt(model, named, source=source, progress=False)
    assert again.digest == adapted.digest


def test_the_record_is_saved_and_shown(adapted, tmp_path):
    again = CropModel.load(adapted.save(tmp_path / "model"))
    assert again.adaptation == adapted.adaptation
    assert again.digest == adapted.digest
    assert "self-training on 90 parcels" in repr(again)
    assert "western third" in repr(again)
    assert f"± .{round(1000 * again.adaptation.error):03d}" in repr(again)
    assert "western third" in again._repr_html_()


@pytest.mark.filterwarnings("ignore:no source was given")
def test_an_adapted_model_has_no_scores_of_the_one_before(model, target):
    calibration = Calibration(temperature=2.0, alpha=0.1, threshold=0.1, n=90)
    scored = replace(model, scores={"train": {"n": 90, "accuracy": 1.0}}, calibration=calibration)
    changed = adapt(scored, target[0], progress=False)
    assert changed.scores == {}
    assert changed.calibration is None
    assert changed.training == model.training


def test_a_method_that_does_harm_is_not_applied(model, source, target, monkeypatch):
    def misled(own, parts, *args, **options):
        """Pseudo-labels are exchanged between classes."""
        wrong = [(s, np.roll(t, 1, axis=1) if isinstance(t, np.ndarray) else t) for s, t in parts]
        return refit(own, wrong, *args, **options)

    monkeypatch.setattr(self_training, "refit", misled)
    kept = adapt(model, target[0], source=source, progress=False)
    assert not kept.adaptation.applied
    assert np.mean(kept.adaptation.after) < np.mean(kept.adaptation.before)
    assert same_weights(kept, model)
    assert kept.training == model.training
    assert "did harm in the check" in repr(kept)


def test_harm_is_a_loss_beyond_the_standard_error(source):
    known = Population.of(*source)
    blocks = source_blocks(known)
    truth = np.eye(3, dtype=np.float32)[known.label]
    wrong = np.roll(truth, 1, axis=1)

    def losing(n):
        """The change gets the first n parcels of each block wrong, and nothing else."""

        def trial(train, target):
            assert len(np.intersect1d(train, target)) == 0
            assert len(train) + len(target) == len(known)
            after = truth[target].copy()
            after[:n] = wrong[target][:n]
            return target, truth[target], after

        return check_change(known, blocks, trial, seed=0)

    assert not losing(0).harms
    assert losing(0).before == losing(0).after == (1, 1, 1)
    assert losing(10).harms
    assert losing(10).tested == tuple(len(block) for _, block in blocks)
    # Errors of parcels that the change alone gets wrong: a tenth of a third of 30 to 40 parcels.
    assert 0.02 < losing(10).error < 0.06

    def even(train, target):
        """Each side gets two other parcels wrong."""
        before, after = truth[target].copy(), truth[target].copy()
        before[:2], after[2:4] = wrong[target][:2], wrong[target][2:4]
        return target, before, after

    assert not check_change(known, blocks, even, seed=0).harms


def test_blocks_of_a_single_source_are_its_edges(source):
    known = Population.of(*source)
    blocks = dict(source_blocks(known))
    assert [len(part) for part in blocks.values()] == [30, 30, 30]
    west, east, north = blocks.values()
    rest = np.setdiff1d(np.arange(90), west)
    assert known.lon[west].max() < known.lon[rest].min()
    assert known.lon[east].min() > known.lon[np.setdiff1d(np.arange(90), east)].max()
    assert known.lat[north].min() > known.lat[np.setdiff1d(np.arange(90), north)].max()


def test_blocks_of_several_sources_are_the_three_largest():
    sizes = (45, 60, 36, 48)
    parts = [region(west=float(i), n=n, seed=i) for i, n in enumerate(sizes)]
    known = Population.of([samples for samples, _ in parts], [labels for _, labels in parts])
    found = [(name, len(part)) for name, part in source_blocks(known)]
    assert found == [("samples 0", 45), ("samples 1", 60), ("samples 3", 48)]


def test_parcels_of_a_group_are_held_out_together():
    samples, labels = region()
    group = [f"g{i // 3}" for i in range(90)]
    nodes = {name: samples[name].to_dataset(inherit=False) for name in samples.children}
    root = samples.to_dataset().assign_coords(group=("parcel", group))
    known = Population.of(xr.DataTree.from_dict({"/": root, **nodes}), labels)
    for _, part in source_blocks(known):
        rest = np.delete(known.group, part)
        assert not set(known.group[part]) & set(rest)


def test_without_a_source_the_warning_names_the_cure(model, target):
    with pytest.warns(UserWarning, match=r"nothing checks.*source=\(samples, labels\)"):
        changed = adapt(model, target[0], progress=False)
    assert changed.adaptation.applied
    assert changed.adaptation.blocks == ()
    assert "not checked" in repr(changed)
    assert not same_weights(changed, model)


def test_a_source_without_places_cannot_be_checked(model, source, target):
    samples, labels = source
    nodes = {name: samples[name].to_dataset(inherit=False) for name in samples.children}
    root = samples.to_dataset().drop_vars(["lon", "lat"])
    placeless = xr.DataTree.from_dict({"/": root, **nodes})
    with pytest.warns(UserWarning, match="no part of the source can be held out"):
        changed = adapt(model, target[0], source=(placeless, labels), progress=False)
    assert changed.adaptation.applied
    assert changed.adaptation.blocks == ()


def test_too_few_parcels_and_other_bands_are_refused(model, source):
    few, _ = region(n=21)
    with pytest.raises(SchemaError, match=r"21 of the parcels.*30 or more.*Sample more parcels"):
        adapt(model, few, source=source, progress=False)
    samples, _ = region()
    nodes = {name: samples[name].to_dataset(inherit=False) for name in samples.children}
    nodes["sentinel2"] = nodes["sentinel2"].isel(band=slice(1, None))
    other = xr.DataTree.from_dict({"/": samples.to_dataset(), **nodes})
    with pytest.raises(ModelMismatchError, match="sentinel2 has bands"):
        adapt(model, other, source=source, progress=False)
    for wrong in ("table.parquet", 3):
        with pytest.raises(SchemaError, match="expected pixel sets"):
            adapt(model, wrong, source=source)


def test_a_source_that_the_model_does_not_know_is_refused(model, source, target):
    samples, labels = source
    with pytest.raises(LabelError, match=r"source: .*rye"):
        adapt(model, target[0], source=(samples, ["rye", *labels[1:]]), progress=False)
    with pytest.raises(LabelError, match="expected a pair"):
        adapt(model, target[0], source=samples, progress=False)


@pytest.mark.filterwarnings("ignore:no source was given")
def test_fine_tuning_with_five_labels(model, target):
    samples, labels = target
    few = [label if i < 5 else None for i, label in enumerate(labels)]
    tuned, again = (fine_tune(model, samples, few, progress=False) for _ in range(2))
    assert tuned.digest == again.digest
    assert not same_weights(tuned, model)
    record = tuned.adaptation
    assert (record.method, record.parcels, record.labelled) == ("fine-tuning", 90, 5)
    assert sum(tuned.training.parcels.values()) == sum(model.training.parcels.values()) + 5
    assert tuned.training.bboxes[0] == model.training.bboxes[0]
    assert len(tuned.training.bboxes) == 2
    assert accuracy(tuned, samples, labels) >= accuracy(model, samples, labels)


@pytest.mark.filterwarnings("ignore:no source was given")
def test_parcels_of_fine_tuning_are_known_to_the_model(model, target):
    samples, labels = target
    few = [label if i < 5 else None for i, label in enumerate(labels)]
    # A parcel's point in the samples is not its centroid.
    centres = shapely.points(samples["lon"] + 8e-4, samples["lat"] - 1.2e-3)
    parcels = gpd.GeoDataFrame(
        {"id": samples["parcel"]}, geometry=shapely.buffer(centres, 1e-3), crs=4326
    )
    assert parts_known(fine_tune(model, samples, few, progress=False), parcels)[0] == "unknown"
    recorded = replace(model, parcels_seen={"train": np.array([7], dtype=np.uint64)})
    tuned = fine_tune(recorded, samples, few, progress=False)
    assert parts_known(tuned, parcels) == ["train"] * 5 + ["unseen"] * 85
    assert 7 in tuned.parcels_seen["train"]


def test_fine_tuning_with_the_source_is_checked_on_it(model, source, target):
    samples, labels = target
    few = [label if i % 4 == 0 else None for i, label in enumerate(labels)]
    tuned = fine_tune(model, samples, few, source=source, progress=False)
    record = tuned.adaptation
    assert (record.labelled, len(record.blocks)) == (23, 3)
    assert record.applied
    assert accuracy(tuned, samples, labels) > accuracy(model, samples, labels)
    assert sum(tuned.training.parcels.values()) == 90 + 23


def test_fine_tuning_takes_only_classes_of_the_model(model, target):
    samples, labels = target
    with pytest.raises(LabelError, match=r"\['rye'\], which the model lacks.*cubecrop.fit"):
        fine_tune(model, samples, ["rye", *labels[1:]], progress=False)
    with pytest.raises(LabelError, match="4 labelled parcels, expected 5"):
        fine_tune(model, samples, [*labels[:4], *[None] * 86], progress=False)
    with pytest.raises(LabelError, match="only the class grass, expected two or more"):
        fine_tune(model, samples, ["grass"] * 90, progress=False)


def test_statistics_and_settings_stay_those_of_the_model(model, target):
    parts = [(target[0], target[1])]
    config = settings_of(model)
    assert replace(config, network=QUICK.network) == QUICK
    assert config.network.embedding == model.config.embedding
    network = refit(model, parts, config, seed=0)
    for name in ("sentinel2", "sentinel1"):
        for own, kept in zip(
            network.normalisation(name), model.network.normalisation(name), strict=True
        ):
            assert torch.equal(own, kept)
    still = replace(config, learning_rate=1e-12)
    continued = refit(model, parts, still, seed=0, from_weights=True)
    for key, value in model.network.named_parameters():
        torch.testing.assert_close(continued.get_parameter(key), value)


def test_probabilities_without_prediction_are_left_out(model, target):
    samples, _ = target
    probability = model.predict_proba(samples).to_numpy()
    holes = probability.copy()
    holes[::2] = np.nan
    every_other = samples.isel(parcel=slice(1, None, 2))
    config = settings_of(model)
    one = refit(model, [(samples, holes)], config, seed=0).state_dict()
    other = refit(model, [(every_other, probability[1::2])], config, seed=0).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.filterwarnings("ignore:no source was given")
def test_samples_on_disk_give_the_same_model(model, target, tmp_path):
    samples = as_in_files(target[0])
    store = stored(tmp_path, "target", lambda: samples)
    ((sets, _),) = join_stores([store], [np.arange(90)], np.zeros(90, int))
    few = [label if i < 9 else None for i, label in enumerate(target[1])]
    for change in (adapt, lambda *pair, **options: fine_tune(*pair, few, **options)):
        memory, disk = (change(model, one, progress=False) for one in (samples, sets))
        assert same_weights(memory, disk)
