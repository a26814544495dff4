"""Opening files of a cloud: GDAL's options, signing, and trying again.

GDAL itself retries what a server asks it to (429, 5xx) and what breaks on the way. What
remains are failures that it takes for an answer and caches: a header cut short, which it
calls an unknown format, and a token that ran out. For those the file is opened anew, under
a name that no cache knows and with a new signature.
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

#: Files of another machine that one task reads at a time: waiting is most of the work.
FILES_AT_ONCE: Final = 16
#: GDAL's configuration while files are read. An environment variable of the same name wins.
OPTIONS: Final[dict[str, str]] = {
    # No listing of folders and no look for files beside: a request each.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # Blocks that stand one after another in the file come in one answer, and several requests
    # share a connection where the server can.
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    # Headers of a season's files stay in memory from chunk to chunk: 16 KB each. Single blocks
    # pass through the same memory and drive headers out, so that it must hold what all threads
    # read for a chunk. GDAL takes its size from whoever reads the first file in a process.
    "CPL_VSIL_CURL_CACHE_SIZE": "536870912",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
}
_ready = threading.local()
#: Times that a file of another machine is opened, and seconds before the second time.
_ATTEMPTS: Final = 3
_DELAY: Final = 0.5
#: A file can lose its georeference with its end, which is an error where warnings are.
_FAILURES: Final = (
    rasterio.errors.RasterioError,
    rasterio.errors.NotGeoreferencedWarning,
    rasterio._err.CPLE_BaseError,
    OSError,
)
#: What GDAL says of a file that is not there, and will not be in a second.
_GONE: Final = re.compile(r"\b(404|410)\b|does not exist|NoSuchKey|NoSuchBucket")
#: And of one that this signature, or this account, may not read.
_REFUSED: Final = re.compile(r"\b(401|403)\b|AccessDenied|InvalidAccessKeyId|SignatureDoesNot")


class Web(Protocol):
    """Opens GeoTIFFs of an HTTP server in another way than GDAL does."""

    def __call__(
        self, href: str, kept: dict[Any, Any]
    ) -> AbstractContextManager[rasterio.DatasetReader]:
        """Open a file; ``kept`` is for what later openings of it need."""


@lru_cache(maxsize=4096)
def _scheme(href: str) -> str:
    return urlsplit(href).scheme


def is_remote(href: str) -> bool:
    """Whether a file is on another machine."""
    return _scheme(href) in {"http", "https", "s3"}


def stamp(href: str) -> tuple[int, ...]:
    """What tells a file of this machine from one that has its name later."""
    if _scheme(href):
        return ()
    try:
        told = os.stat(href)  # noqa: PTH116 (a path object for each of a season's files costs more)
    except OSError:
        return ()
    return told.st_mtime_ns, told.st_size


@contextmanager
def many_files() -> Iterator[None]:
    """Set GDAL's options for this thread once, and not for each of the files that it opens."""
    with rasterio.Env(**_unset(OPTIONS)):
        _ready.on = True
        try:
            yield
        finally:
            _ready.on = False


def _unset(options: dict[str, str]) -> dict[str, str]:
    """Options that no environment variable states."""
    return {key: value for key, value in options.items() if key not in os.environ}


def setting(name: str) -> str:
    """One of GDAL's options, as the environment or `OPTIONS` has it."""
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
        ``use(file)``; called anew at each attempt.
    is_known : bool, default False
        Whether the file was opened before and nobody asks where it lies: most of the time of
        opening one goes into its CRS, which is then left out.
    web : callable, optional
        What opens a GeoTIFF of an HTTP server; by default GDAL does.
    kept : dict, optional
        What ``web`` may keep of the file from one opening to the next.

    Returns
    -------
    Any
        What ``use`` gives.

    Raises
    ------
    ReadError
        Naming item and asset, after the last attempt.
    """
    attempts = _ATTEMPTS if is_remote(source.href) else 1
    refused, text = False, ""
    for attempt in range(attempts):
        try:
            return _once(source, use, attempt, renew=refused, is_known=is_known, web=web, kept=kept)
        except _FAILURES as error:
            if isinstance(error, CubecropError):
                raise
            text = _words(error)
        refused = _says(text, _REFUSED)
        if _says(text, _GONE) or (refused and source.access.signer is None):
            break
        if attempt + 1 < attempts:
            time.sleep(_DELAY * 2**attempt)
    # Outside the handler, so that GDAL's error is neither cause nor context: it cannot be
    # unpickled, and a cluster would hand on a plain Exception in place of this one.
    raise ReadError(
        f"asset {source.asset!r} of item {source.item!r} cannot be read: {text} "
        f"({_plain(source.href)}). {_cure(source, refused=refused)}"
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
    if attempt > 0:
        href, more = _uncached(href, attempt)
        options |= more
    known = is_known and scheme != "s3" and _driver(source.href) == "GTiff"
    if scheme == "" and getattr(_ready, "on", False):
        # What `rasterio.open` does beside costs as much as reading a header.
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
        remote = is_remote(href)  # else a path, or has GDAL's prefix already
        file = opened_again(f"/vsicurl/{href}" if remote else href, driver)
        if file is not None:
            return file
    return function(href, driver=driver, sharing=False)


def _uncached(href: str, attempt: int) -> tuple[str, dict[str, str]]:
    """Name a file so that GDAL remembers nothing of it; a fragment is never sent."""
    if href.startswith("s3://"):
        path = "/vsis3/" + href.removeprefix("s3://")
        return href, {"CPL_VSIL_CURL_NON_CACHED": path}
    return f"/vsicurl/{href}#{attempt}", {}


@lru_cache(maxsize=4096)
def _driver(href: str) -> str:
    """The format that archives use; others, VRT above all, can name further files."""
    return "JP2OpenJPEG" if urlsplit(href).path.lower().endswith(".jp2") else "GTiff"


def _words(error: BaseException) -> str:
    """What was said, with the cause that rasterio keeps apart, and no query with a token."""
    words = str(error)
    cause = error.__cause__
    if cause is not None and str(cause) not in words:
        words = f"{words}: {cause}"
    return re.sub(r"\?[^\s'\"#]+", "", words)


def _plain(href: str) -> str:
    return href.split("?")[0]


def _says(text: str, what: re.Pattern[str]) -> bool:
    # Names of files hold numbers too.
    return what.search(re.sub(r"\S*/\S*", "", text)) is not None


def _cure(source: Source, *, refused: bool) -> str:
    if not is_remote(source.href):
        return "Fetch the file again, or leave the item out of the archive."
    if refused:
        return "The server refuses it: see who may read it and with which credentials."
    return "Try again later, or go on without it: `write_map(..., max_lost=0.05)`."
