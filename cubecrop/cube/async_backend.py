"""Reads files of HTTP servers with obstore: one request for a header and one for a block.

GDAL asks for a file's size before its header. It fetches blocks in steps of 16 KB into the same
cache as headers, and so evicts these. Here GDAL decodes, but obstore fetches: the first response
holds the size too, adjacent parts of a file come in one response, other parts are requested at
the same time, and headers are kept until the cube is read.
"""

from __future__ import annotations

import datetime as dt
import threading
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import unquote, urlsplit

import rasterio
from rasterio.abc import MultiByteRangeResourceContainer

from cubecrop.cube.access import Web, setting
from cubecrop.cube.grid import MEMORY
from cubecrop.cube.rasterio_backend import RasterioBackend
from cubecrop.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["AsyncBackend", "open_with_obstore"]

#: Bytes requested when a file is opened: the whole header of a cloud-optimised GeoTIFF.
_PAGE: Final = 2**14
#: Largest gap in bytes between two blocks that are fetched with one request.
_GAP: Final = 256
#: Requests in flight, of all threads of a process: enough to hide the latency of a distant
#: server, and few enough not to overload it.
_AT_ONCE: Final = 48
#: Seconds after which a failed request is not repeated.
_GIVE_UP_AFTER: Final = 180
_slots = threading.BoundedSemaphore(_AT_ONCE)


@contextmanager
def open_with_obstore(href: str, kept: dict[Any, Any]) -> Iterator[rasterio.DatasetReader]:
    """Open a GeoTIFF of an HTTP server; see `cubecrop.cube.access.Web`."""
    content = _Content(href, kept)
    name = urlsplit(href).path.rsplit("/", 1)[-1]
    try:
        with rasterio.open(
            name, driver="GTiff", sharing=False, opener=_Folder(name, content)
        ) as file:
            yield _Checked(file, content)
    except Exception:
        content.check()  # raises the reason of the failure, which GDAL does not know
        raise


class AsyncBackend(RasterioBackend):
    """Reads as `RasterioBackend` does, but fetches from HTTP servers with obstore (Rust).

    It requests separate blocks of a file at the same time and nothing twice, with up to 48
    requests in flight. It is faster where most of the work is waiting: small areas of many files,
    distant servers. GDAL decodes, so values are the same bit for bit. GDAL also fetches files on
    ``s3://`` and JPEG 2000 files, whose blocks cannot be requested one by one. GDAL's options for
    time and attempts (``GDAL_HTTP_TIMEOUT``, ``_CONNECTTIMEOUT``, ``_MAX_RETRY``,
    ``_RETRY_DELAY``) apply here too; its other options do not. Needs the extra ``async``.

    Raises
    ------
    MissingExtraError
        obstore is not installed.
    """

    web: ClassVar[Web | None] = staticmethod(open_with_obstore)
    at_once: ClassVar[int] = _AT_ONCE

    def __init__(self, *, memory: float = MEMORY) -> None:
        """See `RasterioBackend`."""
        super().__init__(memory=memory)
        try:
            import obstore  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(
                "AsyncBackend needs obstore. Install it with `pip install 'cubecrop[async]'`."
            ) from error


class _Checked:
    """A dataset that raises if bytes of a read did not arrive.

    GDAL cannot be told so while it reads: it would read an uncompressed file as zeros.
    """

    def __init__(self, file: rasterio.DatasetReader, content: _Content) -> None:
        self._file, self._content = file, content

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._file, name)

    def read(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        values = self._file.read(*args, **options)
        self._content.check()
        return values

    def read_masks(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        values = self._file.read_masks(*args, **options)
        self._content.check()
        return values


class _Content:
    """A file's bytes; ``kept`` holds its size, and the pages of its header by number."""

    def __init__(self, href: str, kept: dict[Any, Any]) -> None:
        parts = urlsplit(href)
        self._store = _store(f"{parts.scheme}://{parts.netloc}", parts.query, _retry_options())
        self._path = unquote(parts.path).lstrip("/")
        self._kept = kept
        self._error = ""
        size = kept.get("size")
        self.size: int = self._begin() if size is None else size

    def check(self) -> None:
        """Raise if bytes did not arrive."""
        if self._error:
            raise OSError(self._error)

    def _begin(self) -> int:
        """Fetch the first bytes; returns the size of the whole file."""
        import obstore

        try:
            with _slots:
                response = obstore.get(self._store, self._path, options={"range": (0, _PAGE)})
                self._kept[0] = bytes(response.bytes())
        except (OSError, obstore.exceptions.BaseError) as error:
            raise OSError(_message(error)) from None
        size = self._kept["size"] = int(response.meta["size"])
        return size

    def _ranges(self, starts: Sequence[int], ends: Sequence[int]) -> list[bytes]:
        """Fetch ranges, adjacent ones with one request; an empty list if that failed."""
        import obstore

        try:
            with _slots:
                responses = obstore.get_ranges(
                    self._store, self._path, starts=starts, ends=ends, coalesce=_GAP
                )
        except (OSError, obstore.exceptions.BaseError) as error:
            self._error = _message(error)
            return []
        parts = [bytes(response) for response in responses]
        if any(len(part) != b - a for part, a, b in zip(parts, starts, ends, strict=True)):
            self._error = "a response is shorter than the requested range"
            return []
        return parts

    def _page(self, number: int) -> bytes:
        page: bytes | None = self._kept.get(number)
        if page is None:
            start = number * _PAGE
            parts = self._ranges([start], [min(start + _PAGE, self.size)])
            page = parts[0] if parts else b""
            if parts:
                self._kept[number] = page
        return page

    def blocks(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """The blocks that one read needs; zeros if they did not arrive, see `check`."""
        head = self._kept.get(0, b"")
        wanted = [(a, a + n) for a, n in zip(offsets, sizes, strict=True)]
        missing = [(a, b) for a, b in wanted if b > len(head)]
        starts, ends = [a for a, _ in missing], [b for _, b in missing]
        fetched = dict(zip(missing, self._ranges(starts, ends) if missing else [], strict=False))
        if self._error:
            return [bytes(n) for n in sizes]
        return [fetched[a, b] if (a, b) in fetched else head[a:b] for a, b in wanted]

    def part(self, start: int, end: int) -> bytes:
        """A part of the header; empty if it did not arrive."""
        pages = range(start // _PAGE, -(-end // _PAGE))
        if len(pages) > 2:  # too long for a header
            return b"".join(self._ranges([start], [end]))
        first = pages[0] * _PAGE
        return b"".join(map(self._page, pages))[start - first : end - first]


class _File:
    """An open file with the methods that rasterio calls on behalf of GDAL."""

    def __init__(self, content: _Content) -> None:
        self._content, self._at = content, 0

    def get_byte_ranges(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        return self._content.blocks(offsets, sizes)

    def read(self, size: int = -1) -> bytes:
        whole = self._content.size
        end = whole if size < 0 else min(self._at + size, whole)
        data = self._content.part(self._at, end) if end > self._at else b""
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._content.size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""


class _Folder:
    """A folder with one file, so that GDAL finds no sidecar files."""

    def __init__(self, name: str, content: _Content) -> None:
        self._name, self._content = name, content

    def open(self, path: str, *_: object, **__: object) -> _File:
        if not self.isfile(path):
            raise FileNotFoundError(path)
        return _File(self._content)

    def isfile(self, path: str) -> bool:
        return path.rsplit("/", 1)[-1] == self._name

    def isdir(self, _: str) -> bool:
        return False

    def size(self, _: str) -> int:
        return self._content.size

    def ls(self, _: str) -> list[str]:
        return [self._name]

    def mtime(self, _: str) -> int:
        return 0

    def rm(self, path: str) -> None:
        raise PermissionError(path)


MultiByteRangeResourceContainer.register(_Folder)


def _retry_options() -> tuple[float, float, int, float]:
    """Seconds for a request and for connecting, number of retries, seconds before a retry."""
    return (
        float(setting("GDAL_HTTP_TIMEOUT")),
        float(setting("GDAL_HTTP_CONNECTTIMEOUT")),
        int(setting("GDAL_HTTP_MAX_RETRY")),
        float(setting("GDAL_HTTP_RETRY_DELAY")),
    )


@lru_cache(maxsize=64)
def _store(server: str, query: str, retries: tuple[float, float, int, float]) -> Any:  # noqa: ANN401
    """Connections to a server, one store per signature."""
    from obstore.store import HTTPStore

    timeout, connect, attempts, delay = retries
    return HTTPStore(
        f"{server}/?{query}" if query else server,
        client_options={
            "allow_http": True,
            "timeout": dt.timedelta(seconds=timeout),
            "connect_timeout": dt.timedelta(seconds=connect),
        },
        retry_config={
            "max_retries": attempts,
            "backoff": {
                "init_backoff": dt.timedelta(seconds=delay),
                "max_backoff": dt.timedelta(seconds=max(15.0, delay)),
                "base": 2,
            },
            "retry_timeout": dt.timedelta(seconds=_GIVE_UP_AFTER),
        },
    )


def _message(error: Exception) -> str:
    """The first line of obstore's message; further lines are for its developers."""
    return str(error).split("\n", 1)[0].strip().rstrip(":")
