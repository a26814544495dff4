"""A model's item states how each band is scaled."""

import json

import pytest
from samples import make_samples

from cubecrop.training import TrainConfig, fit


def test_the_item_has_means_and_deviations_of_bands(tmp_path):
    model = fit(*make_samples(n=6), config=TrainConfig(epochs=1, n_pixels=4), progress=False)
    item = json.loads((model.save(tmp_path / "model") / "model.json").read_text())
    told = {one["name"].split()[0]: one for one in item["properties"]["mlm:input"]}
    assert set(told) == {"sentinel2", "sentinel1"}
    for name, one in told.items():
        means, deviations = (values.tolist() for values in model.network.normalisation(name))
        assert [scale["type"] for scale in one["value_scaling"]] == ["z-score"] * len(means)
        assert [scale["mean"] for scale in one["value_scaling"]] == pytest.approx(means)
        assert [scale["stddev"] for scale in one["value_scaling"]] == pytest.approx(deviations)
        assert len(one["bands"]) == len(means) > 1
