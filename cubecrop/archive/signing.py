"""Sign addresses when files are opened, since tokens may expire during a run."""

from __future__ import annotations

import datetime as dt
import warnings
from typing import Final
from urllib.parse import parse_qs, urlsplit

from cubecrop.archive.identity import utc
from cubecrop.errors import MissingExtraError
from cubecrop.schema import Access

__all__ = ["COPERNICUS_S3", "OPEN_S3", "PLANETARY_COMPUTER_TOKENS", "sign_planetary_computer"]


def sign_planetary_computer(href: str, *, renew: bool = False) -> str:
    """Sign an address of the Planetary Computer's blob storage; others are returned unchanged.

    The package `planetary_computer` keeps tokens until a minute before they expire. A signature
    that has expired, as items have it that were saved signed, is replaced.

    Parameters
    ----------
    href : str
        Address of a file.
    renew : bool, default False
        Request new tokens, because the server refused one.

    Raises
    ------
    MissingExtraError
        The package ``planetary-computer`` is not installed.
    """
    if not (urlsplit(href).hostname or "").endswith(".blob.core.windows.net"):
        return href
    try:
        with warnings.catch_warnings():
            # Its settings use a form that pydantic 2 deprecates.
            warnings.simplefilter("ignore", DeprecationWarning)
            from planetary_computer import sas
    except ImportError as error:
        raise MissingExtraError(
            f"{href} needs a token, which the package planetary-computer requests. "
            "Install it with `pip install planetary-computer`."
        ) from error
    if renew:
        sas.TOKEN_CACHE.clear()
    return str(sas.sign_url(href.split("?")[0] if _has_expired(href) else href))


def _has_expired(href: str) -> bool:
    """Whether an address has a signature whose time ("se") is over."""
    try:
        (end,) = parse_qs(urlsplit(href).query)["se"]
        return utc(end) <= dt.datetime.now(dt.UTC)
    except (KeyError, ValueError):
        return False


PLANETARY_COMPUTER_TOKENS: Final = Access(signer=sign_planetary_computer)
#: Public buckets that need no account, in the region of Earth Search's buckets (Frankfurt).
OPEN_S3: Final = Access(options=(("AWS_NO_SIGN_REQUEST", "YES"), ("AWS_REGION", "eu-central-1")))
#: https://documentation.dataspace.copernicus.eu/APIs/S3.html
COPERNICUS_S3: Final = Access(
    options=(
        ("AWS_S3_ENDPOINT", "eodata.dataspace.copernicus.eu"),
        ("AWS_HTTPS", "YES"),
        ("AWS_VIRTUAL_HOSTING", "FALSE"),
        ("AWS_REGION", "default"),
    ),
    environment=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    cure=(
        "Make a key pair at https://eodata-s3keysmanager.dataspace.copernicus.eu with your CDSE "
        "account, and set both before the workers start."
    ),
)
