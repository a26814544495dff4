"""Backscatter, checked by hand: decibels, borders, orbits."""

import json

import numpy as np
import pytest
from cubes import DAY, PLACE, RADAR_DAY, area, radar, season

from cubecrop.cube import OdcBackend, RasterioBackend, open_season
from cubecrop.cube.planes import Plane, Reading
from cubecrop.cube.sentinel1 import mask_zeros, packed
from cubecrop.errors import ReadError, SchemaError, UnsupportedItemError
from cubecrop.testing import Optical, Place, Radar, write_archive


def test_radar_in_radar_geometry_is_refused(tmp_path):
    folder = write_archive(tmp_path, [Optical(when=DAY), Radar(when=RADAR_DAY, id="grd")])
    path = folder / "sentinel-1-rtc" / "grd" / "grd.json"
    item = json.loads(path.read_text())
    item["properties"]["proj:code"] = "EPSG:4326"
    path.write_text(json.dumps(item))
    with pytest.raises(UnsupportedItemError, match=r"'grd'.*radar or sensor geometry.*RTC"):
        open_season(area(PLACE), 2018, archive=folder)


def test_backscatter_is_ten_times_the_logarithm(tmp_path):
    power = np.linspace(1e-6, 2, 3600, dtype=np.float32).reshape(60, 60)
    found = radar(tmp_path, Radar(when=RADAR_DAY, vv=power, vh=0.01)).backscatter
    assert found.dtype == np.float32
    expected = 10 * np.log10(np.maximum(power, 1e-5))
    np.testing.assert_allclose(found.sel(band="vv")[0], expected, rtol=1e-5)
    np.testing.assert_allclose(found.sel(band="vh"), -20, rtol=1e-6)
    assert found.sel(band="vv").min() == pytest.approx(-50)  # the floor


def test_zeros_and_missing_power_never_become_decibels(tmp_path):
    power = np.full((60, 60), 0.1, np.float32)
    power[10, 10] = 0  # masked, and 30 m around
    power[40, 40] = np.nan  # masked alone
    power[40, 10] = -32768  # nodata: masked alone
    found = np.isnan(radar(tmp_path, Radar(when=RADAR_DAY, vv=power)).backscatter[0])
    rows, columns = np.mgrid[:60, :60]
    expected = np.hypot(rows - 10, columns - 10) <= 3
    expected[40, 40] = expected[40, 10] = True
    np.testing.assert_array_equal(found.sel(band="vv"), expected)
    np.testing.assert_array_equal(found.sel(band="vh"), expected)


@pytest.mark.parametrize("resolution", [20, 60, 100])
@pytest.mark.parametrize("backend", [RasterioBackend, OdcBackend])
def test_zeros_do_not_enter_the_means_of_coarser_pixels(tmp_path, backend, resolution):
    power = np.full((60, 60), 0.1, np.float32)
    power[:, :31] = power[20, 45] = 0  # the border of an older scene, and a pixel
    scene = Radar(when=RADAR_DAY, vv=power, vh=power)
    found = radar(tmp_path, scene, resolution=resolution, backend=backend()).backscatter
    values, x = found.to_numpy(), found["x"].to_numpy()
    np.testing.assert_allclose(values[np.isfinite(values)], -10, rtol=1e-5)
    border = PLACE.left + 310
    inner = values[..., 2:-2, (x > border) & (x < PLACE.left + 480)]
    assert np.isfinite(inner).all()
    assert np.isnan(values[..., x < border - 2 * resolution]).all()


def test_radar_kernels():
    power = np.array([[0.5, np.nan, -1, 0.5, 0.5, 0.5, 0.5]], np.float32)
    found = mask_zeros(power, 10)
    np.testing.assert_array_equal(np.isnan(found), [[True] * 6 + [False]])
    assert found[0, 6] == 0.5
    stack = np.array([[[[1.0]], [[np.nan]]], [[[0.1]], [[0.1]]]], np.float32)
    planes = [[[Plane(band) for band in scene] for scene in stack]]
    # The first scene lacks a band there, so the second shows both.
    values = packed(Reading(planes=planes, shape=(1, 1)), dates=[(0, 1)]).values()
    np.testing.assert_allclose(values.ravel(), [-10, -10])


def test_slices_of_a_pass_are_mosaicked_and_orbits_kept_apart(tmp_path):
    found = radar(
        tmp_path,
        Radar(when=RADAR_DAY, id="n", place=Place(height=30), vv=0.1),
        Radar(when="2018-06-02T17:41:07Z", id="s", place=Place(height=30, top=5_629_700), vv=1.0),
        Radar(when="2018-06-02T05:58:12Z", id="d", orbit_state="descending", orbit=110),
        aoi=area(PLACE),
    )
    assert found.orbit_state.values.tolist() == ["descending", "ascending"]
    assert found.relative_orbit.values.tolist() == [110, 161]
    vv = found.backscatter.sel(band="vv")[1]
    np.testing.assert_allclose(vv[:30], -10, rtol=1e-6)
    np.testing.assert_allclose(vv[30:], 0, atol=1e-6)


def test_morning_and_evening_are_two_dates_if_no_orbit_is_stated(tmp_path):
    unknown = {"sat:orbit_state": None, "sat:relative_orbit": None}
    found = radar(
        tmp_path,
        Radar(when="2018-06-02T05:58:12Z", vv=0.1, properties=unknown),
        Radar(when=RADAR_DAY, id="n", place=Place(height=30), vv=1.0, properties=unknown),
        Radar(
            when="2018-06-02T17:41:07Z", id="s", place=Place(height=30, top=5_629_700), vv=1.0,
            properties=unknown,
        ),
        aoi=area(PLACE),
    )  # fmt: skip
    assert found.time.dt.hour.values.tolist() == [5, 17]
    vv = found.backscatter.sel(band="vv").mean(("y", "x"))
    np.testing.assert_allclose(vv, [-10, 0], atol=1e-5)


def test_radar_of_two_calibrations_is_no_series(tmp_path):
    scenes = [
        Radar(when=RADAR_DAY, properties={"calibration": "sigma0"}),
        Radar(when="2018-06-08T17:40:42Z"),
    ]
    with pytest.raises(SchemaError, match=r"\['gamma0', 'sigma0'\]"):
        season(tmp_path, *scenes)


def test_a_code_that_the_file_does_not_declare_is_named(tmp_path):
    power = np.where(np.arange(60) < 40, -9999, 0.1)
    with pytest.raises(ReadError, match="If -9999 means no data, declare it as nodata"):
        radar(tmp_path, Radar(when=RADAR_DAY, vv=power))
