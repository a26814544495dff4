"""Arguments of the wrong kind or out of range, told by name before any work is done."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

from cubecrop.errors import ArgumentError, CubecropError, OutputError

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = [
    "brief",
    "check_flag",
    "check_folder",
    "check_names",
    "check_number",
    "check_path",
    "check_share",
    "check_whole",
]  # fmt: skip

#: A value that takes longer to tell is told by its type.
_LONGEST = 80


def brief(value: object) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= _LONGEST and "\n" not in text else f"a {type(value).__name__}"


def check_flag(name: str, value: object) -> bool:
    """Raise unless a value is True or False; ``"no"`` would count as True."""
    if type(value).__name__ not in {"bool", "bool_"}:  # NumPy's too, which is not imported here
        raise ArgumentError(f"{name} is {brief(value)}, expected True or False.")
    return bool(value)


def check_whole(
    name: str, value: object, *, minimum: int, error: type[CubecropError] = ArgumentError
) -> int:
    """Give a whole number as int; raise where it is none or too small."""
    try:
        number = minimum - 1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = minimum - 1
    if number < minimum:
        raise error(f"{name} is {brief(value)}, expected a whole number, {minimum} or more.")
    return number


def check_number(
    name: str,
    value: object,
    *,
    minimum: float = -math.inf,
    above: float = -math.inf,
    what: str,
    error: type[CubecropError] = ArgumentError,
) -> float:
    """Give a finite number as float; raise where it is none or too small."""
    number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    if not (math.isfinite(number) and number >= minimum and number > above):
        raise error(f"{name} is {brief(value)}, expected {what}.")
    return number


def check_share(
    name: str,
    value: object,
    *,
    whole: bool = False,
    error: type[CubecropError] = ArgumentError,
) -> float:
    """Give a share from 0 to below 1, with ``whole`` to 1; raise where a value is none."""
    number = check_number(
        name, value, minimum=0, what=f"a share from 0 to {'' if whole else 'below '}1", error=error
    )
    if number > 1 or (number == 1 and not whole):
        raise error(
            f"{name} is {value!r}, expected a share from 0 to {'' if whole else 'below '}1."
        )
    return number


def check_names(
    name: str,
    value: object,
    among: Collection[str],
    *,
    empty: bool = False,
    error: type[CubecropError] = ArgumentError,
) -> tuple[str, ...]:
    """Give names as a tuple, each once; raise where a value is one name or holds others."""
    names: tuple[object, ...] | None = None
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        names = tuple(value)
    known = [one for one in names or () if isinstance(one, str) and one in among]
    if names is None or len(known) < len(names) or not (names or empty):
        example = value if isinstance(value, str) and value in among else next(iter(among))
        raise error(
            f"{name} is {brief(value if names is None else names)}, expected a tuple of some of "
            f"{list(among)}, as in `{name}=({example!r},)`."
        )
    return tuple(dict.fromkeys(known))


def check_path(name: str, value: object, *, error: type[CubecropError] = ArgumentError) -> Path:
    """Give a path; raise where a value is none."""
    if not isinstance(value, str | os.PathLike):
        raise error(f"{name} is {brief(value)}, expected a path.")
    return Path(value)


def check_folder(name: str, value: object) -> None:
    """Raise unless a value is None or the path of a folder that is there or can be made."""
    if value is None:
        return
    folder = check_path(name, value).expanduser()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{name} is {folder}, which is a file; expected a folder. Name another.")
    parent = next((one for one in folder.absolute().parents if one.exists()), None)
    if parent is not None and not parent.is_dir():
        raise OutputError(f"{name} is {folder}, but {parent} is a file. Name another folder.")
