"""Find the classes that labels mean, which may be codes or names, and labels that look alike."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

from cubecrop.errors import LabelError
from cubecrop.texts import label_texts, plain_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["positions_of_labels", "warn_of_spellings"]

#: Number of labels that an error or a warning lists.
_LISTED: Final = 8


def positions_of_labels(
    labels: Iterable[object], pairs: Sequence[tuple[str, str]], where: str
) -> list[int | None]:
    """Positions of labels among pairs of code and name, codes before names; None for nulls."""
    places = {plain_label(name): i for i, (_, name) in enumerate(pairs)}
    places |= {plain_label(code): i for i, (code, _) in enumerate(pairs)}
    texts = label_texts(labels)
    if unknown := sorted({text for text in texts if text is not None and text not in places}):
        more = f" and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else ""
        raise LabelError(
            f"{len(unknown)} labels are neither a code nor a name of {where}: "
            f"{', '.join(map(repr, unknown[:_LISTED]))}{more}. Add them to it, or set the label "
            "of their parcels to null to leave these out."
        )
    return [None if text is None else places[text] for text in texts]


def warn_of_spellings(names: Iterable[str], column: str) -> None:
    """Warn of classes whose names differ only in case or blanks: they may be one crop.

    Codes may differ in case alone, so this is no error.

    Parameters
    ----------
    names : iterable of str
        Names of classes that were made of labels.
    column : str
        Where the labels are.
    """
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(" ".join(name.casefold().split()), []).append(name)
    if twins := [same for same in alike.values() if len(same) > 1]:
        more = f" and {len(twins) - _LISTED} more" if len(twins) > _LISTED else ""
        warnings.warn(
            f"column {column!r} has classes that differ only in case or blanks: "
            f"{', '.join(map(str, twins[:_LISTED]))}{more}. Each counts as a crop of its own. If "
            f"they are one, write them alike, as in `parcels.assign(**{{{column!r}: "
            f"parcels[{column!r}].str.split().str.join(' ').str.lower()}})`.",
            stacklevel=3,
        )
