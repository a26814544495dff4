"""Reads files of HTTP servers with obstore: one request for a header and one for a block.

GDAL asks for a file's size before its header, and fetches in steps of 16 KB, which it keeps in
one memory with headers and so drives these out. Here GDAL decodes, but its bytes come from
obstore: the first answer tells the size as well, what lies together in a file comes in one
answer, what does not is asked for at the same time, and headers stay until the cube is read.
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

#: Bytes that are asked for when a file is opened: of a GeoTIFF for the cloud the whole header.
_PAGE: Final = 2**14
#: Bytes between two blocks up to which both come in one answer; writers leave a few.
_GAP: Final = 256
#: Requests in flight, of all threads of a process: as many as make a far server seem near, and
#: few enough for it to bear.
_AT_ONCE: Final = 48
#: Seconds after which a request is not made again.
_PATIENCE: Final = 180
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
        content.check()  # why it failed, which GDAL does not know
        raise


class AsyncBackend(RasterioBackend):
    """Reads as `RasterioBackend` does, but asks HTTP servers with obstore, a reader in Rust.

    Blocks of a file that do not lie together are asked for at once, nothing twice, and up to 48
    requests are on their way at a time. It pays where waiting is most of the work: small areas
    of many files, far servers. GDAL decodes, so that values are the same bit for bit, and it reads
    what is on ``s3://`` and JPEG 2000, which has no blocks to be fetched one by one. Its
    options for time and attempts (``GDAL_HTTP_TIMEOUT``, ``_CONNECTTIMEOUT``, ``_MAX_RETRY``,
    ``_RETRY_DELAY``) hold here too; its others do not. Needs the extra ``async``.

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
    """A dataset that gives no pixel of bytes that did not come.

    GDAL cannot be told in the middle of a reading that they did not: a file that is not
    compressed would be read as zeros.
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
    """A file's bytes; ``kept`` holds its size, and pages of its header by their number."""

    def __init__(self, href: str, kept: dict[Any, Any]) -> None:
        parts = urlsplit(href)
        self._store = _store(f"{parts.scheme}://{parts.netloc}", parts.query, _patience())
        self._path = unquote(parts.path).lstrip("/")
        self._kept = kept
        self._failed = ""
        size = kept.get("size")
        self.size: int = self._begin() if size is None else size

    def check(self) -> None:
        """Raise where bytes did not come."""
        if self._failed:
            raise OSError(self._failed)

    def _begin(self) -> int:
        """Ask for the first bytes, and learn how many there are."""
        import obstore

        try:
            with _slots:
                answer = obstore.get(self._store, self._path, options={"range": (0, _PAGE)})
                self._kept[0] = bytes(answer.bytes())
        except (OSError, obstore.exceptions.BaseError) as error:
            raise OSError(_told(error)) from None
        size = self._kept["size"] = int(answer.meta["size"])
        return size

    def _ranges(self, starts: Sequence[int], ends: Sequence[int]) -> list[bytes]:
        """Bytes of ranges, in one answer where they lie together; none where they did not come."""
        import obstore

        try:
            with _slots:
                found = obstore.get_ranges(
                    self._store, self._path, starts=starts, ends=ends, coalesce=_GAP
                )
        except (OSError, obstore.exceptions.BaseError) as error:
            self._failed = _told(error)
            return []
        parts = [bytes(one) for one in found]
        if any(len(one) != b - a for one, a, b in zip(parts, starts, ends, strict=True)):
            self._failed = "an answer is shorter than what was asked for"
            return []
        return parts

    def _page(self, number: int) -> bytes:
        page: bytes | None = self._kept.get(number)
        if page is None:
            start = number * _PAGE
            found = self._ranges([start], [min(start + _PAGE, self.size)])
            page = found[0] if found else b""
            if found:
                self._kept[number] = page
        return page

    def blocks(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """All that one reading needs; zeros where it did not come, see `check`."""
        head = self._kept.get(0, b"")
        wanted = [(a, a + n) for a, n in zip(offsets, sizes, strict=True)]
        missing = [one for one in wanted if one[1] > len(head)]
        starts, ends = [a for a, _ in missing], [b for _, b in missing]
        came = dict(zip(missing, self._ranges(starts, ends) if missing else [], strict=False))
        if self._failed:
            return [bytes(n) for n in sizes]
        return [came[a, b] if (a, b) in came else head[a:b] for a, b in wanted]

    def part(self, start: int, end: int) -> bytes:
        """A part of the header; empty where it did not come."""
        pages = range(start // _PAGE, -(-end // _PAGE))
        if len(pages) > 2:  # not a header
            return b"".join(self._ranges([start], [end]))
        first = pages[0] * _PAGE
        return b"".join(map(self._page, pages))[start - first : end - first]


class _File:
    """What rasterio asks of an open file in GDAL's name."""

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
    """A folder in which there is one file, and none beside that GDAL may look for."""

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


def _patience() -> tuple[float, float, int, float]:
    """Seconds for a request and for connecting, times and seconds to try again."""
    return (
        float(setting("GDAL_HTTP_TIMEOUT")),
        float(setting("GDAL_HTTP_CONNECTTIMEOUT")),
        int(setting("GDAL_HTTP_MAX_RETRY")),
        float(setting("GDAL_HTTP_RETRY_DELAY")),
    )


@lru_cache(maxsize=64)
def _store(server: str, query: str, patience: tuple[float, float, int, float]) -> Any:  # noqa: ANN401
    """Connections to a server; of each signature its own."""
    from obstore.store import HTTPStore

    timeout, connect, retries, delay = patience
    return HTTPStore(
        f"{server}/?{query}" if query else server,
        client_options={
            "allow_http": True,
            "timeout": dt.timedelta(seconds=timeout),
            "connect_timeout": dt.timedelta(seconds=connect),
        },
        retry_config={
            "max_retries": retries,
            "backoff": {
                "init_backoff": dt.timedelta(seconds=delay),
                "max_backoff": dt.timedelta(seconds=max(15.0, delay)),
                "base": 2,
            },
            "retry_timeout": dt.timedelta(seconds=_PATIENCE),
        },
    )


def _told(error: Exception) -> str:
    """What obstore says, without what it says to those who mend obstore."""
    return str(error).split("\n", 1)[0].strip().rstrip(":")
