"""Read tables of crop classes: CSV with a code and a name per row."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cubecrop.errors import LabelError
from cubecrop.texts import plain_label

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ClassRow", "read_class_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """A row of a table of classes; ``kin`` are names whose colour suits it, best first."""

    code: str
    name: str
    colour: str | None = None
    parent: str | None = None
    level: str | None = None
    kin: tuple[str, ...] = ()


_REQUIRED = ("code", "name")
_COLUMNS = (*_REQUIRED, "colour", "parent", "level")


def read_class_rows(path: Path) -> list[ClassRow]:
    """Read the rows of a table of classes; codes and names must be unique."""
    lines = list(io.StringIO(_text(path), newline=""))
    first = 0
    delimiter = None
    if lines and re.fullmatch(r"sep=.\s*", lines[0]):  # as Excel writes it
        first, delimiter = 1, lines[0][4]
    columns, delimiter = _header(path, lines[first] if first < len(lines) else "", delimiter)
    rows: list[ClassRow] = []
    seen: dict[tuple[str, str], int] = {}
    reader = csv.reader(lines[first + 1 :], delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            number = first + 1 + reader.line_num
            if not any(field.strip() for field in fields):
                continue
            row = _row(f"{path}, line {number}", fields, columns, delimiter)
            for column in _REQUIRED:
                value = getattr(row, column)
                if (before := seen.setdefault((column, value), number)) != number:
                    raise LabelError(
                        f"{path}, line {number}, column {column!r} repeats {value!r} of line "
                        f"{before}; give each class its own {column}."
                    )
            rows.append(row)
    except csv.Error as error:
        raise LabelError(
            f"{path}, line {first + 1 + reader.line_num} cannot be read as CSV: {error}. Close "
            "quotes in that line or one above it."
        ) from error
    if not rows:
        raise LabelError(f"{path} has a header but no classes; write one class per line.")
    return rows


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabelError(
            f"{path} cannot be read: {error.strerror or error}. Name a CSV file with the columns "
            "code, name and colour."
        ) from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise LabelError(f"{path} is text in neither UTF-8 nor cp1252; save it as UTF-8.")


def _header(path: Path, line: str, delimiter: str | None) -> tuple[list[str], str]:
    """Column names in small letters, and the delimiter."""
    choices = [delimiter] if delimiter else [",", ";", "\t"]
    split = {
        choice: [field.strip().casefold() for field in _fields(line, choice)] for choice in choices
    }
    best = max(split, key=lambda choice: len(set(_REQUIRED) & set(split[choice])))
    columns = ["colour" if column == "color" else column for column in split[best]]
    if missing := [column for column in _REQUIRED if column not in columns]:
        raise LabelError(
            f"{path}, line 1 has the columns {columns}, but {missing} is missing. Begin the file "
            "with the line `code,name,colour`."
        )
    if repeated := [column for column in _COLUMNS if columns.count(column) > 1]:
        raise LabelError(f"{path}, line 1 has the column {repeated[0]!r} twice; keep one.")
    return columns, best


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _row(where: str, fields: list[str], columns: list[str], delimiter: str) -> ClassRow:
    if len(fields) > len(columns) and any(field.strip() for field in fields[len(columns) :]):
        raise LabelError(
            f"{where} has {len(fields)} fields, but the header has {len(columns)}. Put a field "
            f"that contains {delimiter!r} in double quotes."
        )
    values = {column: field.strip() for column, field in zip(columns, fields, strict=False)}
    for column in _REQUIRED:
        if not values.get(column):
            raise LabelError(f"{where}, column {column!r} is empty; fill it or delete the line.")
    colour = values.get("colour", "")
    if colour and not re.fullmatch(r"#?[0-9A-Fa-f]{6}", colour):
        raise LabelError(f"{where}, column 'colour' holds {colour!r}, expected '#rrggbb'.")
    return ClassRow(
        code=plain_label(values["code"]),
        name=plain_label(values["name"]),
        colour=f"#{colour.removeprefix('#')}" if colour else None,
        parent=plain_label(values.get("parent", "")) or None,
        level=values.get("level") or None,
    )
