"""Failures of a tile: which of them another attempt may mend."""

from __future__ import annotations

import re
from typing import Final

from cubecrop.errors import ArchiveError, CubecropError, OutputError, ReadError

__all__ = ["TransientError", "error_text", "is_transient", "is_transient_text"]

#: Messages about a server that is busy or gone for a while, and about signatures that expired.
#: A number alone is no HTTP status: messages also count bytes, pixels and items.
_PASSING: Final = re.compile(
    r"\b(HTTP|code|code on|status|error|read)\s?:?\s+(408|425|429|500|502|503|504)\b"
    r"|\b(429 Too Many|500 Internal|502 Bad|503 Service|503 Slow|504 Gateway)|request rate"
    r"|timed? ?out|time-?out|could ?n[o']t? (resolve|connect)|connection|operation too slow"
    r"|reset by peer|broken pipe|empty reply|SSL_ERROR_SYSCALL|not closed cleanly|transfer closed"
    r"|temporarily|expired|try again|ECONN|HTTP error code: 0\b",
    re.IGNORECASE,
)
#: Advice that ends our messages.
_ADVICE: Final = re.compile(r"\sTry again later")
_ADDRESS: Final = re.compile(r"\S*/\S*")


class TransientError(CubecropError, OSError):
    """Files were unreadable for a reason that may pass, so the tile is tried again."""


def is_transient(error: BaseException) -> bool:
    """Whether another attempt, or another worker, may succeed."""
    if isinstance(error, TransientError | TimeoutError | ConnectionError):
        return True
    if isinstance(error, OutputError) or not isinstance(error, ReadError | ArchiveError | OSError):
        return False
    return is_transient_text(str(error))


def is_transient_text(text: str) -> bool:
    """Whether the message of a failed reading names a reason that may pass."""
    # Leave out addresses, which can hold any word or number.
    said = _ADDRESS.sub("", _ADVICE.split(text)[0])
    return _PASSING.search(said) is not None


def error_text(error: BaseException) -> str:
    """Message of an error for records: cubecrop's own as it is, others with their type."""
    text = str(error).strip()
    if isinstance(error, CubecropError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
