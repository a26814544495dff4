"""The figures of the report, each drawn if the tables have data for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cubecrop.evaluation.counts import UNTIL_DAY
from cubecrop.evaluation.page.charts import Curve, Dot, Panel, curves, dots, matrix
from cubecrop.evaluation.page.numbers import (
    FEW_GROUPS,
    counted,
    level_text,
    named,
    plus,
    protocol_title,
    scored,
    share,
    signed,
    spanned,
)
from cubecrop.evaluation.page.svg import N_SERIES, tick_text
from cubecrop.evaluation.runs import TRAINING_SIZE
from cubecrop.evaluation.score_tables import UNPREDICTED, records
from cubecrop.evaluation.stress import STRESSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd

    from cubecrop.evaluation.score_tables import ScoreTables

__all__ = ["figures"]

_F1: Final = "macro-F1"
#: Greatest number of classes in a confusion matrix; the rarest of more are one class.
_CLASSES: Final = 20
_REST: Final = "all other classes"
_Row = dict[str, Any]


def figures(tables: ScoreTables, trust: Mapping[str, pd.DataFrame]) -> list[str]:
    """All figures as HTML, in the order of reading."""
    scores = [row for row in records(tables.scores) if row["score"] == "macro_f1"]
    plain = [row for row in scores if row["variant"] == ""]
    return [
        _scores(plain, tables.main),
        *_gaps(plain),
        *_differences(tables),
        *_parts(tables),
        *_stress(scores, tables.main),
        *_without_level(scores, tables.main),
        *_early(scores, tables),
        *_sizes(scores),
        *_reliability(trust),
        *_trusted(trust, "coverage", "Crop sets that hold the true crop", "share of parcels"),
        *_trusted(trust, "calibration", "Expected calibration error", "calibration error"),
        *_trusted(trust, "applicability", "Accuracy where the model applies", "accuracy"),
        f'<div class="grid">{"".join(_confusions(tables))}</div>',
    ]


def _panels(
    rows: Iterable[_Row],
    dot_of: Callable[[_Row], tuple[str, Dot]],
    reference: Mapping[str, float] | None = None,
) -> list[Panel]:
    """A panel for each protocol, with one dot a row."""
    found: dict[str, dict[str, Dot]] = {}
    for row in rows:
        name, dot = dot_of(row)
        found.setdefault(row["protocol"], {})[name] = dot
    reference = reference or {}
    return [
        Panel(title=protocol_title(p), dots=own, reference=reference.get(p, math.nan))
        for p, own in found.items()
    ]


def _score_dot(row: _Row, *, x: float = math.nan) -> Dot:
    level = level_text(row["variant"], row["level"])
    what = f"\n{row['variant']} {level}".rstrip() if row["variant"] else ""
    tip = (
        f"{named(row['model'])}, {protocol_title(row['protocol'])}{what}\n"
        f"{_F1} {scored(row)}\n{counted(row)}"
    )
    return Dot(
        value=row["value"], low=row["low"], high=row["high"], tip=tip,
        hollow=bool(row["few"]) or row["groups"] < FEW_GROUPS, x=x,
    )  # fmt: skip


_HOLLOW: Final = (
    "A hollow mark says little: a class has fewer than 10 test parcels, or there are fewer than "
    "10 groups."
)


def _of_main(rows: list[_Row], main: str) -> dict[str, float]:
    return {row["protocol"]: row["value"] for row in rows if row["model"] == main}


def _scores(rows: list[_Row], main: str) -> str:
    panels = _panels(rows, lambda row: (named(row["model"]), _score_dot(row)), _of_main(rows, main))
    return dots(
        "scores", "Score by model and protocol",
        f"Macro-F1, mean over seeds, with 95 % intervals over groups. The dotted line is “{main}”. "
        f"{_HOLLOW}",
        panels, axis=_F1,
    )  # fmt: skip


def _fall_dot(row: _Row, value: str, low: str, high: str) -> tuple[str, Dot]:
    tip = (
        f"{named(row['model'])}, {protocol_title(row['protocol'])}\n"
        f"{signed(row[value], row[low], row[high])}\n{counted(row)}"
    )
    dot = Dot(
        value=row[value], low=row[low], high=row[high], tip=tip,
        hollow=row[low] <= 0 <= row[high],
    )  # fmt: skip
    return named(row["model"]), dot


def _gaps(rows: list[_Row]) -> list[str]:
    own = [row for row in rows if math.isfinite(row["gap"])]
    if not own:
        return []
    panels = _panels(own, lambda row: _fall_dot(row, "gap", "gap_low", "gap_high"))
    return [
        dots(
            "gap", "What leaving the training data behind costs",
            "Macro-F1 less that under random folds, with 95 % intervals. A hollow mark is not "
            "distinguishable from 0.",
            panels, axis="difference in macro-F1 to random folds", step=0.05,
            text_of=plus, zero=True,
        )
    ]  # fmt: skip


def _differences(tables: ScoreTables) -> list[str]:
    rows = [
        row
        for row in records(tables.differences)
        if row["variant"] == "" and row["score"] == "macro_f1"
    ]
    if not rows:
        return []
    panels = _panels(rows, lambda row: _fall_dot(row, "difference", "low", "high"))
    return [
        dots(
            "differences", f"Difference of each model to “{named(tables.main)}”",
            "Macro-F1 less that of the main model on the same parcels, folds and seeds, with 95 % "
            "intervals. A hollow mark is not distinguishable from 0.",
            panels, axis="difference in macro-F1", step=0.05, text_of=plus, zero=True,
        )
    ]  # fmt: skip


def _parts(tables: ScoreTables) -> list[str]:
    rows = [
        {**row, "few": False}
        for row in records(tables.folds)
        if row["variant"] == "" and row["score"] == "macro_f1" and row["model"] == tables.main
    ]
    own = [row for row in rows if row["protocol"] not in ("random", "blocked", "knndm")]
    if not own:
        return []
    panels = _panels(own, lambda row: (named(row["fold"]), _score_dot(row)))
    return [
        dots(
            "parts", f"Score of “{named(tables.main)}” by test part",
            "Macro-F1 of each region or year that was left out, with 95 % intervals over groups. "
            "Parts differ in their crops too. A hollow mark has fewer than 10 groups.",
            panels, axis=_F1,
        )
    ]  # fmt: skip


def _lines(rows: Iterable[_Row]) -> list[Curve]:
    """A curve for each of the first models; `N_SERIES` at most."""
    found: dict[str, list[Dot]] = {}
    for row in rows:
        found.setdefault(named(row["model"]), []).append(_score_dot(row, x=row["level"]))
    return [Curve(name=name, dots=own) for name, own in list(found.items())[:N_SERIES]]


def _curve_panels(rows: list[_Row], plain: list[_Row], main: str) -> list[Panel]:
    panels = []
    of_main = _of_main(plain, main)
    order = {row["model"]: number for number, row in reversed(list(enumerate(plain)))}
    keys = dict.fromkeys((row["variant"], row["protocol"]) for row in rows)
    for variant, protocol in keys:
        own = [row for row in rows if (row["variant"], row["protocol"]) == (variant, protocol)]
        own.sort(key=lambda row: (order.get(row["model"], len(order)), row["level"]))
        axis = STRESSES[variant].axis if variant in STRESSES else variant
        log = variant in (TRAINING_SIZE, "pixels")
        panels.append(
            Panel(
                title=f"{variant}, {protocol_title(protocol)}", axis=axis, log=log,
                curves=_lines(own),
                reference=of_main.get(protocol, math.nan),
                x_text=_level_of(variant),
            )
        )  # fmt: skip
    return panels


def _level_of(variant: str) -> Callable[[float], str]:
    def told(level: float) -> str:
        text = level_text(variant, level)
        return text[:3] if text.isalpha() else text

    return told


def _stress(scores: list[_Row], main: str) -> list[str]:
    rows = [
        row
        for row in scores
        if row["variant"] not in ("", UNTIL_DAY, TRAINING_SIZE) and math.isfinite(row["level"])
    ]
    if not rows:
        return []
    panels = _curve_panels(rows, [row for row in scores if row["variant"] == ""], main)
    return [
        curves(
            "stress", "Score under stress",
            "Macro-F1 on changed test samples, without training again, with 95 % intervals. The "
            f"dotted line is “{named(main)}” on samples as they are. {_HOLLOW}",
            panels, y_axis=_F1,
        )
    ]  # fmt: skip


def _without_level(scores: list[_Row], main: str) -> list[str]:
    own = [row for row in scores if row["variant"] and not math.isfinite(row["level"])]
    if not own:
        return []
    plain = [row for row in scores if row["variant"] == ""]
    panels = _panels(
        own,
        lambda row: (f"{row['variant']}: {named(row['model'])}", _score_dot(row)),
        _of_main(plain, main),
    )
    return [
        dots(
            "sensors", "Score with something taken away whole",
            "Macro-F1 on changed test samples, with 95 % intervals. The dotted line is "
            f"“{named(main)}” on samples as they are. {_HOLLOW}",
            panels, axis=_F1,
        )
    ]  # fmt: skip


def _early(scores: list[_Row], tables: ScoreTables) -> list[str]:
    rows = [row for row in scores if row["variant"] == UNTIL_DAY]
    if not rows:
        return []
    plain = [row for row in scores if row["variant"] == ""]
    out = [
        curves(
            "early", "Score when series end early",
            "Macro-F1 by the last day of all series, counted from the start of the season, with "
            f"95 % intervals. The dotted line is “{named(tables.main)}” on the whole season. "
            f"{_HOLLOW}",
            _curve_panels(rows, plain, tables.main), y_axis=_F1,
        )
    ]  # fmt: skip
    days = [row for row in records(tables.early) if row["model"] == tables.main]
    days.sort(key=lambda row: (row["day"], row["crop"]))
    if any(math.isfinite(row["day"]) for row in days):
        panels = _panels(days, lambda row: (named(row["crop"]), _day_dot(row)))
        out.append(
            dots(
                "days", "First day on which a crop is known",
                "Day of the season on which F1 of a crop first reaches 95 % of its final value, "
                "with 95 % intervals. Crops that never do have no mark; an interval without an end "
                "is not drawn.",
                panels, axis="day of the season", text_of=_whole, tick_of=_whole, step=30,
            )
        )  # fmt: skip
    return out


def _day_dot(row: _Row) -> Dot:
    tip = (
        f"{named(row['crop'])}: day {_whole(row['day'])} ({_whole(row['low'])} to "
        f"{_whole(row['high'])})\nfinal F1 {share(row['final_f1'])}, n = {row['n']:,}"
    )
    return Dot(value=row["day"], low=row["low"], high=row["high"], tip=tip, hollow=row["n"] < 10)


def _whole(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "later"


def _sizes(scores: list[_Row]) -> list[str]:
    rows = [row for row in scores if row["variant"] == TRAINING_SIZE]
    if not rows:
        return []
    keys = {(row["protocol"], row["model"]) for row in rows}
    whole = [
        {**row, "variant": TRAINING_SIZE, "level": row["n_train"]}
        for row in scores
        if row["variant"] == "" and (row["protocol"], row["model"]) in keys
    ]
    panels = _curve_panels([*rows, *whole], [], "")
    return [
        curves(
            "sizes", "Score by number of labelled parcels in training",
            f"Macro-F1 with 95 % intervals; the last mark is all training parcels. {_HOLLOW}",
            panels, y_axis=_F1,
        )
    ]  # fmt: skip


def _reliability(trust: Mapping[str, pd.DataFrame]) -> list[str]:
    if "reliability" not in trust:
        return []
    found: dict[str, dict[str, list[Dot]]] = {}
    for row in records(trust["reliability"]):
        tip = (
            f"{named(row['model'])}, {protocol_title(row['protocol'])}\nconfidence "
            f"{share(row['confidence'])}: accuracy {share(row['accuracy'])} "
            f"({spanned(row['accuracy_low'], row['accuracy_high'])}), n = {row['n']:,}"
        )
        dot = Dot(
            value=row["accuracy"], low=row["accuracy_low"], high=row["accuracy_high"], tip=tip,
            x=row["confidence"],
        )  # fmt: skip
        by_model = found.setdefault(row["protocol"], {})
        by_model.setdefault(named(row["model"]), []).append(dot)
    panels = [
        Panel(
            title=protocol_title(protocol), axis="mean confidence", x_text=tick_text,
            curves=[Curve(name=m, dots=own) for m, own in list(by_model.items())[:N_SERIES]],
        )
        for protocol, by_model in found.items()
    ]  # fmt: skip
    return [
        curves(
            "reliability", "Reliability: is confidence accuracy?",
            "Accuracy of parcels by their confidence, with 95 % intervals. On the dotted line, "
            "confidence is accuracy; below it, the model is too sure. First seed.",
            panels, y_axis="accuracy", diagonal=True,
        )
    ]  # fmt: skip


def _trusted(trust: Mapping[str, pd.DataFrame], name: str, title: str, axis: str) -> list[str]:
    if name not in trust:
        return []

    def dot_of(row: _Row) -> tuple[str, Dot]:
        name = ", ".join(named(row[key]) for key in ("model", "part") if key in row)
        tip = (
            f"{name}, {protocol_title(row['protocol'])}\n{share(row['value'])} "
            f"({spanned(row['low'], row['high'])}), n = {row['n']:,}"
        )
        dot = Dot(value=row["value"], low=row["low"], high=row["high"], tip=tip)
        return name, dot

    text = f"{title}, with 95 % intervals."
    return [dots(name, title, text, _panels(records(trust[name]), dot_of), axis=axis, step=0.05)]


def _confusions(tables: ScoreTables) -> list[str]:
    out = []
    own = tables.confusion[tables.confusion["model"] == tables.main]
    for number, protocol in enumerate(own["protocol"].unique()):
        part = own[own["protocol"] == protocol]
        sizes = part.groupby("truth", sort=False)["count"].sum().sort_values(ascending=False)
        kept = list(sizes.index[: _CLASSES if len(sizes) > _CLASSES else None])
        rows = [*kept, *([_REST] if len(sizes) > len(kept) else [])]
        said = [name for name in part["predicted"].unique() if name not in kept]
        lost = [UNPREDICTED] if UNPREDICTED in said else []
        columns = [*kept, *([_REST] if set(said) - set(lost) else []), *lost]
        counts = np.zeros((len(rows), len(columns)))
        for row in records(part):
            i = rows.index(row["truth"]) if row["truth"] in kept else len(rows) - 1
            place = row["predicted"] if row["predicted"] in columns else _REST
            counts[i, columns.index(place)] += row["count"]
        title = protocol_title(protocol)
        out.append(
            matrix(
                f"confusion-{number}", f"Confusion of “{named(tables.main)}”: {title}",
                "Share of each true class (rows, with numbers of parcels) that is predicted as "
                "each class (columns); mean over seeds.",
                [named(name) for name in rows], [named(name) for name in columns], counts,
            )
        )  # fmt: skip
    return out
