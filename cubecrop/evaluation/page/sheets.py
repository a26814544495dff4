"""Tables of the report as sortable HTML."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cubecrop.evaluation.page.numbers import (
    FEW_GROUPS,
    counted,
    day_text,
    escaped,
    level_text,
    named,
    protocol_title,
    scored,
    share,
    signed,
    spanned,
)
from cubecrop.evaluation.page.told import CHANGED_NOTE, EARLY_NOTE
from cubecrop.evaluation.score_tables import records
from cubecrop.metrics import SCORE_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from cubecrop.evaluation.about import About
    from cubecrop.evaluation.score_tables import ScoreTables

__all__ = ["FEW_MARK", "GROUPS_MARK", "MARKS", "sheets"]

FEW_MARK: Final = "†"
GROUPS_MARK: Final = "‡"
MARKS: Final = (
    f"{FEW_MARK} a class has fewer than {FEW_GROUPS} test parcels. {GROUPS_MARK} fewer than "
    f"{FEW_GROUPS} groups: the interval says little."
)
#: Rows of a table on the page; all are in the tables of the `Report`.
_MOST: Final = 1000
#: Rows from which on a table can be filtered.
_MANY: Final = 12
_TITLES: Final = {"accuracy": "accuracy", "macro_f1": "macro-F1", "mean_iou": "mean IoU"}


@dataclass(frozen=True, slots=True)
class _Cell:
    """Text of a cell; a number to sort by, details for hovering, and a style."""

    text: str
    value: float | None = None
    tip: str = ""
    kind: str = ""


def sheets(tables: ScoreTables, about: About) -> list[str]:
    """All tables as HTML, in the order of reading."""
    return [
        _scores(tables),
        *_changed(tables),
        *_differences(tables),
        *_folds(tables),
        *_classes(tables),
        *_areas(tables),
        *_early(tables),
        _made_of(about),
        *_refusals(about),
    ]


def _sheet(
    name: str, title: str, note: str, heads: Sequence[str], rows: Sequence[Sequence[_Cell]]
) -> str:
    numeric = [bool(rows) and rows[0][i].value is not None for i in range(len(heads))]
    head = "".join(
        f'<th scope="col"{_style(["number"] if number else [])}><button type="button">'
        f"{escaped(text)}</button></th>"
        for text, number in zip(heads, numeric, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_as_html, row))}</tr>" for row in rows[:_MOST])
    if len(rows) > _MOST:
        note += f" The first {_MOST:,} of {len(rows):,} rows; all are in `Report.tables`."
    many = len(rows) > _MANY
    search = (
        f'<input class="filter" type="search" hidden data-table="table-{name}" '
        f'placeholder="Filter rows" aria-label="Filter rows of: {escaped(title)}">'
    )
    return (
        f'<section><h3 id="{name}">{escaped(title)}</h3><p class="note">{escaped(note)}</p>'
        f"{search if many else ''}<div{_style(['wide', *(['scroll'] if many else [])])}>"
        f'<table id="table-{name}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div></section>"
    )


def _style(kinds: Sequence[str]) -> str:
    return f' class="{" ".join(kinds)}"' if kinds else ""


def _as_html(cell: _Cell) -> str:
    kinds = [*(["number"] if cell.value is not None else []), *([cell.kind] if cell.kind else [])]
    sort = f' data-v="{cell.value:.6g}"' if cell.value is not None else ""
    tip = f' title="{escaped(cell.tip)}"' if cell.tip else ""
    return f"<td{_style(kinds)}{sort}{tip}>{escaped(cell.text)}</td>"


def _count(value: float) -> _Cell:
    return _Cell(f"{value:,.0f}", float(value))


def _by_score(table: pd.DataFrame, keys: Sequence[str]) -> Iterable[dict[str, dict[str, Any]]]:
    """Rows of the same key, by score."""
    found: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in records(table):
        key = tuple(str(row[name]) for name in keys)
        found.setdefault(key, {})[row["score"]] = row
    return found.values()


_COUNTS: Final = ("n", "groups", "seeds")


def _counts(row: dict[str, Any]) -> list[_Cell]:
    return [_count(row[name]) for name in _COUNTS]


def _score_cell(row: dict[str, Any]) -> _Cell:
    marks = FEW_MARK if row.get("few") and row["score"] != "accuracy" else ""
    marks += GROUPS_MARK if row["groups"] < FEW_GROUPS else ""
    tip = f"{_TITLES[row['score']]} {scored(row)}\n{counted(row)}"
    if row.get("few"):
        tip += f"\n{row['few']} classes have fewer than 10 test parcels"
    if row.get("unpredicted"):
        tip += f"\n{row['unpredicted']:,.0f} parcels without prediction count as wrong"
    return _Cell(scored(row) + marks, row["value"], tip)


def _fall_cell(value: float, low: float, high: float, tip: str = "") -> _Cell:
    kind = (
        "" if not math.isfinite(value) or low <= 0 <= high else "worse" if value < 0 else "better"
    )
    return _Cell(signed(value, low, high), value, tip, kind)


_KEY: Final = ("protocol", "model", "variant", "level")


def _scores(tables: ScoreTables) -> str:
    plain = tables.scores[tables.scores["variant"] == ""]
    rows = []
    for row in _by_score(plain, _KEY):
        f1 = row["macro_f1"]
        rows.append([
            _Cell(protocol_title(f1["protocol"])), _Cell(named(f1["model"])), *_counts(f1),
            *(_score_cell(row[name]) for name in SCORE_NAMES),
            _fall_cell(f1["gap"], f1["gap_low"], f1["gap_high"]),
        ])  # fmt: skip
    heads = ["protocol", "model", *_COUNTS, *_TITLES.values(), "F1 less random folds"]
    note = (
        "Mean over seeds ± standard deviation over seeds (95 % interval over groups); n is the "
        f"number of test parcels. {MARKS}"
    )
    return _sheet("all-scores", "Scores", note, heads, rows)


def _changed(tables: ScoreTables) -> list[str]:
    rows = []
    for row in _by_score(tables.scores[tables.scores["variant"] != ""], _KEY):
        f1 = row["macro_f1"]
        level = _Cell(level_text(f1["variant"], f1["level"]), f1["level"])
        rows.append([
            _Cell(protocol_title(f1["protocol"])), _Cell(named(f1["model"])),
            _Cell(f1["variant"]), level, *_counts(f1), _score_cell(row["accuracy"]),
            _score_cell(f1), _fall_cell(f1["change"], f1["change_low"], f1["change_high"]),
        ])  # fmt: skip
    heads = [
        "protocol", "model", "change", "level", *_COUNTS, "accuracy", "macro-F1",
        "F1 less unchanged",
    ]  # fmt: skip
    note = f"{CHANGED_NOTE} {MARKS}"
    return [_sheet("all-changed", "Scores under change", note, heads, rows)] if rows else []


def _differences(tables: ScoreTables) -> list[str]:
    rows = []
    apart = 0
    for row in _by_score(tables.differences, _KEY):
        f1 = row["macro_f1"]
        apart += not f1["low"] <= 0 <= f1["high"]
        variant = f"{f1['variant']} {level_text(f1['variant'], f1['level'])}".strip()
        falls = [
            _fall_cell(one["difference"], one["low"], one["high"], counted(one))
            for one in (row[name] for name in SCORE_NAMES)
        ]
        rows.append([
            _Cell(protocol_title(f1["protocol"])), _Cell(named(f1["model"])),
            _Cell(variant or "as they are"), *_counts(f1), *falls,
        ])  # fmt: skip
    heads = [
        "protocol", "model", "test samples", "n", "groups", "seeds",
        *(_TITLES[name] for name in SCORE_NAMES),
    ]  # fmt: skip
    note = (
        f"Score less that of “{named(tables.main)}” on the same parcels, folds and seeds, with "
        f"95 % intervals. {apart} of {len(rows)} differences in macro-F1 exclude 0; about "
        f"{0.05 * len(rows):.0f} would by chance if there were none."
    )
    return [_sheet("all-differences", "Paired differences", note, heads, rows)] if rows else []


def _folds(tables: ScoreTables) -> list[str]:
    plain = tables.folds[tables.folds["variant"] == ""]
    rows = []
    for row in _by_score(plain, ("protocol", "fold", "model")):
        f1 = row["macro_f1"]
        rows.append([
            _Cell(protocol_title(f1["protocol"])), _Cell(named(f1["fold"])),
            _Cell(named(f1["model"])), *_counts(f1),
            *(_score_cell(row[name]) for name in SCORE_NAMES),
        ])  # fmt: skip
    heads = ["protocol", "test part", "model", *_COUNTS, *_TITLES.values()]
    note = f"Each test part (region, year, or fold) on its own. {MARKS}"
    return [_sheet("all-parts", "Scores by test part", note, heads, rows)]


def _classes(tables: ScoreTables) -> list[str]:
    own = tables.classes[tables.classes["model"] == tables.main]
    rows = [
        [
            _Cell(protocol_title(row["protocol"])), _Cell(named(row["crop"])), _count(row["n"]),
            _Cell(share(row["precision"]), row["precision"]), _Cell(share(row["recall"]),
            row["recall"]),
            _Cell(f"{share(row['f1'])} ({spanned(row['low'], row['high'])})"
                  f"{FEW_MARK if row['few'] else ''}", row["f1"]),
            _Cell(named(row["untrained"]) if row["untrained"] else ""),
        ]
        for row in records(own)
    ]  # fmt: skip
    heads = ["protocol", "crop", "n", "precision", "recall", "F1", "absent from training of"]
    note = (
        f"“{named(tables.main)}” on samples as they are, mean over seeds. {FEW_MARK} fewer than "
        f"{FEW_GROUPS} test parcels."
    )
    return [_sheet("all-classes", "Scores by crop", note, heads, rows)] if rows else []


def _areas(tables: ScoreTables) -> list[str]:
    rows = []
    for row in _by_score(tables.areas, ("protocol", "model")):
        f1 = row["macro_f1"]
        rows.append([
            _Cell(protocol_title(f1["protocol"])), _Cell(named(f1["model"])), *_counts(f1),
            _count(f1["hectares"]), *(_score_cell(row[name]) for name in SCORE_NAMES),
        ])  # fmt: skip
    heads = ["protocol", "model", *_COUNTS, "hectares", *_TITLES.values()]
    note = (
        "The same scores as shares of area instead of parcels: large parcels count for more. "
        f"Parcels whose area is known. {GROUPS_MARK} fewer than {FEW_GROUPS} groups."
    )
    return [_sheet("all-areas", "Scores by area", note, heads, rows)] if rows else []


def _early(tables: ScoreTables) -> list[str]:
    own = tables.early[tables.early["model"] == tables.main]
    rows = [
        [
            _Cell(protocol_title(row["protocol"])), _Cell(named(row["crop"])), _count(row["n"]),
            _Cell(share(row["final_f1"]), row["final_f1"]),
            _Cell(day_text(row), row["day"]),
        ]
        for row in records(own)
    ]  # fmt: skip
    heads = ["protocol", "crop", "n", "final F1", "first day"]
    return (
        [_sheet("all-days", "Crops early in the season", EARLY_NOTE, heads, rows)] if rows else []
    )


def _made_of(about: About) -> str:
    rows = [
        [
            _Cell(protocol_title(fold.protocol)), _Cell(named(fold.name)), _count(fold.n_train),
            _count(fold.n_test), _Cell(", ".join(map(named, fold.only_in_test))),
            _Cell(", ".join(map(named, fold.only_in_train))),
        ]
        for fold in about.folds
    ]  # fmt: skip
    heads = ["protocol", "test part", "n training", "n test", "only in test", "only in training"]
    note = "Labelled parcels of each fold, and crops that only one of its parts has."
    return _sheet("all-folds", "Folds", note, heads, rows)


def _refusals(about: About) -> list[str]:
    rows = [
        [
            _Cell(named(one.model)), _Cell(protocol_title(one.protocol)), _Cell(named(one.fold)),
            _Cell(named(one.variant) if one.variant else "training"), _Cell(one.reason),
        ]
        for one in about.refusals
    ]  # fmt: skip
    heads = ["model", "protocol", "test part", "test samples", "reason"]
    note = "Models that could not be trained, or did not take changed test samples."
    return [_sheet("all-refusals", "Refused", note, heads, rows)] if rows else []
