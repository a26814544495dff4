"""Search, cube and classification over HTTP: real servers on loopback, healthy and failing."""

import json
import os
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from catalogues import C1, CDSE, L2A, PC, in_form_of, made_archive, write_catalogue
from postgres import why_not
from samples import make_samples
from servers import Faulty, nginx, stac_api

import cubecrop
from cubecrop.archive import PROVIDERS, StacApiArchive, open_archive
from cubecrop.cube import access
from cubecrop.errors import ReadError
from cubecrop.schema import Access, Status
from cubecrop.training import TrainConfig, fit

# Over the corner of four blocks of 10 m bands.
AOI = gpd.GeoSeries([shapely.box(502_360, 5_627_250, 502_760, 5_627_650)], crs=32631)
OPTICAL = "S2A_MSIL2A_20180615T105621_R051_T31UES"
SENSORS = ("sentinel2", "sentinel1")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("served") / "root"


@pytest.fixture(scope="module")
def folder(root):
    return made_archive(root / "archive")


@pytest.fixture(scope="module")
def on_disk(folder):
    return cubecrop.open_season(AOI, 2018, archive=folder).load()


@pytest.fixture(scope="module")
def model():
    samples, labels = make_samples()
    config = TrainConfig(epochs=1, may_be_missing=("sentinel1",))
    # Of another season's dates: what this archive covers is not what is tested here.
    return replace(fit(samples, labels, config=config, progress=False), coverage={})


@pytest.fixture(scope="module")
def web(root, folder, tmp_path_factory):
    with nginx(root, tmp_path_factory.mktemp("nginx") / "") as server:
        yield server


@pytest.fixture
def failing(root, folder, monkeypatch):
    """A server that fails, with less patience on our side than users have."""
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    monkeypatch.setattr(access, "_DELAY", 0.05)
    with Faulty(root) as server:
        yield server


@pytest.fixture
def apis(tmp_path, request):
    """Give the address of a STAC API with some items: of pgstac, or of rustac."""
    with ExitStack() as stack:

        def start(name, items):
            files = write_catalogue(tmp_path, items)
            if name == "pgstac":
                return request.getfixturevalue("pgstac").hold(*files)
            return stack.enter_context(stac_api(*files))

        yield start


@pytest.fixture
def api(apis):
    """The same of the whole server, where it can run."""
    return lambda items: apis("rustac" if why_not() else "pgstac", items)


def same(cube, expected, children=("sentinel2", "sentinel1", "terrain")):
    for child in children:
        assert child in cube.children
        for name, values in expected[child].dataset.data_vars.items():
            np.testing.assert_array_equal(cube[child][name], values, err_msg=f"{child}/{name}")


FORMS = [PC, C1, L2A, CDSE]
#: All forms through one server, and one through the other.
CASES = [("pgstac", PC), *(("rustac", form) for form in FORMS)] if why_not() else [
    *(("pgstac", form) for form in FORMS), ("rustac", PC),
]  # fmt: skip


@pytest.mark.parametrize(
    ("api_name", "form"), CASES, ids=[" ".join((name, *form)) for name, form in CASES]
)
def test_every_catalogue_gives_the_cube_that_the_disk_gives(
    api_name, form, folder, root, web, apis, on_disk, model
):
    """Raw DN, declared offset, shifted files and JPEG 2000: one reflectance, bit for bit."""
    items = in_form_of(folder, form, root, f"{web.url}/files")
    source = open_archive(apis(api_name, items), provider=form[0])
    found = cubecrop.search(AOI, 2018, archive=source)
    assert [s.collection for s in found.of("sentinel2")] == [form[1]] * 4
    chunks = 40 if form == CDSE else 24  # a chunk of JPEG 2000 decodes whole files
    cube = cubecrop.open_season(AOI, 2018, archive=source, chunks=chunks).load()
    children = {PC: ("sentinel2", "sentinel1", "terrain"), CDSE: ("sentinel2",)}
    same(cube, on_disk, children.get(form, ("sentinel2", "terrain")))
    assert np.isfinite(cube["sentinel2/reflectance"]).mean() > 0.3
    here = cubecrop.classify(AOI, 2018, archive=source, model=model).compute()
    if form == PC:
        local = cubecrop.classify(AOI, 2018, archive=folder, model=model).compute()
        np.testing.assert_array_equal(here["crop_type"], local["crop_type"])
    assert (here["crop_type"] != 255).mean() > 0.9
    statuses = {status for *_, status, _ in web.asked()}
    assert statuses <= {"200", "206"}


def test_a_parcel_costs_a_header_and_the_blocks_that_meet_it(folder, root, api, tmp_path):
    """2 ha over a season: of each file its size, its header, and one range of its block."""
    parcel = gpd.GeoSeries([shapely.box(502_300, 5_628_000, 502_440, 5_628_140)], crs=32631)
    with nginx(root, tmp_path) as web:  # a server that nothing is remembered of
        items = in_form_of(folder, PC, root, f"{web.url}/files")
        source = open_archive(api(items), provider=PC[0])
        cube = cubecrop.open_season(parcel, 2018, archive=source, modalities=("sentinel2",))
        assert not web.asked()  # building reads nothing
        found = cube["sentinel2"].to_dataset().compute()
        requests = web.asked()
    asked = {}
    for method, path, status, wanted in requests:
        asked.setdefault(path, []).append((method, status, wanted))
    seen = int((found["status"] == Status.CLEAR).any(("y", "x")).sum())
    assert seen >= 2
    assert len(asked) == 4 + 10 * seen  # no band of a date that is all cloud
    for path, found in asked.items():
        # The parcel lies in one block of each file. What came with the header is not asked
        # for again, so that a small file may be done after it.
        assert [method for method, *_ in found] in (["HEAD", "GET"], ["HEAD", "GET", "GET"]), path
        assert found[1][2].startswith("bytes=0-")


ENDPOINT = "CUBECROP_TEST_TOKENS"
_KEPT = {}


def signed(href, *, renew=False):
    """A signer that keeps its token until it is refused."""
    if renew or "token" not in _KEPT:
        with urllib.request.urlopen(f"{os.environ[ENDPOINT]}/token?s=1.5") as answer:
            _KEPT["token"] = answer.read().decode()
    return f"{href}?{_KEPT['token']}"


def test_tokens_are_asked_for_where_files_are_opened_and_renewed(
    folder, root, web, failing, api, on_disk, monkeypatch
):
    monkeypatch.setenv(ENDPOINT, failing.url)
    _KEPT.clear()
    row = replace(PROVIDERS["planetary-computer"].searching(), access=Access(signer=signed))
    items = in_form_of(folder, PC, root, f"{web.url}/signed")
    source = StacApiArchive(api(items), row)
    cube = cubecrop.open_season(AOI, 2018, archive=source, chunks=32)
    assert failing.tokens == 0  # nothing is signed while the graph is built
    half = cube["sentinel2"].to_dataset().isel(y=slice(0, 32)).compute()
    assert failing.tokens >= 1
    before = failing.tokens
    time.sleep(2.6)
    web.asked()
    cube = cube.load()
    assert failing.tokens > before
    assert "403" in {status for *_, status, _ in web.asked()}
    same(cube, on_disk)
    np.testing.assert_array_equal(half["status"], on_disk["sentinel2/status"][:, :32])


def test_a_signature_that_is_refused_again_names_the_asset(folder, root, web, api, failing):
    row = replace(PROVIDERS["planetary-computer"].searching(), access=Access(signer=unsigned))
    items = in_form_of(folder, PC, root, f"{web.url}/signed")
    cube = cubecrop.open_season(AOI, 2018, archive=StacApiArchive(api(items), row))
    with pytest.raises(ReadError, match=r"asset 'SCL' of item 'S2A_.*403.*denies access") as caught:
        cube["sentinel2/status"].compute()
    assert "sig=" not in str(caught.value)


def unsigned(href, *, renew=False):
    return f"{href}?sig=wrong&expires=1"


def from_failing(folder, root, failing, api):
    items = in_form_of(folder, PC, root, f"{failing.url}/files")
    return open_archive(api(items), provider=PC[0])


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(status, folder, root, failing, api, on_disk):
    failing.fault = lambda number, path: status if number % 5 == 0 else None
    cube = cubecrop.open_season(AOI, 2018, archive=from_failing(folder, root, failing, api)).load()
    same(cube, on_disk)
    assert len(failing.failed) == -(-len(failing.asked) // 5)


def test_an_answer_that_breaks_off_is_requested_again(folder, root, failing, api, on_disk):
    """The first bytes of every file stop in their middle once, which GDAL does not try again."""
    asked = Counter()

    def fault(number, path):
        asked[path] += 1
        return "break" if asked[path] == 2 else None  # the first request is for the size

    failing.fault = fault
    source = from_failing(folder, root, failing, api)
    cube = cubecrop.open_season(AOI, 2018, archive=source, modalities=SENSORS).load()
    same(cube, on_disk, SENSORS)
    assert {method for method, *_ in failing.failed} == {"GET"}
    assert len(failing.failed) == len({path for _, path, _ in failing.asked})


def test_a_request_that_hangs_is_retried(folder, root, failing, api, on_disk, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "1")
    failing.fault = lambda number, path: "hang" if number in {3, 30} else None
    source = from_failing(folder, root, failing, api)
    cube = cubecrop.open_season(AOI, 2018, archive=source, modalities=SENSORS).load()
    same(cube, on_disk, SENSORS)
    assert failing.given_up == len(failing.failed) == 2


FAULTS = {"hangs": "hang", "truncated": "cut", "missing": 404, "forbidden": 403}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_stays_broken_is_named_and_never_zeros(
    fault, folder, root, failing, api, model, monkeypatch, tmp_path
):
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "1")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "1")
    failing.fault = lambda number, path: (
        FAULTS[fault] if OPTICAL in path and path.endswith("B8A.tif") else None
    )
    source = from_failing(folder, root, failing, api)
    cube = cubecrop.open_season(AOI, 2018, archive=source, modalities=SENSORS)
    failing.asked.clear()
    with pytest.raises(ReadError, match=f"asset 'B8A' of item '{OPTICAL}' cannot be read"):
        cube["sentinel2/reflectance"].compute()
    asked = [path for _, path, _ in failing.asked if OPTICAL in path and "B8A" in path]
    if fault in {"missing", "forbidden"}:
        assert len(asked) <= 3  # not asked again for what is not there
    else:
        assert len(asked) > 2
    if fault == "hangs":  # and none of them waited for until the server let it go
        assert failing.given_up == len(failing.failed) > 0
    if fault == "missing":
        lazy = cubecrop.classify(AOI, 2018, archive=source, model=model)
        out = cubecrop.write_map(lazy, tmp_path / "map", max_lost=0.2, progress=False)
        (lost,) = json.loads((out / "item.json").read_text())["properties"]["cubecrop:lost"]
        assert (lost["item"], lost["asset"]) == (OPTICAL, "B8A")
        assert "404" in lost["error"]
        rest = [item for item in in_form_of(folder, PC, root, str(root)) if item["id"] != OPTICAL]
        path = root / "rest.json"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": rest}))
        expected = cubecrop.classify(AOI, 2018, archive=path, model=model)["crop_type"]
        with rasterio.open(out / "crop_type.tif") as file:
            np.testing.assert_array_equal(file.read(1), expected)
        cube = cubecrop.open_season(
            AOI, 2018, archive=source, modalities=("sentinel2",), on_error="lost"
        )
        assert (cube["sentinel2/status"].isel(time=2).compute() == Status.LOST).all()


def test_sixteen_files_are_read_at_once(folder, root, failing, api, on_disk):
    source = from_failing(folder, root, failing, api)
    cube = cubecrop.open_season(AOI, 2018, archive=source, modalities=("sentinel2",))
    # Bands, of which there are forty; masks, which come first, are four.
    failing.gathered = lambda path: "/B" in path
    same(cube.load(), on_disk, ("sentinel2",))
    assert failing.together == 16


def test_cdse_asks_for_its_keys_and_reads_with_them(folder, root, failing, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    items = in_form_of(folder, CDSE, root, "s3://eodata")
    path = root / "cdse.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    (root / "eodata").symlink_to(root, target_is_directory=True)
    cube = cubecrop.open_season(AOI, 2018, archive=path, modalities=("sentinel2",))
    with pytest.raises(ReadError, match=r"AWS_ACCESS_KEY_ID.*eodata-s3keysmanager"):
        cube["sentinel2/status"].compute()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "up")
    monkeypatch.setenv("AWS_S3_ENDPOINT", failing.url.removeprefix("http://"))
    monkeypatch.setenv("AWS_HTTPS", "NO")
    expected = cubecrop.open_season(AOI, 2018, archive=folder, modalities=("sentinel2",)).load()
    same(cube.load(), expected, ("sentinel2",))
    assert all(path.startswith("/eodata/") for _, path, _ in failing.asked)
