"""Untrusted archives: paths outside a folder, malformed items, hostile servers."""

import json

import pystac
import pytest
from items import absolute, write_items

from cubecrop.archive import normalise_item, open_archive, search
from cubecrop.errors import ArchiveError, NoScenesError, UnsupportedItemError
from cubecrop.testing import Optical, Place, write_archive

PLACE = Place()
DAY = "2018-06-01T10:56:21Z"


@pytest.fixture
def small(tmp_path):
    """An archive of one optical item, its file and its content."""
    folder = write_archive(tmp_path / "small", [Optical(when=DAY, id="the-item")])
    file = folder / "sentinel-2-l2a" / "the-item" / "the-item.json"
    return folder, file, json.loads(file.read_text())


@pytest.mark.parametrize(
    "href",
    [
        "../../../secret.tif",
        "./../../../secret.tif",
        "%2e%2e/../../../../secret.tif",
        "/etc/passwd",
        "file:///etc/passwd",
        "file:///../etc/passwd",
        "/vsicurl/http://example.org/a.tif",
        "/vsizip//etc/a.zip",
        "ftp://example.org/a.tif",
        "gs://bucket/a.tif",
        "data:image/tiff;base64,AAAA",
        "zip+file:///etc/a.zip",
    ],
)
def test_paths_outside_the_folder_are_refused(small, tmp_path, href):
    folder, file, item = small
    (tmp_path / "secret.tif").write_bytes(b"secret")
    item["assets"]["B02"]["href"] = href
    file.write_text(json.dumps(item))
    with pytest.raises(ArchiveError, match="asset 'B02' of item 'the-item' points to"):
        open_archive(folder)
    flat = folder / "items.json"
    for asset in item["assets"].values():
        if not asset["href"].startswith("./"):
            continue
        asset["href"] = f"./sentinel-2-l2a/the-item/{asset['href'][2:]}"
    with pytest.raises(ArchiveError, match="asset 'B02' of item 'the-item' points to"):
        open_archive(write_items(flat, [item]))


def test_links_of_files_stay_in_the_folder(small, tmp_path):
    folder, file, item = small
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps(item))
    collection = folder / "sentinel-2-l2a" / "collection.json"
    raw = json.loads(collection.read_text())
    for href in ("../../outside.json", str(outside), f"file://{outside}"):
        raw["links"] = [{"rel": "item", "href": href}]
        collection.write_text(json.dumps(raw))
        with pytest.raises(ArchiveError, match="the catalog links to"):
            open_archive(folder)
    file.parent.joinpath("B02.tif").unlink()
    file.parent.joinpath("B02.tif").symlink_to(outside)
    raw["links"] = [{"rel": "item", "href": "./the-item/the-item.json"}]
    collection.write_text(json.dumps(raw))
    with pytest.raises(ArchiveError, match="asset 'B02' of item 'the-item' points to"):
        open_archive(folder)


def test_file_addresses_inside_the_folder_are_fine(small):
    folder, file, item = small
    item["assets"]["B02"]["href"] = (file.parent / "B02.tif").as_uri()
    file.write_text(json.dumps(item))
    scene = search(PLACE.bbox, 2018, archive=folder).of("sentinel2")[0]
    assert scene.assets["B02"].href == str(file.parent / "B02.tif")


def changed(path, value):
    """A change of an item: set (or, for ``...``, remove) what stands at a path of keys."""

    def change(item):
        place = item
        for key in path[:-1]:
            place = place[key]
        if value is ...:
            del place[path[-1]]
        else:
            place[path[-1]] = value

    return change


MALFORMED = {
    "geometry of no kind": changed(["geometry"], {"type": "Blob", "coordinates": [1]}),
    "geometry without coordinates": changed(["geometry"], {"type": "Polygon"}),
    "geometry a text": changed(["geometry"], "here"),
    "geometry with texts": changed(["geometry", "coordinates"], [[["a", "b"]] * 4]),
    "geometry with nothing": changed(["geometry", "coordinates"], []),
    "geometry with NaN": changed(["geometry", "coordinates"], [[[float("nan"), 0]] * 4]),
    "date of no form": changed(["properties", "datetime"], "yesterday"),
    "no date": changed(["properties", "datetime"], ...),
    "no CRS": changed(["properties", "proj:code"], ...),
    "unknown CRS": changed(["properties", "proj:code"], "EPSG:0"),
    "CRS a list": changed(["properties", "proj:code"], [1]),
    "no baseline": changed(["properties", "s2:processing_baseline"], ...),
    "baseline a text": changed(["properties", "s2:processing_baseline"], "new"),
    "baseline null": changed(["properties", "s2:processing_baseline"], None),
    "no properties": changed(["properties"], ...),
    "properties null": changed(["properties"], None),
    "properties a list": changed(["properties"], []),
    "no assets": changed(["assets"], {}),
    "assets a list": changed(["assets"], []),
    "assets null": changed(["assets"], None),
    "no SCL": changed(["assets", "SCL"], ...),
    "asset a text": changed(["assets", "B02"], "./B02.tif"),
    "asset without href": changed(["assets", "B02", "href"], ...),
    "asset with half an address": changed(["assets", "B02", "href"], "http://[::1"),
    "shape of one number": changed(["assets", "B02", "proj:shape"], [60]),
    "shape a text": changed(["assets", "B02", "proj:shape"], "big"),
    "transform of texts": changed(["assets", "B02", "proj:transform"], ["a"] * 6),
    "transform too short": changed(["assets", "B02", "proj:transform"], [10, 0]),
    "transform a number": changed(["assets", "B02", "proj:transform"], 10),
    "scale a text": changed(["assets", "B02", "raster:bands"], [{"scale": "small"}]),
    "bands a text": changed(["assets", "B02", "raster:bands"], "none"),
    "band a text": changed(["assets", "B02", "raster:bands"], ["none"]),
    "scale contradicts": changed(["assets", "B02", "raster:bands"], [{"scale": 1.0}]),
    "offset contradicts": changed(["assets", "B02", "raster:bands"], [{"offset": 0.0}]),
    "links of no kind": changed(["links"], [{"href": "x"}]),
    "link a text": changed(["links"], ["self"]),
}
LINKS = [MALFORMED["links of no kind"], MALFORMED["link a text"]]


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_item_is_named(small, change):
    _, _, item = small
    change(item)
    with pytest.raises(UnsupportedItemError, match="the-item"):
        normalise_item(item)


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_item_in_a_file_is_no_raw_traceback(small, change):
    folder, file, item = small
    change(item)
    file.write_text(json.dumps(item))
    if change not in LINKS:  # which are read again from where the file lies
        with pytest.raises((UnsupportedItemError, ArchiveError), match="the-item"):
            search(PLACE.bbox, 2018, archive=folder)
    for year in (2015, 2018):
        with pytest.raises((UnsupportedItemError, ArchiveError, NoScenesError)):
            search((10, 45, 11, 46), year, archive=folder)


def test_objects_that_are_no_items_are_refused(small):
    folder, file, _ = small
    for text in ("", "[]", "null", '"the-item"', "{}", '{"type": "Feature"}'):
        file.write_text(text)
        with pytest.raises(ArchiveError):
            open_archive(folder)
    for feature in (None, [], "x", {}, {"type": "Feature"}):
        with pytest.raises(ArchiveError):
            open_archive(write_items(folder / "items.json", [feature]))


class Stub:
    """An API's answer, without the API."""

    def __init__(self, items):
        self.found = items

    def get_collections(self):
        extent = pystac.Extent(
            pystac.SpatialExtent([[3, 50, 4, 51]]), pystac.TemporalExtent([[None, None]])
        )
        return [pystac.Collection("sentinel-2-l2a", "made", extent)]

    def search(self, **_):
        return self

    def items_as_dicts(self):
        return self.found


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_item_of_an_api_is_no_raw_traceback(small, monkeypatch, change):
    _, _, item = small
    change(item)
    monkeypatch.setattr("pystac_client.Client.open", lambda *_, **__: Stub([item]))
    with pytest.raises(UnsupportedItemError, match="the-item"):
        search(PLACE.bbox, 2018, archive="http://localhost", modalities=["sentinel2"])


def test_an_api_elsewhere_names_no_file_of_this_machine(small, monkeypatch):
    folder, _, item = small
    item = next(iter(absolute(folder)))
    monkeypatch.setattr("pystac_client.Client.open", lambda *_, **__: Stub([item]))
    asked = {"archive": "https://example.org", "modalities": ["sentinel2"]}
    for href in (item["assets"]["B02"]["href"], "./B02.tif", "file:///a.tif", "/vsicurl/a"):
        item["assets"]["B02"]["href"] = href
        with pytest.raises(UnsupportedItemError, match=r"asset 'B02' of item 'the-item' .*http"):
            search(PLACE.bbox, 2018, **asked)
    for key, asset in item["assets"].items():
        asset["href"] = f"https://example.org/{key}.tif"
    scene = search(PLACE.bbox, 2018, **asked).of("sentinel2")[0]
    assert scene.assets["B02"].href == "https://example.org/B02.tif"


def test_an_item_without_geometry_is_placed_by_its_bbox(small):
    _, _, item = small
    scene = normalise_item({**item, "geometry": None})
    assert scene.footprint.bounds == pytest.approx(PLACE.bbox)
    del item["bbox"]
    with pytest.raises(UnsupportedItemError, match="'the-item' has no usable geometry or bbox"):
        normalise_item({**item, "geometry": None})


def test_an_item_of_another_collection_is_refused(small):
    _, _, item = small
    with pytest.raises(UnsupportedItemError, match="'the-item' is of collection 'landsat'"):
        normalise_item({**item, "collection": "landsat"})
    with pytest.raises(UnsupportedItemError, match="provider 'nobody'"):
        normalise_item(item, provider="nobody")
    for href in ("", "/vsicurl/http://example.org/a.tif", "ftp://example.org/a.tif"):
        item["assets"]["B02"]["href"] = href
        with pytest.raises(UnsupportedItemError, match="asset 'B02' of item 'the-item'"):
            normalise_item(item)
