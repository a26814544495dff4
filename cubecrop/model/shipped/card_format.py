"""Numbers and tables of a card in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["both", "ends", "listed", "mean", "share", "signed", "table"]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def mean(rows: Mapping[str, Mapping[str, float]], key: str) -> float:
    """Mean of a number over rows."""
    return sum(one[key] for one in rows.values()) / len(rows)


def both(scores: Mapping[str, float]) -> str:
    """Accuracy and macro-F1."""
    return f"{share(scores['accuracy'])} / {share(scores['macro_f1'])}"


def share(value: float, digits: int = 2) -> str:
    """A number without the 0 before its point."""
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text


def signed(value: float) -> str:
    """A share with its sign."""
    return f"{'+' if value >= 0 else '-'}{share(abs(value))}"


def ends(interval: Sequence[float]) -> str:
    """The ends of an interval."""
    low, high = interval
    return f"({share(low)}-{share(high)})"
