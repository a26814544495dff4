"""A season cube does not depend on chunks, crops or the order of items."""

import random

import numpy as np
import pyproj
import pytest
import xarray as xr
from cubes import DAY, NEXT, PLACE, RADAR_DAY, area, season
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cubecrop.schema import SENTINEL2_BANDS, Status
from cubecrop.testing import Elevation, Optical, Place, Radar, Weather, write_archive


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
