"""The stages in their order: train, classify, classify_parcels."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import shapely
import xarray as xr

from cubecrop import __version__
from cubecrop.aoi import has_place
from cubecrop.archive import Archive, open_archive
from cubecrop.classification import (
    classify_pixel_sets,
    classify_pixels,
    nothing_found,
    parcel_table,
)
from cubecrop.cube import Clouds, Composite, clouds_name, open_season
from cubecrop.errors import (
    LabelError,
    ModelFormatError,
    ModelMismatchError,
    NoScenesError,
    ParcelError,
    SeasonError,
)
from cubecrop.model import CropModel, NetworkOptions
from cubecrop.nomenclature import Nomenclature
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
from cubecrop.training import TrainConfig, fit

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas as gpd

    from cubecrop.season import Season

__all__ = ["classify", "classify_parcels", "train"]

#: Pixels kept of each training parcel; every epoch draws anew among them.
_STORED_PIXELS = 256
#: Pixel sets larger than this in memory are refused rather than swapped.
_MEMORY = 8 * 10**9


def classify(
    aoi: object,
    year: int,
    *,
    archive: str | Path | Archive,
    model: CropModel | str | Path | None = None,
    season: Season | None = None,
    resolution: float = 10,
    crs: str | None = None,
    chunks: int | None = None,
    device: str | None = None,
    clouds: Clouds | None = None,
    weather: str | Path | Archive | None = None,
) -> xr.Dataset:
    """Map the crops of an area, lazily.

    Searches the archive and builds a graph. Pixels are read by ``.compute()`` or
    `write_map`.

    Parameters
    ----------
    aoi : bbox, geometry, GeoDataFrame or path
        Area of interest; the map covers its bounding rectangle. A bbox is (west, south,
        east, north) in degrees.
    year : int
        Harvest year.
    archive : str, Path or Archive
        Where the images are; see `open_archive`.
    model : CropModel or path
        What to classify with; see `train`.
    season : Season, optional
        Other dates than the default of the harvest year.
    resolution : float, default 10
        Pixel size in metres.
    crs : str, optional
        A projected CRS in metres; by default the UTM zone of the area's centre.
    chunks : int, optional
        Chunk side in pixels; by default what fits in 512 MB.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; by default a graphics card where the worker has one.
    clouds : {"scl", "probability"}, callable or CloudMask, optional
        What masks clouds, see `open_season`; by default as in training. A model that was trained
        under a function of yours needs it here again.
    weather : str, Path or Archive, optional
        Where the weather is, if not in the archive, for a network that takes it; see `search`.

    Returns
    -------
    xarray.Dataset
        ``crop_type (y, x)`` uint8 class index, 255 = no prediction, with CF flags;
        ``confidence (y, x)`` float32; ``probability (crop, y, x)`` float32, coord ``crop``
        = class names.

    Raises
    ------
    NoScenesError
        The archive has no image of the area and the season.
    ModelFormatError, ModelMismatchError
        No model, or one made for other data.
    ReadError
        When computed: a file cannot be read; the message names the item and the asset.
    """
    crop_model = _load_model(model)
    cube = open_season(
        aoi,
        _season(year, season),
        archive=archive,
        modalities=_sensors(crop_model),
        resolution=resolution,
        crs=crs,
        chunks=chunks,
        composite=_composite(crop_model),
        clouds=_clouds(crop_model, clouds),
        weather=weather,
    )
    return classify_pixels(cube, crop_model, device=device)


def classify_parcels(
    parcels: gpd.GeoDataFrame | str | Path,
    year: int,
    *,
    archive: str | Path | Archive,
    model: CropModel | str | Path | None = None,
    season: Season | None = None,
    resolution: float = 10,
    crs: str | None = None,
    chunks: int | None = None,
    device: str | None = None,
    clouds: Clouds | None = None,
    weather: str | Path | Archive | None = None,
    progress: bool = True,
) -> gpd.GeoDataFrame:
    """Classify parcels; reads their pixels.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame or path
        Columns ``id`` (unique), ``geometry``; any CRS.
    year, archive, model, season, resolution, crs, chunks, device, clouds, weather
        As for `classify`.
    progress : bool, default True
        Show a progress bar on a terminal.

    Returns
    -------
    geopandas.GeoDataFrame
        Every parcel that was given, in order, with its columns and: ``crop:code``,
        ``crop:name``, ``confidence``; second choice ``crop:code_2``, ``crop:name_2``,
        ``confidence_2``; ``probability:NAME`` of each class; ``valid_dates:SENSOR``;
        ``status``, which is "predicted" or says what was missing. A parcel without
        geometry (or with infinite coordinates), outside the archive, or never seen has no
        prediction: None and NaN. So it is also where that holds for all of them, and where
        there are none.

    Raises
    ------
    ParcelError
        No CRS, no ids, or duplicated ids.
    NoScenesError
        Parcels lie within the archive's extent, and it has no image of them in the season.
    ModelFormatError, ModelMismatchError, ReadError
        As for `classify`.
    """
    crop_model = _load_model(model)
    table = read_parcels(parcels)
    source = open_archive(archive)
    when = _season(year, season)
    covered = _covered(table, source)
    if len(covered) == 0:
        return parcel_table(table, nothing_found(table, crop_model), crop_model)
    cube = open_season(
        covered,
        when,
        archive=source,
        modalities=_sensors(crop_model),
        resolution=resolution,
        crs=crs,
        chunks=chunks,
        composite=_composite(crop_model),
        clouds=_clouds(crop_model, clouds),
        weather=weather,
    )
    order = reading_order(cube, table)
    samples = sample_pixel_sets(cube, table.iloc[order], n_pixels=crop_model.n_pixels)
    found = classify_pixel_sets(samples, crop_model, device=device)
    (found,) = compute(found, description="Classifying parcels", progress=progress)
    back = np.argsort(order)
    return parcel_table(table, found.isel(parcel=back), crop_model)


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
    crs: str | None = None,
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
        label are left out.
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
        The label column is not there, or holds fewer than two classes.
    ParcelError, NoScenesError, ReadError
        As for `classify_parcels`.
    """
    table = read_parcels(parcels)
    texts = labels_of(table, label)
    part = split_parcels(table, label, held_out=held_out, seed=seed).to_numpy()
    nomenclature = Nomenclature.from_labels(texts, name=label)
    if len(nomenclature) < 2:
        raise LabelError(
            f"column {label!r} holds the classes {nomenclature.names}, expected two or more to "
            "tell apart."
        )
    config = config or TrainConfig()
    source = open_archive(archive)
    labelled = np.flatnonzero(part != "unlabelled")
    covered = _covered(table.iloc[labelled], source)
    if len(covered) == 0:
        raise NoScenesError(
            f"no labelled parcel has a geometry within archive {source.name}; look at the parcels' "
            "CRS and coordinates, or choose another archive."
        )
    cube = open_season(
        covered,
        _season(year, season),
        archive=source,
        modalities=(*sensors, *_beside((config or TrainConfig()).network)),
        resolution=resolution,
        crs=crs,
        chunks=chunks,
        composite=composite,
        clouds=clouds,
        weather=weather,
    )
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


def _season(year: int, season: Season | None) -> Season | int:
    if season is not None and season.year != year:
        raise SeasonError(
            f"year is {year} but the season is that of {season.year}; give the same year."
        )
    return season if season is not None else year


def _load_model(model: CropModel | str | Path | None) -> CropModel:
    if isinstance(model, CropModel):
        return model
    if model is None:
        raise ModelFormatError(
            "no model was given and none is shipped. Train one: `cubecrop train PARCELS --label "
            "COLUMN --year YEAR --archive ARCHIVE --out model/`, then pass `model='model/'`."
        )
    return CropModel.load(model)


def _sensors(model: CropModel) -> tuple[Modality, ...]:
    return (
        *(name for name in SERIES if name in model.sensors),  # type: ignore[arg-type]
        *_beside(model.config),
    )


def _beside(options: NetworkOptions) -> tuple[Modality, ...]:
    """What a network takes beside the satellites."""
    weather: tuple[Modality, ...] = (
        ("weather",) if options.weather or options.needs_thermal_time else ()
    )
    return (*weather, "terrain") if options.terrain else weather


def _clouds(model: CropModel, clouds: Clouds | None) -> Clouds:
    """The mask that a model was trained under; another one is refused."""
    trained = str(model.training.settings.get("clouds", "scl"))
    if clouds is None and not trained.startswith("function "):
        return trained  # type: ignore[return-value]
    if clouds is None or clouds_name(clouds) != trained:
        given = "none was given" if clouds is None else f"clouds is {clouds_name(clouds)!r}"
        raise ModelMismatchError(
            f"the model was trained under the cloud mask {trained!r}, but {given}. Pass the same "
            "mask, `clouds=...`, or train a model under this one."
        )
    return clouds


def _composite(model: CropModel) -> Composite | None:
    return model.composite or None  # type: ignore[return-value]


def _covered(table: gpd.GeoDataFrame, source: Archive) -> gpd.GeoDataFrame:
    """The parcels that an archive may cover: one far away must not stretch the cube to it."""
    rules = source.provider.collections
    collections = [key for key, rule in rules.items() if rule.modality in SERIES]
    extent = source.extent(collections)
    known = table[has_place(table.geometry)]
    if extent is None or len(known) == 0:
        return known
    bounds = known.geometry.to_crs("EPSG:4326").bounds.to_numpy()
    finite = np.isfinite(bounds).all(axis=1)
    boxes = shapely.box(*np.where(finite[:, None], bounds, 0).T)
    return known[finite & shapely.intersects(shapely.box(*extent.bbox), boxes)]


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
