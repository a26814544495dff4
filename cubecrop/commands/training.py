"""The command `train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

import cubecrop
from cubecrop.errors import ArgumentError, LabelError
from cubecrop.options import (
    Archive,
    Clouds,
    End,
    Memory,
    Overwrite,
    Start,
    Verbose,
    Weather,
    memory_or_default,
    season_between,
)
from cubecrop.printing import plain_console, print_calibration

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["train"]


def train(
    parcels: Path | None = None,
    *,
    label: str | None = None,
    out: Path,
    recipe: Path | None = None,
    year: Annotated[int | None, Parameter(help="Harvest year of parcels.")] = None,
    archive: Archive = None,
    more: Annotated[
        list[tuple[Path, int, str]] | None,
        Parameter(negative="", help="Other PARCELS YEAR ARCHIVE to train on too; may be repeated."),
    ] = None,
    start: Start = None,
    end: End = None,
    held_out: float | None = None,
    epochs: int | None = None,
    init: str | None = None,
    composite: Literal["dekad", "month"] | None = None,
    may_be_missing: Annotated[
        tuple[Literal["sentinel2", "sentinel1"], ...], Parameter(negative="", show_default=False)
    ] = (),
    seed: int | None = None,
    checkpoint: Path | None = None,
    cache: Path | None = None,
    clouds: Clouds = None,
    weather: Weather = None,
    memory: Memory = None,
    nomenclature: Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    overwrite: Overwrite = False,
    verbose: Verbose = False,
) -> None:
    """Train a model on declared parcels and write it to a folder.

    Parcels may lie in any number of places. Their pixels are kept on disk, in --cache or in the
    system's temporary folder, and not in memory.

    With --weather the model also learns from weather; the archive itself may be named there.

    With --recipe everything is in a file: parcels of many regions and years, what is held out,
    and a report at the end.

    Parameters
    ----------
    parcels
        With --year, a vector file with a unique id, a CRS and the label. Without it, a table of
        samples: a Parquet file in a WorldCereal format, or a folder with DATA and META.
    label
        Column that holds the crop; for a folder, the name of the nomenclature.
    out
        Folder to write the model to; with --recipe also its card and its report.
    recipe
        A TOML file that names parcels, years and archives.
    init
        Start from the encoders of a model: a folder, "default", or a file with Presto's weights.
    held_out
        Share of each class's parcels that is kept out of training and only scored, by default .3.
    epochs
        Passes over the parcels; by default 40, and more if there are few parcels.
    composite
        Learn from one composite per period instead of every date.
    may_be_missing
        Sensors that may be missing where the model is used.
    seed
        Same input and seed, same model; by default 0.
    checkpoint
        Folder for the state after each epoch and for metrics.csv; the same command resumes
        an interrupted training from there.
    cache
        Folder that keeps the pixels drawn from the archive, for the next training; the same
        command resumes an interrupted sampling from there.
    nomenclature
        CSV with the columns code, name and colour of the crops; labels are codes or names.
    workers
        With --recipe, start a Dask cluster on this machine for the report's trainings.
    scheduler
        With --recipe, address of a running Dask scheduler for them.
    """
    if recipe is not None:
        others = {
            "PARCELS": parcels, "--label": label, "--year": year, "--archive": archive,
            "--more": more, "--start": start, "--end": end, "--held-out": held_out,
            "--epochs": epochs, "--init": init, "--composite": composite,
            "--may-be-missing": may_be_missing or None, "--seed": seed, "--checkpoint": checkpoint,
            "--clouds": clouds, "--weather": weather, "--memory": memory,
            "--nomenclature": nomenclature,
        }  # fmt: skip
        _train_recipe(
            recipe, out, others, cache=cache, workers=workers, scheduler=scheduler,
            overwrite=overwrite, verbose=verbose,
        )  # fmt: skip
        return
    if parcels is None or label is None:
        raise ArgumentError("train needs PARCELS and --label, or --recipe.")
    if workers is not None or scheduler is not None:
        raise ArgumentError("--workers and --scheduler are for --recipe; leave them out.")
    from cubecrop.files import check_free
    from cubecrop.model import MODEL_FILES, NetworkOptions
    from cubecrop.scoreboard import print_scores

    check_free(out, files=MODEL_FILES, overwrite=overwrite)
    network = NetworkOptions(weather=weather is not None)
    config = cubecrop.TrainConfig(network=network, epochs=epochs, may_be_missing=may_be_missing)
    options: dict[str, Any] = {
        "held_out": 0.3 if held_out is None else held_out, "nomenclature": nomenclature,
        "config": config, "seed": seed or 0, "checkpoint": checkpoint,
        "init": cubecrop.CropModel.default() if init == "default" else init,
    }  # fmt: skip
    if year is None:
        of_archive = (archive, more, start, end, composite, cache, clouds, weather, memory)
        if any(option is not None for option in of_archive):
            raise LabelError(
                "--archive, --more, --start, --end, --composite, --clouds, --weather, --memory and "
                "--cache are for parcels in an archive, but --year is missing: add the harvest "
                "year of the labels, or leave these options out to train on a table of samples."
            )
        model = cubecrop.train_table(parcels, label, **options)
    else:
        model = cubecrop.train(
            [(parcels, year, archive), *(more or [])],
            label,
            season=season_between(year, start, end),
            weather=weather,
            composite=composite,
            clouds=clouds or "scl",
            memory=memory_or_default(memory),
            cache=cache,
            **options,
        )
    model.save(out, overwrite=overwrite)
    console = plain_console()
    print_scores(console, model, verbose=verbose)
    if nomenclature is not None:
        console.print(
            f"The model has {len(model.nomenclature)} crops. No parcel has the other crops that "
            f"{nomenclature.name} lists."
        )
    print_calibration(console, model)
    console.print(f"Model {model.digest[:12]} written to {out}")


def _train_recipe(
    recipe: Path,
    out: Path,
    others: Mapping[str, object],
    *,
    cache: Path | None,
    workers: int | None,
    scheduler: str | None,
    overwrite: bool,
    verbose: bool,
) -> None:
    """Train what a recipe says; other options would contradict it."""
    from cubecrop.pipeline.recipe_state import CARD, MODEL, REPORT
    from cubecrop.pipeline.recipes import train_recipe
    from cubecrop.region.cluster import connected
    from cubecrop.scoreboard import print_scores

    if given := [name for name, value in others.items() if value is not None]:
        raise ArgumentError(
            f"{', '.join(given)} and --recipe are given; the recipe says this itself. Leave "
            "them out."
        )
    with connected(workers=workers, scheduler=scheduler) as client:
        model = train_recipe(recipe, out, cache=cache, client=client, overwrite=overwrite)
    console = plain_console()
    print_scores(console, model, verbose=verbose)
    print_calibration(console, model)
    console.print(f"Model {model.digest[:12]} written to {out / MODEL}, its card to {out / CARD}")
    console.print(f"Report: {out / REPORT / 'report.html'}")
