"""Crop map, confidence, clear dates and layers as cloud-optimised GeoTIFF."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Literal

import rasterio
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_translate

from cubecrop._version import __version__
from cubecrop.nomenclature import NODATA
from cubecrop.texts import json_text, one_line
from cubecrop.write.layers import LAYERS, layer_facts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from cubecrop.write.facts import MapFacts
    from cubecrop.write.provenance import Provenance

__all__ = [
    "NO_DATES", "common_tags", "write_clear_dates", "write_confidence", "write_crop_type",
    "write_layer",
]  # fmt: skip

#: Value of `write_clear_dates` for a pixel that is not part of the map.
NO_DATES: Final = 65_535
_BLOCK = 512


def write_crop_type(path: Path, values: NDArray[np.uint8], facts: MapFacts) -> None:
    """Write class indices in their colours; overviews hold the most frequent class."""
    _write_classes(path, values, facts, description="crop type, class index")


def write_layer(path: Path, name: str, values: NDArray[np.uint8], facts: MapFacts) -> None:
    """Write a layer of `cubecrop.write.layers`; overviews hold the most frequent value."""
    layer, named = LAYERS[name], layer_facts(name, facts)
    if named is not None:
        _write_classes(path, values, named, description=layer.title)
        return
    _write(
        path,
        values,
        facts,
        nodata=layer.nodata,
        overviews="mode",
        descriptions=[layer.title],
        tags={},
    )


def _write_classes(
    path: Path, values: NDArray[np.uint8], facts: MapFacts, *, description: str
) -> None:
    # A TIFF has 256 opaque colours; the `.aux.xml` file states which of them belong to no class.
    colours = {
        value: (*bytes.fromhex(colour.removeprefix("#")), 255) for value, _, colour in facts.entries
    }
    _write(
        path,
        values,
        facts,
        nodata=NODATA,
        overviews="mode",
        colormap={**colours, NODATA: (0, 0, 0, 0)},
        descriptions=[description],
        tags={
            "CLASS_NAMES": json_text(facts.nomenclature.names),
            "CLASS_CODES": json_text(facts.nomenclature.codes),
            "NOMENCLATURE": one_line(facts.nomenclature.name),
        },
    )


def write_confidence(path: Path, values: NDArray[np.float32], facts: MapFacts) -> None:
    """Write the probability of the mapped class, 0 to 1; overviews hold the average."""
    _write(
        path,
        values,
        facts,
        nodata=float("nan"),
        overviews="average",
        predictor=3,
        descriptions=["confidence, probability of the mapped class"],
        tags={},
    )


def write_clear_dates(
    path: Path, values: NDArray[np.uint16], facts: MapFacts, sensors: Sequence[str]
) -> None:
    """Write the number of clear dates, (sensor, y, x), one band a sensor; overviews average."""
    _write(
        path,
        values,
        facts,
        nodata=NO_DATES,
        overviews="average",
        predictor=2,
        descriptions=sensors,
        tags={},
    )


def _write(
    path: Path,
    values: NDArray[Any],
    facts: MapFacts,
    *,
    nodata: float,
    overviews: Literal["mode", "average"],
    descriptions: Sequence[str],
    tags: dict[str, str],
    colormap: dict[int, tuple[int, ...]] | None = None,
    predictor: int | None = None,
) -> None:
    bands = values.reshape(-1, *facts.shape)
    # Write a plain file first: rio-cogeo then copies colours, tags and names together.
    plain = path.with_suffix(".plain.tif")
    with rasterio.open(
        plain,
        "w",
        driver="GTiff",
        width=facts.shape[1],
        height=facts.shape[0],
        count=len(bands),
        dtype=values.dtype.name,
        crs=facts.crs,
        transform=facts.transform,
        nodata=nodata,
        tiled=True,
        blockxsize=_BLOCK,
        blockysize=_BLOCK,
        bigtiff="IF_SAFER",
    ) as raster:
        if colormap is not None:
            raster.colorinterp = [ColorInterp.palette]
            raster.write_colormap(1, colormap)
        for number, (band, description) in enumerate(zip(bands, descriptions, strict=True), 1):
            raster.set_band_description(number, description)
            raster.write(band, number)
        raster.update_tags(**common_tags(facts), **tags)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "interleave": "pixel",
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "DEFLATE",
        "bigtiff": "IF_SAFER",
    }
    if predictor is not None:
        profile["predictor"] = predictor
    cog_translate(
        plain,
        path,
        profile,
        nodata=nodata,
        overview_level=_overview_levels(facts.shape),
        overview_resampling=overviews,
        quiet=True,
    )
    plain.unlink()


def _overview_levels(shape: tuple[int, int]) -> int:
    # Use the longer side: rio-cogeo uses the shorter one, so a long narrow map would get no
    # overviews, and its strict validation would fail.
    return max(0, math.ceil(math.log2(max(shape) / _BLOCK)))


def common_tags(facts: Provenance) -> dict[str, str]:
    """Metadata of a raster: season, archive, model, and what was done to the map."""
    return {
        "TIFFTAG_SOFTWARE": f"cubecrop {__version__}",
        "SEASON_YEAR": str(facts.season.year),
        "SEASON_START": facts.season.start.isoformat(),
        "SEASON_END": facts.season.end.isoformat(),
        "ARCHIVE": one_line(facts.archive),
        "MODEL_NAME": one_line(facts.model_name),
        "MODEL_DIGEST": facts.model_digest,
        **({"MODEL_CALIBRATION": one_line(facts.calibration)} if facts.calibration else {}),
        **({"SEASON_GAPS": one_line(facts.gaps)} if facts.gaps else {}),
        **({"UNRELIABLE": one_line(facts.unreliable)} if facts.unreliable else {}),
        **({"MASK": one_line(facts.mask)} if facts.mask else {}),
        **({"SMOOTHING": json_text(facts.smoothing.to_json())} if facts.smoothing else {}),
    }
