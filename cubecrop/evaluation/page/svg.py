"""Parts of figures in SVG: texts, scales, axes and marks.

Colours are classes ``s0`` to ``s5`` of the page's style sheet. Each series also has its own mark
and dash, so that nothing is told by colour alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cubecrop.colours import SERIES_COLOURS
from cubecrop.evaluation.page.numbers import escaped, named, share

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "N_SERIES", "WIDTH", "Scale", "figure", "legend", "line", "mark", "nice_range", "short", "text",
    "ticks",
]  # fmt: skip

#: Width of all figures, in units of their text of 12.
WIDTH: Final = 960
N_SERIES: Final = len(SERIES_COLOURS)
#: Mean width of a letter.
LETTER: Final = 6.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From values to positions, on a line or a logarithm."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Position of a value."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        part = (value - low) / (high - low) if high > low else 0.5
        return self.start + (self.stop - self.start) * part


def nice_range(values: Sequence[float], *, step: float = 0.1) -> tuple[float, float]:
    """Multiples of a step around finite values."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return 0.0, 1.0
    low = math.floor(min(known) / step + 1e-9) * step
    high = math.ceil(max(known) / step - 1e-9) * step
    return low, high if high > low else low + step


def ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Round values from low to high."""
    span = high - low
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next((m * power for m in (1, 2, 5, 10) if m * power >= raw - 1e-12), power)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def short(name: object, width: float) -> str:
    """A name cut to a width."""
    letters = max(4, int(width / LETTER))
    whole = named(name)
    return whole if len(whole) <= letters else f"{whole[: letters - 1].rstrip()}…"


def text(
    x: float, y: float, content: object, *, anchor: str = "start", kind: str = "", turn: float = 0
) -> str:
    """A text; ``turn`` is in degrees."""
    attributes = f'x="{x:.1f}" y="{y:.1f}"'
    attributes += f' text-anchor="{anchor}"' if anchor != "start" else ""
    attributes += f' class="{kind}"' if kind else ""
    attributes += f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
    return f"<text {attributes}>{escaped(content)}</text>"


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def mark(x: float, y: float, series: int, *, hollow: bool = False, size: float = 4.5) -> str:
    """The mark of a series; hollow for a value that says little."""
    kind = f"mark s{series % N_SERIES}" + (" hollow" if hollow else "")
    shape = series % N_SERIES
    if shape == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:g}" class="{kind}"/>'
    corners = _SHAPES[shape - 1]
    points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" class="{kind}"/>'


_SHAPES: Final = (
    ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    ((0, -1.15), (1.1, 0.85), (-1.1, 0.85)),
    ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    ((0, 1.15), (1.1, -0.85), (-1.1, -0.85)),
    (
        (-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4), (0.4, 1.2),
        (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4),
    ),
)  # fmt: skip


def legend(names: Sequence[str], y: float, x: float = 0) -> tuple[str, float]:
    """Names beside line and mark, wrapped; and the height that they take."""
    parts, start, top = [], x, y
    for series, name in enumerate(names):
        label = short(name, 300)
        width = 46 + LETTER * len(label)
        if x + width > WIDTH and x > start:
            x, y = start, y + 20
        parts.append(line(x, y - 4, x + 26, y - 4, f"line s{series % N_SERIES}"))
        parts += [mark(x + 13, y - 4, series), text(x + 32, y, label)]
        x += width
    return "".join(parts), y - top + 20


def figure(
    name: str, title: str, description: str, content: str, height: float, *, width: float = WIDTH
) -> str:
    """A figure with a title and a description for readers who cannot see it."""
    small = f' style="max-width:{width:.0f}px;min-width:0"' if width < WIDTH else ""
    return (
        f'<figure id="figure-{name}" class="chart"><figcaption>{escaped(title)}</figcaption>'
        f'<div class="wide"><svg viewBox="0 0 {width:.0f} {height:.0f}"{small} role="img" '
        f'aria-labelledby="title-{name} desc-{name}"><title id="title-{name}">{escaped(title)}'
        f'</title><desc id="desc-{name}">{escaped(description)}</desc>{content}</svg></div>'
        f'<p class="note">{escaped(description)}</p></figure>'
    )


def tick_text(value: float) -> str:
    """A tick of an axis of shares."""
    return "0" if abs(value) < 1e-9 else share(value)
