"""Archives of every form: which items are found, refused and named in errors."""

import json
from pathlib import Path

import pytest
import shapely
from items import absolute, write_items
from servers import stac_api

from cubecrop.archive import Scenes, open_archive, search
from cubecrop.archive.catalog import Archive
from cubecrop.errors import AoiError, ArchiveError, NoScenesError, SchemaError, SeasonError
from cubecrop.testing import Optical, Place, Radar, forbid_compute, season_scenes, write_archive

PLACE = Place()
DAY = "2018-06-01T10:56:21Z"


@pytest.fixture(scope="module")
def api(archive, tmp_path_factory):
    """The small archive behind a real STAC API on loopback."""
    folder = tmp_path_factory.mktemp("api")
    items = absolute(archive)
    collections = []
    for path in sorted(archive.glob("*/collection.json")):
        raw = json.loads(path.read_text())
        raw["links"] = []
        collections.append(folder / f"{raw['id']}.json")
        collections[-1].write_text(json.dumps(raw))
    with stac_api(*collections, write_items(folder / "items.json", items)) as url:
        yield url


def ids(scenes):
    return [scene.id for scene in scenes]


def test_a_folder_of_every_modality(archive):
    with forbid_compute():
        found = search(PLACE.bbox, 2018, archive=archive)
    assert isinstance(found, Scenes)
    assert found.archive == str(archive)
    counts = {m: len(found.of(m)) for m in ("sentinel2", "sentinel1", "weather", "terrain")}
    assert counts == {"sentinel2": 4, "sentinel1": 3, "weather": 1, "terrain": 1}
    table = found.table()
    assert len(table) == len(found) == 9
    assert table["date"][0].isoformat() == "2018-03-01"
    scene = found.of("sentinel2")[0]
    assert scene.crs == "EPSG:32631"
    assert scene.baseline == "05.10"
    assert scene.platform == "sentinel-2a"
    assert (scene.assets["B02"].scale, scene.assets["B02"].offset) == (1e-4, -0.1)
    assert (scene.assets["SCL"].scale, scene.assets["SCL"].offset) == (1.0, 0.0)
    assert scene.assets["B05"].bounds == PLACE.bounds
    assert found.of("sentinel1")[0].calibration == "gamma0"
    assert Path(scene.assets["B02"].href).is_file()


def test_folder_file_catalog_and_api_find_the_same(archive, api, tmp_path):
    expected = ids(search(PLACE.bbox, 2018, archive=archive))
    file = write_items(tmp_path / "items.json", absolute(archive))
    # The paths of a file must stay below it, so the items are written beside the images.
    inside = archive / "all.json"
    try:
        write_items(inside, absolute(archive))
        assert ids(search(PLACE.bbox, 2018, archive=inside)) == expected
    finally:
        inside.unlink()
    with pytest.raises(ArchiveError, match="outside the archive's folder"):
        open_archive(file)
    assert ids(search(PLACE.bbox, 2018, archive=archive / "catalog.json")) == expected
    assert ids(search(PLACE.bbox, 2018, archive=api)) == expected
    assert ids(search(PLACE.bbox, 2018, archive=open_archive(api))) == expected


def test_an_opened_archive_comes_back_as_it_is(archive):
    opened = open_archive(archive)
    assert isinstance(opened, Archive)
    assert open_archive(opened) is opened


def test_one_collection_alone(archive):
    source = archive / "sentinel-2-l2a" / "collection.json"
    found = search(PLACE.bbox, 2018, archive=source, modalities=["sentinel2"])
    assert len(found) == 4


@pytest.mark.parametrize("form", ["folder", "api"])
def test_no_scenes_error_says_what_the_archive_has(archive, api, form):
    source = archive if form == "folder" else api
    with pytest.raises(NoScenesError, match="from 2018-03-01 to 2018-08-01; choose"):
        search(PLACE.bbox, 2015, archive=source)
    with pytest.raises(NoScenesError, match=r"covers lon 3\.0000 to .* Choose an area within"):
        search((10, 45, 10.1, 45.1), 2018, archive=source)
    west, south, east, north = PLACE.bbox
    with pytest.raises(NoScenesError, match="look swapped"):
        search((south, west, north, east), 2018, archive=source)


def test_an_archive_without_satellites(tmp_path):
    scenes = [s for s in season_scenes() if not isinstance(s, Optical | Radar)]
    source = write_archive(tmp_path, scenes)
    with pytest.raises(NoScenesError, match="no item of the collections"):
        search(PLACE.bbox, 2018, archive=source)
    assert len(search(PLACE.bbox, 2018, archive=source, modalities=["terrain", "weather"])) == 2


def test_bad_arguments_are_refused(archive, tmp_path):
    with pytest.raises(SchemaError, match="'sentinel3'"):
        search(PLACE.bbox, 2018, archive=archive, modalities=["sentinel3"])
    with pytest.raises(SeasonError):
        search(PLACE.bbox, "2018", archive=archive)
    with pytest.raises(AoiError):
        search((1, 2, 3), 2018, archive=archive)
    with pytest.raises(ArchiveError, match="cubecrop demo"):
        open_archive(tmp_path / "nowhere")
    with pytest.raises(ArchiveError, match="is a int"):
        open_archive(3)


def test_files_that_are_no_archive_are_refused(tmp_path):
    path = tmp_path / "catalog.json"
    for text in ("", "{", "[]", "3", "{}", '{"type": "Catalog"}', '{"type": "Feature"}'):
        path.write_text(text)
        with pytest.raises(ArchiveError, match=r"catalog\.json"):
            open_archive(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArchiveError, match=r"catalog\.json"):
        open_archive(tmp_path)


def test_no_server_and_no_stac_server(httpserver_text):
    with pytest.raises(ArchiveError, match=r"http://127\.0\.0\.1:9"):
        search(PLACE.bbox, 2018, archive="http://127.0.0.1:9")
    with pytest.raises(ArchiveError, match="did not answer as a STAC API"):
        search(PLACE.bbox, 2018, archive=httpserver_text)


@pytest.fixture
def httpserver_text():
    """A web server that answers every question with a page."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_seasons_are_cut_by_the_local_day(tmp_path):
    # 23:30 UTC on 31 October is 1 November at 180 degrees east, and still October at 0.
    scene = Radar(when="2018-10-31T23:30:00Z")
    assert len(search(PLACE.bbox, 2018, archive=write_archive(tmp_path / "a", [scene]))) == 1
    far = Place(crs="EPSG:32660", left=700_000)
    scene = Radar(when="2018-10-31T23:30:00Z", place=far)
    with pytest.raises(NoScenesError):
        search(far.bbox, 2018, archive=write_archive(tmp_path / "b", [scene]))


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (["HH", "HV"], ["dual"]),
        (["VV"], ["dual"]),
        (["VH", "VV"], ["dual", "other"]),
        (None, ["dual", "other"]),
    ],
)
def test_radar_of_other_polarisations_is_not_looked_for(tmp_path, stated, expected):
    scenes = [
        Radar(when="2018-06-02T17:40:42Z", id="dual"),
        Radar(when="2018-06-08T17:40:42Z", id="other", properties={"sar:polarizations": stated}),
    ]
    folder = write_archive(tmp_path, scenes)
    found = ids(search(PLACE.bbox, 2018, archive=folder))
    assert found == (
        ["dual"] if stated and len({*stated} & {"VV", "VH"}) < 2 else ["dual", "other"]
    )


def test_south_of_the_equator_the_season_is_another(tmp_path):
    south = Place(crs="EPSG:32722", top=7_000_000)
    scene = Radar(when="2017-03-02T09:00:00Z", place=south)
    found = search(south.bbox, 2018, archive=write_archive(tmp_path, [scene]))
    assert found.season.hemisphere == "south"


# What comes twice


def halves():
    return [
        Optical(when=DAY, id="west", place=Place(width=30), dn=2000),
        Optical(when=DAY, id="east", place=Place(left=500_300, width=30), dn=3000),
    ]


def test_the_newest_processing_replaces_older_ones(tmp_path):
    scenes = [
        Optical(when=DAY, id="c", baseline="05.09"),
        Optical(when=DAY, id="old", baseline="02.07"),
        Optical(when=DAY, id="new", baseline="05.10"),
        Optical(when="2018-06-01T10:56:21.001Z", id="new-but-1-ms", baseline="05.00"),
        Optical(when="2018-06-06T10:56:21Z", id="another day", baseline="02.07"),
        Optical(when=DAY, id="another satellite", platform="Sentinel-2B"),
        Optical(when=DAY, id="another tile", tile="31UDS"),
    ]
    for name, order in (("a", scenes), ("b", scenes[::-1])):
        found = search(PLACE.bbox, 2018, archive=write_archive(tmp_path / name, order))
        kept = ["another satellite", "another tile", "new", "another day"]
        assert ids(found) == kept
        assert sorted(ids(found.superseded)) == ["c", "new-but-1-ms", "old"]


def test_of_one_baseline_the_latest_generated_stays(tmp_path):
    scenes = [
        Optical(when=DAY, id=name, properties={"s2:generation_time": f"2018-06-{day}T00:00:00Z"})
        for name, day in (("first", "02"), ("last", "09"), ("middle", "05"))
    ]
    found = search(PLACE.bbox, 2018, archive=write_archive(tmp_path, scenes))
    assert ids(found) == ["last"]


def test_complementary_halves_both_stay(tmp_path):
    found = search(PLACE.bbox, 2018, archive=write_archive(tmp_path, halves()))
    assert sorted(ids(found)) == ["east", "west"]
    assert found.superseded == ()


def test_an_item_listed_twice_counts_once(archive, tmp_path):
    items = absolute(archive)
    inside = archive / "twice.json"
    try:
        found = search(PLACE.bbox, 2018, archive=write_items(inside, items + items))
    finally:
        inside.unlink()
    assert len(found) == 9


def test_the_newest_processing_does_not_depend_on_the_area(tmp_path):
    archive = write_archive(tmp_path, [*halves(), Optical(when=DAY, id="old", baseline="02.07")])
    everywhere = search(PLACE.bbox, 2018, archive=archive)
    assert sorted(ids(everywhere)) == ["east", "old", "west"]
    assert sorted(ids(search(Place(width=20).bbox, 2018, archive=archive))) == ["old", "west"]


def test_items_of_a_collection_file_keep_their_addresses(archive, tmp_path):
    items = absolute(archive)
    for item in items:
        item["links"] = [{"rel": "self", "href": f"https://example.com/{item['id']}"}]
    inside = archive / "addressed.json"
    try:
        found = search(PLACE.bbox, 2018, archive=write_items(inside, items))
    finally:
        inside.unlink()
    assert {s.href for s in found} == {f"https://example.com/{s.id}" for s in found}


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [("02.07", 0.0), ("03.01", 0.0), ("04.00", -0.1), ("05.10", -0.1), ("07.01", -0.1)],
)
def test_the_offset_goes_by_the_baseline(tmp_path, baseline, offset):
    source = write_archive(tmp_path, [Optical(when=DAY, baseline=baseline)])
    scene = search(PLACE.bbox, 2018, archive=source).of("sentinel2")[0]
    assert scene.assets["B8A"].offset == offset


def test_footprints_are_in_degrees(archive):
    scene = search(PLACE.bbox, 2018, archive=archive).of("sentinel1")[0]
    assert scene.footprint.equals_exact(shapely.Polygon(PLACE.footprint), 1e-9)
    assert scene.bbox == pytest.approx(PLACE.bbox)
