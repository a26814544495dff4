"""Detect the text encoding of an attribute table."""

from __future__ import annotations

import codecs
import re
import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.errors import AoiError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["MOST_BYTES", "encoding_of_csv", "encoding_of_dbf"]

#: Bytes of a table that are read to detect its encoding.
MOST_BYTES: Final = 256 * 2**20
#: Windows writes this where Latin-1 is declared: the same letters and more signs.
_WESTERN: Final = "cp1252"
_WESTERN_PAGES: Final = (0x00, 0x03, 0x57)
_LATIN: Final = {"iso8859-1", "ascii", "cp1252"}


def encoding_of_dbf(table: bytes, declared: str | None, name: str) -> str | None:
    """Choose the encoding of a shapefile's attribute table; its bytes outrank its declaration.

    Text that is valid UTF-8 with letters beyond ASCII is read as UTF-8, whatever is declared:
    text in another encoding is hardly ever valid UTF-8. Other text without a declaration is
    read as Western European, as GDAL does.

    Parameters
    ----------
    table : bytes
        The .dbf file, or as much of it as was read.
    declared : str, optional
        Text of the .cpg file.
    name : str
        Path for messages.

    Returns
    -------
    str or None
        A Python codec; None if GDAL's own choice is right.

    Raises
    ------
    AoiError
        The table is not in the declared encoding, or that encoding is not known.
    """
    texts = _texts_beyond_ascii(table)
    if not texts:
        return None
    valid = {_is_utf8(text) for text in texts}
    if valid <= {True, None} and True in valid:
        return "utf-8"
    if declared is None:
        # This byte of the header is the code page; GDAL knows the other pages.
        return _WESTERN if table[29] in _WESTERN_PAGES else None
    codec = _codec(declared)
    if codec is None or codec == "utf-8":
        cure = (
            "Remove the .cpg file if the table is Western European, or name the true encoding: "
            f"`geopandas.read_file({name!r}, encoding='cp1252')`."
        )
        problem = "is not UTF-8" if codec else "holds letters beyond ASCII"
        raise AoiError(
            f"{name} has an attribute table that {problem}, but its .cpg file declares the "
            f"encoding {declared!r}. {cure}"
        )
    return _WESTERN if codec in _LATIN else codec


def encoding_of_csv(path: Path) -> str | None:
    """Choose Western European for text that is not UTF-8."""
    with path.open("rb") as file:
        text = file.read(MOST_BYTES)
    return _WESTERN if _is_utf8(text) is False else None


def _codec(declared: str) -> str | None:
    """The codec that a .cpg file declares, as a name, a bare number or one of Esri's words."""
    word = declared.strip().lower()
    number = re.fullmatch(r"(?:ansi|cp|oem|windows|ibm)?[ _-]*(\d{3,5})", word)
    candidates = [word, f"cp{number[1]}" if number else ""]
    if number and number[1].startswith("8859"):
        candidates.append(f"iso-8859-{number[1][4:]}")
    if word in {"ansi", "system"}:
        return _WESTERN
    for candidate in candidates:
        try:
            return codecs.lookup(candidate).name
        except (LookupError, ValueError):
            continue
    return None


def _is_utf8(text: bytes) -> bool | None:
    """Whether bytes are UTF-8; None if the last character is incomplete, as after a cut."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        return None if error.reason == "unexpected end of data" else False
    return True


def _texts_beyond_ascii(table: bytes) -> list[bytes]:
    """Different values of text fields that hold bytes above 127."""
    if len(table) < 32:
        return []
    n_records, head, width = struct.unpack("<IHH", table[4:12])
    n_records = min(n_records, (len(table) - head) // width if width else 0)
    if n_records <= 0:
        return []
    body: NDArray[np.uint8] = np.frombuffer(
        table, np.uint8, count=n_records * width, offset=head
    ).reshape(n_records, width)
    found: set[bytes] = {name for name, _, _ in _fields(table, head) if max(name, default=0) > 127}
    for _, start, stop in _fields(table, head):
        column = body[:, start:stop]
        rows = column[(column > 127).any(axis=1)]
        found.update(row.tobytes().rstrip(b" \0") for row in np.unique(rows, axis=0))
    return list(found)


def _fields(table: bytes, head: int) -> list[tuple[bytes, int, int]]:
    """Name, first and last byte in a record of each text field."""
    fields, start = [], 1
    for at in range(32, head - 31, 32):
        field = table[at : at + 32]
        if len(field) < 32 or field[0] == 0x0D:
            break
        stop = start + field[16]
        if field[11:12] == b"C":
            fields.append((field[:11].split(b"\0")[0], start, stop))
        start = stop
    return fields
