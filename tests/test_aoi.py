"""Every form of area becomes one geometry, or raises an error that says how to fix it."""

import datetime as dt

import geopandas as gpd
import numpy as np
import pandas as pd
import pystac
import pytest
import shapely

from cubecrop.aoi import Aoi, parse_aoi, read_vector
from cubecrop.errors import AoiError, CubecropError, ParcelError

BBOX = (3.0, 50.8, 3.1, 50.9)


@pytest.mark.parametrize(
    "given",
    [
        BBOX,
        list(BBOX),
        np.array(BBOX),
        "3.0,50.8,3.1,50.9",
        " 3.0, 50.8, 3.1, 50.9",
        shapely.box(*BBOX),
        Aoi(shapely.box(*BBOX)),
        gpd.GeoSeries([shapely.box(*BBOX)], crs=4326),
    ],
    ids=lambda given: type(given).__name__,
)
def test_every_form_means_the_same_place(given):
    assert parse_aoi(given).bbox == pytest.approx(BBOX)


def test_a_table_with_two_geometries_of_one_name_is_refused_by_name():
    table = gpd.GeoDataFrame({"other": [1]}, geometry=[shapely.box(*BBOX)], crs=4326)
    with pytest.raises(ParcelError, match=r"\['geometry'\] more than once"):
        parse_aoi(table.rename(columns={"other": "geometry"}))


SQUARE = shapely.geometry.mapping(shapely.box(*BBOX))
FEATURE = {"type": "Feature", "properties": {}, "geometry": SQUARE}


def named(crs):
    return {"type": "name", "properties": {"name": crs}}


def test_geojson_objects_mean_their_place():
    item = pystac.Item("a", SQUARE, BBOX, dt.datetime(2018, 1, 1), {})
    nothing = {"type": "Feature", "properties": {}, "geometry": None}
    collection = {"type": "FeatureCollection", "features": [FEATURE, nothing]}
    line = {"type": "LineString", "coordinates": [[3.0, 50.8], [3.1, 50.9]]}
    for given in (
        SQUARE, FEATURE, collection, item, item.to_dict(), line,
        {**SQUARE, "crs": named("urn:ogc:def:crs:OGC:1.3:CRS84")},
        {**FEATURE, "crs": named("urn:ogc:def:crs:EPSG::4326")},
        {"type": "GeometryCollection", "geometries": [SQUARE, line]},
    ):  # fmt: skip
        assert parse_aoi(given).bbox == pytest.approx(BBOX)


def test_the_crs_that_old_geojson_names_is_honoured():
    square = shapely.geometry.mapping(shapely.box(500_000, 5_600_000, 501_000, 5_601_000))
    area = parse_aoi({**square, "crs": named("urn:ogc:def:crs:EPSG::32631")})
    assert area.crs == "EPSG:32631"
    assert area.geometry.bounds == (500_000, 5_600_000, 501_000, 5_601_000)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "not a GeoJSON geometry"),
        ({"type": "Polygon"}, "not a GeoJSON geometry"),
        ({"type": "Circle", "coordinates": [3, 50]}, "not a GeoJSON geometry"),
        ({"type": "Polygon", "coordinates": [[[3, "x"]]]}, "not a GeoJSON geometry"),
        ({"type": "Point", "coordinates": [float("nan"), 50]}, "finite"),
        ({"type": "Feature", "geometry": None}, "has no geometry"),
        ({"type": "FeatureCollection"}, "expected a list"),
        ({"type": "FeatureCollection", "features": []}, "no geometry, or only empty ones"),
        ({"type": "FeatureCollection", "features": [3]}, "feature 0 .* not a GeoJSON"),
        ({**SQUARE, "crs": {"type": "link"}}, "names its CRS as"),
        ({**SQUARE, "crs": named("EPSG:0")}, "names its CRS as"),
        ({"type": "Point", "coordinates": [500_000, 5_600_000]}, "need a CRS"),
    ],
)
def test_bad_geojson_raises_aoi_error(given, message):
    with pytest.raises(AoiError, match=message):
        parse_aoi(given)


def test_heights_and_crossings_change_no_area():
    corners = [(3.0, 50.8), (3.1, 50.9), (3.1, 50.8), (3.0, 50.9)]
    raised = shapely.Polygon([(x, y, float("nan")) for x, y in corners])
    area = parse_aoi(raised)
    assert area.geometry.is_valid
    assert area.geometry.area == pytest.approx(0.005)
    assert area.to_crs("EPSG:31370").geometry.is_valid
    assert parse_aoi(gpd.GeoSeries([raised], crs=4326)).bbox == pytest.approx(BBOX)


def test_a_table_becomes_its_bounding_box_in_its_own_crs():
    squares = [shapely.box(0, 0, 10, 10), shapely.Polygon(), None, shapely.box(90, 40, 100, 50)]
    table = gpd.GeoDataFrame(geometry=squares, crs="EPSG:32631")
    aoi = parse_aoi(table)
    assert aoi.crs == "EPSG:32631"
    assert aoi.geometry.bounds == (0, 0, 100, 50)


@pytest.mark.parametrize("name", ["a.parquet", "a.gpkg", "a.geojson"])
def test_vector_files(tmp_path, name):
    table = gpd.GeoDataFrame({"id": ["x"]}, geometry=[shapely.box(*BBOX)], crs=4326)
    if name.endswith("parquet"):
        table.to_parquet(tmp_path / name)
    else:
        table.to_file(tmp_path / name)
    assert parse_aoi(tmp_path / name).bbox == pytest.approx(BBOX)
    assert read_vector(str(tmp_path / name))["id"].tolist() == ["x"]


def test_an_area_in_its_own_crs_stays_the_same():
    area = parse_aoi(BBOX)
    assert area.to_crs("EPSG:4326") is area


@pytest.mark.parametrize(
    ("crs", "middle", "bbox"),
    [
        ("EPSG:32631", 3, (2.2, 50.0, 3.5, 50.6)),
        ("EPSG:32631", 3, (1.6, -33.0, 3.9, -32.0)),
        ("EPSG:3035", 10, (9.1, 50.0, 10.6, 50.6)),
    ],
)
def test_an_edge_reaches_farther_than_its_corners(crs, middle, bbox):
    """A parallel is nearest to the pole on the central meridian, which no corner lies on."""
    west, south, east, north = bbox
    area = parse_aoi(bbox).to_crs(crs).geometry
    edge = south if south > 0 else north
    xy = gpd.GeoSeries(shapely.points([[middle, edge], [west, edge], [east, edge]]), crs=4326)
    there, *corners = xy.to_crs(crs).y
    bottom, top = area.bounds[1], area.bounds[3]
    assert (bottom if south > 0 else top) == pytest.approx(there, abs=1)
    assert all(abs(corner - there) > 50 for corner in corners)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((3.1, 50.8, 3.0, 50.9), "180th meridian"),
        ((3.0, 50.9, 3.1, 50.8), "west < east and south < north"),
        ((50.8, -120.0, 50.9, -110.0), "look swapped"),
        (shapely.box(500_000, 5_600_000, 501_000, 5_601_000), "need a CRS"),
        (shapely.Polygon(), "empty"),
        (gpd.GeoSeries([shapely.box(*BBOX)]), "set_crs"),
        (gpd.GeoSeries([None, shapely.Polygon()], crs=4326), "no geometry, or only empty ones"),
        ((1, 2, 3), "is a tuple"),
        ("1,2,3,nan", "west < east"),
        (42, "is a int"),
        ("nowhere.gpkg", "no file nowhere.gpkg"),
    ],
)
def test_errors_of_bad_areas_say_how_to_fix_them(given, message):
    with pytest.raises(AoiError, match=message) as caught:
        parse_aoi(given)
    assert isinstance(caught.value, CubecropError)
    assert isinstance(caught.value, ValueError)


def test_a_file_that_is_no_vector_file(tmp_path):
    for name in ("a.parquet", "a.gpkg"):
        (tmp_path / name).write_text("not this")
        with pytest.raises(AoiError, match=f"{name} cannot be read"):
            parse_aoi(tmp_path / name)


def test_a_file_without_geometries_or_with_several_layers(tmp_path):
    (tmp_path / "a.csv").write_text("id,crop\n1,maize\n")
    with pytest.raises(AoiError, match=r"a\.csv has no geometries, only .*'crop'"):
        parse_aoi(tmp_path / "a.csv")
    pd.DataFrame({"id": [1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(AoiError, match=r"a\.parquet cannot be .*Expected geometries"):
        parse_aoi(tmp_path / "a.parquet")
    table = gpd.GeoDataFrame(geometry=[shapely.box(*BBOX)], crs=4326)
    for layer in ("2017", "2018"):
        table.to_file(tmp_path / "a.gpkg", layer=layer)
    with pytest.raises(AoiError, match=r"a\.gpkg holds the layers \['2017', '2018'\]"):
        parse_aoi(tmp_path / "a.gpkg")


def test_infinite_coordinates_raise_aoi_error():
    triangle = shapely.Polygon([(3, 50), (np.inf, 51), (3, 51)])
    for given in (triangle, gpd.GeoSeries([triangle], crs=4326), (None, 50, 4, 51), list("abcd")):
        with pytest.raises(AoiError):
            parse_aoi(given)
    with pytest.raises(AoiError, match="no coordinates in EPSG:4326"):
        Aoi(shapely.box(1e30, 1e30, 2e30, 2e30), "EPSG:32631").to_crs("EPSG:4326")


def test_an_area_that_crosses_itself_all_over_is_its_rectangle():
    turns = 2.399963 * np.arange(20_000)
    star = shapely.Polygon(np.column_stack([3 + 0.01 * np.cos(turns), 50.8 + 0.01 * np.sin(turns)]))
    assert parse_aoi(star).geometry.equals(shapely.box(*star.bounds))
