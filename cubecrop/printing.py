"""Output of the commands: a console that prints any text safely, and their messages."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from cubecrop.terminal import Terminal
from cubecrop.texts import place_name, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pandas import DataFrame
    from rich.console import Console
    from rich.text import Text

    from cubecrop.archive import Scenes
    from cubecrop.model import CropModel

__all__ = [
    "demo_text",
    "found_table",
    "plain_console",
    "print_archive",
    "print_calibration",
    "print_model",
    "print_rows",
]

#: Columns that every table fits in.
_WIDTH: Final = 80


class _PlainConsole(Terminal):
    """A console that prints text as it is: no markup, no emoji names, no control sequences."""

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401
        options |= {"markup": False, "emoji": False}
        return super().render_str(printable(text), **options)


def plain_console(*, stderr: bool = False) -> Console:
    """The console for results; numbers in sentences are not coloured."""
    console = _PlainConsole(highlight=False, stderr=stderr)
    # On a narrower terminal a table would lose columns; long lines only wrap.
    console.width = max(console.width, _WIDTH)
    return console


def found_table(scenes: Scenes, found: DataFrame, low_cloud: float) -> Table:
    """A table of the search result for a terminal of 80 columns."""
    table = Table(
        title=f"{place_name(scenes.archive)}, season {scenes.season}",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("series", no_wrap=True)
    for column in ("scenes", "dates", f"≤ {low_cloud:g} %\ncloud", "median\ncloud"):
        table.add_column(column, justify="right")
    table.add_column("first,\nlast", no_wrap=True)
    table.add_column("longest\ngap, from", no_wrap=True)
    for row in found.to_dict("records"):
        clouds, gap = row["cloud_cover"], row["longest_gap"]
        table.add_row(
            str(row["series"]),
            str(row["scenes"]),
            str(row["dates"]),
            str(row["low_cloud_dates"]) if row["modality"] == "sentinel2" else "",
            "" if isnan(clouds) else f"{clouds:.0f} %",
            f"{row['first']}\n{row['last']}",
            f"{gap} days\n{row['gap_start']}" if gap else "",
        )
    return table


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print labels and texts in two columns."""
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a path must be whole to be of use
    for label, text in rows:
        table.add_row(label, text)
    plain_console().print(table)


def demo_text(model: CropModel) -> str:
    """Explain the scores of a demo and their limits."""
    trained, tested = (round(model.scores[part]["n"]) for part in ("train", "held out"))
    return (
        f"Network and random forest (on monthly means) learnt from the same {trained} parcels and "
        f"were scored on the same {tested} others: one parcel is {100 / tested:.1f} % of accuracy, "
        "and rounding on another processor moves the network by a few. With so few parcels a "
        "forest is hard to beat. On 2,395 real points of Canada the accuracies are alike (network "
        "0.81, forest 0.80); in macro-F1, which counts rare crops like common ones, the network "
        "leads (0.72, forest 0.63), and more so in a region that neither was trained on (0.48, "
        "forest 0.27). See docs/answers.md."
    )


def print_archive(console: Console, archive: object) -> None:
    """Name the archive of the images, if there were any."""
    if archive:
        console.print(f"Archive: {place_name(archive)}")


def print_model(console: Console, model: CropModel, *, given: bool) -> None:
    """Say what to expect of the model that is used where none is given."""
    from cubecrop.model.shipped import read_card

    if not given:
        right = sorted(one["network"]["accuracy"] for one in read_card()["regions"].values())
        console.print(
            f"Model: {model.name}, which was right for {right[0]:.2f} to {right[-1]:.2f} of the "
            "points in regions that it had not seen; `cubecrop models show` tells of which crops."
        )


def print_calibration(console: Console, model: CropModel) -> None:
    """Explain the confidence of a model without probability calibration."""
    if model.calibration is None:
        console.print(
            "The model is uncalibrated: its confidence can rank parcels and pixels, but 0.9 does "
            "not mean that nine in ten are right. A model with 2,000 or more training parcels is "
            "calibrated; with fewer, use `TrainConfig(validation=0.15)` in Python."
        )
