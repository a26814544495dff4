"""Find the classes that labels mean, which may be codes or names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cubecrop.errors import LabelError
from cubecrop.texts import label_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["positions_of_labels"]

#: Number of labels that an error lists.
_LISTED: Final = 8


def positions_of_labels(
    labels: Iterable[object], pairs: Sequence[tuple[str, str]], where: str
) -> list[int | None]:
    """Positions of labels among pairs of code and name, codes before names; None for nulls."""
    places = {name: i for i, (_, name) in enumerate(pairs)}
    places |= {code: i for i, (code, _) in enumerate(pairs)}
    texts = label_texts(labels)
    if unknown := sorted({text for text in texts if text is not None and text not in places}):
        more = f" and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else ""
        raise LabelError(
            f"{len(unknown)} labels are neither a code nor a name of {where}: "
            f"{', '.join(map(repr, unknown[:_LISTED]))}{more}. Add them to it, or set the label "
            "of their parcels to null to leave these out."
        )
    return [None if text is None else places[text] for text in texts]
