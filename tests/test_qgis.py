"""QGIS shows the classes of a map with their names and colours and nothing else."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from crop_maps import NOMENCLATURE, fake_map
from in_qgis import drivers, opened_raster, opened_table
from test_layers import TREE, with_layers

from cubecrop.nomenclature import NODATA, NOT_CROPLAND, OUTSIDE_KNOWLEDGE, TOO_FEW, WITHOUT_CLASS
from cubecrop.write import write_map, write_parcels

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

CODES = (NOT_CROPLAND, OUTSIDE_KNOWLEDGE, TOO_FEW)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A map with three of four classes, in rows, each code without a class, and no data."""
    values = np.repeat(np.array([0, 1, 3, *CODES, NODATA], np.uint8), 3)[:, None].repeat(20, 1)
    confidence = np.where(values < len(NOMENCLATURE), 0.75, np.nan).astype("float32")
    dataset = fake_map(values, confidence)
    dataset["crop_type"].attrs.update(
        flag_values=np.array(CODES, np.uint8),
        flag_meanings=" ".join(WITHOUT_CLASS[code].slug for code in CODES),
    )
    return write_map(dataset, tmp_path_factory.mktemp("qgis") / "map")


def classes_of(nomenclature):
    return [
        [value, crop.name, crop.colour.lower(), 255]
        for value, crop in enumerate(nomenclature.crops)
    ]


def test_a_map_shows_only_its_classes_with_names_and_colours(folder):
    found = opened_raster(folder / "crop_type.tif")
    marks = [
        [code, WITHOUT_CLASS[code].title, WITHOUT_CLASS[code].colour.lower(), 255] for code in CODES
    ]
    assert (found["valid"], found["crs"], found["renderer"]) == (True, "EPSG:32631", "paletted")
    assert found["classes"] == [*classes_of(NOMENCLATURE), *marks]
    assert found["legend"] == [*NOMENCLATURE.names, *(title for _, title, _, _ in marks)]
    drawn = [NOMENCLATURE.colours[value].lower() for value in (0, 1, 3)]
    assert found["colours"] == {
        **dict.fromkeys([*drawn, *(colour for _, _, colour, _ in marks)], 60),
        "alpha 0": 60,
    }


def test_confidence_shows_as_a_ramp(folder):
    found = opened_raster(folder / "confidence.tif")
    assert (found["valid"], found["renderer"]) == (True, "singlebandpseudocolor")
    assert found["colours"] == {"#c8c8c8": 180, "alpha 0": 240}  # .75, and no class


def test_layers_show_their_classes(tmp_path):
    out = write_map(with_layers(), tmp_path / "map", layers=["level", "crop_at_level"])
    found = opened_raster(out / "crop_at_level.tif")
    assert found["classes"] == [
        [value, node.name, node.colour.lower(), 255] for value, node in enumerate(TREE.nodes)
    ]
    maize, _, _, _, anything = (node.colour.lower() for node in TREE.nodes)
    assert found["colours"] == {maize: 15, anything: 15, "alpha 0": 6}
    assert [label for _, label, _, _ in opened_raster(out / "level.tif")["classes"]] == TREE.levels


@pytest.mark.parametrize("name", ["parcels.gpkg", "parcels.parquet"])
def test_parcels_open(tmp_path, name):
    if name.endswith(".parquet") and "Parquet" not in drivers():
        pytest.skip("QGIS's GDAL has no Parquet driver")
    table = gpd.GeoDataFrame(
        {
            "id": ["a", "b"], "crop:name": ["Maïs", None], "crop:code": ["1", None],
            "confidence": np.array([0.75, np.nan], "float32"),
        },
        geometry=shapely.box([0, 10], 0, [5, 14], 5), crs="EPSG:32631",
    )  # fmt: skip
    path = write_parcels(table, tmp_path / name, columns="plain")
    found = opened_table(path)
    assert (found["valid"], found["crs"]) == (True, "EPSG:32631")
    first, second = found["rows"]
    assert {key: first[key] for key in ("id", "predicted_crop", "confidence", "area")} == {
        "id": "a",
        "predicted_crop": "Maïs",
        "confidence": 0.75,
        "area": 25,
    }
    assert (second["id"], second["predicted_crop"], second["area"]) == ("b", None, 20)
