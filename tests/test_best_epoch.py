"""A model has the weights of its best validation epoch, averaged over three epochs."""

import csv

import numpy as np
import pytest
import torch
from samples import make_samples

from cubecrop.metrics import scores
from cubecrop.training import TrainConfig, fit
from cubecrop.training.loop import TrainingHistory
from cubecrop.training.validation import split_validation

NAN = float("nan")


@pytest.mark.parametrize(
    ("found", "best"),
    [
        # Means of up to three: .2 .5 .45 .53 .45 .56: the lucky 0.8 does not win.
        ([0.2, 0.8, 0.35, 0.45, 0.55, 0.68], 6),
        # .1 .3 .5 .5 .4: of equals the last.
        ([0.1, 0.5, 0.9, 0.1, 0.2], 4),
        ([0.9, 0.1, 0.2, 0.3], 1),
        ([NAN, NAN, NAN], 3),
    ],
)
def test_the_best_epoch_is_that_of_the_best_mean_of_three(found, best):
    network, history = torch.nn.Linear(1, 1), TrainingHistory()
    for epoch, score in enumerate(found, 1):
        with torch.no_grad():
            network.weight.fill_(epoch)
        history.add({"validation_macro_f1": score}, network)
    assert history.best_epoch == best
    if np.isnan(found).any():
        assert history.weights is None
    else:
        assert history.weights["weight"].item() == best


def test_a_model_predicts_as_its_best_epoch_did(tmp_path):
    """Validation parcels look like the next crop, so that learning lowers their score.

    The warm-up is long: the first epochs learn little, and guess right now and then.
    """
    samples, labels = make_samples(n=60, n_pixels=1, sensors=("sentinel1",))
    truth = np.unique(labels, return_inverse=True)[1]
    validation = split_validation(truth, samples["parcel"].values.tolist(), 0.3, seed=0)
    place = np.arange(60)
    shown = np.where(validation, (place + 1) % 60, place)
    samples["sentinel1"]["backscatter"][:] = samples["sentinel1"]["backscatter"].to_numpy()[shown]
    config = TrainConfig(epochs=8, batch_size=8, n_pixels=1, validation=0.3, warm_up=0.9)
    model = fit(samples, labels, config=config, checkpoint=tmp_path, device="cpu", progress=False)
    with (tmp_path / "metrics.csv").open() as file:
        told = [float(row["validation_macro_f1"]) for row in csv.DictReader(file)]
    best = model.training.best_epoch
    smooth = [np.mean(told[max(0, i - 2) : i + 1]) for i in range(8)]
    assert best == 8 - np.argmax(smooth[::-1])
    assert told[best - 1] > told[-1]
    guess = (
        model.predict_proba(samples.isel(parcel=np.flatnonzero(validation)))
        .to_numpy()
        .argmax(axis=1)
    )
    assert scores(truth[validation], guess, 3).macro_f1 == pytest.approx(told[best - 1])
