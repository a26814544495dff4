"""Files of an HTTP server read with obstore give the same cube as from disk, or an error."""

import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from cubes import area, noise
from servers import Faulty, nginx, over_http, signature

from cubecrop.cube import AsyncBackend, access, async_backend, open_season
from cubecrop.cube.async_backend import open_with_obstore
from cubecrop.errors import MissingExtraError, ReadError
from cubecrop.testing import Optical, Place, Radar, write_archive

pytest.importorskip("obstore", reason="`pip install 'cubecrop[async]'`")

PLACE = Place(height=300, width=300)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A scene in strips that are not compressed, a cloudy one, one of another zone, and radar."""
    clouds = np.where(np.arange(150) // 50 == 1, 9, 4)[:, None].repeat(150, axis=1)
    scenes = [
        Optical(when="2018-06-01T10:56:21Z", dn=noise, place=PLACE),
        Optical(when="2018-06-06T10:56:21Z", dn=noise, scl=clouds.astype(np.uint8), place=PLACE),
        Optical(
            when="2018-06-11T10:56:21Z",
            dn=noise,
            place=replace(PLACE, crs="EPSG:32632", left=80_000),
        ),
        Radar(when="2018-06-02T17:40:42Z", vv=0.1, vh=0.02, place=PLACE),
    ]
    folder = write_archive(tmp_path_factory.mktemp("archive") / "archive", scenes)
    for path in folder.rglob("*20180601*/B0*.tif"):
        with rasterio.open(path) as file:
            values, profile = file.read(), file.profile
        path.unlink()
        for key in ("blockxsize", "blockysize", "compress", "predictor", "tiled"):
            profile.pop(key, None)
        with rasterio.open(path, "w", **profile) as file:
            file.write(values)
    return folder


@pytest.fixture
def server(archive, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "5")
    monkeypatch.setattr(access, "_DELAY", 0.05)
    with Faulty(archive) as one:
        yield one


def opened(source, **options):
    return open_season(area(PLACE), 2018, archive=source, **options)


def same(cube, archive):
    expected = opened(archive)
    for path in ("sentinel2/reflectance", "sentinel2/status", "sentinel1/backscatter"):
        np.testing.assert_array_equal(cube[path].values, expected[path].values)


@pytest.mark.parametrize("chunks", [None, 100])
def test_the_cube_is_that_of_the_disk(archive, server, tmp_path, chunks):
    source = over_http(archive, tmp_path, server.url)
    same(opened(source, chunks=chunks, backend=AsyncBackend()), archive)
    assert {method for method, *_ in server.asked} == {"GET"}
    assert all(wanted for *_, wanted in server.asked)


def test_a_header_longer_than_the_first_request_is_read_completely(
    archive, server, tmp_path, monkeypatch
):
    monkeypatch.setattr(async_backend, "_PAGE", 200)
    source = over_http(archive, tmp_path, server.url)
    found = opened(source, backend=AsyncBackend())["sentinel2/reflectance"].values
    expected = opened(archive)["sentinel2/reflectance"].values
    np.testing.assert_array_equal(found, expected)
    assert max(Counter(server.asked).values()) == 1  # and no part of one twice


@pytest.mark.parametrize("fault", [429, 503, "break", "hang"])
def test_a_server_in_trouble_is_asked_again(archive, server, tmp_path, fault):
    def some(number, path):
        """Three requests of three files: a file that fails three times is given up."""
        failed = {path for _, path, _ in server.failed}
        is_due = len(failed) < 3 and number >= (3, 20, 30)[len(failed)]
        return fault if is_due and path not in failed else None

    server.fault = some
    source = over_http(archive, tmp_path, server.url)
    same(opened(source, backend=AsyncBackend()), archive)
    assert len(server.failed) == 3


@pytest.mark.parametrize(("fault", "says"), [(404, "404"), (503, "503"), ("cut", "416|shorter")])
@pytest.mark.parametrize("since", [0, 1])
def test_a_failed_request_is_an_error_and_never_zeros(
    archive, server, tmp_path, fault, says, since, monkeypatch
):
    """Above all of a file that is not compressed, whose header came."""
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "1")
    asked = Counter()

    def some(number, path):
        asked[path] += "20180601" in path and path.endswith("B03.tif")
        return fault if asked[path] > since else None

    server.fault = some
    source = over_http(archive, tmp_path, server.url)
    cube = opened(source, backend=AsyncBackend())
    with pytest.raises(ReadError, match=rf"asset 'B03' of item '\w+' cannot be read: .*({says})"):
        cube["sentinel2/reflectance"].compute()


def test_a_signature_goes_with_every_request(archive, tmp_path, tmp_path_factory):
    with nginx(archive, tmp_path_factory.mktemp("nginx") / "") as web:
        url = f"{web.url}/signed/{one_of(archive)}"
        with pytest.raises(OSError, match="403"), open_with_obstore(url, {}):
            pass
        with open_with_obstore(f"{url}?{signature(60)}", {}) as file:
            found = file.read(1)
    with rasterio.open(archive / one_of(archive)) as local:
        np.testing.assert_array_equal(found, local.read(1))


def one_of(archive):
    return next(archive.rglob("*20180606*/B02.tif")).relative_to(archive)


def test_no_sidecar_file_is_requested(archive, server):
    looking = rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="FALSE")
    with looking, open_with_obstore(f"{server.url}/{one_of(archive)}", {}) as file:
        assert file.read_masks(1).shape == file.read(1).shape
    assert len({path for _, path, _ in server.asked}) == 1


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingExtraError, match=r"cubecrop\[async\]"):
        AsyncBackend()
