"""Signing addresses where files are opened: tokens live shorter than a run may take."""

from __future__ import annotations

import warnings
from typing import Final
from urllib.parse import urlsplit

from cubecrop.errors import MissingExtraError
from cubecrop.schema import Access

__all__ = ["COPERNICUS_S3", "OPEN_S3", "PLANETARY_COMPUTER_TOKENS", "sign_planetary_computer"]


def sign_planetary_computer(href: str, *, renew: bool = False) -> str:
    """Sign an address of the Planetary Computer's blob storage; others come back as they are.

    Tokens are kept by `planetary_computer` until a minute before they run out.

    Parameters
    ----------
    href : str
        Address of a file.
    renew : bool, default False
        Forget the tokens that are kept: one of them was refused.

    Raises
    ------
    MissingExtraError
        The package ``planetary-computer`` is not installed.
    """
    if not (urlsplit(href).hostname or "").endswith(".blob.core.windows.net"):
        return href
    try:
        with warnings.catch_warnings():
            # Its settings are declared in a way that pydantic 2 calls old.
            warnings.simplefilter("ignore", DeprecationWarning)
            from planetary_computer import sas
    except ImportError as error:
        raise MissingExtraError(
            f"{href} can be read with a token only, for which the package planetary-computer is "
            "needed. Install it with `pip install 'cubecrop[planetary-computer]'`."
        ) from error
    if renew:
        sas.TOKEN_CACHE.clear()
    return str(sas.sign_url(href))


PLANETARY_COMPUTER_TOKENS: Final = Access(signer=sign_planetary_computer)
#: Buckets that anybody reads without an account, in Frankfurt as those of Earth Search are.
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
