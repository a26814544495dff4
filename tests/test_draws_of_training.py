"""Which pixels an epoch draws from each parcel, and the noise that it adds."""

import numpy as np
import pytest

from cubecrop.errors import LabelError
from cubecrop.model import SampleArrays, SensorArrays
from cubecrop.training import TrainConfig
from cubecrop.training.batches import batches
from cubecrop.training.sets import TrainingSet

N, STORED = 6, 32
#: Nothing is left to chance but what a test asks for.
PLAIN = {"batch_size": N, "small_sets": 0.0, "date_dropout": {}, "jitter": 0.0}


def stored(values):
    """Parcels of one optical date, all of whose pixels are valid."""
    valid = np.ones(values.shape[:3], bool)
    series = {"sentinel2": SensorArrays(values, valid, np.array([100], "f4"))}
    ids = [f"p{i}" for i in range(N)]
    return TrainingSet(SampleArrays(series), np.arange(N) % 3, ids, np.full(N, STORED))


def drawn(values, config, *, deviation=(1.0,), seed=0, epoch=0):
    """Values (pixel, band) of an epoch's one batch."""
    deviations = {"sentinel2": np.array(deviation, "f4")}
    ((batch, _),) = batches([stored(values)], deviations, config, seed=seed, epoch=epoch)
    return batch.series["sentinel2"].spread().values.flatten(0, 2).numpy()


def pixels_of(config, **when):
    """Which of each parcel's pixels an epoch draws."""
    numbers = np.arange(N * STORED, dtype="f4").reshape(N, 1, STORED, 1)
    parcel, pixel = np.divmod(drawn(numbers, config, **when)[:, 0].astype(int), STORED)
    return [set(pixel[parcel == one].tolist()) for one in range(N)]


def test_each_epoch_and_seed_draws_other_pixels_of_each_parcel():
    config = TrainConfig(n_pixels=4, **PLAIN)
    first = pixels_of(config)
    assert [len(one) for one in first] == [4] * N
    assert pixels_of(config) == first
    for other in (
        pixels_of(config, epoch=1),
        pixels_of(config, epoch=2),
        pixels_of(config, seed=1),
    ):
        assert [len(one) for one in other] == [4] * N
        assert all(one != two for one, two in zip(first, other, strict=True))


def test_over_the_epochs_every_pixel_is_drawn():
    config = TrainConfig(n_pixels=8, **PLAIN)
    epochs = [pixels_of(config, epoch=epoch) for epoch in range(40)]
    seen = [set().union(*parcel) for parcel in zip(*epochs, strict=True)]
    assert [len(one) for one in seen] == [STORED] * N


@pytest.mark.parametrize("kind", ["jitter", "offset"])
def test_noise_is_as_wide_as_the_band_varies(kind):
    """Over 40 epochs: half of each band's deviation, which spans four orders of magnitude."""
    config = TrainConfig(n_pixels=STORED, **{**PLAIN, kind: 0.5})
    deviation = [0.01, 1.0, 100.0]
    zeros = np.zeros((N, 1, STORED, 3), "f4")
    noise = [drawn(zeros, config, deviation=deviation, epoch=epoch) for epoch in range(40)]
    found = np.concatenate(noise).std(axis=0)
    np.testing.assert_allclose(found, 0.5 * np.array(deviation), rtol=0.15)


def test_windows_hide_dates_outside_of_them_in_half_of_the_parcels():
    days = np.arange(0, 400, 4, dtype="f4")
    valid = np.ones((200, len(days), 1), bool)
    series = {"sentinel2": SensorArrays(np.zeros((*valid.shape, 1), "f4"), valid, days)}
    ids = [f"p{i}" for i in range(200)]
    whole = TrainingSet(SampleArrays(series), np.arange(200) % 3, ids, np.ones(200, int))
    config = TrainConfig(windows=(0.4, 0.7), **{**PLAIN, "batch_size": 200})
    ((batch, _),) = batches(
        [whole], {"sentinel2": np.ones(1, "f4")}, config, seed=0, epoch=0, n_days=400
    )
    seen = batch.series["sentinel2"].valid[:, :, 0].numpy()
    assert seen[:, (days >= 160) & (days <= 280)].all()
    share = seen.all(axis=1).mean()
    assert 0.4 < share < 0.6
    assert seen[:, days < 160].mean() < 0.9


@pytest.mark.parametrize("windows", [(0.7, 0.4), (0.2,), (0.2, 1.5), "all"])
def test_windows_that_are_none_are_refused(windows):
    with pytest.raises(LabelError, match="windows"):
        TrainConfig(windows=windows)
