"""Crop map and confidence as cloud-optimised GeoTIFF."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Literal

import rasterio
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_translate

from cubecrop.nomenclature import NODATA, TOO_FEW, TOO_FEW_COLOUR
from cubecrop.write.facts import VERSION, MapFacts

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["write_confidence", "write_crop_type"]

_BLOCK = 512


def write_crop_type(path: Path, values: NDArray[np.uint8], facts: MapFacts) -> None:
    """Write class indices in their colours; overviews hold the most frequent class."""
    colours = {
        index: (*bytes.fromhex(colour[1:]), 255)
        for index, colour in enumerate(facts.nomenclature.colours)
    }
    _write(
        path,
        values,
        facts,
        nodata=NODATA,
        overviews="mode",
        colormap={
            **colours,
            TOO_FEW: (*bytes.fromhex(TOO_FEW_COLOUR[1:]), 255),
            NODATA: (0, 0, 0, 0),
        },
        description="crop type, class index",
        tags={
            "CLASS_NAMES": json.dumps(facts.nomenclature.names, ensure_ascii=False),
            "CLASS_CODES": json.dumps(facts.nomenclature.codes, ensure_ascii=False),
            "NOMENCLATURE": facts.nomenclature.name,
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
        description="confidence, probability of the mapped class",
        tags={},
    )


def _write(
    path: Path,
    values: NDArray[Any],
    facts: MapFacts,
    *,
    nodata: float,
    overviews: Literal["mode", "average"],
    description: str,
    tags: dict[str, str],
    colormap: dict[int, tuple[int, ...]] | None = None,
    predictor: int | None = None,
) -> None:
    # A plain file first: colours, tags and names are then copied by rio-cogeo as one.
    plain = path.with_suffix(".plain.tif")
    with rasterio.open(
        plain,
        "w",
        driver="GTiff",
        width=facts.shape[1],
        height=facts.shape[0],
        count=1,
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
        raster.set_band_description(1, description)
        raster.update_tags(**_common_tags(facts), **tags)
        raster.write(values, 1)
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
    # By the longer side: rio-cogeo's own count goes by the shorter one and leaves a long
    # narrow map without overviews, which its strict validation then refuses.
    return max(0, math.ceil(math.log2(max(shape) / _BLOCK)))


def _common_tags(facts: MapFacts) -> dict[str, str]:
    return {
        "TIFFTAG_SOFTWARE": f"cubecrop {VERSION}",
        "SEASON_YEAR": str(facts.season.year),
        "SEASON_START": facts.season.start.isoformat(),
        "SEASON_END": facts.season.end.isoformat(),
        "ARCHIVE": facts.archive,
        "MODEL_NAME": facts.model_name,
        "MODEL_DIGEST": facts.model_digest,
    }
