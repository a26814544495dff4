"""What the commands print: a console for strangers' words, and what it is told."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from cubecrop.terminal import Terminal
from cubecrop.texts import place_name, printable

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console
    from rich.text import Text

    from cubecrop.archive import Scenes
    from cubecrop.model import CropModel

__all__ = ["demo_text", "found_table", "plain_console", "print_calibration"]

#: Columns that every table fits in.
_WIDTH: Final = 80


class _PlainConsole(Terminal):
    """A console to which words are words: no markup, no emoji by name, no command to it."""

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401
        options |= {"markup": False, "emoji": False}
        return super().render_str(printable(text), **options)


def plain_console() -> Console:
    """Where results are told; numbers in a sentence are not coloured."""
    console = _PlainConsole(highlight=False)
    # A table that is cut to a narrower terminal loses columns; lines that are too long wrap.
    console.width = max(console.width, _WIDTH)
    return console


def found_table(scenes: Scenes, found: DataFrame, low_cloud: float) -> Table:
    """What was found, narrow enough for a terminal of 80 columns."""
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


def demo_text(model: CropModel) -> str:
    """What the scores of a demo say and do not say."""
    learnt, held = (round(model.scores[part]["n"]) for part in ("train", "held out"))
    return (
        f"Network and random forest (on monthly means) learnt from the same {learnt} parcels and "
        f"were scored on the same {held} others: one parcel is {100 / held:.1f} % of accuracy, and "
        "rounding on another processor moves the network by a few. With so few parcels a forest "
        "is hard to beat. On 2,395 real points of Canada the accuracies are alike (network 0.81, "
        "forest 0.80); in macro-F1, which counts rare crops like common ones, the network leads "
        "(0.72, forest 0.64), and more so when it learns in one region and is scored in another "
        "(Ontario to Maritimes 0.50, forest 0.35; back 0.45, forest 0.25). See docs/results.md."
    )


def print_calibration(console: Console, model: CropModel) -> None:
    """Say what a confidence is worth, where nothing says that it is a probability."""
    if model.calibration is None:
        console.print(
            "The model is uncalibrated: by its confidence parcels and pixels can be ranked, but "
            "0.9 does not mean that nine in ten are right. From 2,000 training parcels on a model "
            "is calibrated; with fewer, `TrainConfig(validation=0.15)` in Python does it."
        )
