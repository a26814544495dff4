"""What callers give, brought to what the stages take; and what a model asks of a cube."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyproj
import shapely

from cubecrop.aoi import Aoi, parse_aoi
from cubecrop.archive import season_for
from cubecrop.circle import arcs_meet, bounds_of, wrap
from cubecrop.cube import CubeRequest
from cubecrop.cube.grid import grid_for
from cubecrop.errors import (
    AoiError,
    LabelError,
    ModelFormatError,
    ParcelError,
    SeasonError,
)
from cubecrop.model import CropModel, ModelSpec
from cubecrop.nomenclature import Nomenclature
from cubecrop.schema import SERIES
from cubecrop.season import Season
from cubecrop.shapes import has_place

if TYPE_CHECKING:
    from collections.abc import Iterable

    import geopandas as gpd
    from numpy.typing import NDArray

    from cubecrop.archive import Archive
    from cubecrop.archive.base import Extent
    from cubecrop.cube import Clouds

__all__ = [
    "as_model",
    "as_nomenclature",
    "as_season",
    "check_reach",
    "request_for",
    "season_of_model",
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


def as_nomenclature(
    nomenclature: Nomenclature | str | Path | None, labels: Iterable[object]
) -> Nomenclature | None:
    """The nomenclature that is meant; of a list in a file, the classes that labels mean."""
    if nomenclature is None or isinstance(nomenclature, Nomenclature):
        return nomenclature
    if not isinstance(nomenclature, str | Path):
        raise LabelError(
            f"nomenclature is a {type(nomenclature).__name__}, expected a Nomenclature or the path "
            "of a CSV file with the columns code, name and colour."
        )
    return Nomenclature.from_csv(nomenclature, labels=labels)


def season_of_model(year: int, season: Season | None, model: ModelSpec, area: Aoi) -> Season:
    """The season that is given, or the window that a model was trained on, in a year.

    Raises
    ------
    SeasonError
        The year is another one than the season's.
    ModelMismatchError
        No season is given, and the model was trained on the other side of the equator, where
        crops grow half a year apart.
    """
    usual = season_for(as_season(year, season), area)
    return usual if season is not None else model.season_for(usual, area.centre.y)


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


def request_for(
    model: ModelSpec,
    season: Season | int,
    *,
    archive: str | Path | Archive,
    resolution: float | None,
    crs: str | int | None,
    chunks: int | None,
    memory: float,
    clouds: Clouds | None,
    weather: str | Path | Archive | None,
) -> CubeRequest:
    """The cube that a model needs, with what the caller chose in place of its training's."""
    return CubeRequest(
        season=season,
        archive=archive,
        modalities=model.modalities,
        resolution=model.cube_resolution if resolution is None else resolution,
        crs=crs,
        chunks=chunks,
        memory=memory,
        composite=model.composite or None,  # type: ignore[arg-type]
        clouds=model.cloud_mask if clouds is None else clouds,  # type: ignore[arg-type]
        weather=weather,
    )


def within_archive(parcels: gpd.GeoDataFrame, source: Archive) -> NDArray[np.bool_]:
    """Which parcels an archive may cover, (parcel,): one far away must not stretch the cube."""
    placed = has_place(parcels.geometry)
    extent = _extent(source)
    if extent is None or not placed.any():
        return placed
    bounds = bounds_of(parcels.geometry[placed].to_crs("EPSG:4326").to_numpy())
    west, south, east, north = extent.bbox
    with np.errstate(invalid="ignore"):  # of parcels that have no place in degrees
        inside = arcs_meet((west, east), (bounds[:, 0], bounds[:, 2]))
        inside &= (bounds[:, 1] <= north) & (bounds[:, 3] >= south)
    placed[placed] = np.isfinite(bounds).all(axis=1) & inside
    return placed


def check_reach(parcels: gpd.GeoDataFrame, *, resolution: float, crs: str | int | None) -> None:
    """Raise where parcels lie too far apart for the cube that spans them, naming the farthest.

    An archive of the whole globe holds a parcel at mistaken coordinates too.
    """
    area = parse_aoi(parcels)
    try:
        grid_for(area, resolution=resolution, crs=crs)
    except AoiError as error:
        lonlat = parcels.geometry.to_crs("EPSG:4326").to_numpy()
        west, south, east, north = bounds_of(lonlat).T
        x, y = (west + east) / 2, (south + north) / 2
        # Of the median, which a few far away do not move; on the circle, from the first one.
        turned = x[0] + wrap(x - x[0])
        middle = np.full_like(x, np.median(turned)), np.full_like(y, np.median(y))
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
    text = f"they lie at {area}, the archive covers {extent}"
    turned = shapely.transform(area.lonlat, lambda xy: xy[:, ::-1])
    swapped = extent.area.intersects(turned)
    return f"{text}; longitude and latitude look swapped" if swapped else text


def _extent(source: Archive) -> Extent | None:
    rules = source.provider.collections
    return source.extent([key for key, rule in rules.items() if rule.modality in SERIES])
