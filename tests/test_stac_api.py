"""STAC APIs of the providers: opened by name, searched by month, retried when busy."""

import json
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pystac
import pytest
import shapely
from servers import Faulty

from cubecrop.archive import PROVIDERS, open_archive, search
from cubecrop.archive.api import StacApiArchive
from cubecrop.errors import ArchiveError
from cubecrop.testing import Optical, write_archive


class Answers:
    """A pystac-client that remembers what it was asked and has nothing."""

    def __init__(self):
        self.asked = []

    def get_collections(self):
        extent = pystac.Extent(
            pystac.SpatialExtent([[3, 50, 4, 51]]), pystac.TemporalExtent([[None, None]])
        )
        return [pystac.Collection(name, "made", extent) for name in ("sentinel-s2-l2a-cogs",)]

    def search(self, **asked):
        self.asked.append(asked)
        return self

    def items_as_dicts(self):
        return []


@pytest.mark.parametrize(
    ("name", "collections"),
    [
        ("planetary-computer", ["sentinel-2-l2a"]),
        ("earth-search", ["sentinel-2-c1-l2a"]),
        ("cdse", ["sentinel-2-l2a"]),
        ("https://earth-search.aws.element84.com/v0", ["sentinel-s2-l2a-cogs"]),
    ],
)
def test_providers_are_opened_by_name_and_asked_by_month(monkeypatch, name, collections):
    answers = Answers()
    monkeypatch.setattr("pystac_client.Client.open", lambda *_, **__: answers)
    archive = open_archive(name)
    assert archive.provider.name in {name, "earth-search"}
    assert archive.name == PROVIDERS.get(name, archive).url if name in PROVIDERS else name
    with pytest.raises(LookupError, match="no Sentinel scene"):
        search((3, 50, 4, 51), 2018, archive=archive, modalities=["sentinel2"])
    windows = [asked["datetime"] for asked in answers.asked if asked["collections"] == collections]
    assert len(windows) == 16  # September 2017 to October 2018 and a day on each side
    assert all((last - first).days <= 31 for first, last in windows)
    assert [last for _, last in windows[:-1]] == [first for first, _ in windows[1:]]
    assert windows[0][0].date().isoformat() == "2017-08-31"
    assert windows[-1][1].date().isoformat() == "2018-11-01"
    answers.asked.clear()
    list(archive.items(["cop-dem-glo-30"], area(), None))
    assert all(asked["datetime"] is None for asked in answers.asked)


def area():
    return shapely.box(3, 50, 4, 51)


def test_collections_are_chosen_where_an_archive_is_opened():
    archive = open_archive("earth-search", collections=["sentinel-2-l2a"])
    assert archive.provider.collections_of("sentinel2") == ["sentinel-2-l2a"]
    assert archive.provider.collections_of("terrain") == []
    default = open_archive("earth-search").provider
    assert default.collections_of("sentinel2") == ["sentinel-2-c1-l2a"]
    assert open_archive("http://127.0.0.1:9", provider="cdse").provider.name == "cdse"
    with pytest.raises(ArchiveError, match=r"\['landsat'\] of provider 'cdse'"):
        open_archive("cdse", collections=["landsat"])
    with pytest.raises(ArchiveError, match="provider 'nobody'"):
        open_archive("http://127.0.0.1:9", provider="nobody")
    with pytest.raises(ArchiveError, match="already open"):
        open_archive(archive, collections=["sentinel-2-l2a"])


@pytest.fixture
def busy():
    """A STAC API that answers each first question with 429 or 503, and a log of requests."""
    log = []

    class Api(BaseHTTPRequestHandler):
        def answer(self):
            key = (self.command, self.path)
            log.append(key)
            if log.count(key) == 1:
                self.send_response(429 if self.command == "POST" else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            base = f"http://127.0.0.1:{self.server.server_port}"
            pages = [("self", base), ("root", base), ("data", f"{base}/collections")]
            links = [{"rel": rel, "href": href} for rel, href in pages]
            links.append({"rel": "search", "href": f"{base}/search", "method": "POST"})
            links[-1]["type"] = "application/geo+json"
            about = "https://api.stacspec.org/v1.0.0"
            conforms = [f"{about}/core", f"{about}/item-search", f"{about}/collections"]
            content = {"type": "FeatureCollection", "features": [], "links": []}
            if self.path == "/":
                content = {"type": "Catalog", "id": "busy", "description": "Made for a test."}
                content |= {"stac_version": "1.0.0", "links": links, "conformsTo": conforms}
            text = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", log
        server.shutdown()
        thread.join()


def test_a_busy_server_is_asked_again_by_get_and_post(busy):
    url, log = busy
    # As the provider's own API, whose collections are not asked for.
    row = replace(PROVIDERS["cdse"], url=url)
    archive = StacApiArchive(url, row)
    assert list(archive.items(["sentinel-2-l2a"], area(), None)) == []
    assert log.count(("POST", "/search")) == 2
    assert log.count(("GET", "/")) == 2


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, b'{"type": "FeatureCollection", "features": []}', "landing page, without `/collec"),
        (200, b"null", "Check the address"),
        (200, b"[]", "Check the address"),
        (200, b"<html>Log in</html>", "Check the address"),
        (403, b"<html>" + b"x" * 10_000, "status 403: <html>x+…"),
    ],
)
def test_an_address_that_is_no_api_is_told(status, body, told):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        archive = StacApiArchive(f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(ArchiveError, match=rf"did not answer as a STAC API: .*{told}") as error:
            archive.extent(["sentinel-2-l2a"])
        server.shutdown()
    assert len(str(error.value)) < 500


def test_a_static_catalog_on_the_web_is_no_api(tmp_path):
    with Faulty(write_archive(tmp_path, [Optical(when="2018-05-01T10:56:21Z")])) as server:
        with pytest.raises(ArchiveError, match=r"is a static catalog.*give the path of its folder"):
            search((3, 50, 4, 51), 2018, archive=f"{server.url}/catalog.json")
        other = f"{server.url}/sentinel-2-l2a/collection.json"
        with pytest.raises(ArchiveError, match=r"found type=Collection.*landing page"):
            search((3, 50, 4, 51), 2018, archive=other)


def test_a_search_of_a_server_that_hangs_times_out(monkeypatch):
    """Connections are taken, and no answer ever comes."""
    monkeypatch.setattr("cubecrop.archive.api._TIMEOUT", 0.1)
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_, **__: None)
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        archive = StacApiArchive(f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(ArchiveError, match=r"did not answer as a STAC API: .*timed out"):
            list(archive.items(["sentinel-2-l2a"], area(), None))
        server.settimeout(0)
        asked = 0
        while True:
            try:
                server.accept()[0].close()
            except BlockingIOError:
                break
            asked += 1
    assert asked == 6
