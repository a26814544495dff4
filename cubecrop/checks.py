"""Check the type and range of arguments before any work is done."""

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

#: A message shows only the type of a value whose text is longer.
_LONGEST = 80


def brief(value: object) -> str:
    """A value as text for a message."""
    text = repr(value)
    return text if len(text) <= _LONGEST and "\n" not in text else f"a {type(value).__name__}"


def check_flag(name: str, value: object) -> bool:
    """Raise unless a value is True or False; ``"no"`` would count as True."""
    if type(value).__name__ not in {"bool", "bool_"}:  # also NumPy's, without importing it
        raise ArgumentError(f"{name} is {brief(value)}, expected True or False.")
    return bool(value)


def check_whole(
    name: str, value: object, *, minimum: int, error: type[CubecropError] = ArgumentError
) -> int:
    """Return a whole number as int; raise if it is not one or too small."""
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
    """Return a finite number as float; raise if it is not one or too small."""
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
    """Return a share from 0 to below 1 (with ``whole`` up to 1); raise if it is not one."""
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
    """Return names as a tuple, each once; raise for a bare string or an unknown name."""
    names: tuple[object, ...] | None = None
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        names = tuple(value)
    known = [item for item in names or () if isinstance(item, str) and item in among]
    if names is None or len(known) < len(names) or not (names or empty):
        example = value if isinstance(value, str) and value in among else next(iter(among))
        raise error(
            f"{name} is {brief(value if names is None else names)}, expected a tuple of some of "
            f"{list(among)}, as in `{name}=({example!r},)`."
        )
    return tuple(dict.fromkeys(known))


def check_path(name: str, value: object, *, error: type[CubecropError] = ArgumentError) -> Path:
    """Return a path; raise if a value is not one."""
    if not isinstance(value, str | os.PathLike):
        raise error(f"{name} is {brief(value)}, expected a path.")
    return Path(value)


def check_folder(name: str, value: object) -> None:
    """Raise unless a value is None or the path of a folder that exists or can be made."""
    if value is None:
        return
    folder = check_path(name, value).expanduser()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{name} is {folder}, which is a file; expected a folder. Name another.")
    parent = next((one for one in folder.absolute().parents if one.exists()), None)
    if parent is not None and not parent.is_dir():
        raise OutputError(f"{name} is {folder}, but {parent} is a file. Name another folder.")
