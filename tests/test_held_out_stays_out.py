"""Neither the network nor the forest learns from held-out parcels.

In the first tests each held-out parcel looks like the other crop. A classifier trained only on
training parcels is wrong about all of them, and its weights do not depend on how they look. In the
others labels or series of held-out parcels change, and the weights do not.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from fields import CORNERS, PLACE, make_parcels
from samples import make_samples
from test_train_table import extraction

import cubecrop
from cubecrop.evaluation import Population, folds
from cubecrop.evaluation.candidates import NETWORK, Candidate, main_candidates
from cubecrop.evaluation.runs import Run
from cubecrop.pipeline.score import BASELINE, fit_and_score
from cubecrop.sample import read_worldcereal, split_groups
from cubecrop.testing import Optical, write_archive

DAYS = ("03-01", "05-01", "06-15", "08-01")
PART = cubecrop.split_parcels(make_parcels(), "crop", held_out=0.3).to_numpy()


def write_images(folder, of_held_out):
    """Training parcels of wheat near DN 2000, of maize near 4000; held-out ones as given."""
    held = PART == "held out"
    shown = np.array([2000 if i < 2 else 4000 for i, _ in CORNERS]) + 5 * np.arange(16)
    shown[held] = of_held_out(shown[held])

    def ground(x, y):
        column, row = (x - PLACE.left) // 100, (PLACE.top - y) // 100
        return shown[(4 * column + row).astype(int)]

    days = [Optical(when=f"2018-{day}T10:56:21Z", dn=ground, place=PLACE) for day in DAYS]
    return write_archive(folder, days)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Trained where held-out parcels look as the other crop, and where they are very bright."""
    looks = {"the other crop": lambda dn: 6000 - dn, "very bright": lambda dn: 0 * dn + 9000}
    return [
        cubecrop.train(
            make_parcels(), "crop", 2018, sensors=("sentinel2",), progress=False,
            archive=write_images(tmp_path_factory.mktemp("images"), look),
            config=cubecrop.TrainConfig(epochs=1, n_pixels=4),
        )
        for look in looks.values()
    ]  # fmt: skip


def test_the_network_is_the_same_however_held_out_parcels_look(models):
    one, other = (model.network.state_dict() for model in models)
    assert all(torch.equal(one[name], other[name]) for name in one)
    n_held = int((PART == "held out").sum())
    assert n_held == 4
    assert sum(models[0].training.parcels.values()) == 16 - n_held
    assert models[0].scores["train"]["n"] == 16 - n_held


def test_the_forest_is_wrong_about_every_held_out_parcel(models):
    forest = models[0].scores["held out, random forest"]
    assert (forest["n"], forest["accuracy"]) == (4, 0)


#: Validation chooses the best of these epochs: the part of it must come from training parcels.
CHOOSES = cubecrop.TrainConfig(epochs=4, n_pixels=2, validation=0.3)


def assert_same_model(one, other):
    first, second = (model.network.state_dict() for model in (one, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert one.training.best_epoch == other.training.best_epoch
    assert one.calibration == other.calibration


def scored(samples, labels, held):
    """Trained on the parcels that are not held out, by the function behind all training calls."""
    return fit_and_score(
        [samples], [labels], [np.where(held, "held out", "train").astype(object)],
        nomenclature=cubecrop.Nomenclature.from_labels(labels), config=CHOOSES, seed=0,
        device="cpu", checkpoint=None, progress=False,
    )  # fmt: skip


def test_shuffled_labels_of_held_out_parcels_change_scores_alone():
    samples, labels = make_samples(n=60)
    held = np.arange(60) % 4 == 0
    shuffled = np.array(labels)
    shuffled[held] = np.roll(shuffled[held], 1)  # every one is wrong
    first, second = (scored(samples, texts, held) for texts in (labels, shuffled.tolist()))
    assert_same_model(first, second)
    assert first.scores["train"] == second.scores["train"]
    for part in ("held out", BASELINE):
        assert first.scores[part]["accuracy"] > second.scores[part]["accuracy"] + 0.5


def test_a_run_of_an_evaluation_is_the_same_however_test_labels_are_shuffled(monkeypatch):
    samples, labels = make_samples(n=60)
    one = Population.of(samples, labels)
    fold = folds(one, "random", n_folds=3)[0]
    texts = np.array(labels)
    texts[fold.test] = np.roll(texts[fold.test], 1)
    other = Population.of(samples, texts.tolist())
    assert (one.label != other.label).sum() > 10
    trained = []
    real = Candidate.train

    def kept(*args, **options):
        trained.append(real(*args, **options))
        return trained[-1]

    monkeypatch.setattr(Candidate, "train", kept)
    (network,) = main_candidates([NETWORK], CHOOSES)
    found = [Run(candidate=network, fold=fold, seed=0).perform(each) for each in (one, other)]
    first, second = (outcome.predictions for outcome in found)
    np.testing.assert_array_equal(first.probability, second.probability)
    assert len(trained) == 2
    assert_same_model(*trained)


def test_a_table_trains_the_same_however_held_out_samples_look(tmp_path):
    path = extraction(tmp_path / "table.parquet", n=60)
    table = pd.read_parquet(path)
    models = [cubecrop.train_table(path, "crop", config=CHOOSES, progress=False)]
    held = held_out_of(path)
    assert sum(models[0].training.held_out.values()) == len(held) > 10
    bands = [name for name in table.columns if name.startswith(("S1", "S2"))]
    table.loc[table["sample_id"].isin(held), bands] = 9000
    table.to_parquet(path)
    models.append(cubecrop.train_table(path, "crop", config=CHOOSES, progress=False))
    assert_same_model(*models)
    accuracies = [model.scores[BASELINE]["accuracy"] for model in models]
    assert accuracies[0] > 0.9
    assert accuracies[1] < 0.6  # they all look the same


def held_out_of(path):
    """Names of the samples that `train_table` holds out."""
    samples = read_worldcereal(path, label="crop")
    labelled = samples.isel(parcel=np.flatnonzero(pd.notna(samples["label"].to_numpy())))
    index = np.unique(labelled["label"].to_numpy().astype(str), return_inverse=True)[1]
    groups = labelled["group"].to_numpy().tolist()
    chosen = split_groups(index, groups, 0.3, salt="split", seed=0)
    return labelled["parcel"].to_numpy()[chosen].tolist()
