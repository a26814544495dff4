"""Numbers and names as the report writes them: ``.50 ± .02 (.45-.55)``."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any, Final

from cubecrop.display import MONTHS, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "FEW_GROUPS", "cited", "counted", "day_text", "escaped", "level_text", "named", "place",
    "plus", "protocol_title", "scored", "share", "signed", "spanned",
]  # fmt: skip

#: An interval from fewer groups is marked: resamples of few groups vary too little.
FEW_GROUPS: Final = 10
#: Title of each protocol, and how a sentence says it.
_PROTOCOLS: Final = {
    "random": ("Random folds", "under random folds"),
    "blocked": ("Spatial blocks", "in spatial blocks"),
    "knndm": ("kNNDM folds", "under kNNDM folds"),
    "leave-region-out": ("New region", "in a new region"),
    "leave-year-out": ("New year", "in a new year"),
    "region-and-year": ("Region and year", "in a new region and year"),
}
_MINUS: Final = "\N{MINUS SIGN}"
_TO: Final = "\N{EN DASH}"
_LONGEST: Final = 60


def share(value: float) -> str:
    """A share with two digits: ``.50``, ``1.00``, a minus before ``.05``; a dash for NaN."""
    if not math.isfinite(value):
        return _TO
    text = f"{abs(value):.2f}"
    sign = _MINUS if value < 0 and text != "0.00" else ""
    return sign + (text.removeprefix("0"))


def spanned(low: float, high: float) -> str:
    """An interval of shares: ``.45`` and ``.55`` with a dash between them."""
    return f"{share(low)}{_TO}{share(high)}"


def scored(row: Mapping[str, Any]) -> str:
    """Value, spread over seeds and interval of a row: ``.50 ± .02`` and `spanned` in brackets."""
    spread = f" ± {share(row['spread'])}" if math.isfinite(row["spread"]) else ""
    return f"{share(row['value'])}{spread} ({spanned(row['low'], row['high'])})"


def signed(value: float, low: float, high: float) -> str:
    """A difference and its interval with signs: ``+.05 (+.02 to +.08)``."""
    if not math.isfinite(value):
        return _TO
    return f"{plus(value)} ({plus(low)} to {plus(high)})"


def plus(value: float) -> str:
    """A difference with its sign: ``+.05``."""
    text = share(value)
    return text if text.startswith(_MINUS) or text in (".00", _TO) else f"+{text}"


def counted(row: Mapping[str, Any]) -> str:
    """The numbers behind a score: ``n = 400 parcels in 200 groups, 3 seeds``."""
    seeds = "1 seed" if row["seeds"] == 1 else f"{row['seeds']} seeds"
    return f"n = {row['n']:,} parcels in {row['groups']:,} groups, {seeds}"


def day_text(row: Mapping[str, Any]) -> str:
    """A day of the season and its interval: ``120 (110 to never)``."""
    day, low, high = (
        f"{row[name]:.0f}" if math.isfinite(row[name]) else "never"
        for name in ("day", "low", "high")
    )
    return f"{day} ({low} to {high})"


def named(name: object) -> str:
    """A name from outside as one printable line."""
    return plain(name, longest=_LONGEST) or "(no name)"


def cited(name: object) -> str:
    """A name in quotation marks."""
    return f"\N{LEFT DOUBLE QUOTATION MARK}{named(name)}\N{RIGHT DOUBLE QUOTATION MARK}"


def escaped(text: object) -> str:
    """Text as HTML, for content and for attributes in double quotes."""
    return html.escape(str(text), quote=True)


def place(protocol: str) -> str:
    """A protocol in a sentence."""
    return _PROTOCOLS[protocol][1] if protocol in _PROTOCOLS else f"under {cited(protocol)}"


def level_text(variant: str, level: float) -> str:
    """A level of a variant in words; "" without one."""
    if not math.isfinite(level):
        return ""
    if variant.endswith("dates kept"):
        return f"{100 * level:.0f} %"
    if variant.endswith("month lost") and level in range(1, 13):
        return MONTHS[int(level) - 1]
    return f"{level:g}"


def protocol_title(protocol: str) -> str:
    """A protocol as a heading."""
    return _PROTOCOLS[protocol][0] if protocol in _PROTOCOLS else named(protocol)
