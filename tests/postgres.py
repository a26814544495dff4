"""A whole STAC API on loopback: stac-fastapi-pgstac on PostgreSQL with PostGIS."""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from servers import free_port, is_root, running

#: Nothing that a test stores needs to outlive a power cut.
_HASTE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_PACKAGES = "postgresql-postgis postgresql-postgis-scripts"


def programs():
    """Folder of the newest PostgreSQL that has PostGIS, and why there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    for folder in reversed(found):
        shared = Path("/usr/share/postgresql") / folder.parent.name
        if (folder / "initdb").exists() and (shared / "extension/postgis.control").exists():
            return folder, ""
    return None, f"PostgreSQL with PostGIS is not installed: `apt-get install {_PACKAGES}`"


def why_not():
    """What keeps the server from running here, "" where nothing does."""
    folder, reason = programs()
    if folder is None:
        return reason
    for name in ("pypgstac", "uvicorn"):
        if not Path(sys.executable).with_name(name).exists():
            return f"{name} is not installed: `pip install 'cubecrop[test]'`"
    return ""


class Pgstac:
    """A STAC API that holds what a test gives it, and a log of what it was asked."""

    def __init__(self, url, log):
        self.url, self.log = url, log

    def hold(self, *files):
        """Replace everything by the collections and items of some files; gives the address."""
        found = json.loads(self._send("GET", "/collections?limit=1000"))
        for collection in found["collections"]:
            self._send("DELETE", f"/collections/{collection['id']}")
        for path in files:
            content = json.loads(Path(path).read_text())
            if "features" not in content:
                self._send("POST", "/collections", content)
                continue
            by_collection = {}
            for item in content["features"]:
                by_collection.setdefault(item["collection"], []).append(item)
            for name, items in by_collection.items():
                features = {"type": "FeatureCollection", "features": items}
                self._send("POST", f"/collections/{name}/items", features)
        self.asked()
        return self.url

    def asked(self):
        """Requests since the last call: (method, path with query, status)."""
        lines = self.log.read_text().splitlines()
        self.log.write_text("")
        # 127.0.0.1:5000 - "POST /search HTTP/1.1" 200
        told = [line.split('"') for line in lines if line.count('"') == 2]
        return [(*asked.split()[:2], int(status.split()[0])) for _, asked, status in told]

    def _send(self, method, path, content=None):
        request = urllib.request.Request(
            f"{self.url}{path}", method=method,
            data=None if content is None else json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            told = error.read().decode()
            raise RuntimeError(f"{method} {path}: {error.code} {told[:2000]}") from error


@contextlib.contextmanager
def pgstac():
    """Run the server with an empty database of its own, removed in the end."""
    if reason := why_not():
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cubecrop-pgstac-")))
        home.chmod(0o755)
        access = stack.enter_context(_database(home, programs()[0]))
        scripts = Path(sys.executable).parent
        _run([scripts / "pypgstac", "migrate"], env=access, cwd=home)
        port, log = free_port(), home / "asked.log"
        command = [scripts / "uvicorn", "--factory", "stac_fastapi.pgstac.app:create_app"]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        options = {"env": access | {"ENABLE_TRANSACTIONS_EXTENSIONS": "TRUE"}, "cwd": home}
        # Appended to, so that what is cut off after a look does not come back as zeros.
        out = stack.enter_context(log.open("a"))
        stack.enter_context(running([*map(str, command)], port, stdout=out, **options))
        yield Pgstac(f"http://127.0.0.1:{port}", log)


@contextlib.contextmanager
def _database(home, folder):
    """Run PostgreSQL on an empty cluster; gives the environment that reaches it."""
    data, password = home / "data", home / "password"
    data.mkdir(mode=0o700)
    password.write_text(secrets.token_hex())
    owner = {"cwd": data}
    if is_root():  # whom PostgreSQL refuses to run as
        owner |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
        for path in (data, password):
            shutil.chown(path, "nobody", "nogroup")
    made = ["-D", data, "-U", "pgstac", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    made += ["--auth=scram-sha-256", f"--pwfile={password}"]
    _run([folder / "initdb", *made], **owner)
    port = free_port()
    settings = (*_HASTE, "listen_addresses=127.0.0.1", "unix_socket_directories=")
    command = [str(folder / "postgres"), "-D", str(data), "-p", str(port)]
    command += [word for setting in settings for word in ("-c", setting)]
    login = {"PGUSER": "pgstac", "PGPASSWORD": password.read_text(), "PGDATABASE": "postgres"}
    with running(command, port, **owner):
        yield os.environ | login | {"PGHOST": "127.0.0.1", "PGPORT": str(port)}


def _run(command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
