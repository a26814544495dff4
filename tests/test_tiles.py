"""Tiles of regions: UTM zones cut along Sentinel-2's files and blocks, whatever the area."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cubecrop.aoi import parse_aoi
from cubecrop.cube.grid import grid_for
from cubecrop.cube.tiles import SIDE, TileLattice, lands_of, utm_codes

#: Upper left corners of Sentinel-2 files, as their metadata state them.
CORNERS = {
    "31UES": ("EPSG:32631", 499980, 5700000),
    "31UDS": ("EPSG:32631", 399960, 5700000),
    "31TCJ": ("EPSG:32631", 300000, 4900020),
    "31UDR": ("EPSG:32631", 399960, 5600040),
    "56HLH": ("EPSG:32756", 300000, 6300040),
    "33UVP": ("EPSG:32633", 399960, 5400000),
}
lattices = st.builds(
    TileLattice,
    st.sampled_from(["EPSG:32631", "EPSG:32756", "EPSG:3035"]),
    st.sampled_from([SIDE, 10_240.0, 5_000.0, 330.0]),
    st.sampled_from([10.0, 20.0, 7.3]),
)
places = st.tuples(st.floats(200_000, 800_000), st.floats(1_000_000, 9_000_000))


@pytest.mark.parametrize("name", CORNERS)
def test_files_begin_at_the_corner_of_a_tile(name):
    crs, left, top = CORNERS[name]
    tile = TileLattice(crs, SIDE, 10).at(np.array([left + 5.0]), np.array([top - 5.0]))[0]
    assert (tile.left, tile.top) == (left, top)
    assert tile.id == f"{crs[5:]}_{left}_{top}"


@pytest.mark.parametrize("name", CORNERS)
def test_edges_lie_on_edges_of_blocks_within_a_file(name):
    crs, left, top = CORNERS[name]
    lattice = TileLattice(crs, SIDE, 10)
    columns = lattice.columns(left, left + 90_000)
    rows = lattice.rows(top - 90_000, top)
    assert not ((columns[(columns >= left) & (columns < left + 95_000)] - left) % SIDE).any()
    assert not ((top - rows[(rows <= top) & (rows > top - 95_000)]) % SIDE).any()


@given(lattice=lattices, place=places)
def test_a_point_has_one_tile_which_holds_it(lattice, place):
    x, y = place
    tile = lattice.at(np.array([x]), np.array([y]))[0]
    assert tile.left <= x < tile.right
    assert tile.bottom < y <= tile.top
    assert tile.right - tile.left <= lattice.side + lattice.resolution
    around = (x - 20, y - 20, x + 20, y + 20)
    assert tile in set(lattice.tiles(around))


@given(lattice=lattices, place=places, width=st.floats(1, 50_000), height=st.floats(1, 50_000))
def test_tiles_of_a_rectangle_cover_it_once(lattice, place, width, height):
    left, bottom = place
    right, top = left + width, bottom + height
    if width * height > 30 * lattice.side**2:
        right, top = left + lattice.side, bottom + lattice.side
    tiles = list(lattice.tiles((left, bottom, right, top)))
    area = sum(
        (min(t.right, right) - max(t.left, left)) * (min(t.top, top) - max(t.bottom, bottom))
        for t in tiles
    )
    assert area == pytest.approx((right - left) * (top - bottom), rel=1e-6, abs=1)
    assert len(set(tiles)) == len(tiles)
    for tile in tiles:
        for edge in tile.bounds:
            assert edge / lattice.resolution == pytest.approx(round(edge / lattice.resolution))


@given(place=places, width=st.floats(1, 50_000))
def test_lines_do_not_depend_on_what_is_asked(place, width):
    x, _ = place
    lattice = TileLattice("EPSG:32631", SIDE, 10)
    some = lattice.columns(x, x + width)
    wide = lattice.columns(x - 60_000, x + 120_000)
    assert np.isin(some, wide).all()


def test_points_without_a_place_have_no_tile():
    lattice = TileLattice("EPSG:32631", SIDE, 10)
    assert lattice.at(np.array([np.nan, np.inf]), np.array([1.0, 2.0])) == [None, None]


@given(lon=st.integers(-1800, 1800).map(lambda n: n / 10), lat=st.floats(-80, 84))
def test_zones_are_six_degrees_wide(lon, lat):
    code = int(utm_codes(np.array([lon]), np.array([lat]))[0])
    west = (code % 100 - 1) * 6 - 180
    assert west <= (lon if lon < 180 else -180) < west + 6
    assert code // 100 == (327 if lat < 0 else 326)


def test_an_area_in_one_zone_has_the_rectangle_of_one_cube():
    for bbox in ((3.0, 50.8, 3.1, 50.9), (-3.2, 41.0, -2.1, 41.7), (151, -33.5, 151.5, -33)):
        area = parse_aoi(bbox)
        (land,) = lands_of(area, resolution=10)
        grid = grid_for(area)
        assert land.crs == str(grid.crs)
        assert land.bounds == tuple(grid.boundingbox)
        assert not land.is_shared


@pytest.mark.parametrize(
    ("bbox", "codes"),
    [
        ((5.9, 50.0, 6.1, 50.1), [32631, 32632]),
        ((0.0, 50.0, 6.0, 50.1), [32631]),  # touches the next zone's meridian
        ((-0.1, -0.1, 0.1, 0.1), [32630, 32631, 32730, 32731]),
        ((179.9, 10.0, -179.9, 10.1), [32601, 32660]),
    ],
)
def test_an_area_is_divided_between_zones(bbox, codes):
    lands = lands_of(parse_aoi(bbox), resolution=10)
    assert [int(land.crs[5:]) for land in lands] == codes
    rng = np.random.default_rng(0)
    west, south, east, north = bbox
    lon = west + rng.uniform(size=500) * ((east - west) % 360)
    lat = south + rng.uniform(size=500) * (north - south)
    import pyproj

    owners = np.zeros(500, int)
    for land in lands:
        x, y = pyproj.Transformer.from_crs(4326, land.crs, always_xy=True).transform(lon, lat)
        owners += land.owns(np.asarray(x), np.asarray(y))
    assert (owners == 1).all()


def test_one_crs_for_all_of_an_area():
    (land,) = lands_of(parse_aoi((5.9, 50.0, 6.1, 50.1)), resolution=10, crs="EPSG:3035")
    assert land.crs == "EPSG:3035"
    assert land.owns(np.array([0.0, np.nan]), np.array([0.0, 1.0])).all()
