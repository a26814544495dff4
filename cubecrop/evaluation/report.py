"""The report of an evaluation: predictions, what they were made of, and all that follows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cubecrop.display import block, html_table
from cubecrop.errors import ReadError
from cubecrop.evaluation.about import About
from cubecrop.evaluation.page import html_page, markdown
from cubecrop.evaluation.page.numbers import named, protocol_title, scored, signed
from cubecrop.evaluation.page.told import LEVELS, finding_text, sorted_findings
from cubecrop.evaluation.predictions import Predictions
from cubecrop.evaluation.score_tables import ScoreTables, records
from cubecrop.evaluation.trust_tables import trust_tables
from cubecrop.files import new_file

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Report"]

_PREDICTIONS: Final = "scores.parquet"
_ABOUT: Final = "about.json"
_CURE: Final = "Free some space there or name another folder."
#: Rows of scores in notebooks and on terminals.
_SHOWN: Final = 12


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """How far models carry, as tables, text and a page.

    Parameters
    ----------
    predictions : Predictions
        What every model said of every test parcel.
    about : About
        What was evaluated and how.
    """

    predictions: Predictions
    about: About

    @cached_property
    def tables(self) -> ScoreTables:
        """All scores, with intervals; computed once, in seconds for a million predictions."""
        return ScoreTables.of(self.predictions, self.about.folds)

    @cached_property
    def trust(self) -> dict[str, pd.DataFrame]:
        """Tables on calibration, crop sets and applicability; see `trust_tables`."""
        return trust_tables(self.predictions)

    @classmethod
    def read(cls, folder: str | Path) -> Report:
        """Read the predictions and facts that `write` wrote.

        Raises
        ------
        ReadError, SchemaError
            A file is missing or damaged.
        """
        folder = Path(folder)
        try:
            text = (folder / _ABOUT).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ReadError(
                f"{folder / _ABOUT} cannot be read: {error}. Name a folder that `cubecrop "
                "evaluate` wrote."
            ) from error
        return cls(Predictions.read(folder / _PREDICTIONS), About.from_json(text))

    def write(self, folder: str | Path) -> None:
        """Write ``scores.parquet``, ``about.json``, ``report.md`` and ``report.html``.

        Each file appears whole or not at all, the page last. Other files of the folder stay.

        Raises
        ------
        OutputError
            The file system refuses.
        """
        folder = Path(folder)
        texts = {
            _ABOUT: self.about.to_json(),
            "report.md": markdown(self.tables, self.about, self.trust),
            "report.html": self.to_html(),
        }
        self.predictions.write(folder / _PREDICTIONS)
        for name, text in texts.items():
            with new_file(folder / name, cure=_CURE) as staging:
                staging.write_text(text, "utf-8")

    def to_html(self) -> str:
        """The page: one HTML document that requests nothing."""
        return html_page(self.tables, self.about, self.trust)

    def _rows(self) -> list[tuple[str, str, str, str]]:
        """Protocol, model, macro-F1 and its gap, for samples as they are."""
        table = self.tables.scores
        plain = table[(table["variant"] == "") & (table["score"] == "macro_f1")]
        return [
            (
                protocol_title(row["protocol"]), named(row["model"]), scored(row),
                signed(row["gap"], row["gap_low"], row["gap_high"]),
            )
            for row in records(plain)
        ]  # fmt: skip

    def _findings(self) -> list[tuple[str, str]]:
        found = [one for one in sorted_findings(self.about) if one.level != "fine"]
        return [(LEVELS[one.level], finding_text(one)) for one in found]

    def __repr__(self) -> str:
        rows = self._rows()
        lines = [(f"{protocol}, {model}", f"macro-F1 {f1}") for protocol, model, f1, _ in rows]
        more = [("and", f"{len(rows) - _SHOWN} more")] if len(rows) > _SHOWN else []
        title = f"<Report {named(self.about.title)!r} of {len(self.predictions):,} predictions>"
        return block(title, [*self._findings(), *lines[:_SHOWN], *more])

    def _repr_html_(self) -> str:
        rows = self._rows()
        more = f"; the first {_SHOWN} of {len(rows)} rows" if len(rows) > _SHOWN else ""
        title = f"{named(self.about.title)}: {len(self.predictions):,} predictions{more}"
        found = html_table("", self._findings()) if self._findings() else ""
        header = ("protocol", "model", "macro-F1", "less random folds")
        return found + html_table(title, rows[:_SHOWN], header=header)
