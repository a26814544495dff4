"""Warping a file of narrow, high pixels to pixels of a size in between averages only along x.

At 50 degrees north an arc second is 19.5 m of longitude and 30.9 m of latitude. On a lattice of
25 m a file of arc seconds becomes coarser along x, which must average, and finer along y, which
must not.
"""

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine

from cubecrop.cube.grid import Lattice, Window
from cubecrop.cube.mosaic import Tile, read_mosaic
from cubecrop.cube.read import read_window
from cubecrop.cube.source import Source

SECOND = 1 / 3600
WEST, NORTH, SIDE = 3.0, 50.82, 160
LATTICE = Lattice("EPSG:32631", 25.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of stripes of 0 and 100, a pixel wide, that run east or north."""
    folder = tmp_path_factory.mktemp("stripes")
    stripes = np.where(np.arange(SIDE) % 2, 100.0, 0.0).astype("f4")
    made = {"run east": stripes[:, None], "run north": stripes[None, :]}
    for name, values in made.items():
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", width=SIDE, height=SIDE, count=1,
            dtype="float32", crs="EPSG:4326",
            transform=Affine(SECOND, 0, WEST, 0, -SECOND, NORTH),
        ) as file:  # fmt: skip
            file.write(np.broadcast_to(values, (SIDE, SIDE)), 1)
    return {
        name: Source(item="i", asset="a", href=str(folder / f"{name}.tif"), kind=name)
        for name in made
    }


def window():
    """Thirty by thirty lattice pixels in the midst of the files, and the latitude of each."""
    middle = WEST + SIDE / 2 * SECOND, NORTH - SIDE / 2 * SECOND
    x, y = pyproj.Transformer.from_crs(4326, 32631, always_xy=True).transform(*middle)
    found = Window(round(-y / 25) - 15, round(x / 25) - 15, 30, 30)
    at = LATTICE.transform(found)
    x, y = at * np.meshgrid(np.arange(30) + 0.5, np.arange(30) + 0.5)
    _, latitude = pyproj.Transformer.from_crs(32631, 4326, always_xy=True).transform(x, y)
    return found, latitude


READERS = {
    "a file": lambda source: read_window(
        source, LATTICE, window()[0], dtype="float32", fill=np.nan, resampling="bilinear"
    ),
    "tiles": lambda source: read_mosaic((Tile(source=source),), LATTICE, window()[0]),
}


@pytest.mark.parametrize("reader", READERS)
def test_upsampling_interpolates(files, reader):
    _, latitude = window()
    row = (NORTH - latitude) / SECOND - 0.5  # between the centres of two rows
    above, share = np.floor(row), row % 1
    expected = 100 * np.where(above % 2, 1 - share, share)
    found = READERS[reader](files["run east"])
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert np.ptp(found) > 95


@pytest.mark.parametrize("reader", READERS)
def test_downsampling_averages(files, reader):
    """A triangle of 25 m to each side holds 2.6 stripes: no more than half of them is left."""
    found = READERS[reader](files["run north"])
    assert np.isfinite(found).all()
    assert np.ptp(found) < 60
