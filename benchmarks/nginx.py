"""nginx on loopback, with a wait before each answer, and what it was asked for."""

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

# Every file is allowed by a server that waits before it says so: of nginx' own modules none
# waits, and those that do are seldom installed. The files themselves do not pass through it.
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
    """What one run asked for: requests, and bytes of the answers with their headers."""

    requests: int
    sent: int


class Server:
    """A running nginx; each run reads below an address of its own, which no cache knows."""

    def __init__(self, port: int, log: Path) -> None:
        self._port, self._log, self._run = port, log, 0

    def address(self) -> str:
        """A base address that was never given before."""
        self._run += 1
        return f"http://127.0.0.1:{self._port}/{self._run}"

    def asked(self) -> Asked:
        """What was asked for below the last address."""
        time.sleep(0.2)  # a line is written after its answer was sent
        lines = [
            found for line in self._log.read_text().splitlines() if (found := _LINE.match(line))
        ]
        mine = [one for one in lines if one["path"].startswith(f"/{self._run}/")]
        return Asked(requests=len(mine), sent=sum(int(one["sent"]) for one in mine))


def missing() -> str:
    """Why nginx cannot be used here; "" where it can."""
    program = _program()
    if program is None:
        return "nginx is not installed: `apt install nginx-light`, or your system's package."
    told = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stderr
    if "http_auth_request_module" not in told:
        return "nginx was built without its auth_request module, which this needs for the delay."
    return ""


@contextmanager
def serving(root: str | Path, folder: Path, *, delay: float) -> Iterator[Server]:
    """Serve ``root``, keeping configuration and log in ``folder``; seconds before each answer."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    waiter = context.Process(target=_wait, args=(delay, theirs), daemon=True)
    waiter.start()
    port = _free_port()
    configuration = folder / "nginx.conf"
    # Run by root, it would read the files as a user who may not enter the folder.
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
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


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
    told = log.read_text() if log.exists() else ""
    raise RuntimeError(f"nginx does not listen on port {port}. {told}")


def _wait(delay: float, port: Connection) -> None:
    """Say yes to every request, a while after it came."""

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
