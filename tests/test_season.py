"""Harvest years and their dates."""

import datetime as dt

import pytest

from cubecrop.errors import SchemaError, SeasonError
from cubecrop.season import Season, windows_alike


def test_default_windows():
    north, south = Season(2018), Season(2018, hemisphere="south")
    assert (north.start, north.end) == (dt.date(2017, 9, 1), dt.date(2018, 10, 31))
    assert (south.start, south.end) == (dt.date(2017, 3, 1), dt.date(2018, 4, 30))
    assert str(north) == "2018 (2017-09-01 to 2018-10-31)"


def test_days_are_counted_with_both_ends():
    assert Season(2018).n_days == 426
    assert Season(2018, start=dt.date(2018, 1, 1), end=dt.date(2018, 1, 2)).n_days == 2


def test_windows_of_two_years_compare():
    assert Season(2018).window == Season(2023).window == ((-1, 9, 1), (0, 10, 31))
    assert Season(2018, end=dt.date(2018, 7, 1)).window != Season(2018).window
    assert Season(2018) == Season(2018)
    assert len({Season(2018), Season(2018), Season(2019)}) == 2


def february(year, first=None, last=None):
    """A season from February, by default its last day, to the last day of the next February."""
    start = first or dt.date(year - 1, 3, 1) - dt.timedelta(days=1)
    return Season(year, start=start, end=last or dt.date(year, 3, 1) - dt.timedelta(days=1))


def test_the_last_day_of_february_is_the_same_in_every_year():
    leap, common = february(2020), february(2021)
    assert (leap.start, leap.end) == (dt.date(2019, 2, 28), dt.date(2020, 2, 29))
    assert (common.start, common.end) == (dt.date(2020, 2, 29), dt.date(2021, 2, 28))
    assert leap.window == common.window == ((-1, 2, 29), (0, 2, 29))
    for year in (2019, 2020, 2021, 2022, 2024):
        assert Season(year).with_window(leap.window) == february(year)
        assert february(year).with_window(february(year).window) == february(year)


def test_windows_to_28_and_29_february_are_alike():
    day_before = february(2020, last=dt.date(2020, 2, 28))
    assert day_before.window[1] == (0, 2, 28)
    assert day_before.with_window(day_before.window) == day_before
    assert windows_alike(day_before.window, february(2021).window)
    assert windows_alike(february(2021).window, day_before.window)
    for last in (dt.date(2021, 2, 27), dt.date(2021, 3, 1)):
        assert not windows_alike(february(2021).window, february(2021, last=last).window)
    first = february(2020, first=dt.date(2019, 2, 27))
    assert not windows_alike(first.window, february(2020).window)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"year": "2018"}, "'2018', expected a whole number"),
        ({"year": 1900}, "1982 to 2100"),
        ({"year": 2018.0}, "whole number"),
        ({"year": 2018, "hemisphere": "east"}, "'north' or 'south'"),
        ({"year": 2018, "start": "2018-01-01"}, "expected a datetime.date"),
        ({"year": 2018, "start": dt.datetime(2018, 1, 1)}, "expected a datetime.date"),
        ({"year": 2018, "start": dt.date(2019, 1, 1)}, "swap `start` and `end`"),
    ],
)
def test_impossible_seasons_are_refused(arguments, message):
    with pytest.raises(SeasonError, match=message):
        Season(**arguments)


@pytest.mark.parametrize("season", [Season(2018), february(2020)])
def test_a_season_is_read_from_attributes(season):
    assert Season.from_attrs({**season.attrs, "archive": "none"}) == season
    assert Season.from_attrs(season.attrs).attrs == season.attrs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"season_year": "soon"}, "season 'soon' from '2017-09-01' to '2018-10-31', expected"),
        ({"season_year": None}, "season None from"),
        ({"season_end": "2018-02-29"}, "to '2018-02-29', expected .*YYYY-MM-DD"),
        ({"season_start": dt.date(2018, 1, 1)}, r"from datetime.date\(2018, 1, 1\) to"),
        ({"season_end": "2016-01-01"}, "swap `start` and `end`"),
    ],
)
def test_invalid_attributes_are_refused(changes, message):
    with pytest.raises(SchemaError, match=message):
        Season.from_attrs({**Season(2018).attrs, **changes})


def test_missing_attributes_are_named():
    with pytest.raises(SchemaError, match="no attribute 'season_year'"):
        Season.from_attrs({})
