"""Harvest years and their dates."""

import datetime as dt

import pytest

from cubecrop.errors import SeasonError
from cubecrop.season import Season


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
def test_seasons_that_cannot_be(arguments, message):
    with pytest.raises(SeasonError, match=message):
        Season(**arguments)
