"""Weather stores on a server: busy, signed, or open only with a token."""

import base64
import functools
import pickle
import threading
from collections import Counter
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from weather_made import (
    ARCHIVE,
    BBOX,
    SEASON,
    archive,  # noqa: F401 (a fixture of every test)
    check_days,
    days_of,
    hourly,
    known_as,
    stored,
)

from cubecrop.archive import search
from cubecrop.cube.weather import weather_child
from cubecrop.errors import ReadError
from cubecrop.schema import Access, Asset


class Files(SimpleHTTPRequestHandler):
    """A store that is busy at each first request, and that some may read."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked[self.path] += 1
        plain, _, query = self.path.partition("?")
        if plain.startswith("/private") and self.headers.get("Authorization") != self.server.token:
            self.send_error(401)
        elif plain.startswith("/signed") and query != f"sig={self.server.signature}":
            self.send_error(403)
        elif self.server.asked[self.path] == 1:
            self.send_error(503)
        else:
            self.path = "/" + plain.split("/", 2)[2]
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    stored(tmp_path, hourly(), zarr_format=2, consolidated=True)
    handler = functools.partial(Files, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as one:
        one.asked, one.token, one.signature = Counter(), None, ""
        one.url = f"http://127.0.0.1:{one.server_port}"
        thread = threading.Thread(target=one.serve_forever, daemon=True)
        thread.start()
        yield one
        one.shutdown()
        thread.join()


SIGNATURE = ["old"]


def sign(href, *, renew):
    if renew:
        SIGNATURE[0] = "new"
    return f"{href}?sig={SIGNATURE[0]}"


def test_stores_over_http_are_retried_and_signed_when_read(server, monkeypatch):
    monkeypatch.setattr("cubecrop.cube.weather_files._DELAY", 0.01)
    SIGNATURE[0] = "old"
    name = known_as(monkeypatch, "arco-era5", f"{server.url}/open/weather.zarr")
    check_days(days_of(name))
    chunks = [n for path, n in server.asked.items() if path.endswith("0.0.0")]
    assert chunks == [2, 2, 2]  # each once, and once more after the 503
    (scene,) = search(BBOX, SEASON, archive=ARCHIVE[0], weather=name).of("weather")
    assets = {"weather": Asset(href=f"{server.url}/signed/weather.zarr")}
    scene = replace(scene, assets=assets, access=Access(signer=sign))
    server.signature = "old"
    found = weather_child([scene], SEASON, BBOX)
    server.signature = "new"  # the token ran out between graph and computation
    check_days(pickle.loads(pickle.dumps(found))["weather"].to_dataset("variable"))


def test_a_token_in_netrc_is_used_and_a_missing_one_is_named(server, monkeypatch, tmp_path):
    monkeypatch.setattr("cubecrop.cube.weather_files._DELAY", 0.01)
    server.token = "Basic " + base64.b64encode(b"edh:secret").decode()
    name = known_as(monkeypatch, "arco-era5", f"{server.url}/private/weather.zarr")
    netrc = tmp_path / "netrc"
    netrc.write_text("")
    monkeypatch.setenv("NETRC", str(netrc))
    with pytest.raises(ReadError, match=r"401.* Add the line `machine 127\.0\.0\.1"):
        days_of(name)
    netrc.write_text("machine 127.0.0.1\nlogin edh\npassword secret\n")
    check_days(days_of(name))
