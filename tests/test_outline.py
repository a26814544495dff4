"""Polygons of any size on the grids of UTM zones and other CRS."""

import numpy as np
import pyproj
import pytest
import shapely

from cubecrop.cube.grid import Lattice, Window
from cubecrop.cube.outline import Outline
from cubecrop.errors import AoiError

LONLAT = "EPSG:4326"
#: A polygon of two continents, which is no rectangle.
CONTINENTS = shapely.Polygon([(-10, 1), (150, 1), (150, 60), (70, 75), (-10, 60)])
WORLD = shapely.box(-180, -80, 180, 84) - shapely.box(-30, -60, -29, -59)
FIELD = shapely.Polygon([(2.0, 48.0), (2.01, 48.0), (2.012, 48.01)])


def place(crs, lon, lat, size=64, resolution=100.0):
    """A window of a lattice around a point in degrees, and its bounds."""
    x, y = pyproj.Transformer.from_crs(LONLAT, crs, always_xy=True).transform(lon, lat)
    lattice = Lattice(crs, resolution)
    half = size // 2
    window = Window(round(-y / resolution) - half, round(x / resolution) - half, size, size)
    left, top = window.column * resolution, -window.row * resolution
    return lattice, window, (left, top - size * resolution, left + size * resolution, top)


def inside(shapes, crs, lon, lat, source=LONLAT):
    lattice, window, bounds = place(crs, lon, lat)
    outline = Outline(np.array(shapes, object), source)
    return outline.to_crs(crs, bounds).inside(lattice, window)


@pytest.mark.parametrize(
    ("shape", "crs", "lon", "lat"),
    [
        (CONTINENTS, "EPSG:32631", 3, 50),
        (CONTINENTS, "EPSG:32640", 57, 70),
        (CONTINENTS, "EPSG:32655", 147, 30),
        (CONTINENTS, "EPSG:3035", 10, 52),
        (WORLD, "EPSG:32631", 3, 50),
        (WORLD, "EPSG:32640", 57, 20),
        (WORLD, "EPSG:32660", 179.99, 10),
        (WORLD, "EPSG:32701", -179.99, -10),
        (shapely.MultiPolygon([shapely.box(1.5, 47, 2.5, 49), shapely.box(93, 0, 93.1, 0.2)]),
         "EPSG:32631", 2, 48),
        (shapely.box(178, -18, 183, -15), "EPSG:32701", -179.5, -17),
        (shapely.box(350, 40, 359, 50), "EPSG:32630", -3, 45),
    ],
)  # fmt: skip
def test_a_polygon_of_any_size_covers_each_place_in_it(shape, crs, lon, lat):
    assert inside([shape], crs, lon, lat).all()


def test_a_polygon_covers_no_place_outside_of_it():
    assert not inside([CONTINENTS], "EPSG:32633", 15, 70).any()  # north of it
    assert not inside([WORLD], "EPSG:32626", -29.5, -59.5).any()  # its hole
    assert not inside([FIELD], "EPSG:32640", 57, 20).any()


@pytest.mark.parametrize(("crs", "lon", "lat"), [("EPSG:32631", 3, 50), ("EPSG:3413", -45, 89.9)])
def test_long_edges_follow_the_parallel_to_a_metre(crs, lon, lat):
    shape = shapely.box(lon - 20, lat - 20, lon + 20, lat)
    _, _, bounds = place(crs, lon, lat)
    moved = Outline(np.array([shape]), LONLAT).to_crs(crs, bounds)
    to = pyproj.Transformer.from_crs(LONLAT, crs, always_xy=True)
    points = shapely.points(
        *to.transform(np.linspace(lon - 0.5, lon + 0.5, 999), lat + np.zeros(999))
    )
    near = shapely.intersects(points, shapely.box(*bounds))
    edge = shapely.boundary(shapely.union_all(moved.shapes))
    assert near.sum() > 10
    assert shapely.distance(points[near], edge).max() < 0.5


def test_pixels_inside_do_not_depend_on_the_rectangle():
    lattice, window, bounds = place("EPSG:32631", 3, 60 + 15 / 80 * 13)
    outline = Outline(np.array([CONTINENTS]), LONLAT)
    whole = outline.to_crs("EPSG:32631", bounds).inside(lattice, window)
    assert whole.any()
    assert not whole.all()
    part = Window(window.row + 16, window.column + 16, 32, 32)
    left, top = part.column * 100.0, -part.row * 100.0
    near = outline.to_crs("EPSG:32631", (left, top - 3200, left + 3200, top))
    np.testing.assert_array_equal(near.inside(lattice, part), whole[16:48, 16:48])


def test_only_what_lies_near_is_reprojected_and_squares_keep_their_corners():
    x, y = np.meshgrid(np.arange(100) * 0.02, 47 + np.arange(100) * 0.01)
    squares = shapely.box(x, y, x + 0.001, y + 0.001).ravel()
    _, _, bounds = place("EPSG:32631", 1, 47.5)
    moved = Outline(squares, LONLAT).to_crs("EPSG:32631", bounds)
    assert 0 < len(moved.shapes) < 200
    assert shapely.get_num_coordinates(moved.shapes).max() == 5


def test_polygons_of_a_zone_far_away_cover_no_pixel():
    there = [shapely.box(499_000, 5_300_000, 501_000, 5_302_000)]
    assert not inside(there, "EPSG:32721", -57, -20, source="EPSG:32631").any()


def test_a_polygon_that_cannot_be_placed_is_an_error_and_not_left_out():
    broken = Outline(np.array([shapely.box(1e7, -1e6, 1e8, 1e6)]), "EPSG:32631")
    with pytest.raises(AoiError, match="has no place in EPSG:3035"):
        broken.to_crs("EPSG:3035", (-1e8, -1e8, 1e8, 1e8))
