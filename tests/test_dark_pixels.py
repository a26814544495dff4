"""Earth Search's offset flag: dark pixels show, when they are read, that it is wrong."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
from catalogues import L2A

import cubecrop
from cubecrop.archive import PROVIDERS, open_archive
from cubecrop.cube.dark_pixels import check_dark_pixels
from cubecrop.cube.planes import Plane
from cubecrop.errors import UnsupportedItemError
from cubecrop.schema import Status
from cubecrop.testing import Optical, forbid_compute, write_archive

AOI = gpd.GeoSeries([shapely.box(500_050, 5_629_450, 500_550, 5_629_950)], crs=32631)


def season_of(folder, dn, flag, scl=4):
    """A cube of one item of Earth Search's ``sentinel-2-l2a`` with its flag."""
    scene = Optical(when="2018-06-15T10:56:21Z", id="flagged", dn=dn, scl=scl, baseline="05.00")
    home = write_archive(folder, [scene]) / "sentinel-2-l2a" / "flagged"
    item = json.loads((home / "flagged.json").read_text())
    rule = PROVIDERS[L2A[0]].collections[L2A[1]]
    item["assets"] = {key: item["assets"][band] for band, key in rule.assets.items()}
    item["properties"]["earthsearch:boa_offset_applied"] = flag
    item["links"] = []
    for asset in item["assets"].values():
        asset["href"] = str(home / asset["href"])
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    with forbid_compute():
        return cubecrop.open_season(AOI, 2018, archive=open_archive(path, provider=L2A[0]))


FIELD = {"B02": 450, "B03": 700, "B04": 500, "B05": 1100, "B06": 2300, "B07": 2700, "B08": 3000,
         "B8A": 3100, "B11": 1900, "B12": 1000}  # fmt: skip
RAW = {band: dn + 1000 for band, dn in FIELD.items()}


def test_shifted_files_under_a_flag_that_says_no_are_refused(tmp_path):
    cube = season_of(tmp_path, FIELD, False)
    with pytest.raises(UnsupportedItemError, match=r"'flagged'.*blue DN.*sentinel-2-c1-l2a"):
        cube["sentinel2/reflectance"].compute()


@pytest.mark.parametrize(("dn", "flag"), [(FIELD, True), (RAW, False)])
def test_files_as_the_flag_says_are_read(tmp_path, dn, flag):
    found = season_of(tmp_path, dn, flag)["sentinel2/reflectance"].isel(time=0).compute()
    expected = np.array(list(FIELD.values())) / 1e4
    np.testing.assert_allclose(found[:, 25, 25], expected, atol=1e-7)


def test_pixels_that_are_not_clear_are_no_evidence(tmp_path):
    found = season_of(tmp_path, FIELD, False, scl=3)["sentinel2"].dataset.compute()
    assert (found["status"] != Status.CLEAR).all()


def test_a_few_dark_pixels_are_no_contradiction():
    numbers = np.full((10, 20, 20), 1500, np.uint16)
    mask = np.full((20, 20), Status.CLEAR, np.uint8)
    numbers[0, :2, :10] = 700
    planes = [Plane(band) for band in numbers]
    check_dark_pixels(planes, mask, "water")
    numbers[0, :5] = 700
    with pytest.raises(UnsupportedItemError, match="100 of 400 clear pixels"):
        check_dark_pixels(planes, mask, "water")
