"""What season coverage a model needs of data, by numbers, and what a model remembers of its own."""

import dataclasses
import json

import numpy as np
import pytest
import xarray as xr
from samples import make_samples
from seasons import LABEL, declared, every, seen_on, train

import cubecrop
from cubecrop.coverage import Coverage, acquired_days, least_demanding, longest_pause, shortfalls
from cubecrop.training import fit


@pytest.fixture(scope="module")
def place(two_crops_archive):
    return two_crops_archive


@pytest.fixture(scope="module")
def model(two_crops_model):
    return two_crops_model


def test_coverage_is_computed_from_days_in_any_order():
    found = Coverage.of([40, 10, 10, 15, 100])
    assert (found.first, found.last, found.dates) == (10, 100, 4)
    assert (found.longest_gap, found.gap_start) == (60, 40)
    assert Coverage.of([7]).longest_gap == 0
    assert Coverage.of([]) is None
    assert found.dated(cubecrop.Season(2019)) == {
        "first": "2018-09-11", "last": "2018-12-10", "longest_gap_days": 60,
        "gap_start": "2018-10-11", "dates": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (range(10, 411, 10), []),
        (range(41, 411, 10), []),
        (range(42, 411, 10), ["the first image is 32 days later"]),
        (range(10, 380, 10), ["the last image is 40 days earlier"]),
        ([*range(10, 201, 10), *range(241, 411, 10)], []),
        ([*range(10, 201, 10), *range(242, 411, 10)], ["the longest gap is 32 days longer"]),
        (range(10, 411, 21), []),
        (range(10, 411, 40), []),
        (range(10, 411, 41), ["there are 10 dates instead of 41"]),
        ([], ["there is no image"]),
    ],
)
def test_a_season_may_be_a_month_short_and_a_quarter_as_dense(days, expected):
    trained = Coverage.of(range(10, 411, 10))
    assert shortfalls(Coverage.of(list(days)), trained) == expected


def test_several_samples_have_the_least_demanding_coverage():
    one = Coverage.of([5, 10, 15, 200], clear_dates=4)
    other = Coverage.of([20, 30, 300, 310, 320], clear_dates=3)
    found = least_demanding([one, other])
    assert (found.first, found.last, found.longest_gap, found.dates) == (20, 200, 270, 4)
    assert found.clear_dates == 3
    assert [Coverage.of([1], clear_dates=n).least_dates for n in (0, 1, 2, 5)] == [1, 1, 1, 2]


def test_a_model_remembers_its_coverage(model):
    # 19 September 2018 and 24 October 2019, in days since 1 September 2018.
    seen = model.coverage["sentinel2"]
    assert (seen.first, seen.last, seen.longest_gap, seen.dates) == (18, 418, 20, 21)
    assert seen.clear_dates == 21
    assert (model.coverage["sentinel1"].dates, model.coverage["sentinel1"].longest_gap) == (18, 24)
    # A step shows .6 of 21 optical dates and .5 of 18 radar dates, and 95 % of them at least this.
    assert model.least_dates == {"sentinel2": 9, "sentinel1": 5}


def test_a_model_needs_as_many_dates_as_it_learned_from():
    samples, labels = make_samples(n=40, cloud=0.0)
    seen = samples["sentinel2"]["valid"].any("pixel").sum("time").to_numpy()
    assert set(seen) == {9}

    def least(**options):
        config = cubecrop.TrainConfig(epochs=1, n_pixels=4, **options)
        return fit(samples, labels, config=config).coverage["sentinel2"]

    # Binomial(9, .6) and Binomial(9, .2): 95 % of draws are at least 3 and 1.
    assert least(date_dropout={"sentinel2": 0.4}).least_dates == 3
    assert least(date_dropout={"sentinel2": 0.8}).least_dates == 1
    whole = least(date_dropout={})
    assert whole.least_dates == 9
    cut = least(date_dropout={}, windows=(0.3, 0.6))
    assert 3 <= cut.least_dates < 9
    assert cut.first > whole.first
    # A record that does not tell them is as it was, and needs half of the clear dates.
    old = dataclasses.replace(whole, shown_dates=0)
    assert "shown_dates" not in old.to_dict()
    assert (Coverage.from_dict(old.to_dict()), old.least_dates) == (old, 4)
    assert Coverage.from_dict(whole.to_dict()) == whole
    assert least_demanding([whole, old]).shown_dates == 0


def test_coverage_is_saved_and_a_model_without_it_is_not_checked(model, place, tmp_path):
    back = cubecrop.CropModel.load(model.save(tmp_path / "model"))
    assert back.coverage == model.coverage
    assert back.digest == model.digest
    plain = dataclasses.replace(model, coverage={})
    old = cubecrop.CropModel.load(plain.save(tmp_path / "old"))
    properties = json.loads((tmp_path / "old" / "model.json").read_text())["properties"]
    assert "coverage" not in properties["cubecrop:model"]
    assert old.digest == properties["cubecrop:digest"]
    assert old.coverage == {}
    found = cubecrop.classify_parcels(declared(), 2020, archive=place, model=old, progress=False)
    assert (found["status"] == "predicted").all()


def test_a_tables_coverage_counts_dates_with_a_valid_pixel():
    samples, labels = make_samples(n=12, cloud=0.0)
    dark = samples["sentinel2"]["valid"].copy()
    dark[:, 0] = False  # nobody was seen on the first date
    dark[0, 1:5] = False
    samples["sentinel2"]["valid"] = dark
    model = fit(samples, labels, config=cubecrop.TrainConfig(epochs=1, n_pixels=4))
    days = np.linspace(10, 400, 9).astype(int)
    seen = model.coverage["sentinel2"]
    assert (seen.first, seen.last, seen.dates) == (days[1], days[-1], 8)
    assert seen.clear_dates == 4
    # A table does not tell its acquisitions: fewer parcels may all be cloudy on a date.
    assert model.predict_proba(samples.isel(parcel=[0])).notnull().all()
    assert model.check(samples.isel(parcel=[0])) == ("sentinel2", "sentinel1")


def test_several_years_have_a_common_coverage(place, tmp_path):
    other = seen_on(tmp_path / "other", every(40, "2019-10-01", "2020-09-30"))
    trees = []
    for archive, year in ((place, 2019), (other, 2020)):
        cube = cubecrop.open_season(declared(), year, archive=archive, modalities=("sentinel2",))
        trees.append(cubecrop.sample_pixel_sets(cube, declared(), n_pixels=8))
    labels = declared()[LABEL].tolist()
    model = fit(trees, [labels, labels], config=cubecrop.TrainConfig(epochs=1, n_pixels=8))
    seen = model.coverage["sentinel2"]
    # 1 October 2019 is day 30; 25 September 2020, the last of every 40 days, is day 390.
    assert (seen.first, seen.last, seen.longest_gap) == (30, 390, 40)
    assert (seen.dates, seen.clear_dates) == (10, 10)


def test_training_may_be_stored_and_read_again(place, tmp_path, model):
    for _ in range(2):
        again = train(place, 2019, cache=tmp_path / "cache")
        assert again.coverage == model.coverage


def test_acquisitions_are_counted_once_a_day(place):
    cube = cubecrop.open_season(declared(), 2019, archive=place)
    season = cubecrop.Season(2019)
    assert len(acquired_days(cube["sentinel2"], season)) == 21
    twice = xr.concat([cube["sentinel1"].to_dataset(inherit=False)] * 2, dim="time")
    assert len(acquired_days(twice, season)) == 18
    assert acquired_days(twice.drop_vars("acquisitions"), season) is None


def test_a_winter_gap_in_training_does_not_allow_a_summer_gap():
    trained = Coverage.of([30, 45, 61, 287, 317])  # 226 days apart
    assert shortfalls(Coverage.of([30, 45, 95]), trained) == ["the last image is 222 days earlier"]


def test_a_pause_is_measured_from_the_first_day_to_the_last():
    days = np.array([30, 10, 20, 50])
    seen = np.array([[1, 1, 1, 1], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 1, 0]], bool)
    # In order of the days: 10 20 30 50 | 10 | 50 | none | 20 30.
    np.testing.assert_array_equal(longest_pause(seen, days, 5, 60), [20, 50, 45, 55, 30])
    asked = Coverage(first=5, last=60, longest_gap=20, dates=4, clear_dates=2, clear_pause=10)
    np.testing.assert_array_equal(asked.is_enough(seen, days), [True, False, False, False, True])
