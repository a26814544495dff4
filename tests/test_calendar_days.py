"""Calendar days are those of the year, whatever day a season starts on."""

import numpy as np
import pytest
import torch
from samples import make_samples

from cubecrop.model import NetworkConfig, NetworkOptions, SensorConfig, Series
from cubecrop.model.positions import numbers_of
from cubecrop.training import TrainConfig, fit


@pytest.mark.parametrize(
    ("start_day", "days", "of_the_year"),
    [
        # From 1 September: that day, 1 October, New Year's Eve, New Year, and a year later.
        (244, [0, 30, 121, 122, 365], [244, 274, 365, 1, 244]),
        (1, [0, 364, 365], [1, 365, 1]),
        (60, [0, 305, 306], [60, 365, 1]),
    ],
)
def test_days_of_the_year_by_hand(start_day, days, of_the_year):
    config = NetworkConfig(
        sensors=(SensorConfig(name="sentinel1", bands=("vv",)),), n_classes=2,
        time_encoding="calendar-day", start_day=start_day,
    )  # fmt: skip
    n = len(days)
    series = Series(
        torch.zeros(1, n, 1, 1), torch.ones(1, n, 1, dtype=torch.bool), torch.tensor([days]).float()
    )
    assert numbers_of(series, config).tolist() == [of_the_year]


@pytest.mark.parametrize(
    ("start", "year", "start_day"), [("2017-09-01", 2018, 244), ("2018-03-01", 2018, 60)]
)
def test_a_model_counts_from_the_day_that_its_season_starts_on(start, year, start_day):
    samples, labels = make_samples(n=6, sensors=("sentinel1",))
    node = samples["sentinel1"].to_dataset(inherit=False)
    moved = node["time"] + (np.datetime64(start, "ns") - np.datetime64("2017-09-01", "ns"))
    samples["sentinel1"] = type(samples)(node.assign_coords(time=moved))
    samples.attrs |= {"season_start": start, "season_end": "2019-10-31", "season_year": year}
    config = TrainConfig(epochs=1, n_pixels=4, network=NetworkOptions(time_encoding="calendar-day"))
    assert fit(samples, labels, config=config, progress=False).config.start_day == start_day
