"""An image's day is the local one: later than UTC's in the east, earlier in the west."""

import pytest
from items import absolute

from cubecrop.archive import normalise_item
from cubecrop.testing import Optical, Place, write_archive


@pytest.mark.parametrize(
    ("longitude", "zone", "when", "day"),
    [
        # Four minutes a degree: Sydney's midnight is at 13:48 UTC, Idaho's at 07:48.
        (153, 56, "2018-06-01T13:40:00Z", "2018-06-01"),
        (153, 56, "2018-06-01T13:56:00Z", "2018-06-02"),
        (-117, 11, "2018-06-01T07:40:00Z", "2018-05-31"),
        (-117, 11, "2018-06-01T07:56:00Z", "2018-06-01"),
        (3, 31, "2018-06-01T23:40:00Z", "2018-06-01"),
        (3, 31, "2018-06-01T23:56:00Z", "2018-06-02"),
    ],
)
def test_the_day_begins_at_midnight_of_the_place(tmp_path, longitude, zone, when, day):
    place = Place(crs=f"EPSG:{32600 + zone}", top=5_000_000.0, height=8, width=8)
    west, _, east, _ = place.bbox
    assert (west + east) / 2 == pytest.approx(longitude, abs=0.01)
    (item,) = absolute(write_archive(tmp_path, [Optical(when=when, place=place)]))
    assert normalise_item(item).solar_day.isoformat() == day
