"""What a model's item says about its years; a model replaced after its graph was built."""

import json
from dataclasses import replace

import pytest
from samples import make_samples

from cubecrop.classification import classify_pixel_sets
from cubecrop.errors import ModelFormatError
from cubecrop.model import handle_to
from cubecrop.training import TrainConfig, fit

QUICK = TrainConfig(epochs=1, n_pixels=4)


@pytest.fixture(scope="module")
def model():
    return fit(*make_samples(n=6), config=QUICK, progress=False)


@pytest.mark.parametrize(
    ("years", "start", "end"),
    [
        ((2018,), "2017-09-01T00:00:00Z", "2018-10-31T23:59:59Z"),
        ((2017, 2018, 2020), "2016-09-01T00:00:00Z", "2020-10-31T23:59:59Z"),
    ],
)
def test_an_item_spans_the_seasons_of_its_years(model, tmp_path, years, start, end):
    taught = replace(model, training=replace(model.training, years=years))
    folder = taught.save(tmp_path / "model")
    told = json.loads((folder / "model.json").read_text())["properties"]
    assert (told["start_datetime"], told["end_datetime"]) == (start, end)


def test_a_model_that_was_replaced_after_the_graph_was_built_is_refused(
    model, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    samples, labels = make_samples(n=6)
    other = fit(samples, labels, config=QUICK, seed=1, progress=False)
    lazy = classify_pixel_sets(samples.chunk({"parcel": 3}), model)["probability"]
    reference = handle_to(model)
    other.save(reference.path, overwrite=True)
    says = rf"holds model {other.digest[:12]}, expected {model.digest[:12]}: it was replaced"
    with pytest.raises(ModelFormatError, match=says):
        reference.predictor("cpu")
    with pytest.raises(ModelFormatError, match=says):
        lazy.compute(scheduler="synchronous")
