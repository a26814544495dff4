"""Real servers on loopback: nginx, a STAC API, and servers that fail in typical ways."""

import base64
import contextlib
import datetime as dt
import hashlib
import http.client
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

SECRET = "only-for-tests"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"server ended at once with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError("server does not answer")


@contextlib.contextmanager
def running(command, port, **options):
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    process = subprocess.Popen(command, **(quiet | options))
    try:
        wait_for(port, process)
        yield
    finally:
        process.terminate()
        process.wait(20)


NGINX = """
daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi; scgi_temp_path {home}/scgi; uwsgi_temp_path {home}/uwsgi;
  log_format asked '$request_method $uri $status $http_range';
  server {{
    listen 127.0.0.1:{port};
    location /files/ {{ alias {root}/; access_log {home}/asked.log asked; }}
    location /signed/ {{
      secure_link $arg_sig,$arg_expires;
      secure_link_md5 "$secure_link_expires {secret}";
      if ($secure_link = "") {{ return 403; }}
      if ($secure_link = "0") {{ return 403; }}
      alias {root}/; access_log {home}/asked.log asked;
    }}
  }}
}}
"""


class Nginx:
    """Files of a folder under ``/files/``, and under ``/signed/`` for those with a signature."""

    def __init__(self, port, home):
        self.url = f"http://127.0.0.1:{port}"
        self.log = home / "asked.log"

    def asked(self):
        """Requests since the last call: (method, path, status, range)."""
        time.sleep(0.1)
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.write_text("")
        return [tuple(line.split(" ", 3)) for line in lines]


@contextlib.contextmanager
def nginx(root, home):
    command = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if command is None:
        pytest.skip("nginx is not installed: `apt-get install nginx-light`")
    port = free_port()
    # Its worker is another user, who must reach the files.
    for folder in (*Path(home).parents[:2], *Path(root).parents[:2]):
        folder.chmod(0o755)
    text = NGINX.format(home=home, root=root, port=port, secret=SECRET)
    (home / "nginx.conf").write_text(f"user root;\n{text}" if is_root() else text)
    with running([command, "-p", str(home), "-c", str(home / "nginx.conf")], port):
        yield Nginx(port, home)


def is_root():
    return os.getuid() == 0


def signature(seconds):
    """Query that lets in for some seconds, as nginx's secure_link checks it."""
    expires = int(time.time() + seconds)
    digest = hashlib.md5(f"{expires} {SECRET}".encode(), usedforsecurity=False).digest()
    sig = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return f"sig={sig}&expires={expires}"


@contextlib.contextmanager
def stac_api(*files):
    """Run the STAC API of `rustac serve`, with the collections and items of some files."""
    command = Path(sys.executable).with_name("rustac")
    if not command.exists():
        pytest.skip("rustac is not installed: `pip install 'cubecrop[test]'`")
    port = free_port()
    address = f"127.0.0.1:{port}"
    with running([str(command), "serve", "-a", address, *map(str, files)], port):
        yield f"http://{address}"


class Faulty:
    """Serves files with byte ranges, and fails in the ways that ``fault`` says.

    ``fault(number, path)`` gives None, a status to answer with, "hang", "cut", which ends the
    file in its middle, or "break", which ends the connection in the middle of an answer;
    ``number`` counts the requests from 0. What ``gathered(path)`` says yes to is answered
    once 16 such are asked at a time, or after ten seconds; ``together`` counts them then.
    ``asked`` are (method, path, range), ``failed`` (method, path, fault); ``given_up`` counts
    the hanging requests that were left before the server let them go.
    """

    def __init__(self, root):
        self.root, self.fault = Path(root), lambda number, path: None
        self.gathered, self.together = lambda path: False, 0
        self.asked, self.failed = [], []
        self.tokens = self.given_up = 0
        self._lock, self._enough = threading.Lock(), threading.Event()
        self._stopped = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                owner.answer(self)

            do_HEAD = do_POST = do_GET  # noqa: N815 (the base class calls them so)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler):
        with self._lock:
            number = len(self.asked)
            parts = urlsplit(handler.path)
            fault = self.fault(number, parts.path)
            handler.body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
            self.asked.append((handler.command, parts.path, handler.headers.get("Range")))
            if fault is not None:
                self.failed.append((handler.command, parts.path, fault))
        try:
            self._answer(handler, parts, fault)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True

    def _answer(self, handler, parts, fault):
        if parts.path == "/token":
            self.tokens += 1
            return self._send(
                handler, 200, signature(float(parse_qs(parts.query)["s"][0])).encode()
            )
        if parts.path.startswith("/sas/"):
            self.tokens += 1
            expiry = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=45)
            token = {"token": f"sig={self.tokens}", "msft:expiry": f"{expiry:%Y-%m-%dT%H:%M:%SZ}"}
            return self._send(handler, 200, json.dumps(token).encode())
        if self.gathered(parts.path):
            self._gather()
        if fault == "hang":
            return self._hang(handler)
        if isinstance(fault, int):
            return self._send(handler, fault, b"")
        status, content, headers = self._found(handler, parts, cut=fault == "cut")
        return self._send(handler, status, content, headers, broken=fault == "break")

    def _gather(self):
        """Wait for the others."""
        with self._lock:
            self.together += not self._enough.is_set()
            if self.together == 16:
                self._enough.set()
        self._enough.wait(10)
        self._enough.set()

    def _hang(self, handler):
        """Wait a minute for the asker to go."""
        handler.close_connection = True
        end = time.monotonic() + 60
        while not self._stopped.is_set() and time.monotonic() < end:
            if select.select([handler.connection], [], [], 0.05)[0]:
                with self._lock:
                    self.given_up += 1
                return

    def _found(self, handler, parts, *, cut):
        """Status, content and headers of a file, or of a range of it."""
        path = self.root / parts.path.removeprefix("/files").lstrip("/")
        if not path.is_file():
            return 404, b"", {}
        content = path.read_bytes()
        if cut:
            content = content[: len(content) // 2]
        asked = handler.headers.get("Range")
        if asked is None:
            return 200, content, {}
        first, _, last = asked.removeprefix("bytes=").partition("-")
        first = int(first)
        last = min(int(last) if last else len(content) - 1, len(content) - 1)
        if first > last:
            return 416, b"", {}
        part = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        return 206, content[first : last + 1], part

    @staticmethod
    def _send(handler, status, content, headers=(), *, broken=False):
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        handler.send_header("Accept-Ranges", "bytes")
        for key, value in dict(headers).items():
            handler.send_header(key, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content[: len(content) // 2] if broken else content)
        if broken:
            handler.close_connection = True


class FaultyApi(Faulty):
    """A STAC API that fails as ``fault`` says, and else answers as another one does."""

    def __init__(self, upstream):
        self.upstream = urlsplit(upstream).netloc
        super().__init__("/")

    def _found(self, handler, parts, *, cut):
        connection = http.client.HTTPConnection(self.upstream, timeout=30)
        # Its own address goes with the question, so that links in the answer lead here.
        kept = ("Host", "Content-Type")
        headers = {key: handler.headers[key] for key in kept if key in handler.headers}
        connection.request(handler.command, handler.path, handler.body, headers)
        with contextlib.closing(connection):
            answer = connection.getresponse()
            return answer.status, answer.read(), {"Content-Type": answer.headers["Content-Type"]}


@contextlib.contextmanager
def giving_tokens(root, monkeypatch):
    """Serve files, and the tokens that the Planetary Computer's package then asks for here."""
    with warnings.catch_warnings(action="ignore"):
        from planetary_computer import sas
        from planetary_computer.settings import Settings

    with Faulty(root) as server:
        monkeypatch.setenv("PC_SDK_SAS_URL", f"{server.url}/sas/token")
        Settings.get.cache_clear()
        sas.TOKEN_CACHE.clear()
        yield server
    Settings.get.cache_clear()
    sas.TOKEN_CACHE.clear()


def over_http(archive, folder, url):
    """Items whose files a server gives."""
    items = [json.loads(path.read_text()) for path in archive.rglob("*.json")]
    items = [item for item in items if item["type"] == "Feature"]
    for item in items:
        for asset in item["assets"].values():
            place = next(archive.rglob(f"{item['id']}/{asset['href']}")).relative_to(archive)
            asset["href"] = f"{url}/{place}"
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return path
