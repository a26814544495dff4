"""What maps and tables on disk say about their images, and about missing classes."""

import json
from collections import Counter

import dask.array as da
import numpy as np
import pytest
import rasterio
from crop_maps import NOMENCLATURE, fake_map, lazy, random_classes

from cubecrop.classification.kernels import dates_of, decide_pixels
from cubecrop.errors import SchemaError
from cubecrop.nomenclature import NODATA, TOO_FEW, WITHOUT_CLASS
from cubecrop.write import draw_map, legend, write_map
from cubecrop.write.facts import MapFacts
from cubecrop.write.picture import coverage_lines
from cubecrop.write.shares import mapped_text, predicted_text, sure_text, unmasked_text

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

COVERAGE = {
    "sentinel2": {
        "first": "2017-09-03", "last": "2018-10-29", "longest_gap_days": 12,
        "gap_start": "2018-01-03", "dates": 70,
    }
}  # fmt: skip


def told_map(values, clear, coverage=COVERAGE):
    """A map that tells its images, with clear dates (sensor, y, x)."""
    dataset = fake_map(values).assign(clear_dates=(("sensor", "y", "x"), clear))
    names = ["sentinel2", "sentinel1"][: len(clear)]
    return dataset.assign_coords(sensor=names).assign_attrs(coverage=json.dumps(coverage))


def read_properties(folder):
    return json.loads((folder / "item.json").read_text())["properties"]


@pytest.mark.parametrize("chunks", [None, (1, 2, 3), (2, 1, 8)])
@pytest.mark.parametrize("width", [4, 5])
def test_medians_are_those_of_all_pixels(tmp_path, chunks, width):
    clear = np.random.default_rng(3).integers(0, 9, (2, 5, width)).astype(np.uint16)
    clear[1] = 400
    values = random_classes(5, width)
    data = clear if chunks is None else da.from_array(clear, chunks=chunks)
    out = write_map(told_map(values, data), tmp_path / "map", progress=False)
    found = read_properties(out)["cubecrop:coverage"]
    assert found["sentinel2"] == {
        **COVERAGE["sentinel2"], "median_clear_dates": np.median(clear[0])
    }  # fmt: skip
    assert found["sentinel1"] == {"median_clear_dates": 400.0}


def test_clear_dates_are_counted_in_the_pass_that_makes_the_map(tmp_path):
    seen = Counter()
    values = random_classes(96, 64)
    crop_type, confidence = lazy(values, chunk=32, seen=seen)
    clear = (crop_type[None] * 0 + 7).astype(np.uint16)
    dataset = fake_map(crop_type, confidence).assign(clear_dates=(("sensor", "y", "x"), clear))
    dataset = dataset.assign_coords(sensor=["sentinel2"])
    seen.clear()
    out = write_map(dataset, tmp_path / "map", progress=False)
    assert set(seen.values()) == {1}
    assert read_properties(out)["cubecrop:coverage"]["sentinel2"]["median_clear_dates"] == 7


def test_a_map_without_coverage_is_written(tmp_path):
    out = write_map(fake_map(random_classes(8, 8)), tmp_path / "map", progress=False)
    assert read_properties(out)["cubecrop:coverage"] == {}


@pytest.mark.parametrize("spoilt", ["{", "[1]", '{"sentinel2": {"first": "2018-01-01"}}'])
def test_coverage_that_cannot_be_read_is_named(spoilt):
    with pytest.raises(SchemaError, match="attr 'coverage' is"):
        MapFacts.of(fake_map(random_classes(8, 8)).assign_attrs(coverage=spoilt))


def test_too_few_observations_have_a_colour_a_name_and_a_count(tmp_path):
    from matplotlib.figure import Figure

    values = np.zeros((8, 8), np.uint8)
    values[:2], values[2] = NODATA, TOO_FEW
    confidence = np.where(values < TOO_FEW, 0.5, np.nan).astype("float32")
    out = write_map(fake_map(values, confidence), tmp_path / "map", progress=False)
    with rasterio.open(out / "crop_type.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), values)
        assert raster.nodata == NODATA
        assert raster.colormap(1)[TOO_FEW] == (
            *bytes.fromhex(WITHOUT_CLASS[TOO_FEW].colour[1:]),
            255,
        )
    item = json.loads((out / "item.json").read_text())
    classes = item["assets"]["crop_type"]["classification:classes"]
    assert [(one["value"], one["name"], one["count"]) for one in classes[-2:]] == [
        (TOO_FEW, "too_few_observations", 8), (NODATA, "nodata", 16),
    ]  # fmt: skip
    assert mapped_text(out / "item.json") == [
        "Mapped 62.5 % of 64 pixels: 25 % no data (outside the images, or never clear), "
        "12.5 % too few observations."
    ]
    axes = Figure().add_subplot()
    image = draw_map(axes, values, NOMENCLATURE)
    assert tuple(image.get_array()[2, 0]) == tuple(bytes.fromhex(WITHOUT_CLASS[TOO_FEW].colour[1:]))
    texts = [text.get_text() for text in legend(axes, values, NOMENCLATURE).get_texts()]
    assert texts == ["Grassland", "Too few observations", "No data"]


def test_the_quicklook_has_a_line_a_sensor():
    values = random_classes(8, 8)
    facts = MapFacts.of(told_map(values, np.zeros((1, 8, 8), np.uint16)))
    assert coverage_lines(facts) == [
        "Sentinel-2: 70 dates, 2017-09-03 to 2018-10-29; at most 12 days apart, from 2018-01-03"
    ]


def write_counts(path, counts):
    classes = [{"value": value, "count": n} for value, n in counts.items()]
    content = {"assets": {"crop_type": {"classification:classes": classes}}}
    path.write_text(json.dumps(content))
    return mapped_text(path)


def test_shares_are_never_rounded_to_0_or_100_percent(tmp_path):
    (line,) = write_counts(tmp_path / "a.json", {0: 9_999_999, NODATA: 1})
    assert line.startswith("Mapped 99.9 % of 10,000,000 pixels: under 0.1 % no data")
    first, warning = write_counts(tmp_path / "b.json", {0: 50, NODATA: 9_800, TOO_FEW: 150})
    assert first == (
        "Mapped 0.5 % of 10,000 pixels: 98 % no data (outside the images, or never clear), "
        "1.5 % too few observations."
    )
    assert warning.startswith("Warning: less than half")
    assert write_counts(tmp_path / "c.json", {0: 5, 1: 0}) == ["Mapped 100 % of 5 pixels."]


def test_parcels_are_counted_by_reason():
    few = [f"too few observations: {n} dates of sentinel2, 6 needed" for n in (1, 2)]
    assert predicted_text(["predicted"] * 8 + few + ["no geometry"]) == [
        "Predicted 8 of 11 parcels.", "2 parcels: too few observations", "1 parcel: no geometry",
    ]  # fmt: skip
    assert predicted_text([]) == ["Predicted 0 of 0 parcels."]
    assert "None is predicted" in predicted_text(["no geometry"])[-1]
    assert predicted_text(["predicted", *few])[-1].startswith("Warning: less than half")


def test_dates_of_parcels_by_hand():
    valid = np.zeros((4, 5, 2), bool)
    valid[0, [0, 2, 3], 0] = True
    valid[1, 4, 1] = True
    valid[2] = True
    days = np.array([10, 12, 40, 45, 100])
    expected = [[3, 10, 45, 30], [1, 100, 100, 0], [5, 10, 100, 55], [0, 0, 0, 0]]
    assert dates_of(valid, days=days).tolist() == expected
    turned = dates_of(valid[:, ::-1], days=days[::-1])
    assert turned.tolist() == expected
    assert dates_of(valid[:, :0], days=days[:0]).tolist() == [[0, 0, 0, 0]] * 4


def test_pixels_without_a_class_say_why():
    nan = np.nan
    columns = np.array(
        [
            [0.2, 0.8, 5, 5], [nan, nan, 3, 5], [nan, nan, 0, 5], [nan, nan, 3, 0],
            [nan, nan, 0, 0],
        ],
        np.float32,
    )[None]  # fmt: skip
    both = decide_pixels(columns, n_classes=2, needed=[True, True])
    assert both.tolist() == [[1, TOO_FEW, NODATA, NODATA, NODATA]]
    first = decide_pixels(columns, n_classes=2, needed=[True, False])
    assert first.tolist() == [[1, TOO_FEW, NODATA, TOO_FEW, NODATA]]
    any_ = decide_pixels(columns, n_classes=2, needed=[False, False])
    assert any_.tolist() == [[1, TOO_FEW, TOO_FEW, TOO_FEW, NODATA]]


def test_sentences_tell_of_doubtful_parcels_and_of_a_map_without_a_mask(tmp_path):
    assert sure_text([]) == []
    (line,) = sure_text(["crop"] * 3 + ["season", None, float("nan"), "unknown", "unknown"])
    assert "3 crop, 2 none, 2 unknown, 1 season" in line
    item = tmp_path / "item.json"
    assert unmasked_text(item) == []
    item.write_text(json.dumps({"properties": {"cubecrop:mask": "parcels"}}))
    assert unmasked_text(item) == []
    item.write_text(json.dumps({"properties": {}}))
    (line,) = unmasked_text(item)
    assert "no land cover" in line
