"""Pixel sets in other units than those of the training are refused."""

import numpy as np
import pytest
from samples import make_samples

from cubecrop.errors import ModelMismatchError
from cubecrop.training import TrainConfig, fit

CONFIG = TrainConfig(epochs=1, n_pixels=4)


@pytest.fixture(scope="module")
def model():
    return fit(*make_samples(), config=CONFIG, progress=False)


def changed(name, change, samples=None):
    """Pixel sets with other values of a sensor; attributes stay."""
    samples = make_samples(seed=2)[0] if samples is None else samples
    variable = {"sentinel2": "reflectance", "sentinel1": "backscatter"}[name]
    values = samples[name][variable]
    samples[name][variable] = change(values).assign_attrs(values.attrs)
    return samples


WRONG = {
    "DN": ("sentinel2", lambda v: v * 10_000, "sentinel2 has .*values such as"),
    "percent": ("sentinel2", lambda v: v * 100, "sentinel2 has .*values such as"),
    "scaled twice": ("sentinel2", lambda v: v / 10_000, "sentinel2 has .*values such as"),
    "linear power": ("sentinel1", lambda v: 10 ** (v / 10), "sentinel1 has .*values such as"),
    "decibels in hundredths": ("sentinel1", lambda v: v * 100, "sentinel1 has .*values such as"),
    "a code": (
        "sentinel2", lambda v: v.where(np.arange(v.sizes["time"])[:, None, None] != 3, -9999),
        "valid values such as -9999",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "message"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("parcels", [slice(None), slice(1)], ids=["all", "one"])
def test_other_units_are_refused(model, name, change, message, parcels):
    samples = changed(name, change).isel(parcel=parcels)
    for use in (model.predict_proba, model.logits, model.embed, model.attention):
        with pytest.raises(ModelMismatchError, match=f"{message}.* the units"):
            use(samples)


def test_values_that_land_can_have_are_taken(model):
    samples = changed("sentinel2", lambda v: v * 0 + 0.003)  # water
    model.predict_proba(changed("sentinel1", lambda v: v * 0 - 27, samples))
    samples = changed("sentinel2", lambda v: v * 0 + 1.2)  # snow
    samples = changed("sentinel1", lambda v: v + 12, samples)  # a town
    samples["sentinel2"]["reflectance"][:, 0] = 3.2  # a mirror
    model.predict_proba(samples)
    samples = changed("sentinel2", lambda v: v.where(v > 0.1, -9999))
    samples["sentinel2"]["valid"] &= (samples["sentinel2"]["reflectance"] > 0).all("band")
    model.predict_proba(samples, allow_gaps=True)  # codes that are not valid are no values


def test_a_model_of_other_units_takes_these():
    def in_numbers(samples):
        return changed("sentinel2", lambda v: v * 10_000, samples)

    samples, labels = make_samples()
    model = fit(in_numbers(samples), labels, config=CONFIG, progress=False)
    model.predict_proba(in_numbers(make_samples(seed=2)[0]))
    with pytest.raises(ModelMismatchError, match="the units"):
        model.predict_proba(make_samples(seed=2)[0])
