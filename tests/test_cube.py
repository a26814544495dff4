"""Season cubes: lazy, right by hand, and the same however they are cut."""

import json
import random

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from cubecrop.aoi import parse_aoi
from cubecrop.archive import normalise_item
from cubecrop.cube import open_season
from cubecrop.cube.clouds import mask_from_scl
from cubecrop.cube.grid import chunk_side, grid_for, lattice_of, pixel_centres
from cubecrop.cube.sentinel1 import mask_zeros, to_decibel
from cubecrop.cube.terrain import slope_and_aspect
from cubecrop.errors import AoiError, NoScenesError, ReadError, SchemaError, UnsupportedItemError
from cubecrop.schema import SENTINEL2_BANDS, Status, check_season_cube
from cubecrop.testing import (
    Elevation,
    Optical,
    Place,
    Radar,
    Weather,
    forbid_compute,
    write_archive,
)

PLACE = Place()
DAY, NEXT = "2018-06-01T10:56:21Z", "2018-06-06T10:56:21Z"
RADAR_DAY = "2018-06-02T17:40:42Z"


def area(place, *, rows=slice(None), columns=slice(None)):
    """The area of a place, or of some of its pixels."""
    left, _, _, top = place.bounds
    r0, r1, _ = rows.indices(place.height)
    c0, c1, _ = columns.indices(place.width)
    size = place.pixel
    box = shapely.box(left + c0 * size, top - r1 * size, left + c1 * size, top - r0 * size)
    return gpd.GeoSeries([box], crs=place.crs)


def season(folder, *scenes, aoi=None, **options):
    """The computed cube of an archive of these scenes."""
    source = write_archive(folder, scenes) if scenes else folder
    return open_season(area(PLACE) if aoi is None else aoi, 2018, archive=source, **options).load()


def optical(folder, *scenes, **options):
    return season(folder, *scenes, **options)["sentinel2"].dataset


def radar(folder, *scenes, **options):
    return season(folder, *scenes, **options)["sentinel1"].dataset


def block(values):
    """Pixels of 20 m painted over a whole place."""
    out = np.full((30, 30), 4, np.uint8)
    for (row, column), value in values.items():
        out[row, column] = value
    return out


def noise(x, y):
    return 1000 + (x * 7 + y * 13) % 997


# Opening


def test_opening_reads_no_pixel(archive, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a file was opened")

    monkeypatch.setattr("rasterio.open", refuse)
    with forbid_compute():
        cube = open_season(PLACE.bbox, 2018, archive=archive)
        check_season_cube(cube, needs=["sentinel2", "sentinel1", "weather", "terrain"])
        repr(cube)
    assert cube["sentinel2/reflectance"].chunks is not None
    with pytest.raises(AssertionError, match="dask computed"), forbid_compute():
        cube["terrain/terrain"].compute()


def test_what_a_cube_says_of_itself(archive):
    cube = open_season(area(PLACE), 2018, archive=archive)
    assert cube.attrs["season_year"] == 2018
    assert (cube.attrs["season_start"], cube.attrs["season_end"]) == (
        "2017-09-01",
        "2018-10-31",
    )
    assert cube.attrs["archive"] == str(archive)
    assert len(cube.attrs["items"]) == len(cube.attrs["item_hrefs"]) == 9
    assert all(href.endswith(".json") for href in cube.attrs["item_hrefs"])
    said = dict(zip(cube.attrs["items"], cube.attrs["harmonisation"], strict=True))
    optical = {json.loads(path.read_text())["id"] for path in archive.glob("sentinel-2*/*/*.json")}
    assert {name for name, reason in said.items() if reason} == optical
    assert {said[name] for name in optical} == {"offset -0.1: baseline from 04.00 (baseline 05.10)"}
    reflectance = cube["sentinel2/reflectance"]
    assert reflectance.dims == ("time", "band", "y", "x")
    assert reflectance.shape == (4, 10, 60, 60)
    assert reflectance.dtype == np.float32
    assert reflectance.band.values.tolist() == list(SENTINEL2_BANDS)
    assert cube["sentinel2/status"].dtype == np.uint8
    assert cube["sentinel1"].orbit_state.values.tolist() == [
        "ascending", "descending", "ascending",
    ]  # fmt: skip
    assert cube["sentinel1"]["backscatter"].attrs["calibration"] == "gamma0"
    for name in ("sentinel2", "sentinel1", "terrain"):
        child = cube[name].to_dataset(inherit=False)
        assert child.rio.crs.to_epsg() == 32631
        assert child.rio.bounds() == PLACE.bounds
    assert (cube.x[0], cube.y[0]) == (500_005, 5_629_995)
    for child in ("sentinel2", "sentinel1", "weather"):
        time = cube[child].time.values
        assert (np.diff(time) > np.timedelta64(0)).all()


def test_a_missing_modality_is_an_absent_child(tmp_path):
    cube = season(tmp_path / "a", Optical(when=DAY))
    assert set(cube.children) == {"sentinel2"}
    cube = season(tmp_path / "b", Radar(when=RADAR_DAY), Elevation())
    assert set(cube.children) == {"sentinel1", "terrain"}
    cube = open_season(area(PLACE), 2018, archive=tmp_path / "b", modalities=["sentinel1"])
    assert set(cube.children) == {"sentinel1"}


def test_the_whole_graph_is_small(tmp_path):
    """150 items over a 110 km tile, from metadata alone: no file is there to be read."""
    folder = write_archive(tmp_path, [Optical(when=DAY, id="one")])
    tile = Place(height=10_980, width=10_980)
    item = json.loads((folder / "sentinel-2-l2a/one/one.json").read_text())
    item["geometry"]["coordinates"], item["bbox"] = [tile.footprint], list(tile.bbox)
    for asset in item["assets"].values():
        factor = 10_980 // 60
        asset["proj:shape"] = [side * factor for side in asset["proj:shape"]]
        asset["href"] = f"./sentinel-2-l2a/one/{asset['href'][2:]}"
    items = []
    for day in np.arange("2018-01-01", "2018-05-31", dtype="datetime64[D]"):
        properties = {**item["properties"], "datetime": f"{day}T10:56:21Z"}
        properties["s2:product_uri"] = f"S2A_MSIL2A_{str(day).replace('-', '')}T105621_X.SAFE"
        assets = {k: {**a, "href": a["href"] + f"?{day}"} for k, a in item["assets"].items()}
        items.append({**item, "id": str(day), "properties": properties, "assets": assets})
    file = folder / "items.json"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    with forbid_compute():
        cube = open_season(area(tile), 2018, archive=file)
    assert cube["sentinel2/reflectance"].shape == (150, 10, 10_980, 10_980)
    chunk = cube["sentinel2/reflectance"].data.chunksize
    assert np.prod(chunk) * 4 <= 512e6
    tasks = len(cube["sentinel2/reflectance"].__dask_graph__())
    tasks += len(cube["sentinel2/status"].__dask_graph__())
    assert tasks < 20_000


# Values by hand


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


def test_twins_a_millisecond_apart_are_one_date(tmp_path):
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


def test_radar_in_radar_geometry_is_refused(tmp_path):
    folder = write_archive(tmp_path, [Optical(when=DAY), Radar(when=RADAR_DAY, id="grd")])
    path = folder / "sentinel-1-rtc" / "grd" / "grd.json"
    item = json.loads(path.read_text())
    item["properties"]["proj:code"] = "EPSG:4326"
    path.write_text(json.dumps(item))
    with pytest.raises(UnsupportedItemError, match=r"'grd'.*radar or sensor geometry.*RTC"):
        open_season(area(PLACE), 2018, archive=folder)


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


def test_passes_of_one_day_by_two_satellites_are_two_dates(tmp_path):
    found = optical(
        tmp_path,
        Optical(when=DAY, platform="Sentinel-2A"),
        Optical(when="2018-06-01T11:06:21Z", platform="Sentinel-2B", orbit=94),
    )
    assert found.sizes["time"] == 2


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


def test_radar_kernels():
    power = np.array([[0.5, np.nan, -1, 0.5, 0.5, 0.5, 0.5]], np.float32)
    found = mask_zeros(power, 10)
    np.testing.assert_array_equal(np.isnan(found), [[True] * 6 + [False]])
    assert found[0, 6] == 0.5
    stack = np.array([[[[1.0]], [[np.nan]]], [[[0.1]], [[0.1]]]], np.float32)
    # The first scene lacks a band there, so the second shows both.
    np.testing.assert_allclose(to_decibel(stack, groups=[(0, 1)]).ravel(), [-10, -10])


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


def test_radar_of_two_calibrations_is_no_series(tmp_path):
    scenes = [
        Radar(when=RADAR_DAY, properties={"calibration": "sigma0"}),
        Radar(when="2018-06-08T17:40:42Z"),
    ]
    with pytest.raises(SchemaError, match=r"\['gamma0', 'sigma0'\]"):
        season(tmp_path, *scenes)


@pytest.mark.parametrize(
    ("east", "north", "slope", "sine", "cosine"),
    [
        (1.0, 0.0, 45.0, -1.0, 0.0),  # rises to the east: falls to the west
        (0.0, 1.0, 45.0, 0.0, -1.0),
        (-0.5, -0.5, np.degrees(np.arctan(np.sqrt(0.5))), np.sqrt(0.5), np.sqrt(0.5)),
        (0.0, 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_terrain_of_a_plane(tmp_path, east, north, slope, sine, cosine):
    wide = Place(left=499_900, top=5_630_100, height=80, width=80)

    def plane(x, y):
        return 500 + east * (x - 500_000) + north * (y - 5_629_000)

    found = season(tmp_path, Optical(when=DAY), Elevation(elevation=plane, place=wide))
    terrain = found["terrain/terrain"]
    assert found["terrain"].units.values.tolist() == ["m", "degree", "1", "1"]
    x, y = np.meshgrid(found.x, found.y)
    np.testing.assert_allclose(terrain.sel(variable="elevation"), plane(x, y), rtol=1e-6)
    for name, value in (("slope", slope), ("aspect_sine", sine), ("aspect_cosine", cosine)):
        np.testing.assert_allclose(terrain.sel(variable=name), value, atol=1e-3)


def test_a_coarse_elevation_is_a_surface_and_not_stairs(tmp_path):
    coarse = Place(left=499_800, top=5_630_200, height=50, width=50, pixel=20.0)
    scenes = [Optical(when=DAY), Elevation(elevation=lambda x, y: x - 499_000, place=coarse)]
    slope = season(tmp_path, *scenes)["terrain/terrain"].sel(variable="slope")
    np.testing.assert_allclose(slope, 45, atol=0.01)


def test_terrain_beside_missing_heights():
    z = np.full((5, 5), 100, np.float32)
    z[2, 3] = np.nan
    slope, sine, _ = slope_and_aspect(z, 10)
    assert np.isnan(slope[1, 2])
    assert np.isnan(sine).sum() == 1
    assert np.nansum(slope) == 0


def test_weather_units_become_ours(tmp_path):
    days = np.arange(487)
    scene = Weather(
        start="2017-08-01",
        end="2018-11-30",
        variables={
            "Temperature_Air_2m_Mean_24h": (days / 10, "degC"),
            "temperature_max": (300.0, "K"),
            "Precipitation_Flux": (2.5, "mm/day"),
            "solar_radiation_flux": (1e6, "J m-2 day-1"),
            "wind_speed": (3.0, "m s-1"),
        },
    )
    found = season(tmp_path / "a", Optical(when=DAY), scene)["weather"]
    assert found.weather.dims == ("time", "variable", "latitude", "longitude")
    assert dict(zip(found["variable"].values, found.units.values, strict=True)) == {
        "temperature_mean": "K",
        "temperature_max": "K",
        "precipitation": "mm d-1",
        "solar_radiation": "J m-2 d-1",
    }
    assert found.time.values[0] == np.datetime64("2017-09-01")
    assert found.time.values[-1] == np.datetime64("2018-10-31")
    mean = found.weather.sel(variable="temperature_mean")[:, 0, 0]
    np.testing.assert_allclose(mean, 273.15 + days[31:-30] / 10, rtol=1e-6)
    np.testing.assert_array_equal(found.weather.sel(variable="precipitation"), 2.5)
    unknown = Weather(start="2018-01-01", end="2018-02-01", variables={"precipitation": (1, "m")})
    with pytest.raises(SchemaError, match=r"'precipitation' of item .* has unit 'm'"):
        season(tmp_path / "b", Optical(when=DAY), unknown)


# The same however it is cut


def mixed_scenes():
    """Noise in the cube's zone and in another, radar off the lattice, heights in degrees."""
    rng = np.random.default_rng(1)
    to32 = pyproj.Transformer.from_crs(32631, 32632, always_xy=True)
    east, north = to32.transform(500_000, 5_630_000)
    other = Place(crs="EPSG:32632", left=east // 20 * 20 - 200, top=north // 20 * 20 + 200,
                  height=120, width=120)  # fmt: skip
    off = Place(left=499_996.3, top=5_630_001.7, height=64, width=64)
    degrees = Place(crs="EPSG:4326", left=2.99, top=50.83, height=60, width=90, pixel=1 / 3600)

    def noise(place, factor=1, low=1, high=9000):
        return rng.integers(low, high, (place.height // factor, place.width // factor))

    def bands(place):
        fine = ("B02", "B03", "B04", "B08")
        return {b: noise(place, 1 if b in fine else 2) for b in SENTINEL2_BANDS}

    def clouds(place):
        return np.where(noise(place, 2) < 60, 9, 4)

    def power(place):
        values = rng.random((place.height, place.width)).astype(np.float32)
        values[20:23, 30:33] = 0
        return values

    return [
        Optical(when=DAY, dn=bands(PLACE), scl=clouds(PLACE)),
        Optical(when=NEXT, dn=bands(other), scl=clouds(other), place=other, tile="32UKB"),
        Optical(when=NEXT, dn=bands(PLACE), scl=clouds(PLACE)),
        Radar(when=RADAR_DAY, vv=power(off), vh=power(off), place=off),
        Elevation(elevation=rng.random((60, 90)) * 50, place=degrees),
        Weather(start="2017-08-01", end="2018-11-30",
                variables={"temperature_mean": (280 + rng.random((487, 3, 3)), "K")}),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """An archive of every kind of reading, and its cube computed in one chunk."""
    folder = write_archive(tmp_path_factory.mktemp("mixed"), mixed_scenes())
    return folder, season(folder, aoi=area(PLACE))


def test_the_mixed_cube_has_something_to_compare(mixed):
    _, whole = mixed
    status = whole["sentinel2/status"]
    assert status.shape == (2, 60, 60)
    assert ((status == Status.CLEAR).mean(["y", "x"]) > 0.2).all()
    assert ((status == Status.CLOUD).mean(["y", "x"]) > 0.01).all()
    assert 0 < np.isnan(whole["sentinel1/backscatter"]).mean() < 0.5
    assert np.isfinite(whole["terrain/terrain"]).all()


@pytest.mark.parametrize("chunks", [np.int64(31), 4096])
def test_chunks_change_nothing(mixed, chunks):
    folder, whole = mixed
    xr.testing.assert_identical(season(folder, aoi=area(PLACE), chunks=chunks), whole)


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_crops_change_nothing(mixed, data):
    folder, whole = mixed
    r0, c0 = data.draw(st.integers(0, 59)), data.draw(st.integers(0, 59))
    r1, c1 = data.draw(st.integers(r0 + 1, 60)), data.draw(st.integers(c0 + 1, 60))
    rows, columns = slice(r0, r1), slice(c0, c1)
    crop = season(folder, aoi=area(PLACE, rows=rows, columns=columns), chunks=33)
    for name in ("sentinel2", "sentinel1", "terrain"):
        found = crop[name].to_dataset().drop_vars("spatial_ref")
        expected = whole[name].to_dataset().drop_vars("spatial_ref").isel(y=rows, x=columns)
        xr.testing.assert_identical(found, expected)


def test_item_order_changes_nothing(mixed, tmp_path):
    _, whole = mixed
    scenes = mixed_scenes()
    random.Random(0).shuffle(scenes)
    found = season(tmp_path, *scenes, aoi=area(PLACE))
    for name in whole.children:
        xr.testing.assert_identical(found[name].to_dataset(), whole[name].to_dataset())
    assert found.attrs["items"] == whole.attrs["items"]


# What goes wrong


@pytest.fixture
def broken(tmp_path):
    """A lazy cube of two dates, and the file of one band of the second."""
    scenes = [
        Optical(when=DAY, id="good"),
        Optical(when=NEXT, id="bad"),
        Radar(when=RADAR_DAY, id="s1"),
    ]
    folder = write_archive(tmp_path, scenes)
    cube = open_season(area(PLACE), 2018, archive=folder)
    return cube, folder / "sentinel-2-l2a" / "bad"


@pytest.mark.parametrize("asset", ["B11", "SCL"])
@pytest.mark.parametrize("harm", ["missing", "truncated", "vrt", "text"])
def test_a_broken_file_is_named_and_never_zeros(broken, asset, harm):
    cube, home = broken
    path = home / f"{asset}.tif"
    content = path.read_bytes()
    path.unlink()
    if harm == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "vrt":
        path.write_text('<VRTDataset rasterXSize="30" rasterYSize="30"></VRTDataset>')
    elif harm == "text":
        path.write_text("gone")
    with pytest.raises(ReadError, match=f"asset '{asset}' of item 'bad' cannot be read"):
        cube["sentinel2/reflectance"].compute()
    cube["sentinel1/backscatter"].compute()


@pytest.mark.parametrize("harm", ["missing", "truncated"])
def test_a_broken_band_under_cloud_is_named(tmp_path, harm):
    scenes = [Optical(when=DAY), Optical(when=NEXT, id="dark", scl=9, dn=noise)]
    folder = write_archive(tmp_path, scenes)
    cube = open_season(area(PLACE), 2018, archive=folder)
    path = folder / "sentinel-2-l2a" / "dark" / "B11.tif"
    content = path.read_bytes()
    path.unlink()
    if harm == "truncated":
        path.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(ReadError, match="asset 'B11' of item 'dark' cannot be read"):
        cube["sentinel2/reflectance"].compute()
    lost = open_season(area(PLACE), 2018, archive=folder, on_error="lost").load()
    assert (lost["sentinel2/status"][1] == Status.LOST).all()


def test_a_broken_file_is_named_by_a_cluster(broken):
    from distributed import Client, LocalCluster

    cube, home = broken
    (home / "B11.tif").unlink()
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, protocol="tcp", host="127.0.0.1",
            dashboard_address=":0",
        ) as cluster,
        Client(cluster),
        pytest.raises(ReadError, match="asset 'B11' of item 'bad' cannot be read"),
    ):  # fmt: skip
        cube["sentinel2/reflectance"].compute()


def test_a_broken_weather_store_is_named(tmp_path):
    weather = Weather(start="2018-01-01", end="2018-02-01", id="wet")
    folder = write_archive(tmp_path, [Optical(when=DAY), weather])
    for path in sorted((folder / "agera5-daily/wet/agera5.zarr").rglob(".z*")):
        path.unlink()
    with pytest.raises(ReadError, match="asset 'weather' of item 'wet'"):
        open_season(area(PLACE), 2018, archive=folder)


def test_bad_questions(archive):
    for chunks in (0, -1, 2.5, "auto", np.int64(0), np.float64(16)):
        with pytest.raises(SchemaError, match="side of a chunk"):
            open_season(PLACE.bbox, 2018, archive=archive, chunks=chunks)
    for resolution in (0, -10, float("nan"), float("inf")):
        with pytest.raises(SchemaError, match="metres above 0"):
            open_season(PLACE.bbox, 2018, archive=archive, resolution=resolution)
    for crs in ("EPSG:4326", "EPSG:2263", "nowhere"):
        with pytest.raises(SchemaError, match="crs"):
            open_season(PLACE.bbox, 2018, archive=archive, crs=crs)
    with pytest.raises(AoiError, match="tile by tile"):
        open_season((0, 45, 5, 50), 2018, archive=archive)
    for south in (86, -81):
        with pytest.raises(AoiError, match=r"no UTM zone.*crs='EPSG:3413'"):
            open_season((3, south, 3.01, south + 0.01), 2018, archive=archive)
    with pytest.raises(NoScenesError, match=r"lon 10\.0000 to 10\.1000"):
        open_season((10, 45, 10.1, 45.1), 2018, archive=archive)


# The grid


@settings(deadline=None, max_examples=50)
@given(
    st.floats(400_000, 600_000), st.floats(0, 9e6), st.floats(0.1, 5000), st.floats(0.1, 5000),
    st.sampled_from([10, 20, 7.5]),
)  # fmt: skip
def test_grids_are_windows_of_one_lattice(left, bottom, width, height, resolution):
    box = shapely.box(left, bottom, left + width, bottom + height)
    aoi = parse_aoi(gpd.GeoSeries([box], crs=32631))
    grid = grid_for(aoi, resolution=resolution, crs="EPSG:32631")
    slack = 2e-3 * resolution
    assert grid.boundingbox.left <= left + slack
    assert grid.boundingbox.bottom <= bottom + slack
    assert grid.boundingbox.right >= left + width - slack
    assert grid.boundingbox.top >= bottom + height - slack
    assert grid.boundingbox.right < left + width + resolution + slack
    window = lattice_of(grid).window(grid)
    y, x = pixel_centres(grid)
    assert x[0] == (window.column + 0.5) * resolution
    assert y[0] == -(window.row + 0.5) * resolution
    assert (window.height, window.width) == grid.shape == (len(y), len(x))


def test_an_area_on_the_lattice_does_not_grow():
    lonlat = area(PLACE).to_crs(4326).to_crs(32631)  # back, with rounding errors
    assert grid_for(parse_aoi(lonlat)).shape == (60, 60)
    point = gpd.GeoSeries([shapely.Point(500_000, 5_630_000)], crs=32631)
    assert grid_for(parse_aoi(point)).shape == (1, 1)


def test_chunks_keep_their_budget():
    for per_pixel in (1, 40, 4 * 10 * 150, 10**7, 10**9):
        side = chunk_side(per_pixel)
        assert side == 1 or side**2 * per_pixel <= 512e6
    assert chunk_side(4 * 10 * 48) == 512
    assert isinstance(grid_for(parse_aoi(PLACE.bbox)), GeoBox)


# The real archive


def test_the_real_archive(flanders, real_season):
    parcels = flanders / "parcels.parquet"
    with forbid_compute():
        cube = open_season(parcels, 2018, archive=flanders)
    assert set(cube.children) == {"sentinel2", "sentinel1", "weather", "terrain"}
    items = [
        json.loads(path.read_text())["properties"]["datetime"][:10]
        for path in (flanders / "sentinel-2-l2a").glob("*/*.json")
    ]
    inside = {day for day in items if "2017-09-01" <= day <= "2018-10-31"}
    time = cube["sentinel2"].time.dt.strftime("%Y-%m-%d").values.tolist()
    assert sorted(time) == sorted(inside)
    assert cube["weather"].sizes["time"] == 426
    assert cube["sentinel1/backscatter"].attrs["calibration"] == "sigma0"
    cube = real_season
    clear = (cube["sentinel2/status"] == Status.CLEAR).mean(["y", "x"])
    assert 0.2 < float(clear.mean()) < 0.9
    reflectance = cube["sentinel2/reflectance"]
    assert float(reflectance.min()) > -0.1
    assert 0 < float(reflectance.median()) < 0.5
    backscatter = cube["sentinel1/backscatter"]
    assert float(np.isfinite(backscatter).mean()) > 0.95
    assert -25 < float(backscatter.median()) < 0
    elevation = cube["terrain/terrain"].sel(variable="elevation")
    assert 0 < float(elevation.min()) < float(elevation.max()) < 100
    temperature = cube["weather/weather"].sel(variable="temperature_mean")
    assert 250 < float(temperature.min()) < float(temperature.max()) < 310
