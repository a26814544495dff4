"""Text and HTML of objects for `repr` and notebooks.

Names come from untrusted tables and catalogues, so text never becomes markup or a control
character.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Final

from cubecrop.texts import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "MONTHS", "Safe", "block", "day_text", "html_table", "listed", "markdown_safe",
    "markdown_table", "plain", "swatches",
]  # fmt: skip

_LONGEST: Final = 60
_MOST: Final = 12
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


class Safe(str):
    """Text that is HTML already."""

    __slots__ = ()


def plain(text: object, *, longest: int = _LONGEST) -> str:
    """One printable line, cut if it is too long."""
    return one_line(text, length=longest)


def listed(names: Iterable[object], *, most: int = _MOST) -> str:
    """Names in one line; if there are many, the first ones and the number of the others."""
    texts = [plain(name, longest=30) for name in names]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def day_text(month: int, day: int) -> str:
    """A day of the year in words: "1 September"."""
    return f"{day} {MONTHS[month - 1]}"


def block(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """A title and indented lines "name: text"."""
    return "\n".join([title, *(f"  {name}: {text}" for name, text in rows)])


def html_table(
    title: str, rows: Iterable[Sequence[str]], *, header: Sequence[str] | None = None
) -> str:
    """A small table as HTML; every text is escaped unless it is `Safe`."""

    def cells(row: Sequence[str], tag: str) -> str:
        style = ' style="text-align:left"'
        return "".join(f"<{tag}{style}>{_escaped(text)}</{tag}>" for text in row)

    head = f"<thead><tr>{cells(header, 'th')}</tr></thead>" if header else ""
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<div><b>{_escaped(title)}</b><table>{head}<tbody>{body}</tbody></table></div>"


def swatches(names: Sequence[str], colours: Sequence[str], *, most: int = 40) -> Safe:
    """Class names beside their colours, as HTML."""
    shown = "".join(
        '<span style="display:inline-block;margin-right:1em;white-space:nowrap">'
        '<span style="display:inline-block;width:.9em;height:.9em;margin-right:.3em;'
        f'border:1px solid #555;background:{html.escape(colour)}"></span>'
        f"{html.escape(plain(name, longest=30))}</span> "
        for name, colour in list(zip(names, colours, strict=True))[:most]
    )
    more = f"and {len(names) - most} more" if len(names) > most else ""
    return Safe(shown + more)


def _escaped(text: str) -> str:
    return text if isinstance(text, Safe) else html.escape(text)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    cells = [header, *rows]
    lines = [f"| {' | '.join(map(markdown_safe, row))} |" for row in cells]
    return [lines[0], f"|{'---|' * len(header)}", *lines[1:]]


def markdown_safe(text: str) -> str:
    """Text in which no character is markup."""
    return html.escape(re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text), quote=False)
