"""Make untrusted text safe for terminals, pictures and files.

Names of crops, items, archives and files may hold any characters. In output they are one line of
visible characters, never markup, and show no path of this machine.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from decimal import Decimal
from numbers import Integral, Real
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from cubecrop.checks import brief
from cubecrop.errors import LabelError

__all__ = [
    "cell_text",
    "json_text",
    "label_text",
    "label_texts",
    "one_line",
    "place_name",
    "plain_label",
    "printable",
    "slug",
    "without_paths",
]

#: Control sequences of terminals: CSI and OSC, with one or two bytes at their start.
_COMMANDS: Final = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)?"
)
#: Joiners that Persian, Indic scripts and emoji need.
_JOINERS: Final = "\u200c\u200d"
_REPLACEMENT: Final = "\ufffd"
_WINDOWS: Final = re.compile(r"[A-Za-z]:[\\/]|\\\\")
#: An absolute path in brackets, in quotes, or up to the next blank.
_PATHS: Final = (
    re.compile(r"(?<=\()(?:/|[A-Za-z]:[\\/])[^()\n]+(?=\))"),
    re.compile(r"(?<=')(?:/|[A-Za-z]:[\\/])[^'\n]+(?=')"),
    re.compile(r'(?<=")(?:/|[A-Za-z]:[\\/])[^"\n]+(?=")'),
    re.compile(r"(?<![\w:/\\.~%-])(?:/|[A-Za-z]:[\\/])[^\s'\"(),;:]+"),
)
#: Texts of missing labels, as pandas and exports of databases write them.
_NULLS: Final = frozenset(("<NA>", "NaT", "nan", "NaN", "None", "NULL", "null"))
#: A whole number in a column that also has nulls, made text.
_WHOLE: Final = re.compile(r"(-?[0-9]+)\.0")
#: Greatest number of folders above an item that belong to its archive.
_ABOVE: Final = 4


def one_line(text: object, *, length: int | None = None) -> str:
    """A text as one line of visible characters, cut with "…" if it is longer than ``length``.

    Terminal control sequences, control characters and marks of writing direction are removed.
    Line breaks and tabs become blanks, and characters that no file can hold become U+FFFD.
    """
    visible = " ".join(_visible(str(text)).split())
    if length is not None and len(visible) > length:
        return f"{visible[: length - 1].rstrip()}…"
    return visible


def cell_text(text: object) -> str:
    """A text as one line of a table; an apostrophe is put before what spreadsheets would run.

    They take a cell that begins with "=", "+", "-" or "@" for a formula. Numbers stay as they are.
    """
    line = one_line(text)
    if not line.startswith(("=", "+", "-", "@")) or re.fullmatch(r"[+-]?[\d.]+", line):
        return line
    return f"'{line}"


def printable(text: object) -> str:
    """A text with its lines and blanks, without terminal control sequences."""
    return "\n".join(_visible(line.expandtabs()) for line in str(text).split("\n"))


def _visible(text: str) -> str:
    return "".join(map(_character, _COMMANDS.sub("", text)))


def _character(one: str) -> str:
    if " " <= one <= "~" or one in _JOINERS:
        return one
    kind, number = unicodedata.category(one), ord(one)
    if kind in {"Zl", "Zp"} or one in "\t\n\v\f\r\x85":
        return " "
    if kind == "Cs" or number & 0xFFFE == 0xFFFE or 0xFDD0 <= number <= 0xFDEF:
        return _REPLACEMENT
    return "" if kind in {"Cc", "Cf"} else one


def place_name(place: object) -> str:
    """The name of an archive without private parts of its path or address.

    A file or folder keeps only its last name, a ``catalog.json`` that of its folder. An address
    loses user, password, query and fragment. Other names are unchanged.
    """
    text = str(place)
    parts = _split(text)
    if parts is not None and parts[0] != "file":
        return urlunsplit((parts[0], parts[1].rpartition("@")[2], parts[2], "", ""))
    if parts is not None:
        return _last_name(PurePosixPath(unquote(parts[2])), text)
    if _WINDOWS.match(text):
        return _last_name(PureWindowsPath(text), text)
    path = Path(text)
    if text.startswith(("/", "~", ".")) or (text and _is_there(path)):
        whole = path if path.name not in {"", ".."} else path.resolve()
        return _last_name(whole, text)
    return text


def _split(text: str) -> tuple[str, str, str] | None:
    """Scheme, host and path of an address; None for other text."""
    if "://" not in text:
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return (parts.scheme, parts.netloc, parts.path) if parts.scheme else None


def _last_name(path: PurePath, text: str) -> str:
    if path.name == "catalog.json":
        # A folder is opened through this file, so both get one name.
        path = path.parent if path.parent.name else Path(path).resolve().parent
    return path.name or text


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a path, or with a NUL
        return False


def without_paths(text: str, files: Iterable[str] = ()) -> str:
    """Shorten absolute paths in a message to the part that identifies the file.

    Parameters
    ----------
    text : str
        The message; web addresses are unchanged.
    files : iterable of str
        Paths that the message may be about: files near them keep their last folders.
    """
    near = {
        f"{folder}/"
        for file in files
        if file.startswith("/")
        for folder in list(PurePosixPath(file).parents)[:_ABOVE]
        if len(folder.parts) > 2
    }
    for folder in sorted(near, key=len, reverse=True):
        text = text.replace(folder, "")
    for pattern in _PATHS:
        text = pattern.sub(_cut, text)
    return text


def _cut(found: re.Match[str]) -> str:
    path = found[0]
    if "://" in path:
        return path
    form = PureWindowsPath if _WINDOWS.match(path) else PurePosixPath
    return form(path).name or path


def slug(text: str, *, length: int = 50) -> str:
    """A text in small letters, digits and ``_``; empty if nothing remains."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^0-9a-z]+", "_", plain.lower())[:length].strip("_")


def json_text(value: object, *, indent: int | None = None) -> str:
    """Readable JSON; characters that UTF-8 cannot hold become escapes."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate in a name
        return json.dumps(value, indent=indent)
    return text


def label_text(label: object) -> str | None:
    """A label as text: None for nulls and blanks; whole numbers lose their decimals.

    ``"nan"`` and ``"None"`` are what nulls become where a column is made text, and ``"311.0"`` is
    what 311 becomes beside them. Bytes are UTF-8, as programs write columns of text without saying
    so. Text that looks the same is the same; see `plain_label`.
    """
    if isinstance(label, bytes):
        label = label.decode(errors="replace")
    # Compare the text first, since pandas.NA has no truth value.
    if str(label) in _NULLS or label != label:
        return None
    # Floats of NumPy and decimals of databases are not of the type float.
    if isinstance(label, Real | Decimal) and not isinstance(label, Integral):
        number = float(label)
        label = int(number) if math.isfinite(number) and number.is_integer() else label
    return plain_label(str(label)) or None


def plain_label(text: str) -> str:
    """A label without blanks around it, and with one form of each accented letter (NFC)."""
    plain = unicodedata.normalize("NFC", text).strip()
    whole = _WHOLE.fullmatch(plain)
    return whole[1] if whole else plain


def label_texts(labels: object) -> list[str | None]:
    """Labels as `label_text` gives them.

    Raises
    ------
    LabelError
        The labels are one text, whose letters would be labels, a table or mapping, whose names
        would be, or nothing to go through.
    """
    # Elements of an xarray.DataArray are arrays.
    plain = labels.to_numpy() if hasattr(labels, "dims") and hasattr(labels, "to_numpy") else labels
    is_other = isinstance(plain, str | bytes | Mapping) or hasattr(plain, "columns")
    if is_other or not isinstance(plain, Iterable):
        raise LabelError(
            f"labels are {brief(labels)}, expected a list or a column of them, as in "
            "`['wheat', 'maize']`."
        )
    return [label_text(label) for label in plain]
