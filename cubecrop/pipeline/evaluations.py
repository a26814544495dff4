"""`evaluate` and `evaluate_table`: the generalisation report of parcels, or of tables."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.checks import brief, check_flag, check_folder, check_whole
from cubecrop.cube import MEMORY, CubeRequest
from cubecrop.errors import ReadError
from cubecrop.evaluation.study import study
from cubecrop.evaluation.study_options import StudyOptions
from cubecrop.nomenclature import NODATA, Nomenclature, warn_of_spellings
from cubecrop.pipeline.declared import as_sources, season_in
from cubecrop.pipeline.inputs import as_nomenclature
from cubecrop.pipeline.labelled import check_regions, labelled_samples, modalities, needed_by
from cubecrop.pipeline.table import read_samples
from cubecrop.progress import check_scheduler
from cubecrop.texts import label_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from distributed import Client

    from cubecrop.archive import Archive
    from cubecrop.cube import Clouds, Composite
    from cubecrop.evaluation import Report
    from cubecrop.pipeline.declared import Parcels
    from cubecrop.progress import Scheduler
    from cubecrop.schema import Modality
    from cubecrop.season import Season

__all__ = ["evaluate", "evaluate_table"]


def evaluate(
    parcels: Parcels | Sequence[tuple[Parcels, int, str | Path | Archive | None]],
    label: str,
    year: int | None = None,
    *,
    archive: str | Path | Archive | None = None,
    by: str | None = None,
    options: StudyOptions | None = None,
    season: Season | None = None,
    sensors: tuple[Modality, ...] = ("sentinel2", "sentinel1"),
    nomenclature: Nomenclature | str | Path | None = None,
    composite: Composite | None = None,
    clouds: Clouds = "scl",
    weather: str | Path | Archive | None = None,
    resolution: float = 10,
    crs: str | int | None = None,
    memory: float = MEMORY,
    cache: str | Path | None = None,
    out: str | Path | None = None,
    client: Client | None = None,
    progress: bool = True,
    scheduler: Scheduler | None = None,
) -> Report:
    """Report how far models carry that are trained on declared parcels; reads their pixels.

    Parameters
    ----------
    parcels, label, year, archive
        As for `cubecrop.train`; for several years or regions a list of (parcels, year, archive).
    by : str, optional
        Column with the name of each parcel's region. By default parcels further than 200 km from
        all others form another region.
    options : StudyOptions, optional
        Protocols, models, seeds and further tests.
    season, sensors, nomenclature, composite, clouds, weather, resolution, crs, memory, cache, \
scheduler
        As for `cubecrop.train`.
    out, client, progress
        As for `cubecrop.generalisation_report`.

    Returns
    -------
    Report
        As from `cubecrop.generalisation_report`.

    Raises
    ------
    ArgumentError, LabelError, ParcelError, NoScenesError, ReadError, OutputError
        As for `cubecrop.train` and `cubecrop.generalisation_report`.
    """
    options = options or StudyOptions()
    sources = as_sources(parcels, year, archive)
    # An ablation asks for all inputs; those that an archive lacks are left out.
    further = ("weather", "terrain") if options.ablation else ()
    wanted = dict.fromkeys([*modalities(sensors, options.config), *further])
    requests = [
        CubeRequest(
            season=season_in(when, season, several=len(sources) > 1), archive=where,
            modalities=tuple(wanted), resolution=resolution, crs=crs, memory=memory,
            composite=composite, clouds=clouds, weather=weather,
            needed=needed_by(options.config),
        )
        for _, when, where in sources
    ]  # fmt: skip
    check_flag("progress", progress)
    check_scheduler(scheduler)
    check_folder("cache", cache)
    with labelled_samples(
        sources, requests, label, nomenclature=nomenclature, held_out=0.0, seed=0,
        config=options.config, cache=cache, progress=progress, scheduler=scheduler, by=by,
    ) as found:  # fmt: skip
        return study(
            found.samples,
            [one.texts for one in found.declared],
            options,
            nomenclature=found.classes,
            regions=[one.region for one in found.declared] if by else None,
            out=out, client=client, progress=progress,
        )  # fmt: skip


def evaluate_table(
    tables: str | Path | Sequence[str | Path],
    label: str,
    *,
    by: str | None = None,
    options: StudyOptions | None = None,
    nomenclature: Nomenclature | str | Path | None = None,
    most_frequent: int | None = None,
    clouds_from: str | Path | None = None,
    out: str | Path | None = None,
    client: Client | None = None,
    progress: bool = True,
) -> Report:
    """Report how far models carry that are trained on tables of samples; reads them into memory.

    Parameters
    ----------
    tables : path, or a sequence of paths
        As for `cubecrop.train_table`; one table for each year, or for each region.
    label : str
        Column that holds the crop, in all tables.
    by : str, optional
        Column with the name of each parcel's region. By default parcels further than 200 km from
        all others form another region.
    options : StudyOptions, optional
        Protocols, models, seeds and further tests.
    nomenclature : Nomenclature or path, optional
        As for `cubecrop.train`.
    most_frequent : int, optional
        Keep only so many classes, those with most parcels.
    clouds_from : path, optional
        A table of another place, whose clouds are laid over the test samples under stress.
    out, client, progress
        As for `cubecrop.generalisation_report`.

    Returns
    -------
    Report
        As from `cubecrop.generalisation_report`.

    Raises
    ------
    ArgumentError, LabelError, ReadError, SchemaError, ParcelError, OutputError
        As for `cubecrop.train_table` and `cubecrop.generalisation_report`.
    """
    paths = [tables] if isinstance(tables, str | Path) else tables
    if not isinstance(paths, list | tuple) or not paths:
        raise ReadError(
            f"tables is {brief(tables)}, expected the path of a table, or a list of paths. For "
            "pixel sets in memory, use `cubecrop.generalisation_report`."
        )
    samples = [read_samples(path, label) for path in paths]
    texts = [[label_text(value) for value in tree["label"].to_numpy()] for tree in samples]
    listed = as_nomenclature(nomenclature, [text for own in texts for text in own])
    if listed is not None:
        texts = [listed.names_of(own) for own in texts]
    every = [text for own in texts for text in own]
    classes = listed.only(every) if listed else Nomenclature.from_labels(every, name=label)
    if listed is None:
        warn_of_spellings(classes.names, label)
    if most_frequent is not None:
        classes = _most_frequent(classes, every, most_frequent)
        kept = set(classes.names)
        texts = [[text if text in kept else None for text in own] for own in texts]
    regions: list[list[str | None]] | None = None
    if by is not None:
        trees = [read_samples(path, by) for path in paths]
        regions = [[label_text(value) for value in tree["label"].to_numpy()] for tree in trees]
        pairs = zip(chain(*texts), chain(*regions), strict=True)
        check_regions(by, [region for text, region in pairs if text is not None])
    others: xr.DataTree | None = None
    if clouds_from is not None:
        others = read_samples(clouds_from, None)
    return study(
        samples, texts, options or StudyOptions(), nomenclature=classes, regions=regions,
        others=others, out=out, client=client, progress=progress,
    )  # fmt: skip


def _most_frequent(classes: Nomenclature, texts: Sequence[str | None], n: int) -> Nomenclature:
    """The ``n`` classes with most parcels."""
    check_whole("most_frequent", n, minimum=2)
    index = np.array([classes.index(text) for text in texts])
    counts = np.bincount(index[index != NODATA], minlength=len(classes))
    chosen = np.argsort(-counts, kind="stable")[:n]
    return classes.only([classes.names[i] for i in sorted(chosen)])
