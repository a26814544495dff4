"""Crop maps and timelines as pictures that a notebook shows."""

import json

import dask
import dask.array as da
import numpy as np
import pytest
from crop_maps import NOMENCLATURE, fake_map, map_with_a_mark, random_classes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

import cubecrop
from cubecrop.errors import CubecropError, ReadError, SchemaError
from cubecrop.nomenclature import NODATA, WITHOUT_CLASS

NODATA_COLOUR = WITHOUT_CLASS[NODATA].colour

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


def pixels(figure):
    """The drawn map as colours."""
    (image,) = figure.axes[0].images
    drawn = np.asarray(image.get_array())
    return [[to_hex(colour / 255).upper() for colour in row] for row in drawn]


def legend_of(figure):
    made = figure.axes[0].get_legend()
    texts = [text.get_text() for text in made.get_texts()]
    patches = [to_hex(patch.get_facecolor()).upper() for patch in made.get_patches()]
    return dict(zip(texts, patches, strict=True))


def notes_of(figure):
    """The lines between title and map."""
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.fixture(scope="module")
def classes():
    return random_classes(24, 30)


@pytest.fixture(scope="module")
def folder(classes, tmp_path_factory):
    out = tmp_path_factory.mktemp("maps") / "map"
    return cubecrop.write_map(fake_map(classes), out, progress=False)


def test_each_pixel_has_the_colour_of_its_class(classes):
    figure = cubecrop.plot_map(fake_map(classes))
    colours = dict(enumerate(NOMENCLATURE.colours)) | {NODATA: NODATA_COLOUR}
    assert pixels(figure) == [[colours[i].upper() for i in row] for row in classes.tolist()]
    crops = {name: colour.upper() for name, colour in
             zip(NOMENCLATURE.names, NOMENCLATURE.colours, strict=True)}  # fmt: skip
    assert legend_of(figure) == crops | {"No data": NODATA_COLOUR}
    assert "Crop types 2018" in figure.axes[0].get_title(loc="left")


def test_a_lazy_map_is_computed_without_its_confidence(classes):
    def refuse(*_):
        raise AssertionError("confidence was computed")

    lazy = fake_map(da.from_array(classes, chunks=10), da.zeros(classes.shape, dtype="float32"))
    lazy["confidence"].data = lazy["confidence"].data.map_blocks(refuse, dtype="float32")
    assert pixels(cubecrop.plot_map(lazy)) == pixels(cubecrop.plot_map(fake_map(classes)))


def test_a_folder_is_drawn_as_the_map_was(classes, folder):
    expected = cubecrop.plot_map(fake_map(classes))
    with dask.config.set(scheduler=lambda *_, **__: pytest.fail("computed")):
        for path in (folder, str(folder)):
            found = cubecrop.plot_map(path)
            assert pixels(found) == pixels(expected)
            assert legend_of(found) == legend_of(expected)
            assert found.axes[0].get_title(loc="left") == expected.axes[0].get_title(loc="left")
            assert found.axes[0].get_xlabel() == expected.axes[0].get_xlabel()


def test_a_folder_and_its_map_show_the_same_coverage(classes, tmp_path):
    dates = {"first": "2017-09-03", "last": "2018-10-29", "gap_start": "2018-01-03"}
    coverage = {"sentinel2": {**dates, "longest_gap_days": 12, "dates": 70}}
    dataset = fake_map(classes).assign_attrs(coverage=json.dumps(coverage))
    clear = np.full((1, *classes.shape), 9, np.uint16)
    dataset = dataset.assign(clear_dates=(("sensor", "y", "x"), clear))
    dataset = dataset.assign_coords(sensor=["sentinel2"])
    out = cubecrop.write_map(dataset, tmp_path / "map", progress=False)
    line = (
        "Sentinel-2: 70 dates, 2017-09-03 to 2018-10-29; at most 12 days apart, from 2018-01-03; "
        "clear on 9 (median)"
    )
    assert notes_of(cubecrop.plot_map(out)) == [line]
    written = json.loads((out / "item.json").read_text())
    for spoilt in (
        {"sentinel2": {**coverage["sentinel2"], "first": "soon\n$x$"}},
        {"sentinel2": {"dates": 70}},
        {"sentinel2": {"median_clear_dates": float("nan")}},
        {"sentinel2": {**coverage["sentinel2"], "dates": float("inf")}},
        [1],
        "none",
    ):
        written["properties"]["cubecrop:coverage"] = spoilt
        (out / "item.json").write_text(json.dumps(written))
        assert notes_of(cubecrop.plot_map(out)) == [""], spoilt
    for content in (b"{", b"\xff", b"[]", b"[" * 100_000, b'{"properties": 1}'):
        (out / "item.json").write_bytes(content)
        assert notes_of(cubecrop.plot_map(out)) == [""], content
    (out / "item.json").unlink()
    assert notes_of(cubecrop.plot_map(out)) == [""]


def test_codes_that_the_map_names_are_drawn_alike_from_map_and_folder(classes, tmp_path):
    dataset = map_with_a_mark(classes)
    out = cubecrop.write_map(dataset, tmp_path / "map", progress=False)
    expected, found = cubecrop.plot_map(dataset), cubecrop.plot_map(out)
    assert "Not cropland" in legend_of(expected)
    assert legend_of(found) == legend_of(expected)
    assert pixels(found) == pixels(expected)


def test_a_large_map_is_drawn_by_mode():
    values = np.zeros((6, 5400), np.uint8)
    values[:, ::4] = 3  # one pixel in four, and never the most frequent
    values[:, 2700:] = 2
    found = np.array(pixels(cubecrop.plot_map(fake_map(values))))
    assert found.shape[1] == 1350
    left, right = NOMENCLATURE.colours[0], NOMENCLATURE.colours[2]
    assert set(found[:, :675].ravel()) == {left.upper()}
    assert set(found[:, 675:].ravel()) == {right.upper()}


def test_a_map_is_drawn_in_axes_of_ones_own(folder, classes):
    mine = Figure()
    left, right = mine.subplots(1, 2)
    assert cubecrop.plot_map(folder, ax=right) is mine
    assert not left.images
    assert len(right.images) == 1
    assert right.get_legend() is not None


@pytest.mark.parametrize("kind", ["map", "folder", "timeline"])
def test_a_notebook_shows_the_picture(kind, folder, classes, scenes_seen, tmp_path):
    figure = {
        "map": lambda: cubecrop.plot_map(fake_map(classes)),
        "folder": lambda: cubecrop.plot_map(folder),
        "timeline": lambda: cubecrop.plot_timeline(scenes_seen),
    }[kind]()
    (tmp_path / "shown.png").write_bytes(figure._repr_png_())
    shown = imread(tmp_path / "shown.png")
    assert shown.std() > 0.05  # not blank
    formatters = pytest.importorskip("IPython.core.formatters", reason="needs IPython")
    data, _ = formatters.DisplayFormatter().format(figure)
    assert data["image/png"].startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def scenes_seen(tmp_path_factory):
    from cubecrop.testing import Place, season_scenes, write_archive

    archive = write_archive(tmp_path_factory.mktemp("seen") / "archive", season_scenes(2018))
    return cubecrop.search(Place().bbox, 2018, archive=archive)


def test_an_object_that_is_no_map_is_refused(tmp_path, folder, classes):
    import rasterio

    plain = tmp_path / "plain"
    plain.mkdir()
    with rasterio.open(folder / "crop_type.tif") as raster:
        profile = {**raster.profile, "driver": "GTiff"}
    with rasterio.open(plain / "crop_type.tif", "w", **profile) as raster:
        raster.write(classes, 1)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "crop_type.tif").write_bytes(b"II*\0")
    for given, kind, says in (
        (tmp_path / "away", ReadError, r"no map at .*away.*write_map"),
        (plain, SchemaError, "does not name its classes"),
        (broken, ReadError, "cannot be read"),
        (classes, SchemaError, "ndarray"),
        (fake_map(classes).drop_vars("confidence"), SchemaError, "confidence"),
    ):
        with pytest.raises(kind, match=says) as caught:
            cubecrop.plot_map(given)
        assert isinstance(caught.value, CubecropError)


def test_a_map_of_many_items_is_one_screen(classes):
    many = [f"S2B_MSIL2A_20180101T000000_{i}" for i in range(500)]
    attrs = {"items": many, "item_hrefs": ["https://example.org/item"] * 500}
    assert len(repr(fake_map(classes).assign_attrs(attrs)).splitlines()) < 30
