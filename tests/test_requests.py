"""Requests for a whole cube: each file's header once, and each block once."""

from collections import defaultdict

import dask
import numpy as np
import pytest
import rasterio
from cubes import area
from servers import Faulty, over_http

from cubecrop.cube import AsyncBackend, RasterioBackend, open_season
from cubecrop.testing import Optical, Place, write_archive

SIDE, BLOCK = 512, 256
PLACE = Place(height=SIDE, width=SIDE)
DAYS = [f"2018-06-{day:02d}T10:56:21Z" for day in (1, 6, 11)]


def rough(x, _):
    """Numbers that do not compress, so that a block is larger than what comes with a header."""
    return np.random.default_rng(0).integers(1001, 9000, x.shape)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    scenes = [Optical(when=day, dn=rough, place=PLACE) for day in DAYS]
    folder = write_archive(tmp_path_factory.mktemp("archive"), scenes)
    for path in folder.rglob("*.tif"):
        with rasterio.open(path) as file:
            values, profile = file.read(), file.profile
        path.unlink()
        side = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK}
        with rasterio.open(path, "w", **(profile | side)) as file:
            file.write(values)
    return folder


@pytest.fixture
def server(archive):
    with Faulty(archive) as one:
        yield one


def asked(server):
    """Requests of each file: (method, first byte, bytes)."""
    found = defaultdict(list)
    for method, path, wanted in server.asked:
        first, _, last = (wanted or "bytes=0-0").removeprefix("bytes=").partition("-")
        found[path].append((method, int(first), int(last) - int(first) + 1))
    return found


def whole(path, server):
    """Blocks of a file, and its bytes."""
    full = server.root / path.lstrip("/")
    with rasterio.open(full) as file:
        return len(list(file.block_windows(1))), full.stat().st_size


BACKENDS = [(RasterioBackend, ["HEAD"]), (AsyncBackend, [])]  # GDAL asks for the size first


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(("backend", "before"), BACKENDS)
def test_a_header_and_a_block_are_asked_for_once(
    archive, server, tmp_path, backend, before, workers
):
    if backend is AsyncBackend:
        pytest.importorskip("obstore", reason="`pip install 'cubecrop[async]'`")
    source = over_http(archive, tmp_path, server.url)
    options = {"modalities": ("sentinel2",), "backend": backend()}
    cube = open_season(area(PLACE), 2018, archive=source, chunks=BLOCK, **options)
    with dask.config.set(scheduler="threads", num_workers=workers):
        values = cube["sentinel2/reflectance"].values
    assert np.isfinite(values).all()
    found = asked(server)
    assert len(found) == 3 * 11
    for path, requests in found.items():
        n_blocks, size = whole(path, server)
        ranges = [one for one in requests if one[0] == "GET"]
        assert [method for method, *_ in requests] == before + ["GET"] * len(ranges)
        assert sum(first == 0 for _, first, _ in ranges) == 1
        assert len(ranges) <= 1 + n_blocks
        assert sum(length for *_, length in ranges) < 1.1 * size + 2**14
