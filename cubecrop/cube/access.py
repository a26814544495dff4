"""Open local and remote files: GDAL's options, signed addresses, and retries.

GDAL itself retries a request when the server is busy (429, 5xx) or the connection breaks. It
takes two other failures for an answer, and caches them: a header that was cut short, which it
reports as an unknown format, and a token that expired. After a failure the file is opened again,
under a name that no cache knows and with a new signature, also by a later task of this process.
"""

from __future__ import annotations

import os
import re
import threading
import time
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

import rasterio
import rasterio.errors

from cubecrop.cube.reopening import opened_again
from cubecrop.errors import CubecropError, ReadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from cubecrop.cube.source import Source

__all__ = [
    "FILES_AT_ONCE",
    "OPTIONS",
    "Web",
    "is_remote",
    "many_files",
    "setting",
    "stamp",
    "with_file",
]

T = TypeVar("T")

#: Remote files that one task reads at a time: most of the work is waiting.
FILES_AT_ONCE: Final = 16
#: GDAL's configuration while files are read. An environment variable of the same name wins.
OPTIONS: Final[dict[str, str]] = {
    # Do not list folders or look for sidecar files: each costs a request.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # Fetch blocks that are adjacent in the file with one request, and let several requests share
    # a connection if the server supports it.
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    # The headers of a season's files, 16 KB each, stay in memory from chunk to chunk. Blocks pass
    # through the same memory and evict headers, so it must hold everything that all threads read
    # for a chunk. GDAL fixes its size when a process reads its first file.
    "CPL_VSIL_CURL_CACHE_SIZE": "536870912",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
}
_ready = threading.local()
#: How often each remote file has failed in this process.
_failures: dict[str, int] = {}
#: Attempts to open a remote file, and seconds before the second attempt.
_ATTEMPTS: Final = 3
_DELAY: Final = 0.5
#: A truncated file can lose its georeference: a warning, which raises where warnings are errors.
_FAILURES: Final = (
    rasterio.errors.RasterioError,
    rasterio.errors.NotGeoreferencedWarning,
    rasterio._err.CPLE_BaseError,
    OSError,
)
#: GDAL's messages about a file that does not exist: trying again does not help.
_GONE: Final = re.compile(r"\b(404|410)\b|does not exist|NoSuchKey|NoSuchBucket")
#: GDAL's messages about a file that this signature, or this account, may not read.
_REFUSED: Final = re.compile(r"\b(401|403)\b|AccessDenied|InvalidAccessKeyId|SignatureDoesNot")


class Web(Protocol):
    """Opens GeoTIFFs of an HTTP server without GDAL's own HTTP client."""

    def __call__(
        self, href: str, kept: dict[Any, Any]
    ) -> AbstractContextManager[rasterio.DatasetReader]:
        """Open a file; ``kept`` stores what later openings of the same file can use."""


@lru_cache(maxsize=4096)
def _scheme(href: str) -> str:
    return urlsplit(href).scheme


def is_remote(href: str) -> bool:
    """Whether a file is on another machine."""
    return _scheme(href) in {"http", "https", "s3"}


def stamp(href: str) -> tuple[int, ...]:
    """Time and size of a local file, to notice when another file takes its name."""
    if _scheme(href):
        return ()
    try:
        status = os.stat(href)  # noqa: PTH116 (making a path object for every file is slower)
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size


@contextmanager
def many_files() -> Iterator[None]:
    """Set GDAL's options for this thread once, instead of for every file that it opens."""
    with rasterio.Env(**_unset(OPTIONS)):
        _ready.on = True
        try:
            yield
        finally:
            _ready.on = False


def _unset(options: dict[str, str]) -> dict[str, str]:
    """The options that no environment variable sets."""
    return {key: value for key, value in options.items() if key not in os.environ}


def setting(name: str) -> str:
    """Value of one of GDAL's options, from the environment or else from `OPTIONS`."""
    return os.environ.get(name, OPTIONS[name])


def with_file(
    source: Source,
    use: Callable[[rasterio.DatasetReader], T],
    *,
    is_known: bool = False,
    web: Web | None = None,
    kept: dict[Any, Any] | None = None,
) -> T:
    """Open a file, use it and close it; if it is remote and fails, try again.

    Parameters
    ----------
    source : Source
        Which file.
    use : callable
        ``use(file)``; called once per attempt.
    is_known : bool, default False
        Whether the file was opened before and its CRS and geotransform are not needed. Most of
        the time of opening a file goes into its CRS, which is then skipped.
    web : callable, optional
        Opens a GeoTIFF of an HTTP server; by default GDAL does.
    kept : dict, optional
        Where ``web`` stores what it can use when the file is opened again.

    Returns
    -------
    Any
        What ``use`` returns.

    Raises
    ------
    ReadError
        The last attempt failed; the message names item and asset.
    """
    attempts = _ATTEMPTS if is_remote(source.href) else 1
    refused, text = False, ""
    for attempt in range(attempts):
        try:
            return _once(source, use, attempt, renew=refused, is_known=is_known, web=web, kept=kept)
        except _FAILURES as error:
            if isinstance(error, CubecropError):
                raise
            text = _message(error)
            if attempts > 1:
                _failures[source.href] = _failures.get(source.href, 0) + 1
        refused = _matches(text, _REFUSED)
        if _matches(text, _GONE) or (refused and source.access.signer is None):
            break
        if attempt + 1 < attempts:
            time.sleep(_DELAY * 2**attempt)
    # Raised outside the handler, so that GDAL's error is neither cause nor context: it cannot be
    # unpickled, and a cluster would pass on a plain Exception instead of this one.
    where = f"asset {source.asset!r} of item {source.item!r}" if source.item else source.asset
    raise ReadError(
        f"{where} cannot be read: {text} "
        f"({_without_query(source.href)}). {_cure(source, refused=refused)}"
    )


def _once(
    source: Source,
    use: Callable[[rasterio.DatasetReader], T],
    attempt: int,
    *,
    renew: bool,
    is_known: bool,
    web: Web | None,
    kept: dict[Any, Any] | None,
) -> T:
    href, access, options = source.href, source.access, {}
    scheme = _scheme(href)
    if scheme == "s3":
        if missing := [name for name in access.environment if not os.environ.get(name)]:
            raise ReadError(
                f"asset {source.asset!r} of item {source.item!r} ({href}) needs the environment "
                f"variables {missing}, which are not set where it is read. {access.cure}"
            )
        options = dict(access.options)
    elif scheme in {"http", "https"} and access.signer is not None:
        href = access.signer(href, renew=renew)
    if web is not None and scheme in {"http", "https"} and _driver(source.href) == "GTiff":
        kept = {} if kept is None else kept
        if attempt > 0:
            kept.clear()
        with rasterio.Env(**_unset(OPTIONS)), web(href, kept) as file:
            return use(file)
    if number := _failures.get(source.href):
        href, more = _uncached(href, number)
        options |= more
    known = is_known and scheme != "s3" and _driver(source.href) == "GTiff"
    if scheme == "" and getattr(_ready, "on", False):
        # `rasterio.open` spends as much time on other checks as on reading a header.
        with _opened(rasterio.DatasetReader, href, source, known=known) as file:
            return use(file)
    with (
        rasterio.Env(**_unset(OPTIONS | options)),
        _opened(rasterio.open, href, source, known=known) as file,
    ):
        return use(file)


def _opened(
    function: Callable[..., rasterio.DatasetReader], href: str, source: Source, *, known: bool
) -> rasterio.DatasetReader:
    driver = _driver(source.href)
    if known:
        remote = is_remote(href)  # otherwise a path, or an address with GDAL's prefix
        file = opened_again(f"/vsicurl/{href}" if remote else href, driver)
        if file is not None:
            return file
    return function(href, driver=driver, sharing=False)


def _uncached(href: str, number: int) -> tuple[str, dict[str, str]]:
    """Give a file a name that GDAL's cache does not know; fragments are not sent to servers."""
    if href.startswith("s3://"):
        path = "/vsis3/" + href.removeprefix("s3://")
        return href, {"CPL_VSIL_CURL_NON_CACHED": path}
    return f"/vsicurl/{href}#{number}", {}


@lru_cache(maxsize=4096)
def _driver(href: str) -> str:
    """GDAL's driver: only formats of archives, since others, such as VRT, open further files."""
    return "JP2OpenJPEG" if urlsplit(href).path.lower().endswith(".jp2") else "GTiff"


def _message(error: BaseException) -> str:
    """The error's message with its cause, which rasterio keeps apart, but without any token."""
    text = str(error)
    cause = error.__cause__
    if cause is not None and str(cause) not in text:
        text = f"{text}: {cause}"
    # A query may hold a token.
    return re.sub(r"\?[^\s'\"#]+", "", text)


def _without_query(href: str) -> str:
    return href.split("?")[0]


def _matches(text: str, pattern: re.Pattern[str]) -> bool:
    # Leave out addresses, which can hold the same numbers as HTTP statuses.
    return pattern.search(re.sub(r"\S*/\S*", "", text)) is not None


def _cure(source: Source, *, refused: bool) -> str:
    if not source.item and not refused:
        return "Check its path or address."
    if not is_remote(source.href):
        return "Fetch the file again, or remove the item from the archive."
    if refused:
        return "The server denies access: check who may read the file and with which credentials."
    return "Try again later, or continue without the file: `write_map(..., max_lost=0.05)`."
