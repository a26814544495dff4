"""Missing and impossible values: the same with and without a warp, in any window."""

import warnings

import numpy as np
import pytest
import rasterio
from affine import Affine
from cubes import DAY, RADAR_DAY, season
from files import eastern_half, rewrite
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import transform

from cubecrop.cube.clouds import CLOUD_LAYER
from cubecrop.cube.grid import Lattice, Window
from cubecrop.cube.odc_backend import read_odc_window
from cubecrop.cube.read import read_layer, read_window
from cubecrop.cube.source import Source
from cubecrop.errors import ReadError
from cubecrop.testing import Optical, Radar, write_archive

LEAST = -3.4028234663852886e38  # of float32
LEFT, TOP, SIDE = 500_000, 5_630_000, 40
#: What a file of each kind holds in its western half, and how it is read.
KINDS = {
    "reflectance": (3000, {"dtype": "uint16", "fill": 0, "resampling": "bilinear"}),
    "power": (0.1, {"dtype": "float32", "fill": np.nan, "resampling": "bilinear"}),
    "elevation": (100, {"dtype": "float32", "fill": np.nan, "resampling": "bilinear"}),
    "classes": (4, {"dtype": "uint8", "fill": 0, "resampling": "nearest"}),
    "probability": (20, {"dtype": "uint8", "fill": 255, "resampling": "nearest"}),
}
#: Straight, off the lattice, and in another CRS, by ours and by odc-stac.
WAYS = {
    f"{name} at {lattice.resolution:g} m of {lattice.crs}": (read, lattice)
    for name, read in (("ours", read_window), ("odc-stac", read_odc_window))
    for lattice in (
        Lattice("EPSG:32631", 10.0), Lattice("EPSG:32631", 7.0), Lattice("EPSG:3035", 10.0),
    )
}  # fmt: skip


def write(path, values, *, mask=False, **header):
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", height=SIDE, width=SIDE, count=1, crs="EPSG:32631",
            transform=Affine(10, 0, LEFT, 0, -10, TOP), **header,
        ) as file,
    ):  # fmt: skip
        file.write(values.astype(header["dtype"]), 1)
        if mask:
            seen = np.full((SIDE, SIDE), 255, np.uint8)
            seen[:, SIDE // 2 :] = 0
            file.write_mask(seen)
    return str(path)


def halves(west, east):
    values = np.full((SIDE, SIDE), west, np.float64)
    values[:, SIDE // 2 :] = east
    return values


def inside(lattice, side=200):
    """A window around the seam of the two halves, that lies within the file."""
    (x,), (y,) = transform("EPSG:32631", lattice.crs, [LEFT + 200], [TOP - 200])
    size = round(side / lattice.resolution)
    return Window(round((-y - side / 2) / lattice.resolution),
                  round((x - side / 2) / lattice.resolution), size, size)  # fmt: skip


def parts(window, side):
    for row in range(0, window.height, side):
        for column in range(0, window.width, side):
            height, width = min(side, window.height - row), min(side, window.width - column)
            yield row, column, Window(window.row + row, window.column + column, height, width)


# Kind, number of the file's eastern half, type and header, and what the item calls nodata.
MISSING = {
    "DN 0, undeclared": ("reflectance", 0, "uint16", {}, None),
    "DN 65535, the file's": ("reflectance", 65535, "uint16", {"nodata": 65535}, 0),
    "DN 65535, nobody's": ("reflectance", 65535, "uint16", {}, 0),
    "DN 5000, the file's": ("reflectance", 5000, "uint16", {"nodata": 5000}, 0),
    "DN above 15 bits, half a block": ("reflectance", 64500, "uint16", {}, 0),
    "DN under a mask": ("reflectance", 4000, "uint16", {"mask": True}, 0),
    "power, the file's": ("power", -9999, "float32", {"nodata": -9999}, -32768),
    "power, the item's": ("power", -32768, "float32", {"nodata": 0}, -32768),
    "power 0, the file's": ("power", 0, "float32", {"nodata": 0}, -32768),
    "power NaN": ("power", np.nan, "float32", {"nodata": -32768}, None),
    "power inf": ("power", np.inf, "float64", {}, np.nan),
    "power, the least float": ("power", LEAST, "float32", {}, LEAST),
    "heights, the file's": ("elevation", -9999, "float32", {"nodata": -9999}, None),
    "heights, the file's beside one": ("elevation", -9999, "float32", {"nodata": -9999}, -32767),
    "heights, the file's beside inf": ("elevation", -9999, "float32", {"nodata": -9999}, np.inf),
    "heights, the file's beside 0": ("elevation", -32767, "float32", {"nodata": -32767}, 0),
    "heights, the item's": ("elevation", 7, "float32", {"nodata": -9999}, 7),
    "heights of no land": ("elevation", -32767, "float32", {}, None),
    "whole heights": ("elevation", -32768, "int16", {"nodata": -32768}, None),
    "heights that their type cannot hold": ("elevation", -32768, "int16", {"nodata": -32768}, 1e20),
    "heights under a mask": ("elevation", 300, "float32", {"mask": True}, None),
    "a class, the file's": ("classes", 255, "uint8", {"nodata": 255}, 0),
    "a class in wider numbers": ("classes", -1, "int16", {"nodata": -1}, 0),
    "a probability, the item's": ("probability", 255, "uint8", {"nodata": 0}, 255),
    "a probability, the file's": ("probability", 101, "uint8", {"nodata": 101}, 255),
}  # fmt: skip


@pytest.mark.parametrize("name", MISSING)
def test_nodata_of_the_file_or_the_item_is_missing(tmp_path, name):
    kind, number, dtype, header, declared = MISSING[name]
    west, options = KINDS[kind]
    href = write(tmp_path / "a.tif", halves(west, number), dtype=dtype, **header)
    source = Source(item="i", asset="a", href=href, nodata=declared, kind=kind)
    for way, (read, lattice) in WAYS.items():
        window = inside(lattice)
        with warnings.catch_warnings():
            # odc-loader warps into a dataset in memory that is without a place at first.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            found = read(source, lattice, window, **options)
        filled = np.isnan(found) if np.isnan(options["fill"]) else found == options["fill"]
        assert filled.mean() == pytest.approx(0.5, abs=0.06), way
        np.testing.assert_allclose(found[~filled], west, rtol=1e-6, err_msg=way)
        if read is read_window:
            for row, column, part in parts(window, 7):
                piece = read(source, lattice, part, **options)
                there = found[row : row + part.height, column : column + part.width]
                np.testing.assert_array_equal(piece, there, err_msg=way)


def test_0_percent_of_cloud_is_a_value_though_the_file_calls_it_nodata(tmp_path):
    href = write(tmp_path / "a.tif", halves(20, 0), dtype="uint8", nodata=0)
    source = Source(item="i", asset="a", href=href, nodata=255, kind="probability")
    for read, lattice in WAYS.values():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            found = read(source, lattice, inside(lattice), **KINDS["probability"][1])
        assert set(np.unique(found)) == {0, 20}


@pytest.mark.parametrize(
    ("number", "dtype", "told"),
    [(12, "uint8", "holds 12, expected 0 to 11"), (255, "uint8", "254 or more"),
     (260, "uint16", "254 or more"), (-1, "int16", "254 or more")],
)  # fmt: skip
def test_unknown_scene_classes_are_refused(tmp_path, number, dtype, told):
    href = write(tmp_path / "a.tif", halves(4, number), dtype=dtype)
    source = Source(item="i", asset="SCL", href=href, nodata=0, kind="classes")
    for read, lattice in WAYS.values():
        if read is read_window:
            with pytest.raises(ReadError, match=f"asset 'SCL' of item 'i' .*{told}"):
                read_layer(source, CLOUD_LAYER, lattice, inside(lattice), read=read)


# More than half of a block of another product; less than half is missing, see above.
PRODUCTS = {
    "DN above 15 bits": ("reflectance", 64500, "uint16", "from 64500 to 64500"),
    "decibels": ("power", -12.5, "float32", "from -12.5 to -12.5 .*decibels"),
    "amplitude": ("power", 300, "float32", "linear power"),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_block_of_another_product_is_an_error_whatever_the_window(tmp_path, name):
    kind, number, dtype, told = PRODUCTS[name]
    west, options = KINDS[kind]
    values = halves(west, number)
    values[:, SIDE // 2 - 2 :] = number
    href = write(tmp_path / "a.tif", values, dtype=dtype)
    source = Source(item="i", asset="a", href=href, kind=kind)
    for read, lattice in WAYS.values():
        window = inside(lattice)
        for part in (window, *(part for *_, part in parts(window, 15))):
            with pytest.raises(ReadError, match=f"asset 'a' of item 'i' .*{told}"):
                read(source, lattice, part, **options)


def test_a_few_negative_powers_are_no_decibels(tmp_path):
    """Noise that was taken out leaves power a little below zero, over water in most pixels."""
    href = write(tmp_path / "a.tif", halves(-0.002, -0.001), dtype="float32")
    source = Source(item="i", asset="a", href=href, kind="power")
    lattice = Lattice("EPSG:32631", 10.0)
    found = read_window(source, lattice, inside(lattice), **KINDS["power"][1])
    assert (found < 0).all()


def test_a_single_dn_above_15_bits_is_missing_alone(tmp_path):
    def four(old):
        out = old.copy()
        out[20:22, 20:22] = 64500
        return out

    folder = write_archive(tmp_path, [Optical(when=DAY)])
    rewrite(folder, "sentinel-2-l2a/*/B02.tif", four)
    found = season(folder)["sentinel2"]
    assert np.isnan(found["reflectance"]).sum() == 10 * 4
    assert (found["status"] == 2).sum() == 4


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("crs", [None, "EPSG:3035"])
def test_a_cube_masks_the_nodata_of_its_files(tmp_path, crs):
    folder = write_archive(tmp_path, [Optical(when=DAY), Radar(when=RADAR_DAY)])
    rewrite(folder, "sentinel-2-l2a/*/B*.tif", eastern_half(65535), nodata=65535)
    rewrite(folder, "sentinel-1-rtc/*/v*.tif", eastern_half(-9999), nodata=-9999)
    found = season(folder, crs=crs)
    for path, expected in (
        ("sentinel2/reflectance", [0.2]),
        ("sentinel1/backscatter", 10 * np.log10([0.1, 0.02])),
    ):
        seen = np.isfinite(found[path].values)
        assert 0.4 < seen.mean() < 0.6
        near = np.abs(found[path].values[seen][:, None] - np.array(expected)).min(axis=1)
        assert near.max() < 1e-4
