"""The physics of the simulator against published values and numbers worked out by hand."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest
from simulated import steady_weather

from benchmarks.points import simulate_points
from cubecrop.errors import AoiError, SimulationError
from cubecrop.season import Season
from cubecrop.simulate.canopy import AXES
from cubecrop.simulate.clouds import make_sky
from cubecrop.simulate.crops import CROPS, crop_index
from cubecrop.simulate.draws import fractal
from cubecrop.simulate.growth import make_growth
from cubecrop.simulate.regions import REGIONS, find_region, make_grid
from cubecrop.simulate.surface import sun_zenith
from cubecrop.simulate.terrain import make_elevation, sample_elevation
from cubecrop.simulate.weather import (
    Ground,
    Weather,
    daylength,
    growing_degree_days,
    make_weather,
)

FLANDERS = find_region("flanders")


def grow(weather, crops, region=FLANDERS, seed=0):
    ground = Ground.from_weather(weather)
    height = np.full(next(iter(crops.values())).size, region.elevation)
    return make_growth(region, weather, ground, crops, height, seed=seed)


# --- degree days, day length, sun -------------------------------------------------------------


def test_degree_days_by_hand():
    low = np.array([8.0, -5.0, 10.0, 2.0])
    high = np.array([20.0, 3.0, 36.0, 5.0])
    found = growing_degree_days(low, high, base=6.0, top=30.0)
    # (20 + 8) / 2 - 6; both below the base; 36 cut to 30: (30 + 10) / 2 - 6; below the base.
    np.testing.assert_allclose(found, [8, 0, 14, 0])


@pytest.mark.parametrize(
    ("latitude", "day", "hours"),
    [
        (0.0, 80, 12.0),
        (-20.0, 246, 11.7),  # FAO-56, example 9: 3 September at 20 degree south
        (50.7, 172, 16.3),  # US Naval Observatory less the 0.2 h of refraction
        (50.7, 355, 7.8),
    ],
)
def test_day_length_as_published(latitude, day, hours):
    assert daylength(latitude, np.array([day]))[0] == pytest.approx(hours, abs=0.12)


def test_sun_stands_highest_at_noon_in_june():
    # 90 - 50.7 + 23.4 = 62.7 degree high at noon of the solstice.
    assert sun_zenith(50.7, 172, hour=12) == pytest.approx(27.3, abs=0.2)
    assert sun_zenith(50.7, 355) > 70


# --- weather -----------------------------------------------------------------------------------


@pytest.mark.parametrize("region", REGIONS, ids=lambda region: region.name)
def test_weather_keeps_its_climate(region):
    weather = make_weather(region, 1991, 2020, seed=0)
    days = np.datetime64(weather.start) + np.arange(weather.mean.size) * np.timedelta64(1, "D")
    month = days.astype("datetime64[M]").astype(int) % 12
    for m in range(12):
        mine = month == m
        assert weather.mean[mine].mean() == pytest.approx(region.temperature[m], abs=1.6)
        assert (weather.rain[mine] > 0).mean() == pytest.approx(region.wet_days[m], abs=0.12)
    assert weather.rain[weather.rain > 0].mean() == pytest.approx(region.rain, rel=0.06)
    years = weather.mean[: 365 * 30].reshape(30, 365).mean(axis=1)
    assert 0.4 < years.std() < 1.6


def test_weather_persists_and_rain_follows_rain_and_cloud():
    weather = make_weather(FLANDERS, 1991, 2020, seed=1)
    course = np.convolve(weather.mean, np.ones(31) / 31, mode="same")
    departure = (weather.mean - course)[20:-20]
    # In AgERA5 of Flanders, 2017 to 2018: standard deviation 2.8 K, autocorrelation 0.72.
    assert departure.std() == pytest.approx(2.6, abs=0.5)
    assert np.corrcoef(departure[1:], departure[:-1])[0, 1] == pytest.approx(0.72, abs=0.08)
    wet = weather.rain > 0
    assert wet[1:][wet[:-1]].mean() > wet[1:][~wet[:-1]].mean() + 0.2
    assert weather.cloud[wet].mean() > weather.cloud[~wet].mean() + 0.2
    assert np.corrcoef(weather.cloud, weather.sun / np.sqrt(weather.sun.mean()))[0, 1] < -0.3


def test_a_year_of_weather_does_not_depend_on_the_years_asked_for():
    long, short = (make_weather(FLANDERS, first, 2021, seed=3) for first in (2017, 2019))
    n = 365 + 365  # 2020 is a leap year; from its second year on, persistence is forgotten
    np.testing.assert_array_equal(long.rain[-n:] > 0, short.rain[-n:] > 0)
    np.testing.assert_allclose(long.mean[-n:], short.mean[-n:], atol=1e-9)


def test_buckets_fill_with_rain_and_dry_without():
    dry, wet = (Ground.from_weather(steady_weather(15, rain=r)) for r in (0.0, 12.0))
    assert dry.moisture[-1] < 0.1
    assert dry.stress[-1] < 0.2
    assert wet.moisture[-1] > 0.3
    assert wet.stress[-1] == 1
    assert (dry.snow == 0).all()
    snow = Ground.from_weather(steady_weather(-5, rain=2.0))
    assert snow.snow[-1] > 0.95
    assert snow.frozen.all() or snow.frozen[30:].all()


# --- growth ------------------------------------------------------------------------------------


def test_maize_flowers_when_its_heat_is_there():
    """At 18 degree Celsius each day gives 10 K d over 8, and dates follow from the sums."""
    maize = crop_index("maize")
    weather = steady_weather(18, rain=4.0)
    growth = grow(weather, {2023: np.full(400, maize)})
    dates = growth.dates[2023]
    wait = dates["flowering"] - dates["sown"]
    crop = CROPS[maize]
    # Cultivars differ by 5.5 % about the crop's sum; emergence comes first.
    assert np.median(wait) == pytest.approx((crop.heat[0] + crop.heat[1]) / 10, abs=1.5)
    assert (dates["harvest"] > dates["flowering"]).all()


@pytest.mark.parametrize("name", ["winter wheat", "maize", "potato", "spring barley"])
def test_warmer_is_earlier(name):
    crops = {year: np.full(200, crop_index(name)) for year in (2022, 2023)}
    regular = make_weather(FLANDERS, 2020, 2024, seed=2)
    warm = Weather(**{
        field: getattr(regular, field) + (2.0 if field in {"mean", "low", "high"} else 0.0)
        if field != "start" else regular.start
        for field in regular.__slots__
    })  # fmt: skip
    then, now = (np.median(grow(w, crops).dates[2023]["flowering"]) for w in (regular, warm))
    assert 5 <= then - now <= 35


def test_a_valley_is_earlier_than_a_hill():
    crops = {2023: np.full(300, crop_index("winter wheat"))}
    weather = make_weather(FLANDERS, 2021, 2024, seed=2)
    height = np.repeat([40.0, 340.0], 150)  # 300 m are 1.95 K
    growth = make_growth(FLANDERS, weather, Ground.from_weather(weather), crops, height, seed=0)
    flowering = growth.dates[2023]["flowering"]
    assert 5 < np.median(flowering[150:]) - np.median(flowering[:150]) < 25


def test_wet_ground_holds_sowing_up():
    """Until the ground bears a tractor, and at most four weeks."""
    maize = {2023: np.full(50, crop_index("maize"))}
    usual = make_weather(FLANDERS, 2021, 2024, seed=2)
    dry, wet = (
        np.median(grow(replace(usual, rain=rain), maize).dates[2023]["sown"])
        for rain in (0 * usual.rain, np.full(usual.rain.size, 9.0))
    )
    assert wet - dry == 28


def test_hard_frost_ends_the_green_of_maize_and_not_of_wheat():
    mild = steady_weather(14)
    first = mild.day(dt.date(2023, 10, 1))
    low = mild.low.copy()
    low[first : first + 10] = -5.0
    frost = replace(mild, low=low)
    for name, change in (("maize", True), ("winter wheat", False)):
        crops = {2023: np.full(20, crop_index(name)), 2024: np.full(20, crop_index(name))}
        before, after = (grow(w, crops).senescence[first + 9] for w in (mild, frost))
        assert (np.median(after - before) > 0.2) == change


def test_thermal_regions_have_their_calendars():
    """Medians of flowering by region, wide: JRC MARS and Agriculture Canada's crop calendars."""
    expected = {
        ("flanders", "winter wheat"): (140, 175), ("aquitaine", "winter wheat"): (130, 165),
        ("flanders", "maize"): (195, 222), ("aquitaine", "maize"): (180, 212),
        ("maritimes", "potato"): (185, 220), ("flanders", "winter rapeseed"): (110, 138),
    }  # fmt: skip
    for (name, crop), (first, last) in expected.items():
        region = find_region(name)
        found = []
        for seed in range(3):
            weather = make_weather(region, 2021, 2024, seed=seed)
            growth = grow(weather, {2023: np.full(60, crop_index(crop))}, region, seed)
            flowering = growth.dates[2023]["flowering"] - weather.day(dt.date(2023, 1, 1))
            found.append(np.median(flowering))
        assert first <= np.mean(found) <= last, (name, crop, found)


@pytest.mark.parametrize("region", REGIONS, ids=lambda region: region.name)
def test_state_stays_in_its_range(region):
    grown = np.array([i for i, crop in enumerate(CROPS) if crop.code])
    crops = {y: grown[(np.arange(32) + y) % grown.size] for y in (2022, 2023, 2024)}
    weather = make_weather(region, 2020, 2025, seed=4)
    growth = grow(weather, crops, region)
    assert growth.lai.min() >= 0
    assert growth.lai.max() < AXES["lai"][-1]
    crowns = (growth.crown_cover, growth.crown_senescence, growth.blossom)
    for share in (growth.senescence, growth.flower, growth.litter, *crowns):
        assert share.min() >= 0
        assert share.max() <= 1
    assert growth.chlorophyll.min() > 5
    assert set(np.unique(growth.crop)) <= set(range(-1, len(CROPS)))


def test_grass_is_mown_and_grows_again():
    weather = make_weather(FLANDERS, 2021, 2024, seed=5)
    growth = grow(weather, {2023: np.full(100, crop_index("permanent grass"))})
    first, last = weather.day(dt.date(2023, 4, 1)), weather.day(dt.date(2023, 10, 1))
    falls = np.diff(growth.lai[first:last], axis=0) < -0.5
    cuts = falls.sum(axis=0)
    assert 0.15 < (cuts == 0).mean() < 0.6  # grazed
    assert 2 <= np.median(cuts[cuts > 0]) <= 4


def test_a_parcel_is_drawn_by_its_seed_region_and_year():
    weather = make_weather(FLANDERS, 2021, 2024, seed=5)
    crops = {2023: np.full(50, crop_index("winter wheat"))}
    same, again, other = (grow(weather, crops, seed=s).lai for s in (1, 1, 2))
    np.testing.assert_array_equal(same, again)
    assert not np.array_equal(same, other)


# --- terrain, sky, points ------------------------------------------------------------------------


def test_fractal_has_its_slope():
    field = fractal(np.random.default_rng(0), (512, 512), 3.4)
    assert field.mean() == pytest.approx(0, abs=1e-5)
    assert field.std() == pytest.approx(1, abs=1e-5)
    power = np.abs(np.fft.rfft2(field)) ** 2
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None, :])
    inside = (frequency > 0.01) & (frequency < 0.3)
    slope, _ = np.polyfit(np.log(frequency[inside]), np.log(power[inside]), 1)
    assert slope == pytest.approx(-3.4, abs=0.15)


def test_elevation_is_sampled_where_it_lies():
    grid = make_grid(FLANDERS, 1)
    elevation, transform = make_elevation(FLANDERS, grid, seed=0)
    rows = np.broadcast_to(np.arange(elevation.shape[0])[:, None], elevation.shape)
    left, bottom, _, top = grid.bounds
    high, low = sample_elevation(
        rows.astype(np.float32), transform, grid, np.array([left, left]), np.array([top, bottom])
    )
    # 1,020 m by 30.9 m an arcsecond of latitude.
    assert low - high == pytest.approx(33.0, abs=0.3)


def test_more_cloud_hides_more():
    def hidden(cloud):
        skies = [
            make_sky(60, cloud, 40.0, np.random.default_rng(seed), summer=0.5) for seed in range(40)
        ]
        return np.mean([(sky.opacity > 0.2).mean() for sky in skies])

    shares = [hidden(cloud) for cloud in (0.05, 0.3, 0.6, 0.95)]
    assert shares == sorted(shares)
    assert shares[0] < 0.15
    assert shares[-1] > 0.8


def test_points_are_pixel_sets_of_one_pixel():
    window = Season(2018, start=dt.date(2018, 1, 1), end=dt.date(2018, 12, 31))
    tree = simulate_points("flanders", 2018, n=50, season=window, calibration="sigma0", seed=1)
    optical, radar = tree["sentinel2"], tree["sentinel1"]
    assert optical["reflectance"].dims == ("parcel", "time", "band", "pixel")
    assert optical["reflectance"].shape == (50, 12, 10, 1)
    assert optical["reflectance"].dtype == np.float32
    assert radar["backscatter"].attrs == {"units": "dB", "calibration": "sigma0"}
    np.testing.assert_array_equal(optical["valid"], np.isfinite(optical["reflectance"]).all("band"))
    assert tree["weather"]["weather"].shape == (50, 12, 5)
    assert set(tree["label"].values) <= {crop.name for crop in CROPS}
    again = simulate_points("flanders", 2018, n=50, season=window, calibration="sigma0", seed=1)
    assert tree.identical(again)
    gamma = simulate_points("flanders", 2018, n=50, season=window, seed=1)
    # sigma0 = gamma0 cos(38 to 42 degree), 1.0 to 1.3 dB less.
    less = gamma["sentinel1"]["backscatter"] - radar["backscatter"]
    assert 0.9 < float(less.min()) <= float(less.max()) < 1.4


def test_points_refuse_what_cannot_be():
    with pytest.raises(SimulationError, match="n is 0"):
        simulate_points("flanders", 2018, n=0)
    with pytest.raises(SimulationError, match="expected 'gamma0' or 'sigma0'"):
        simulate_points("flanders", 2018, calibration="beta0")
    with pytest.raises(AoiError, match="flanders"):
        simulate_points("mars", 2018)
