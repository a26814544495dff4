"""The commands `evaluate` and `report`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

import cubecrop
from cubecrop.display import listed
from cubecrop.errors import ArgumentError
from cubecrop.options import (
    Archive,
    Clouds,
    End,
    Memory,
    Start,
    Weather,
    memory_or_default,
    season_between,
)  # fmt: skip
from cubecrop.printing import plain_console

__all__ = ["evaluate", "report"]

Protocols = Literal[
    "random", "blocked", "knndm", "leave-region-out", "leave-year-out", "region-and-year"
]
_SWITCH = Parameter(negative="")


def evaluate(
    samples: Path,
    *,
    label: str,
    out: Path,
    protocol: Annotated[tuple[Protocols, ...], Parameter(negative="", consume_multiple=True)] = (
        "random",
        "blocked",
    ),
    models: Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=True)] = (
        "network",
        "random forest",
    ),
    seeds: int = 3,
    by: str | None = None,
    stress: Annotated[bool, _SWITCH] = False,
    ablations: Annotated[bool, _SWITCH] = False,
    early: Annotated[bool, _SWITCH] = False,
    adapt: Annotated[bool, _SWITCH] = False,
    more: Annotated[
        list[Path] | None, Parameter(negative="", help="Another table; may be repeated.")
    ] = None,
    most_frequent: int | None = None,
    clouds_from: Path | None = None,
    year: Annotated[int | None, Parameter(help="Harvest year of parcels.")] = None,
    archive: Archive = None,
    other: Annotated[
        list[tuple[Path, int, str]] | None,
        Parameter(negative="", help="Other PARCELS YEAR ARCHIVE; may be repeated."),
    ] = None,
    start: Start = None,
    end: End = None,
    epochs: int | None = None,
    composite: Literal["dekad", "month"] | None = None,
    clouds: Clouds = None,
    weather: Weather = None,
    memory: Memory = None,
    nomenclature: Path | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    title: str | None = None,
) -> None:
    """Report how far models carry: to other places and years, and under stress.

    Models are trained and tested under each protocol. The report says first whether the protocol
    is honest. The same command continues a study that was interrupted.

    Parameters
    ----------
    samples
        A table of samples: a Parquet file in a WorldCereal format, or a folder with DATA and META.
        With --year, a vector file of parcels with a unique id and a CRS.
    label
        Column that holds the crop.
    out
        Folder for report.html, report.md, scores.parquet and the result of every training.
    protocol
        random blocked knndm leave-region-out leave-year-out region-and-year.
    models
        network, random forest, network for missing sensors.
    seeds
        Trainings of each model on each fold.
    by
        Column with the region; by default parcels further than 200 km apart form regions.
    stress
        Also test with fewer dates, without a sensor, with noise and with fewer pixels.
    ablations
        Also train with other inputs, fusions and temporal encoders.
    early
        Also test with series that end early in the season.
    adapt
        Also adapt the network to the test part, without its labels and with few of them.
    most_frequent
        Keep only so many classes of a table, those with most samples.
    clouds_from
        A table of another place, whose clouds --stress lays over the samples.
    epochs
        Passes over the parcels in training; by default 40, and more if there are few parcels.
    composite
        Learn from one composite per period instead of every date.
    nomenclature
        CSV with the columns code, name and colour of the crops; labels are codes or names.
    cache
        Folder that keeps the pixels drawn from the archive.
    workers
        Start a Dask cluster on this machine with so many processes.
    scheduler
        Address of a running Dask scheduler, such as tcp://10.0.0.1:8786.
    title
        Title of the report; by default it names the tables.
    """
    from cubecrop.evaluation import StudyOptions
    from cubecrop.pipeline.evaluations import evaluate as of_parcels
    from cubecrop.pipeline.evaluations import evaluate_table
    from cubecrop.region.cluster import connected

    places = [samples, *(more or []), *(path for path, *_ in other or [])]
    options = StudyOptions(
        protocols=protocol, models=models, seeds=seeds, stress=stress, ablation=ablations,
        early=early, adaptation=adapt, config=cubecrop.TrainConfig(epochs=epochs),
        command=shlex.join(["cubecrop", *sys.argv[1:]]),
        title=title or f"How far the models carry: {listed(dict.fromkeys(p.stem for p in places))}",
    )  # fmt: skip
    of_archive: dict[str, Any] = {
        "archive": archive, "other": other, "start": start, "end": end, "composite": composite,
        "clouds": clouds, "weather": weather, "memory": memory, "cache": cache,
    }  # fmt: skip
    of_tables = {"more": more, "most_frequent": most_frequent, "clouds_from": clouds_from}
    _check_together(year is not None, of_archive, of_tables)
    with connected(workers=workers, scheduler=scheduler) as client:
        if year is None:
            found = evaluate_table(
                [samples, *(more or [])], label, by=by, options=options, out=out, client=client,
                nomenclature=nomenclature, most_frequent=most_frequent, clouds_from=clouds_from,
            )  # fmt: skip
        else:
            found = of_parcels(
                [(samples, year, archive), *(other or [])], label, by=by, options=options,
                season=season_between(year, start, end), nomenclature=nomenclature,
                composite=composite, clouds=clouds or "scl", weather=weather,
                memory=memory_or_default(memory), cache=cache, out=out, client=client,
            )  # fmt: skip
    console = plain_console()
    console.print(str(found))
    console.print(f"Written to {out}: see {out / 'report.html'}")


def report(folder: Path) -> None:
    """Draw the report of `evaluate` again, without training.

    Parameters
    ----------
    folder
        Folder that `evaluate` wrote.
    """
    from cubecrop.evaluation import Report

    found = Report.read(folder)
    found.write(folder)
    console = plain_console()
    console.print(str(found))
    console.print(f"Written to {folder}: see {folder / 'report.html'}")


def _check_together(
    in_archive: bool, of_archive: dict[str, Any], of_tables: dict[str, Any]
) -> None:
    """Raise if options of an archive are given for a table, or the reverse."""
    wrong = of_tables if in_archive else of_archive
    given = [f"--{name.replace('_', '-')}" for name, value in wrong.items() if value is not None]
    if given and in_archive:
        raise ArgumentError(
            f"{', '.join(given)} are for tables of samples, but --year is given. Leave them out."
        )
    if given:
        raise ArgumentError(
            f"{', '.join(given)} are for parcels in an archive, but --year is missing. Add it, or "
            "leave these options out to evaluate a table of samples."
        )
