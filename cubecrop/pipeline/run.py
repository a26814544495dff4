"""`classify` and `classify_parcels`: all stages from an archive to a map or a table."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.aoi import has_place, parse_aoi
from cubecrop.checks import check_flag
from cubecrop.classification import (
    classify_pixel_sets,
    classify_pixels,
    nothing_found,
    parcel_table,
    unreliable_in,
)
from cubecrop.cube import MEMORY
from cubecrop.cube.outline import area_and_outline
from cubecrop.model import check_device_name
from cubecrop.model.data_check import season_gaps
from cubecrop.pipeline.inputs import (
    as_model,
    as_season,
    check_any_within,
    check_in_degrees,
    check_reach,
    opened_for,
    request_for,
    season_of_model,
    within_archive,
)
from cubecrop.pipeline.known import parts_known
from cubecrop.pipeline.masks import AUTO, Mask, as_mask, check_place, land_of, with_landcover
from cubecrop.progress import Scheduler, check_scheduler, compute
from cubecrop.sample import plain_parcels, read_parcels, reading_order, sample_pixel_sets

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import geopandas as gpd
    import xarray as xr

    from cubecrop.archive import Archive
    from cubecrop.cube import Clouds
    from cubecrop.model import CropModel
    from cubecrop.season import Season

__all__ = ["classify", "classify_parcels"]


def classify(
    aoi: object,
    year: int,
    *,
    archive: str | Path | Archive | None = None,
    model: CropModel | str | Path | None = None,
    season: Season | None = None,
    resolution: float | None = None,
    crs: str | int | None = None,
    chunks: int | None = None,
    memory: float = MEMORY,
    device: str | None = None,
    clouds: Clouds | None = None,
    weather: str | Path | Archive | None = None,
    allow_gaps: bool = False,
    mask: Mask = AUTO,
    mask_classes: Sequence[str] | None = None,
    clip: bool = True,
) -> xr.Dataset:
    """Map the crops of an area, lazily.

    Searches the archive and builds a graph. ``.compute()`` or `write_map` read the pixels.

    Parameters
    ----------
    aoi : bbox, geometry, GeoDataFrame or path
        Area of interest. A bbox is (west, south, east, north) in degrees. An area given as
        polygons, such as a department or a table of parcels, is clipped to them; see ``clip``.
    year : int
        Harvest year.
    archive : str, Path or Archive, optional
        Archive of the images; see `open_archive`. By default your own, or else the first public
        one that answers and has images of the season for all inputs that the model needs; see
        `cubecrop.archive.PUBLIC_ARCHIVES`. The attribute ``archive`` names the one that was taken.
    model : CropModel or path, optional
        The model that classifies; see `train`. By default `CropModel.default()`.
    season : Season, optional
        Season to use instead of the model's own season window in the harvest year.
    resolution : float, optional
        Pixel size in metres; by default that of the model's training, or 10 if the model does not
        state it. If it does, another resolution is refused.
    crs : str or int, optional
        A projected CRS in metres, or its EPSG code; by default the UTM zone of the area's centre.
    chunks : int, optional
        Chunk side in pixels; by default as large as ``memory`` allows.
    memory : float, default 2e9
        Bytes per thread; see `open_season`.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; by default a graphics card if the worker has one.
    clouds : {"scl", "probability"}, callable or CloudMask, optional
        The cloud mask, see `open_season`; by default that of training. If the model was trained
        with your own function, pass it again.
    weather : str, Path or Archive, optional
        Archive of the weather, if it is not in ``archive`` and the model needs it; see `search`.
        If neither is named and the chosen public archive has none, it is ``arco-era5``.
    allow_gaps : bool, default False
        Accept an archive that covers less of the season than the training data: it starts later,
        ends earlier, has a longer gap or fewer dates of a sensor.
    mask : {"auto", "worldcover", "landcover"}, GeoDataFrame, path, DataArray or None
        Where crops grow; other pixels are 252, not cropland. "worldcover" is ESA WorldCover of
        the archive, "landcover" its preferred land-cover map, and "auto" the same if the archive
        has one of the area, else no mask. Or parcels as a table or vector file; or a raster as
        a GeoTIFF or a DataArray ``(y, x)`` with a CRS, not 0 on cropland. Pixels where a
        land-cover map or a raster has no value are 255. None classifies all land.
    mask_classes : sequence of str, optional
        Classes of the land cover on which crops grow, such as ``["cropland", "grassland"]``. By
        default cropland, and what the model's class names speak of: grassland if one is named
        after grass or forage, shrubland if one is named after permanent crops, trees if one is
        named after trees or woods.
    clip : bool, default True
        Leave out pixels whose centre lies outside of an area's polygons (255). With False, the
        map covers the area's bounding rectangle; that of a bbox, or of one shape that is a
        rectangle in its CRS, always does.

    Returns
    -------
    xarray.Dataset
        ``crop_type (y, x)`` uint8 class index, 255 = no data, 254 = fewer observations than the
        model needs, 252 = not cropland, with CF flags; ``confidence (y, x)`` float32;
        ``probability (crop, y, x)`` float32, coord ``crop`` = class names;
        ``clear_dates (sensor, y, x)`` uint16, 65535 outside of the area. The attribute ``mask``
        says which mask was applied. A model with limits of its knowledge
        (`CropModel.with_limits`) gives 253 to a pixel outside of what it knows, and the layers of
        `cubecrop.classification.classify_pixels`.

    Raises
    ------
    ArchiveError
        The archive cannot be opened, or none was named and no public one answers.
    NoScenesError
        The archive has no image of the area and the season.
    ModelFormatError, ModelMismatchError
        The path holds no model, the data does not fit it, or covers too little of the season.
    ArgumentError
        The mask is none, lies elsewhere, or the archive does not have it.
    ReadError
        During computation, a file cannot be read; the message names the item and the asset.
    """
    crop_model = as_model(model)
    check_flag("clip", clip)
    crop_mask = as_mask(mask, mask_classes)
    request = request_for(
        crop_model, as_season(year, season), archive=archive, resolution=resolution, crs=crs,
        chunks=chunks, memory=memory, clouds=clouds, weather=weather,
    )  # fmt: skip
    check_device_name(device)
    area, outline = area_and_outline(aoi)
    check_place(crop_mask, area)
    request = replace(
        request,
        season=season_of_model(year, season, crop_model, area),
        modalities=with_landcover(request.modalities, crop_mask),
    )
    cube = request.open(area)
    land, text = land_of(cube, crop_mask, outline if clip else None, crop_model.nomenclature)
    crop_map = classify_pixels(cube, crop_model, land=land, allow_gaps=allow_gaps, device=device)
    _warn_unreliable(crop_map.attrs["unreliable"])
    return crop_map.assign_attrs(mask=text)


def classify_parcels(
    parcels: gpd.GeoDataFrame | str | Path,
    year: int,
    *,
    archive: str | Path | Archive | None = None,
    model: CropModel | str | Path | None = None,
    season: Season | None = None,
    resolution: float | None = None,
    crs: str | int | None = None,
    chunks: int | None = None,
    memory: float = MEMORY,
    device: str | None = None,
    clouds: Clouds | None = None,
    weather: str | Path | Archive | None = None,
    allow_gaps: bool = False,
    progress: bool = True,
    scheduler: Scheduler | None = None,
) -> gpd.GeoDataFrame:
    """Classify parcels; reads their pixels.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame or path
        Columns ``id`` (unique), ``geometry``; any CRS.
    year, archive, model, season, resolution, crs, chunks, memory, device, clouds, weather
    allow_gaps
        As for `classify`.
    progress : bool, default True
        Show a progress bar on a terminal or in a notebook.
    scheduler : {"threads", "synchronous"}, optional
        Compute in this process, with several threads or with one. By default Dask's own choice,
        which is the cluster inside a task of a cluster.

    Returns
    -------
    geopandas.GeoDataFrame
        All parcels in the same order, with their columns and: ``crop:code``,
        ``crop:name``, ``confidence``; second choice ``crop:code_2``, ``crop:name_2``,
        ``confidence_2``; ``probability:NAME`` of each class; crop sets, the level at which a class
        is known, and the dissimilarity to the training parcels, if the model has them (see
        `CropModel.crop_sets`, `CropModel.with_limits`); ``valid_dates:SENSOR``;
        ``first_date:SENSOR``, ``last_date:SENSOR``, ``longest_gap:SENSOR`` of these dates;
        ``status``, which is "predicted" or says what was missing; ``part``, which is "train" if
        the model was trained on the parcel, "held out" if it was scored on it, "unseen", or
        "unknown" if the model has no record of its parcels. A parcel has no prediction (None and
        NaN) if it has no geometry or infinite coordinates, lies outside the archive, or has fewer
        valid dates than the model needs. An empty table, or one in which no parcel has a geometry,
        is returned without an error. ``attrs`` name the archive, the model and its probability
        calibration, and the gaps of the season, if they were accepted.

    Raises
    ------
    ParcelError
        The CRS or the ids are missing, ids are duplicated, all coordinates are impossible in the
        degrees of the CRS, or parcels lie too far apart for one cube.
    NoScenesError
        All parcels lie outside of the archive's extent, or it has no image of them in the season.
    ModelFormatError, ModelMismatchError, ReadError
        As for `classify`.
    """
    crop_model = as_model(model)
    request = request_for(
        crop_model, as_season(year, season), archive=archive, resolution=resolution, crs=crs,
        chunks=chunks, memory=memory, clouds=clouds, weather=weather,
    )  # fmt: skip
    check_device_name(device)
    check_flag("progress", progress)
    check_scheduler(scheduler)
    table = read_parcels(parcels)
    check_in_degrees(table)
    places = plain_parcels(table)
    if request.archive is None and not has_place(places.geometry).any():
        within = np.zeros(len(places), dtype=bool)
    else:
        request = opened_for(request, places, crop_model)
        within = within_archive(places, request.source)
        check_any_within(places, within, request.source)
    if not within.any():
        found = nothing_found(table, crop_model)
        return parcel_table(
            table, found, crop_model, within=within, part=parts_known(crop_model, places)
        )
    check_reach(places[within], resolution=request.resolution, crs=crs)
    area = parse_aoi(places[within])
    request = replace(request, season=season_of_model(year, season, crop_model, area))
    cube = request.open(area)
    present = crop_model.check(cube, allow_gaps=allow_gaps)  # raises before parcels are sampled
    # A parcel outside the archive may have wrong coordinates, and more pixels than memory holds.
    places = places.set_geometry(places.geometry.where(within, None))
    # In reading order, blocks are classified one by one; in the table's order, all pixel sets
    # would be in memory at the same time.
    order = reading_order(cube, places)
    samples = sample_pixel_sets(cube, places.iloc[order], n_pixels=crop_model.n_pixels)
    found = classify_pixel_sets(samples, crop_model, allow_gaps=allow_gaps, device=device)
    (found,) = compute(
        found, description="Classifying parcels", progress=progress, scheduler=scheduler
    )
    table_order = np.argsort(order)
    classified = parcel_table(
        table,
        found.isel(parcel=table_order),
        crop_model,
        within=within,
        part=parts_known(crop_model, places),
    )
    classified.attrs["archive"] = cube.attrs["archive"]
    _warn_unreliable(unreliable_in(cube, crop_model))
    classified.attrs["season_gaps"] = " ".join(season_gaps(crop_model, cube, present))
    return classified


def _warn_unreliable(what: str) -> None:
    if what:
        warnings.warn(
            f"The model is unreliable in this area, which is unknown (253) in a map. {what}. "
            "Fine-tune it on parcels of the area, or train another one.",
            stacklevel=3,
        )
