"""Maps on disk: valid, complete or absent, and told by their metadata."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pystac
import pytest
import rasterio
import rioxarray  # noqa: F401
import shapely
import xarray as xr
from rio_cogeo.cogeo import cog_validate

from cubecrop.errors import OutputError, ReadError, SchemaError
from cubecrop.nomenclature import NODATA, WITHOUT_CLASS, Crop, Nomenclature
from cubecrop.write import draw_map, legend, write_map
from cubecrop.write.crop_map import MAP_FILES
from cubecrop.write.shares import mapped_text
from cubecrop.write.stac import class_objects

# rasterio 1.4 multiplies transforms in a way that affine 3 announces the end of.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

CROPS = ["Grassland", "Maize (grain)", "Potatoes", "Winter wheat"]
NOMENCLATURE = Nomenclature.from_labels(CROPS, name="demo")
ITEMS = {
    "S2A_1": "https://example.org/items/S2A_1.json",
    "S1A_2": "",
    "DEM": "file:///archives/dem/DEM.json",
}


def fake_map(crop_type, confidence=None, *, x=500_000.0, y=5_650_000.0, crs="EPSG:32631"):
    """A crop map as `cubecrop.classify` returns it, of arrays that may be lazy."""
    if confidence is None:
        confidence = np.where(np.asarray(crop_type) == NODATA, np.nan, 0.75).astype("float32")
    rows, columns = crop_type.shape
    dataset = xr.Dataset(
        {"crop_type": (("y", "x"), crop_type), "confidence": (("y", "x"), confidence)},
        coords={"y": y - 5 - 10 * np.arange(rows), "x": x + 5 + 10 * np.arange(columns)},
        attrs={
            "season_year": 2018,
            "season_start": "2017-09-01",
            "season_end": "2018-10-31",
            "archive": "simulated",
            "items": list(ITEMS),
            "item_hrefs": list(ITEMS.values()),
            "model_digest": "ab" * 32,
            "model_name": "test",
            "nomenclature": NOMENCLATURE.to_json(),
        },
    )
    return dataset.rio.write_crs(crs)


def random_classes(rows, columns, seed=0):
    values = np.random.default_rng(seed).integers(0, 4, (rows, columns)).astype("uint8")
    values[: rows // 4, : columns // 4] = NODATA
    return values


def map_with_a_mark(values, *, code=253, named=None):
    """A map of which three pixels have a code that its flags name, or name another."""
    values = values.copy()
    values[7, :3] = code
    confidence = np.where((values == NODATA) | (values == code), np.nan, 0.5).astype("float32")
    dataset = fake_map(values, confidence)
    flags = [*range(len(CROPS)), code if named is None else named]
    dataset["crop_type"].attrs.update(
        flag_values=np.array(flags, "uint8"), flag_meanings="a b c d not_cropland"
    )
    return dataset


def lazy(values, *, chunk=32, fail=None, seen=None, sleep=0.0):
    """The arrays of a map whose blocks count themselves, wait or fail."""
    lock = threading.Lock()

    def block(part, block_info=None):
        with lock:
            if seen is not None:
                seen[tuple(block_info[0]["chunk-location"])] += 1
        time.sleep(sleep)
        if fail is not None:
            raise fail
        return part

    source = da.from_array(values, chunks=chunk)
    crop_type = source.map_blocks(block, dtype="uint8", meta=np.empty((0, 0), "uint8"))
    confidence = da.where(crop_type == NODATA, np.float32(np.nan), np.float32(0.5))
    return crop_type, confidence


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


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- rasters ------------------------------------------------------------------------------


def test_folder_holds_what_is_told_and_nothing_else(written):
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


def read_item(out):
    """The item, valid against the core schema; those of extensions need the network."""
    content = json.loads((out / "item.json").read_text(encoding="utf-8"))
    core = pystac.Item.from_dict({**content, "stac_extensions": []})
    assert core.validate()
    return content


def test_a_map_of_one_pixel_takes_its_size_from_the_geotransform(tmp_path):
    whole = fake_map(np.zeros((8, 8), "uint8"))
    whole = whole.rio.write_transform(whole.rio.transform(recalc=True))
    out = write_map(whole.isel(x=[3], y=[5]), tmp_path / "map")
    left, _, _, top = whole.rio.bounds()
    with rasterio.open(out / "crop_type.tif") as file:
        assert file.shape == (1, 1)
        assert file.res == (10, 10)
        assert (file.bounds.left, file.bounds.top) == (left + 30, top - 50)


def test_item_tells_season_grid_and_model(written):
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


# --- one computation, all or nothing ------------------------------------------------------


def test_each_block_is_computed_once_and_probability_never(tmp_path):
    seen = Counter()
    crop_type, confidence = lazy(random_classes(96, 64), seen=seen)
    dataset = fake_map(crop_type, confidence)
    never, _ = lazy(random_classes(96, 64), fail=AssertionError("probability was computed"))
    dataset["probability"] = ("crop", "y", "x"), never[None].astype("float32")
    write_map(dataset, tmp_path / "map")
    assert len(seen) == 6
    assert set(seen.values()) == {1}


def full_disk(*_, **__):
    raise OSError("no space left")


def test_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("cubecrop.write.crop_map.write_item", full_disk)
    with pytest.raises(OutputError, match="map cannot be written: no space left"):
        write_map(fake_map(random_classes(8, 8)), tmp_path / "map")
    assert names(tmp_path) == []


def test_failed_swap_keeps_the_old_map(tmp_path, monkeypatch):
    dataset = fake_map(random_classes(8, 8))
    out = write_map(dataset, tmp_path / "map")
    before = (out / "item.json").read_bytes()
    rename = Path.rename

    def refuse(path, target):
        return full_disk() if path.suffix == ".part" else rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError, match="no space left"):
        write_map(dataset, out, overwrite=True)
    assert names(tmp_path) == ["map"]
    assert (out / "item.json").read_bytes() == before


def test_failing_computation_leaves_nothing_and_raises_as_it_is(tmp_path):
    error = ReadError("item S2A_1, asset B02: cannot be read")
    dataset = fake_map(*lazy(random_classes(32, 32), fail=error))
    with pytest.raises(ReadError, match="S2A_1, asset B02"):
        write_map(dataset, tmp_path / "map")
    assert names(tmp_path) == []


@pytest.mark.parametrize("moment", ["computing", "writing"])
def test_killed_run_leaves_no_map(tmp_path, moment):
    script = """
        import sys, time, pathlib
        sys.path.insert(0, sys.argv[1])
        import test_write as t, cubecrop.write.crop_map as c
        def wait(*a, **k):
            pathlib.Path(sys.argv[2], "started").touch()
            time.sleep(60)
            return a[0]
        values = t.da.from_array(t.random_classes(32, 32))
        if sys.argv[3] == "computing":
            values = values.map_blocks(wait, dtype="uint8", meta=t.np.empty((0, 0), "uint8"))
        c.write_item = wait
        confidence = t.da.where(values == 255, t.np.float32("nan"), t.np.float32(0.5))
        c.write_map(t.fake_map(values, confidence), pathlib.Path(sys.argv[2], "map"))
    """
    run = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(Path(__file__).parent),
         str(tmp_path), moment],
    )  # fmt: skip
    try:
        for _ in range(600):
            if (tmp_path / "started").exists() or run.poll() is not None:
                break
            time.sleep(0.1)
        assert (tmp_path / "started").exists()
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    assert not (tmp_path / "map").exists()


def test_empty_folder_is_filled_and_a_filled_one_refused(tmp_path):
    dataset = fake_map(random_classes(8, 8))
    out = tmp_path / "map"
    out.mkdir()
    write_map(dataset, out)
    crop_type, confidence = lazy(random_classes(8, 8), fail=AssertionError("computed"))
    with pytest.raises(OutputError, match=r"map holds .*overwrite=True"):
        write_map(fake_map(crop_type, confidence), out)
    assert names(tmp_path) == ["map"]


def test_overwrite_swaps_an_earlier_map_and_nothing_else(tmp_path):
    out = tmp_path / "map"
    write_map(fake_map(np.zeros((8, 8), "uint8")), out)
    write_map(fake_map(np.ones((8, 8), "uint8")), out, overwrite=True)
    with rasterio.open(out / "crop_type.tif") as raster:
        assert (raster.read(1) == 1).all()
    assert names(tmp_path) == ["map"]
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"'notes\.txt', which cubecrop did not write"):
        write_map(fake_map(np.zeros((8, 8), "uint8")), out, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_file_is_no_place_for_a_map(tmp_path):
    (tmp_path / "map").write_text("")
    with pytest.raises(OutputError, match="map is a file, expected a folder"):
        write_map(fake_map(random_classes(8, 8)), tmp_path / "map", overwrite=True)


# --- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize("code", [4, 253])
def test_codes_that_the_flags_name_are_no_class(tmp_path, code):
    values = random_classes(8, 8)
    out = write_map(map_with_a_mark(values, code=code), tmp_path / "map")
    classes = read_item(out)["assets"]["crop_type"]["classification:classes"]
    (mark,) = (one for one in classes if one["value"] == code)
    assert (mark["name"], mark["title"], mark["count"]) == ("not_cropland", "Not cropland", 3)
    nodata = int((values[:7] == NODATA).sum() + (values[7, 3:] == NODATA).sum())
    (line,) = mapped_text(out / "item.json")
    assert line.startswith(f"Mapped {100 * (61 - nodata) / 64:.1f} % of 64 pixels: ")
    assert "4.7 % not cropland" in line
    # A code that no flag names is refused.
    with pytest.raises(OutputError, match=f"3 of 64 pixels have a class index of {code}, "):
        write_map(map_with_a_mark(values, code=code, named=code + 1), tmp_path / "other")


def test_nodata_is_never_a_class(tmp_path):
    values = random_classes(8, 8)
    values[7, :3] = 4
    with pytest.raises(
        OutputError, match=r"3 of 64 pixels have a class index of 4, expected 0 to 3, 254 \(too few"
    ):
        write_map(fake_map(values), tmp_path / "map")
    values = random_classes(8, 8)
    confidence = np.where(values == NODATA, np.nan, 0.5).astype("float32")
    confidence[0, 0], confidence[7, :2] = 0.5, np.nan
    with pytest.raises(OutputError, match="2 pixels have a class but no confidence and 1 have"):
        write_map(fake_map(values, confidence), tmp_path / "map")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d.drop_vars("confidence"), r"cubecrop.classify\(...\)"),
        (lambda d: d.transpose("x", "y"), r"dims \('x', 'y'\), expected \('y', 'x'\)"),
        (lambda d: d.isel(x=slice(0)), r"shape \(8, 0\), expected at least one pixel"),
        (lambda d: d.assign(crop_type=d.crop_type.astype("int16")), "expected uint8. Convert"),
        (lambda d: d.drop_vars("x"), "no coordinate 'x'"),
        (lambda d: d.drop_vars("spatial_ref"), "no CRS, expected a projected one"),
        (lambda d: d.rio.write_crs("EPSG:4326"), "CRS EPSG:4326, expected a projected"),
        (lambda d: d.sortby("y"), "expected descending. Reorder with"),
        (lambda d: d.isel(x=[0, 1, 3]), "steps from 10.0 to 20.0, expected equal"),
        (lambda d: d.isel(x=[0], y=[0]), "one pixel, whose size is unknown"),
        (lambda d: d.drop_attrs(deep=False), "expected .*'model_digest'"),
        (lambda d: d.assign_attrs(item_hrefs=[]), "3 items and 0 item_hrefs"),
        (lambda d: d.assign_attrs(season_end="soon"), "to 'soon', expected a harvest year"),
        (lambda d: d.assign_attrs(nomenclature="{}"), "'nomenclature' cannot be read"),
        (lambda d: d.crop_type, "is a DataArray, expected the xarray.Dataset"),
    ],
)
def test_other_datasets_are_refused_before_any_pixel_is_read(tmp_path, spoil, message):
    dataset = fake_map(*lazy(random_classes(8, 8)))

    def scheduler(*_, **__):
        raise AssertionError("computed")

    with dask.config.set(scheduler=scheduler), pytest.raises(SchemaError, match=message):
        write_map(spoil(dataset), tmp_path / "map")


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
