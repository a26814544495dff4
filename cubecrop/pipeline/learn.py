"""`train`: search an archive, open a cube, sample parcels, train a network and score it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from cubecrop._version import __version__
from cubecrop.archive import Archive, open_archive
from cubecrop.checks import check_flag, check_folder, check_names, check_whole
from cubecrop.cube import MEMORY, CubeRequest
from cubecrop.errors import LabelError, NoScenesError, ParcelError, SchemaError
from cubecrop.model import beside_satellites, usable_device
from cubecrop.nomenclature import Nomenclature
from cubecrop.pipeline.inputs import (
    as_nomenclature,
    as_season,
    check_reach,
    where_they_are,
    within_archive,
)
from cubecrop.pipeline.known import fingerprints
from cubecrop.pipeline.score import fit_and_score
from cubecrop.progress import Scheduler, check_scheduler, compute
from cubecrop.sample import (
    cache_key,
    cached,
    labels_of,
    plain_parcels,
    read_parcels,
    reading_order,
    sample_pixel_sets,
    split_parcels,
)
from cubecrop.schema import SERIES, Modality, crs_of
from cubecrop.training import TrainConfig, as_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

    from cubecrop.cube import Clouds, Composite
    from cubecrop.model import CropModel
    from cubecrop.season import Season

__all__ = ["train"]

#: Number of pixels stored per training parcel; every epoch draws from them again.
_STORED_PIXELS = 256
#: Larger pixel sets (bytes) are refused, since they might not fit the memory.
_MEMORY = 8 * 10**9


def train(
    parcels: gpd.GeoDataFrame | str | Path,
    label: str,
    year: int,
    *,
    archive: str | Path | Archive,
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
    """Train a model on declared parcels; reads their pixels into memory.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame or path
        Columns ``id`` (unique), ``geometry`` and the label; any CRS. Parcels with a null
        label, without geometry, or outside the archive are left out.
    label : str
        Column that holds the crop.
    year, archive, season, crs, chunks, memory, device, weather
        As for `classify`.
    resolution : float, default 10
        Pixel size in metres; the model then needs cubes of the same resolution.
    sensors : tuple of str
        ``sentinel2``, ``sentinel1`` or both; a sensor that the archive lacks is left out.
    held_out : float, default 0.3
        Share of the parcels of each class that is held out from training and only scored; see
        `split_parcels`. With 0 there are no scores on held-out parcels.
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
        Folder that stores the drawn pixel sets as Zarr, keyed by items, parcels and options. A
        file of the archive that changes under the same name is not noticed.
    progress : bool, default True
        Show progress bars on a terminal or in a notebook.
    scheduler : {"threads", "synchronous"}, optional
        Compute in this process, with several threads or with one. By default Dask's own choice,
        which is the cluster inside a task of a cluster.

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
    ParcelError, NoScenesError, ReadError
        As for `classify_parcels`.
    """
    config = as_config(config)
    request = CubeRequest(
        season=as_season(year, season), archive=archive, modalities=_modalities(sensors, config),
        resolution=resolution, crs=crs, chunks=chunks, memory=memory, composite=composite,
        clouds=clouds, weather=weather,
    )  # fmt: skip
    check_flag("progress", progress)
    check_scheduler(scheduler)
    check_whole("seed", seed, minimum=0)
    check_folder("checkpoint", checkpoint)
    check_folder("cache", cache)
    usable_device(device)
    table = read_parcels(parcels)
    texts = labels_of(table, label)
    listed = as_nomenclature(nomenclature, texts)
    if listed is not None:
        texts = listed.names_of(texts)
        table = table.assign(**{label: texts})
    part = split_parcels(table, label, held_out=held_out, seed=seed).to_numpy()
    _classes(texts, label, "", listed)  # raises before the archive is searched
    places = plain_parcels(table)
    request = request.opened()
    source = open_archive(request.archive)
    labelled = _labelled_within(places, part, source)
    classes = _classes(
        [texts[i] for i in labelled], label, f" within archive {source.name}", listed
    )
    check_reach(places.iloc[labelled], resolution=resolution, crs=crs)
    cube = request.open(places.iloc[labelled])
    # Dask would take each parcel out of its chunk's block on its own to bring them back in order.
    labelled = labelled[reading_order(cube, places.iloc[labelled])]
    _check_found(cube, config, source)
    stored = max(_STORED_PIXELS, config.n_pixels)
    samples = sample_pixel_sets(cube, places.iloc[labelled], n_pixels=stored, seed=0)
    load = partial(_loaded, samples, progress, scheduler)
    if cache is None:
        samples = load()
    else:
        options = {
            "resolution": resolution,
            "crs": crs_of(cube),
            "version": __version__,
            # Attributes hold only names, and two folders may have the same name.
            "places": [_place(source), _place(request.weather)],
        }
        key = cache_key(samples, places.iloc[labelled], options)
        samples = cached(cache, key, load)
    model = fit_and_score(
        samples,
        [texts[i] for i in labelled],
        part[labelled],
        nomenclature=classes,
        config=config,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        progress=progress,
        thin=True,
    )
    return replace(model, parcels_seen=fingerprints(places.iloc[labelled], part[labelled]))


def _modalities(sensors: object, config: TrainConfig) -> tuple[Modality, ...]:
    """Modalities of the cube; raises if the config names a sensor that is not among them."""
    chosen = check_names("sensors", sensors, tuple(SERIES), error=SchemaError)
    if unknown := sorted(set(config.may_be_missing) - set(chosen)):
        raise LabelError(
            f"may_be_missing names {unknown}, expected some of the sensors {list(chosen)}."
        )
    return (*chosen, *beside_satellites(config.network))  # type: ignore[arg-type]


def _check_found(cube: xr.DataTree, config: TrainConfig, source: Archive) -> None:
    """Raise if an archive lacks inputs of the network, before pixels are read."""
    wanted = {*beside_satellites(config.network), *config.may_be_missing}
    if lacking := sorted(wanted - set(cube.children)):
        raise SchemaError(
            f"archive {source.name} has no {' and no '.join(lacking)} for these parcels and this "
            "season, but the config needs it. Use another archive, pass `weather=...` for weather, "
            "or leave it out of the TrainConfig."
        )


def _classes(
    texts: Sequence[str | None], label: str, where: str, listed: Nomenclature | None
) -> Nomenclature:
    """The classes of parcels; raises if there are fewer than two."""
    # A class without any parcel would be an output of the network that is never trained.
    classes = listed.only(texts) if listed else Nomenclature.from_labels(texts, name=label)
    if len(classes) < 2:
        raise LabelError(
            f"column {label!r} holds the classes {classes.names}{where}, expected two or more."
        )
    return classes


def _place(source: object) -> str:
    """Full path or address of an archive."""
    name = str(source.name if isinstance(source, Archive) else source or "")
    return str(Path(name).resolve()) if "://" not in name and Path(name).exists() else name


def _labelled_within(
    table: gpd.GeoDataFrame, part: NDArray[np.object_], source: Archive
) -> NDArray[np.int64]:
    """Positions of the labelled parcels in an archive's extent; raises if there are none."""
    labelled = part != "unlabelled"
    positions = np.flatnonzero(labelled & within_archive(table, source))
    if len(positions) == 0:
        raise NoScenesError(
            f"no labelled parcel lies within archive {source.name}: "
            f"{where_they_are(table[labelled], source)}. Check the parcels' CRS and "
            "coordinates, or choose another archive."
        )
    return positions


def _loaded(samples: xr.DataTree, progress: bool, scheduler: Scheduler | None) -> xr.DataTree:
    size = sum(node.to_dataset(inherit=False).nbytes for node in samples.subtree)
    if size > _MEMORY:
        raise ParcelError(
            f"pixel sets of {samples.sizes['parcel']} parcels take {size / 1e9:.0f} GB of memory, "
            f"more than {_MEMORY / 1e9:.0f} GB. Train on a part: `parcels.sample(n)`."
        )
    nodes = {node.path: node.to_dataset(inherit=False) for node in samples.subtree}
    values = compute(
        *nodes.values(), description="Reading parcels", progress=progress, scheduler=scheduler
    )
    return xr.DataTree.from_dict(dict(zip(nodes, values, strict=True)), name=samples.name)
