"""A cube request is a value: it can be compared, pickled and opened elsewhere."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from cubes import PLACE, area
from dask.base import tokenize

from cubecrop.archive import StacApiArchive, open_archive
from cubecrop.cube import CloudMask, CubeRequest, open_season
from cubecrop.errors import ArchiveError, SchemaError, SeasonError
from cubecrop.season import Season
from cubecrop.testing import forbid_compute

AOI = area(PLACE)


def nothing_masked(scl, resolution):
    return np.zeros(scl.shape, bool)


def again(request):
    return pickle.loads(pickle.dumps(request))


OPTIONS = {
    "plain": {},
    "all": {
        "modalities": ("sentinel2", "weather"), "resolution": 20, "crs": 32631, "chunks": 16,
        "memory": 1e9, "composite": "month", "on_error": "lost",
        "clouds": CloudMask(function=nothing_masked, halo=0),
    },
}  # fmt: skip


@pytest.mark.parametrize("opened", [False, True], ids=["by name", "opened"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_pickled_request_opens_the_same_cube(archive, options, opened):
    source = open_archive(archive) if opened else archive
    request = CubeRequest(season=2018, archive=source, **options)
    other = again(request)
    assert other == request
    assert hash(other) == hash(request)
    assert tokenize(other) == tokenize(request)
    with forbid_compute():
        one, two, by_keywords = (
            request.open(AOI), other.open(AOI),
            open_season(AOI, 2018, archive=source, **options),
        )  # fmt: skip
    for cube in (two, by_keywords):
        assert cube.attrs == one.attrs
        assert list(cube.children) == list(one.children)
        for name in one.children:
            assert tokenize(cube[name].dataset) == tokenize(one[name].dataset)
    xr.testing.assert_identical(one.compute(), two.compute())


def test_options_that_mean_the_same_make_equal_requests(archive):
    one = CubeRequest(season=2018, archive=archive, crs="EPSG:32631", chunks=16)
    two = CubeRequest(
        season=np.int64(2018), archive=archive, crs=np.int32(32631), chunks=np.int16(16),
        resolution=np.float32(10), modalities=iter(one.modalities),
    )  # fmt: skip
    assert one == two
    assert hash(one) == hash(two)
    assert len({one, two, replace(one, chunks=17), replace(one, season=Season(2018))}) == 3
    assert one != replace(one, archive=open_archive(archive))


def test_an_api_is_not_asked_until_the_cube_is_opened():
    request = CubeRequest(season=2018, archive="earth-search", weather="arco-era5")
    opened = request.opened()
    assert isinstance(opened.archive, StacApiArchive)
    assert opened.weather == "arco-era5"
    assert again(opened) == opened
    assert opened.opened() == opened


def test_weather_of_another_archive_is_opened(archive):
    request = CubeRequest(season=2018, archive=archive, weather=str(archive))
    assert request.opened().weather == open_archive(str(archive))
    with pytest.raises(ArchiveError, match="weather='nowhere' is not a weather source"):
        replace(request, weather="nowhere").opened()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"season": "2018"}, SeasonError, "harvest year is '2018'"),
        ({"archive": 5}, ArchiveError, "archive is a int"),
        ({"modalities": ("s2",)}, SchemaError, "modalities is"),
        ({"resolution": 0}, SchemaError, "resolution is 0"),
        ({"crs": "EPSG:4326"}, SchemaError, "crs is 'EPSG:4326'"),
        ({"chunks": "auto"}, SchemaError, "chunks, the side of a chunk"),
        ({"memory": 1e3}, SchemaError, "memory, bytes a thread"),
        ({"composite": "week"}, SchemaError, "composite is 'week'"),
        ({"clouds": "none"}, SchemaError, "clouds is 'none'"),
        ({"backend": "odc"}, SchemaError, "backend is 'odc'"),
        ({"on_error": "skip"}, SchemaError, "on_error is 'skip'"),
        ({"weather": 5}, ArchiveError, "weather is 5"),
        ({"weather": "arco-era5", "modalities": ("sentinel2",)}, SchemaError, "Add 'weather'"),
        ({"weather": "ftp://host/a.zarr"}, ArchiveError, "weather is at"),
    ],
)
def test_every_option_is_checked(options, error, message):
    with pytest.raises(error, match=message):
        CubeRequest(**{"season": 2018, "archive": "not opened", **options})


def test_a_request_is_not_changed(archive):
    request = CubeRequest(season=2018, archive=archive)
    with pytest.raises(AttributeError):
        request.resolution = 20
    with pytest.raises((AttributeError, TypeError)):
        request.unknown = 1
