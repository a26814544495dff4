"""Labelled parcels of archives, sampled into stores on disk."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.checks import check_names
from cubecrop.errors import ArgumentError, LabelError, NoScenesError, SchemaError
from cubecrop.model import beside_satellites
from cubecrop.nomenclature import Nomenclature, warn_of_spellings
from cubecrop.pipeline.declared import Declared, Parcels, split_declared
from cubecrop.pipeline.inputs import (
    as_nomenclature,
    opened_for,
    read_parcels_of_a_year,
    where_they_are,
    within_archive,
)
from cubecrop.pipeline.tiled_samples import sample_tiles
from cubecrop.sample import StoredSets, labels_of, plain_parcels
from cubecrop.schema import SERIES, Modality

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

    from cubecrop.archive import Archive
    from cubecrop.cube import CubeRequest
    from cubecrop.progress import Scheduler
    from cubecrop.training import TrainConfig

__all__ = [
    "STORED_PIXELS", "Labelled", "check_regions", "labelled_samples", "modalities", "needed_by",
    "sets_folder",
]  # fmt: skip

#: Number of pixels stored per training parcel; every epoch draws from them again.
STORED_PIXELS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Pixel sets on disk, the parcels of each, and the classes that occur."""

    samples: list[StoredSets]
    declared: list[Declared]
    classes: Nomenclature


@contextmanager
def labelled_samples(
    sources: Sequence[tuple[Parcels, int, str | Path | Archive | None]],
    requests: Sequence[CubeRequest],
    label: str,
    *,
    nomenclature: Nomenclature | str | Path | None,
    held_out: float,
    seed: int,
    config: TrainConfig,
    cache: str | Path | None,
    progress: bool,
    scheduler: Scheduler | None,
    by: str | None = None,
    called: str | None = None,
) -> Iterator[Labelled]:
    """Sample the labelled parcels of all sources; without a cache they are removed at the end.

    Parameters
    ----------
    sources, requests
        Parcels, year and archive of each source, and the options of its cubes.
    by : str, optional
        Column with the name of each parcel's region.
    called : str, optional
        What messages call the labels; by default the column ``label``.
    label, nomenclature, held_out, seed, config, cache, progress, scheduler
        As for `cubecrop.train`, which also lists the errors.
    """
    tables = [read_parcels_of_a_year(table) for table, *_ in sources]
    texts = [labels_of(table, label) for table in tables]
    regions = None if by is None else [_regions(table, by) for table in tables]
    listed = as_nomenclature(nomenclature, [text for own in texts for text in own])
    if listed is None:
        warn_of_spellings(dict.fromkeys(text for own in texts for text in own if text), label)
    else:
        texts = [listed.names_of(own) for own in texts]
        tables = [t.assign(**{label: own}) for t, own in zip(tables, texts, strict=True)]
    years = [when for _, when, _ in sources]
    declared = split_declared(tables, years, texts, label, held_out=held_out, seed=seed)
    if regions is not None:
        declared = [replace(one, region=r) for one, r in zip(declared, regions, strict=True)]
    called = f"column {label!r}" if called is None else called
    _classes(declared, label, listed, f"({called})")  # raises before the archive is searched
    requests = [
        opened_for(request, one.table[one.part != "unlabelled"])
        for request, one in zip(requests, declared, strict=True)
    ]
    archives = [request.source for request in requests]
    declared = [_within(one, source) for one, source in zip(declared, archives, strict=True)]
    if by is not None:
        check_regions(by, [name for one in declared for name in _names(one)])
    names = ", ".join(dict.fromkeys(source.name for source in archives))
    classes = _classes(declared, label, listed, f"within archive {names} ({called})")
    with sets_folder(cache) as folder:
        samples, chosen = [], []
        for one, request in zip(declared, requests, strict=True):
            for sets, members in sample_tiles(
                one.table, request, folder, config=config,
                n_pixels=max(STORED_PIXELS, config.n_pixels), progress=progress,
                scheduler=scheduler,
            ):  # fmt: skip
                chosen.append(one.take(members))
                samples.append(_grouped(sets, chosen[-1]))
        yield Labelled(samples=samples, declared=chosen, classes=classes)


def _regions(table: gpd.GeoDataFrame, by: str) -> NDArray[np.object_]:
    """Names (parcel,) of the regions in a column, "" for a parcel without one."""
    return np.array([text or "" for text in labels_of(table, by)], dtype=object)


def check_regions(by: str, regions: Sequence[str | None]) -> None:
    """Raise unless a column names the region of every labelled parcel.

    Without names, regions would be found from coordinates, which is not what was asked for.

    Raises
    ------
    ArgumentError
        The column has no name for a parcel.
    """
    if lacking := sum(not name for name in regions):
        raise ArgumentError(
            f"column {by!r} names no region for {lacking:,} of {len(regions):,} labelled parcels. "
            "Fill it, or leave it out (`by=None`, no `--by`): then regions are found from "
            "coordinates."
        )


def _names(declared: Declared) -> list[str]:
    return [] if declared.region is None else declared.region.tolist()


@contextmanager
def sets_folder(cache: str | Path | None) -> Iterator[Path]:
    """The folder of the stores; without a cache a temporary one, removed afterwards."""
    if cache is not None:
        yield Path(cache)
        return
    with tempfile.TemporaryDirectory(prefix="cubecrop-training-") as folder:
        yield Path(folder)


def modalities(sensors: object, config: TrainConfig) -> tuple[Modality, ...]:
    """Modalities of the cube; raises if the config names a sensor that is not among them."""
    chosen = check_names("sensors", sensors, tuple(SERIES), error=SchemaError)
    if unknown := sorted(set(config.may_be_missing) - set(chosen)):
        raise LabelError(
            f"may_be_missing names {unknown}, expected some of the sensors {list(chosen)}."
        )
    return (*chosen, *beside_satellites(config.network))  # type: ignore[arg-type]


def needed_by(config: TrainConfig) -> tuple[Modality, ...]:
    """Modalities that an archive must have for a training to succeed."""
    return (*config.may_be_missing, *beside_satellites(config.network))  # type: ignore[arg-type]


def _classes(
    declared: Iterable[Declared], label: str, listed: Nomenclature | None, where: str
) -> Nomenclature:
    """The classes of parcels; raises, saying where they are, if there are fewer than two."""
    texts = [text for one in declared for text in one.texts]
    # A class without any parcel would be an output of the network that is never trained.
    classes = listed.only(texts) if listed else Nomenclature.from_labels(texts, name=label)
    if len(classes) < 2:
        raise LabelError(
            f"the labels {where} hold only the class {classes.names[0]!r}, expected two or more. "
            "Name another column, or add parcels of other crops."
        )
    return classes


def _within(declared: Declared, source: Archive) -> Declared:
    """The labelled parcels in an archive's extent, as plain shapes; raises if there are none."""
    labelled = declared.part != "unlabelled"
    places = plain_parcels(declared.table)
    inside = within_archive(declared.table, source)
    positions = np.flatnonzero(labelled & inside)
    if len(positions) == 0:
        raise NoScenesError(
            f"no labelled parcel lies within archive {source.name}: "
            f"{where_they_are(declared.table[labelled], source)}. Check the parcels' CRS and "
            "coordinates, or choose another archive."
        )
    return replace(declared, table=places).take(positions)


def _grouped(samples: StoredSets, declared: Declared) -> StoredSets:
    """Pixel sets with the names of the parcels' places, if there are several years."""
    if declared.group is None:
        return samples
    return replace(
        samples, root=samples.root.assign_coords(group=("parcel", declared.group.astype(str)))
    )
