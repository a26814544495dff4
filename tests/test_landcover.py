"""Land cover of an archive, in the form of the Planetary Computer's WorldCover."""

import json

import numpy as np
import pyproj
import pytest
import rasterio
from cubes import DAY, PLACE, area

from cubecrop.archive import normalise_item, search
from cubecrop.cube import open_season
from cubecrop.errors import ReadError
from cubecrop.testing import LandCover, Optical, Place, write_archive

#: Two tiles that meet at 3.004 degrees, in the middle of the place.
WEST = Place(crs="EPSG:4326", left=2.98, top=50.84, height=480, width=288, pixel=1 / 12000)
EAST = Place(crs="EPSG:4326", left=3.004, top=50.84, height=480, width=288, pixel=1 / 12000)


def codes(x, y):
    """WorldCover's codes in squares of three pixels, told by their place in degrees."""
    known = np.array([10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100])
    return known[(np.floor(x * 4000) + 3 * np.floor(y * 4000)).astype(int) % 11]


def opened(folder, *scenes, aoi=None, **options):
    source = write_archive(folder, [Optical(when=DAY), *scenes]) if scenes else folder
    return open_season(
        area(PLACE) if aoi is None else aoi, 2018, archive=source,
        modalities=["sentinel2", "landcover"], **options,
    )  # fmt: skip


def at_centres(cube, function):
    """A function of degrees at the pixel that each pixel centre of a cube lies in."""
    x, y = np.meshgrid(cube.x, cube.y)
    lon, lat = pyproj.Transformer.from_crs(PLACE.crs, 4326, always_xy=True).transform(x, y)
    column, row = np.floor((lon - WEST.left) * 12000), np.floor((WEST.top - lat) * 12000)
    return function(WEST.left + (column + 0.5) / 12000, WEST.top - (row + 0.5) / 12000)


def test_land_cover_is_the_nearest_pixel_of_each_place_whatever_tiles_and_chunks(tmp_path):
    tiles = [LandCover(place=place, codes=codes, id=f"tile-{place.left}") for place in (WEST, EAST)]
    cube = opened(tmp_path, *tiles)
    found = cube["landcover"].landcover
    assert found.dtype == np.uint8
    assert dict(zip(found.flag_values.tolist(), found.flag_meanings.split(), strict=True))[40] == (
        "cropland"
    )
    assert (found.collection, found.years) == ("esa-worldcover", [2021])
    np.testing.assert_array_equal(found.to_numpy(), at_centres(cube, codes))
    for chunks in (7, 25):
        again = opened(tmp_path, chunks=chunks)
        np.testing.assert_array_equal(again["landcover"].landcover.to_numpy(), found.to_numpy())
    part = opened(tmp_path, aoi=area(PLACE, rows=slice(11, 40), columns=slice(5, 44)))
    np.testing.assert_array_equal(
        part["landcover"].landcover.to_numpy(), found.to_numpy()[11:40, 5:44]
    )


def test_land_cover_is_opened_only_if_it_is_asked_for(tmp_path):
    source = write_archive(tmp_path, [Optical(when=DAY), LandCover()])
    assert "landcover" not in open_season(area(PLACE), 2018, archive=source).children
    assert not search(area(PLACE), 2018, archive=source).of("landcover")


def test_of_two_years_each_place_has_the_nearest(tmp_path):
    scenes = [LandCover(year=2020, codes=30), LandCover(year=2021, codes=40)]
    before = opened(tmp_path / "both", *scenes)["landcover"].landcover
    assert (before.years, np.unique(before).tolist()) == ([2020], [30])
    # Of the nearest year, only the west is there: the east comes from the other one.
    half = [LandCover(year=2020, codes=30, place=WEST), LandCover(year=2021, codes=40)]
    cube = opened(tmp_path / "half", *half)
    found = cube["landcover"].landcover
    assert found.years == [2020, 2021]
    expected = at_centres(cube, lambda lon, _: np.where(lon < 3.004, 30, 40))
    np.testing.assert_array_equal(found.to_numpy(), expected)


def test_a_place_without_a_map_is_unknown(tmp_path):
    cube = opened(tmp_path, LandCover(place=WEST, codes=lambda x, _: np.where(x < 3.002, 0, 40)))
    expected = at_centres(cube, lambda lon, _: np.where((lon < 3.002) | (lon > 3.004), 0, 40))
    np.testing.assert_array_equal(cube["landcover"].landcover.to_numpy(), expected)


def test_a_file_that_is_missing_or_another_product_is_an_error(tmp_path):
    opened(tmp_path, LandCover())
    (path,) = tmp_path.glob("esa-worldcover/*/map.tif")
    with rasterio.open(path, "r+") as file:
        file.write(np.full(file.shape, 37, np.uint8), 1)
    with pytest.raises(ReadError, match=r"ESA_WorldCover_10m_2021.* holds the codes \[37\]"):
        opened(tmp_path)["landcover"].landcover.compute()
    path.unlink()
    with pytest.raises(ReadError, match="'landcover' of item 'ESA_WorldCover_10m_2021_v200"):
        opened(tmp_path)["landcover"].landcover.compute()


def test_an_annual_map_of_another_producer_is_a_row_of_the_table():
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "31U-2022",
        "collection": "io-lulc-annual-v02", "bbox": [0.0, 48.0, 6.0, 56.0],
        "geometry": {
            "type": "Polygon", "coordinates": [[[0, 48], [6, 48], [6, 56], [0, 56], [0, 48]]]
        },
        "properties": {
            "datetime": None, "start_datetime": "2022-01-01T00:00:00Z",
            "end_datetime": "2023-01-01T00:00:00Z", "proj:epsg": 32631,
            "proj:shape": [88770, 44500],
            "proj:transform": [10.0, 0.0, 278000.0, 0.0, -10.0, 6212000.0],
        },
        "links": [],
        "assets": {
            "data": {
                "href": "https://ai4edataeuwest.blob.core.windows.net/io-lulc/31U.tif",
                "raster:bands": [{"nodata": 0, "spatial_resolution": 10}],
            }
        },
    }  # fmt: skip
    scene = normalise_item(json.loads(json.dumps(item)))
    assert (scene.modality, scene.provider, scene.start.year) == (
        "landcover", "planetary-computer", 2022,
    )  # fmt: skip
    assert scene.classes[5] == "cropland"
    assert scene.assets["landcover"].nodata == 0
