"""The command `adapt`."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from cubecrop.errors import ArgumentError
from cubecrop.options import Archive, Overwrite, Weather
from cubecrop.printing import plain_console

if TYPE_CHECKING:
    from rich.console import Console

    from cubecrop.model import CropModel

__all__ = ["adapt"]


def adapt(
    model: Path,
    samples: Path,
    *,
    out: Path,
    label: str | None = None,
    year: Annotated[int | None, Parameter(help="Harvest year of parcels.")] = None,
    archive: Archive = None,
    source: Annotated[
        list[Path] | None,
        Parameter(
            negative="",
            help="What the model was trained on, a table or parcels; may be repeated.",
        ),
    ] = None,
    source_label: str | None = None,
    source_year: Annotated[
        list[int] | None,
        Parameter(negative="", help="Harvest year of each --source of parcels."),
    ] = None,
    source_archive: Annotated[
        list[str] | None,
        Parameter(negative="", help="Archive of each --source; by default as for --archive."),
    ] = None,
    seed: int = 0,
    weather: Weather = None,
    overwrite: Overwrite = False,
) -> None:
    """Fit a model to the place and year to be mapped, without labels of it or with few.

    With --source the change is first tried on parts of what the model was trained on. If it does
    harm there, the model is written unchanged. Without --source nothing is checked.

    Parameters
    ----------
    model
        Folder of a trained model.
    samples
        The place and year to be mapped: a table of samples, a Parquet file in a WorldCereal
        format or a folder with DATA and META. With --year, a vector file of parcels with a unique
        id and a CRS.
    out
        Folder to write the adapted model to.
    label
        Column of the samples that holds the crop, which may be empty for most parcels. Without it
        no label is read.
    source_label
        Column of --source that holds the crop.
    seed
        Same input and seed, same model.
    """
    from cubecrop.files import check_free
    from cubecrop.model import MODEL_FILES
    from cubecrop.pipeline.adapting import adapt_model

    check_free(out, files=MODEL_FILES, overwrite=overwrite)
    adapted = adapt_model(
        model,
        samples,
        year=year,
        archive=archive,
        label=label,
        source=_sources(source, source_year, source_archive),
        source_label=source_label,
        weather=weather,
        seed=seed,
    )
    adapted.save(out, overwrite=overwrite)
    console = plain_console()
    _print_adaptation(console, adapted, checkable=source is not None)
    console.print(f"Model {adapted.digest[:12]} written to {out}")


def _sources(
    paths: list[Path] | None, years: list[int] | None, archives: list[str] | None
) -> list[Path] | list[tuple[Path, int, str | None]] | None:
    """Tables, or parcels with the year and archive of each."""
    if not years and not archives:
        return paths
    if not paths:
        raise ArgumentError(
            "--source-year and --source-archive are for --source, which is missing. Add it, or "
            "leave them out."
        )
    years, named = years or [], archives or []
    if len(paths) != len(years) or len(named) not in {0, len(paths)}:
        raise ArgumentError(
            f"--source is given {len(paths)} times, --source-year {len(years)} and "
            f"--source-archive {len(named)} times. Parcels in an archive need a year each, and an "
            "archive each or none, as often and in the same order; tables of samples need --source "
            "alone."
        )
    places: list[str | None] = [*named] or [None] * len(paths)
    return list(zip(paths, years, places, strict=True))


def _print_adaptation(console: Console, model: CropModel, *, checkable: bool) -> None:
    """Print what was done, and what the check showed."""
    from cubecrop.display import plain
    from cubecrop.model.description import difference_text, share_text

    record = model.adaptation
    if record is None:
        return
    labelled = f", {record.labelled} of them labelled" if record.labelled else ""
    console.print(f"{record.method.capitalize()} on {record.parcels} parcels{labelled}.")
    if record.blocks:
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("held-out part of the source")
        for name in ("parcels", "before", "after"):
            table.add_column(name, justify="right")
        rows = zip(record.blocks, record.tested, record.before, record.after, strict=True)
        for block, n, *scores in rows:
            table.add_row(plain(block), str(n), *map(share_text, scores))
        table.add_row("mean", "", share_text(fmean(record.before)), share_text(fmean(record.after)))
        console.print("Check: macro-F1 without and with the method")
        console.print(table)
        console.print(f"Mean difference {difference_text(record)} (standard error over parcels).")
        if record.applied:
            console.print("Passed: the mean is not lower by more than its standard error.")
        else:
            console.print("Failed: the mean is lower by more than its standard error.")
            console.print("The model is written unchanged.")
    elif checkable:
        console.print("Nothing was checked: see the warning.")
    else:
        console.print(
            "Nothing was checked: add --source and --source-label, what the model was trained on, "
            "to try the method there first."
        )
    if record.applied:
        console.print(
            "The model was adapted. It has no scores and no calibration, since those of the model "
            "before do not hold for it."
        )
