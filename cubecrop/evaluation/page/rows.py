"""Rows of score tables, and phrases of sentences about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cubecrop.evaluation.page.numbers import share, spanned
from cubecrop.evaluation.score_tables import records

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["around", "rows_of", "upper"]

_SCORE: Final = "macro_f1"


def rows_of(table: pd.DataFrame, **values: object) -> list[dict[str, Any]]:
    """Rows with the given values, and of the score that sentences are about."""
    if "score" in table:
        values.setdefault("score", _SCORE)
    chosen = np.ones(len(table), dtype=bool)
    for name, value in values.items():
        chosen &= (table[name] == value).to_numpy()
    return records(table[chosen])


def around(row: dict[str, Any]) -> str:
    """A value and its interval."""
    return f"{share(row['value'])} ({spanned(row['low'], row['high'])})"


def upper(text: str) -> str:
    """A text that opens a sentence."""
    return text[:1].upper() + text[1:]
