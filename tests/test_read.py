"""One file onto the lattice: by hand, and bit for bit the same whatever the window."""

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.warp import transform_bounds

from cubecrop.cube.grid import Lattice, Window
from cubecrop.cube.read import Layer, read_layer, read_window
from cubecrop.cube.source import Source
from cubecrop.errors import CubecropError, ReadError

LATTICE = Lattice("EPSG:32631", 10.0)
LEFT, TOP = 500_000, 5_630_000


def write(path, values, *, crs="EPSG:32631", left=LEFT, top=TOP, pixel=10.0, **options):
    height, width = values.shape[-2:]
    options = {"nodata": None, "count": 1, "driver": "GTiff", **options}
    with rasterio.open(
        path,
        "w",
        height=height,
        width=width,
        dtype=values.dtype,
        crs=crs,
        transform=Affine(pixel, 0, left, 0, -pixel, top),
        **options,
    ) as file:
        file.write(values.reshape(options["count"], height, width))
    return str(path)


def read(href, window, *, nodata=None, **options):
    source = Source(item="the-item", asset="B02", href=href, nodata=nodata)
    options = {"dtype": "uint16", "fill": 0, "resampling": "bilinear", **options}
    return read_window(source, LATTICE, window, **options)


def at(row, column, height, width):
    """A window counted from LEFT, TOP."""
    return Window(row - TOP // 10, column + LEFT // 10, height, width)


def identical(a, b):
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def test_pixels_of_the_lattice_come_as_they_are(tmp_path):
    values = np.arange(1, 13, dtype=np.uint16).reshape(3, 4)
    href = write(tmp_path / "a.tif", values)
    np.testing.assert_array_equal(read(href, at(0, 0, 3, 4)), values)
    np.testing.assert_array_equal(read(href, at(1, 2, 1, 1)), [[7]])
    around = read(href, at(-1, -2, 6, 8), fill=9999)
    np.testing.assert_array_equal(around[1:4, 2:6], values)
    around[1:4, 2:6] = 9999
    assert (around == 9999).all()
    assert (read(href, at(100, 100, 2, 2), fill=9999) == 9999).all()


@pytest.mark.parametrize("offset", [0, 1])
def test_coarser_pixels_are_replicated(tmp_path, offset):
    values = np.array([[1, 2], [3, 4]], dtype=np.uint16)
    # The second file starts half a 20 m pixel off the first's grid: still whole 10 m pixels.
    href = write(tmp_path / "a.tif", values, pixel=20.0, left=LEFT + 10 * offset)
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    np.testing.assert_array_equal(read(href, at(0, offset, 4, 4)), expected)
    np.testing.assert_array_equal(read(href, at(1, offset + 1, 2, 2)), [[1, 2], [3, 4]])


def test_nodata_becomes_the_fill_value(tmp_path):
    values = np.array([[0, 7], [65535, 8]], dtype=np.uint16)
    href = write(tmp_path / "a.tif", values)
    found = read(href, at(0, 0, 2, 2), nodata=0, fill=9)
    np.testing.assert_array_equal(found, [[9, 7], [65535, 8]])
    declared = write(tmp_path / "b.tif", values, nodata=65535)
    found = read(declared, at(0, 0, 2, 2), dtype="float32", fill=np.nan)
    np.testing.assert_array_equal(found, np.array([[0, 7], [np.nan, 8]], "float32"))


def test_half_a_pixel_off_is_the_mean_of_two(tmp_path):
    values = np.array([[1, 3, 9, 9], [1, 3, 9, 9]], dtype=np.float32)
    href = write(tmp_path / "a.tif", values, left=LEFT - 5)
    found = read(href, at(0, 0, 2, 3), dtype="float32", fill=np.nan)
    np.testing.assert_allclose(found, [[2, 6, 9]] * 2, rtol=1e-6)


def test_interpolation_leaves_nodata_out(tmp_path):
    values = np.array([[1, -32768, 9, 9], [1, -32768, 9, 9]], dtype=np.float32)
    href = write(tmp_path / "a.tif", values, left=LEFT - 5, nodata=-32768)
    found = read(href, at(0, 0, 2, 3), dtype="float32", fill=np.nan)
    assert np.nanmin(found) >= 1
    assert np.nanmax(found) <= 9


def test_another_zone_lands_where_it_should(tmp_path):
    """A plane in another zone's coordinates is, after the warp, that plane to a centimetre."""
    lon, lat = 5.6, 50.8
    east, north = pyproj.Transformer.from_crs(4326, 32632, always_xy=True).transform(lon, lat)
    left, top = east // 10 * 10, north // 10 * 10
    x = np.broadcast_to(left + 10 * np.arange(90) + 5 - left, (90, 90)).astype(np.float32)
    href = write(tmp_path / "a.tif", x.copy(), crs="EPSG:32632", left=left, top=top)
    x31, y31 = pyproj.Transformer.from_crs(32632, 32631, always_xy=True).transform(
        left + 450, top - 450
    )
    window = Window(round(-y31 / 10), round(x31 / 10), 9, 9)
    found = read(href, window, dtype="float32", fill=np.nan)
    transform = LATTICE.transform(window)
    columns, rows = np.meshgrid(np.arange(9) + 0.5, np.arange(9) + 0.5)
    back = pyproj.Transformer.from_crs(32631, 32632, always_xy=True).transform(
        transform.c + 10 * columns, transform.f - 10 * rows
    )
    np.testing.assert_allclose(found, back[0] - left, atol=0.01)


# What has to be warped: another zone (two pixel sizes), a grid off the lattice, degrees.
WARPED = {
    "sentinel2, next zone": ("EPSG:32632", 10.0, (0.0, 0.0), "uint16"),
    "sentinel2 20 m, next zone": ("EPSG:32632", 20.0, (0.0, 0.0), "uint16"),
    "sentinel1 off the lattice": ("EPSG:32631", 10.0, (3.7, 1.3), "float32"),
    "elevation in degrees": ("EPSG:4326", 1 / 3600, (0.0, 0.0), "float32"),
}


@pytest.fixture(scope="module", params=WARPED, ids=str)
def warped(request, tmp_path_factory):
    """A file of noise over several warp blocks, its window, and the file read whole."""
    crs, pixel, (dx, dy), dtype = WARPED[request.param]
    corner = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(3.2, 50.7)
    step = pixel if crs == "EPSG:4326" else 10
    left, top = (edge // step * step for edge in corner)
    size = {10.0: (600, 560), 20.0: (300, 280)}.get(pixel, (200, 260))
    rng = np.random.default_rng(5)
    values = rng.integers(1, 10_000, size).astype(dtype)
    values[rng.random(size) < 0.02] = 0 if dtype == "uint16" else -32768
    nodata = 0 if dtype == "uint16" else -32768
    href = write(
        tmp_path_factory.mktemp("warped") / "a.tif", values, crs=crs, left=left + dx,
        top=top + dy, pixel=pixel, nodata=nodata, tiled=True, blockxsize=256, blockysize=256,
    )  # fmt: skip
    with rasterio.open(href) as file:
        west, south, east, north = transform_bounds(crs, LATTICE.crs, *file.bounds)
    row, column = int(-north // 10) - 3, int(west // 10) - 3
    window = Window(row, column, int(-south // 10) + 3 - row, int(east // 10) + 3 - column)
    options = {"dtype": dtype, "fill": 0 if dtype == "uint16" else np.nan, "replicate": False}
    return href, options, window, read(href, window, **options)


def in_chunks(href, window, side, options):
    out = np.empty((window.height, window.width), options["dtype"])
    for row in range(0, window.height, side):
        for column in range(0, window.width, side):
            height, width = min(side, window.height - row), min(side, window.width - column)
            part = Window(window.row + row, window.column + column, height, width)
            out[row : row + side, column : column + side] = read(href, part, **options)
    return out


def test_warps_do_not_depend_on_chunks(warped):
    href, options, window, whole = warped
    assert min(window.height, window.width) > 512  # more than one block
    assert identical(in_chunks(href, window, 307, options), whole)


def test_nearest_warps_do_not_depend_on_chunks(warped):
    href, options, window, _ = warped
    options = {**options, "resampling": "nearest"}
    window = Window(window.row + 200, window.column + 200, 150, 150)
    assert identical(in_chunks(href, window, 79, options), read(href, window, **options))


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_warps_do_not_depend_on_the_window(warped, data):
    href, options, window, whole = warped
    row = data.draw(st.integers(0, window.height - 1))
    column = data.draw(st.integers(0, window.width - 1))
    height = data.draw(st.integers(1, window.height - row))
    width = data.draw(st.integers(1, window.width - column))
    part = read(
        href,
        Window(window.row + row, window.column + column, height, width),
        **options,
    )
    inside = whole[row : row + height, column : column + width]
    assert identical(part, inside)


def test_warps_do_not_depend_on_threads(warped, monkeypatch):
    href, options, window, whole = warped
    monkeypatch.setenv("GDAL_NUM_THREADS", "2")
    part = Window(window.row + 20, window.column + 20, 520, 140)
    assert identical(read(href, part, **options), whole[20:540, 20:160])


def test_a_layer_reads_the_halo_that_its_finish_needs(tmp_path):
    values = np.zeros((40, 40), np.uint8)
    values[20, 20] = 1

    def spread(block, resolution):
        out = block.copy()
        for shift in (-2, -1, 1, 2):
            out |= np.roll(block, shift, axis=1)
        return out

    layer = Layer(
        bands=("a",), dtype="uint8", fill=0, resampling="nearest", halo=20.0, finish=spread
    )
    source = Source(item="i", asset="a", href=write(tmp_path / "a.tif", values))
    found = read_layer(source, layer, LATTICE, at(20, 21, 1, 4))
    np.testing.assert_array_equal(found, [[1, 1, 0, 0]])


def test_nothing_that_cannot_be_read_becomes_zeros(tmp_path):
    good = write(tmp_path / "good.tif", np.ones((600, 600), np.uint16), compress="deflate")
    content = (tmp_path / "good.tif").read_bytes()
    (tmp_path / "short.tif").write_bytes(content[: len(content) // 2])
    (tmp_path / "stub.tif").write_bytes(content[:40])
    (tmp_path / "text.tif").write_text("not a TIFF")
    (tmp_path / "empty.tif").write_bytes(b"")
    broken = bytearray(content)
    with rasterio.open(good) as file:
        offset = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    broken[offset : offset + 40] = b"\xff" * 40
    (tmp_path / "broken.tif").write_bytes(bytes(broken))
    for name in ("short", "stub", "text", "empty", "broken", "missing"):
        with pytest.raises(ReadError, match="asset 'B02' of item 'the-item' cannot be read"):
            read(str(tmp_path / f"{name}.tif"), at(0, 0, 600, 600))


def test_a_broken_file_is_reported_when_it_is_warped(tmp_path):
    write(tmp_path / "a.tif", np.ones((600, 600), np.float32), left=LEFT + 3, compress="lzw")
    content = (tmp_path / "a.tif").read_bytes()
    # The strips of an uncompressible half are gone; the header, at the front, is whole.
    (tmp_path / "a.tif").write_bytes(content[: len(content) - 2000])
    with pytest.raises(ReadError, match="asset 'B02' of item 'the-item' cannot be read"):
        read(str(tmp_path / "a.tif"), at(0, 0, 600, 600), dtype="float32", fill=np.nan)


def test_a_vrt_that_names_other_files_is_refused(tmp_path):
    other = write(tmp_path / "secret.tif", np.ones((4, 4), np.uint16))
    vrt = f"""<VRTDataset rasterXSize="4" rasterYSize="4"><SRS>EPSG:32631</SRS>
    <GeoTransform>{LEFT}, 10, 0, {TOP}, 0, -10</GeoTransform><VRTRasterBand dataType="UInt16"
    band="1"><SimpleSource><SourceFilename>{other}</SourceFilename><SourceBand>1</SourceBand>
    </SimpleSource></VRTRasterBand></VRTDataset>"""
    for name in ("a.tif", "a.vrt"):
        (tmp_path / name).write_text(vrt)
        with pytest.raises(ReadError, match="item 'the-item' cannot be read"):
            read(str(tmp_path / name), at(0, 0, 4, 4))
    with pytest.raises(ReadError, match="item 'the-item' cannot be read"):
        read(vrt, at(0, 0, 4, 4))


def test_files_of_another_kind_are_refused(tmp_path):
    two = write(tmp_path / "two.tif", np.ones((2, 4, 4), np.uint16), count=2)
    with pytest.raises(ReadError, match="2 bands, expected one"):
        read(two, at(0, 0, 4, 4))
    radar = write(tmp_path / "radar.tif", np.ones((4, 4), np.uint16))
    with rasterio.open(radar, "r+") as file:
        points = [(0, 0), (0, 4), (4, 0), (4, 4)]
        file.gcps = (
            [
                GroundControlPoint(row, column, 3 + column / 100, 50 - row / 100)
                for row, column in points
            ],
            CRS.from_epsg(4326),
        )
    with pytest.raises(ReadError, match="terrain-corrected") as caught:
        read(radar, at(0, 0, 4, 4))
    assert isinstance(caught.value, CubecropError)
