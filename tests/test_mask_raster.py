"""Rasters as masks: far finer than the cube, and rasters that are no masks."""

import tracemalloc

import numpy as np
import pytest
import rasterio
import xarray as xr

from cubecrop.cube import mask_raster
from cubecrop.cube.grid import Lattice, Window
from cubecrop.cube.mask_raster import MaskRaster
from cubecrop.errors import ReadError, SchemaError

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


def array_of(values, x=None):
    """A mask in memory, with pixels of 10 m."""
    values = np.asarray(values)
    rows, columns = values.shape
    x = LEFT + 5 + 10 * np.arange(columns) if x is None else x
    coords = {"y": TOP - 5 - 10 * np.arange(rows), "x": x}
    return xr.DataArray(values, dims=("y", "x"), coords=coords).rio.write_crs("EPSG:32631")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[10, 40], [80, 40]], r"holds the codes \[10, 40, 80\] of ESA WorldCover.*A==40"),
        ([[1, 255], [1, 0]], "holds 1 and 255 and declares no nodata"),
        ([[1, -1], [1, 0]], "holds -1, and any value but 0 is cropland.*write_nodata"),
    ],
)
def test_a_raster_whose_values_mean_something_else_is_refused(values, message, tmp_path):
    array = array_of(np.array(values, dtype="int16" if np.min(values) < 0 else "uint8"))
    with pytest.raises(SchemaError, match=message):
        MaskRaster.of_array(array)
    array.rio.to_raster(tmp_path / "mask.tif")
    raster = MaskRaster(href=str(tmp_path / "mask.tif"))
    with pytest.raises(ReadError, match=rf"mask\.tif {message}"):
        raster.read(Lattice("EPSG:32631", 10.0), Window(-550_000, 50_000, 2, 2))


@pytest.mark.parametrize("tiled", [True, False])
def test_a_map_of_classes_is_refused_where_a_window_holds_one_class(tmp_path, tiled):
    """A wood of a raw land-cover map would be cropland, since 10 is not 0."""
    lattice, wood = Lattice("EPSG:32631", 10.0), Window(-550_000, 50_000, 20, 20)
    values = np.full((640, 640), 10, "uint8")
    values[300:, 300:] = 40
    blocks = {"tiled": True, "blockxsize": 16, "blockysize": 16} if tiled else {}
    array_of(values).rio.to_raster(tmp_path / "mask.tif", **blocks)
    raster = MaskRaster(href=str(tmp_path / "mask.tif"))
    raster.check()
    with pytest.raises(ReadError, match=r"holds the codes \[10, 40\] of ESA WorldCover"):
        raster.read(lattice, wood)
    array_of(np.where(values == 10, 10, 0).astype("uint8")).rio.to_raster(tmp_path / "one.tif")
    one = MaskRaster(href=str(tmp_path / "one.tif"))  # a class of the map and 0 make a mask
    assert (one.read(lattice, wood) == mask_raster.KEPT).all()


def test_a_declared_value_is_no_value():
    array = array_of(np.array([[1, 255], [1, 0]], "uint8")).rio.write_nodata(255)
    np.testing.assert_array_equal(MaskRaster.of_array(array).codes, [[1, 255], [1, 0]])


def test_a_map_with_a_table_of_colours_is_no_mask(tmp_path):
    array_of(np.eye(3, dtype="uint8")).rio.to_raster(tmp_path / "map.tif")
    raster = MaskRaster(href=str(tmp_path / "map.tif"))
    with rasterio.open(raster.href, "r+") as file:
        file.write_colormap(1, {0: (255, 255, 255), 1: (0, 90, 0), 255: (9, 9, 9)})
    raster.check()
    with rasterio.open(raster.href, "r+") as file:
        file.write_colormap(1, {i: (9, 9, 10 * i) for i in range(1, 9)})
    with pytest.raises(ReadError, match=r"map\.tif has a table of 8 colours"):
        raster.check()


def test_an_array_needs_numbers_and_the_centres_of_all_pixels():
    mask = array_of(np.eye(4))
    window = Window(-550_000, 50_000, 4, 4)
    found = MaskRaster.of_array(mask.isel(x=[3, 2, 1, 0])).read(Lattice("EPSG:32631", 10.0), window)
    np.testing.assert_array_equal(found, np.eye(4))
    degrees = array_of(np.eye(400), x=(100 + 9e-5 * np.arange(400)).astype("float32"))
    MaskRaster.of_array(degrees)
    for wrong in (
        xr.concat([mask.isel(x=[2, 3]), mask.isel(x=[0, 1])], "x"), mask.isel(x=[0, 1, 3]),
        mask.isel(x=[0]), mask.drop_vars("x"),
    ):  # fmt: skip
        with pytest.raises(SchemaError, match="coordinate 'x' is missing, has one pixel or is not"):
            MaskRaster.of_array(wrong)
    with pytest.raises(SchemaError, match="expected numbers or True and False"):
        MaskRaster.of_array(xr.where(mask == 1, "crop", "none").rio.write_crs("EPSG:32631"))
