"""`train`: sample declared parcels of an archive, train a network on them and score it."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.archive import Archive, open_archive
from cubecrop.checks import check_flag, check_folder, check_names, check_whole
from cubecrop.cube import MEMORY, CubeRequest
from cubecrop.errors import LabelError, NoScenesError, SchemaError
from cubecrop.model import beside_satellites, usable_device
from cubecrop.nomenclature import Nomenclature
from cubecrop.pipeline.declared import Declared, Parcels, as_sources, season_in, split_declared
from cubecrop.pipeline.inputs import as_nomenclature, where_they_are, within_archive
from cubecrop.pipeline.known import fingerprints
from cubecrop.pipeline.score import fit_and_score
from cubecrop.pipeline.tiled_samples import sample_tiles
from cubecrop.progress import Scheduler, check_scheduler
from cubecrop.sample import StoredSets, labels_of, plain_parcels, read_parcels
from cubecrop.schema import SERIES, Modality
from cubecrop.training import TrainConfig, as_config

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from cubecrop.cube import Clouds, Composite
    from cubecrop.model import CropModel
    from cubecrop.season import Season

__all__ = ["train"]

#: Number of pixels stored per training parcel; every epoch draws from them again.
_STORED_PIXELS = 256


def train(
    parcels: Parcels | Sequence[tuple[Parcels, int, str | Path | Archive]],
    label: str,
    year: int | None = None,
    *,
    archive: str | Path | Archive | None = None,
    season: Season | None = None,
    sensors: tuple[Modality, ...] = ("sentinel2", "sentinel1"),
    held_out: float = 0.3,
    nomenclature: Nomenclature | str | Path | None = None,
    config: TrainConfig | None = None,
    composite: Composite | None = None,
    clouds: Clouds = "scl",
    weather: str | Path | Archive | None = None,
    seed: int = 0,
    resolution: float = 10,
    crs: str | int | None = None,
    chunks: int | None = None,
    memory: float = MEMORY,
    device: str | None = None,
    checkpoint: str | Path | None = None,
    cache: str | Path | None = None,
    progress: bool = True,
    scheduler: Scheduler | None = None,
) -> CropModel:
    """Train a model on declared parcels of any extent; reads their pixels.

    Parcels are sampled tile by tile into a folder on disk, and training reads its batches from
    there. So memory grows neither with the number of parcels nor with the area.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame, path or list
        Columns ``id`` (unique), ``geometry`` and the label; any CRS. Parcels with a null
        label, without geometry, or outside the archive are left out. For several years, regions
        or archives, a list of (parcels, year, archive), without ``year`` and ``archive``; ids may
        repeat between its tables.
    label : str
        Column that holds the crop.
    year, archive, chunks, memory, device, weather
        As for `classify`.
    season : Season, optional
        Season to use instead of the default one of the harvest year; with several years, its
        window is used in each of them.
    crs : str or int, optional
        A projected CRS in metres, or its EPSG code; by default the UTM zone of each parcel.
    resolution : float, default 10
        Pixel size in metres; the model then needs cubes of the same resolution.
    sensors : tuple of str
        ``sentinel2``, ``sentinel1`` or both; a sensor that the archive lacks is left out.
    held_out : float, default 0.3
        Share of the parcels of each class that is held out from training and only scored; see
        `split_parcels`. With 0 there are no scores on held-out parcels. With several tables,
        parcels at one place are held out in all years or in none.
    nomenclature : Nomenclature or path, optional
        Codes, names and colours of the classes, or a CSV with them; see
        `Nomenclature.from_csv`. Labels are its codes or names. The model has the classes that
        occur among the parcels; the others are left out. By default each label is a class.
    config : TrainConfig, optional
        Settings of the training.
    composite : {"dekad", "month"}, optional
        Train on one composite per period instead of every date; the model then needs the same.
    clouds : {"scl", "probability"}, callable or CloudMask
        The cloud mask, see `open_season`; the model stores its name.
    seed : int, default 0
        The same input and seed give the same model on the CPU.
    checkpoint : path, optional
        Folder for the state and metrics of each epoch; see `fit`.
    cache : path, optional
        Folder that keeps the drawn pixel sets as Zarr, one store a tile, keyed by items, parcels
        and options. After an interruption the same call continues with the next tile. A file of
        the archive that changes under the same name is not noticed. By default a temporary folder
        in the system's (``TMPDIR``), which is removed afterwards.
    progress : bool, default True
        Show progress bars on a terminal or in a notebook.
    scheduler : {"threads", "synchronous"}, optional
        Compute with several threads or with one. By default Dask's own choice, but always in this
        process, which writes the pixel sets to its disk.

    Returns
    -------
    CropModel
        With ``scores`` on "train" and "held out" parcels: ``n``, ``accuracy``, ``macro_f1``,
        ``mean_iou`` with 95 % ``intervals``, ``per_class`` and ``confusion`` (see
        `cubecrop.model.PartScores`), and with the scores of a random forest on the same parcels,
        "held out, random forest". It stores fingerprints of its parcels, which `classify_parcels`
        marks. ``training.never_held_out`` names classes without a held-out parcel.

    Raises
    ------
    LabelError
        The label column is missing, has fewer than two classes within the archive, or has labels
        that the nomenclature lacks.
    ArgumentError
        Year or archive is missing, or given beside a list.
    OutputError
        The disk is full, or the folder cannot be written.
    ParcelError, NoScenesError, ReadError
        As for `classify_parcels`; with several tiles, the message names the tile.
    """
    config = as_config(config)
    sources = as_sources(parcels, year, archive)
    requests = [
        CubeRequest(
            season=season_in(when, season, several=len(sources) > 1), archive=where,
            modalities=_modalities(sensors, config), resolution=resolution, crs=crs, chunks=chunks,
            memory=memory, composite=composite, clouds=clouds, weather=weather,
        )
        for _, when, where in sources
    ]  # fmt: skip
    check_flag("progress", progress)
    check_scheduler(scheduler)
    check_whole("seed", seed, minimum=0)
    check_folder("checkpoint", checkpoint)
    check_folder("cache", cache)
    usable_device(device)
    tables = [read_parcels(table) for table, *_ in sources]
    texts = [labels_of(table, label) for table in tables]
    listed = as_nomenclature(nomenclature, [text for own in texts for text in own])
    if listed is not None:
        texts = [listed.names_of(own) for own in texts]
        tables = [t.assign(**{label: own}) for t, own in zip(tables, texts, strict=True)]
    years = [when for _, when, _ in sources]
    declared = split_declared(tables, years, texts, label, held_out=held_out, seed=seed)
    _classes(declared, label, "", listed)  # raises before the archive is searched
    requests = [request.opened() for request in requests]
    archives = [open_archive(request.archive) for request in requests]
    declared = [_within(one, source) for one, source in zip(declared, archives, strict=True)]
    names = ", ".join(dict.fromkeys(source.name for source in archives))
    classes = _classes(declared, label, f" within archive {names}", listed)
    with _folder(cache) as folder:
        samples, chosen = [], []
        for one, request in zip(declared, requests, strict=True):
            for sets, members in sample_tiles(
                one.table, request, folder, config=config,
                n_pixels=max(_STORED_PIXELS, config.n_pixels), progress=progress,
                scheduler=scheduler,
            ):  # fmt: skip
                chosen.append(one.take(members))
                samples.append(_grouped(sets, chosen[-1]))
        model = fit_and_score(
            samples,
            [one.texts for one in chosen],
            [one.part for one in chosen],
            nomenclature=classes, config=config, seed=seed, device=device, checkpoint=checkpoint,
            progress=progress,
            groups=[group for one in chosen if (group := one.group) is not None] or None,
        )  # fmt: skip
    return replace(model, parcels_seen=_seen(chosen))


@contextmanager
def _folder(cache: str | Path | None) -> Iterator[Path]:
    """The folder of the stores; without a cache a temporary one, removed afterwards."""
    if cache is not None:
        yield Path(cache)
        return
    with tempfile.TemporaryDirectory(prefix="cubecrop-training-") as folder:
        yield Path(folder)


def _modalities(sensors: object, config: TrainConfig) -> tuple[Modality, ...]:
    """Modalities of the cube; raises if the config names a sensor that is not among them."""
    chosen = check_names("sensors", sensors, tuple(SERIES), error=SchemaError)
    if unknown := sorted(set(config.may_be_missing) - set(chosen)):
        raise LabelError(
            f"may_be_missing names {unknown}, expected some of the sensors {list(chosen)}."
        )
    return (*chosen, *beside_satellites(config.network))  # type: ignore[arg-type]


def _classes(
    declared: Iterable[Declared], label: str, where: str, listed: Nomenclature | None
) -> Nomenclature:
    """The classes of parcels; raises if there are fewer than two."""
    texts = [text for one in declared for text in one.texts]
    # A class without any parcel would be an output of the network that is never trained.
    classes = listed.only(texts) if listed else Nomenclature.from_labels(texts, name=label)
    if len(classes) < 2:
        raise LabelError(
            f"column {label!r} holds the classes {classes.names}{where}, expected two or more."
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


def _seen(declared: Sequence[Declared]) -> dict[str, NDArray[np.uint64]]:
    """Fingerprints of the parcels of each part, in all years."""
    prints = [fingerprints(one.table, one.part) for one in declared]
    names = dict.fromkeys(name for own in prints for name in own)
    return {
        name: np.unique(np.concatenate([own[name] for own in prints if name in own]))
        for name in names
    }
