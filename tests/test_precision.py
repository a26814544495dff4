"""Prediction in bfloat16: the same crops where the model is sure."""

import numpy as np
import pytest

from benchmarks.points import simulate_points
from cubecrop import TrainConfig, fit
from cubecrop.model import Predictor, sample_arrays


def test_sure_pixels_keep_their_crop_in_bfloat16():
    points = simulate_points("bavaria", 2021, n=1600, seed=3)
    learned, others = points.isel(parcel=slice(300)), points.isel(parcel=slice(300, None))
    model = fit(learned, learned["label"].to_numpy(), config=TrainConfig(epochs=20), progress=False)
    arrays = sample_arrays(others, model.network.config)
    whole = Predictor(model.network)(arrays)
    low = Predictor(model.network, precision="bfloat16")(arrays)
    assert low.dtype == np.float32
    assert not np.array_equal(low, whole)
    sure = whole.max(axis=1) > 0.6
    assert sure.sum() > 800
    same = low.argmax(axis=1) == whole.argmax(axis=1)
    assert same[sure].mean() >= 0.999
    assert np.median(np.abs(low - whole).max(axis=1)) < 0.01


def test_other_precisions_are_refused():
    with pytest.raises(ValueError, match="precision is 'float16'"):
        Predictor(None, precision="float16")
