"""Check the arguments of a region's plan, before anything is searched."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pyproj
import shapely

from cubecrop.archive import Archive
from cubecrop.checks import check_flag, check_number, check_share
from cubecrop.cube.grid import LONGEST_SIDE
from cubecrop.cube.outline import Outline, area_and_outline
from cubecrop.cube.tiles import SIDE
from cubecrop.errors import AoiError, ArgumentError, ModelMismatchError
from cubecrop.pipeline.inputs import as_model, as_season, request_for, season_of_model
from cubecrop.pipeline.masks import CropMask, Mask, as_mask, check_place
from cubecrop.region.land import mask_row, outline_row
from cubecrop.region.options import RunOptions, full_path, provider_row
from cubecrop.region.output import Output
from cubecrop.region.parcels import check_table
from cubecrop.sample import read_parcels
from cubecrop.write.layers import LAYERS, check_available, check_layers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import geopandas as gpd

    from cubecrop.aoi import Aoi
    from cubecrop.cube import CubeRequest
    from cubecrop.model import CropModel
    from cubecrop.season import Season

__all__ = ["Job", "checked"]

#: Pixels a side below which a tile is refused: opening files would take all of the time.
_SMALLEST: Final = 16
#: UTM zones end at these latitudes.
_SOUTH, _NORTH = -80.0, 84.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Checked arguments of `plan`."""

    output: Output
    area: Aoi
    model: CropModel
    source: Archive
    weather: Archive | None
    table: gpd.GeoDataFrame | None
    mask: CropMask
    outline: Outline | None
    options: RunOptions

    @property
    def area_row(self) -> dict[str, str]:
        """The area as JSON."""
        shape = shapely.to_wkb(shapely.normalize(self.area.geometry), byte_order=1)
        crs = pyproj.CRS.from_user_input(self.area.crs).to_wkt()
        digest = hashlib.sha256(crs.encode() + shape).hexdigest()
        return {"name": str(self.area), "sha256": digest}


def checked(
    aoi: object,
    year: int,
    out: str | Path,
    *,
    archive: str | Path | Archive | None,
    model: CropModel | str | Path | None,
    parcels: gpd.GeoDataFrame | str | Path | None,
    season: Season | None,
    tile: float,
    resolution: float | None,
    crs: str | int | None,
    memory: float,
    clouds: str | None,
    weather: str | Path | Archive | None,
    allow_gaps: bool,
    mask: Mask,
    mask_classes: Sequence[str] | None,
    clip: bool,
    layers: Sequence[str],
    max_lost: float,
) -> Job:
    """Check all arguments, the cheap ones first."""
    output = Output.at(out)
    check_flag("allow_gaps", allow_gaps)
    check_flag("clip", clip)
    check_share("max_lost", max_lost, whole=True)
    if clouds is not None and not isinstance(clouds, str):
        raise ArgumentError(
            "clouds is a function or a CloudMask, expected 'scl', 'probability' or None: a plan "
            "names what its workers compute. Map the region with one of these."
        )
    layers = check_layers(layers)
    check_number("tile", tile, above=0, what="the side of a tile in metres, above 0")
    crop_model = as_model(model)
    check_available(layers, _layers_of(crop_model))
    request = request_for(
        crop_model, as_season(year, season), archive=archive, resolution=resolution, crs=crs,
        chunks=None, memory=memory, clouds=clouds, weather=weather,  # type: ignore[arg-type]
    )  # fmt: skip
    if not _SMALLEST <= tile / request.resolution <= LONGEST_SIDE:
        raise ArgumentError(
            f"tile is {tile:g} m, which is {tile / request.resolution:g} pixels of "
            f"{request.resolution:g} m; expected {_SMALLEST} to {LONGEST_SIDE} pixels, as in "
            f"`tile={SIDE:g}`."
        )
    if crop_model.config.geometry and parcels is None:
        raise ModelMismatchError(
            "the model takes the shape of parcels, which pixels do not have, and no parcels were "
            "given. Pass `parcels=...` (`--parcels FILE`), or another model."
        )
    crop_mask = as_mask(mask, mask_classes)
    area, outline = area_and_outline(aoi, outline=True)
    check_place(crop_mask, area)
    outline = outline if clip else None
    _check_zones(area, request.crs)
    table = None if parcels is None else read_parcels(parcels)
    if table is not None:
        check_table(table)
    chosen = season_of_model(year, season, crop_model, area)
    request = replace(request, season=chosen).opened(area)
    source = request.source
    others = request.weather if isinstance(request.weather, Archive) else None
    options = _options(request, source, others, chosen, crop_model, tile, allow_gaps, max_lost)
    options = replace(options, mask=mask_row(crop_mask), clip=outline_row(outline), layers=layers)
    return Job(
        output=output, area=area, model=crop_model, source=source, weather=others, table=table,
        mask=crop_mask, outline=outline, options=options,
    )  # fmt: skip


def _layers_of(model: CropModel) -> set[str]:
    """Names of the layers that a model's maps have."""
    lacks = {"set_size": model.calibration is None}
    return {name for name in LAYERS if not lacks.get(name, model.limits is None)}


def _options(
    request: CubeRequest,
    source: Archive,
    others: Archive | None,
    season: Season,
    model: CropModel,
    tile: float,
    allow_gaps: bool,
    max_lost: float,
) -> RunOptions:
    weather = None if request.weather is None else full_path(str(request.weather))
    return RunOptions(
        year=season.year,
        start=season.start.isoformat(),
        end=season.end.isoformat(),
        hemisphere=season.hemisphere,
        modalities=request.modalities,
        resolution=float(request.resolution),
        crs=None if request.crs is None else str(request.crs),
        tile=float(tile),
        composite=request.composite,
        clouds=str(request.clouds),
        archive=source.name,
        provider=provider_row(source),
        weather=weather if others is None else others.name,
        weather_provider=None if others is None else provider_row(others),
        allow_gaps=bool(allow_gaps),
        max_lost=float(max_lost),
        n_pixels=int(model.n_pixels),
        memory=float(request.memory),
    )


def _check_zones(area: Aoi, crs: str | int | None) -> None:
    _, south, _, north = area.bbox
    if crs is None and (south < _SOUTH or north > _NORTH):
        raise AoiError(
            f"area of interest {area} reaches beyond the UTM zones, which cover 80 degrees south "
            "to 84 north. Give a projected CRS in metres, such as `crs='EPSG:3413'`."
        )
