"""What callers give, brought to what the stages take; and what a model asks of a cube."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyproj
import shapely

from cubecrop.aoi import has_place, parse_aoi
from cubecrop.checks import check_flag
from cubecrop.cube import Clouds, Composite, check_cube_options, clouds_name
from cubecrop.cube.grid import grid_for
from cubecrop.errors import (
    AoiError,
    ModelFormatError,
    ModelMismatchError,
    ParcelError,
    SeasonError,
)
from cubecrop.model import CropModel, NetworkOptions, check_device_name
from cubecrop.schema import SERIES, Modality
from cubecrop.season import Season

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

    from cubecrop.archive import Archive
    from cubecrop.archive.base import Extent

__all__ = [
    "as_model",
    "as_season",
    "beside_satellites",
    "check_options",
    "check_reach",
    "clouds_for",
    "composite_for",
    "modalities_for",
    "where_they_are",
    "within_archive",
]


#: Pixels from the middle within which no parcel makes a cube too large.
_NEAR: Final = 10_000


def as_season(year: int, season: Season | None) -> Season | int:
    """The season that is meant; raises where the year is another one."""
    if season is not None and not isinstance(season, Season):
        raise SeasonError(f"season is {season!r}, expected a Season, as in `Season({year})`.")
    if season is not None and season.year != year:
        raise SeasonError(
            f"year is {year} but the season is that of {season.year}; give the same year."
        )
    return season if season is not None else Season(year).year


def check_options(
    *,
    resolution: float,
    crs: str | int | None,
    chunks: int | None,
    device: str | None,
    composite: Composite | None = None,
    clouds: Clouds = "scl",
    progress: bool = True,
) -> None:
    """Raise unless options are of the right kind, before an archive is asked."""
    check_cube_options(
        resolution=resolution, crs=crs, chunks=chunks, composite=composite, clouds=clouds
    )
    check_device_name(device)
    check_flag("progress", progress)


def as_model(model: CropModel | str | Path | None) -> CropModel:
    """The model that is meant, read where it is a path."""
    if isinstance(model, CropModel):
        return model
    if model is None:
        raise ModelFormatError(
            "no model was given and none is shipped. Train one: `cubecrop train PARCELS --label "
            "COLUMN --year YEAR --archive ARCHIVE --out model/`, then pass `model='model/'`."
        )
    if not isinstance(model, str | Path):
        raise ModelFormatError(
            f"model is a {type(model).__name__}, expected a CropModel or the path of its folder."
        )
    return CropModel.load(model)


def modalities_for(model: CropModel) -> tuple[Modality, ...]:
    """What a cube must hold for a model."""
    return (
        *(name for name in SERIES if name in model.sensors),  # type: ignore[arg-type]
        *beside_satellites(model.config),
    )


def beside_satellites(options: NetworkOptions) -> tuple[Modality, ...]:
    """What a network takes beside the satellites."""
    weather: tuple[Modality, ...] = ("weather",) if options.takes_weather else ()
    return (*weather, "terrain") if options.terrain else weather


def clouds_for(model: CropModel, clouds: Clouds | None) -> Clouds:
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


def composite_for(model: CropModel) -> Composite | None:
    """How a cube's series must be composited for a model."""
    return model.composite or None  # type: ignore[return-value]


def within_archive(parcels: gpd.GeoDataFrame, source: Archive) -> NDArray[np.bool_]:
    """Which parcels an archive may cover, (parcel,): one far away must not stretch the cube."""
    placed = has_place(parcels.geometry)
    extent = _extent(source)
    if extent is None or not placed.any():
        return placed
    bounds = parcels.geometry[placed].to_crs("EPSG:4326").bounds.to_numpy()
    finite = np.isfinite(bounds).all(axis=1)
    boxes = shapely.box(*np.where(finite[:, None], bounds, 0).T)
    placed[placed] = finite & shapely.intersects(shapely.box(*extent.bbox), boxes)
    return placed


def check_reach(parcels: gpd.GeoDataFrame, *, resolution: float, crs: str | int | None) -> None:
    """Raise where parcels lie too far apart for the cube that spans them, naming the farthest.

    An archive of the whole globe holds a parcel at mistaken coordinates too.
    """
    area = parse_aoi(parcels)
    try:
        grid_for(area, resolution=resolution, crs=crs)
    except AoiError as error:
        west, south, east, north = parcels.geometry.to_crs("EPSG:4326").bounds.to_numpy().T
        x, y = (west + east) / 2, (south + north) / 2
        # Of the median, which a few far away do not move.
        middle = np.full_like(x, np.median(x)), np.full_like(y, np.median(y))
        kilometres = pyproj.Geod(ellps="WGS84").inv(*middle, x, y)[2] / 1000
        order = np.argsort(-kilometres)[:3]
        order = order[kilometres[order] > _NEAR * resolution / 1000]
        if len(order) == 0:
            raise  # for another reason
        far = ", ".join(f"{parcels['id'].iloc[i]!r} ({kilometres[i]:.0f} km)" for i in order)
        raise ParcelError(
            f"parcels lie at {area}, too far apart for one cube; farthest from the middle of "
            f"most are {far}. Mend their coordinates or leave them out, or take the parcels in "
            f"groups of one region ({error})"
        ) from error


def where_they_are(parcels: gpd.GeoDataFrame, source: Archive) -> str:
    """Say where parcels lie and where an archive does, for one that covers none of them."""
    placed = parcels[has_place(parcels.geometry)]
    if len(placed) == 0:
        return "none of them has a geometry with finite coordinates"
    area, extent = parse_aoi(placed), _extent(source)
    if extent is None:
        return f"they lie at {area}"
    west, south, east, north = extent.bbox
    text = (
        f"they lie at {area}, the archive covers lon {west:.4f} to {east:.4f}, "
        f"lat {south:.4f} to {north:.4f}"
    )
    turned = shapely.transform(area.lonlat, lambda xy: xy[:, ::-1])
    swapped = shapely.box(*extent.bbox).intersects(turned)
    return f"{text}; longitude and latitude look swapped" if swapped else text


def _extent(source: Archive) -> Extent | None:
    rules = source.provider.collections
    return source.extent([key for key, rule in rules.items() if rule.modality in SERIES])
