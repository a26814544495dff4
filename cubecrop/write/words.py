"""Words in figures: what a stranger wrote is drawn as it is written, or not at all."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from cubecrop.texts import one_line

__all__ = ["PLAIN", "words"]

#: Options of a matplotlib text that holds somebody's words: ``$`` and ``\\`` are no markup.
PLAIN: Final[dict[str, Any]] = {"parse_math": False, "usetex": False}
#: In place of a character that no font of the figure has; the second where the first is none.
_MISSING: Final = ("□", "?")
_GENERIC: Final = ("serif", "sans-serif", "cursive", "fantasy", "monospace")


def words(text: object, *, length: int) -> str:
    """A text of at most so many characters that the fonts of a figure have, on one line."""
    line = one_line(text, length=length)
    if line.isascii():
        return line
    known = _characters(_families())
    missing = next((one for one in _MISSING if ord(one) in known), _MISSING[-1])
    return "".join(one if ord(one) in known else missing for one in line)


def _families() -> tuple[str, ...]:
    """Fonts that matplotlib is set to, in its order."""
    import matplotlib as mpl

    names: list[str] = []
    for family in mpl.rcParams["font.family"]:
        # A generic family stands for a list.
        names += mpl.rcParams[f"font.{family}"] if family in _GENERIC else [family]  # type: ignore[index]
    return tuple(names)


@cache
def _characters(families: tuple[str, ...]) -> frozenset[int]:
    """Code points that one of the fonts has, of those that are installed."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    found: set[int] = set()
    for family in families:
        try:
            path = findfont(FontProperties(family=family), fallback_to_default=False)
        except ValueError:
            continue
        found.update(get_font(path).get_charmap())
    if not found:  # then matplotlib takes its own
        found.update(get_font(findfont(FontProperties())).get_charmap())
    return frozenset(found)
