"""Reflectance, checked by hand: values, clouds, and which scenes form a date."""

import json

import numpy as np
import pyproj
import pytest
from cubes import DAY, PLACE, area, block, optical

from cubecrop.archive import normalise_item
from cubecrop.cube.clouds import mask_from_scl
from cubecrop.cube.planes import Plane, Reading
from cubecrop.cube.sentinel2 import packed, status_of
from cubecrop.schema import SENTINEL2_BANDS, Status
from cubecrop.testing import Optical, Place, write_archive


@pytest.mark.parametrize(("baseline", "offset"), [("03.01", 0.0), ("05.10", -0.1)])
def test_reflectance_is_computed_in_float64_and_cast_once(tmp_path, baseline, offset):
    dn = np.arange(1, 3601, dtype=np.uint16).reshape(60, 60)
    bands = {b: dn if b in ("B02", "B03", "B04", "B08") else 3000 for b in SENTINEL2_BANDS}
    found = optical(tmp_path, Optical(when=DAY, dn=bands, baseline=baseline)).reflectance
    expected = (dn.astype(np.float64) * 1e-4 + offset).astype(np.float32)
    for band in ("B02", "B08"):
        np.testing.assert_array_equal(found.sel(band=band)[0], expected)
    if offset:
        assert found.sel(band="B02")[0, 0, 0] == np.float32(1e-4 - 0.1)  # real, not clipped
    np.testing.assert_array_equal(found.sel(band="B11"), np.float32(3000 * 1e-4 + offset))


def test_bands_of_20_m_are_replicated(tmp_path):
    coarse = 1000 + np.arange(900, dtype=np.uint16).reshape(30, 30)
    bands = {b: coarse if b == "B11" else 3000 for b in SENTINEL2_BANDS}
    found = optical(tmp_path, Optical(when=DAY, dn=bands, baseline="02.07")).reflectance
    expected = (coarse.repeat(2, 0).repeat(2, 1) * 1e-4).astype(np.float32)
    np.testing.assert_array_equal(found.sel(band="B11")[0], expected)


def test_no_data_in_one_band_is_no_data_in_all(tmp_path):
    holes = np.full((60, 60), 3000)
    holes[10, 20] = 0
    found = optical(
        tmp_path, Optical(when=DAY, dn={b: holes if b == "B04" else 3000 for b in SENTINEL2_BANDS})
    )
    missing = np.zeros((60, 60), bool)
    missing[10, 20] = True
    for band in SENTINEL2_BANDS:
        np.testing.assert_array_equal(np.isnan(found.reflectance.sel(band=band)[0]), missing)
    assert found.status[0, 10, 20] == Status.OUTSIDE
    assert float(found.reflectance.min()) == np.float32(3000 * 1e-4 - 0.1)


@pytest.mark.parametrize("scl", [1, 3, 8, 9, 10, 11])
def test_clouds_mask_60_m_around_them(tmp_path, scl):
    found = optical(tmp_path, Optical(when=DAY, scl=block({(15, 15): scl})))
    status = found.status[0].values
    # The class covers rows and columns 30 and 31.
    assert status[30, 31 + 5] == Status.CLOUD  # 50 m
    assert status[30, 31 + 6] == Status.CLOUD  # 60 m
    assert status[30, 31 + 7] == Status.CLEAR  # 70 m
    assert status[30, 31 + 10] == Status.CLEAR  # 100 m
    assert status[30 - 6, 30] == Status.CLOUD
    assert status[30 - 5, 30 - 5] == Status.CLEAR  # 71 m away
    np.testing.assert_array_equal(
        np.isnan(found.reflectance[0]).all("band"), status != Status.CLEAR
    )
    np.testing.assert_array_equal(
        np.isnan(found.reflectance[0]).any("band"), status != Status.CLEAR
    )


@pytest.mark.parametrize("scl", [2, 4, 5, 6, 7])
def test_other_classes_are_clear(tmp_path, scl):
    assert (optical(tmp_path, Optical(when=DAY, scl=scl)).status == Status.CLEAR).all()


def test_class_zero_is_outside_and_grows_no_further(tmp_path):
    status = optical(tmp_path, Optical(when=DAY, scl=block({(15, 15): 0}))).status[0].values
    outside = np.zeros((60, 60), bool)
    outside[30:32, 30:32] = True
    np.testing.assert_array_equal(status == Status.OUTSIDE, outside)
    assert (status[~outside] == Status.CLEAR).all()


def test_status_of_an_empty_and_a_full_mask():
    assert (mask_from_scl(np.full((5, 5), 9), 10) == Status.CLOUD).all()
    assert (mask_from_scl(np.zeros((5, 5)), 10) == Status.OUTSIDE).all()


def test_cloud_differs_from_pixels_that_no_scene_covers(tmp_path):
    """Cloud in the north, no data in the south, no clear pixel and so no band read."""
    north = np.arange(60)[:, None] < 30
    scl = np.where(north[::2], 9, 0)
    dn = np.where(north, 3000, 0)
    bands = {b: dn if b in ("B02", "B03", "B04", "B08") else dn[::2] for b in SENTINEL2_BANDS}
    bands = {band: np.broadcast_to(v, (len(v), len(v))) for band, v in bands.items()}
    scene = Optical(when=DAY, scl=np.broadcast_to(scl, (30, 30)), dn=bands)
    for chunks in (None, 20):
        status = optical(tmp_path, scene, chunks=chunks).status[0].values
        assert (status == np.where(north, Status.CLOUD, Status.OUTSIDE)).all()


def test_the_status_of_a_date_is_the_best_of_its_scenes():
    clear, cloud, outside, lost = Status.CLEAR, Status.CLOUD, Status.OUTSIDE, Status.LOST
    table = [  # of the first scene, of the second, of the date
        (clear, cloud, clear), (cloud, clear, clear), (outside, clear, clear),
        (lost, clear, clear), (cloud, outside, cloud), (outside, cloud, cloud),
        (cloud, lost, cloud), (lost, cloud, cloud), (outside, lost, lost),
        (lost, outside, lost), (outside, outside, outside), (lost, lost, lost),
    ]  # fmt: skip
    first, second, expected = np.array(table, np.uint8).T
    numbers = np.full((2, 2, 1, len(table)), 3000, np.uint16)

    def status(dates):
        masks = [[Plane(first[None])], [Plane(second[None])]]
        bands = [[Plane(band) for band in scene] for scene in numbers]
        reading = Reading(planes=[masks, bands], shape=(1, len(table)))
        ones = np.ones((2, 2))
        series = packed(reading, dates=dates, scale=ones, offset=ones, unverified={})
        return status_of(series)

    found = status([(0, 1)])
    np.testing.assert_array_equal(found[0, 0], expected)
    # A clear pixel that lacks one band counts as outside.
    numbers[0, 1] = 0
    found = status([(0,)])
    np.testing.assert_array_equal(found[0, 0], np.where(first == clear, outside, first))


def test_halves_of_one_pass_are_one_date(tmp_path):
    found = optical(
        tmp_path,
        Optical(when=DAY, id="west", place=Place(width=30), dn=2000),
        Optical(when=DAY, id="east", place=Place(left=500_300, width=30), dn=3000),
        aoi=area(PLACE),
    )
    assert found.sizes["time"] == 1
    assert (found.status == Status.CLEAR).all()
    np.testing.assert_array_equal(found.reflectance[..., :30], np.float32(0.1))
    np.testing.assert_array_equal(found.reflectance[..., 30:], np.float32(3000 * 1e-4 - 0.1))


def test_two_tiles_of_a_pass_fill_each_others_clouds_and_gaps(tmp_path):
    found = optical(
        tmp_path,
        Optical(when=DAY, id="a", tile="31UES", scl=block({(5, 5): 9}), dn=2000),
        Optical(when=DAY, id="b", tile="31UDS", scl=block({(20, 20): 9}), dn=3000),
    )
    assert found.sizes["time"] == 1
    assert (found.status == Status.CLEAR).all()
    assert found.reflectance[0, 0, 10, 10] == np.float32(3000 * 1e-4 - 0.1)
    assert found.reflectance[0, 0, 40, 40] == np.float32(2000 * 1e-4 - 0.1)


def test_tiles_of_two_zones_lie_side_by_side_on_one_date(tmp_path):
    """A pass over the edge of two UTM zones, each tile in its own; they overlap by 200 m."""
    to32 = pyproj.Transformer.from_crs(32631, 32632, always_xy=True)
    # The zones' meridians are 3 degrees away on either side, so the tiles stand askew.
    left, top = 711_000, 5_650_000
    corner = to32.transform(left + 300, top)
    east = Place(crs="EPSG:32632", left=corner[0] // 20 * 20, top=corner[1] // 20 * 20 + 400,
                 width=140, height=140)  # fmt: skip
    west = Place(left=left, top=top, width=50)
    shared = {"when": DAY, "properties": {"s2:datatake_id": "GS2A_20180601T105621_015369_N05.10"}}
    found = optical(
        tmp_path,
        Optical(**shared, id="west", tile="31UGS", place=west, dn=2000),
        Optical(**shared, id="east", tile="32UKB", place=east, dn=3000),
        aoi=area(Place(left=left, top=top)),
        crs="EPSG:32631",
    )
    assert found.sizes["time"] == 1
    assert (found.status == Status.CLEAR).all()
    values = np.unique(found.reflectance)
    np.testing.assert_array_equal(values, [np.float32(0.1), np.float32(3000 * 1e-4 - 0.1)])
    np.testing.assert_array_equal(found.reflectance[..., :20], np.float32(0.1))
    np.testing.assert_array_equal(found.reflectance[..., 52:], np.float32(3000 * 1e-4 - 0.1))


def test_duplicated_processings_are_one_date_with_the_newest_values(tmp_path):
    found = optical(
        tmp_path,
        Optical(when=DAY, id="old", baseline="02.07", dn=2000),
        Optical(when=DAY, id="new", baseline="05.10", dn=4000),
    )
    np.testing.assert_array_equal(found.reflectance, np.float32(4000 * 1e-4 - 0.1))
    assert found.sizes["time"] == 1


def test_a_pass_across_the_date_line_is_one_date(tmp_path):
    """Two tiles of a pass, the middle of one west and of the other east of 180 degrees."""
    to60 = pyproj.Transformer.from_crs(4326, 32660, always_xy=True)
    line, north = (edge // 20 * 20 for edge in to60.transform(180, 65))
    shared = {"crs": "EPSG:32660", "top": north}
    west = Place(**shared, left=line - 1200, width=140)
    east = Place(**shared, left=line - 400, width=140)
    moment = "2018-06-01T23:30:00Z"
    cloudy = np.full((30, 70), 4, np.uint8)
    cloudy[5, 45] = 9
    found = optical(
        tmp_path,
        Optical(when=moment, id="west", place=west, tile="60WWU", scl=cloudy),
        Optical(when=moment, id="east", place=east, tile="01WCP", dn=2000),
        aoi=area(Place(**shared, left=line - 400, width=30)),
    )
    days = {normalise_item(json.loads(path.read_text())).solar_day
            for path in tmp_path.glob("sentinel-2-l2a/*/*.json")}  # fmt: skip
    assert len(days) == 2  # by their own solar days they would be two dates
    assert found.sizes["time"] == 1
    assert (found.status == Status.CLEAR).all()


def test_images_a_millisecond_apart_are_one_date(tmp_path):
    """Earth Search lists halves of an image as two, `_0_` and `_1_`."""
    found = optical(
        tmp_path,
        Optical(when="2018-06-01T10:56:21.024Z", id="S2A_31UES_20180601_0_L2A", dn=2000,
                place=Place(width=40)),
        Optical(when="2018-06-01T10:56:21.025Z", id="S2A_31UES_20180601_1_L2A", dn=2000,
                place=Place(left=500_200, width=40)),
        aoi=area(PLACE),
    )  # fmt: skip
    assert found.sizes["time"] == 1
    assert (found.status == Status.CLEAR).all()
    np.testing.assert_array_equal(found.reflectance, np.float32(0.1))


def test_newer_pixels_are_shown_before_older_ones(tmp_path):
    found = optical(
        tmp_path,
        Optical(when=DAY, id="a-old", baseline="02.07", dn=2000),
        Optical(when=DAY, id="b-new", baseline="05.10", dn=4000, place=Place(width=30)),
    )
    assert found.sizes["time"] == 1
    np.testing.assert_array_equal(found.reflectance[..., :30], np.float32(4000 * 1e-4 - 0.1))
    np.testing.assert_array_equal(found.reflectance[..., 30:], np.float32(2000 * 1e-4))


def test_tiles_of_one_datatake_are_one_date_though_one_names_no_orbit(tmp_path):
    datatake = {"s2:datatake_id": "GS2A_20180601T105621_015369_N02.06"}
    folder = write_archive(
        tmp_path,
        [
            Optical(when=DAY, id="a", tile="31UES", properties=datatake),
            Optical(when=DAY, id="b", tile="31UDS", dn=2000, properties={
                **datatake, "sat:relative_orbit": None, "s2:product_uri": "unnamed"}),
        ],
    )  # fmt: skip
    found = optical(folder)
    assert found.sizes["time"] == 1


def test_images_of_one_orbit_and_solar_day_are_one_date(tmp_path):
    """Of items that state no datatake; 100 minutes on, another solar day has begun or not."""
    east = Place(left=500_300, width=30)
    for name, later, dates in (("a", "2018-06-01T12:36:21Z", 1), ("b", "2018-06-02T10:56:21Z", 2)):
        found = optical(
            tmp_path / name,
            Optical(when=DAY, id="first", place=Place(width=30)),
            Optical(when=later, id="later", tile="31UDS", place=east),
            aoi=area(PLACE),
        )
        assert found.sizes["time"] == dates


def test_passes_of_one_day_by_two_satellites_are_two_dates(tmp_path):
    found = optical(
        tmp_path,
        Optical(when=DAY, platform="Sentinel-2A"),
        Optical(when="2018-06-01T11:06:21Z", platform="Sentinel-2B", orbit=94),
    )
    assert found.sizes["time"] == 2
