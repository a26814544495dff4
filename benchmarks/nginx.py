"""nginx on loopback with a delay before each answer, and a count of its requests."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pwd
import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

__all__ = ["Asked", "Server", "missing", "serving"]

# nginx asks a second server for permission before it sends a file, and that server waits before it
# answers: nginx has no module of its own that waits. The files do not pass through that server.
_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{ worker_connections 2048; }}
http {{
    access_log off;
    log_format asked '$request_method $request_uri "$http_range" $status $bytes_sent';
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    sendfile on;
    keepalive_requests 1000000;
    upstream waiting {{ server 127.0.0.1:{waiting}; keepalive 128; }}
    server {{
        listen 127.0.0.1:{port};
        root {root};
        access_log {folder}/access.log asked;
        location / {{
            auth_request /wait;
            rewrite ^/[0-9]+/(.*)$ /$1 break;
        }}
        location = /wait {{
            internal;
            proxy_pass http://waiting;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass_request_body off;
        }}
    }}
}}
"""
_ALLOWED = b"HTTP/1.1 204 No Content\r\n\r\n"
_LINE = re.compile(r'^\S+ (?P<path>\S+) ".*" \d+ (?P<sent>\d+)$')


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Requests of one run, and bytes of the answers with their headers."""

    requests: int
    sent: int


class Server:
    """A running nginx; each run reads below its own address, so that caches are empty."""

    def __init__(self, port: int, log: Path) -> None:
        self._port, self._log, self._run = port, log, 0

    def address(self) -> str:
        """Return a new base address."""
        self._run += 1
        return f"http://127.0.0.1:{self._port}/{self._run}"

    def asked(self) -> Asked:
        """Count the requests below the last address."""
        time.sleep(0.2)  # nginx logs a request after it has sent the answer
        lines = [
            match for line in self._log.read_text().splitlines() if (match := _LINE.match(line))
        ]
        mine = [line for line in lines if line["path"].startswith(f"/{self._run}/")]
        return Asked(requests=len(mine), sent=sum(int(line["sent"]) for line in mine))


def missing() -> str:
    """Say why nginx cannot be used here; "" if it can."""
    program = _program()
    if program is None:
        return "nginx is not installed: `apt install nginx-light`, or your system's package."
    version = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stderr
    if "http_auth_request_module" not in version:
        return "nginx was built without its auth_request module, which this needs for the delay."
    return ""


@contextmanager
def serving(root: str | Path, folder: Path, *, delay: float) -> Iterator[Server]:
    """Serve ``root``, ``delay`` seconds before each answer; ``folder`` gets log and settings."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    waiter = context.Process(target=_wait, args=(delay, theirs), daemon=True)
    waiter.start()
    port = _free_port()
    configuration = folder / "nginx.conf"
    # As root, nginx would read the files as another user, who may not enter the folder.
    user = f"user {pwd.getpwuid(os.getuid()).pw_name};" if os.getuid() == 0 else ""
    configuration.write_text(
        _CONFIGURATION.format(
            folder=folder, root=Path(root).resolve(), port=port, waiting=ours.recv(), user=user
        )
    )
    command = [str(_program()), "-p", str(folder), "-c", str(configuration)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _until_it_listens(port, process, folder / "error.log")
        yield Server(port, folder / "access.log")
    finally:
        process.terminate()
        process.wait()
        waiter.terminate()
        waiter.join()


def _program() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_it_listens(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    text = log.read_text() if log.exists() else ""
    raise RuntimeError(f"nginx does not listen on port {port}. {text}")


def _wait(delay: float, port: Connection) -> None:
    """Allow every request, ``delay`` seconds after it came."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(delay)
                writer.write(_ALLOWED)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())
