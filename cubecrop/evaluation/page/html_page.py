"""The page: findings, answers, figures and tables in one file that requests nothing."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from cubecrop.colours import SERIES_COLOURS
from cubecrop.evaluation.page.answers import answers
from cubecrop.evaluation.page.figures import figures
from cubecrop.evaluation.page.numbers import escaped, named, protocol_title
from cubecrop.evaluation.page.sheets import sheets
from cubecrop.evaluation.page.told import LEVELS, facts, finding_text, reading, sorted_findings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from cubecrop.evaluation.about import About, Finding
    from cubecrop.evaluation.page.answers import Answer
    from cubecrop.evaluation.score_tables import ScoreTables

__all__ = ["html_page"]

#: Dash of each series, so that lines are not told by colour alone.
_DASHES: Final = ("none", "7 3", "2 3", "9 3 2 3", "5 2", "12 4")


def html_page(tables: ScoreTables, about: About, trust: Mapping[str, pd.DataFrame]) -> str:
    """Draw the page.

    Parameters
    ----------
    tables : ScoreTables
        All scores.
    about : About
        All that is said besides scores.
    trust : mapping of str to pandas.DataFrame
        Tables on trust, of `cubecrop.evaluation.trust_tables`.

    Returns
    -------
    str
        A whole HTML document. Its content policy forbids requests and all scripts but its own.
    """
    script = _asset("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    title = escaped(named(about.title))
    parts = [
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_style()}</style></head><body><main>",
        f"<header><h1>{title}</h1>",
        *(f'<p class="lead">{escaped(line)}</p>' for line in facts(about)),
        _contents(),
        "</header>",
        _findings(about),
        '<h2 id="answers">Answers</h2>',
        *(_answer(one) for one in answers(tables, about, trust)),
        '<h2 id="figures">Figures</h2>',
        *figures(tables, trust),
        '<h2 id="tables">Tables</h2>',
        *sheets(tables, about),
        _models(about),
        '<footer><h3 id="reading">How to read the numbers</h3>',
        *(f"<p>{escaped(line)}</p>" for line in reading(tables.main)),
        f"<p>Made by <code>{escaped(about.command or 'generalisation_report')}</code>, cubecrop "
        f"{escaped(about.version)}.</p></footer></main>",
        f'<div id="tip" role="tooltip" hidden></div><script>{script}</script></body></html>\n',
    ]  # fmt: skip
    return "".join(parts)


@cache
def _asset(name: str) -> str:
    return files("cubecrop.evaluation.page").joinpath(name).read_text("utf-8")


@cache
def _style() -> str:
    light, dark = (
        "".join(f"--s{n}: {pair[side]};" for n, pair in enumerate(SERIES_COLOURS))
        for side in range(2)
    )
    series = "".join(
        f".s{n}{{stroke:var(--s{n});fill:var(--s{n})}}.line.s{n}{{stroke-dasharray:{dash}}}"
        for n, dash in enumerate(_DASHES)
    )
    return _asset("style.css").replace("/*light*/", light).replace("/*dark*/", dark) + series


def _contents() -> str:
    places = {
        "findings": "Can the scores be believed?", "answers": "Answers", "figures": "Figures",
        "tables": "Tables", "models": "Models", "reading": "How to read the numbers",
    }  # fmt: skip
    links = "".join(f'<a href="#{name}">{escaped(text)}</a>' for name, text in places.items())
    return f'<nav aria-label="Contents">{links}</nav>'


def _findings(about: About) -> str:
    found = sorted_findings(about)
    boxes = [_finding(one) for one in found if one.level != "fine"]
    if fine := [_finding(one) for one in found if one.level == "fine"]:
        passed = "1 check found nothing" if len(fine) == 1 else f"{len(fine)} checks found nothing"
        boxes.append(f"<details><summary>{passed}</summary>{''.join(fine)}</details>")
    if not boxes:
        boxes = [
            '<div class="finding"><strong>Unchecked</strong>No check of the folds is recorded, so '
            "it is not known whether they leak.</div>"
        ]
    return f'<h2 id="findings">Can the scores be believed?</h2>{"".join(boxes)}'


def _finding(one: Finding) -> str:
    return (
        f'<div class="finding {one.level}"{_alert(one.level)}><strong>{LEVELS[one.level]}</strong>'
        f"{escaped(finding_text(one))}</div>"
    )


def _alert(level: str) -> str:
    return ' role="alert"' if level == "leak" else ""


def _answer(one: Answer) -> str:
    items = "".join(f"<li>{escaped(sentence)}</li>" for sentence in one.sentences)
    body = f"<ul>{items}</ul>" if len(one.sentences) > 1 else f"<p>{escaped(one.sentences[0])}</p>"
    verdict = f'<p class="verdict">{escaped(one.verdict)}</p>' if one.verdict else ""
    return f'<section class="answer"><h3>{escaped(one.question)}</h3>{verdict}{body}</section>'


def _models(about: About) -> str:
    rows = "".join(
        f"<tr><td>{escaped(named(name))}</td><td>{escaped(text)}</td></tr>"
        for name, text in about.models.items()
    )
    protocols = dict.fromkeys(protocol_title(fold.protocol) for fold in about.folds)
    tested = f"Protocols: {', '.join(protocols)}." if protocols else ""
    return (
        f'<section><h3 id="models">Models</h3><p class="note">{escaped(tested)}</p><table><tbody>'
        f"{rows}</tbody></table></section>"
    )
