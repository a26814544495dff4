"""Text in figures: names from files are drawn as they are, never as markup."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from cubecrop.texts import one_line

__all__ = ["PLAIN", "words"]

#: Options of a matplotlib text for names from files: ``$`` and ``\\`` are not markup.
PLAIN: Final[dict[str, Any]] = {"parse_math": False, "usetex": False}
#: Replaces a character that no font of the figure has; the second if the first is missing too.
_MISSING: Final = ("□", "?")
_GENERIC: Final = ("serif", "sans-serif", "cursive", "fantasy", "monospace")


def words(text: object, *, length: int) -> str:
    """One line of at most ``length`` characters, all of them in the fonts of the figure."""
    line = one_line(text, length=length)
    if line.isascii():
        return line
    known = _characters(_families())
    missing = next((one for one in _MISSING if ord(one) in known), _MISSING[-1])
    return "".join(one if ord(one) in known else missing for one in line)


def _families() -> tuple[str, ...]:
    """Fonts that matplotlib is configured to use, in its order."""
    import matplotlib as mpl

    names: list[str] = []
    for family in mpl.rcParams["font.family"]:
        # A generic family stands for a list.
        names += mpl.rcParams[f"font.{family}"] if family in _GENERIC else [family]  # type: ignore[index]
    return tuple(names)


@cache
def _characters(families: tuple[str, ...]) -> frozenset[int]:
    """Code points that at least one of the installed fonts has."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    found: set[int] = set()
    for family in families:
        try:
            path = findfont(FontProperties(family=family), fallback_to_default=False)
        except ValueError:
            continue
        found.update(get_font(path).get_charmap())
    if not found:  # then matplotlib uses its default font
        found.update(get_font(findfont(FontProperties())).get_charmap())
    return frozenset(found)
