"""A region's mosaic, collection, areas and picture, from tiles that its tasks left."""

import dataclasses
import json
import shutil
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pyproj
import pystac
import pytest
import rasterio
import rioxarray
from crop_maps import NOMENCLATURE
from matplotlib.image import imread
from rasterio.enums import Resampling
from region_made import (
    COLLECTION,
    SENSORS,
    planned,
    provenance,
    values_of,
    write_evidence,
    write_failure,
    write_tile,
)
from s3 import s3

from cubecrop.cube.tiles import utm_codes
from cubecrop.errors import OutputError
from cubecrop.nomenclature import NODATA
from cubecrop.region.collect import collect
from cubecrop.region.output import Output
from cubecrop.write.cog import NO_DATES

TILES = [planned(column, row) for row in range(2) for column in range(3)]
FAILED = planned(3, 0)
TOP = {
    "areas.csv", "clear_dates.vrt", "collection.json", "confidence.qml", "confidence.vrt",
    "crop_type.qml", "crop_type.vrt", "region.png",
}  # fmt: skip


def put_together(output, tiles, **options):
    return collect(output, tiles, provenance(), name=COLLECTION, resolution=10, **options)


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    """Six tiles of one zone, and one that failed."""
    output = Output.at(tmp_path_factory.mktemp("regions") / "run")
    for one in TILES:
        write_tile(output, one)
    write_failure(output, FAILED, "ReadError: S2A_1, B04: /data/x/B04.tif is truncated")
    return output, put_together(output, [*TILES, FAILED])


def expected():
    rows = [np.hstack([values_of(one) for one in TILES[i : i + 3]]) for i in (0, 3)]
    return np.vstack(rows)


# --- mosaic -------------------------------------------------------------------------------


def test_the_region_opens_as_one_raster_with_the_pixels_of_its_tiles(region):
    _, found = region
    with rasterio.open(found.crop_type) as raster:
        np.testing.assert_array_equal(raster.read(1), expected())
        assert raster.bounds == (500_000, 5_648_720, 501_920, 5_650_000)
        assert (raster.crs.to_epsg(), raster.nodata) == (32631, NODATA)
        for index, colour in enumerate(NOMENCLATURE.colours):
            assert raster.colormap(1)[index] == (*bytes.fromhex(colour[1:]), 255)
        assert raster.tags()["MODEL_DIGEST"] == "ab" * 32
        assert len(raster.files) == 1 + len(TILES)
    one = rioxarray.open_rasterio(found.crop_type, masked=True)
    assert one.shape == (1, 128, 192)
    assert int(np.isnan(one).sum()) == int((expected() == NODATA).sum())


def test_the_mosaic_names_its_classes(region):
    output, _ = region
    root = ET.fromstring(output.read_bytes("crop_type.vrt"))
    names = [one.text for one in root.iter("Category")]
    assert names == NOMENCLATURE.names
    style = ET.fromstring(output.read_bytes("crop_type.qml"))
    assert [one.get("label") for one in style.iter("paletteEntry")] == NOMENCLATURE.names


def test_the_mosaic_moves_with_its_folder(region, tmp_path):
    output, _ = region
    shutil.copytree(output.folder, tmp_path / "moved")
    assert str(output.folder) not in (tmp_path / "moved" / "crop_type.vrt").read_text()
    with rasterio.open(tmp_path / "moved" / "crop_type.vrt") as raster:
        np.testing.assert_array_equal(raster.read(1), expected())


def test_confidence_and_clear_dates_are_mosaics_too(region):
    _, found = region
    known = expected() != NODATA
    with rasterio.open(found.confidence) as raster:
        np.testing.assert_array_equal(np.isfinite(raster.read(1)), known)
    with rasterio.open(found.clear_dates) as raster:
        assert raster.descriptions == SENSORS
        first, second = raster.read()
    np.testing.assert_array_equal(first, np.where(known, expected().astype(int), NO_DATES))
    np.testing.assert_array_equal(second[known], first[known] + 10)


def test_a_tile_without_a_sensor_has_no_clear_dates_of_it(tmp_path):
    output = Output.at(tmp_path)
    write_tile(output, TILES[0], sensors=SENSORS[1:])
    write_tile(output, TILES[1])
    found = put_together(output, TILES[:2])
    with rasterio.open(found.clear_dates) as raster:
        bands = dict(zip(raster.descriptions, raster.read(), strict=True))
    assert set(bands) == set(SENSORS)
    assert (bands["sentinel2"][:, :64] == NO_DATES).all()
    np.testing.assert_array_equal(
        bands["sentinel1"][:, :64] == NO_DATES, values_of(TILES[0]) == NODATA
    )


# --- two zones ----------------------------------------------------------------------------


def at_six_degrees(crs):
    """Where the meridian between the zones crosses a parallel, on pixels."""
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(6, 51)
    return x // 10 * 10, y // 10 * 10


def owned(one):
    left, bottom, right, top = one.mapped
    xy = np.meshgrid(np.arange(left + 5, right, 10), np.arange(top - 5, bottom, -10))
    lonlat = pyproj.Transformer.from_crs(one.tile.crs, 4326, always_xy=True).transform(*xy)
    return utm_codes(*lonlat) == int(one.tile.crs.removeprefix("EPSG:"))


@pytest.fixture(scope="module")
def two_zones(tmp_path_factory):
    """Two tiles of zone 31 and one of zone 32; each zone has one class."""
    output = Output.at(tmp_path_factory.mktemp("zones") / "run")
    (x, y), (u, v) = at_six_degrees("EPSG:32631"), at_six_degrees("EPSG:32632")
    west = [planned(column, 0, left=x - 8000, top=y + 2560, side=5120) for column in range(2)]
    east = planned(0, 0, crs="EPSG:32632", left=u - 400, top=v + 2560, side=5120)
    tiles = [*west, east]
    for one in tiles:
        value = 1 if one is east else 3
        write_tile(output, one, values=np.full((512, 512), value, "uint8"), owned=owned(one))
    return output, tiles, put_together(output, tiles)


def test_zones_join_in_one_raster(two_zones):
    _, tiles, found = two_zones
    with rasterio.open(found.crop_type) as raster:
        assert raster.crs.to_epsg() == 32631  # of most tiles
        values = raster.read(1)
    # Pixels of the main zone stay as they are.
    ours = np.hstack([owned(one) for one in tiles[:2]])
    assert (values == 3).sum() == ours.sum()
    # Warped pixels are as many as there are, but for those at the meridian.
    theirs = owned(tiles[2]).sum()
    assert abs(int((values == 1).sum()) - theirs) <= 512
    assert set(np.unique(values)) == {1, 3, NODATA}


def test_no_class_appears_in_a_mosaic_of_zones_read_at_a_lower_resolution(two_zones):
    output, tiles, _ = two_zones
    for raster_name in ("crop_type", "crop_type_32632_in_32631"):
        with rasterio.open(output.href(f"{raster_name}.vrt")) as raster:
            assert raster.overviews(1)[0] == 2
            for step in (2, 3, 4, 8, 16):
                shape = raster.height // step, raster.width // step
                for way in (Resampling.nearest, Resampling.mode):
                    values = raster.read(1, out_shape=shape, resampling=way)
                    assert set(np.unique(values)) <= {1, 3, NODATA}
                    share = (values == 1).sum() * step**2 / owned(tiles[2]).sum()
                    assert 0.8 < share < 1.2


def test_a_zone_has_its_own_mosaic_only_among_several(two_zones, region):
    assert {name for name in two_zones[0].names() if name.startswith("crop_type")} == {
        "crop_type.vrt", "crop_type.qml", "crop_type_32631.vrt", "crop_type_32632.vrt",
        "crop_type_32632_in_32631.vrt",
    }  # fmt: skip
    assert set(region[0].names()) == {*TOP, "tiles", "failures"}


def test_mosaics_of_an_earlier_run_with_other_zones_are_removed(two_zones, tmp_path):
    output, tiles, _ = two_zones
    shutil.copytree(output.folder, tmp_path / "run")
    again = Output.at(tmp_path / "run")
    put_together(again, tiles[:2])
    assert [name for name in again.names() if name.endswith(".vrt")] == [
        "clear_dates.vrt", "confidence.vrt", "crop_type.vrt",
    ]  # fmt: skip


# --- collection ---------------------------------------------------------------------------


def test_collection_and_items_are_valid_and_find_each_other(region):
    output, found = region
    content = json.loads(output.read_bytes("collection.json"))
    # The schemas of extensions need the network.
    assert pystac.Collection.from_dict({**content, "stac_extensions": []}).validate()
    collection = pystac.Collection.from_file(found.collection)
    items = list(collection.get_items())
    assert [item.get_links("item") for item in items] == [[]] * 6
    for item in items:
        assert item.collection_id == collection.id == COLLECTION
        assert item.get_collection().id == COLLECTION
        assert item.get_parent().id == COLLECTION
        assert pystac.Item.from_dict({**item.to_dict(), "stac_extensions": []}).validate()
        assert set(item.assets) == {"crop_type", "confidence", "clear_dates"}
    west, south, east, north = collection.extent.spatial.bboxes[0]
    assert west == min(item.bbox[0] for item in items)
    assert north == max(item.bbox[3] for item in items)
    assert (west < east, south < north) == (True, True)
    start, end = collection.extent.temporal.intervals[0]
    assert (start.date().isoformat(), end.date().isoformat()) == ("2017-09-01", "2018-10-31")


def test_summaries_name_classes_model_season_and_software(region):
    output, _ = region
    summaries = output.read_json("collection.json")["summaries"]
    classes = {one["title"]: one for one in summaries["classification:classes"]}
    counts = np.bincount(expected().ravel(), minlength=256)
    assert [classes[name]["count"] for name in NOMENCLATURE.names] == counts[:4].tolist()
    assert classes["No data"]["count"] == counts[NODATA]
    assert summaries["cubecrop:model_digest"] == ["ab" * 32]
    assert summaries["cubecrop:season_year"] == [2018]
    assert summaries["proj:code"] == ["EPSG:32631"]
    assert [list(one) for one in summaries["processing:software"]] == [["cubecrop"]]


def test_assets_of_the_collection_are_the_files_that_exist(region):
    output, _ = region
    assets = output.read_json("collection.json")["assets"]
    hrefs = {one["href"].removeprefix("./") for one in assets.values()}
    assert hrefs == TOP - {"collection.json"}
    assert all(output.exists(name) for name in hrefs)


def test_a_region_across_the_180th_meridian_has_a_short_bbox(tmp_path):
    output = Output.at(tmp_path)
    x, y = pyproj.Transformer.from_crs(4326, 32601, always_xy=True).transform(-180, 17)
    u, v = pyproj.Transformer.from_crs(4326, 32660, always_xy=True).transform(180, 17)
    tiles = [
        planned(0, 0, crs="EPSG:32601", left=x // 10 * 10, top=y // 10 * 10),
        planned(0, 0, crs="EPSG:32660", left=u // 10 * 10 - 640, top=v // 10 * 10),
    ]
    for one in tiles:
        write_tile(output, one)
    put_together(output, tiles)
    ((west, _, east, _),) = output.read_json("collection.json")["extent"]["spatial"]["bbox"]
    assert west > 179.9
    assert east < -179.9


# --- areas, picture and sentences ---------------------------------------------------------


def test_areas_are_those_of_the_pixels(region):
    _, found = region
    areas = pd.read_csv(found.areas).set_index("name")
    counts = np.bincount(expected().ravel(), minlength=256)
    assert list(areas.index) == [*NOMENCLATURE.names, "No data"]
    assert areas["pixels"].tolist() == [*counts[:4], counts[NODATA]]
    np.testing.assert_allclose(areas["hectares"], areas["pixels"] / 100)


def test_codes_without_a_class_are_named_as_in_the_tiles(tmp_path):
    output = Output.at(tmp_path)
    write_tile(output, TILES[0])
    folder = tmp_path / "tiles" / TILES[0].tile.id
    item = json.loads((folder / "item.json").read_text())
    mark = {"value": 252, "name": "not_cropland", "title": "Not cropland", "color_hint": "112233"}
    item["assets"]["crop_type"]["classification:classes"].append(mark)
    (folder / "item.json").write_text(json.dumps(item))
    counts = np.zeros(256, int)
    counts[[0, 252]] = 5, 7
    write_evidence(folder, counts=counts)
    found = put_together(output, TILES[:1])
    areas = pd.read_csv(found.areas).set_index("code")
    assert areas.loc["not_cropland", ["pixels", "name"]].tolist() == [7, "Not cropland"]
    with rasterio.open(found.crop_type) as raster:
        assert raster.colormap(1)[252] == (0x11, 0x22, 0x33, 255)
    assert found.sentences[0] == "Mapped 41.7 % of 12 pixels: 58.3 % not cropland."


def test_the_picture_shows_the_classes_and_hatches_what_failed(region):
    _, found = region
    picture = (255 * imread(found.picture)[..., :3]).round().astype(int)
    assert max(picture.shape) <= 2000
    pixels = {tuple(one) for one in picture.reshape(-1, 3).tolist()}
    for colour in (*NOMENCLATURE.colours, "#B3261E"):
        assert tuple(bytes.fromhex(colour[1:])) in pixels


def test_the_record_counts_and_tells(region):
    output, found = region
    assert (found.done, found.failed, found.parcels) == (6, 1, None)
    assert found.crop_type == str(output.folder / "crop_type.vrt")
    assert found.sentences == (
        "Mapped 98 % of 24,576 pixels: 2 % no data (outside the images, or never clear).",
        "Without a result: 1 of 7 tiles.",
        "1 tile: ReadError: S2A_1, B04: B04.tif is truncated",
    )


# --- the same tiles give the same files ---------------------------------------------------


def contents(output):
    return {name: output.read_bytes(name) for name in output.names() if "." in name}


def test_files_do_not_depend_on_the_order_of_tiles_nor_on_the_place(region, two_zones, tmp_path):
    for number, (output, tiles) in enumerate(((region[0], [*TILES, FAILED]), two_zones[:2])):
        moved = tmp_path / str(number)
        shutil.copytree(output.folder / "tiles", moved / "tiles")
        if output.exists("failures"):
            shutil.copytree(output.folder / "failures", moved / "failures")
        put_together(Output.at(moved), tiles[::-1])
        assert contents(Output.at(moved)) == contents(output)
        put_together(Output.at(moved), tiles)
        assert contents(Output.at(moved)) == contents(output)


def test_a_tile_of_another_plan_is_no_result(region, tmp_path):
    output, _ = region
    shutil.copytree(output.folder / "tiles", tmp_path / "run" / "tiles")
    changed = [dataclasses.replace(TILES[0], digest="other"), *TILES[1:]]
    found = put_together(Output.at(tmp_path / "run"), changed)
    assert (found.done, found.failed) == (5, 1)
    assert found.sentences[-1] == "1 tile: it has not been mapped yet"


def test_a_region_without_a_map_is_refused_with_the_reasons(tmp_path):
    output = Output.at(tmp_path)
    write_failure(output, FAILED, "the archive does not answer")
    with pytest.raises(OutputError, match=r"no tile with a map.*1 tile: the archive does not"):
        put_together(output, [FAILED])
    assert output.names() == ["failures"]


def test_a_region_in_an_object_store_is_one_raster_too(region, tmp_path):
    with pytest.MonkeyPatch.context() as patch, s3(patch) as (url, files):
        files.put(f"{region[0].folder}/tiles", f"{url}/tiles", recursive=True)
        files.put(f"{region[0].folder}/failures", f"{url}/failures", recursive=True)
        output = Output.at(url)
        found = put_together(output, [*TILES, FAILED])
        assert found.crop_type == f"{url}/crop_type.vrt"
        assert contents(output) == contents(region[0])
        with output.raster("crop_type.vrt") as raster:
            np.testing.assert_array_equal(raster.read(1), expected())
        # As QGIS opens it.
        with (
            rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
            rasterio.open(url.replace("s3://", "/vsis3/") + "/crop_type.vrt") as raster,
        ):
            np.testing.assert_array_equal(raster.read(1), expected())
