"""The report as Markdown: findings, answers and the main tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cubecrop.display import markdown_safe, markdown_table
from cubecrop.evaluation.page.answers import answers
from cubecrop.evaluation.page.numbers import (
    FEW_GROUPS,
    counted,
    day_text,
    level_text,
    named,
    protocol_title,
    scored,
    share,
    signed,
    spanned,
)
from cubecrop.evaluation.page.sheets import FEW_MARK, GROUPS_MARK, MARKS
from cubecrop.evaluation.page.told import (
    CHANGED_NOTE,
    EARLY_NOTE,
    LEVELS,
    facts,
    finding_text,
    reading,
    sorted_findings,
)
from cubecrop.evaluation.score_tables import records
from cubecrop.texts import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from cubecrop.evaluation.about import About
    from cubecrop.evaluation.score_tables import ScoreTables

__all__ = ["markdown"]


def markdown(tables: ScoreTables, about: About, trust: Mapping[str, pd.DataFrame]) -> str:
    """Write the report as Markdown; see `html_page` for the parameters."""
    lines = [f"# {markdown_safe(named(about.title))}", ""]
    lines += [f"{markdown_safe(line)}  " for line in facts(about)]
    lines += ["", "## Can the scores be believed?", ""]
    lines += [
        f"- **{LEVELS[one.level]}** {markdown_safe(finding_text(one))}"
        for one in sorted_findings(about)
    ] or ["- No check of the folds is recorded, so it is not known whether they leak."]
    lines += ["", "## Answers", ""]
    for answer in answers(tables, about, trust):
        lines += [f"### {markdown_safe(answer.question)}", ""]
        lines += [f"**{markdown_safe(answer.verdict)}**", ""] if answer.verdict else []
        lines += [*(f"- {markdown_safe(sentence)}" for sentence in answer.sentences), ""]
    lines += ["## Scores", "", *_scores(tables), ""]
    if (tables.scores["variant"] != "").any():
        lines += ["## Scores under change", "", *_changed(tables), ""]
    if len(tables.differences):
        lines += ["## Paired differences in macro-F1", "", *_differences(tables), ""]
    if len(tables.folds):
        lines += ["## Scores by test part", "", *_parts(tables), ""]
    if len(tables.classes):
        lines += [
            f"## Scores by crop of {markdown_safe(named(tables.main))}",
            "",
            *_classes(tables),
            "",
        ]
    if len(tables.areas):
        lines += ["## Scores by area", "", *_areas(tables), ""]
    if (tables.early["model"] == tables.main).any():
        lines += [
            f"## Crops early in the season by {markdown_safe(named(tables.main))}",
            "",
            *_early(tables),
            "",
        ]
    if about.refusals:
        lines += ["## Refused", ""]
        lines += [
            f"- {markdown_safe(named(one.model))}, {markdown_safe(protocol_title(one.protocol))}, "
            f"{markdown_safe(named(one.fold))}: {markdown_safe(one_line(one.reason))}"
            for one in about.refusals
        ]
        lines.append("")
    lines += ["## How to read the numbers", ""]
    lines += [f"{markdown_safe(line)}\n" for line in reading(tables.main)]
    made = one_line(about.command or "generalisation_report").replace("`", "'")
    lines.append(f"Made by `{made}`, cubecrop {markdown_safe(about.version)}.")
    return "\n".join(lines) + "\n"


def _scores(tables: ScoreTables) -> list[str]:
    plain = tables.scores[tables.scores["variant"] == ""]
    by_score = {name: records(part) for name, part in plain.groupby("score", sort=False)}
    rows = [
        (
            protocol_title(f1["protocol"]), named(f1["model"]),
            scored(f1) + (FEW_MARK if f1["few"] else ""), scored(accuracy),
            signed(f1["gap"], f1["gap_low"], f1["gap_high"]), counted(f1).removeprefix("n = "),
        )
        for f1, accuracy in zip(by_score["macro_f1"], by_score["accuracy"], strict=True)
    ]  # fmt: skip
    heads = ("protocol", "model", "macro-F1", "accuracy", "F1 less random folds", "n")
    return [*markdown_table(heads, rows), "", f"{FEW_MARK} a class has fewer than 10 test parcels."]


def _changed(tables: ScoreTables) -> list[str]:
    """Each kind and level of changed test samples, and each number of training parcels."""
    changed = tables.scores[tables.scores["variant"] != ""]
    by_score = {name: records(part) for name, part in changed.groupby("score", sort=False)}
    rows = [
        (
            protocol_title(f1["protocol"]), named(f1["model"]), named(f1["variant"]),
            level_text(f1["variant"], f1["level"]), _marked(f1), scored(accuracy),
            signed(f1["change"], f1["change_low"], f1["change_high"]),
            counted(f1).removeprefix("n = "),
        )
        for f1, accuracy in zip(by_score["macro_f1"], by_score["accuracy"], strict=True)
    ]  # fmt: skip
    heads = (
        "protocol", "model", "change", "level", "macro-F1", "accuracy", "F1 less unchanged", "n",
    )  # fmt: skip
    return [*markdown_table(heads, rows), "", f"{CHANGED_NOTE} {MARKS}"]


def _marked(row: Mapping[str, Any]) -> str:
    marks = FEW_MARK if row["few"] else ""
    return scored(row) + marks + (GROUPS_MARK if row["groups"] < FEW_GROUPS else "")


def _differences(tables: ScoreTables) -> list[str]:
    chosen = (tables.differences["variant"] == "") & (tables.differences["score"] == "macro_f1")
    rows = [
        (
            protocol_title(row["protocol"]), named(row["model"]),
            signed(row["difference"], row["low"], row["high"]), counted(row).removeprefix("n = "),
        )
        for row in records(tables.differences[chosen])
    ]  # fmt: skip
    return markdown_table(("protocol", "model", f"less {named(tables.main)}", "n"), rows)


def _parts(tables: ScoreTables) -> list[str]:
    """Each region, year or fold on its own."""
    by_score = {name: records(part) for name, part in tables.folds.groupby("score", sort=False)}
    rows = [
        (
            protocol_title(f1["protocol"]), named(f1["fold"]), named(f1["model"]),
            scored(f1) + (GROUPS_MARK if f1["groups"] < FEW_GROUPS else ""), scored(accuracy),
            counted(f1).removeprefix("n = "),
        )
        for f1, accuracy in zip(by_score["macro_f1"], by_score["accuracy"], strict=True)
    ]  # fmt: skip
    heads = ("protocol", "test part", "model", "macro-F1", "accuracy", "n")
    note = f"{GROUPS_MARK} fewer than {FEW_GROUPS} groups: the interval says little."
    return [*markdown_table(heads, rows), "", note]


def _classes(tables: ScoreTables) -> list[str]:
    rows = [
        (
            protocol_title(row["protocol"]), named(row["crop"]), f"{row['n']:,}",
            share(row["precision"]), share(row["recall"]),
            f"{share(row['f1'])} ({spanned(row['low'], row['high'])})"
            f"{FEW_MARK if row['few'] else ''}",
        )
        for row in records(tables.classes[tables.classes["model"] == tables.main])
    ]  # fmt: skip
    return markdown_table(("protocol", "crop", "n", "precision", "recall", "F1"), rows)


def _early(tables: ScoreTables) -> list[str]:
    rows = [
        (
            protocol_title(row["protocol"]), named(row["crop"]), f"{row['n']:,}",
            share(row["final_f1"]), day_text(row),
        )
        for row in records(tables.early[tables.early["model"] == tables.main])
    ]  # fmt: skip
    heads = ("protocol", "crop", "n", "final F1", "first day")
    return [*markdown_table(heads, rows), "", EARLY_NOTE]


def _areas(tables: ScoreTables) -> list[str]:
    by_score = {name: records(part) for name, part in tables.areas.groupby("score", sort=False)}
    rows = [
        (
            protocol_title(f1["protocol"]), named(f1["model"]), scored(f1), scored(accuracy),
            f"{f1['hectares']:,.0f}", counted(f1).removeprefix("n = "),
        )
        for f1, accuracy in zip(by_score["macro_f1"], by_score["accuracy"], strict=True)
    ]  # fmt: skip
    return markdown_table(("protocol", "model", "macro-F1", "accuracy", "hectares", "n"), rows)
