"""Options that several commands share: their types, help texts and defaults."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from cyclopts import CoercionError, Parameter

from cubecrop.season import Season

if TYPE_CHECKING:
    from pathlib import Path

    from cyclopts import App, ArgumentCollection

    from cubecrop.model import CropModel

__all__ = [
    "ARCHIVE_HELP", "AllowGaps", "Aoi", "Archive", "Clip", "Clouds", "CropMask", "End",
    "Layers", "MaskClasses", "Memory", "Overwrite", "RegionAoi", "Start", "Verbose", "Weather",
    "Year", "check_whole_numbers", "memory_or_default", "model_or_default", "season_between",
]  # fmt: skip

Aoi = Annotated[
    str,
    Parameter(
        help="A vector file, or 'west,south,east,north' in degrees.",
        allow_leading_hyphen=True,  # west of Greenwich
    ),
]
RegionAoi = Annotated[
    str | None,
    Parameter(
        help="A vector file, or 'west,south,east,north' in degrees.", allow_leading_hyphen=True
    ),
]
ARCHIVE_HELP = (
    "planetary-computer, earth-search or cdse, a folder with a STAC catalog, an ItemCollection "
    "file, or a STAC API's URL. By default your own (CUBECROP_ARCHIVE, cubecrop.toml), or else the "
    "first of planetary-computer and earth-search that has the season."
)
Archive = Annotated[str | None, Parameter(help=ARCHIVE_HELP)]
Year = Annotated[int, Parameter(help="Harvest year.")]
Start = Annotated[dt.date | None, Parameter(help="First day of the season, YYYY-MM-DD.")]
End = Annotated[dt.date | None, Parameter(help="Last day of the season, YYYY-MM-DD.")]
Clouds = Annotated[
    Literal["scl", "probability"] | None,
    Parameter(help="Cloud mask: the scene classification, or cloud probability (Earth Search)."),
]
Weather = Annotated[
    str | None,
    Parameter(
        help="Source of the weather, if not the archive: arco-era5, earth-data-hub, a Zarr "
        "store or another archive."
    ),
]
CropMask = Annotated[
    str,
    Parameter(
        help="Where crops grow: worldcover, landcover (the archive's map), auto (the same if there "
        "is one), none, a vector file of parcels, or a GeoTIFF that is not 0 on cropland."
    ),
]
MaskClasses = Annotated[
    list[str] | None,
    Parameter(
        negative="",
        help="Class of the land cover on which crops grow; may be repeated. By default cropland, "
        "and grassland, shrubland and trees if the model has classes that grow there.",
    ),
]
Clip = Annotated[
    bool,
    Parameter(help="Leave out pixels outside of the area's polygons, or map its rectangle."),
]
Layers = Annotated[
    list[str] | None,
    Parameter(
        negative="",
        help="A further raster: set_size, the number of crops that a pixel may have; level, the "
        "finest level at which its class is sure enough; crop_at_level, this class. May be "
        "repeated.",
    ),
]
Memory = Annotated[
    float | None, Parameter(help="Bytes that a thread may hold, such as 4e9; by default 2e9.")
]
Verbose = Annotated[
    bool, Parameter(negative="", help="Print scores of each class and the confusion matrix.")
]
AllowGaps = Annotated[
    bool,
    Parameter(
        negative="",
        help="Continue even if the archive covers less of the season than the training data did.",
    ),
]
Overwrite = Annotated[bool, Parameter(negative="", help="Replace an earlier result.")]


def check_whole_numbers(_: App, __: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse fractions where whole numbers are expected, which cyclopts would round."""
    for argument in arguments:
        if _kinds(argument.hint) != {int}:
            continue
        for token in argument.tokens:
            if "." in token.value:
                raise CoercionError(argument=argument, token=token, target_type=int)


def _kinds(hint: object) -> set[object]:
    """The types in an annotation such as ``list[int] | None``."""
    inner = get_args(hint)
    return set().union(*map(_kinds, inner)) if inner else {hint} - {type(None)}


def season_between(
    year: int, start: dt.date | None, end: dt.date | None, model: CropModel | None = None
) -> Season | None:
    """The season from a first to a last day; a model's season replaces a day that is None."""
    if not start and not end:
        return None
    if model is not None and model.season_window is not None:
        usual = Season(year).with_window(model.season_window)
        start, end = start or usual.start, end or usual.end
    return Season(year, start=start, end=end)  # type: ignore[arg-type]


def memory_or_default(memory: float | None) -> float:
    """Bytes that a thread may hold, as the functions of the pipeline have them by default."""
    from cubecrop.cube import MEMORY

    return MEMORY if memory is None else memory


def model_or_default(model: Path | None) -> CropModel:
    """The model in a folder, or the one that is part of cubecrop."""
    from cubecrop.model import CropModel

    return CropModel.default() if model is None else CropModel.load(model)
