"""A real S3 server on loopback."""

import contextlib
import sys
from pathlib import Path

import pytest
from servers import free_port, running


@contextlib.contextmanager
def s3(monkeypatch):
    """Run moto's server with an empty bucket; yield the bucket's URL and its file system."""
    s3fs = pytest.importorskip("s3fs", reason="pip install 's3fs' 'moto[server]'")
    command = Path(sys.executable).with_name("moto_server")
    if not command.exists():
        pytest.skip("moto is not installed: `pip install 'moto[server]'`")
    port = free_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        # What GDAL calls them.
        "AWS_S3_ENDPOINT": f"127.0.0.1:{port}",
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with running([str(command), "-H", "127.0.0.1", "-p", str(port)], port):
        s3fs.S3FileSystem.clear_instance_cache()
        files = s3fs.S3FileSystem(use_listings_cache=False)
        files.mkdir("regions")
        yield "s3://regions/run", files
        s3fs.S3FileSystem.clear_instance_cache()
