"""Plain answers in words, made from score tables by rules.

A difference whose 95 % interval contains 0 is said to be not distinguishable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cubecrop.evaluation.candidates import TOLERANT
from cubecrop.evaluation.page.compared import (
    OF_RADAR,
    OTHERS,
    TOPICS,
    by_topic,
    comparisons,
    radar_verdict,
    told,
)
from cubecrop.evaluation.page.numbers import (
    cited,
    counted,
    level_text,
    named,
    place,
    scored,
    share,
    signed,
    spanned,
)
from cubecrop.evaluation.page.rows import around, rows_of, upper

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from cubecrop.evaluation.about import About
    from cubecrop.evaluation.score_tables import ScoreTables

__all__ = ["Answer", "answers"]

_COSTS: Final = (
    ("What does a new region cost?", "leave-region-out"),
    ("What does a new year cost?", "leave-year-out"),
    ("What does a new region in a new year cost?", "region-and-year"),
    ("What remains without near neighbours in training?", "blocked"),
    ("What is to be expected where the map will be made?", "knndm"),
)
_CLOUD: Final = (
    "optical dates kept", "clearest optical dates kept", "optical month lost",
    "clouds of another place", "no optical",
)  # fmt: skip
_RADAR: Final = ("radar dates kept", "no radar")
_SIZES: Final = "training parcels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A question, the answer in one line, and sentences with all numbers; text without markup."""

    question: str
    verdict: str
    sentences: tuple[str, ...]


def answers(tables: ScoreTables, about: About, trust: Mapping[str, pd.DataFrame]) -> list[Answer]:
    """Answer the questions that the tables have data for."""
    found = [("How good is the model where it was trained?", *_home(tables))]
    found += [(question, *_cost(tables, protocol)) for question, protocol in _COSTS]
    found.append(("What does cloud cost?", *_stress(tables, _CLOUD)))
    models = by_topic(tables)
    for topic, _, note in TOPICS:
        verdict, sentences = comparisons(tables, about, models.get(topic, []))
        if topic == OF_RADAR:
            verdict = radar_verdict(tables) or verdict
            sentences += _stress(tables, _RADAR)[1]
        found.append((topic, verdict, sentences + [note] * bool(note and sentences)))
    found += [
        (OTHERS, *comparisons(tables, about, models.get(OTHERS, []))),
        ("How many labelled parcels are enough?", "", _sizes(tables)),
        ("How early in the season are crops known?", "", _early(tables)),
        ("Which crops are hard?", "", _crops(tables)),
        ("Can its confidence be believed?", "", _trust(tables, trust)),
    ]
    return [
        Answer(question=question, verdict=verdict, sentences=tuple(sentences))
        for question, verdict, sentences in found
        if sentences
    ]


def _home(tables: ScoreTables) -> tuple[str, list[str]]:
    key = {"protocol": "random", "model": tables.main, "variant": ""}
    for row in rows_of(tables.scores, **key):
        (accuracy,) = rows_of(tables.scores, **key, score="accuracy")
        out = [
            f"Under random folds, {cited(tables.main)} has macro-F1 {scored(row)} and accuracy "
            f"{scored(accuracy)}; {counted(row)}. Random folds test where and when the model was "
            "trained; expect less elsewhere."
        ]
        out += [
            f"By area, its accuracy is {scored(one)}, over {one['hectares']:,.0f} ha; "
            f"{counted(one)}."
            for one in rows_of(tables.areas, protocol="random", model=tables.main, score="accuracy")
        ]
        if row["unpredicted"]:
            out.append(
                f"{row['unpredicted']:,.0f} of these parcels have no prediction and count as wrong."
            )
        return f"Macro-F1 is {around(row)}.", out
    return "", []


def _cost(tables: ScoreTables, protocol: str) -> tuple[str, list[str]]:
    out: list[str] = []
    verdict = ""
    for row in rows_of(tables.scores, protocol=protocol, model=tables.main, variant=""):
        text = f"{upper(place(protocol))}, {cited(tables.main)} has macro-F1 {scored(row)}"
        gap, low, high = row["gap"], row["gap_low"], row["gap_high"]
        verdict = f"Macro-F1 is {around(row)}."
        if np.isfinite(gap) and low <= 0 <= high:
            verdict = "No difference to random folds can be told."
            text += f", not distinguishable from random folds: {signed(gap, low, high)}"
        elif np.isfinite(gap):
            less, ends = ("less", (-high, -low)) if gap < 0 else ("more", (low, high))
            cost = f"{share(abs(gap))} {less} than under random folds ({spanned(*ends)})"
            verdict, text = f"Macro-F1 is {cost}.", f"{text}, {cost}"
        out.append(f"{text}; {counted(row)}.")
        parts = rows_of(tables.folds, protocol=protocol, model=tables.main, variant="")
        parts.sort(key=lambda one: one["value"])
        if protocol not in ("blocked", "knndm") and len(parts) > 1:
            worst, best = (
                f"{share(one['value'])} ({spanned(one['low'], one['high'])}; n = {one['n']:,}) in "
                f"{cited(one['fold'])}"
                for one in (parts[0], parts[-1])
            )
            out.append(f"The {len(parts)} test parts range from {worst} to {best}.")
    return verdict, out


def _stress(tables: ScoreTables, variants: tuple[str, ...]) -> tuple[str, list[str]]:
    """What each kind of stress costs the main model, and the one that is trained for it."""
    out = []
    verdict = ""
    for variant in variants:
        for model in (tables.main, TOLERANT):
            rows = [
                row
                for row in rows_of(tables.scores, variant=variant, model=model)
                if np.isfinite(row["change"])
            ]
            for protocol in dict.fromkeys(row["protocol"] for row in rows):
                own = sorted(
                    (row for row in rows if row["protocol"] == protocol),
                    key=lambda row: row["level"],
                )
                out.append(_stressed(variant, model, protocol, own))
                if not verdict:
                    at = filter(None, (upper(variant), level_text(variant, own[0]["level"])))
                    verdict = f"{', '.join(at)}: {_changed(own[0])} {place(protocol)}."
    return verdict, out


def _changed(row: dict[str, Any]) -> str:
    low, high = row["change_low"], row["change_high"]
    if low <= 0 <= high:
        return f"no change of macro-F1 can be told ({signed(row['change'], low, high)})"
    ends = spanned(*sorted((abs(low), abs(high))))
    return f"macro-F1 {'falls' if high < 0 else 'rises'} by {share(abs(row['change']))} ({ends})"


def _stressed(variant: str, model: str, protocol: str, rows: list[dict[str, Any]]) -> str:
    if variant.endswith("month lost"):
        worst = min(rows, key=lambda row: row["change"])
        shown, extra = [worst], f" That is the costliest of {len(rows)} months."
    else:
        middle = rows[1:-1][len(rows[1:-1]) // 2 :][:1]
        shown, extra = [rows[0], *middle, *rows[1:][-1:]], ""
    parts = [
        f"{text + ': ' if (text := level_text(variant, row['level'])) else ''}"
        f"{told(row['change'], row['change_low'], row['change_high'])}{_unpredicted(row)}"
        for row in shown
    ]
    return (
        f"{upper(variant)} ({cited(model)}, {place(protocol)}): {'; '.join(parts)}; "
        f"{counted(rows[0])}.{extra}"
    )


def _unpredicted(row: dict[str, Any]) -> str:
    """Parcels without a prediction, which count as wrong."""
    return f" ({row['unpredicted']:,.0f} without a prediction)" if row["unpredicted"] else ""


def _sizes(tables: ScoreTables) -> list[str]:
    out = []
    for protocol in tables.scores["protocol"].unique():
        key = {"protocol": protocol, "model": tables.main}
        rows = sorted(rows_of(tables.scores, variant=_SIZES, **key), key=lambda row: row["level"])
        for row in rows_of(tables.scores, variant="", **key) if rows else []:
            least = f"{rows[0]['level']:,.0f} training parcels give {scored(rows[0])}"
            worse = [one["level"] for one in rows if one["change_high"] < 0]
            enough = [one["level"] for one in rows if one["level"] > max(worse, default=0)]
            last = (
                f"From {enough[0]:,.0f} on, the score is not distinguishable from that of all."
                if enough
                else f"Even {rows[-1]['level']:,.0f} give less than all."
            )
            out.append(
                f"{upper(place(protocol))}, {least}, and all {row['n_train']:,.0f} give "
                f"{scored(row)}; {counted(rows[0])}. {last}"
            )
    return out


def _early(tables: ScoreTables) -> list[str]:
    out = []
    early = tables.early
    for protocol in early["protocol"].unique():
        rows = rows_of(early, protocol=protocol, model=tables.main)
        known = sorted((row for row in rows if np.isfinite(row["day"])), key=lambda row: row["day"])
        if not rows:
            continue
        text = (
            f"{upper(place(protocol))}, {len(known)} of {len(rows)} crops reach 95 % of their "
            "final F1 before the season ends"
        )
        if known:
            first, last = known[0], known[-1]
            text += (
                f", from {cited(first['crop'])} on day {first['day']:.0f} of the season "
                f"(n = {first['n']:,}) to {cited(last['crop'])} on day {last['day']:.0f} "
                f"(n = {last['n']:,})"
            )
        out.append(f"{text}.")
    return out


def _crops(tables: ScoreTables) -> list[str]:
    out = []
    for protocol in tables.classes["protocol"].unique():
        rows = rows_of(tables.classes, protocol=protocol, model=tables.main)
        sure = sorted((row for row in rows if not row["few"]), key=lambda row: row["f1"])
        if len(sure) > 1:
            worst, best = (
                f"{cited(row['crop'])} {share(row['f1'])} ({spanned(row['low'], row['high'])}; "
                f"n = {row['n']:,})"
                for row in (sure[0], sure[-1])
            )
            out.append(f"{upper(place(protocol))}, F1 is lowest for {worst}, highest for {best}.")
        few = [row["crop"] for row in rows if row["few"]]
        if few:
            out.append(
                f"{upper(place(protocol))}, {', '.join(map(cited, few))} "
                f"{'has' if len(few) == 1 else 'have'} fewer than 10 test parcels: F1 says little."
            )
        out += [
            f"{upper(place(protocol))}, {cited(row['crop'])} is absent from the training parts of "
            f"{named(row['untrained'])}, so it cannot be right there."
            for row in rows
            if row["untrained"]
        ]
    return out


def _trust(tables: ScoreTables, trust: Mapping[str, pd.DataFrame]) -> list[str]:
    titles = {
        "calibration": "Expected calibration error",
        "coverage": "Share of parcels whose crop set holds the true crop",
        "applicability": "Accuracy",
    }
    out = []
    for name, title in titles.items():
        rows = rows_of(trust[name], model=tables.main) if name in trust else []
        parts = []
        for row in rows:
            which = f" {named(row['part'])}" if "part" in row else ""
            size = f", {row['mean_size']:.1f} crops a set" if "mean_size" in row else ""
            parts.append(f"{place(row['protocol'])}{which} {around(row)}{size} (n = {row['n']:,})")
        if parts:
            out.append(f"{title}: {'; '.join(parts)}.")
    return out
