"""Figures: dots with intervals, curves, and a matrix of shares."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cubecrop.evaluation.page.numbers import escaped, share
from cubecrop.evaluation.page.svg import (
    LETTER,
    N_SERIES,
    WIDTH,
    Scale,
    figure,
    legend,
    line,
    mark,
    nice_range,
    short,
    text,
    tick_text,
    ticks,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Curve", "Dot", "Panel", "curves", "dots", "matrix"]

_ROW: Final = 26
#: Least width of a panel of dots.
_PANEL: Final = 118
_TextOf = Callable[[float], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A value with its interval, what hovering tells of it, and whether it says little."""

    value: float
    low: float
    high: float
    tip: str
    hollow: bool = False
    x: float = math.nan  # in curves


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A named line of dots; curves of one name look the same in all panels."""

    name: str
    dots: Sequence[Dot]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A part of a figure: dots by name of their row, or curves; a line marks ``reference``.

    ``axis``, ``x_text`` and ``log`` are those of a panel of curves.
    """

    title: str
    dots: dict[str, Dot] = field(default_factory=dict)
    curves: Sequence[Curve] = ()
    reference: float = math.nan
    axis: str = ""
    x_text: _TextOf = "{:g}".format
    log: bool = False


def dots(
    name: str,
    title: str,
    description: str,
    panels: Sequence[Panel],
    *,
    axis: str,
    text_of: _TextOf = share,
    tick_of: _TextOf = tick_text,
    step: float = 0.1,
    zero: bool = False,
) -> str:
    """Rows of dots with intervals, panels beside each other, on one scale; ``zero`` is on it."""
    rows = list(dict.fromkeys(row for panel in panels for row in panel.dots))
    every = [dot for panel in panels for dot in panel.dots.values()]
    values = [v for dot in every for v in (dot.low, dot.high, dot.value)]
    low, high = nice_range([*values, *([0.0] if zero else [])], step=step)
    room = 14 + LETTER * max(len(text_of(dot.value)) for dot in every)
    margin = min(250.0, 14 + LETTER * max(len(row) for row in rows))
    lines = math.ceil(len(panels) / max(1, (WIDTH - margin) // _PANEL))
    per_line = math.ceil(len(panels) / lines)
    width = (WIDTH - margin) / per_line
    parts, top = [], 0.0
    for first in range(0, len(panels), per_line):
        bottom = top + 30 + _ROW * len(rows)
        for at, row in enumerate(rows):
            y = top + 30 + _ROW * (at + 0.5)
            kind = "row" if at % 2 else "row odd"
            box = f'x="0" y="{y - _ROW / 2:.1f}" width="{WIDTH}" height="{_ROW}"'
            parts.append(f'<rect {box} class="{kind}"/>')
            parts.append(text(margin - 10, y + 4, short(row, margin - 12), anchor="end"))
        for column, panel in enumerate(panels[first : first + per_line]):
            start = margin + column * width + 8
            x = Scale(low=low, high=high, start=start + 4, stop=start + width - room)
            parts.append(text(start, top + 14, short(panel.title, 0.9 * width - 8), kind="head"))
            widest = 12 + LETTER * max(len(tick_of(end)) for end in (low, high))
            for tick in ticks(low, high, most=max(2, int((x.stop - x.start) // widest))):
                kind = "grid zero" if zero and abs(tick) < 1e-9 else "grid"
                parts.append(line(x(tick), top + 26, x(tick), bottom + 3, kind))
                parts.append(
                    text(x(tick), bottom + 17, tick_of(tick), anchor="middle", kind="tick")
                )
            if math.isfinite(panel.reference):
                at_x = x(panel.reference)
                parts.append(line(at_x, top + 26, at_x, bottom, "reference"))
            for at, row in enumerate(rows):
                if row in panel.dots and math.isfinite(panel.dots[row].value):
                    y = top + 30 + _ROW * (at + 0.5)
                    parts.append(_dot(panel.dots[row], x, y, text_of))
        top = bottom + 30
    parts.append(text((margin + WIDTH) / 2, top + 6, axis, anchor="middle", kind="axis"))
    return figure(name, title, description, "".join(parts), top + 16)


def _dot(dot: Dot, x: Scale, y: float, text_of: _TextOf) -> str:
    parts = [f"<g><title>{escaped(dot.tip)}</title>"]
    ends = [x(end) for end in (dot.low, dot.high) if math.isfinite(end)]
    if len(ends) == 2:
        parts.append(line(ends[0], y, ends[1], y, "whisker s0"))
    parts.append(mark(x(dot.value), y, 0, hollow=dot.hollow))
    right = max([x(dot.value) + 5, *ends])
    parts.append(text(right + 4, y + 4, text_of(dot.value), kind="value"))
    return "".join([*parts, "</g>"])


_HEIGHT: Final = 190
_PER_LINE: Final = 3
#: Values of x that are all marked.
_MOST_TICKS: Final = 12


def curves(
    name: str,
    title: str,
    description: str,
    panels: Sequence[Panel],
    *,
    y_axis: str,
    diagonal: bool = False,
) -> str:
    """Lines of dots with intervals, panels beside each other, on one scale of values."""
    names = list(dict.fromkeys(one.name for panel in panels for one in panel.curves))
    every = [dot for panel in panels for one in panel.curves for dot in one.dots]
    values = [v for dot in every for v in (dot.low, dot.high, dot.value)]
    low, high = nice_range([*values, *(panel.reference for panel in panels)])
    if diagonal:
        low, high = 0.0, 1.0
    parts, top = legend(names, 14)
    per_line = min(len(panels), _PER_LINE)
    width = min(WIDTH / per_line, 520.0)
    deep = _HEIGHT + 82
    for number, panel in enumerate(panels):
        left = (number % per_line) * width + 44
        start = top + (number // per_line) * deep + 24
        at = sorted({dot.x for one in panel.curves for dot in one.dots})
        x_low, x_high = (0.0, 1.0) if diagonal else (at[0], at[-1])
        right = left + width - 56
        x = Scale(low=x_low, high=x_high, start=left + 10, stop=right - 10, log=panel.log)
        y = Scale(low=low, high=high, start=start + _HEIGHT, stop=start)
        parts += text(left, start - 8, short(panel.title, 0.9 * width - 44), kind="head")
        parts += _frame(x, y, at, (left, right), panel.x_text, diagonal=diagonal)
        for row, words in enumerate(textwrap.wrap(panel.axis, int((width - 40) / LETTER))[:2]):
            below = start + _HEIGHT + 34 + 14 * row
            parts += text((left + right) / 2, below, words, anchor="middle", kind="axis")
        if math.isfinite(panel.reference):
            level = y(panel.reference)
            parts += line(left, level, right, level, "reference")
        for one in panel.curves:
            parts += _curve(one, names.index(one.name), x, y)
    parts += text(12, top + 24 + _HEIGHT / 2, y_axis, anchor="middle", kind="axis", turn=-90)
    return figure(name, title, description, parts, top + math.ceil(len(panels) / per_line) * deep)


def _frame(
    x: Scale,
    y: Scale,
    at: Sequence[float],
    ends: tuple[float, float],
    x_text: _TextOf,
    *,
    diagonal: bool,
) -> str:
    parts, (left, right) = [], ends
    for tick in ticks(y.low, y.high, most=5):
        parts.append(line(left, y(tick), right, y(tick), "grid"))
        parts.append(text(left - 6, y(tick) + 4, tick_text(tick), anchor="end", kind="tick"))
    at = ticks(0, 1, most=5) if diagonal else at
    marks = at if len(at) <= _MOST_TICKS or x.log else ticks(x.low, x.high, most=8)
    last = -math.inf
    for tick in marks:
        label = x_text(tick)
        if x(tick) - last > LETTER * len(label) + 6:  # no text over another
            parts.append(text(x(tick), y.start + 18, label, anchor="middle", kind="tick"))
            last = x(tick)
        parts.append(line(x(tick), y.start, x(tick), y.start + 4, "grid"))
    if diagonal:
        parts.append(line(x(0), y(0), x(1), y(1), "reference"))
    return "".join(parts)


def _curve(one: Curve, series: int, x: Scale, y: Scale) -> str:
    kind = f"s{series % N_SERIES}"
    shown = [dot for dot in one.dots if math.isfinite(dot.value)]
    points = " ".join(f"{x(dot.x):.1f},{y(dot.value):.1f}" for dot in shown)
    parts = [f'<polyline points="{points}" class="line {kind}"/>']
    for dot in shown:
        parts.append(f"<g><title>{escaped(dot.tip)}</title>")
        if math.isfinite(dot.low) and math.isfinite(dot.high):
            parts.append(line(x(dot.x), y(dot.low), x(dot.x), y(dot.high), f"whisker {kind}"))
        parts.append(f"{mark(x(dot.x), y(dot.value), series, hollow=dot.hollow)}</g>")
    return "".join(parts)


def matrix(
    name: str,
    title: str,
    description: str,
    rows: Sequence[str],
    columns: Sequence[str],
    counts: NDArray[np.float64],
) -> str:
    """Counts (row, column) as shares of each row, darker for more."""
    margin = min(220.0, 60 + LETTER * max(len(row) for row in rows))
    side = min(46.0, (WIDTH - margin - 10) / len(columns))
    head = min(150.0, 20 + 0.75 * LETTER * max(len(column) for column in columns))
    total = counts.sum(axis=1)
    parts = []
    for j, column in enumerate(columns):
        x = margin + side * (j + 0.5) + 4
        parts.append(text(x, head - 6, short(column, 180), turn=-45 if side < 200 else 0))
    for i, row in enumerate(rows):
        y = head + side * i
        label = f"{short(row, margin - 60)}  {total[i]:,.0f}"
        parts.append(text(margin - 8, y + side / 2 + 4, label, anchor="end"))
        for j, column in enumerate(columns):
            part = counts[i, j] / total[i] if total[i] else 0.0
            x = margin + side * j
            of = f"{counts[i, j]:,.1f} of {total[i]:,.0f} ({share(part)})"
            tip = f"true {row}, predicted {column}: {of}"
            kind = "cell right" if row == column else "cell"
            parts.append(
                f'<g><title>{escaped(tip)}</title><rect x="{x:.1f}" y="{y:.1f}" '
                f'width="{side - 1:.1f}" height="{side - 1:.1f}" class="{kind}"/>'
            )
            if part > 0:
                parts.append(
                    f'<rect x="{x:.1f}" y="{y:.1f}" width="{side - 1:.1f}" '
                    f'height="{side - 1:.1f}" class="heat" fill-opacity="{part:.2f}"/>'
                )
            if part >= 0.005 and side >= 24:
                kind = "share dark" if part > 0.92 else "share mid" if part > 0.66 else "share"
                middle = (x + side / 2 - 0.5, y + side / 2 + 4)
                parts.append(text(*middle, share(part), anchor="middle", kind=kind))
            parts.append("</g>")
    width = margin + side * len(columns) + 0.75 * head
    height = head + side * len(rows) + 6
    return figure(name, title, description, "".join(parts), height, width=min(width, WIDTH))
