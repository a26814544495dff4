"""Areas from a map and reference points, and scores weighted by area."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import rasterio.shutil
from crop_maps import CROPS, fake_map, map_with_a_mark
from shapely import Point, box

from cubecrop import write_map
from cubecrop.cli import app
from cubecrop.errors import LabelError, OutputError, ParcelError, ReadError
from cubecrop.evaluation import map_areas
from cubecrop.metrics import area_estimates, scores
from cubecrop.nomenclature import NODATA, TOO_FEW

#: Olofsson et al. 2014, tables 8 and 9: deforestation, forest gain, stable forest, stable
#: non-forest; rows are the map.
COUNTS = [[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]]
HECTARES = [18_000, 13_500, 288_000, 580_500]


def points_of(counts):
    pairs = [(i, j) for i, row in enumerate(counts) for j, n in enumerate(row) for _ in range(n)]
    mapped, truth = np.array(pairs).T
    return truth, mapped


def test_the_worked_example_of_the_paper():
    found = area_estimates(*points_of(COUNTS), HECTARES)
    z = 1.96
    assert found.n.tolist() == [75, 75, 165, 325]
    np.testing.assert_allclose(found.area, [21_158, 11_686, 285_770, 581_386], atol=0.5)
    np.testing.assert_allclose(z * found.area_se, [6_158, 3_756, 15_510, 16_282], atol=0.5)
    np.testing.assert_allclose(found.users, [0.88, 0.73, 0.93, 0.96], atol=0.005)
    np.testing.assert_allclose(z * found.users_se, [0.07, 0.10, 0.04, 0.02], atol=0.005)
    np.testing.assert_allclose(found.producers, [0.75, 0.85, 0.93, 0.96], atol=0.005)
    np.testing.assert_allclose(z * found.producers_se[[0, 2, 3]], [0.21, 0.03, 0.02], atol=0.005)
    assert found.accuracy == pytest.approx(0.95, abs=0.005)
    assert z * found.accuracy_se == pytest.approx(0.02, abs=0.005)
    assert found.area.sum() == pytest.approx(900_000)
    np.testing.assert_allclose(found.area_interval[0], [15_000, 27_315], atol=1)


def test_the_intervals_hold_the_true_areas():
    rng = np.random.default_rng(0)
    share = np.array([[0.8, 0.15, 0.05], [0.1, 0.85, 0.05], [0.02, 0.08, 0.9]])
    areas = np.array([100.0, 300, 600])
    inside, accurate = np.zeros(3), 0
    producers = areas * np.diag(share) / (areas @ share)
    for _ in range(300):
        mapped = np.repeat([0, 1, 2], 80)
        truth = (share[mapped].cumsum(axis=1) > rng.random((240, 1))).argmax(axis=1)
        found = area_estimates(truth, mapped, areas)
        low, high = found.area_interval.T
        inside += (low <= areas @ share) & (areas @ share <= high)
        accurate += np.abs(found.producers - producers) <= 1.96 * found.producers_se
    assert (inside / 300 > 0.9).all()
    assert (accurate / 300 > 0.88).all()


def test_a_class_that_is_not_mapped_has_an_area_from_the_points():
    found = area_estimates([0, 0, 0, 1], [0, 0, 0, 0], [100, 0])
    assert found.area.tolist() == [75, 25]
    assert np.isnan(found.users[1])
    assert found.producers.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("truth", "mapped", "areas", "match"),
    [
        ([0, 0, 1], [0, 0, 1], [1, 1], r"classes \[1\] have fewer than two"),
        ([0, 0], [0, 0], [1, 1], "fewer than two"),
        ([0, 0, 1], [0, 0, 1], [1, 0], "area is 0"),
        ([0, 2], [0, 0], [1, 1], "outside of 0 to 1"),
        ([0, 0], [0, 2], [1, 1], "expected 0 to 1"),
        ([0, 0], [0, 0], [np.nan, 1], "expected 0 or more"),
        ([0, 0], [0, 0], [-1, 1], "expected 0 or more"),
    ],
)
def test_what_cannot_be_estimated_is_an_error(truth, mapped, areas, match):
    with pytest.raises(LabelError, match=match):
        area_estimates(truth, mapped, areas)


def test_scores_weighted_by_area():
    truth, guess, area = [0, 0, 1, 1], [0, 1, 1, NODATA], [3.0, 1, 2, 4]
    found = scores(truth, guess, 2, weights=area)
    assert found.n == 4
    assert found.per_class_n == (2, 2)
    assert found.accuracy == pytest.approx(5 / 10)
    assert found.per_class_recall == pytest.approx((3 / 4, 2 / 6))
    assert found.per_class_precision == pytest.approx((1, 2 / 3))
    assert found.per_class_f1 == pytest.approx((6 / 7, 4 / 9))
    assert scores(truth, guess, 2, weights=np.ones(4)) == scores(truth, guess, 2)
    assert np.isnan(scores(truth, guess, 2, weights=np.zeros(4)).accuracy)
    for odd in ([1, 1], [1, 1, 1, -1], [1, 1, 1, np.nan]):
        with pytest.raises(LabelError, match="weights"):
            scores(truth, guess, 2, weights=odd)


def classes():
    """A map of 8 rows and columns: grass in the west, maize in the east, two corners without."""
    values = np.zeros((8, 8), np.uint8)
    values[:, 4:] = 1
    values[0, :2], values[7, 6:] = NODATA, TOO_FEW
    return values


def written(folder):
    out = folder / "map"
    values = classes()
    confidence = np.where(values >= TOO_FEW, np.nan, 0.75).astype("float32")
    write_map(fake_map(values, confidence), out, progress=False)
    return out


def reference(rows, crs="EPSG:4326", **columns):
    """Points in the middle of pixels (row, column) of a map, with their crops."""
    pixels = [(500_005 + 10 * column, 5_649_995 - 10 * row) for row, column, _ in rows]
    table = gpd.GeoDataFrame(
        {"crop": [crop for *_, crop in rows], **columns},
        geometry=[Point(*pixel) for pixel in pixels],
        crs="EPSG:32631",
    )
    return table.to_crs(crs)


GRASS, MAIZE, POTATOES, WHEAT = CROPS
ROWS = [(2, 0, GRASS), (3, 1, GRASS), (4, 2, GRASS), (5, 3, MAIZE), (2, 5, MAIZE), (3, 6, MAIZE)]


def test_areas_of_a_map(tmp_path):
    found = map_areas(written(tmp_path), reference(ROWS), "crop")
    assert found.crops == (GRASS, MAIZE)
    assert found.pixels == (30, 30)
    assert found.estimates.n.tolist() == [4, 2]
    # The map lies on the central meridian, where the scale is 0.9996.
    pixel = 0.01 / 0.9996**2
    np.testing.assert_allclose(found.estimates.mapped_area, 30 * pixel, rtol=1e-6)
    np.testing.assert_allclose(found.estimates.area, [22.5 * pixel, 37.5 * pixel], rtol=1e-6)
    np.testing.assert_allclose(list(found.unmapped.values()), 2 * pixel, rtol=1e-6)
    assert list(found.unmapped) == ["too few observations", "no data"]
    assert (found.left_out, found.unknown) == ({}, ())


def test_a_pixel_far_from_the_central_meridian_has_its_area_on_the_ellipsoid(tmp_path):
    values = np.zeros((300, 300), np.uint8)
    write_map(fake_map(values, x=790_000.0), tmp_path / "map", progress=False)
    points = reference([(i, i, GRASS) for i in range(3)])
    points = points.to_crs("EPSG:32631").assign(geometry=lambda t: t.translate(290_000))
    found = map_areas(tmp_path / "map", points, "crop")
    edge = np.linspace(0, 3000, 200)
    x = np.concatenate(
        [790_000 + edge, np.full(200, 793_000), 793_000 - edge, np.full(200, 790_000)]
    )
    y = 5_650_000 - np.concatenate([np.zeros(200), edge, np.full(200, 3000), 3000 - edge])
    lon, lat = pyproj.Transformer.from_crs(32631, 4326, always_xy=True).transform(x, y)
    area = abs(pyproj.Geod(ellps="WGS84").polygon_area_perimeter(lon, lat)[0]) / 10_000
    assert found.estimates.mapped_area[0] == pytest.approx(area, rel=1e-6)
    assert abs(area - 900) > 1  # hectares of the projection


def test_points_that_are_not_counted_are_named(tmp_path):
    rows = [(0, 0, GRASS), (7, 7, MAIZE), (7, 6, MAIZE), (20, 3, GRASS), (-1, 3, GRASS)]
    points = reference([*ROWS, *rows, (4, 5, None)])
    found = map_areas(written(tmp_path), points, "crop")
    assert found.estimates.n.sum() == len(ROWS)
    assert found.left_out == {
        "on pixels of no data": 1,
        "on pixels of too few observations": 2,
        "outside of the map": 2,
        "without a label": 1,
    }
    assert "2 points are not counted: outside of the map." in found.lines()


def test_a_crop_that_the_map_does_not_know_is_named_and_estimated(tmp_path):
    found = map_areas(written(tmp_path), reference([*ROWS, (4, 5, "hops"), (4, 4, "hops")]), "crop")
    assert found.unknown == ("hops",)
    assert found.crops == (GRASS, MAIZE, "hops")
    assert found.estimates.mapped_area[2] == 0
    assert found.estimates.area[2] == pytest.approx(found.estimates.mapped_area[1] / 2)
    assert any("no class for the labels hops" in line for line in found.lines())


def test_a_code_that_is_no_class_is_not_counted(tmp_path):
    values = classes()
    values[7] = 0
    out = tmp_path / "map"
    write_map(map_with_a_mark(values, code=250), out, progress=False)
    found = map_areas(out / "crop_type.tif", reference([*ROWS, (7, 0, GRASS)]), "crop")
    assert found.left_out == {"on pixels of code 250, which is no class": 1}
    assert "code 250, which is no class" in found.unmapped


def test_a_folder_of_a_region(tmp_path):
    tile = tmp_path / "tiles" / "a"
    tile.parent.mkdir()
    written(tile.parent).rename(tile)
    rasterio.shutil.copy(tile / "crop_type.tif", tmp_path / "crop_type.vrt", driver="VRT")
    found = map_areas(tmp_path, reference(ROWS), "crop")
    assert found.pixels == (30, 30)


@pytest.mark.parametrize(
    ("points", "error", "match"),
    [
        (reference(ROWS[:4]), LabelError, r"in brackets\): Maize \(grain\) \(0\)"),
        (reference([(i, j, "oats") for i, j, _ in ROWS]), LabelError, "no label is a name"),
        (reference([(i + 90, j, crop) for i, j, crop in ROWS]), LabelError, "none of 6 reference"),
        (reference(ROWS).set_crs(None, allow_override=True), ParcelError, "no CRS"),
        (reference(ROWS).iloc[:0], ParcelError, "has 0 rows"),
        (reference(ROWS).assign(geometry=box(3, 50, 4, 51)), ParcelError, "6 are not points"),
        (reference(ROWS).rename(columns={"crop": "kind"}), LabelError, "no column 'crop'"),
        ([1, 2], ParcelError, "expected a geopandas"),
        (gpd.GeoDataFrame({"crop": ["oats"]}), ParcelError, "no active geometry"),
    ],
)
def test_references_that_cannot_be_used(tmp_path, points, error, match):
    with pytest.raises(error, match=match):
        map_areas(written(tmp_path), points, "crop")


def test_what_is_no_map_of_cubecrop_is_refused(tmp_path):
    with pytest.raises(ReadError, match="is not a crop map, expected"):
        map_areas(tmp_path, reference(ROWS), "crop")
    out = written(tmp_path)
    with pytest.raises(ReadError, match="CLASS_NAMES"):
        map_areas(out / "confidence.tif", reference(ROWS), "crop")
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(ReadError, match="that cubecrop wrote"):
        map_areas(tmp_path / "text.tif", reference(ROWS), "crop")


def test_the_command_prints_and_writes_the_table(tmp_path, capsys):
    out, file = written(tmp_path), tmp_path / "points.gpkg"
    reference([*ROWS, (20, 3, GRASS)]).to_file(file)
    arguments = ["area-estimates", str(out), str(file), "--label", "crop", "--out"]
    table = tmp_path / "areas.csv"

    def run(*more):
        app([*arguments, str(table), *more], exit_on_error=False, result_action="return_value")

    run()
    text = capsys.readouterr().out
    assert "Maize (grain)" in text
    assert "1 points are not counted: outside of the map." in text
    read = pd.read_csv(table)
    assert read["crop"].tolist() == [GRASS, MAIZE]
    assert read["points"].tolist() == [4, 2]
    assert (read["area_low_ha"] <= read["area_ha"]).all()
    with pytest.raises(OutputError, match="--overwrite"):
        run()
    run("--overwrite")
