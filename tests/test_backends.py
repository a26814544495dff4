"""Every backend gives the same cube: bit for bit in one CRS, all but 1 % across zones."""

import datetime as dt
import sys

import geopandas as gpd
import numpy as np
import pytest
import shapely
from extras import needs_stackstac

from cubecrop import Season, open_season
from cubecrop.cube import OdcBackend, RasterioBackend, StackstacBackend
from cubecrop.errors import MissingExtraError, ReadError, SchemaError
from cubecrop.testing import Optical, Place, Radar, forbid_compute, write_archive

# rasterio's own dataset in memory, which odc-loader warps into, is without a place at first.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
OTHERS = {"stackstac": StackstacBackend, "odc": OdcBackend}
EACH_OTHER = (pytest.param("stackstac", marks=needs_stackstac), "odc")
AOI = gpd.GeoSeries([shapely.box(500_130, 5_628_450, 501_330, 5_629_700)], crs=32631)


def smooth(offset):
    """Fields and a gradient: what images are like, not noise."""

    def paint(x, y):
        fields = (np.floor(x / 90) * 7 + np.floor(y / 130) * 13) % 17
        return offset + 100 * fields + 30 * np.sin(x / 200) + 20 * np.cos(y / 170)

    return paint


def archive(folder, place):
    def clouds(x, y):
        return np.where((x // 300 + y // 300) % 5 == 0, 9, 4)

    return write_archive(
        folder,
        [
            Optical(when="2018-05-01T10:56:21Z", dn=smooth(2000), scl=clouds, place=place),
            Optical(when="2018-06-15T10:56:21Z", dn=smooth(3000), place=place),
            Radar(when="2018-06-18T17:40:42Z", vv=0.1, vh=0.02, place=place),
        ],
    )


@pytest.fixture(scope="module")
def same_crs(tmp_path_factory):
    return archive(tmp_path_factory.mktemp("same"), Place(height=200, width=180))


@pytest.fixture(scope="module")
def next_zone(tmp_path_factory):
    """A scene of zone 32 that covers the area, which lies in zone 31."""
    corners = AOI.to_crs(32632).total_bounds
    left, top = corners[0] // 10 * 10 - 400, corners[3] // 10 * 10 + 400
    place = Place(crs="EPSG:32632", left=left, top=top, height=240, width=240)
    return archive(tmp_path_factory.mktemp("next"), place)


def loaded(folder, backend, **options):
    cube = open_season(AOI, 2018, archive=folder, backend=backend, **options)
    return {name: cube[name].to_dataset().compute() for name in ("sentinel2", "sentinel1")}


@pytest.mark.parametrize("name", EACH_OTHER)
def test_in_one_crs_backends_agree_bit_for_bit(same_crs, name):
    ours = loaded(same_crs, RasterioBackend())
    theirs = loaded(same_crs, OTHERS[name](), chunks=64)
    assert np.isfinite(ours["sentinel2"]["reflectance"]).mean() > 0.5
    for child, dataset in ours.items():
        for variable, values in dataset.data_vars.items():
            np.testing.assert_array_equal(theirs[child][variable], values)


def apart(a, b, tolerance):
    """Share of pixels that are seen in one cube alone, or differ by more than a tolerance."""
    return 1 - np.isclose(a, b, rtol=0, atol=tolerance, equal_nan=True).mean()


@pytest.mark.parametrize("name", EACH_OTHER)
def test_across_zones_at_most_one_pixel_in_a_hundred_differs(next_zone, name):
    ours, theirs = (
        loaded(next_zone, one)["sentinel2"] for one in (RasterioBackend(), OTHERS[name]())
    )
    assert np.isfinite(ours["reflectance"]).mean() > 0.5
    assert apart(ours["status"], theirs["status"], 0) <= 0.01
    # A quarter of these pixels lies on edges of 0.01 to 0.17, where GDAL's tolerance of an
    # eighth of a pixel shows; half a pixel would put most of them apart.
    assert apart(ours["reflectance"], theirs["reflectance"], 0.005) <= 0.01


@pytest.mark.parametrize("name", EACH_OTHER)
def test_across_zones_on_real_images(flanders, name):
    """Flanders seen in the next zone: values a digital number or 0.001 dB apart are equal."""
    bbox = gpd.read_parquet(flanders / "parcels.parquet").to_crs(4326).total_bounds
    season = Season(2018, start=dt.date(2018, 6, 25), end=dt.date(2018, 7, 10))
    options = {"archive": flanders, "crs": "EPSG:32632"}
    ours, theirs = (
        open_season(tuple(bbox), season, backend=one, **options).load()
        for one in (RasterioBackend(), OTHERS[name]())
    )
    assert ours["sentinel2"].sizes["time"] >= 3
    for path, tolerance in (
        ("sentinel2/reflectance", 1.01e-4),
        ("sentinel2/status", 0),
        ("sentinel1/backscatter", 1e-3),
    ):
        assert apart(ours[path], theirs[path], tolerance) <= 0.01, path


@pytest.mark.parametrize(
    "backend",
    [RasterioBackend, pytest.param(StackstacBackend, marks=needs_stackstac), OdcBackend],
)
def test_backends_are_lazy_and_name_what_cannot_be_read(tmp_path, backend):
    folder = archive(tmp_path, Place(height=200, width=180))
    (path,) = folder.glob("sentinel-2-l2a/*20180615*/B05.tif")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with forbid_compute():
        cube = open_season(AOI, 2018, archive=folder, backend=backend())
    with pytest.raises(ReadError, match=f"asset 'B05' of item '{path.parent.name}'"):
        cube["sentinel2/reflectance"].compute()


def test_a_backend_that_only_raises_refuses_lost(same_crs):
    with pytest.raises(SchemaError, match="stackstac cannot go on without a scene"):
        open_season(AOI, 2018, archive=same_crs, backend=StackstacBackend(), on_error="lost")


@pytest.mark.parametrize(("name", "module"), [("odc", "odc.loader"), ("stackstac", "stackstac")])
def test_a_missing_extra_is_named(same_crs, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"cubecrop\[{name}\]"):
        loaded(same_crs, OTHERS[name]())
