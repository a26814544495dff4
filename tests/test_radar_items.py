"""What the items of radar images state: calibration and unit, under the keys of any catalogue."""

import json

import pytest

from cubecrop.archive import normalise_item
from cubecrop.errors import UnsupportedItemError
from cubecrop.testing import Radar, write_archive


@pytest.fixture
def radar(tmp_path):
    """A made radar item that states no calibration."""
    folder = write_archive(tmp_path / "made", [Radar(when="2018-06-02T17:40:42Z", id="made")])
    return json.loads((folder / "sentinel-1-rtc" / "made" / "made.json").read_text())


@pytest.mark.parametrize(
    ("properties", "calibration"),
    [
        ({}, "gamma0"),
        ({"calibration": None}, "gamma0"),
        ({"calibration": "sigma0"}, "sigma0"),
        ({"sar:calibration": "Sigma-Nought"}, "sigma0"),
        ({"card4l:measurement_type": "sigma0"}, "sigma0"),
        ({"calibration": "gamma0", "card4l:measurement_type": "Gamma0"}, "gamma0"),
    ],
)
def test_the_calibration_is_what_the_item_states(radar, properties, calibration):
    radar["properties"] |= properties
    assert normalise_item(radar).calibration == calibration


def test_two_calibrations_of_one_item_are_refused(radar):
    radar["properties"] |= {"calibration": "gamma0", "card4l:measurement_type": "sigma0"}
    with pytest.raises(UnsupportedItemError, match="one radar calibration"):
        normalise_item(radar)


@pytest.mark.parametrize(
    "stated", [{"raster:bands": [{"unit": "dB"}]}, {"bands": [{"unit": "decibel"}]}, {"unit": "dB"}]
)
def test_decibels_are_not_read_as_power(radar, stated):
    radar["assets"]["vh"] |= stated
    with pytest.raises(UnsupportedItemError, match="'vh' of item 'made' has the unit"):
        normalise_item(radar)
    radar["assets"]["vh"] |= dict.fromkeys(stated) | {"unit": "1"}
    assert normalise_item(radar).assets["vh"].scale == 1
