"""Map metadata for QGIS and GDAL, and untrusted text in all outputs of a map."""

import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
from crop_maps import NOMENCLATURE, fake_map, random_classes
from matplotlib.figure import Figure
from rio_cogeo.cogeo import cog_validate

from cubecrop.lost_scenes import Loss
from cubecrop.model import Calibration, calibration_text
from cubecrop.nomenclature import NODATA, Crop, Nomenclature
from cubecrop.write import draw_map, legend, write_map
from cubecrop.write.crop_map import MAP_FILES
from cubecrop.write.facts import MapFacts
from cubecrop.write.stac import write_item

# rasterio 1.4 multiplies transforms in a way that affine 3 announces the end of.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

#: What drew, printed or parsed something else once, and what may be seen of it in a picture.
HOSTILE = {
    r"wheat $\frac{": r"wheat $\frac{",
    "_other": "_other",
    "a\nb\tc": "a b c",
    "x" * 10_000: "x" * 27 + "…",
    "大豆": "□□",
    "<b>&\"'": "<b>&\"'",
    "\x1b[31mred\x1b[0m\x07": "red",
    "\u202eevil": "evil",
    "$x^2$": "$x^2$",
    "[bold]x[/]": "[bold]x[/]",
    "nul\0": "nul",
    "שלום": "שלום",
    "🌽 corn": "□ corn",
    "back\\slash_{% #1 ]]>": "back\\slash_{% #1 ]]>",
}


def told_by(path):
    return ET.parse(path).getroot()


def palette(out):
    entries = told_by(out / "crop_type.qml").iter("paletteEntry")
    return {int(e.get("value")): (e.get("label"), e.get("color"), e.get("alpha")) for e in entries}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_map(fake_map(random_classes(60, 40)), tmp_path_factory.mktemp("maps") / "map")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    nomenclature = Nomenclature.from_names(HOSTILE)
    values = np.arange(len(HOSTILE), dtype="uint8").repeat(8)[None].repeat(40, axis=0)
    attrs = {
        "nomenclature": nomenclature.to_json(),
        "archive": "/home/someone/private/fla$\\frac{nders\x1b[1m",
        "model_name": "model\x1b]0;x\x07 <&>",
        "model_calibration": "uncalibrated",
    }
    out = tmp_path_factory.mktemp("hostile") / "map"
    return write_map(fake_map(values).assign_attrs(attrs), out)


def test_the_style_has_an_entry_for_each_class_and_nothing_else(written):
    assert palette(written) == {
        value: (crop.name, crop.colour.lower(), "255")
        for value, crop in enumerate(NOMENCLATURE.crops)
    }
    root = told_by(written / "crop_type.qml")
    renderer = root.find("pipe/rasterrenderer")
    assert root.tag == "qgis"
    assert renderer.get("type") == "paletted"
    assert renderer.get("band") == "1"


def test_confidence_has_a_ramp_from_0_to_1(written):
    renderer = told_by(written / "confidence.qml").find("pipe/rasterrenderer")
    assert renderer.get("type") == "singlebandpseudocolor"
    assert (renderer.get("classificationMin"), renderer.get("classificationMax")) == ("0", "1")
    items = list(renderer.iter("item"))
    assert [float(item.get("value")) for item in items] == [0, 0.25, 0.5, 0.75, 1]
    assert len({item.get("color") for item in items}) == 5
    assert all(item.get("label") for item in items)


def test_gdal_is_told_names_colours_and_a_table_of_the_classes(written):
    band = told_by(written / "crop_type.tif.aux.xml").find("PAMRasterBand")
    assert [one.text for one in band.find("CategoryNames")] == NOMENCLATURE.names
    table = band.find("GDALRasterAttributeTable")
    rows = [[cell.text for cell in row] for row in table.iter("Row")]
    assert [row[:2] for row in rows] == [[str(i), n] for i, n in enumerate(NOMENCLATURE.names)]
    red, green, blue = bytes.fromhex(NOMENCLATURE.colours[0][1:])
    assert rows[0][3:] == [str(red), str(green), str(blue), "255"]
    with rasterio.open(written / "crop_type.tif") as raster:
        colours = raster.colormap(1)
    assert len(colours) == 256
    assert {value for value, colour in colours.items() if colour[3]} == {0, 1, 2, 3}
    assert cog_validate(written / "crop_type.tif", strict=True) == (True, [], [])


def test_statistics_of_the_confidence_are_those_of_its_values(tmp_path):
    values = random_classes(700, 30)  # more rows than are summed at once
    confidence = np.random.default_rng(1).random(values.shape, dtype="float32")
    confidence[values == NODATA] = np.nan
    out = write_map(fake_map(values, confidence), tmp_path / "map")
    with rasterio.open(out / "confidence.tif") as raster:
        told = {key: float(value) for key, value in raster.tags(1).items()}
    assert told["STATISTICS_MINIMUM"] == pytest.approx(np.nanmin(confidence))
    assert told["STATISTICS_MAXIMUM"] == pytest.approx(np.nanmax(confidence))
    assert told["STATISTICS_MEAN"] == pytest.approx(np.nanmean(confidence, dtype="float64"))
    assert told["STATISTICS_STDDEV"] == pytest.approx(np.nanstd(confidence, dtype="float64"))
    assert told["STATISTICS_VALID_PERCENT"] == pytest.approx(
        100 * np.isfinite(confidence).mean(), abs=0.01
    )


def test_a_map_without_a_value_is_written(tmp_path):
    out = write_map(fake_map(np.full((4, 4), NODATA, "uint8")), tmp_path / "map")
    assert list(told_by(out / "confidence.tif.aux.xml").iter("MDI")) == []


def test_codes_that_the_flags_name_beside_the_classes_are_shown(tmp_path):
    values = random_classes(8, 8)
    values[0, 0] = 254
    confidence = np.where(values < 254, 0.5, np.nan).astype("float32")
    dataset = fake_map(values, confidence)
    dataset["crop_type"].attrs.update(
        flag_values=np.array([0, 1, 2, 3, 253, 254, NODATA], "uint8"),
        flag_meanings="Grassland Maize_(grain) Potatoes Winter_wheat unknown too_few_observations "
        "no_data",
    )
    facts = MapFacts.of(dataset)
    assert [(mark.value, mark.title) for mark in facts.marks] == [
        (253, "Unknown"),
        (254, "Too few observations"),
    ]
    out = write_map(dataset, tmp_path / "map")
    assert palette(out)[254][0] == "Too few observations"
    assert not {253, NODATA} & set(palette(out))  # no pixel is of these
    with rasterio.open(out / "crop_type.tif") as raster:
        assert {value for value, colour in raster.colormap(1).items() if colour[3]} == {
            0, 1, 2, 3, 254,
        }  # fmt: skip
    # One value comes back from a netCDF file as a bare number.
    dataset["crop_type"].attrs.update(flag_values=254, flag_meanings="too_few")
    (mark,) = MapFacts.of(dataset).marks
    assert (mark.value, mark.title) == (254, "Too few")


def test_the_item_names_the_styles(written):
    item = json.loads((written / "item.json").read_text())
    for name in ("crop_type", "confidence"):
        asset = item["assets"][f"{name}_style"]
        assert asset["href"] == f"./{name}.qml"
        assert (asset["roles"], asset["type"]) == (["style"], "application/xml")


# --- untrusted text -----------------------------------------------------------------------


def test_hostile_names_are_plain_text_in_every_file(hostile):
    assert sorted(path.name for path in hostile.iterdir()) == sorted(MAP_FILES)
    labels = [label for label, _, _ in palette(hostile).values()]
    assert labels[:3] == [r"wheat $\frac{", "_other", "a b c"]
    assert len(labels[3]) == 80
    assert labels[5:8] == ["<b>&\"'", "red", "evil"]
    names = told_by(hostile / "crop_type.tif.aux.xml").find(".//CategoryNames")
    assert len(names) == len(HOSTILE)
    with rasterio.open(hostile / "crop_type.tif") as raster:
        tags = raster.tags()
    assert json.loads(tags["CLASS_NAMES"]) == list(HOSTILE)
    assert (tags["ARCHIVE"], tags["MODEL_NAME"]) == ("fla$\\frac{nders", "model <&>")
    classes = json.loads((hostile / "item.json").read_text())["assets"]["crop_type"]
    titles = [one.get("title") for one in classes["classification:classes"]]
    assert titles[:-1] == list(HOSTILE)


def test_hostile_names_are_plain_text_in_a_legend():
    nomenclature = Nomenclature.from_names(HOSTILE)
    figure = Figure()
    values = np.arange(len(HOSTILE), dtype="uint8")[None]
    for target in (figure, figure.add_subplot()):
        made = legend(target, values, nomenclature)
        assert [text.get_text() for text in made.get_texts()] == list(HOSTILE.values())
    draw_map(figure.axes[0], values, nomenclature)
    figure.canvas.draw()  # a warning of a missing glyph would be an error


def test_characters_that_the_chosen_font_lacks_are_replaced():
    import matplotlib as mpl

    from cubecrop.write.words import words

    assert words("é大", length=9) == "é□"
    with mpl.rc_context({"font.family": ["STIXSizeOneSym"]}):
        assert words("é大", length=9) == "??"  # neither they nor the box are in it
    with mpl.rc_context({"font.family": ["no such font", "DejaVu Sans Mono"]}):
        assert words("é大", length=9) == "é□"
    with mpl.rc_context({"font.family": ["no such font"]}):
        assert words("é大", length=9) == "é□"


# --- calibration --------------------------------------------------------------------------


def test_a_calibration_in_words():
    calibration = Calibration(temperature=1.304, alpha=0.1, threshold=0.2, n=30)
    assert calibration_text(calibration) == "temperature 1.3, crop sets at 0.9"
    assert calibration_text(None) == "uncalibrated"


@pytest.mark.parametrize(
    ("told", "title"),
    [
        ("uncalibrated", "Crop types 2018, uncalibrated"),
        ("temperature 1.3, crop sets at 0.9", "Crop types 2018"),
        (None, "Crop types 2018"),
    ],
)
def test_a_map_says_how_its_model_is_calibrated(tmp_path, told, title, monkeypatch):
    titles = []
    set_title = "matplotlib.axes.Axes.set_title"
    monkeypatch.setattr(set_title, lambda _, text, **options: titles.append(text))
    dataset = fake_map(random_classes(8, 8))
    if told:
        dataset.attrs["model_calibration"] = told
    out = write_map(dataset, tmp_path / "map")
    properties = json.loads((out / "item.json").read_text())["properties"]
    assert properties.get("cubecrop:calibration") == told
    assert properties["title"] == title
    assert titles == [f"{title}\n2017-09-01 to 2018-10-31"]
    for name in ("crop_type.tif", "confidence.tif"):
        with rasterio.open(out / name) as raster:
            assert raster.tags().get("MODEL_CALIBRATION") == told


# --- no path ------------------------------------------------------------------------------


def test_nothing_that_is_written_holds_the_archives_path(hostile):
    assert b"private" not in b"".join(path.read_bytes() for path in hostile.iterdir())
    item = json.loads((hostile / "item.json").read_text())
    assert item["properties"]["cubecrop:archive"].startswith("fla$")


def test_errors_of_lost_scenes_name_files_and_no_folders(tmp_path):
    dataset = fake_map(random_classes(8, 8)).assign_attrs(
        items=["S2A_1"], item_hrefs=["file:///home/some%20one/archive/S2A_1/S2A_1.json"]
    )
    lost = [
        Loss(
            item="S2A_1",
            asset="B02",
            error="asset 'B02' cannot be read: /home/some one/archive/S2A_1/B02.tif: cut short "
            "(/home/some one/archive/S2A_1/B02.tif). Fetch it from https://example.org/B02.tif",
        )
    ]
    path = tmp_path / "item.json"
    counts = np.zeros(256, int)
    write_item(path, MapFacts.of(dataset), counts=counts, home=tmp_path, lost=lost)
    (told,) = json.loads(path.read_text())["properties"]["cubecrop:lost"]
    assert told["error"] == (
        "asset 'B02' cannot be read: B02.tif: cut short (B02.tif). Fetch it from "
        "https://example.org/B02.tif"
    )


def test_codes_and_names_of_a_nomenclature_come_through(tmp_path):
    crops = (
        Crop(code="BTH", name="winter wheat", colour="#112233"),
        Crop(code="MIS", name="maize", colour="#445566", parent="CEREAL"),
    )
    nomenclature = Nomenclature(crops=crops, name="RPG")
    dataset = fake_map(np.array([[0, 1]], "uint8"))
    out = write_map(dataset.assign_attrs(nomenclature=nomenclature.to_json()), tmp_path / "map")
    with rasterio.open(out / "crop_type.tif") as raster:
        assert json.loads(raster.tags()["CLASS_CODES"]) == ["BTH", "MIS"]
        assert raster.colormap(1)[1] == (0x44, 0x55, 0x66, 255)
    rows = told_by(out / "crop_type.tif.aux.xml").iter("Row")
    assert [[c.text for c in row][:3] for row in rows] == [
        ["0", "winter wheat", "BTH"],
        ["1", "maize", "MIS"],
    ]
