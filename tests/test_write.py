"""Maps on disk are valid, appear complete or not at all, and have full metadata."""

import json
import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
import rasterio
import shapely
from crop_maps import (
    CROPS,
    ITEMS,
    NOMENCLATURE,
    fake_map,
    names,
    random_classes,
    read_item,
)
from rio_cogeo.cogeo import cog_validate

from cubecrop.nomenclature import NODATA, WITHOUT_CLASS, Crop, Nomenclature
from cubecrop.write import draw_map, legend, write_map
from cubecrop.write.crop_map import MAP_FILES
from cubecrop.write.stac import class_objects

# rasterio 1.4 multiplies transforms in a way that affine 3 announces the end of.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A map of 700 x 900 pixels on disk, with the values that went in."""
    values = random_classes(700, 900)
    confidence = np.random.default_rng(1).random(values.shape, dtype="float32")
    confidence[values == NODATA] = np.nan
    dataset = fake_map(da.from_array(values, chunks=256), da.from_array(confidence, chunks=256))
    out = tmp_path_factory.mktemp("maps") / "below" / "map"
    assert write_map(dataset, out) == out
    return out, values, confidence


# --- rasters ------------------------------------------------------------------------------


def test_the_folder_holds_exactly_the_listed_files(written):
    out, _, _ = written
    assert names(out) == sorted(MAP_FILES)
    assert names(out.parent) == ["map"]


@pytest.mark.parametrize("shape", [(64, 64), (1, 5), (5, 1), (30, 1200)])
def test_small_and_narrow_maps_are_valid_cogs(tmp_path, shape):
    values = random_classes(*shape)
    out = write_map(fake_map(values), tmp_path / "map")
    for name in ("crop_type.tif", "confidence.tif"):
        assert cog_validate(out / name, strict=True) == (True, [], [])
    with rasterio.open(out / "crop_type.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), values)


def test_crop_type_reads_back(written):
    out, values, _ = written
    assert cog_validate(out / "crop_type.tif", strict=True) == (True, [], [])
    with rasterio.open(out / "crop_type.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), values)
        assert raster.nodata == NODATA
        assert raster.crs.to_epsg() == 32631
        assert tuple(raster.bounds) == (500_000, 5_643_000, 509_000, 5_650_000)
        assert raster.block_shapes == [(512, 512)]
        assert raster.compression.name == "deflate"
        for index, colour in enumerate(NOMENCLATURE.colours):
            assert raster.colormap(1)[index] == (*bytes.fromhex(colour[1:]), 255)
        assert raster.colormap(1)[NODATA][3] == 0
        tags = raster.tags()
    assert tags["MODEL_DIGEST"] == "ab" * 32
    assert (tags["SEASON_YEAR"], tags["SEASON_START"]) == ("2018", "2017-09-01")
    assert json.loads(tags["CLASS_NAMES"]) == CROPS


def test_confidence_reads_back(written):
    out, _, confidence = written
    assert cog_validate(out / "confidence.tif", strict=True) == (True, [], [])
    with rasterio.open(out / "confidence.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), confidence)
        assert np.isnan(raster.nodata)
        assert raster.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"


def test_overviews_take_the_most_frequent_class_and_the_mean_confidence(tmp_path):
    values = np.where(np.indices((700, 700)).sum(axis=0) % 2, 3, 1).astype("uint8")
    confidence = np.where(values == 1, 0.25, 0.75).astype("float32")
    out = write_map(fake_map(values, confidence), tmp_path / "map")
    with rasterio.open(out / "crop_type.tif", overview_level=0) as raster:
        assert set(np.unique(raster.read(1))) <= {1, 3}
    with rasterio.open(out / "confidence.tif", overview_level=0) as raster:
        np.testing.assert_allclose(raster.read(1)[:300, :300], 0.5)


def test_grid_comes_from_coordinates_not_from_a_stale_geotransform(tmp_path):
    dataset = fake_map(random_classes(64, 64))
    dataset.rio.write_transform(inplace=True)
    out = write_map(dataset.isel(x=slice(8, None), y=slice(4, None)), tmp_path / "map")
    with rasterio.open(out / "crop_type.tif") as raster:
        assert (raster.bounds.left, raster.bounds.top) == (500_080, 5_649_960)


# --- STAC item ----------------------------------------------------------------------------


def test_a_map_of_one_pixel_takes_its_size_from_the_geotransform(tmp_path):
    whole = fake_map(np.zeros((8, 8), "uint8"))
    whole = whole.rio.write_transform(whole.rio.transform(recalc=True))
    out = write_map(whole.isel(x=[3], y=[5]), tmp_path / "map")
    left, _, _, top = whole.rio.bounds()
    with rasterio.open(out / "crop_type.tif") as file:
        assert file.shape == (1, 1)
        assert file.res == (10, 10)
        assert (file.bounds.left, file.bounds.top) == (left + 30, top - 50)


def test_the_item_has_season_grid_and_model(written):
    out, _, _ = written
    item = read_item(out)
    told = item["properties"]
    assert told["datetime"] is None
    assert told["start_datetime"] == "2017-09-01T00:00:00Z"
    assert told["end_datetime"] == "2018-10-31T23:59:59Z"
    assert told["proj:code"] == "EPSG:32631"
    assert told["proj:shape"] == [700, 900]
    assert told["proj:transform"] == [10, 0, 500_000, 0, -10, 5_650_000]
    assert told["proj:bbox"] == [500_000, 5_643_000, 509_000, 5_650_000]
    assert told["cubecrop:model_digest"] == "ab" * 32
    assert set(told["processing:software"]) == {"cubecrop"}
    outline = shapely.geometry.shape(item["geometry"])
    assert outline.exterior.is_ccw
    np.testing.assert_allclose(outline.bounds, item["bbox"])
    assert outline.contains(shapely.Point(3.05, 50.97))
    assert {name for name in item["stac_extensions"] if "/classification/v2.0.0/" in name}


def test_item_links_inputs_and_names_assets_without_a_file_address(written):
    out, _, _ = written
    item = read_item(out)
    links = {link["title"]: link["href"] for link in item["links"]}
    assert {link["rel"] for link in item["links"]} == {"derived_from"}
    assert links["S2A_1"] == ITEMS["S2A_1"]
    # An item without an address has no link, nor has one whose path would be this machine's;
    # their ids are told all the same.
    assert set(links) == {"S2A_1"}
    assert item["properties"]["cubecrop:items"] == list(ITEMS)
    assert "file:" not in json.dumps(item)
    for asset in item["assets"].values():
        assert (out / asset["href"]).is_file()
        assert asset["roles"]
        assert asset["type"]


def test_an_item_beside_the_map_is_linked_by_its_way_from_there(tmp_path):
    beside = tmp_path / "archive" / "dem" / "DEM.json"
    dataset = fake_map(random_classes(8, 8))
    dataset.attrs |= {"items": ["A", "B"], "item_hrefs": [str(beside), beside.as_uri()]}
    item = read_item(write_map(dataset, tmp_path / "maps" / "one", progress=False))
    assert [link["href"] for link in item["links"]] == ["../../archive/dem/DEM.json"] * 2
    assert str(tmp_path) not in json.dumps(item)


def test_classes_of_the_item(written):
    out, values, _ = written
    asset = read_item(out)["assets"]["crop_type"]
    classes = asset["classification:classes"]
    assert [entry["value"] for entry in classes] == [0, 1, 2, 3, NODATA]
    assert classes[1]["name"] == "maize_grain"
    assert classes[1]["title"] == "Maize (grain)"
    assert classes[1]["color_hint"] == NOMENCLATURE.colours[1][1:]
    assert classes[-1]["nodata"] is True
    counts = np.bincount(values.ravel(), minlength=256)
    assert [entry["count"] for entry in classes] == [*counts[:4], counts[NODATA]]
    assert (asset["data_type"], asset["nodata"]) == ("uint8", NODATA)


def test_class_names_are_unique_and_plain():
    labels = ["Maize, grain", "Maize (grain)", "nodata", "大豆", "Blé", "class 3"]
    crops = tuple(Crop(code=f"{n}", name=name, colour="#112233") for n, name in enumerate(labels))
    entries = class_objects(Nomenclature(crops=crops), WITHOUT_CLASS.values(), np.zeros(256, int))
    seen = [entry["name"] for entry in entries]
    assert len(set(seen)) == len(seen) == 7
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_") for name in seen)
    assert [entry["title"] for entry in entries[:-1]] == labels


def test_outline_is_split_at_the_antimeridian(tmp_path):
    dataset = fake_map(random_classes(64, 64), x=819_000.0, y=8_117_000.0, crs="EPSG:32760")
    item = read_item(write_map(dataset, tmp_path / "map"))
    assert item["geometry"]["type"] == "MultiPolygon"
    west, _, east, _ = item["bbox"]
    assert 179.9 < west < 180
    assert -180 < east < -179.9


def test_same_map_has_same_id_another_model_another(tmp_path):
    dataset = fake_map(random_classes(8, 8))
    other = dataset.assign_attrs(model_digest="cd" * 32)
    ids = [
        read_item(write_map(source, tmp_path / f"{n}"))["id"]
        for n, source in enumerate((dataset, dataset, other))
    ]
    assert ids[0] == ids[1] != ids[2]


# --- pictures -----------------------------------------------------------------------------


def test_quicklook_is_drawn_within_bounds(written):
    from matplotlib.image import imread

    image = imread(written[0] / "quicklook.png")
    assert max(image.shape[:2]) <= 2000
    seen = {
        tuple(np.round(colour * 255).astype(int)) for colour in image[::3, ::3, :3].reshape(-1, 3)
    }
    for colour in (*NOMENCLATURE.colours, "#E0E0E0"):
        assert tuple(bytes.fromhex(colour[1:])) in seen


def test_map_and_legend_show_the_classes_that_are_present():
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    values = np.array([[0, 3], [3, NODATA]], "uint8")
    image = draw_map(axes, values, NOMENCLATURE, extent=(0, 2, 0, 2))
    assert tuple(image.get_array()[0, 1]) == tuple(bytes.fromhex(NOMENCLATURE.colours[3][1:]))
    texts = [text.get_text() for text in legend(axes, values, NOMENCLATURE).get_texts()]
    assert texts == ["Grassland", "Winter wheat", "No data"]
    many = Nomenclature.from_labels([f"{n:02d}" for n in range(40)])
    texts = legend(axes, np.arange(40, dtype="uint8"), many).get_texts()
    assert [text.get_text() for text in texts][-1] == "and 10 more"


def test_importing_loads_neither_matplotlib_nor_torch():
    code = "import sys, cubecrop.write; print({'matplotlib', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert done.stdout.strip() == b"set()"
