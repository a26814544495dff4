"""Without `season=`, the window that a model was trained on is opened."""

import dataclasses
import datetime as dt

import geopandas as gpd
import pytest
from seasons import declared, every, seen_on, train
from test_cli import run

import cubecrop
from cubecrop.aoi import parse_aoi
from cubecrop.errors import ModelMismatchError, SeasonError
from cubecrop.pipeline.inputs import season_of_model

WINDOW = ((0, 4, 1), (0, 9, 30))
NORTH, SOUTH = (3.0, 50.8, 3.1, 50.9), (25.0, -29.1, 25.1, -29.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    days = [*every(30, "2018-09-05", "2019-10-31"), *every(30, "2019-11-05", "2020-10-31")]
    return seen_on(tmp_path_factory.mktemp("seen") / "archive", days)


@pytest.fixture(scope="module")
def model(place):
    season = cubecrop.Season(2019, start=dt.date(2019, 4, 1), end=dt.date(2019, 9, 30))
    return train(place, 2019, season=season)


def learnt(model, **changes):
    """The model as if it had learnt from elsewhere or on other windows."""
    window = changes.pop("season_window", model.season_window)
    record = dataclasses.replace(model.training, **changes)
    return dataclasses.replace(model, season_window=window, training=record)


def season(model, year, bbox, given=None):
    return season_of_model(year, given, model, parse_aoi(bbox))


def test_the_models_own_window_is_opened_by_default(model, place):
    assert model.season_window == WINDOW
    for year in (2019, 2020):
        found = cubecrop.classify(declared(), year, archive=place, model=model)
        assert found.attrs["season_start"] == f"{year}-04-01"
        assert found.attrs["season_end"] == f"{year}-09-30"
    table = cubecrop.classify_parcels(declared(), 2020, archive=place, model=model)
    assert (table["status"] == "predicted").all()
    assert (table["first_date:sentinel2"] >= "2020-04-01").all()


def test_a_season_that_is_given_is_checked(model, place):
    whole = cubecrop.Season(2020)
    for call in (cubecrop.classify, cubecrop.classify_parcels):
        with pytest.raises(ModelMismatchError, match="data spans the season 09-01"):
            call(declared(), 2020, archive=place, model=model, season=whole)
        with pytest.raises(SeasonError, match="year is 2019"):
            call(declared(), 2019, archive=place, model=model, season=whole)
    same = cubecrop.Season(2020, start=dt.date(2020, 4, 1), end=dt.date(2020, 9, 30))
    assert season(model, 2020, NORTH, same) == same


def test_of_several_windows_the_usual_one_of_the_place_is_taken(model):
    north = cubecrop.Season(2020).window
    whole = (north[0], (0, 12, 31))
    several = learnt(model, season_window=whole, windows=(north, ((0, 1, 1), (0, 12, 31))))
    assert season(several, 2020, NORTH).window == north
    two = learnt(model, season_window=whole, windows=(WINDOW, ((-1, 9, 1), (0, 12, 31))))
    assert season(two, 2020, NORTH).window == whole


def test_across_the_equator_no_window_is_assumed(model):
    with pytest.raises(ModelMismatchError, match=r"lies south.*other side.*season=Season\(2020"):
        season(model, 2020, SOUTH)
    # Of which side it learnt is also told by a default window.
    default = learnt(model, season_window=cubecrop.Season(2019).window, bboxes=())
    with pytest.raises(ModelMismatchError, match="lies south"):
        season(default, 2020, SOUTH)
    assert season(learnt(model, bboxes=()), 2020, SOUTH).window == WINDOW
    southern = learnt(model, bboxes=((25.0, -30.0, 26.0, -29.0),))
    assert season(southern, 2020, SOUTH).window == WINDOW
    with pytest.raises(ModelMismatchError, match="lies north"):
        season(southern, 2020, NORTH)
    both = learnt(model, bboxes=((25.0, -30.0, 26.0, -29.0), NORTH))
    assert season(both, 2020, NORTH).window == season(both, 2020, SOUTH).window == WINDOW
    tropical = learnt(model, bboxes=((36.0, 0.5, 36.5, 1.0),))
    assert season(tropical, 2020, (36.0, -1.0, 36.1, -0.9)).window == WINDOW
    given = cubecrop.Season(2020, start=dt.date(2020, 4, 1), end=dt.date(2020, 9, 30))
    assert season(model, 2020, SOUTH, given) == given


def test_published_weights_take_any_window(model):
    unknown = dataclasses.replace(model, season_window=None)
    assert season(unknown, 2020, NORTH) == cubecrop.Season(2020)
    assert season(unknown, 2020, SOUTH) == cubecrop.Season(2020, hemisphere="south")


def test_a_leap_day_at_the_end_is_the_last_of_february_elsewhere(model):
    leap = learnt(model, season_window=((-1, 9, 1), (0, 2, 29)))
    assert season(leap, 2021, NORTH).end == dt.date(2021, 2, 28)
    assert season(leap, 2024, NORTH).end == dt.date(2024, 2, 29)


def test_one_given_day_keeps_the_models_other_day(model, place, tmp_path):
    declared().to_parquet(tmp_path / "p.parquet")
    model.save(tmp_path / "model")
    where = ["--year", "2020", "--archive", place, "--model", tmp_path / "model"]
    for option, day in (("--start", "2020-04-01"), ("--end", "2020-09-30")):
        out = tmp_path / f"{day}.parquet"
        assert (
            run("classify-parcels", tmp_path / "p.parquet", *where, option, day, "--out", out) == 0
        )
        assert (gpd.read_parquet(out)["status"] == "predicted").all()
