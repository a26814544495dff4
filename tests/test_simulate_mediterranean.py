"""Woody crops and dry summers of the simulator, against calendars and published magnitudes."""

import datetime as dt

import numpy as np
import pytest

from benchmarks.default_model.points import classes_of
from benchmarks.points import simulate_points
from cubecrop.season import Season
from cubecrop.simulate.crops import CROPS, crop_index
from cubecrop.simulate.growth import make_growth
from cubecrop.simulate.land import deal_rotations
from cubecrop.simulate.landcover import make_landcover
from cubecrop.simulate.regions import find_region
from cubecrop.simulate.weather import Ground, make_weather
from cubecrop.simulate.world import grow_world

LANGUEDOC = find_region("languedoc")
WOODY = ("vineyard", "orchard", "olive grove")
YEAR = 2022


class Months:
    """Medians of NDVI, VV and VH over the parcels of each crop, by month from January."""

    def __init__(self, region):
        season = Season(YEAR, start=dt.date(YEAR, 1, 1), end=dt.date(YEAR, 12, 31))
        points = simulate_points(region, YEAR, n=240, season=season, missed=0.0)
        red, infrared = (
            points["sentinel2/reflectance"].sel(band=band).to_numpy()[..., 0]
            for band in ("B04", "B08")
        )
        self.ndvi = (infrared - red) / (infrared + red)
        self.power = points["sentinel1/backscatter"].to_numpy()[..., 0]
        self.crop = points["label"].to_numpy()

    def green(self, crop):
        return np.nanmedian(self.ndvi[self.crop == crop], axis=0)

    def radar(self, crop):
        return np.nanmedian(self.power[self.crop == crop], axis=0)  # (month, VV and VH)


@pytest.fixture(scope="module")
def languedoc():
    return Months("languedoc")


def test_grass_browns_in_a_dry_summer_and_comes_back(languedoc):
    grass, moist = languedoc.green("permanent grass"), Months("aquitaine").green("permanent grass")
    assert grass[3] > 0.7
    assert (grass[6:8] < 0.42).all()
    assert grass[9:].max() > grass[6:8].max() + 0.15
    assert (moist[6:8] > 0.6).all()
    # Roots of alfalfa go deeper.
    assert languedoc.green("alfalfa")[7] > grass[7] + 0.2


def test_woody_crops_have_their_seasons(languedoc):
    vines, trees, olives = (languedoc.green(name) for name in WOODY)
    assert 0.25 < vines[:3].mean() < 0.45
    assert 0.42 < vines[5:8].mean() < 0.65
    assert trees[4] > trees[:3].mean() + 0.1
    assert 0.35 < olives[6:8].mean() < 0.55
    # Olives keep their leaves, and the plants below them are green in winter.
    assert olives[1] > olives[7] + 0.05
    assert olives.min() > 0.35


@pytest.mark.parametrize("name", WOODY)
def test_wood_scatters_alike_all_year(languedoc, name):
    vv, vh = languedoc.radar(name).T
    assert ((vv > -11.5) & (vv < -8)).all()
    assert ((vh > -18) & (vh < -15)).all()
    assert np.ptp(vh) < 2 < np.ptp(languedoc.radar("winter wheat")[:, 1])


def test_vines_and_fruit_trees_keep_their_calendar():
    """Bud break in April, full leaf in June, leaf fall in October and November; blossom first."""
    weather = make_weather(LANGUEDOC, YEAR - 2, YEAR + 1, seed=1)
    vine, orchard = crop_index("vineyard"), crop_index("orchard")
    crops = {year: np.repeat([vine, orchard], 40) for year in (YEAR - 1, YEAR, YEAR + 1)}
    height = np.full(80, LANGUEDOC.elevation)
    growth = make_growth(LANGUEDOC, weather, Ground.from_weather(weather), crops, height, seed=1)
    lai = growth.crown_lai / growth.crown_lai.max(axis=0)

    def at(month, day):
        return np.median(lai[weather.day(dt.date(YEAR, month, day))].reshape(2, 40), axis=1)

    assert (at(3, 1) < 0.15).all()
    assert at(4, 1)[0] < 0.2
    assert at(5, 1)[0] > 0.25
    assert (at(6, 20) > 0.9).all()
    assert (at(9, 30) > 0.85).all()
    assert (at(12, 1) < 0.15).all()
    bloom = growth.blossom[weather.day(dt.date(YEAR, 1, 1)) :, 40:][:365].argmax(axis=0)
    assert 75 < np.median(bloom) < 115
    assert growth.blossom[:, :40].max() == 0
    # Crowns are those of the parcel, and differ from parcel to parcel.
    before, after = (growth.crown_cover[weather.day(dt.date(y, 7, 1))] for y in (YEAR, YEAR + 1))
    np.testing.assert_array_equal(before, after)
    assert before.std() > 0.05


@pytest.mark.parametrize("name", ["languedoc", "andalusia"])
def test_crops_of_dry_regions_are_common_enough_and_have_a_class(name):
    region = find_region(name)
    crops = deal_rotations(region, 600, (YEAR, YEAR + 1), seed=0)
    for dealt in crops.values():
        assert np.bincount(dealt)[np.unique(dealt)].min() > 0.045 * 600
    grown = {CROPS[i].name for i in np.unique(crops[YEAR])}
    assert {*WOODY, "permanent grass"} < grown
    classes = classes_of("simulated")
    assert grown <= set(classes)
    assert {classes[crop] for crop in WOODY} == {"permanent crop"}
    for crop in WOODY:
        index = crop_index(crop)
        np.testing.assert_array_equal(crops[YEAR] == index, crops[YEAR + 1] == index)


def test_land_cover_has_the_codes_of_woody_crops():
    world = grow_world(LANGUEDOC, [YEAR], size_km=0.6, seed=0)
    codes, _ = make_landcover(world, YEAR)
    assert {10, 20, 30, 40} <= {*np.unique(codes)}


def test_regions_without_woody_crops_are_what_they_were():
    """Numbers of the simulator before it had vines, trees and curing."""
    points = simulate_points("aquitaine", YEAR, n=60, seed=3)
    assert points["label"].to_numpy()[:4].tolist() == [
        "sunflower", "sunflower", "winter wheat", "winter barley",
    ]  # fmt: skip
    seen = points["sentinel2/reflectance"].to_numpy()[:, :, 7, 0]
    radar = points["sentinel1/backscatter"].to_numpy()[:, :, 1, 0]
    expected = [0.33461, 0.26402, 0.30207, 0.29236]
    np.testing.assert_allclose(np.nanmean(seen, axis=0)[::4], expected, atol=2e-5)
    expected = [-15.633, -15.902, -16.165, -16.295]
    np.testing.assert_allclose(np.nanmean(radar, axis=0)[::4], expected, atol=2e-3)
