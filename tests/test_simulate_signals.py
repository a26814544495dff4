"""Optics and radar of the simulator against published spectra and magnitudes."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest
from simulated import steady_weather

from benchmarks.make_table import RESPONSES, band_means, leaf_state
from cubecrop.schema import SENTINEL2_BANDS
from cubecrop.simulate.canopy import AXES, TABLE, load_table
from cubecrop.simulate.crops import crop_index
from cubecrop.simulate.growth import make_growth
from cubecrop.simulate.land import Land
from cubecrop.simulate.regions import find_region, make_grid
from cubecrop.simulate.sentinel1 import see_radar
from cubecrop.simulate.sentinel2 import see_optical
from cubecrop.simulate.surface import Surface, water_cloud
from cubecrop.simulate.weather import Ground

FLANDERS = find_region("flanders")


# --- optics ------------------------------------------------------------------------------------


def test_bands_have_their_centres_and_widths():
    assert set(RESPONSES) == set(SENTINEL2_BANDS)
    ramp = band_means(np.arange(400, 2501, dtype=float))
    centres = [RESPONSES[band][0] for band in SENTINEL2_BANDS]
    np.testing.assert_allclose(ramp, centres, atol=1.5)
    step = band_means((np.arange(400, 2501) > 842).astype(float))
    assert step[SENTINEL2_BANDS.index("B08")] == pytest.approx(0.41, abs=0.05)


def state_of(**changed):
    state = {
        "lai": 3.0, "chlorophyll": 46.0, "senescence": 0.0, "water": 0.016, "leaf_angle": 55.0,
    }  # fmt: skip
    return {name: np.array([value]) for name, value in {**state, **changed}.items()}


def reflect(ground=0.2, sun_zenith=40.0, **changed):
    below = np.full((1, 10), ground)
    found = load_table().reflectance(**state_of(**changed), sun_zenith=sun_zenith, ground=below)
    return dict(zip(SENTINEL2_BANDS, found[0], strict=True))


def test_no_leaf_shows_the_ground():
    for ground in (0.05, 0.3):
        np.testing.assert_allclose(list(reflect(ground, lai=0.0).values()), ground, atol=2e-3)


def test_dense_canopy_is_as_published():
    """Ranges of wheat at full cover: Jacquemoud et al. 2009, Remote Sens. Environ. 113, fig. 4."""
    seen = reflect(lai=6.0)
    assert 0.01 < seen["B04"] < 0.05
    assert 0.03 < seen["B03"] < 0.10
    assert 0.35 < seen["B8A"] < 0.65
    assert 0.12 < seen["B11"] < 0.3
    assert (seen["B08"] - seen["B04"]) / (seen["B08"] + seen["B04"]) > 0.85


def test_canopy_answers_as_it_should():
    base = reflect()
    assert reflect(chlorophyll=20.0)["B05"] > base["B05"] + 0.01
    assert reflect(water=0.03)["B11"] < base["B11"] - 0.01
    dry = reflect(senescence=1.0)
    assert dry["B04"] > base["B04"] + 0.05
    assert dry["B12"] > base["B12"] + 0.05
    assert reflect(0.4)["B11"] > base["B11"]
    assert reflect(lai=1.0)["B8A"] < reflect(lai=3.0)["B8A"] < reflect(lai=6.0)["B8A"]


@pytest.mark.parametrize(
    ("state", "bands", "tolerance"),
    [
        (
            {"lai": 3.0, "chlorophyll": 46.0, "senescence": 0.0, "water": 0.016,
             "leaf_angle": 55.0, "sun_zenith": 40.0},
            [0.0286, 0.0549, 0.0196, 0.0775, 0.3185, 0.4138, 0.4082, 0.4141, 0.1743, 0.0624],
            3e-4,
        ),
        (
            {"lai": 1.3, "chlorophyll": 20.0, "senescence": 0.33, "water": 0.03,
             "leaf_angle": 35.0, "sun_zenith": 55.0},
            [0.0814, 0.1471, 0.0797, 0.199, 0.312, 0.3415, 0.3523, 0.3616, 0.185, 0.0808],
            3e-4,
        ),
        (
            {"lai": 4.5, "chlorophyll": 46.0, "senescence": 1.0, "water": 0.008,
             "leaf_angle": 70.0, "sun_zenith": 25.0},
            [0.0497, 0.0782, 0.1262, 0.1542, 0.187, 0.2279, 0.2706, 0.2991, 0.2872, 0.1501],
            3e-4,
        ),
        (
            {"lai": 2.4, "chlorophyll": 39.0, "senescence": 0.2, "water": 0.013,
             "leaf_angle": 48.0, "sun_zenith": 47.0},
            [0.0389, 0.0829, 0.0287, 0.1184, 0.3212, 0.3839, 0.3931, 0.4047, 0.2263, 0.0949],
            6e-3,
        ),
    ],
    ids=["green", "thin", "straw", "between nodes"],
)  # fmt: skip
def test_table_gives_what_prosail_gives(state, bands, tolerance):
    """Over a ground of 0.2; numbers of ``make_table.run_prosail`` with prosail 2.0.5."""
    leaf = {name: value for name, value in state.items() if name != "sun_zenith"}
    found = reflect(0.2, state["sun_zenith"], **leaf)
    np.testing.assert_allclose(list(found.values()), bands, atol=tolerance)


def test_prosail_gives_the_published_spectrum():
    """The reference run of PROSAIL 5B (REFL_CAN, directional reflectance), at 12 wavelengths."""
    prosail = pytest.importorskip("prosail")
    published = {
        400: 0.023709, 450: 0.024548, 500: 0.025576, 550: 0.057275, 600: 0.03757, 650: 0.028103,
        665: 0.027065, 700: 0.065402, 720: 0.19758, 800: 0.41708, 865: 0.42495, 1000: 0.42351,
    }  # fmt: skip
    found = prosail.run_prosail(
        n=1.5, cab=40.0, car=8.0, cbrown=0.0, cw=0.01, cm=0.009, lai=3.0, lidfa=-0.35,
        lidfb=-0.15, typelidf=1, hspot=0.01, tts=30.0, tto=10.0, psi=0.0, rsoil=1.0, psoil=1.0,
        prospect_version="5", factor="SDR",
    )  # fmt: skip
    values = [found[wavelength - 400] for wavelength in published]
    np.testing.assert_allclose(values, list(published.values()), atol=5e-4)


def test_script_makes_the_shipped_table_again():
    """Forty nodes of it, bit for bit."""
    pytest.importorskip("prosail")
    from benchmarks.make_table import _node

    with np.load(TABLE, allow_pickle=False) as stored:
        nodes = stored["nodes"]
    rng = np.random.default_rng(0)
    for _ in range(40):
        index = tuple(int(rng.integers(size)) for size in nodes.shape[:6])
        state = {name: axis[i] for (name, axis), i in zip(AXES.items(), index, strict=True)}
        np.testing.assert_array_equal(_node(state).astype(np.float16), nodes[index])


def test_table_agrees_with_prosail():
    """Nodes to the rounding of the table, values between them to a few percent."""
    pytest.importorskip("prosail")
    from benchmarks.make_table import run_prosail

    # One reference run of the package itself, with its own arguments.
    at_node = {"lai": 3.0, "chlorophyll": 46.0, "senescence": 0.33, "water": 0.016,
               "leaf_angle": 55.0, "sun_zenith": 40.0}  # fmt: skip
    between = {"lai": 2.4, "chlorophyll": 39.0, "senescence": 0.2, "water": 0.013,
               "leaf_angle": 48.0, "sun_zenith": 47.0}  # fmt: skip
    for state, tolerance in ((at_node, 0.004), (between, 0.02)):
        for ground in (0.08, 0.25):
            truth = band_means(run_prosail(state, ground))
            leaf = {name: value for name, value in state.items() if name != "sun_zenith"}
            found = reflect(ground, state["sun_zenith"], **leaf)
            np.testing.assert_allclose(list(found.values()), truth, atol=tolerance)


def test_leaf_reflects_as_prospect_says():
    """A green leaf by PROSPECT-D: about 0.05 in the red, nearly half in the near infrared."""
    prosail = pytest.importorskip("prosail")
    leaf = leaf_state(46.0, 0.0, 0.016)
    _, reflectance, transmittance = prosail.run_prospect(**leaf, prospect_version="D")
    red, infrared = 665 - 400, 865 - 400
    assert 0.03 < reflectance[red] < 0.08
    assert 0.4 < reflectance[infrared] < 0.55
    assert reflectance[infrared] + transmittance[infrared] < 1


def test_table_is_small_and_holds_no_objects():
    assert TABLE.stat().st_size < 1_000_000
    with np.load(TABLE, allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored.files)


# --- radar -------------------------------------------------------------------------------------


def test_water_cloud_by_hand():
    """2 kg m-2 at 0.1 m2 kg-1 and 60 degree: t = exp(-0.8) = 0.449."""
    found = water_cloud(
        np.array([2.0]), np.array([-10.0]), np.array([0.1]), np.array([-14.0]), incidence=60.0
    )
    through = np.exp(-2 * 0.1 * 2 / 0.5)
    assert found[0] == pytest.approx(0.1 * (1 - through) + through * 10**-1.4)
    assert 10 * np.log10(found[0]) == pytest.approx(-11.4, abs=0.1)


def test_water_cloud_goes_from_soil_to_canopy():
    water = np.array([0.0, 1.0, 5.0, 1e3])
    found = 10 * np.log10(
        water_cloud(water, np.full(4, -15.0), np.full(4, 0.3), np.full(4, -9.0), incidence=40.0)
    )
    assert found[0] == pytest.approx(-9)
    assert found[-1] == pytest.approx(-15)
    assert (np.diff(found) < 0).all()


def make_surface(name, rain, region=FLANDERS):
    weather = steady_weather(15, rain=rain)
    ground = Ground.from_weather(weather)
    crops = {2023: np.full(200, crop_index(name))}
    growth = make_growth(region, weather, ground, crops, np.full(200, 40.0), seed=0)
    return Surface.make(region, weather, ground, growth, covers=0, seed=0), weather


def decibel(surface, day, polarisation, incidence=39.0):
    power = surface.backscatter(day, incidence=incidence, heading=0.0)
    return float(np.median(10 * np.log10(power[:, polarisation])))


def test_backscatter_has_the_levels_of_crops():
    """Gamma nought of C-band over soil, wheat and maize (Veloso et al. 2017, figs 4 to 7)."""
    wet, weather = make_surface("maize", 6.0)
    dry, _ = make_surface("maize", 0.2)
    bare, full = weather.day(dt.date(2023, 1, 5)), weather.day(dt.date(2023, 7, 15))
    assert -18 < decibel(dry, bare, 0) < -8
    assert 2 < decibel(wet, bare, 0) - decibel(dry, bare, 0) < 8
    assert -12 < decibel(wet, full, 0) < -7
    assert -18 < decibel(wet, full, 1) < -13
    wheat, _ = make_surface("winter wheat", 3.0)
    heading = weather.day(dt.date(2023, 4, 25))
    # Upright stems take the vertical wave: wheat is darker than the soil it stands on.
    assert decibel(wheat, heading, 0) < decibel(wet, bare, 0) - 2
    assert decibel(wheat, heading, 0) > decibel(wheat, heading, 1) + 3
    assert decibel(dry, bare, 0, 30.0) > decibel(dry, bare, 0, 45.0)


def test_frost_darkens_grass():
    """About 3 dB in VH (Baghdadi et al. 2018, Remote Sens. 10, 1218, find 3 dB and more)."""
    surface, weather = make_surface("permanent grass", 2.0)
    day = weather.day(dt.date(2023, 3, 1))
    frozen = surface.ground.frozen.copy()
    assert not frozen[day]
    frozen[day] = True
    cold = replace(surface, ground=replace(surface.ground, frozen=frozen))
    assert 2 < decibel(surface, day, 1) - decibel(cold, day, 1) < 5


def test_rain_on_leaves_brightens_them_for_the_day():
    surface, weather = make_surface("sugar beet", 0.0)
    day = weather.day(dt.date(2023, 8, 20))
    rain = surface.rain.copy()
    rain[day] = 12.0
    wet = decibel(replace(surface, rain=rain), day, 1) - decibel(surface, day, 1)
    assert 0.3 < wet <= 1.0


# --- images ------------------------------------------------------------------------------------


def halves() -> Land:
    """A square of 600 m whose west is unit 0 and whose east is unit 1, without texture."""
    grid = make_grid(FLANDERS, 0.6)
    unit = np.zeros((grid.size, grid.size), dtype=np.int32)
    unit[:, grid.size // 2 :] = 1
    texture = np.zeros(unit.shape, dtype=np.float32)
    return Land(grid=grid, geometry=np.array([], dtype=object), unit=unit, texture=texture)


def test_speckle_is_gamma_of_five_looks():
    power = np.full((2, 2), 0.1)
    image = see_radar(halves(), power, np.random.default_rng(0))["vv"]
    assert image.mean() == pytest.approx(0.1, rel=0.03)
    assert (image.mean() / image.std()) ** 2 == pytest.approx(5, rel=0.1)


def test_edges_blur_as_the_point_spread_says():
    """Shares of a step that lie in the first pixel beyond it, by hand.

    10 m bands: neighbours weigh exp(-0.5 / 0.54^2) = 0.18, so 0.18 / 1.36 = 0.13. 20 m bands:
    0.62, 0.15 and 0.01 at one to three pixels of 10 m, so the mean of 0.30 and 0.06, 0.18. Light
    of the wider surroundings adds up to 0.02.
    """
    reflectance = np.empty((2, 3, 10), dtype=np.float32)
    reflectance[0], reflectance[1] = 0.04, 0.12  # dark enough not to be called cloud
    for seed in range(50):
        seen = see_optical(
            halves(), reflectance, cloud=0.0, zenith=40, snow=0, summer=0.5,
            rng=np.random.default_rng(seed),
        )  # fmt: skip
        if seen.cloud_cover == 0 and not np.isin(seen.scl, (3,)).any():
            break
    assert seen.cloud_cover == 0
    for band, first in (("B08", 0.13), ("B8A", 0.18)):
        row = seen.bands[band].astype(float).mean(axis=0)
        edge = row.size // 2
        dark, bright = row[: edge - 8].mean(), row[edge + 8 :].mean()
        share = (row - dark) / (bright - dark)
        assert share[edge - 1] == pytest.approx(first, abs=0.03)
        assert share[edge] == pytest.approx(1 - first, abs=0.03)
        assert share[edge - 3] < 0.04
