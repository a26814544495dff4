"""The stages in their order: classify, classify_parcels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cubecrop.archive import Archive, open_archive, open_weather
from cubecrop.classification import (
    classify_pixel_sets,
    classify_pixels,
    nothing_found,
    parcel_table,
)
from cubecrop.cube import open_season
from cubecrop.pipeline.inputs import (
    as_model,
    as_season,
    check_options,
    check_reach,
    clouds_for,
    composite_for,
    modalities_for,
    within_archive,
)
from cubecrop.progress import compute
from cubecrop.sample import read_parcels, reading_order, sample_pixel_sets

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas as gpd
    import xarray as xr

    from cubecrop.cube import Clouds
    from cubecrop.model import CropModel
    from cubecrop.season import Season

__all__ = ["classify", "classify_parcels"]


def classify(
    aoi: object,
    year: int,
    *,
    archive: str | Path | Archive,
    model: CropModel | str | Path | None = None,
    season: Season | None = None,
    resolution: float = 10,
    crs: str | int | None = None,
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
    crs : str or int, optional
        A projected CRS in metres, or its EPSG code; by default the UTM zone of the area's centre.
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
    crop_model = as_model(model)
    check_options(resolution=resolution, crs=crs, chunks=chunks, device=device)
    cube = open_season(
        aoi,
        as_season(year, season),
        archive=archive,
        modalities=modalities_for(crop_model),
        resolution=resolution,
        crs=crs,
        chunks=chunks,
        composite=composite_for(crop_model),
        clouds=clouds_for(crop_model, clouds),
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
    crs: str | int | None = None,
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
        No CRS, no ids, or duplicated ids; or parcels lie so far apart that no cube spans them.
    NoScenesError
        Parcels lie within the archive's extent, and it has no image of them in the season.
    ModelFormatError, ModelMismatchError, ReadError
        As for `classify`.
    """
    crop_model = as_model(model)
    when = as_season(year, season)
    check_options(
        resolution=resolution, crs=crs, chunks=chunks, device=device, progress=progress,
        clouds=clouds_for(crop_model, clouds),
    )  # fmt: skip
    if weather is not None:
        weather = open_weather(weather, modalities_for(crop_model))
    table = read_parcels(parcels)
    source = open_archive(archive)
    within = within_archive(table, source)
    if not within.any():
        found = nothing_found(table, crop_model)
        return parcel_table(table, found, crop_model, within=within)
    check_reach(table[within], resolution=resolution, crs=crs)
    cube = open_season(
        table[within],
        when,
        archive=source,
        modalities=modalities_for(crop_model),
        resolution=resolution,
        crs=crs,
        chunks=chunks,
        composite=composite_for(crop_model),
        clouds=clouds_for(crop_model, clouds),
        weather=weather,
    )
    order = reading_order(cube, table)
    samples = sample_pixel_sets(cube, table.iloc[order], n_pixels=crop_model.n_pixels)
    found = classify_pixel_sets(samples, crop_model, device=device)
    (found,) = compute(found, description="Classifying parcels", progress=progress)
    back = np.argsort(order)
    return parcel_table(table, found.isel(parcel=back), crop_model, within=within)
