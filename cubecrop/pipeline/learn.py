"""`train`: sample declared parcels of an archive, train a network on them and score it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cubecrop.checks import check_flag, check_folder, check_whole
from cubecrop.cube import MEMORY, CubeRequest
from cubecrop.model import CropModel, usable_device
from cubecrop.pipeline.declared import Parcels, as_sources, season_in
from cubecrop.pipeline.known import seen
from cubecrop.pipeline.labelled import labelled_samples, modalities, needed_by
from cubecrop.pipeline.score import fit_and_score
from cubecrop.progress import Scheduler, check_scheduler
from cubecrop.training import Init, TrainConfig, as_config, as_init, config_of_init

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cubecrop.archive import Archive
    from cubecrop.cube import Clouds, Composite
    from cubecrop.nomenclature import Nomenclature
    from cubecrop.schema import Modality
    from cubecrop.season import Season

__all__ = ["train"]


def train(
    parcels: Parcels | Sequence[tuple[Parcels, int, str | Path | Archive | None]],
    label: str,
    year: int | None = None,
    *,
    archive: str | Path | Archive | None = None,
    season: Season | None = None,
    sensors: tuple[Modality, ...] = ("sentinel2", "sentinel1"),
    held_out: float = 0.3,
    nomenclature: Nomenclature | str | Path | None = None,
    config: TrainConfig | None = None,
    init: Init | str | Path | None = None,
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
        repeat between its tables. An archive of None is chosen as without ``archive``.
    label : str
        Column that holds the crop.
    year, archive, chunks, memory, device, weather
        As for `classify`. A public archive is chosen by the parcel in the middle.
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
    init : CropModel, Encoders, PrestoWeights or path, optional
        Start from the encoders of a model (or of the model in a folder, or of Presto in a file),
        see `fit`; without ``composite``, that of the model is used.
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
        The year is missing, or year or archive are given beside a list.
    OutputError
        The disk is full, or the folder cannot be written.
    ParcelError, NoScenesError, ReadError
        As for `classify_parcels`; with several tiles, the message names the tile.
    """
    init = as_init(init)
    config = config_of_init(init, as_config(config))  # raises before anything is sampled
    if composite is None and isinstance(init, CropModel):
        composite = init.composite or None  # type: ignore[assignment]
    sources = as_sources(parcels, year, archive)
    requests = [
        CubeRequest(
            season=season_in(when, season, several=len(sources) > 1), archive=where,
            modalities=modalities(sensors, config), resolution=resolution, crs=crs, chunks=chunks,
            memory=memory, composite=composite, clouds=clouds, weather=weather,
            needed=needed_by(config),
        )
        for _, when, where in sources
    ]  # fmt: skip
    check_flag("progress", progress)
    check_scheduler(scheduler)
    check_whole("seed", seed, minimum=0)
    check_folder("checkpoint", checkpoint)
    check_folder("cache", cache)
    usable_device(device)
    with labelled_samples(
        sources, requests, label, nomenclature=nomenclature, held_out=held_out, seed=seed,
        config=config, cache=cache, progress=progress, scheduler=scheduler,
    ) as found:  # fmt: skip
        model = fit_and_score(
            found.samples,
            [one.texts for one in found.declared],
            [one.part for one in found.declared],
            nomenclature=found.classes, config=config, init=init, seed=seed, device=device,
            checkpoint=checkpoint, progress=progress,
            groups=[group for one in found.declared if (group := one.group) is not None] or None,
        )  # fmt: skip
    return replace(model, parcels_seen=seen(found.declared))
