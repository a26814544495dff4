"""Smoothing changes only what is asked for, and every output states the effect."""

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from crop_maps import NOMENCLATURE, fake_map, read_item
from test_cli import ask, run

import cubecrop
from cubecrop.errors import ArgumentError, ParcelError
from cubecrop.nomenclature import NODATA, NOT_CROPLAND, TOO_FEW
from cubecrop.write import plot_map, write_map

# rasterio 1.4 multiplies transforms in a way that affine 3 announces the end of.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

#: The upper left corner of `fake_map`, in EPSG:32631.
LEFT, TOP = 500_000, 5_650_000


def map_of(values, confidence=0.75):
    """A map of these classes and codes, the latter without confidence."""
    values = np.asarray(values, "uint8")
    known = values < len(NOMENCLATURE)
    dataset = fake_map(values, np.where(known, confidence, np.nan).astype("float32"))
    dataset["crop_type"].attrs.update(flag_values=[NOT_CROPLAND], flag_meanings="not_cropland")
    return dataset


def with_an_island():
    """Class 0 with an island of two pixels of class 1, and codes at the edges."""
    values = np.zeros((10, 10), "uint8")
    values[4, 4:6] = 1
    values[0, :] = NODATA
    values[9, :5] = NOT_CROPLAND
    values[9, 5] = 2  # beside land that is no cropland, and below class 0
    values[5, 0] = TOO_FEW  # alone among crops
    return values


def parcels_at(*boxes, crs="EPSG:32631"):
    """Parcels of (first column, first row, end column, end row) of `fake_map`."""
    shapes = [shapely.box(LEFT + 10 * a, TOP - 10 * d, LEFT + 10 * c, TOP - 10 * b)
              for a, b, c, d in boxes]  # fmt: skip
    return gpd.GeoDataFrame(geometry=shapes, crs="EPSG:32631").to_crs(crs)


def rasters(out):
    with (
        rasterio.open(out / "crop_type.tif") as crops,
        rasterio.open(out / "confidence.tif") as sure,
    ):
        return crops.read(1), sure.read(1), crops.tags()


def test_a_sieve_removes_islands_keeps_codes_and_states_the_share(tmp_path):
    before = with_an_island()
    dataset = map_of(before)
    out = write_map(dataset, tmp_path / "map", sieve=3)
    after, confidence, tags = rasters(out)
    changed = np.isin(before, (1, 2))
    np.testing.assert_array_equal(after, np.where(changed, 0, before))
    # A pixel of another class than the model's has no probability of that class.
    np.testing.assert_array_equal(np.isnan(confidence), changed | (before >= 4))
    expected = {
        "method": "sieve",
        "minimum_pixels": 3,
        "changed_pixels": 3,
        "classified_pixels": 84,
        "changed_share": 0.035714,
    }
    item = read_item(out)
    assert item["properties"]["cubecrop:smoothing"] == expected == json.loads(tags["SMOOTHING"])
    assert item["properties"]["title"] == "Crop types 2018, smoothed: 3.6 % of pixels changed"
    counts = {one["value"]: one["count"]
              for one in item["assets"]["crop_type"]["classification:classes"]}  # fmt: skip
    assert (counts[0], counts[1], counts[NOT_CROPLAND], counts[NODATA]) == (84, 0, 5, 10)
    np.testing.assert_array_equal(dataset["crop_type"], before)  # the caller's map stays


def test_the_effect_is_in_the_picture_of_a_smoothed_map_only(tmp_path):
    dataset = map_of(with_an_island())
    drawn = plot_map(write_map(dataset, tmp_path / "smoothed", sieve=3)).axes[0]
    assert drawn.get_title("left").endswith("2018-10-31, smoothed: 3.6 % of pixels changed")
    plain = write_map(dataset, tmp_path / "plain")
    assert "smoothed" not in plot_map(plain).axes[0].get_title("left")
    assert "cubecrop:smoothing" not in read_item(plain)["properties"]
    assert "SMOOTHING" not in rasters(plain)[2]
    assert read_item(plain)["id"] != read_item(tmp_path / "smoothed")["id"]


def test_without_the_option_pixels_are_written_as_they_are(tmp_path):
    values = np.random.default_rng(0).integers(0, 4, (40, 40))
    after, confidence, _ = rasters(write_map(map_of(values), tmp_path / "map"))
    np.testing.assert_array_equal(after, values)
    assert (confidence == 0.75).all()


def test_a_group_among_codes_has_no_neighbour_and_stays(tmp_path):
    """Pixels that touch at a corner are no neighbours."""
    values = np.zeros((6, 6), "uint8")
    values[2, 2] = 3
    for row, column in ((1, 2), (3, 2), (2, 1), (2, 3)):
        values[row, column] = NOT_CROPLAND
    for minimum in (10, 36, 10**12):  # also more pixels than the map has
        out = write_map(map_of(values), tmp_path / "map", sieve=minimum, overwrite=True)
        np.testing.assert_array_equal(rasters(out)[0], values)


@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:4326"])
def test_parcels_take_their_most_frequent_class(tmp_path, crs):
    values = np.zeros((6, 12), "uint8")
    values[:4, :4] = 1
    values[0, :2] = 2
    values[1, 1] = NOT_CROPLAND
    path = tmp_path / "parcels.gpkg"
    parcels_at((0, 0, 4, 4), (300, 300, 310, 310), crs=crs).to_file(path)
    out = write_map(map_of(values), tmp_path / "map", majority=path)
    after, confidence, _ = rasters(out)
    expected = np.where(values == 2, 1, values)
    np.testing.assert_array_equal(after, expected)
    np.testing.assert_array_equal(np.isnan(confidence), (values == 2) | (values == NOT_CROPLAND))
    record = read_item(out)["properties"]["cubecrop:smoothing"]
    assert record["method"] == "majority"
    assert (record["parcels"], record["file"]) == (1, "parcels.gpkg")
    assert (record["changed_pixels"], record["classified_pixels"]) == (2, 71)


def test_of_equally_frequent_classes_the_most_confident_wins_then_the_first(tmp_path):
    values = np.array([[3, 3, 1, 1, 3, 3, 1, 1]])
    confidence = np.array([[0.9, 0.8, 0.9, 0.7, 0.5, 0.5, 0.5, 0.5]])
    parcels = parcels_at((0, 0, 4, 1), (4, 0, 8, 1))
    out = write_map(map_of(values, confidence), tmp_path / "map", majority=parcels)
    after, _, _ = rasters(out)
    assert after.tolist() == [[3, 3, 3, 3, 1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sieve": 1}, ArgumentError, "sieve is 1, expected a whole number, 2 or more"),
        ({"sieve": 2.5}, ArgumentError, "sieve is 2.5"),
        ({"majority": 3}, ArgumentError, "majority is 3, expected a GeoDataFrame"),
        ({"sieve": 5, "majority": parcels_at((0, 0, 2, 2))}, ArgumentError, "Leave one out"),
        (
            {"majority": parcels_at((0, 0, 2, 2)).set_crs(None, allow_override=True)},
            ParcelError,
            "have no CRS; set it",
        ),
        (
            {"majority": parcels_at((900, 900, 910, 910))},
            ParcelError,
            r"none of the 1 parcels of majority meets the map.*which is EPSG:32631",
        ),
        (
            {"majority": gpd.GeoDataFrame(geometry=[shapely.Point(3, 51), None], crs=4326)},
            ParcelError,
            "none of the 2 geometries of majority is a polygon",
        ),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        write_map(map_of(with_an_island()), tmp_path / "map", **options)
    assert list(tmp_path.iterdir()) == []


def test_the_command_smooths_and_prints_the_effect(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cubecrop, "classify", lambda *_, **__: map_of(with_an_island()))
    common = ["classify", "--aoi", "3,50.9,3.01,51", "--year", "2018", "--archive", "archive"]
    assert run(*common, "--out", tmp_path / "map", "--sieve", "3") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Smoothed: 3.6 % of the pixels with a class took another" in told
    path = tmp_path / "parcels.gpkg"
    parcels_at((0, 3, 10, 9)).to_file(path)
    assert run(*common, "--out", tmp_path / "parcels", "--majority", path) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "another (most frequent class of each parcel)" in told
    monkeypatch.setattr(cubecrop, "classify", None)
    with pytest.raises(ArgumentError, match="sieve is 1"):
        ask(*common, "--out", tmp_path / "other", "--sieve", "1")


def test_a_tile_server_draws_a_map_in_its_own_colours(tmp_path):
    """rio-tiler, with which titiler serves maps, takes the colours from the file."""
    reader = pytest.importorskip("rio_tiler.io").Reader
    out = write_map(map_of(with_an_island()), tmp_path / "map")
    with reader(str(out / "crop_type.tif")) as source:
        image = source.preview(max_size=None)
        shown = image.apply_colormap(source.colormap).array
    red, green, blue = (band[4, 4] for band in shown[:3])
    assert f"#{red:02X}{green:02X}{blue:02X}" == NOMENCLATURE.colours[1]
    assert shown.mask[:3, 0].all()
