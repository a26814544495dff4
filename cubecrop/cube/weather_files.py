"""Zarr stores of another machine, over plain HTTP: signed and asked again at each read."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

import aiohttp
from fsspec.implementations.http import HTTPFileSystem

from cubecrop.errors import ReadError

if TYPE_CHECKING:
    from zarr.storage import FsspecStore

    from cubecrop.schema import Access

__all__ = ["web_store"]

_BUSY: Final = {429, 500, 502, 503, 504}
_ATTEMPTS: Final = 5
_DELAY: Final = 0.5
#: Seconds for one chunk of one variable.
_TIMEOUT: Final = 120


def web_store(href: str, access: Access) -> FsspecStore:
    """A Zarr store at an address, to be read lazily.

    Parameters
    ----------
    href : str
        An ``http`` or ``https`` address.
    access : Access
        Its signer is called at every request, so that tokens may run out in between.

    Returns
    -------
    zarr.storage.FsspecStore
        Reads raise `ReadError` naming the address; what is not there is absent, as Zarr has it.
    """
    from zarr.storage import FsspecStore

    files = _WebFiles(
        asynchronous=True,
        signer=access.signer,
        # trust_env: a token in ~/.netrc, as the Earth Data Hub asks for, and proxies.
        client_kwargs={"trust_env": True, "timeout": aiohttp.ClientTimeout(total=_TIMEOUT)},
    )
    return FsspecStore(fs=files, path=href.rstrip("/"), read_only=True)


class _WebFiles(HTTPFileSystem):  # type: ignore[misc]
    """Files over HTTP that are signed anew at each request, and asked for again."""

    protocol: ClassVar[Any] = ("http", "https")
    cachable = False

    def __init__(self, *args: Any, signer: Any = None, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **options)
        self._signer = signer

    async def set_session(self) -> Any:  # noqa: ANN401
        """The session of these files, closed when they are gone; fsspec leaves that to users."""
        opened = self._session is not None
        session = await super().set_session()
        if not opened:
            weakref.finalize(self, self.close_session, asyncio.get_running_loop(), session)
        return session

    async def _cat_file(
        self,
        url: str,
        start: int | None = None,
        end: int | None = None,
        **options: Any,  # noqa: ANN401 (as fsspec declares it)
    ) -> bytes:
        renewed = renew = False
        for attempt in range(_ATTEMPTS):
            try:
                signed = self._signer(url, renew=renew) if self._signer else url
                found: bytes = await super()._cat_file(signed, start=start, end=end, **options)
                return found
            except (aiohttp.ClientError, TimeoutError) as error:
                status = getattr(error, "status", None)
                refused = status is not None and status not in _BUSY
                renew = refused and self._signer is not None and not renewed
                if (refused and not renew) or attempt + 1 == _ATTEMPTS:
                    words = getattr(error, "message", "") or str(error) or type(error).__name__
                    said = f"{status}: {words}" if status else words
                    raise ReadError(
                        f"weather at {url.split('?')[0]} cannot be read: {said}. "
                        f"{_cure(url, status)}"
                    ) from error
            renewed |= renew
            await asyncio.sleep(_DELAY * 2**attempt)
        raise AssertionError  # pragma: no cover (the loop returns or raises)


def _cure(url: str, status: int | None) -> str:
    if status in {401, 403}:
        host = urlsplit(url).hostname
        return f"Put a line `machine {host} password TOKEN` in ~/.netrc."
    return "Try again later, or take another source: `weather=...`."
