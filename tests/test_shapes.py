"""Geometries of any valid form become shapes that cover the same ground once."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from shapely import GeometryCollection, LineString, MultiPolygon, Point, Polygon

from cubecrop.cube import open_season
from cubecrop.errors import ParcelError
from cubecrop.sample import reading_order, sample_pixel_sets
from cubecrop.sample.zonal import pixels_of
from cubecrop.shapes import has_place, plain_shapes
from cubecrop.testing import Optical, Place, write_archive

PLACE = Place()
NAN = float("nan")


def square(x, y, size=200):
    """A square whose corner lies so many metres east and south of the archive's."""
    left, top = PLACE.left + x, PLACE.top - y
    return shapely.box(left, top - size, left + size, top)


def ring(*corners):
    return [(PLACE.left + x, PLACE.top - y) for x, y in corners]


def raised(shape, *heights):
    """A polygon whose corners have heights, over and over."""
    corners = shape.exterior.coords
    return Polygon([(x, y, heights[i % len(heights)]) for i, (x, y) in enumerate(corners)])


#: Shape, pixels, area and perimeter of the ground it covers, worked out by hand. Squares of
#: 200 m have 400 pixels; two that overlap by 100 m have 700 and a perimeter of 1200 m.
FORMS = {
    "parts overlap": (MultiPolygon([square(0, 0), square(100, 100)]), 700, 70_000, 1200),
    "part within part": (MultiPolygon([square(0, 0), square(50, 50, 100)]), 400, 40_000, 800),
    "a part twice": (GeometryCollection([square(0, 0), square(0, 0)]), 400, 40_000, 800),
    "collections nested": (
        GeometryCollection(
            [GeometryCollection([square(0, 0), MultiPolygon([square(100, 100)])]), Polygon()]
        ),
        700, 70_000, 1200,
    ),
    "a line beside": (
        GeometryCollection([square(0, 0), LineString(ring((0, 5), (590, 5)))]), 400, 40_000, 800,
    ),
    "an empty part": (MultiPolygon([square(0, 0), Polygon()]), 400, 40_000, 800),
    "bow tie": (
        Polygon(ring((0, 0), (203, 200), (203, 0), (0, 200))),
        200, 20_300, 400 + 2 * np.hypot(203, 200),
    ),
    "spike": (
        Polygon(ring((0, 0), (100, 0), (305, 0), (100, 0), (100, 100), (0, 100))),
        100, 10_000, 400,
    ),
    "corners twice": (
        Polygon(ring((0, 0), (0, 0), (100, 0), (100, 100), (100, 100), (0, 100))),
        100, 10_000, 400,
    ),
    "heights of NaN": (raised(square(0, 0), NAN), 400, 40_000, 800),
    "ring not closed in height": (raised(square(0, 0), 1.0, NAN, 3.0), 400, 40_000, 800),
    "measures": (
        shapely.from_wkt(
            f"POLYGON ZM (({PLACE.left} {PLACE.top} 1 nan, {PLACE.left + 100} {PLACE.top} 2 1, "
            f"{PLACE.left} {PLACE.top - 100} nan 3, {PLACE.left} {PLACE.top} 1 nan))"
        ),
        45, 5_000, 200 + np.hypot(100, 100),
    ),
    "overlap and NaN": (
        MultiPolygon([raised(square(0, 0), NAN), raised(square(100, 100), 7.0)]),
        700, 70_000, 1200,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    root = write_archive(tmp_path_factory.mktemp("forms"), [Optical(when="2018-05-01T10:56:21Z")])
    area = gpd.GeoSeries([shapely.box(*PLACE.bounds)], crs=PLACE.crs)
    return open_season(area, 2018, archive=root)


@pytest.fixture(scope="module")
def parcels():
    shapes = [shape for shape, *_ in FORMS.values()]
    return gpd.GeoDataFrame({"id": list(FORMS)}, geometry=shapes, crs=PLACE.crs)


def test_every_form_has_the_pixels_and_features_of_its_ground(cube, parcels):
    before = parcels.geometry.to_wkt().tolist()
    sets = sample_pixel_sets(cube, parcels)
    expected = list(FORMS.values())
    assert sets["pixel_count"].values.tolist() == [pixels for _, pixels, _, _ in expected]
    np.testing.assert_allclose(sets["geometry"].sel(feature="area"), [a for _, _, a, _ in expected])
    np.testing.assert_allclose(
        sets["geometry"].sel(feature="perimeter"), [p for _, _, _, p in expected], rtol=1e-6
    )
    assert np.isfinite(sets["lon"]).all()
    assert sorted(reading_order(cube, parcels)) == list(range(len(FORMS)))
    assert parcels.geometry.to_wkt().tolist() == before


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:31370", "EPSG:2154"])
def test_forms_in_other_crs(cube, crs):
    named = {name: FORMS[name] for name in ("parts overlap", "a part twice", "overlap and NaN")}
    moved = []
    for shape, *_ in named.values():
        flat = gpd.GeoSeries(list(shapely.get_parts(shape)), crs=PLACE.crs).force_2d().to_crs(crs)
        moved.append(GeometryCollection([raised(part, NAN) for part in flat]))
    parcels = gpd.GeoDataFrame({"id": list(named)}, geometry=moved, crs=crs)
    sets = sample_pixel_sets(cube, parcels)
    assert sets["pixel_count"].values == pytest.approx([700, 400, 700], abs=3)
    assert sets["geometry"].sel(feature="area").values == pytest.approx(
        [70_000, 40_000, 70_000], rel=1e-3
    )


def test_an_inset_is_taken_from_the_union(cube):
    parcel = gpd.GeoDataFrame(
        {"id": [1]}, geometry=[GeometryCollection([square(0, 0), square(200, 0)])], crs=PLACE.crs
    )
    # 400 m by 200 m less 10 m on each side; each part by itself would lose its inner edge too.
    assert int(sample_pixel_sets(cube, parcel, inset=10)["pixel_count"][0]) == 38 * 18


def test_plain_shapes_stay_the_same_objects():
    shapes = [square(0, 0), MultiPolygon([square(0, 0), square(300, 0)]), Point(1, 2)]
    for before, after in zip(shapes, plain_shapes(shapes), strict=True):
        assert after is before


def test_shapes_without_a_place_become_none():
    triangle = Polygon([(0, 0), (np.inf, 1), (1, 1)])
    shapes = [None, Polygon(), GeometryCollection([Polygon()]), triangle,
              MultiPolygon([square(0, 0), triangle]), Point(1e300, 1)]  # fmt: skip
    assert plain_shapes(shapes).tolist() == [None] * len(shapes)
    assert not has_place(shapes).any()


def test_lines_and_points_count_once():
    line, point = LineString([(0, 15), (100, 15)]), Point(15, 15)
    lines = shapely.MultiLineString([line, line])
    points = shapely.MultiPoint([point, point])
    sliver = Polygon([(0, 0), (100, 0), (50, 0)])
    found = plain_shapes([lines, points, sliver])
    assert [shape.length for shape in found] == [100, 0, 100]
    pixels = pixels_of(np.array([lines, points, sliver], dtype=object), 10.0)
    assert pixels.counts.tolist() == [10, 1, 1]


def test_a_parcel_larger_than_memory_is_refused(cube):
    wide = shapely.box(-1e9, -1e9, 1e9, 1e9)
    parcels = gpd.GeoDataFrame({"id": [1, 2]}, geometry=[square(0, 0), wide], crs=PLACE.crs)
    with pytest.raises(ParcelError, match=r"spans x -1e\+09 to 1e\+09.*leave it out"):
        sample_pixel_sets(cube, parcels)
