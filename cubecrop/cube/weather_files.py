"""Remote Zarr stores over HTTP; each request is signed, and repeated if it fails."""

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
    """Open a Zarr store at an address, lazily.

    Parameters
    ----------
    href : str
        An ``http`` or ``https`` address.
    access : Access
        Its signer is called for every request, so that tokens may expire in between.

    Returns
    -------
    zarr.storage.FsspecStore
        Reads raise `ReadError`, which names the address. As in Zarr, missing chunks are no error.
    """
    from zarr.storage import FsspecStore

    files = _WebFiles(
        asynchronous=True,
        signer=access.signer,
        # trust_env: use proxies, and a token in ~/.netrc, which the Earth Data Hub requires.
        client_kwargs={"trust_env": True, "timeout": aiohttp.ClientTimeout(total=_TIMEOUT)},
    )
    return FsspecStore(fs=files, path=href.rstrip("/"), read_only=True)


class _WebFiles(HTTPFileSystem):  # type: ignore[misc]
    """Files over HTTP; each request is signed, and repeated if it fails."""

    protocol: ClassVar[Any] = ("http", "https")
    cachable = False

    def __init__(self, *args: Any, signer: Any = None, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **options)
        self._signer = signer

    async def set_session(self) -> Any:  # noqa: ANN401
        """Open a session, and close it with this object, which fsspec leaves to its users."""
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
                content: bytes = await super()._cat_file(signed, start=start, end=end, **options)
                return content
            except (aiohttp.ClientError, TimeoutError) as error:
                status = getattr(error, "status", None)
                refused = status is not None and status not in _BUSY
                renew = refused and self._signer is not None and not renewed
                if (refused and not renew) or attempt + 1 == _ATTEMPTS:
                    text = getattr(error, "message", "") or str(error) or type(error).__name__
                    text = f"{status}: {text}" if status else text
                    raise ReadError(
                        f"weather at {url.split('?')[0]} cannot be read: {text}. "
                        f"{_cure(url, status)}"
                    ) from error
            renewed |= renew
            await asyncio.sleep(_DELAY * 2**attempt)
        raise AssertionError  # pragma: no cover (the loop returns or raises)


def _cure(url: str, status: int | None) -> str:
    if status in {401, 403}:
        host = urlsplit(url).hostname
        return f"Add the line `machine {host} password TOKEN` to ~/.netrc."
    return "Try again later, or give another source, `weather=...`."
