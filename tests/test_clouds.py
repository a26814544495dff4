"""Cloud masks by classes, by probability and by a user's function; the share of clear dates."""

import functools
import json

import numpy as np
import pytest
import xarray as xr

from cubecrop import CloudMask, open_season, valid_share
from cubecrop.cube.clouds import clouds_name, mask_from_probability
from cubecrop.errors import SchemaError, UnsupportedItemError
from cubecrop.schema import Status
from cubecrop.testing import Optical, Place, forbid_compute, write_archive
from cubecrop.testing.archives import _write_tiff

PLACE = Place()
DAY = "2018-06-01T10:56:21Z"
AREA = (3.002, 50.817, 3.007, 50.821)
COMMON = {"B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
          "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B11": "swir16", "B12": "swir22",
          "SCL": "scl"}  # fmt: skip


def classes(x, y):
    """Vegetation, a column of shadow at 500,100 m, cloud of high probability at 500,500 m."""
    return np.where(x < 500_120, 3, np.where((x > 500_480) & (x < 500_520), 9, 4))


def c1_archive(folder, probability, scl=classes):
    """A scene in Earth Search's form, its cloud asset with the nodata 0 that it declares."""
    root = write_archive(folder, [Optical(when=DAY, scl=scl, id="one")])
    path = next(root.rglob("one.json"))
    item = json.loads(path.read_text())
    item["collection"] = "sentinel-2-c1-l2a"
    item["assets"] = {COMMON[key]: asset for key, asset in item["assets"].items()}
    values = PLACE.paint(probability, "uint8", 20.0)
    item["assets"]["cloud"] = _write_tiff(path.parent / "cloud.tif", PLACE, values, 20.0, 0)
    item["assets"]["cloud"]["raster:bands"] = [{"nodata": 0}]
    for asset in item["assets"].values():
        asset["href"] = str(path.parent / asset["href"])
    out = folder / "items.json"
    out.write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    return out


def status_of(archive, **options):
    cube = open_season(AREA, 2018, archive=archive, modalities=["sentinel2"], **options)
    return cube["sentinel2/status"][0].compute()


def where(status, x):
    """Status of one row at metres east of 500 km."""
    return Status(int(status.sel(x=500_000 + x, method="nearest")[20]))


def test_probability_stands_for_the_classes_of_cloud(tmp_path):
    archive = c1_archive(tmp_path, lambda x, y: np.where(x > 500_400, 0, 0) + 35 * (x == 500_310))
    by_class, by_chance = status_of(archive), status_of(archive, clouds="probability")
    assert where(by_class, 500) == Status.CLOUD
    # 0 % is a value whatever the file declares: what the SCL calls cloud is clear.
    assert where(by_chance, 500) == Status.CLEAR
    # A column of 35 %, from 300 to 320 m, and 60 m around it.
    assert [where(by_chance, x) for x in (235, 245, 310, 375, 385)] == [0, 1, 1, 1, 0]
    assert where(by_class, 310) == Status.CLEAR
    # Shadow is left to the SCL.
    assert where(by_chance, 150) == where(by_class, 150) == Status.CLOUD


@pytest.mark.parametrize("kind", [1, 3, 11], ids=["saturated", "shadow", "snow"])
def test_a_probability_of_cloud_leaves_the_rest_to_the_classes(tmp_path, kind):
    """Of cloud alone a probability tells: snow at 0 % is masked all the same, and 60 m around."""
    archive = c1_archive(tmp_path, 0, scl=lambda x, y: np.where(x == 500_310, kind, 4))
    for clouds in ("scl", "probability"):
        status = status_of(archive, clouds=clouds)
        assert [where(status, x) for x in (235, 245, 310, 375, 385)] == [0, 1, 1, 1, 0]


def test_thresholds_and_outside():
    for values, status in (([0, 0, 0, 255], [0, 0, 0, 2]), ([34, 35, 0, 255], [0, 1, 0, 2])):
        found = mask_from_probability(np.array([values]), 100)
        np.testing.assert_array_equal(found, [status])


def test_a_missing_probability_asset_is_refused(tmp_path):
    archive = write_archive(tmp_path, [Optical(when=DAY, id="plain")])
    with pytest.raises(UnsupportedItemError, match=r"'plain' .* no cloud probability"):
        status_of(archive, clouds="probability")


def water(scl, resolution):
    assert scl.dtype == np.uint8
    assert resolution == 10
    return scl == 6


def near_water(scl, resolution, reach):
    mask = scl == 6
    out = mask.copy()
    for step in range(1, round(reach / resolution) + 1):
        out[:, step:] |= mask[:, :-step]
        out[:, :-step] |= mask[:, step:]
    return out


def test_a_user_function_masks(tmp_path):
    archive = write_archive(
        tmp_path, [Optical(when=DAY, scl=lambda x, y: np.where(x == 500_310, 6, 9))]
    )
    with forbid_compute():
        cube = open_season(AREA, 2018, archive=archive, modalities=["sentinel2"], clouds=water)
    assert cube.attrs["clouds"] == "function test_clouds.water"
    status = cube["sentinel2/status"][0].compute()
    assert [where(status, x) for x in (295, 305, 315, 325)] == [0, 1, 1, 0]
    reflectance = cube["sentinel2/reflectance"].compute()
    np.testing.assert_array_equal(np.isnan(reflectance[0, 0]), status == Status.CLOUD)
    wide = CloudMask(function=functools.partial(near_water, reach=100), halo=100)
    whole = status_of(archive, clouds=wide)
    assert [where(whole, x) for x in (195, 205, 415, 425)] == [0, 1, 1, 0]
    for chunks in (7, 16):
        xr.testing.assert_identical(status_of(archive, clouds=wide, chunks=chunks), whole)
    with pytest.raises(SchemaError, match=r"'test_clouds.floats' gave float64"):
        status_of(archive, clouds=floats)


def floats(scl, resolution):
    return scl * 0.5


def test_probabilities_do_not_depend_on_chunks(tmp_path):
    rng = np.random.default_rng(0)
    scl = rng.choice([3, 4, 9, 0], (30, 30), p=[0.005, 0.965, 0.02, 0.01])
    chance = np.where(rng.random((30, 30)) < 0.01, 60, 10)
    archive = c1_archive(tmp_path, chance, scl=scl)
    whole = status_of(archive, clouds="probability")
    assert set(np.unique(whole)) == {0, 1, 2}
    for chunks in (5, 16):
        again = status_of(archive, clouds="probability", chunks=chunks)
        xr.testing.assert_identical(again, whole)


def test_names_of_masks_and_invalid_masks():
    assert clouds_name("scl") == "scl"
    assert clouds_name(CloudMask(function=water)) == "function test_clouds.water"
    for wrong in ("fmask", 3, None):
        with pytest.raises(SchemaError, match="expected 'scl', 'probability'"):
            clouds_name(wrong)
    with pytest.raises(SchemaError, match="halo -1"):
        CloudMask(function=water, halo=-1)


def test_share_of_valid_observations(tmp_path):
    half = lambda x, y: np.where(x < 500_300, 9, 4)  # noqa: E731
    east = Place(left=PLACE.left + 300, width=30)
    archive = write_archive(tmp_path, [
        Optical(when="2018-05-01T10:56:21Z", scl=half),
        Optical(when="2018-06-01T10:56:21Z"),
        Optical(when="2018-07-01T10:56:21Z", place=east),
    ])  # fmt: skip
    with forbid_compute():
        cube = open_season(AREA, 2018, archive=archive, modalities=["sentinel2"], chunks=16)
        share = valid_share(cube)
    assert share.dims == ("y", "x")
    assert share.dtype == np.float32
    row = share.compute()[20]
    at = [float(row.sel(x=500_000 + x, method="nearest")) for x in (250, 325, 385)]
    # West of 300 m: one of two; to 360 m: dilated cloud, two of three; beyond: all three.
    np.testing.assert_allclose(at, [1 / 2, 2 / 3, 1], rtol=1e-6)
    with pytest.raises(SchemaError, match="expected 'sentinel2'"):
        valid_share(xr.DataTree())
