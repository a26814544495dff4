"""Pre-training without labels, and a training that starts from the encoders of another network."""

import numpy as np
import pytest
from samples import make_samples

from cubecrop import NetworkOptions, TrainConfig, fit
from cubecrop.errors import LabelError, SchemaError
from cubecrop.training import PretrainConfig, pretrain

QUICK = PretrainConfig(epochs=60, batch_size=16)


@pytest.fixture(scope="module")
def encoders():
    samples, _ = make_samples(n=60, seed=3)
    return pretrain(samples, config=QUICK, progress=False)


def test_hidden_values_are_reconstructed_better_than_by_the_mean(encoders):
    assert encoders.losses[-1] < 0.7 * encoders.of_mean[-1]


def test_the_seed_alone_decides_the_weights(encoders):
    samples, _ = make_samples(n=60, seed=3)
    short = PretrainConfig(epochs=2, batch_size=16)
    one, again, other = (
        pretrain(samples, config=short, seed=seed, progress=False).digest for seed in (0, 0, 1)
    )
    assert one == again != other


def test_a_training_starts_from_the_encoders(encoders):
    samples, labels = make_samples(n=9, seed=5)
    tested, truth = make_samples(n=30, seed=6)
    config = TrainConfig(epochs=12, learning_rate=1e-3)

    def right(init):
        model = fit(samples, labels, config=config, init=init, progress=False)
        found = model.predict_proba(tested).to_numpy().argmax(axis=1)
        return np.mean([model.nomenclature.names[i] for i in found] == np.array(truth))

    assert right(encoders) > right(None)


def test_a_model_gives_its_encoders_to_other_classes(encoders):
    samples, labels = make_samples(n=12)
    first = fit(samples, labels, config=TrainConfig(epochs=1), init=encoders, progress=False)
    assert first.season_window == encoders.season_window
    names = ["tall" if label == "maize" else "short" for label in labels]
    radar, _ = make_samples(n=12, sensors=("sentinel1",))
    second = fit(radar, names, config=TrainConfig(epochs=1), init=first, progress=False)
    assert second.nomenclature.names == ["short", "tall"]
    assert second.sensors == ("sentinel1",)
    mean = second.network.normalisation("sentinel1")[0]
    assert (mean == first.network.normalisation("sentinel1")[0]).all()


def test_an_init_that_does_not_fit_is_refused(encoders):
    samples, labels = make_samples(n=9)
    with pytest.raises(LabelError, match="init is 'default'"):
        fit(samples, labels, init="default")
    with pytest.raises(LabelError, match="temporal"):
        fit(
            samples,
            labels,
            init=encoders,
            config=TrainConfig(network=NetworkOptions.published("tae")),
        )
    lacking = samples.copy()
    lacking["sentinel2"].dataset = samples["sentinel2"].to_dataset().isel(band=slice(4))
    with pytest.raises(SchemaError, match="B12"):
        fit(lacking, labels, init=encoders)
    longer = samples.copy()
    longer.attrs["season_end"] = "2018-12-31"
    with pytest.raises(SchemaError, match="not inside"):
        fit(longer, labels, init=encoders)


def test_a_network_without_a_summary_of_each_sensor_cannot_be_pretrained():
    with pytest.raises(LabelError, match="late"):
        PretrainConfig(network=NetworkOptions(fusion="early"))
