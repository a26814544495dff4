"""Packaged lists of crop codes, and which class of another list each of them is."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

from cubecrop.class_table import ClassRow
from cubecrop.errors import LabelError
from cubecrop.texts import label_texts, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

__all__ = [
    "CODE_LISTS", "MAPPED_LISTS", "CodeList", "code_table", "hierarchy_rows", "map_codes",
    "plain_code", "unknown_codes", "unknown_text",
]  # fmt: skip

#: In a column of classes: no class, also if a row above has one.
_NONE: Final = "-"
_COARSE: Final = "coarse"
#: Number of unknown codes that a message lists.
_LISTED: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeList:
    """A packaged list: where it is from, and the list whose classes its codes are mapped to.

    Parameters
    ----------
    title, source, licence : str
        For attributions.
    target : str, optional
        Name of the list that the file's rows give a class of, beside the coarse one.
    """

    title: str
    source: str
    licence: str
    target: str | None = None


_EUROCROPS: Final = "EuroCrops (Schneider et al. 2023, doi:10.1038/s41597-023-02517-0)"
_WORLDCEREAL: Final = "ESA WorldCereal"
#: The packaged lists by name.
CODE_LISTS: Final[Mapping[str, CodeList]] = {
    "coarse": CodeList(
        title="Classes of the default model", source="cubecrop", licence="Apache-2.0"
    ),
    "ewoc": CodeList(title="WorldCereal's hierarchy", source=_WORLDCEREAL, licence="MIT"),
    "croptype": CodeList(
        title="WorldCereal's crop types of four digits",
        source=_WORLDCEREAL,
        licence="MIT",
        target="ewoc",
    ),
    "hcat3": CodeList(
        title="Hierarchical Crop and Agriculture Taxonomy, version 3",
        source=_EUROCROPS,
        licence="CC-BY-4.0",
    ),
    "rpg": CodeList(
        title="Codes of the Registre Parcellaire Graphique, France, 2018",
        source=_EUROCROPS,
        licence="CC-BY-4.0",
        target="hcat3",
    ),
    "lbg": CodeList(
        title="Codes of the Landbouwgebruikspercelen, Flanders, 2021",
        source=_EUROCROPS,
        licence="CC-BY-4.0",
        target="hcat3",
    ),
}
#: Lists whose codes have classes of the default model.
MAPPED_LISTS: Final = tuple(name for name in CODE_LISTS if name != _COARSE)


def code_table(name: str) -> pd.DataFrame:
    """Read a packaged list of crop codes.

    Parameters
    ----------
    name : str
        ``"coarse"`` (classes of the default model), ``"ewoc"`` and ``"croptype"`` (WorldCereal),
        ``"hcat3"`` (EuroCrops), ``"rpg"`` (France) or ``"lbg"`` (Flanders).

    Returns
    -------
    pandas.DataFrame
        A row per code, all text: ``code``, ``name``, ``parent`` (a code, in a hierarchy), the
        class of the list that it is mapped to (``ewoc`` or ``hcat3``), and ``coarse``, the class
        of the default model; None where there is none. The attributes ``title``, ``source`` and
        ``licence`` belong beside what is made with the table.

    Raises
    ------
    LabelError
        There is no such list.
    """
    import pandas as pd

    about, rows = _list(name), _rows(name)
    columns = {key: [row[key] or None for row in rows] for key in rows[0] if key != _COARSE}
    if name != _COARSE:
        coarse = _classes(name)
        columns[_COARSE] = [coarse[row["code"]] for row in rows]
    table = pd.DataFrame(columns, dtype=object)
    table.attrs = {"title": about.title, "source": about.source, "licence": about.licence}
    return table


def map_codes(codes: Iterable[object], source: str, *, to: str = _COARSE) -> list[str | None]:
    """Map codes of a list to classes of another list.

    Parameters
    ----------
    codes : iterable
        Codes as text or numbers, such as a column of parcels; nulls stay null.
    source : str
        The list of the codes; see `code_table`.
    to : str, default "coarse"
        The list of the classes: ``"coarse"``, or the one that the source is mapped to.

    Returns
    -------
    list of (str or None)
        A code of the list ``to`` for each code; None for a code that has no class there, so that
        training leaves its parcels out.

    Raises
    ------
    LabelError
        There is no such list, the source is not mapped to it, or a code is not in the source.
    """
    about, target = _list(source), _list(to)
    if source == to or to not in (_COARSE, about.target):
        known = [one for one in (_COARSE, about.target) if one and one != source]
        raise LabelError(
            f"the list {source!r} ({about.title}) is not mapped to {to!r} ({target.title}), only "
            f"to {known}. Choose one of these, or map the codes in a table of your own."
        )
    found = (
        _classes(source)
        if to == _COARSE
        else {row["code"]: row[to] or None for row in _rows(source)}
    )
    texts = [plain_code(source, text) for text in label_texts(codes)]
    if unknown := unknown_codes(texts, source):
        raise LabelError(
            f"{len(unknown)} codes are {unknown_text(unknown, source)} Set them to null, or map "
            "them in a table of your own."
        )
    return [None if text is None else found[text] for text in texts]


def unknown_codes(codes: Iterable[object], source: str) -> dict[str, int]:
    """Codes that a list lacks, with how often each occurs, the most frequent first."""
    known = _classes(source)
    texts = (plain_code(source, text) for text in label_texts(codes))
    counts = Counter(text for text in texts if text is not None and text not in known)
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def unknown_text(unknown: Mapping[str, int], source: str) -> str:
    """What `unknown_codes` found, in words that follow "are"."""
    near = {_loose(code): code for code in _classes(source)}
    meant = [near[_loose(text)] for text in unknown if _loose(text) in near]
    hint = f" Codes count as written; did you mean {meant[:_LISTED]}?" if meant else ""
    found = [f"{one_line(text, length=30)} ({n:,})" for text, n in unknown.items()]
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return (
        f"not in the list {source!r} ({CODE_LISTS[source].title}): "
        f"{', '.join(found[:_LISTED])}{more}.{hint}"
    )


def hierarchy_rows(name: str) -> list[ClassRow]:
    """The rows of a packaged list; kin are names of classes that a code is mapped to."""
    about = _list(name)
    names = {one: {row["code"]: row["name"] for row in _rows(one)} for one in CODE_LISTS}
    lines: dict[str, tuple[str, ...]] = {}
    if about.target is not None:
        above = {row["code"]: row["parent"] for row in _rows(about.target)}
        for code in above:
            line, upper = [], code
            while upper:
                line.append(names[about.target][upper])
                upper = above[upper]
            lines[code] = tuple(line)
    rows = []
    for row in _rows(name):
        kin = lines.get(row.get(about.target or "", ""), ())
        rows.append(
            ClassRow(
                code=row["code"],
                name=row["name"],
                parent=row.get("parent") or None,
                level=row.get("level") or None,
                kin=kin,
            )
        )
    return rows


def plain_code(name: str, text: str | None) -> str | None:
    """A code as its list writes it: WorldCereal's hierarchy has ten digits and no hyphens."""
    if text is None or name not in ("ewoc", "croptype"):
        return text
    digits = text.replace("-", "")
    return (
        digits.zfill(10)
        if name == "ewoc" and digits.isdigit()
        else digits
        if digits.isdigit()
        else text
    )


def _loose(code: str) -> str:
    """A code without what tables change in it: case, zeros in front, and decimals."""
    return re.sub(r"\.0+$", "", code.casefold()).lstrip("0")


def _list(name: str) -> CodeList:
    if not isinstance(name, str) or name not in CODE_LISTS:
        raise LabelError(
            f"there is no packaged list {name!r}, only {list(CODE_LISTS)}. Read a list of your own "
            "with `Nomenclature.from_csv`."
        )
    return CODE_LISTS[name]


@cache
def _rows(name: str) -> tuple[dict[str, str], ...]:
    text = resources.files(__name__).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(io.StringIO(text, newline="")))


@cache
def _classes(name: str) -> dict[str, str | None]:
    """The coarse class of each code: its own, else that of its parent or of its target."""
    target = CODE_LISTS[name].target
    there = _classes(target) if target else {}
    rows = {row["code"]: row for row in _rows(name)}

    def coarse(row: Mapping[str, str]) -> str | None:
        own = row.get(_COARSE, "")
        if own:
            return None if own == _NONE else own
        if target:
            return there.get(row[target])
        return coarse(rows[row["parent"]]) if row.get("parent") else None

    return {code: coarse(row) for code, row in rows.items()}
