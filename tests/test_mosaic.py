"""Tiles of an elevation model form one surface, and no value depends on chunks."""

import json

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from files import edit

from cubecrop import open_season
from cubecrop.aoi import Aoi
from cubecrop.archive import normalise_item
from cubecrop.cube.grid import Lattice, Window, grid_for, pixel_centres
from cubecrop.cube.mosaic import Tile, read_mosaic
from cubecrop.cube.read import read_window
from cubecrop.cube.source import Source
from cubecrop.cube.terrain import terrain_child
from cubecrop.testing import Elevation, Optical, Place, write_archive

SECOND = 1 / 3600
AREA = (2.9985, 50.8085, 3.0015, 50.8115)  # around the corner of four tiles


def plane(lon, lat):
    return 100 + (lon - 3) * 20_000 + (lat - 50.81) * 8_000


def tile(left, top, wide=1.0, high=1.0, columns=40, rows=40):
    return Affine(wide * SECOND, 0, left, 0, -high * SECOND, top), columns, rows


def around(lon, lat, kinds):
    """Four tiles that meet in a corner: pixel sizes in arc seconds, north first, west first."""
    made = {}
    for name, (wide, high) in zip("abcd", kinds, strict=True):
        left = lon if name in "bd" else lon - 40 * wide * SECOND
        top = lat if name in "cd" else lat + 40 * high * SECOND
        made[name] = tile(left, top, wide, high)
    return made


def write_tiles(folder, tiles, surface=plane):
    ground = Place(left=499_500, top=5_629_500, height=100, width=100)
    scenes = [
        Elevation(id=name, place=Place(crs="EPSG:4326", left=at.c, top=at.f, width=4, height=4,
                                       pixel=at.a * columns / 4))
        for name, (at, columns, _) in tiles.items()
    ]  # fmt: skip
    write_archive(folder, [Optical(when="2018-05-01T10:56:21Z", place=ground), *scenes])
    for name, (at, columns, rows) in tiles.items():
        lon, lat = at * np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
        with rasterio.open(
            folder / "cop-dem-glo-30" / name / "data.tif", "w", driver="GTiff", width=columns,
            height=rows, count=1, dtype="float32", crs="EPSG:4326", transform=at,
        ) as file:  # fmt: skip
            file.write(surface(lon, lat).astype(np.float32), 1)

        def state(item, at=at, shape=(rows, columns)):
            grid = {"proj:shape": list(shape), "proj:transform": list(at)[:6]}
            item["assets"]["data"] |= grid

        edit(folder, f"cop-dem-glo-30/{name}/*.json", state)
    return folder


def terrain(folder, **options):
    cube = open_season(AREA, 2018, archive=folder, modalities=("sentinel2", "terrain"), **options)
    return cube["terrain/terrain"].compute()


def off(found, crs):
    """Metres from the plane."""
    x, y = np.meshgrid(found.x, found.y)
    lon, lat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    return np.abs(found.sel(variable="elevation").values - plane(lon, lat))


LAYOUTS = {
    "one grid": around(3, 50.81, [(1.5, 1)] * 4),
    "finer in the south": around(3, 50.81, [(1.5, 1), (1.5, 1), (1, 1), (1, 1)]),
    "finer in the east": around(3, 50.81, [(1.5, 1), (1, 1), (1.5, 1), (1, 1)]),
    "a chequerboard": around(3, 50.81, [(3, 3), (1, 1), (1, 1), (3, 3)]),
    # A tile begins half a pixel before its degree.
    "as Copernicus' at 50 degrees": {
        name: (Affine.translation(-at.a / 2, at.e / 2) * at, *size)
        for name, (at, *size) in around(
            3, 50.81, [(1.5, 1), (1.5, 1), (1, 1), (1, 1)]
        ).items()
    },
    "overlapping": {"a": tile(2.99, 50.82, rows=80), "b": tile(3 - 5 * SECOND, 50.82, rows=80)},
    "overlapping off the grid": {
        "a": tile(2.99, 50.82, rows=80), "b": tile(3 - 5.3 * SECOND, 50.82, rows=80),
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "crs"),
    [*((name, None) for name in LAYOUTS), ("one grid", "EPSG:3035"),
     ("as Copernicus' at 50 degrees", "EPSG:3035")],
)  # fmt: skip
def test_a_plane_has_no_seam(tmp_path, name, crs):
    folder = write_tiles(tmp_path, LAYOUTS[name])
    found = terrain(folder, crs=crs)
    error = off(found, crs or "EPSG:32631")
    assert np.isfinite(error).all()
    assert error.max() < 0.02
    slope = found.sel(variable="slope").values
    assert np.ptp(slope) < 0.02
    assert found.equals(terrain(folder, crs=crs, chunks=13))


def rough(lon, lat):
    return 100 + 40 * np.sin(lon * 9_000) * np.cos(lat * 11_000)


def test_a_rough_surface_is_that_of_one_file(tmp_path):
    """Four tiles of one grid give, to the last digit but rounding, what one file gives."""
    four = terrain(write_tiles(tmp_path / "four", LAYOUTS["one grid"], rough))
    whole = {"a": tile(3 - 60 * SECOND, 50.81 + 40 * SECOND, 1.5, 1, columns=80, rows=80)}
    one = terrain(write_tiles(tmp_path / "one", whole, rough))
    np.testing.assert_allclose(four, one, atol=1e-3)


def test_missing_heights_at_a_seam_are_not_averaged_in(tmp_path):
    def holed(lon, lat):
        return np.where((lon < 3) & (np.abs(lat - 50.81) < 4 * SECOND), np.nan, plane(lon, lat))

    found = terrain(write_tiles(tmp_path, LAYOUTS["one grid"], holed))
    error = off(found, "EPSG:32631")
    assert 0.01 < np.isnan(error).mean() < 0.5
    assert np.nanmax(error) < 25  # a pixel of 30 m on a slope of a fifth, not a hundred metres


def test_a_gap_between_tiles_stays_a_gap(tmp_path):
    tiles = {"a": tile(2.99, 50.82, rows=80, columns=30), "b": tile(3, 50.82, rows=80)}
    missing = np.isnan(terrain(write_tiles(tmp_path, tiles))[0]).mean("y")
    lon = 3 + (missing.x - 500_000) / 70_300
    assert (missing.where((lon < 2.9982) | (lon > 3.0002), 0) == 0).all()
    assert (missing.where((lon > 2.9986) & (lon < 2.9998), 1) == 1).all()


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Noise as DN, power and heights: what shows a rounding that depends on the window."""
    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("noisy")
    made = {
        "reflectance": (rng.integers(1, 9000, (200, 200), np.uint16), "EPSG:32631",
                        Affine(10, 0, 500_000, 0, -10, 5_630_000)),
        "power": (rng.random((200, 200), np.float32), "EPSG:32631",
                  Affine(10, 0, 500_003.7, 0, -10, 5_630_001.3)),
        "elevation": (50 * rng.random((120, 150), np.float32), "EPSG:4326",
                      Affine(SECOND, 0, 2.98, 0, -SECOND, 50.84)),
    }  # fmt: skip
    for name, (values, crs, place) in made.items():
        rows, columns = values.shape
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", width=columns, height=rows, count=1,
            dtype=values.dtype, crs=crs, transform=place,
        ) as file:  # fmt: skip
            file.write(values, 1)
    return {name: Source(item="i", asset="a", href=str(folder / f"{name}.tif"), kind=name)
            for name in made}  # fmt: skip


def of_band(source, lattice, window, dtype="uint16", fill=0):
    options = {"dtype": dtype, "fill": fill, "resampling": "bilinear"}
    return read_window(source, lattice, window, **options)


def of_radar(source, lattice, window):
    return of_band(source, lattice, window, "float32", np.nan)


def of_heights(source, lattice, window):
    return read_mosaic((Tile(source=source),), lattice, window)


READERS = {"reflectance": of_band, "power": of_radar, "elevation": of_heights}


@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:3035"])
@pytest.mark.parametrize("resolution", [7.0, 3.0, 12.5, 30.0, 33.3])
def test_no_resolution_makes_values_depend_on_the_window(noisy, resolution, crs):
    """Bit for bit, also where squares of warps end in the midst of a window."""
    lattice = Lattice(crs, resolution)
    x, y = pyproj.Transformer.from_crs(32631, crs, always_xy=True).transform(501_000, 5_629_000)
    size = round(min(1300 / resolution, 140))
    window = Window(round(-y / resolution) - size // 2, round(x / resolution) - size // 2,
                    size, size)  # fmt: skip
    side = max(15, size // 3 + 1)
    for name, read in READERS.items():
        whole = read(noisy[name], lattice, window)
        assert len(np.unique(whole)) > 500
        for row in range(0, size, side):
            for column in range(0, size, side):
                height, width = min(side, size - row), min(side, size - column)
                part = Window(window.row + row, window.column + column, height, width)
                found = read(noisy[name], lattice, part)
                expected = whole[row : row + height, column : column + width]
                np.testing.assert_array_equal(found, expected, err_msg=name)


@pytest.mark.parametrize("crs", ["EPSG:32760", "EPSG:32701", "EPSG:3832"])
def test_tiles_on_both_sides_of_the_180th_meridian_are_one_surface(tmp_path, crs):
    """As Copernicus' tiles are called: one ends at 180 degrees, the next begins at -180."""

    def surface(lon, lat):
        return 100 + (lon % 360 - 180) * 20_000 + (lat + 16.8) * 8_000

    top = -16.8 + 20 * SECOND
    tiles = {"E179": tile(180 - 40 * SECOND, top), "W180": tile(-180, top)}
    to_utm = pyproj.Transformer.from_crs(4326, 32760, always_xy=True)
    x, y = (round(v, -1) for v in to_utm.transform(180.0, -16.8))
    write_tiles(tmp_path, tiles, surface)
    scenes = [
        normalise_item(json.loads(path.read_text()) | {"assets": assets})
        for path in sorted(tmp_path.glob("cop-dem-glo-30/*/*.json"))
        for assets in [{"data": {"href": str(path.parent / "data.tif")}}]
    ]
    grid = grid_for(Aoi(shapely.box(x - 300, y - 300, x + 300, y + 300), "EPSG:32760"), crs=crs)
    whole = terrain_child(scenes, grid, chunks=tuple((n,) for n in grid.shape))["terrain"].values
    y, x = pixel_centres(grid)
    lon, lat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(*np.meshgrid(x, y))
    assert ((lon < 0).any(), (lon > 0).any()) == (True, True)
    assert np.abs(whole[0] - surface(lon, lat)).max() < 0.05
    assert np.ptp(whole[1]) < 0.1
    cut_in_two = ((grid.shape[0],), (grid.shape[1] // 2, grid.shape[1] - grid.shape[1] // 2))
    np.testing.assert_array_equal(
        terrain_child(scenes, grid, chunks=cut_in_two)["terrain"].values, whole
    )
