"""Calls that name no archive: one's own, or the first public one that answers and has the season.

The public names lead to STAC APIs on loopback, whose items have the providers' forms.
"""

import datetime as dt
import functools
import json
import re
import shutil
import socket
import time
import warnings
from contextlib import ExitStack
from dataclasses import replace

import geopandas as gpd
import numpy as np
import platformdirs
import pytest
import rasterio
import shapely
from catalogues import C1, PC, PLACE, in_form_of, made_archive, write_catalogue
from samples import make_samples
from servers import Faulty, free_port, giving_tokens, stac_api
from test_providers import ITEMS, load

import cubecrop
from cubecrop import cli, region
from cubecrop.aoi import parse_aoi
from cubecrop.archive import PROVIDERS, api, chosen, settings
from cubecrop.archive.signing import sign_planetary_computer
from cubecrop.errors import ArchiveError, NoScenesError
from cubecrop.nomenclature import NOT_CROPLAND
from cubecrop.schema import Access
from cubecrop.testing import LandCover, Place
from cubecrop.training import TrainConfig, fit

BLOBS = "https://sentinel2l2a01.blob.core.windows.net"
SQUARE = gpd.GeoSeries([shapely.box(502_360, 5_627_250, 502_760, 5_627_650)], crs=32631)
AOI = tuple(SQUARE.to_crs(4326).total_bounds.tolist())
PUBLIC = {"planetary-computer": PC, "earth-search": C1}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("public") / "root"


@pytest.fixture(scope="module")
def folder(root):
    return made_archive(root / "archive")


@pytest.fixture(scope="module")
def model():
    samples, labels = make_samples()
    config = TrainConfig(epochs=1, may_be_missing=("sentinel1",))
    # Of another season's dates: what this archive covers is not what is tested here.
    return replace(fit(samples, labels, config=config, progress=False), coverage={})


@pytest.fixture
def settings_folder(tmp_path, monkeypatch):
    """The folder of a user's settings, who has set nothing yet."""
    folder = tmp_path / "settings"
    folder.mkdir()
    monkeypatch.delenv(settings.VARIABLE, raising=False)
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: folder)
    return folder


@pytest.fixture
def files(root, folder, monkeypatch):
    """The files of both providers, and the service that gives tokens."""
    with giving_tokens(root, monkeypatch) as server:
        yield server


def signed_here(server, href, *, renew=False):
    """A signed address of the Planetary Computer's storage, moved to a server on loopback."""
    signed = sign_planetary_computer(href, renew=renew)
    assert "?sig=" in signed
    return signed.replace(f"{BLOBS}/s2", f"{server}/files")


class Public:
    """The public archives: ``up`` starts one, and ``refuses`` closes its port."""

    def __init__(self, stack, tmp_path, folder, root, files, monkeypatch):
        self.stack, self.folder, self.root, self.files = stack, folder, root, files
        self.tmp_path, self.monkeypatch = tmp_path, monkeypatch

    def items(self, name):
        home = f"{BLOBS}/s2" if name == "planetary-computer" else f"{self.files.url}/files"
        return in_form_of(self.folder, PUBLIC[name], self.root, home)

    def up(self, name, items=None):
        place = self.tmp_path / name
        place.mkdir(exist_ok=True)
        found = write_catalogue(place, self.items(name) if items is None else items)
        return self.at(name, self.stack.enter_context(stac_api(*found)))

    def refuses(self, *names):
        for name in names:
            self.at(name, f"http://127.0.0.1:{free_port()}")

    def at(self, name, url):
        row = replace(PROVIDERS[name], url=url)
        if name == "planetary-computer":
            signer = functools.partial(signed_here, self.files.url)
            row = replace(row, access=Access(signer=signer))
        self.monkeypatch.setitem(PROVIDERS, name, row)
        return url


@pytest.fixture
def public(tmp_path, folder, root, files, settings_folder, monkeypatch):
    with ExitStack() as stack:
        yield Public(stack, tmp_path, folder, root, files, monkeypatch)


def run(*arguments):
    cli.app([str(a) for a in arguments], exit_on_error=False, result_action="return_value")


def test_the_first_public_archive_that_answers_is_taken(public, folder, model, files):
    url = public.up("planetary-computer")
    public.refuses("earth-search")  # nobody asks it
    found = cubecrop.classify(AOI, 2018, model=model)
    assert found.attrs["archive"] == url
    expected = cubecrop.classify(AOI, 2018, archive=folder, model=model)
    np.testing.assert_array_equal(found["crop_type"], expected["crop_type"])
    assert (found["crop_type"] < len(model.nomenclature)).mean() > 0.9
    assert files.tokens
    cube = cubecrop.open_season(AOI, 2018)
    assert cube.attrs["archive"] == url
    assert {"sentinel2", "sentinel1", "terrain"} == set(cube.children)


def test_a_map_and_a_table_are_made_by_commands_without_an_archive(public, model, tmp_path, capsys):
    url = public.up("planetary-computer")
    model.save(tmp_path / "model")
    aoi = ",".join(map(str, AOI))
    run("classify", "--aoi", aoi, "--year", 2018, "--model", tmp_path / "model", "--out",
        tmp_path / "map")  # fmt: skip
    assert f"Archive: {url}" in capsys.readouterr().out.replace("\n", "")
    item = json.loads((tmp_path / "map" / "item.json").read_text())
    assert item["properties"]["cubecrop:archive"] == url
    run("search", "--aoi", aoi, "--year", 2018)
    assert url in capsys.readouterr().out
    parcels(3).to_parquet(tmp_path / "parcels.parquet")
    run("classify-parcels", tmp_path / "parcels.parquet", "--year", 2018, "--model",
        tmp_path / "model", "--out", tmp_path / "table.parquet")  # fmt: skip
    assert f"Archive: {url}" in capsys.readouterr().out.replace("\n", "")
    assert gpd.read_parquet(tmp_path / "table.parquet").attrs["archive"] == url


def parcels(n):
    left, _, _, top = PLACE.bounds
    corners = [(left + 400 + 200 * i, top - 800) for i in range(n)]
    shapes = [shapely.box(x, y, x + 100, y + 100) for x, y in corners]
    crops = ["maize" if i % 2 else "wheat" for i in range(n)]
    return gpd.GeoDataFrame({"id": range(n), "crop": crops}, geometry=shapes, crs=PLACE.crs)


def test_parcels_are_learnt_and_classified_without_an_archive(public, model):
    url = public.up("planetary-computer")
    table = parcels(6)
    learnt = cubecrop.train(
        table, "crop", 2018, sensors=("sentinel2",), config=TrainConfig(epochs=1), progress=False
    )
    assert learnt.training.archives == (url,)
    # A parcel far from the others does not decide which archive is taken.
    far = table.geometry.where(table["id"] != 3, shapely.box(900_000, 100, 900_100, 200))
    nowhere = table.assign(geometry=gpd.GeoSeries([None] * len(table), crs=PLACE.crs))
    assert (
        cubecrop.classify_parcels(nowhere, 2018, model=model, progress=False)["status"]
        .eq("no geometry")
        .all()
    )
    with pytest.raises(cubecrop.errors.ParcelError, match="too far apart"):
        cubecrop.classify_parcels(table.assign(geometry=far), 2018, model=model, progress=False)
    found = cubecrop.classify_parcels(table, 2018, model=model, progress=False)
    assert set(found["status"]) == {"predicted"}


def test_an_archive_that_refuses_is_passed_over_with_a_reason(public, model):
    public.refuses("planetary-computer")
    url = public.up("earth-search")
    start = time.monotonic()
    with pytest.warns(UserWarning, match=r"^earth-search is used.*planetary-computer: .*refused"):
        found = cubecrop.search(AOI, 2018)
    assert time.monotonic() - start < 5
    assert found.archive == url
    assert {scene.collection for scene in found.of("sentinel2")} == {"sentinel-2-c1-l2a"}


def test_an_archive_without_the_season_is_passed_over(public, model):
    """The first has radar of the season alone, which a search takes and this model does not."""
    pc = public.items("planetary-computer")
    first = public.up(
        "planetary-computer", [one for one in pc if one["collection"] == "sentinel-1-rtc"]
    )
    second = public.up("earth-search")
    assert cubecrop.search(AOI, 2018).archive == first
    with pytest.warns(UserWarning, match="planetary-computer: it has no sentinel2 of the area"):
        found = cubecrop.classify(AOI, 2018, model=model)
    assert found.attrs["archive"] == second


def with_unknown_baseline(items):
    """The items without what says whether their values have an offset."""
    strange = {"s2:processing_baseline": "unknown"}
    return [one | {"properties": one["properties"] | strange} for one in items]


def test_an_archive_whose_items_cannot_be_used_is_passed_over(public, model):
    public.up("planetary-computer", with_unknown_baseline(public.items("planetary-computer")))
    second = public.up("earth-search")
    with pytest.warns(UserWarning, match="item .* has an unknown processing baseline"):
        found = cubecrop.classify(AOI, 2018, model=model)
    assert found.attrs["archive"] == second


def test_items_that_cannot_be_used_are_no_fault_of_the_network(public, model):
    public.up("planetary-computer", with_unknown_baseline(public.items("planetary-computer")))
    public.up("earth-search", [])
    with pytest.raises(
        ArchiveError, match=r"(?s)unknown processing baseline.*has no sentinel2"
    ) as caught:
        cubecrop.classify(AOI, 2018, model=model)
    assert "network" not in str(caught.value)


def test_a_season_that_no_archive_has_is_an_error_that_lists_them(public):
    public.up("planetary-computer")
    public.up("earth-search")
    with pytest.raises(NoScenesError, match=r"(?s)2021.*planetary-computer \(http.*has no Sent"
                       r".*earth-search \(http.*Choose another area or year"):  # fmt: skip
        cubecrop.search(AOI, 2021)


def test_without_a_network_an_error_within_seconds_says_what_was_tried(public, model, tmp_path):
    public.refuses("planetary-computer", "earth-search")
    start = time.monotonic()
    with pytest.raises(ArchiveError) as caught:
        cubecrop.classify(AOI, 2018, model=model)
    assert time.monotonic() - start < 5
    told = str(caught.value)
    for name in PUBLIC:
        assert re.search(
            rf"{name} \({PROVIDERS[name].url}\): it did not answer \(Failed .* refused\)", told
        )
    assert "archive=..." in told
    assert "CUBECROP_ARCHIVE" in told
    assert "cubecrop.toml" in told


def test_archives_that_are_busy_or_hang_take_no_minutes(public, monkeypatch, tmp_path):
    monkeypatch.setattr(api, "_HASTY_TIMEOUT", (0.5, 0.5))
    start = time.monotonic()
    with Faulty(tmp_path) as busy, socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        busy.fault = lambda number, path: 503
        public.at("planetary-computer", busy.url)
        public.at("earth-search", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ArchiveError, match=r"(?s)503.*timed out"):
            cubecrop.search(AOI, 2018)
    assert time.monotonic() - start < 5
    assert len(busy.asked) == 2


def test_a_choice_is_answered_from_the_cache(public, tmp_path):
    with ExitStack() as stack:
        public.stack = stack
        url = public.up("planetary-computer")
        public.refuses("earth-search")
        online = cubecrop.search(AOI, 2018, cache=tmp_path / "cache")
    with warnings.catch_warnings(action="ignore"):  # empty answers are asked for again
        offline = cubecrop.search(AOI, 2018, cache=tmp_path / "cache")
    assert offline.archive == online.archive == url
    assert [scene.id for scene in offline] == [scene.id for scene in online]
    with pytest.raises(ArchiveError, match="no public archive"):
        cubecrop.search(AOI, 2018)


def test_ones_own_archive_is_named_for_good(public, folder, settings_folder, monkeypatch, tmp_path):
    public.refuses(*PUBLIC)
    file = settings_folder / "cubecrop.toml"
    file.write_text(f'archive = "{folder}"\n')
    assert cubecrop.search(AOI, 2018).archive == str(folder)
    other = shutil.copytree(folder, settings_folder / "own")
    file.write_text('archive = "own"\n')  # relative to the file
    assert cubecrop.search(AOI, 2018).archive == str(other)
    file.write_bytes(b'\xef\xbb\xbfarchive = " own "\r\n')  # as an editor on Windows writes it
    assert cubecrop.search(AOI, 2018).archive == str(other)
    monkeypatch.setenv(settings.VARIABLE, f" {folder}\n")  # wins over the file
    assert cubecrop.search(AOI, 2018).archive == str(folder)
    assert cubecrop.search(AOI, 2018, archive=other).archive == str(other)  # wins over both
    monkeypatch.setenv(settings.VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(ArchiveError, match=r"environment variable CUBECROP_ARCHIVE.*no archive at"):
        cubecrop.search(AOI, 2018)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('archive = "x"\nweather = \n', r"cubecrop\.toml cannot be read as TOML.*line 2"),
        ('archive = "C:\\Users\\me"\n', r"cannot be read as TOML.*backslashes in single quotes"),
        ('archives = "x"\n[weather]\n', r"cubecrop\.toml has the keys \['archives'\], expected"),
        ("archive = 3\n", r"cubecrop\.toml: archive is 3, expected text"),
        ('archive = ""\n', r"cubecrop\.toml: archive is '', expected text"),
        ('archive = "nowhere"\n', r"archive that .*cubecrop\.toml names: no archive at"),
        ('archive = "http://u:p@example.org"\n', r"cubecrop\.toml names: .*\.netrc"),
    ],
)
def test_settings_that_cannot_be_understood_are_named(settings_folder, text, told):
    (settings_folder / "cubecrop.toml").write_text(text)
    with pytest.raises(ArchiveError, match=told):
        cubecrop.search(AOI, 2018)


def test_an_explicit_archive_needs_no_settings(settings_folder, folder):
    (settings_folder / "cubecrop.toml").write_text("not TOML")
    assert len(cubecrop.search(AOI, 2018, archive=folder))


def test_weather_is_public_only_for_a_model_that_needs_it(public, settings_folder):
    url = public.up("planetary-computer")
    season = cubecrop.Season(2018)
    asked = {"area": parse_aoi(AOI), "season": season, "modalities": ("sentinel2", "weather")}
    source, weather = chosen(None, None, **asked)
    assert (source.name, weather) == (url, None)
    with pytest.warns(UserWarning, match=r"no weather of the whole.*arco-era5 is used.*--weather"):
        source, weather = chosen(None, None, needed=("sentinel2", "weather"), **asked)
    assert (source.name, weather) == (url, "arco-era5")
    (settings_folder / "cubecrop.toml").write_text('weather = "earth-data-hub"\n')
    assert chosen(None, None, **asked)[1] == "earth-data-hub"
    assert chosen(None, "arco-era5", **asked)[1] == "arco-era5"


def test_weather_that_ends_in_the_season_is_not_enough(public):
    items = [load(path) for path in sorted(ITEMS.glob("pc__era5-pds/*.json"))]
    if not items:
        pytest.skip(f"no real items at {ITEMS}")
    public.up("planetary-computer", [one | {"links": []} for one in items])
    asked = {"area": parse_aoi(AOI), "modalities": ("weather",), "needed": ("weather",)}
    december = cubecrop.Season(2021, start=dt.date(2020, 12, 1), end=dt.date(2020, 12, 31))
    assert chosen(None, None, season=december, **asked)[1] is None
    with pytest.warns(UserWarning, match="no weather of the whole season"):
        assert chosen(None, None, season=cubecrop.Season(2021), **asked)[1] == "arco-era5"


def test_a_region_keeps_the_archive_of_its_plan(public, model, monkeypatch, tmp_path, folder):
    public.refuses("planetary-computer")
    second = public.up("earth-search")
    options = {"model": model, "tile": 1280, "progress": False}
    with pytest.warns(UserWarning, match="earth-search is used"):
        plan = region.plan(AOI, 2018, tmp_path / "region", **options)
    assert plan.options.archive == second
    first = public.up("planetary-computer")
    monkeypatch.setenv(settings.VARIABLE, str(folder))
    again = region.plan(AOI, 2018, tmp_path / "region", **options)
    assert again.options.archive == second
    assert again.digest == plan.digest
    run = cubecrop.map_region(AOI, 2018, tmp_path / "region", **options)
    assert run.is_complete
    monkeypatch.delenv(settings.VARIABLE)
    fresh = region.plan(AOI, 2018, tmp_path / "region", replan=True, **options)
    assert fresh.options.archive == first


def test_an_area_and_a_year_are_enough(tmp_path, root, files, settings_folder, monkeypatch, capsys):
    months = [f"2017-{month:02d}-10" for month in (9, 10, 11, 12)]
    months += [f"2018-{month:02d}-10" for month in range(1, 13)]
    place = Place(left=591_400.0, top=5_628_600.0, height=256, width=256)
    folder = made_archive(root / "brabant", place=place, days=months, radar_days=months)
    with ExitStack() as stack:
        public = Public(stack, tmp_path, folder, root, files, monkeypatch)
        url = public.up("planetary-computer")
        found = cubecrop.classify((4.30, 50.78, 4.33, 50.80), 2018)
        assert found.attrs["archive"] == url
        assert found.attrs["model_digest"] == cubecrop.CropModel.default().digest
        run(
            "classify",
            "--aoi",
            "4.30,50.78,4.33,50.80",
            "--year",
            "2018",
            "--out",
            tmp_path / "map",
        )
        assert url in "".join(capsys.readouterr().out.split())
    item = json.loads((tmp_path / "map" / "item.json").read_text())
    assert item["properties"]["cubecrop:archive"] == url
    with rasterio.open(tmp_path / "map" / "crop_type.tif") as file:
        crop_type = file.read(1)
        assert file.shape == found["crop_type"].shape
    np.testing.assert_array_equal(crop_type, found["crop_type"])
    known = (crop_type < len(cubecrop.CropModel.default().nomenclature)) | (crop_type == 253)
    assert known.mean() > 0.95


def test_land_cover_is_read_from_the_archive_of_the_images(
    tmp_path, root, files, settings_folder, model, monkeypatch
):
    """Trees (10) in the east, cropland (40) in the west, as WorldCover has them in degrees."""
    west, _, east, north = AOI
    middle = (west + east) / 2
    around = Place(crs="EPSG:4326", left=3.02, top=50.81, height=240, width=360, pixel=1 / 12000)
    land = LandCover(place=around, codes=lambda x, _: np.where(x < middle, 40, 10))
    place = Place(left=502_000, top=5_628_000, height=128, width=128)
    folder = made_archive(root / "land", place=place, more=[land])
    with ExitStack() as stack:
        public = Public(stack, tmp_path, folder, root, files, monkeypatch)
        url = public.up("planetary-computer")
        public.refuses("earth-search")  # nobody asks it for the land cover
        found = cubecrop.classify(AOI, 2018, model=model, mask="worldcover").compute()
        assert any(path.endswith("/map.tif") for _, path, _ in files.asked)
        everywhere = cubecrop.classify(AOI, 2018, model=model, mask=None)["crop_type"].compute()
    assert found.attrs["archive"] == url
    assert found.attrs["mask"] == "ESA WorldCover 2021: cropland, grassland"
    crop_type = found["crop_type"]
    line = gpd.GeoSeries(gpd.points_from_xy([middle], [north]), crs=4326).to_crs(found.rio.crs)
    # The meridian and the columns of pixels are not quite parallel.
    in_west, in_east = found["x"] < line.x[0] - 30, found["x"] > line.x[0] + 30
    assert (crop_type[:, in_east] == NOT_CROPLAND).all()
    np.testing.assert_array_equal(crop_type[:, in_west], everywhere[:, in_west])
    assert (crop_type[:, in_west] < len(model.nomenclature)).mean() > 0.9
    out = cubecrop.write_map(found, tmp_path / "map", progress=False)
    properties = json.loads((out / "item.json").read_text())["properties"]
    assert properties["cubecrop:archive"] == url
    assert properties["cubecrop:mask"] == found.attrs["mask"]
    assert any("WorldCover" in name for name in properties["cubecrop:items"])
