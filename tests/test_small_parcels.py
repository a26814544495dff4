"""Parcels that hold no centre of a pixel, and the order in which parcels are read."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from cubes import area

from cubecrop import open_season, sample_pixel_sets
from cubecrop.pipeline.parcel_tiles import tiles_of
from cubecrop.sample import reading_order
from cubecrop.sample.zonal import pixels_of
from cubecrop.testing import Optical, Place, write_archive

PLACE = Place(height=30, width=40)


def held(*shapes):
    """Rows and columns of pixels of 10 m, one list a shape."""
    found = pixels_of(np.array(shapes, dtype=object), 10.0)
    places = list(zip(found.rows.tolist(), found.columns.tolist(), strict=True))
    stops = np.cumsum(found.counts)
    return [places[stop - n : stop] for n, stop in zip(found.counts, stops, strict=True)]


# Column 3 spans x 30 to 40, row -2 spans y 10 to 20: rows count southwards from y = 0.


@pytest.mark.parametrize(
    ("shape", "pixel"),
    [
        (shapely.box(36, 11, 43, 14), (-2, 3)),  # four metres in one column, three in the next
        (shapely.box(37, 11, 44, 14), (-2, 4)),  # three and four
        (shapely.box(31, 16, 34, 23), (-2, 3)),  # four metres in one row, three in the next
        (shapely.box(31, 17, 34, 24), (-3, 3)),
        # Most of its area lies in one pixel, a point of its surface in another.
        (shapely.Polygon([(31, 11), (34, 11), (34, 14), (44, 12), (44, 11.9), (34, 11)]), (-2, 3)),
        (shapely.Point(43, 12), (-2, 4)),
        (shapely.LineString([(31, 12), (45, 12), (59, 12)]), (-2, 4)),  # its middle
    ],
)
def test_a_parcel_without_centre_has_the_pixel_that_it_covers_best(shape, pixel):
    assert held(shape) == [[pixel]]


def test_small_parcels_beside_one_another_have_their_own_pixels():
    shapes = shapely.box(36, 11, 43, 14), shapely.Point(43, 12), shapely.box(37, 11, 44, 14)
    assert held(*shapes, None) == [[(-2, 3)], [(-2, 4)], [(-2, 4)], []]


def test_parcels_are_read_chunk_by_chunk(tmp_path):
    archive = write_archive(tmp_path, [Optical(when="2018-06-01T10:56:21Z", place=PLACE)])
    cube = open_season(area(PLACE), 2018, archive=archive, chunks=10)
    # Upper left pixels, the first of a chunk among them; all span two pixels each way.
    corners = [(20, 20), (0, 30), (10, 10), (0, 0), (10, 0), (9, 9), (0, 10), (10, 9)]
    x, y = PLACE.left, PLACE.top
    shapes = [
        shapely.box(x + 10 * c + 1, y - 10 * r - 19, x + 10 * c + 19, y - 10 * r - 1)
        for r, c in corners
    ]
    parcels = gpd.GeoDataFrame({"id": range(len(shapes))}, geometry=shapes, crs=PLACE.crs)
    order = [corners[i] for i in reading_order(cube, parcels)]
    assert order == [(0, 0), (9, 9), (0, 10), (0, 30), (10, 0), (10, 9), (10, 10), (20, 20)]


def test_a_parcel_that_begins_with_a_chunk_belongs_to_it(tmp_path):
    archive = write_archive(tmp_path, [Optical(when="2018-06-01T10:56:21Z", place=PLACE)])
    cube = open_season(area(PLACE), 2018, archive=archive, chunks=10)
    x, y = PLACE.left, PLACE.top
    begins = shapely.box(x + 100, y - 19, x + 119, y - 1)
    spans = shapely.box(x + 51, y - 19, x + 251, y - 1)  # from the chunk before to the one after
    parcels = gpd.GeoDataFrame({"id": range(2)}, geometry=[begins, spans], crs=PLACE.crs)
    assert reading_order(cube, parcels).tolist() == [1, 0]


@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:4326"])
def test_a_point_on_the_edge_of_pixels_has_one_wherever_it_lies_in_its_table(tmp_path, crs):
    """Points at whole tens of metres, as many sampling grids have them."""
    archive = write_archive(tmp_path, [Optical(when="2018-05-01T10:56:21Z", place=PLACE)])
    x, y = np.meshgrid(PLACE.left + 100 * np.arange(1, 4), PLACE.top - 100 * np.arange(1, 3))
    points = gpd.GeoDataFrame(
        {"id": range(6)}, geometry=gpd.points_from_xy(x.ravel(), y.ravel()), crs=PLACE.crs
    ).to_crs(crs)
    sets = sample_pixel_sets(open_season(points, 2018, archive=archive), points, n_pixels=1)
    assert sets["sentinel2"]["valid"].all()
    (tile,), _ = tiles_of(points, resolution=10)
    left, bottom, right, top = tile.area.geometry.bounds
    assert (left, top) <= (PLACE.left + 100, PLACE.top - 100)
    assert (right, bottom) == (PLACE.left + 310, PLACE.top - 210)
