"""Training from an archive: search, cube, pixel sets, network, scores, in one call."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from cubecrop import __version__
from cubecrop.archive import Archive, open_archive, open_weather
from cubecrop.checks import check_folder, check_names, check_whole
from cubecrop.cube import open_season
from cubecrop.errors import LabelError, NoScenesError, ParcelError, SchemaError
from cubecrop.model import usable_device
from cubecrop.nomenclature import Nomenclature
from cubecrop.pipeline.inputs import (
    as_season,
    beside_satellites,
    check_options,
    check_reach,
    where_they_are,
    within_archive,
)
from cubecrop.pipeline.score import scored
from cubecrop.progress import compute
from cubecrop.sample import (
    cache_key,
    cached,
    fewer_pixels,
    labels_of,
    read_parcels,
    reading_order,
    sample_pixel_sets,
    split_parcels,
)
from cubecrop.schema import SERIES, Modality, crs_of
from cubecrop.training import TrainConfig, as_config, fit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import geopandas as gpd
    from numpy.typing import NDArray

    from cubecrop.cube import Clouds, Composite
    from cubecrop.model import CropModel
    from cubecrop.season import Season

__all__ = ["train"]

#: Pixels kept of each training parcel; every epoch draws anew among them.
_STORED_PIXELS = 256
#: Pixel sets larger than this in memory are refused rather than swapped.
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
    config: TrainConfig | None = None,
    composite: Composite | None = None,
    clouds: Clouds = "scl",
    weather: str | Path | Archive | None = None,
    seed: int = 0,
    resolution: float = 10,
    crs: str | int | None = None,
    chunks: int | None = None,
    device: str | None = None,
    checkpoint: str | Path | None = None,
    cache: str | Path | None = None,
    progress: bool = True,
) -> CropModel:
    """Train a model on declared parcels; reads their pixels into memory.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame or path
        Columns ``id`` (unique), ``geometry`` and the label; any CRS. Parcels with a null
        label, without geometry, or outside the archive are left out.
    label : str
        Column that holds the crop.
    year, archive, season, resolution, crs, chunks, device, weather
        As for `classify`.
    sensors : tuple of str
        Which of ``sentinel2`` and ``sentinel1`` to learn from; one that the archive lacks
        is left out.
    held_out : float, default 0.3
        Share of the parcels of each class that is kept from training and only scored; see
        `split_parcels`. With 0 there are no scores on unseen parcels.
    config : TrainConfig, optional
        Settings of the training.
    composite : {"dekad", "month"}, optional
        Learn from one step a period in place of every date; the model then asks for the same.
    clouds : {"scl", "probability"}, callable or CloudMask
        What masks clouds, see `open_season`; the model remembers it.
    seed : int, default 0
        Same input and seed: same model, on the CPU.
    checkpoint : path, optional
        Folder for the state and metrics of each epoch; see `fit`.
    cache : path, optional
        Folder that keeps the drawn pixel sets as Zarr, by what went in: items, parcels and
        options. A file that was changed in the archive under its old name is not noticed.
    progress : bool, default True
        Show progress bars on a terminal.

    Returns
    -------
    CropModel
        With ``scores`` on "train" and "held out" parcels: ``n``, ``accuracy``, ``macro_f1``,
        ``mean_iou``, and beside them those of a random forest on the same parcels, "held out,
        random forest". ``training.never_held_out`` names classes with a single parcel.

    Raises
    ------
    LabelError
        The label column is not there, or holds fewer than two classes within the archive.
    ParcelError, NoScenesError, ReadError
        As for `classify_parcels`.
    """
    config = as_config(config)
    check_options(
        resolution=resolution, crs=crs, chunks=chunks, device=device, progress=progress,
        composite=composite, clouds=clouds,
    )  # fmt: skip
    when = as_season(year, season)
    modalities = _modalities(sensors, config)
    if weather is not None:
        weather = open_weather(weather, modalities)
    check_whole("seed", seed, least=0)
    check_folder("checkpoint", checkpoint)
    check_folder("cache", cache)
    usable_device(device)
    table = read_parcels(parcels)
    texts = labels_of(table, label)
    part = split_parcels(table, label, held_out=held_out, seed=seed).to_numpy()
    _classes(texts, label, "")  # before anything is asked of an archive
    source = open_archive(archive)
    labelled = _labelled_within(table, part, source)
    nomenclature = _classes([texts[i] for i in labelled], label, f" within archive {source.name}")
    check_reach(table.iloc[labelled], resolution=resolution, crs=crs)
    cube = open_season(
        table.iloc[labelled],
        when,
        archive=source,
        modalities=modalities,
        resolution=resolution,
        crs=crs,
        chunks=chunks,
        composite=composite,
        clouds=clouds,
        weather=weather,
    )
    _check_found(cube, config, source)
    chosen = labelled[reading_order(cube, table.iloc[labelled])]
    stored = max(_STORED_PIXELS, config.n_pixels)
    samples = sample_pixel_sets(cube, table.iloc[chosen], n_pixels=stored, seed=0)
    if cache is None:
        samples = _loaded(samples, progress)
    else:
        options = {"resolution": resolution, "crs": crs_of(cube), "version": __version__}
        key = cache_key(samples, table.iloc[chosen], options)
        samples = cached(cache, key, partial(_loaded, samples, progress))
    seen = np.flatnonzero(part[chosen] == "train")
    truth = [texts[i] for i in chosen]
    model = fit(
        samples.isel(parcel=seen),
        [truth[i] for i in seen],
        nomenclature=nomenclature,
        config=config,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        progress=progress,
    )
    return scored(
        model, fewer_pixels(samples, model.n_pixels), truth, part[chosen], seed=seed, device=device
    )


def _modalities(sensors: object, config: TrainConfig) -> tuple[Modality, ...]:
    """What a cube is to hold; raises where the config promises another sensor."""
    chosen = check_names("sensors", sensors, tuple(SERIES), error=SchemaError)
    if unknown := sorted(set(config.may_be_missing) - set(chosen)):
        raise LabelError(
            f"may_be_missing names {unknown}, expected some of the sensors {list(chosen)}."
        )
    return (*chosen, *beside_satellites(config.network))  # type: ignore[arg-type]


def _check_found(cube: xr.DataTree, config: TrainConfig, source: Archive) -> None:
    """Raise where an archive lacks what the network is to take, before pixels are read."""
    wanted = {*beside_satellites(config.network), *config.may_be_missing}
    if lacking := sorted(wanted - set(cube.children)):
        raise SchemaError(
            f"archive {source.name} has no {' and no '.join(lacking)} of the parcels and the "
            "season, which the config names. Use another archive, `weather=...` for weather, or a "
            "TrainConfig without."
        )


def _classes(texts: Sequence[str | None], label: str, where: str) -> Nomenclature:
    """The classes of parcels; raises where there is nothing to tell apart."""
    found = Nomenclature.from_labels(texts, name=label)
    if len(found) < 2:
        raise LabelError(
            f"column {label!r} holds the classes {found.names}{where}, expected two or more to "
            "tell apart."
        )
    return found


def _labelled_within(
    table: gpd.GeoDataFrame, part: NDArray[np.object_], source: Archive
) -> NDArray[np.int64]:
    """Positions of the labelled parcels that an archive may cover; raises where none is."""
    labelled = part != "unlabelled"
    found = np.flatnonzero(labelled & within_archive(table, source))
    if len(found) == 0:
        raise NoScenesError(
            f"no labelled parcel lies within archive {source.name}: "
            f"{where_they_are(table[labelled], source)}. Look at the parcels' CRS and "
            "coordinates, or choose another archive."
        )
    return found


def _loaded(samples: xr.DataTree, progress: bool) -> xr.DataTree:
    size = sum(node.to_dataset(inherit=False).nbytes for node in samples.subtree)
    if size > _MEMORY:
        raise ParcelError(
            f"pixel sets of {samples.sizes['parcel']} parcels take {size / 1e9:.0f} GB of memory, "
            f"more than {_MEMORY / 1e9:.0f} GB. Train on a part: `parcels.sample(n)`."
        )
    nodes = {node.path: node.to_dataset(inherit=False) for node in samples.subtree}
    values = compute(*nodes.values(), description="Reading parcels", progress=progress)
    return xr.DataTree.from_dict(dict(zip(nodes, values, strict=True)), name=samples.name)
