"""Convert the arguments of callers to inputs of the stages, and a model's needs to a request."""

from __future__ import annotations

from dataclasses import replace
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
    NoScenesError,
    ParcelError,
    SeasonError,
)
from cubecrop.model import CropModel, ModelSpec
from cubecrop.nomenclature import Nomenclature
from cubecrop.sample import read_parcels
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
    "check_any_within",
    "check_in_degrees",
    "check_reach",
    "opened_for",
    "read_parcels_of_a_year",
    "request_for",
    "season_of_model",
    "where_they_are",
    "within_archive",
]


#: Parcels within this many pixels of the middle never make a cube too large.
_NEAR: Final = 10_000
#: Parcels that are reprojected at a time; bounds the memory.
_BATCH: Final = 50_000


def as_season(year: int, season: Season | None) -> Season | int:
    """The season, or the year without one; raises if season and year differ."""
    if season is not None and not isinstance(season, Season):
        raise SeasonError(f"season is {season!r}, expected a Season, as in `Season({year})`.")
    if season is not None and season.year != year:
        raise SeasonError(f"year is {year} but the season is of {season.year}; pass the same year.")
    return season if season is not None else Season(year).year


def as_nomenclature(
    nomenclature: Nomenclature | str | Path | None, labels: Iterable[object]
) -> Nomenclature | None:
    """The nomenclature, read if it is a path, with the classes that occur among the labels."""
    if nomenclature is None or isinstance(nomenclature, Nomenclature):
        return nomenclature
    if not isinstance(nomenclature, str | Path):
        raise LabelError(
            f"nomenclature is a {type(nomenclature).__name__}, expected a Nomenclature or the path "
            "of a CSV file with the columns code, name and colour."
        )
    return Nomenclature.from_csv(nomenclature, labels=labels)


def season_of_model(year: int, season: Season | None, model: ModelSpec, area: Aoi) -> Season:
    """The passed season, or else the model's season window in a year.

    Raises
    ------
    SeasonError
        Year and season differ.
    ModelMismatchError
        No season is passed, and the model was trained on the other side of the equator, where
        crops grow half a year apart.
    """
    usual = season_for(as_season(year, season), area)
    return usual if season is not None else model.season_for(usual, area.centre.y)


def as_model(model: CropModel | str | Path | None) -> CropModel:
    """The model, read from its folder if it is a path; the default model for None."""
    if isinstance(model, CropModel):
        return model
    if model is None:
        return CropModel.default()
    if not isinstance(model, str | Path):
        raise ModelFormatError(
            f"model is a {type(model).__name__}, expected a CropModel or the path of its folder."
        )
    return CropModel.load(model)


def request_for(
    model: ModelSpec,
    season: Season | int,
    *,
    archive: str | Path | Archive | None,
    resolution: float | None,
    crs: str | int | None,
    chunks: int | None,
    memory: float,
    clouds: Clouds | None,
    weather: str | Path | Archive | None,
) -> CubeRequest:
    """Request the cube that a model needs; options of the caller replace those of training."""
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
        needed=tuple(n for n in model.modalities if n not in model.config.may_be_missing),
    )


def read_parcels_of_a_year(parcels: gpd.GeoDataFrame | str | Path) -> gpd.GeoDataFrame:
    """As `read_parcels`; the error about another file names the other way to call."""
    try:
        return read_parcels(parcels)
    except AoiError as error:
        raise AoiError(
            f"{error} For a table of samples, leave out the year (`--year`), which is for parcels."
        ) from error


def opened_for(
    request: CubeRequest, parcels: gpd.GeoDataFrame, model: ModelSpec | None = None
) -> CubeRequest:
    """The request with its archive opened; one that is not named is chosen by a parcel's place.

    Where a season was not passed, the chosen archive must have images of the model's.

    Raises
    ------
    ParcelError
        No archive is named, and no parcel has coordinates on the globe.
    ArchiveError, NoScenesError
        As for `CubeRequest.opened`.
    """
    if request.archive is not None:
        return request.opened()
    area, season = _middle(parcels), request.season
    if model is not None and not isinstance(season, Season):
        season = season_of_model(season, None, model, area)
    return replace(replace(request, season=season).opened(area), season=request.season)


def _middle(parcels: gpd.GeoDataFrame) -> Aoi:
    """The parcel nearest the median: others may have wrong coordinates, far from all images."""
    lonlat = parcels.geometry[has_place(parcels.geometry)].to_crs("EPSG:4326")
    bounds = bounds_of(lonlat.to_numpy())
    on_globe = np.isfinite(bounds).all(axis=1) & (np.abs(bounds[:, 1::2]) <= 90).all(axis=1)
    if not on_globe.any():
        raise ParcelError(
            "no archive is named, and no parcel has a geometry on the globe to choose one by. "
            "Check the parcels' CRS and coordinates, or name an archive with `archive=...` "
            "(`--archive`)."
        )
    west, south, east, north = bounds[on_globe].T
    x, y = (west + east) / 2, (south + north) / 2
    x = x[0] + wrap(x - x[0])
    distance = np.hypot((x - np.median(x)) * np.cos(np.radians(y)), y - np.median(y))
    return parse_aoi(lonlat[on_globe].iloc[[int(distance.argmin())]])


def within_archive(parcels: gpd.GeoDataFrame, source: Archive) -> NDArray[np.bool_]:
    """Which parcels (parcel,) lie in an archive's extent: others must not enlarge the cube."""
    placed = has_place(parcels.geometry)
    extent = _extent(source)
    if extent is None or not placed.any():
        return placed
    shapes = parcels.geometry[placed]
    bounds = np.concatenate(
        [
            bounds_of(shapes.iloc[start : start + _BATCH].to_crs("EPSG:4326").to_numpy())
            for start in range(0, len(shapes), _BATCH)
        ]
    )
    west, south, east, north = extent.bbox
    with np.errstate(invalid="ignore"):  # some parcels have no coordinates in degrees
        inside = arcs_meet((west, east), (bounds[:, 0], bounds[:, 2]))
        inside &= (bounds[:, 1] <= north) & (bounds[:, 3] >= south)
    placed[placed] = np.isfinite(bounds).all(axis=1) & inside
    return placed


def check_in_degrees(parcels: gpd.GeoDataFrame) -> None:
    """Raise if no parcel has possible coordinates in the degrees of the table's CRS."""
    placed = parcels.geometry[has_place(parcels.geometry)]
    if len(placed) == 0 or not parcels.crs.is_geographic:
        return
    west, south, east, north = shapely.bounds(placed.to_numpy()).T
    if ((west >= -360) & (east <= 360) & (south >= -90) & (north <= 90)).any():
        return
    raise ParcelError(
        f"all parcels span x {west.min()} to {east.max()}, y {south.min()} to {north.max()}, and "
        f"their CRS is {parcels.crs.to_string()}, expected longitudes within ±180 (or 0 to 360) "
        "and latitudes within ±90. Name the CRS that the coordinates are in: "
        "`parcels.set_crs('EPSG:…', allow_override=True)`."
    )


def check_any_within(parcels: gpd.GeoDataFrame, within: NDArray[np.bool_], source: Archive) -> None:
    """Raise if parcels with a geometry all lie outside of an archive's extent."""
    if within.any() or not has_place(parcels.geometry).any():
        return
    raise NoScenesError(
        f"no parcel lies within archive {source.name}: {where_they_are(parcels, source)}. Check "
        "the parcels' CRS and coordinates, or choose another archive."
    )


def check_reach(parcels: gpd.GeoDataFrame, *, resolution: float, crs: str | int | None) -> None:
    """Raise if parcels lie too far apart for one cube; the error names the farthest.

    An archive of the whole globe also contains parcels with wrong coordinates.
    """
    area = parse_aoi(parcels)
    try:
        grid_for(area, resolution=resolution, crs=crs)
    except AoiError as error:
        lonlat = parcels.geometry.to_crs("EPSG:4326").to_numpy()
        west, south, east, north = bounds_of(lonlat).T
        x, y = (west + east) / 2, (south + north) / 2
        # The median, since a few far parcels do not move it. Longitudes are unwrapped around the
        # first parcel's.
        unwrapped = x[0] + wrap(x - x[0])
        middle = np.full_like(x, np.median(unwrapped)), np.full_like(y, np.median(y))
        kilometres = pyproj.Geod(ellps="WGS84").inv(*middle, x, y)[2] / 1000
        order = np.argsort(-kilometres)[:3]
        order = order[kilometres[order] > _NEAR * resolution / 1000]
        if len(order) == 0:
            raise  # the cube is refused for another reason
        far = ", ".join(f"{parcels['id'].iloc[i]!r} ({kilometres[i]:.0f} km)" for i in order)
        raise ParcelError(
            f"parcels lie at {area}, too far apart for one cube; the farthest from the median "
            f"are {far}. Correct their coordinates, leave them out, or pass the parcels of one "
            f"region at a time ({error})"
        ) from error


def where_they_are(parcels: gpd.GeoDataFrame, source: Archive) -> str:
    """Describe where parcels lie and what an archive covers, for errors about no overlap."""
    placed = parcels[has_place(parcels.geometry)]
    if len(placed) == 0:
        return "none of them has a geometry with finite coordinates"
    area, extent = parse_aoi(placed), _extent(source)
    if extent is None:
        return f"they lie at {area}"
    text = f"they lie at {area}, the archive covers {extent}"
    swapped_area = shapely.transform(area.lonlat, lambda xy: xy[:, ::-1])
    swapped = extent.area.intersects(swapped_area)
    return f"{text}; longitude and latitude look swapped" if swapped else text


def _extent(source: Archive) -> Extent | None:
    rules = source.provider.collections
    return source.extent([key for key, rule in rules.items() if rule.modality in SERIES])
