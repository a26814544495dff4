"""Each block of each file is decoded once for any chunks, and values stay the same."""

import pickle
import threading
from collections import Counter

import dask
import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from cubes import area, noise

import cubecrop
from cubecrop import lost_scenes
from cubecrop.cube import access, blocks, grid, open_season, read
from cubecrop.cube.clouds import mask_from_scl
from cubecrop.cube.grid import Window
from cubecrop.cube.planes import Plane
from cubecrop.cube.sentinel1 import mask_zeros
from cubecrop.cube.shelf import Shelf
from cubecrop.errors import ReadError
from cubecrop.schema import SENTINEL2_BANDS, Status
from cubecrop.testing import Optical, Place, Radar, write_archive

SIDE, BLOCK = 240, 32
PLACE = Place(height=SIDE, width=SIDE)
DAYS = [f"2018-06-{day:02d}T10:56:21Z" for day in (1, 6, 11)]


def patches(seed, share):
    """Classes of 20 m: clear but for some squares of cloud."""
    rng = np.random.default_rng(seed)
    rough = rng.random((SIDE // 20, SIDE // 20)) < share
    return np.where(rough.repeat(10, axis=0).repeat(10, axis=1), 9, 4).astype(np.uint8)


def power(x, y):
    values = 0.01 + ((x * 3 + y * 5) % 97) / 500
    return np.where((x // 1000 + y // 700) % 9 == 0, 0.0, values).astype(np.float32)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three days of two tiles that overlap in the middle, and radar with zeros."""
    west, east = Place(height=SIDE, width=150), Place(left=501_000, height=SIDE, width=140)
    scenes = [
        Optical(when=day, id=f"{i}-west", place=west, dn=noise, scl=patches(i, 0.2)[:, :75])
        for i, day in enumerate(DAYS)
    ]
    scenes += [
        Optical(when=day, id=f"{i}-east", place=east, dn=noise, scl=patches(9 + i, 0.2)[:, :70])
        for i, day in enumerate(DAYS[:2])
    ]
    scenes.append(Radar(when="2018-06-02T17:40:42Z", place=PLACE, vv=power, vh=power))
    folder = write_archive(tmp_path_factory.mktemp("archive"), scenes)
    for path in folder.rglob("*.tif"):
        in_blocks(path)
    return folder


def in_blocks(path):
    with rasterio.open(path) as file:
        values, profile = file.read(), file.profile
    path.unlink()
    with rasterio.open(
        path, "w", **(profile | {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK})
    ) as file:
        file.write(values)


@pytest.fixture
def small_units(monkeypatch):
    """Blocks of the test's files are units of reading, as larger ones are of real files."""
    monkeypatch.setattr(blocks, "_SIDE", 1)


class Counted:
    """How often each block was decoded and each file opened."""

    def __init__(self, monkeypatch):
        self.decoded, self.opened = Counter(), Counter()
        self._lock = threading.Lock()
        pixels, once = blocks.read_pixels, access._once

        def counting_pixels(file, source, place, **options):
            rows = range(place.row // BLOCK, -(-(place.row + place.height) // BLOCK))
            columns = range(place.column // BLOCK, -(-(place.column + place.width) // BLOCK))
            with self._lock:
                self.decoded.update((source.href, y, x) for y in rows for x in columns)
            return pixels(file, source, place, **options)

        def counting_opens(source, *options, **more):
            with self._lock:
                self.opened[source.href] += 1
            return once(source, *options, **more)

        for module in (blocks, read):
            monkeypatch.setattr(module, "read_pixels", counting_pixels)
        monkeypatch.setattr(access, "_once", counting_opens)


@pytest.fixture
def counted(monkeypatch, small_units):
    return Counted(monkeypatch)


def opened(archive, **options):
    return open_season(area(PLACE), 2018, archive=archive, **options)


def shelves(cube):
    """The shelves of a cube's series."""
    return [
        next(iter(layer.values())).shelf
        for name, layer in cube["sentinel2/reflectance"].data.dask.layers.items()
        if name.startswith("cubecrop-plan-")
    ]


def plain(archive):
    """Values as written out by hand: whole files, one after the other, in NumPy."""
    nan = np.float32(np.nan)
    dates = np.full((3, 10, SIDE, SIDE), nan, np.float32)
    for i in range(3):
        todo = np.ones((SIDE, SIDE), bool)
        for side in ("west", "east"):
            folder = archive / "sentinel-2-l2a" / f"{i}-{side}"
            if not folder.exists():
                continue
            scl = on_grid(folder / "SCL.tif", 0)
            clear = mask_from_scl(scl, 10) == Status.CLEAR
            bands = np.stack([on_grid(folder / f"{band}.tif", 0) for band in SENTINEL2_BANDS])
            take = todo & clear & (bands != 0).all(axis=0)
            values = (bands * 1e-4 - 0.1).astype(np.float32)
            dates[i][:, take] = values[:, take]
            todo &= ~take
    radar = next((archive / "sentinel-1-rtc").glob("*/vv.tif"))
    linear = np.stack(
        [mask_zeros(on_grid(radar.with_name(f"{p}.tif"), nan), 10) for p in ("vv", "vh")]
    )
    return dates, 10 * np.log10(np.maximum(linear, 1e-5))


def on_grid(path, fill):
    with rasterio.open(path) as file:
        values, place = file.read(1), file.transform
    factor = round(place.a / 10)
    values = values.repeat(factor, axis=0).repeat(factor, axis=1)
    row, column = round((PLACE.top - place.f) / 10), round((place.c - PLACE.left) / 10)
    out = np.full((SIDE, SIDE), fill, values.dtype)
    out[row : row + values.shape[0], column : column + values.shape[1]] = values
    return out


@pytest.mark.parametrize("chunks", [None, 37, 64, 100])
def test_values_are_those_of_whole_files(archive, small_units, chunks):
    cube = opened(archive, chunks=chunks)
    optical, radar = plain(archive)
    np.testing.assert_array_equal(cube["sentinel2/reflectance"].values, optical)
    np.testing.assert_array_equal(cube["sentinel1/backscatter"].values[0], radar)


@pytest.mark.parametrize("workers", [1, 8])
def test_values_are_made_in_strips_of_what_is_read(archive, counted, monkeypatch, workers):
    monkeypatch.setattr(grid, "_SHARE", 5e-4)  # of 2 GB
    cube = opened(archive)
    series = lost_scenes.readings_of(cube["sentinel2/reflectance"].data)
    assert series.chunks == ((160, 80), (160, 80))
    for name in ("sentinel2", "sentinel1"):
        assert cube[name].dataset.chunks["y"] == (40,) * 6
        assert cube[name].dataset.chunks["x"] == (160, 80)
    optical, radar = plain(archive)
    with dask.config.set(scheduler="threads", num_workers=workers):
        found = dask.compute(cube["sentinel2"].to_dataset(), cube["sentinel1"].to_dataset())
    np.testing.assert_array_equal(found[0]["reflectance"], optical)
    np.testing.assert_array_equal(found[1]["backscatter"][0], radar)
    whole = opened(archive, chunks=SIDE)["sentinel2/status"]
    np.testing.assert_array_equal(found[0]["status"], whole)
    assert all(shelf.held == (0, 0) for shelf in shelves(cube))


def test_a_strip_of_a_plane_has_its_pixels():
    plane = Plane(np.arange(48).reshape(6, 8), 3, 2, 1)  # of a chunk of 16 x 23 pixels
    spread = plane.spread((16, 23))
    for start, stop in ((0, 16), (0, 1), (3, 4), (5, 11), (15, 16)):
        strip = plane.strip(start, stop).spread((stop - start, 23))
        np.testing.assert_array_equal(strip, spread[start:stop])


@pytest.mark.parametrize("chunks", [37, 64, 100])
@pytest.mark.parametrize("workers", [1, 8])
def test_each_block_is_decoded_once(archive, counted, chunks, workers):
    cube = opened(archive, chunks=chunks)
    with dask.config.set(scheduler="threads", num_workers=workers):
        found = dask.compute(cube["sentinel2"].to_dataset(), cube["sentinel1"].to_dataset())
    assert found[0]["reflectance"].shape[1] == 10
    # All of them, and none twice: clouds are patches, so that each block has a clear pixel.
    sizes = {path: rasterio.open(path).shape for path in map(str, archive.rglob("*.tif"))}
    whole = sum(-(-high // BLOCK) * -(-wide // BLOCK) for high, wide in sizes.values())
    assert len(counted.decoded) > 0.95 * whole
    assert set(counted.decoded.values()) == {1}
    assert all(shelf.held == (0, 0) for shelf in shelves(cube))


def test_each_block_is_decoded_once_for_a_table_of_parcels(archive, counted):
    cube = opened(archive, chunks=64)
    steps = range(0, SIDE - 20, 20)
    boxes = [
        shapely.box(PLACE.left + 10 * x, PLACE.top - 10 * (y + 14), PLACE.left + 10 * (x + 14),
                    PLACE.top - 10 * y)
        for y in steps for x in steps
    ]  # fmt: skip
    parcels = gpd.GeoDataFrame({"id": range(len(boxes))}, geometry=boxes, crs=PLACE.crs)
    samples = cubecrop.sample_pixel_sets(cube, parcels, n_pixels=30).compute()
    assert set(counted.decoded.values()) == {1}
    # And the sets are those of a cube in memory.
    again = cubecrop.sample_pixel_sets(cube.compute(), parcels, n_pixels=30)
    for name, variable in (("sentinel2", "reflectance"), ("sentinel1", "backscatter")):
        for key in (variable, "valid"):
            np.testing.assert_array_equal(samples[name][key].values, again[name][key].values)


def test_no_float_cube_is_made_for_parcels(archive, monkeypatch):
    from cubecrop.cube.stack import DateStack

    def refuse(self):
        raise AssertionError("all values of a chunk were made for some pixels of it")

    monkeypatch.setattr(DateStack, "values", refuse)
    parcels = gpd.GeoDataFrame({"id": [1]}, geometry=[area(PLACE).iloc[0]], crs=PLACE.crs)
    samples = cubecrop.sample_pixel_sets(opened(archive, chunks=100), parcels).compute()
    assert samples["sentinel2/valid"].any()


def test_a_file_whose_blocks_are_on_the_shelf_is_not_opened(archive, counted):
    opened(archive, chunks=16)["sentinel2/reflectance"].compute(scheduler="sync")
    # 225 chunks a file; a block of 20 m spans 64 pixels, a file of 150 pixels three of them.
    masks = {href: n for href, n in counted.opened.items() if href.endswith("SCL.tif")}
    assert max(masks.values()) <= 4 * 3
    assert max(counted.opened.values()) <= 8 * 5


def test_what_does_not_fit_in_memory_goes_to_a_file(archive, counted, tmp_path):
    with dask.config.set({"temporary-directory": str(tmp_path)}):
        cube = opened(archive, chunks=64)
        for shelf in shelves(cube):
            shelf._memory = 20_000
        sizes = []
        parts = [
            cube["sentinel2/reflectance"].data.blocks[0, 0, y, x]
            for y in range(4)
            for x in range(4)
        ]
        for part in parts:
            part.compute(scheduler="sync")
            sizes.append(shelves(cube)[0].held)
    assert max(spooled for _, spooled in sizes) > 0
    assert max(held for held, _ in sizes) <= 20_000
    assert sizes[-1] == (0, 0)
    assert set(counted.decoded.values()) == {1}
    assert not list(tmp_path.iterdir())  # the file has no name: no kill leaves it behind


def test_a_cube_can_be_computed_again(archive, counted):
    cube = opened(archive, chunks=64)["sentinel2/reflectance"]
    first, second = cube.compute(), cube.compute()
    np.testing.assert_array_equal(first, second)
    assert set(counted.decoded.values()) == {2}


def test_one_chunk_reads_no_block_that_it_does_not_meet(archive, counted):
    cube = opened(archive, chunks=64)
    cube["sentinel2/reflectance"].data.blocks[0, 0, 0, 0].compute()
    for href, y, x in counted.decoded:
        reach = 70 if href.endswith("SCL.tif") else 64  # the margin of a cloud
        factor = 1 if href.split("/")[-1][:3] in {"B02", "B03", "B04", "B08"} else 2
        assert y * BLOCK * factor < reach
        assert x * BLOCK * factor < reach


def test_a_cube_can_be_computed_after_a_failure(archive, tmp_path, small_units):
    import shutil

    copy = shutil.copytree(archive, tmp_path / "copy")
    victim = next((copy / "sentinel-2-l2a").glob("1-west/B08.tif"))
    sound = victim.read_bytes()
    victim.write_bytes(sound[: len(sound) // 2])
    cube = opened(copy, chunks=64)["sentinel2/reflectance"]
    for _ in range(2):
        with pytest.raises(ReadError, match="'B08' of item '1-west'"):
            cube.compute()
    victim.write_bytes(sound)
    np.testing.assert_array_equal(cube.compute(), plain(archive)[0])


# The shelf


def test_a_thread_waits_for_a_block_that_another_decodes():
    shelf, place = Shelf(10**6, chunks=4), Window(0, 0, 2, 2)
    _, mine, _ = shelf.claim((0, 0), (0, 0, 0), [(0, 0)])
    assert mine == [(0, 0)]
    got = []

    def other():
        found, mine, theirs = shelf.claim((0, 1), (0, 0, 0), [(0, 0)])
        assert not found
        assert not mine
        shelf.wait((0, 0, 0), theirs)
        got.extend(shelf.claim((0, 1), (0, 0, 0), theirs)[0])

    thread = threading.Thread(target=other)
    thread.start()
    shelf.put((0, 1), (0, 0, 0), (0, 0), place, np.ones((2, 2), np.uint16))
    shelf.release((0, 0, 0), [(0, 0)])
    thread.join(timeout=10)
    assert got[0][0] == place
    assert shelf.held == (0, 0)


def test_a_pickled_shelf_is_the_same_shelf():
    shelf = Shelf(10**6, chunks=4)
    assert pickle.loads(pickle.dumps(shelf)) is shelf
    shelf.put((0, 0), (0, 0, 0), (0, 0), Window(0, 0, 1, 1), np.ones((1, 1)))
    shelf.end((0, 0))
    assert shelf.held == (0, 0)


def test_a_full_disk_costs_a_second_decoding_and_no_pixel(archive, counted, monkeypatch):
    from cubecrop.cube import shelf as module

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.tempfile, "TemporaryFile", full)
    cube = opened(archive, chunks=64)
    for shelf in shelves(cube):
        shelf._memory = 0
    np.testing.assert_array_equal(cube["sentinel2/reflectance"].values, plain(archive)[0])
    assert max(counted.decoded.values()) > 1


def test_a_full_file_system_is_noticed_when_a_part_is_kept(monkeypatch):
    """Not when it is taken, as a buffer would."""
    shelf = Shelf(0, chunks=4)
    one, place = np.arange(4, dtype=np.uint16).reshape(2, 2), Window(0, 0, 2, 2)
    shelf.put((0, 0), (0, 0, 0), (0, 0), place, one)
    segment = shelf._spool._last

    class Full:
        seek, read, truncate = segment.file.seek, segment.file.read, segment.file.truncate

        def write(self, _):
            raise OSError(28, "No space left on device")

    segment.file = Full()
    shelf.put((0, 0), (0, 0, 0), (0, 1), place, one)
    found, mine, _ = shelf.claim((0, 0), (0, 0, 0), [(0, 0), (0, 1)])
    assert len(found) == 1
    np.testing.assert_array_equal(found[0][1], one)
    assert mine == [(0, 1)]


def test_a_part_that_cannot_be_read_back_is_decoded_again(monkeypatch):
    shelf, key = Shelf(0, chunks=4), (0, 0, 0)
    shelf.put((0, 0), key, (0, 0), Window(0, 0, 1, 1), np.ones((1, 1)))
    monkeypatch.setattr(shelf._spool, "read", lambda _: None)
    assert shelf.claim((0, 0), key, [(0, 0)]) == ([], [(0, 0)], [])
    shelf.release(key, [(0, 0)])

    def broken(_):
        raise MemoryError

    shelf.put((0, 0), key, (0, 1), Window(0, 0, 1, 1), np.ones((1, 1)))
    monkeypatch.setattr(shelf._spool, "read", broken)
    with pytest.raises(MemoryError):
        shelf.claim((0, 0), key, [(0, 1), (0, 2)])
    # Nobody waits for what was not decoded.
    assert shelf.claim((0, 1), key, [(0, 1), (0, 2)]) == ([], [(0, 1), (0, 2)], [])


def test_a_file_that_was_replaced_meanwhile_is_read_anew(archive, tmp_path, small_units):
    import shutil

    copy = shutil.copytree(archive, tmp_path / "copy")
    cube = opened(copy, chunks=64)["sentinel2/reflectance"]
    before = cube.data.blocks[0, 0, 0, 0].compute()
    for path in copy.rglob("B05.tif"):
        with rasterio.open(path, "r+") as file:
            file.write(np.where(file.read() > 0, 5000, 0).astype(np.uint16))
    after = cube.values[:, SENTINEL2_BANDS.index("B05")]
    np.testing.assert_array_equal(after[np.isfinite(after)], np.float32(0.4))
    assert (before[:, SENTINEL2_BANDS.index("B05")] != 0.4).any()


def test_a_small_area_keeps_no_whole_blocks(tmp_path):
    """Of one chunk, in a block of a file that is much larger."""
    place = Place(height=512, width=512)
    folder = write_archive(tmp_path, [Optical(when=DAYS[0], place=place, dn=noise)])
    for path in folder.rglob("B0[2348].tif"):
        with rasterio.open(path) as file:
            values, profile = file.read(), file.profile
        path.unlink()
        with rasterio.open(path, "w", **(profile | {"blockxsize": 512, "blockysize": 512})) as file:
            file.write(values)
    aoi = area(place, rows=slice(0, 20), columns=slice(0, 20))
    cube = open_season(aoi, 2018, archive=folder)["sentinel2/reflectance"]
    (series,) = dask.compute(lost_scenes.readings_of(cube.data))
    for plane in series.planes[0]:
        base = plane.values if plane.values.base is None else plane.values.base
        assert base.nbytes <= 2 * plane.values.nbytes


def test_bad_blocks_beside_a_chunk_do_not_lose_it(tmp_path):
    """Where small blocks are read together."""
    place = Place(height=96, width=96)
    folder = write_archive(tmp_path, [Optical(when=DAYS[0], id="one", place=place, dn=noise)])
    path = next(folder.rglob("B02.tif"))
    in_blocks(path)
    with rasterio.open(path) as file:
        sound = file.read(1)
    content = path.read_bytes()
    path.write_bytes(content[:-200])  # the last block's end
    cube = opened_small(folder, place)
    whole = cube["sentinel2/status"].values[0]
    assert (whole[:32, :32] == Status.CLEAR).all()
    assert (whole[64:, 64:] == Status.LOST).all()
    values = cube["sentinel2/reflectance"].values[0, 0, :32, :32]
    np.testing.assert_array_equal(values, (sound[:32, :32] * 1e-4 - 0.1).astype(np.float32))


def opened_small(folder, place):
    return open_season(area(place), 2018, archive=folder, chunks=32, on_error="lost")
