"""Rasters as masks that are far finer than the cube."""

import tracemalloc

import numpy as np
import pytest
import rasterio

from cubecrop.cube import mask_raster
from cubecrop.cube.grid import Lattice, Window
from cubecrop.cube.mask_raster import MaskRaster

LEFT, TOP = 500_000.0, 5_500_000.0


@pytest.fixture
def fine(tmp_path):
    """A raster of 0.5 m of 256 pixels of 10 m a side, and its values under their centres."""
    n, pixel = 256, 0.5
    size = int(n * 10 / pixel)
    values = np.random.default_rng(0).integers(0, 2, (size, size), dtype=np.uint8)
    with rasterio.open(
        tmp_path / "mask.tif", "w", driver="GTiff", height=size, width=size, count=1,
        dtype="uint8", crs="EPSG:32631", transform=rasterio.Affine(pixel, 0, LEFT, 0, -pixel, TOP),
        tiled=True,
    ) as file:  # fmt: skip
        file.write(values, 1)
    return tmp_path / "mask.tif", values[10::20, 10::20]


def test_a_raster_far_finer_than_the_cube_is_read_in_parts(fine, monkeypatch):
    path, expected = fine
    lattice, window = Lattice("EPSG:32631", 10.0), Window(-550_000, 50_000, 256, 256)
    raster = MaskRaster(href=str(path))
    monkeypatch.setattr(mask_raster, "_MOST", 2**18)
    tracemalloc.start()
    found = raster.read(lattice, window)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(found, expected)
    assert peak < 20e6  # all pixels are 105 MB as float32
    beyond = raster.read(lattice, window.widened(9))
    np.testing.assert_array_equal(beyond[9:-9, 9:-9], expected)
    assert (beyond[:9] == mask_raster.UNMASKED).all()
