"""Pixel sets of parcels of every shape, and the pixels within a shape."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered import LEFT, TOP, drawn, open_cube, rectangle, square, table, write_numbered

from cubecrop.sample import draw_positions, hash_ids, sample_pixel_sets
from cubecrop.sample.places import place_pixels
from cubecrop.sample.zonal import pixels_of


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """The season cube, lazy, in nine chunks."""
    return open_cube(write_numbered(tmp_path_factory.mktemp("sample")), chunks=20)


HOLE = square(20, 20, 6, 6).difference(square(22, 22, 2, 2))
PARTS = shapely.MultiPolygon([square(20, 2, 2, 2), square(40, 50, 1, 3)])
BOW = shapely.Polygon(
    [(LEFT + x, TOP - y) for x, y in ((300, 300), (380, 340), (380, 300), (300, 340))]
)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        pytest.param(square(30, 30, 3, 2), rectangle(30, 30, 3, 2), id="whole pixels"),
        pytest.param(
            shapely.box(LEFT + 106, TOP - 223, LEFT + 118, TOP - 206),
            {(21, 11)},
            id="one centre",
        ),
        pytest.param(
            shapely.box(LEFT + 106, TOP - 214, LEFT + 113, TOP - 207), {(21, 10)}, id="no centre"
        ),
        pytest.param(shapely.box(LEFT + 1, TOP - 304, LEFT + 3, TOP - 302), {(30, 0)}, id="2 m"),
        pytest.param(shapely.Point(LEFT + 103, TOP - 208), {(20, 10)}, id="point"),
        pytest.param(
            HOLE, rectangle(20, 20, 6, 6) - rectangle(22, 22, 2, 2), id="with a hole"
        ),
        pytest.param(PARTS, rectangle(20, 2, 2, 2) | rectangle(40, 50, 1, 3), id="multipart"),
        pytest.param(shapely.Polygon(), set(), id="empty"),
        pytest.param(None, set(), id="none"),
        pytest.param(square(200, 200, 4, 4), set(), id="outside"),
        pytest.param(square(-2, 58, 4, 4), rectangle(0, 58, 2, 2), id="partly outside"),
        pytest.param(square(-300, 0, 1, 1), set(), id="one pixel outside"),
    ],
)  # fmt: skip
def test_parcels_of_every_kind(cube, shape, expected):
    parcels = table(square(40, 10, 3, 3), shape, square(30, 20, 3, 3))
    samples = sample_pixel_sets(cube, parcels, n_pixels=40).load()
    assert drawn(samples, 1) == expected
    assert drawn(samples, 0) == rectangle(40, 10, 3, 3)
    assert drawn(samples, 2) == rectangle(30, 20, 3, 3)
    assert int(samples["sentinel2"].valid[1, 0].sum()) == len(expected)
    assert int(samples["sentinel1"].valid[1, 0].sum()) == len(expected)


def test_a_bow_tie_is_mended(cube):
    samples = sample_pixel_sets(cube, table(BOW), n_pixels=40).load()
    assert drawn(samples) <= rectangle(30, 30, 4, 8)
    assert len(drawn(samples)) > 4


def test_overlapping_parcels_each_have_their_pixels(cube):
    parcels = table(square(20, 20, 5, 5), square(22, 22, 5, 5), square(20, 20, 5, 5))
    samples = sample_pixel_sets(cube, parcels, n_pixels=25).load()
    assert drawn(samples, 0) == drawn(samples, 2) == rectangle(20, 20, 5, 5)
    assert drawn(samples, 1) == rectangle(22, 22, 5, 5)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32632"])
def test_parcels_in_another_crs(cube, crs):
    parcels = table(square(20, 20, 5, 5).buffer(1, join_style="mitre")).to_crs(crs)
    assert drawn(sample_pixel_sets(cube, parcels, n_pixels=40).load()) == rectangle(20, 20, 5, 5)


def test_no_parcel_at_all(cube):
    samples = sample_pixel_sets(cube, table()).load()
    assert samples.sizes["parcel"] == 0
    assert samples["sentinel2"].valid.shape == (0, 2, 64)


def test_all_parcels_outside(cube):
    samples = sample_pixel_sets(cube, table(None, square(500, 500, 3, 3))).load()
    assert not samples["sentinel2"].valid.any()
    assert np.isnan(samples["sentinel2/reflectance"]).all()
    assert np.isnan(samples["weather/weather"][0]).all()


def test_an_inset_leaves_edges_out_where_any_pixel_remains(cube):
    parcels = table(square(20, 20, 6, 6), square(40, 40, 2, 2))
    samples = sample_pixel_sets(cube, parcels, n_pixels=40, inset=10).load()
    assert drawn(samples, 0) == rectangle(21, 21, 4, 4)
    assert drawn(samples, 1) == rectangle(40, 40, 2, 2)
    # The shape is the parcel's own all the same.
    assert float(samples.geometry.sel(feature="area")[0]) == 3600


def test_features_of_a_square(cube):
    half = shapely.Polygon([(LEFT, TOP - 600), (LEFT + 200, TOP - 600), (LEFT, TOP - 400)])
    samples = sample_pixel_sets(cube, table(square(10, 10, 10, 10), half, None))
    features = samples.geometry.to_dataframe()["geometry"].unstack()
    assert features.loc["p0", "perimeter"] == 400
    assert features.loc["p0", "area"] == 10_000
    assert features.loc["p0", "perimeter_to_area"] == pytest.approx(0.04)
    assert features.loc["p0", "cover_ratio"] == 1
    assert features.loc["p1", "area"] == 20_000
    # A triangle of 20 pixels a side holds 190 or 210 of the 19 x 19 or 20 x 20 centres.
    assert 0.45 < features.loc["p1", "cover_ratio"] < 0.6
    assert features.loc["p2"].isna().all()


# Zones, by comparison with the plain definition


@settings(deadline=None, max_examples=30)
@given(
    st.floats(0, 90), st.floats(0, 90), st.floats(5, 60), st.floats(5, 60), st.floats(0, 180)
)  # fmt: skip
def test_a_zone_has_the_pixels_whose_centre_it_contains(x, y, width, height, angle):
    from shapely.affinity import rotate

    shape = rotate(shapely.box(x, y, x + width, y + height), angle)
    found = pixels_of(np.array([shape], dtype=object), 10.0)
    pixels = set(zip(found.rows.tolist(), found.columns.tolist(), strict=True))
    expected = {
        (row, column)
        for row in range(-30, 20)
        for column in range(-20, 30)
        if shapely.contains_xy(shape, (column + 0.5) * 10, -(row + 0.5) * 10)
    }
    assert pixels == expected or (not expected and len(pixels) == 1)
    assert found.counts.tolist() == [len(pixels)]
    assert 0 < found.cover[0] <= 1


def test_placing_in_batches_changes_nothing(monkeypatch):
    """Parcels placed a few at a time lie where all at once do."""
    rng = np.random.default_rng(0)
    corners, sides = rng.uniform(-300, 900, (40, 2)), rng.uniform(2, 200, (40, 2))
    zones = shapely.box(*corners.T, *(corners + sides).T)
    zones[7] = None
    options = {"resolution": 10.0, "origin": (-80, -20), "chunks": ((30, 30, 25), (40, 40))}
    hashes = hash_ids(range(40), 0)
    whole = place_pixels(zones, hashes, 16, **options)
    monkeypatch.setattr("cubecrop.sample.zonal._BATCH", 50)
    monkeypatch.setattr("cubecrop.sample.places._BATCH", 48)
    few = place_pixels(zones, hashes, 16, **options)
    for name in ("which", "counts", "cover"):
        np.testing.assert_array_equal(getattr(few, name), getattr(whole, name))
    here = whole.which >= 0
    assert 0 < here.sum() < here.size
    np.testing.assert_array_equal(few.rows[here], whole.rows[here])
    np.testing.assert_array_equal(few.columns[here], whole.columns[here])
    assert list(few.runs(3)) == list(whole.runs(3))
    # By the plain definition: the draw among all of a parcel's pixels, chunk by chunk.
    pixels = pixels_of(zones, 10.0)
    positions = draw_positions(pixels.counts, hashes, 16)
    starts = np.cumsum(pixels.counts) - pixels.counts
    edges = np.cumsum((0, 30, 30, 25)), np.cumsum((0, 40, 40))
    for part, blocks in whole.runs(1):
        parcel = part.start
        at = starts[parcel] + positions[parcel][positions[parcel] >= 0]
        row, column = pixels.rows[at] + 80, pixels.columns[at] + 20
        inside = (row >= 0) & (row < 85) & (column >= 0) & (column < 80)
        expected = list(zip(row[inside], column[inside], strict=True))
        found = []
        for pixel in np.flatnonzero(whole.which[parcel] >= 0):
            block = blocks[whole.which[parcel, pixel]]
            found.append((edges[0][block[0]] + whole.rows[parcel, pixel],
                          edges[1][block[1]] + whole.columns[parcel, pixel]))  # fmt: skip
        assert found == expected
