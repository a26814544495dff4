"""A model's scores on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from cubecrop.display import plain
from cubecrop.metrics import SCORE_NAMES
from cubecrop.model import BASELINE
from cubecrop.model.description import SCORE_TITLES, score_notes, score_text, share_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from cubecrop.model import CropModel, PartScores

__all__ = ["print_classes", "print_scores"]

#: Longest class name in a table.
_NAME: Final = 28
#: Mistakes that are listed if the matrix is wider than the terminal.
_MISTAKES: Final = 15


def print_scores(console: Console, model: CropModel, *, verbose: bool = False) -> None:
    """Print the scores of training and held-out parcels with 95 % intervals and notes.

    With ``verbose`` the scores of each class and the confusion matrix follow.
    """
    rows = [
        (part, f"{values['n']:.0f}", *(score_text(values, name) for name in SCORE_NAMES))
        for part, values in model.scores.items()
    ]
    titles = ("parcels", "n", *(SCORE_TITLES[name] for name in SCORE_NAMES))
    console.print(Text("Scores (95 % interval)"))
    console.print(_table(titles, rows, left=(0, 2, 3, 4)))
    for note in score_notes(model):
        console.print(Text(note))
    if verbose:
        print_classes(console, model)


def print_classes(console: Console, model: CropModel) -> None:
    """Print precision, recall and F1 of each class, and the confusion matrix.

    These are the scores of the held-out parcels, or of the training parcels if none are held out.
    """
    part = next((name for name in ("held out", "train") if name in model.scores), None)
    if part is None:
        return
    values = model.scores[part]
    if "per_class" not in values or "confusion" not in values:
        console.print(Text("The model has no scores by class; train it again to get them."))
        return
    forest = model.scores[BASELINE].get("per_class", {}) if BASELINE in model.scores else {}
    rows = []
    for number, (name, one) in enumerate(values["per_class"].items(), start=1):
        scores = (one["precision"], one["recall"], one["f1"])
        row = [f"{number} {plain(name, longest=_NAME)}", str(one["n"]), *map(share_text, scores)]
        rows.append([*row, share_text(forest[name]["f1"])] if name in forest else row)
    titles = ["class", "n", "precision", "recall", "F1", *(["F1 of forest"] if forest else [])]
    console.print(Text(f"Classes, {part} parcels"))
    console.print(_table(titles, rows))
    _print_confusion(console, values, part)


def _print_confusion(console: Console, values: PartScores, part: str) -> None:
    matrix = np.array(values["confusion"])
    names = list(values["per_class"])
    size = np.array([one["n"] for one in values["per_class"].values()])
    lost = size - matrix.sum(axis=1)
    counts = np.column_stack([matrix, lost]) if lost.any() else matrix
    titles = [str(i + 1) for i in range(len(names))] + (["none"] if lost.any() else [])
    rows = [
        [f"{i + 1} {plain(name, longest=_NAME)}", *(str(n) if n else "." for n in row)]
        for i, (name, row) in enumerate(zip(names, counts.tolist(), strict=True))
    ]
    table = _table(["true \\ predicted", *titles], rows)
    free = console.options.update(max_width=10_000)
    if Measurement.get(console, free, table).maximum <= console.width:
        console.print(Text(f"Confusion, {part} parcels"))
        console.print(table)
        return
    mistakes = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:_MISTAKES]
    pairs = [
        (plain(names[i], longest=_NAME), plain(names[j], longest=_NAME), str(mistakes[i, j]))
        for i, j in zip(*np.unravel_index(order, mistakes.shape), strict=True)
        if mistakes[i, j]
    ]
    console.print(Text(f"Largest confusions, {part} parcels"))
    console.print(_table(["true", "predicted", "n"], pairs, left=(0, 1)))
    console.print(Text("The whole matrix is wider than this terminal; model.json holds it."))


def _table(
    titles: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[int] = (0,)
) -> Table:
    """A table as narrow as its texts allow; no text is read as markup."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for i, one in enumerate(titles):
        table.add_column(Text(one), justify="left" if i in left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
