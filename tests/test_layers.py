"""Layers of a map on request: the crop set's size, the level of what is known, and its class."""

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
from crop_maps import fake_map, read_item
from masked_place import area, mapped
from region_runs import whole
from rio_cogeo.cogeo import cog_validate
from test_cli import ask, run

import cubecrop
from cubecrop import region
from cubecrop.errors import ArgumentError, SchemaError
from cubecrop.model import Calibration, KnowledgeLimits, Limit, TrainingSpace
from cubecrop.nomenclature import NODATA, Crop, Group, Nomenclature
from cubecrop.write.crop_map import MAP_FILES

#: Crops of `masked_place.field_model`, under seasons and under "crop".
TREE = Nomenclature(
    crops=(
        Crop(code="M", name="maize", colour="#E3572A", parent="S"),
        Crop(code="W", name="wheat", colour="#C8A165", parent="A"),
    ),
    groups=(
        Group(code="S", name="summer crop", colour="#D9822B", parent="C", level="season"),
        Group(code="A", name="winter crop", colour="#7C5B33", parent="C", level="season"),
        Group(code="C", name="any crop", colour="#8F8F3C", level="all"),
    ),
)
LAYERS = ("set_size", "level", "crop_at_level")
#: Side of the tiles, metres: the place of 400 m has four or more.
TILE = 320

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


def with_layers():
    """A map of 6 x 6 pixels: known as crops in the west, only as "any crop" in the east."""
    values = np.zeros((6, 6), np.uint8)
    values[:, 3:] = 1
    values[0] = NODATA
    dataset = fake_map(values).assign_attrs(nomenclature=TREE.to_json())
    known = np.where(values == NODATA, NODATA, np.where(values == 0, 0, 2)).astype(np.uint8)
    node = np.where(known == 2, 4, known).astype(np.uint8)
    size = np.where(values == NODATA, 0, 1 + values).astype(np.uint8)
    grid = ("y", "x")
    return dataset.assign(level=(grid, known), crop_at_level=(grid, node), set_size=(grid, size))


def test_a_map_is_written_with_layers(tmp_path):
    dataset = with_layers()
    out = cubecrop.write_map(dataset, tmp_path / "map", layers=LAYERS)
    for name, nodata in (("set_size", 0), ("level", NODATA), ("crop_at_level", NODATA)):
        with rasterio.open(out / f"{name}.tif") as raster:
            np.testing.assert_array_equal(raster.read(1), dataset[name])
            assert (raster.nodata, raster.dtypes) == (nodata, ("uint8",))
            assert raster.tags()["MODEL_DIGEST"] == "ab" * 32
        assert cog_validate(out / f"{name}.tif", strict=True) == (True, [], [])
    assets = read_item(out)["assets"]
    told = {
        name: [
            (one["value"], one["title"], one["count"])
            for one in assets[name]["classification:classes"]
        ]
        for name in ("level", "crop_at_level")
    }
    assert told == {
        "level": [(0, "crop", 15), (1, "season", 0), (2, "all", 15), (255, "No data", 6)],
        "crop_at_level": [
            (0, "maize", 15), (1, "wheat", 0), (2, "summer crop", 0), (3, "winter crop", 0),
            (4, "any crop", 15), (255, "No data", 6),
        ],
    }  # fmt: skip
    assert assets["set_size"]["title"] == "Number of crops in the crop set"
    assert assets["level_style"]["href"] == "./level.qml"
    entries = ET.parse(out / "crop_at_level.qml").iter("paletteEntry")
    assert {e.get("label"): e.get("color").upper() for e in entries} == {
        node.name: node.colour for node in TREE.nodes
    }
    names = ET.parse(out / "level.tif.aux.xml").find(".//CategoryNames")
    assert [one.text for one in names] == ["crop", "season", "all"]


def test_a_map_without_layers_replaces_one_with_them(tmp_path):
    cubecrop.write_map(with_layers(), tmp_path / "map", layers=LAYERS)
    out = cubecrop.write_map(with_layers(), tmp_path / "map", overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == sorted(MAP_FILES)


def test_layers_say_nothing_of_a_pixel_whose_class_was_smoothed_away(tmp_path):
    dataset = with_layers()
    dataset["crop_type"][4, 1] = 1  # alone among maize
    out = cubecrop.write_map(dataset, tmp_path / "map", layers=LAYERS, sieve=3)
    for name, nodata in (("set_size", 0), ("level", NODATA), ("crop_at_level", NODATA)):
        with rasterio.open(out / f"{name}.tif") as raster:
            found = raster.read(1)
        assert found[4, 1] == nodata
        differs = found != dataset[name].to_numpy()
        assert np.argwhere(differs).tolist() == [[4, 1]]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (("levels",), r"layers is \('levels',\), expected a tuple of some of .*'level'"),
        ("level", r"expected a tuple of some of .*layers=\('level',\)"),
    ],
)
def test_another_layer_is_refused(tmp_path, layers, message):
    with pytest.raises(ArgumentError, match=message):
        cubecrop.write_map(with_layers(), tmp_path / "map", layers=layers)


def test_a_layer_that_the_model_does_not_give_is_refused(tmp_path):
    dataset = with_layers()
    with pytest.raises(ArgumentError, match=r"no 'level': that takes a model with limits"):
        cubecrop.write_map(dataset.drop_vars("level"), tmp_path / "map", layers=["level"])
    wide = dataset.assign(level=dataset["level"].astype(int))
    with pytest.raises(SchemaError, match=r"level has .*int64, expected .*uint8"):
        cubecrop.write_map(wide, tmp_path / "map", layers=["level"])
    assert not (tmp_path / "map").exists()


@pytest.fixture(scope="module")
def sure_of_seasons(field_model, field_parcels, bare, covered):
    """A model that is sure of half of its pixels; others it knows as a coarser class."""
    # Sixteen parcels are too few to know how alike they are; here anything is alike.
    cube = cubecrop.open_season(field_parcels, 2018, archive=bare)
    embedding = field_model.embed(cubecrop.sample_pixel_sets(cube, field_parcels)).to_numpy()
    many = np.random.default_rng(0).normal(size=(30, embedding.shape[1])).astype(np.float32)
    space = TrainingSpace.of(many, range(30))
    model = replace(field_model, nomenclature=TREE, training_space=space)
    calibration = Calibration(temperature=1, alpha=0.1, threshold=0.5, n=50)
    confidence = mapped(area(), covered, model.with_calibration(calibration))["confidence"]
    half = float(confidence.median())
    limit = Limit(probability=half, dissimilarity=1e6)
    limits = KnowledgeLimits(parcel=limit, pixel=limit, kept=0.8, outside=0.02, n=50)
    calibration = replace(calibration, threshold=1 - half)
    return model.with_calibration(calibration).with_limits(limits)


def test_a_region_has_the_layers_of_its_map(covered, sure_of_seasons, tmp_path):
    out = tmp_path / "run"
    options = {"archive": covered, "model": sure_of_seasons, "tile": TILE, "progress": False}
    assert cubecrop.map_region(area(), 2018, out, layers=LAYERS, **options).is_complete
    expected = mapped(area(), covered, sure_of_seasons)
    for name in LAYERS:
        (found,) = whole(out, name, expected)
        np.testing.assert_array_equal(found, expected[name])
    assert {*np.unique(expected["level"])} == {0, 2, NODATA}
    assert {*np.unique(expected["set_size"])} == {0, 1, 2}
    with rasterio.open(out / "crop_at_level.vrt") as raster:
        assert raster.nodata == NODATA
        assert raster.read(1).size == expected["crop_at_level"].size
        assert raster.colormap(1)[4][:3] == (0x8F, 0x8F, 0x3C)
    collection = json.loads((out / "collection.json").read_text())
    assert {*LAYERS, "level_style"} <= {*collection["assets"]}
    item = json.loads(next(out.glob("tiles/*/item.json")).read_text())
    assert "level_style" not in item["assets"]

    # A tile without layers is not the same tile, and nothing of the layers remains.
    assert cubecrop.map_region(area(), 2018, out, **options).is_complete
    left = {path.name.split(".")[0] for path in out.rglob("*") if path.is_file()}
    assert not left & {*LAYERS}


def test_a_plan_refuses_layers_that_its_model_does_not_give(covered, field_model, tmp_path):
    model = field_model.with_limits(None)
    with pytest.raises(ArgumentError, match="no 'level'"):
        region.plan(
            area(), 2018, tmp_path / "run", archive=covered, model=model, layers=["level"],
            progress=False,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_the_command_writes_layers(tmp_path, monkeypatch):
    monkeypatch.setattr(cubecrop, "classify", lambda *_, **__: with_layers())
    words = ["classify", "--aoi", "3,50.9,3.01,51", "--year", "2018", "--archive", "archive"]
    layers = ["--layers", "level", "--layers", "crop_at_level"]
    assert run(*words, "--out", tmp_path / "map", *layers) == 0
    assert {*read_item(tmp_path / "map")["assets"]} >= {"level", "crop_at_level"}
    monkeypatch.setattr(cubecrop, "classify", None)  # a mistake shows before the archive is asked
    with pytest.raises(ArgumentError, match="layers is"):
        ask(*words, "--out", tmp_path / "other", "--layers", "levels")
