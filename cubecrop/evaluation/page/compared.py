"""Answers to questions on models: how each differs from the main one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from cubecrop.evaluation.candidates import FOREST, TOLERANT
from cubecrop.evaluation.page.numbers import cited, counted, named, place, signed
from cubecrop.evaluation.page.rows import rows_of, upper

if TYPE_CHECKING:
    from cubecrop.evaluation.about import About
    from cubecrop.evaluation.score_tables import ScoreTables

__all__ = ["OF_RADAR", "OTHERS", "TOPICS", "by_topic", "comparisons", "radar_verdict", "told"]

OF_RADAR: Final = "Does radar help?"
#: Questions on models, the models that answer each, and a note. The first pattern that matches the
#: name decides.
TOPICS: Final = (
    (OF_RADAR, r"optical only|radar only|(without|no) radar", ""),
    ("Which fusion of the sensors?", r"fusion", ""),
    ("Do weather and terrain help, and how should they enter?", r"weather|thermal|terrain", ""),
    ("Which temporal encoder?", r"temporal encoder|no dates", ""),
    ("Does the shape of parcels help?", r"shape", ""),
    (
        "What do a few labels of the target win back?", r"fine.?tun|labels",
        "Labels of the target are those of parcels that are not tested.",
    ),
    (
        "What does adaptation without labels of the target win back?",
        r"adapt|self.?train|timematch|shift|per.?domain|normalis|consisten|ensemble|unlabelled", "",
    ),
    ("Does a model that is trained for missing sensors lose otherwise?", re.escape(TOLERANT), ""),
)  # fmt: skip
OTHERS: Final = "How do other models compare?"
#: The protocol of a verdict is the first that was used.
_VERDICT: Final = ("leave-region-out", "region-and-year", "leave-year-out", "knndm", "blocked")


def by_topic(tables: ScoreTables) -> dict[str, list[str]]:
    """Names of the models that answer each question."""
    found: dict[str, list[str]] = {}
    for model in tables.differences["model"].unique():
        topic = OTHERS
        if not model.startswith(FOREST):  # with weather, it says nothing of the network's inputs
            matches = (
                one for one, pattern, _ in TOPICS if re.search(pattern, model, re.IGNORECASE)
            )
            topic = next(matches, OTHERS)
        found.setdefault(topic, []).append(model)
    return found


def comparisons(tables: ScoreTables, about: About, models: list[str]) -> tuple[str, list[str]]:
    """How each model differs from the main one under every protocol, and a verdict on them."""
    out = []
    for model in models:
        rows = rows_of(tables.differences, model=model, variant="")
        text = about.models.get(model, "")
        what = f" ({named(text)})" if text else ""
        numbers = {counted(row) for row in rows}
        groups: dict[str, list[str]] = {}
        for row in rows:
            fall = signed(row["difference"], row["low"], row["high"])
            own = f" [{counted(row)}]" if len(numbers) > 1 else ""
            clause = f"{place(row['protocol'])} {fall}{own}"
            groups.setdefault(_verdict(row), []).append(clause)
        parts = [f"{word} {', '.join(clauses)}" for word, clauses in groups.items()]
        if parts:
            shared = numbers if len(numbers) == 1 else ()
            out.append(f"{cited(model)}{what}: {'; '.join([*parts, *shared])}.")
    return _verdict_on(tables, models), out


def _verdict(row: dict[str, Any]) -> str:
    if row["low"] <= 0 <= row["high"]:
        return "not distinguishable"
    return "lower" if row["difference"] < 0 else "higher"


def _verdict_rows(tables: ScoreTables) -> list[dict[str, Any]]:
    """Differences under the protocol that verdicts are on."""
    rows = rows_of(tables.differences, variant="")
    used = {row["protocol"] for row in rows}
    chosen = next((name for name in _VERDICT if name in used), next(iter(used), ""))
    return [row for row in rows if row["protocol"] == chosen]


def _verdict_on(tables: ScoreTables, models: list[str]) -> str:
    rows = [row for row in _verdict_rows(tables) if row["model"] in models]
    groups: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: -row["difference"]):
        amount = "" if _verdict(row) == "not distinguishable" else f" ({_by(row)})"
        groups.setdefault(_verdict(row), []).append(f"{cited(row['model'])}{amount}")
    parts = "; ".join(
        f"{', '.join(groups[word])} {'is' if len(groups[word]) == 1 else 'are'} {word}"
        for word in ("higher", "not distinguishable", "lower")
        if word in groups
    )
    main = cited(tables.main)
    return f"{upper(place(rows[0]['protocol']))}, against {main}: {parts}." if rows else ""


def _by(row: dict[str, Any]) -> str:
    return signed(row["difference"], row["low"], row["high"]).replace(" (", ", ").rstrip(")")


def radar_verdict(tables: ScoreTables) -> str:
    """Whether the model without radar is worse."""
    words = {"lower": "Radar helps", "higher": "Radar harms"}
    for row in _verdict_rows(tables):
        if row["model"] == "optical only":
            opening = words.get(_verdict(row), "No help of radar can be told")
            where = place(row["protocol"])
            fall = signed(row["difference"], row["low"], row["high"])
            return f"{opening} {where}: without it, macro-F1 changes by {fall}."
    return ""


def told(value: float, low: float, high: float) -> str:
    """A difference in words and numbers."""
    if low <= 0 <= high:
        return f"not distinguishable, {signed(value, low, high)}"
    return f"{'lower' if value < 0 else 'higher'}, {signed(value, low, high)}"
