"""Compare what an item says about a file with the file's own header.

The file may have been replaced under an old item, or the item may have been copied from another.
Without this check, such a file would be read at the wrong place, or as the wrong product, and
nobody would notice. Only the header is checked, which is in memory once a file is open.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import rasterio
import rasterio.errors
from rasterio.enums import MaskFlags
from rasterio.warp import transform, transform_bounds

from cubecrop.circle import arcs_meet
from cubecrop.cube.kinds import KINDS
from cubecrop.errors import ReadError

if TYPE_CHECKING:
    from cubecrop.cube.source import Source, Stated

__all__ = ["check_file", "has_mask"]

#: Pixels by which the item's bounds may differ from the file's: half a pixel, since some count
#: from pixel centres and others from pixel edges, and a little for rounding.
_SLACK: Final = 0.6
_CURE: Final = "Fetch the file and its item again from the same source, or remove the item."


def check_file(file: rasterio.DatasetReader, source: Source) -> None:
    """Raise unless a file is what its item says, has one band and a CRS, and is north-up.

    Raises
    ------
    ReadError
        The message names item and asset, what the item says, and what the file is.
    """
    where = f"asset {source.asset!r} of item {source.item!r} ({source.href.split('?')[0]})"
    if file.count != 1:
        raise ReadError(f"{where} has {file.count} bands, expected one.")
    if file.crs is None or file.gcps[0]:
        raise ReadError(
            f"{where} has no CRS: it is damaged, or in radar geometry. Fetch the file again; for "
            "Sentinel-1, use a terrain-corrected product (RTC)."
        )
    if file.transform.b or file.transform.d or file.transform.a <= 0 or file.transform.e >= 0:
        raise ReadError(
            f"{where} is not north-up. Warp it with gdalwarp, or remove the item from the archive."
        )
    for fault in (_wrong_type(file, source.kind), _wrong_scale(file, source.stated)):
        if fault:
            raise ReadError(f"{where} {fault}")
    if source.stated is not None and (fault := _wrong_place(file, source.stated)):
        raise ReadError(f"{where} {fault} {_CURE}")


def has_mask(file: rasterio.DatasetReader) -> bool:
    """Whether a file has a mask band, in addition to nodata or instead of it."""
    return MaskFlags.per_dataset in file.mask_flag_enums[0]


def _wrong_type(file: rasterio.DatasetReader, name: str) -> str:
    kind, dtype = KINDS.get(name), file.dtypes[0]
    if kind is None or dtype in kind.types:
        return ""
    return (
        f"is of type {dtype}, expected {kind.expected} ({', '.join(kind.types)}): it is another "
        f"product, or was converted. {_CURE}"
    )


def _wrong_scale(file: rasterio.DatasetReader, stated: Stated | None) -> str:
    """How scale and offset in the file's tags differ from those of its item; "" if they agree."""
    tagged = file.scales[0], file.offsets[0]
    if stated is None or tagged == (1.0, 0.0):  # the default without tags
        return ""
    applied = stated.scale, stated.offset
    if np.allclose(tagged, applied, rtol=1e-6, atol=1e-9):
        return ""
    return (
        f"says in its own tags that a value is DN * {tagged[0]:g} + {tagged[1]:g}, but its item "
        f"says DN * {applied[0]:g} + {applied[1]:g}. Find out which is right; correct the other."
    )


def _wrong_place(file: rasterio.DatasetReader, stated: Stated) -> str:
    """How the file's grid differs from what its item says; "" if it does not."""
    wide, high = file.transform.a, -file.transform.e
    if stated.crs is not None and not _same_crs(
        file.crs.to_wkt(), stated.crs, tuple(file.bounds), (wide, high)
    ):
        return f"is in {file.crs.to_string()}, but its item says {stated.crs}."
    if stated.shape is not None and stated.shape != file.shape:
        return f"has {file.shape} rows and columns, but its item says {stated.shape}."
    if stated.pixel is not None and not all(
        math.isclose(own, said, rel_tol=1e-3)
        for own, said in zip((wide, high), stated.pixel, strict=True)
    ):
        return f"has pixels of {(wide, high)}, but its item says {stated.pixel}."
    if stated.bounds is not None:
        slack = wide * _SLACK, high * _SLACK, wide * _SLACK, high * _SLACK
        pairs = zip(file.bounds, stated.bounds, slack, strict=True)
        if any(abs(own - said) > limit for own, said, limit in pairs):
            return f"has bounds {tuple(file.bounds)}, but its item says {stated.bounds}."
    elif stated.footprint is not None and not _meets(
        file.crs.to_wkt(), tuple(file.bounds), stated.footprint
    ):
        return (
            f"has bounds {tuple(file.bounds)} in {file.crs.to_string()}, but its item's geometry "
            f"lies elsewhere, within {stated.footprint} degrees."
        )
    return ""


@lru_cache(maxsize=512)
def _same_crs(wkt: str, crs: str, bounds: tuple[float, ...], pixel: tuple[float, float]) -> bool:
    """Whether a file lies at the same place in both CRS.

    The same CRS can be written in many ways (with or without a vertical part, an authority, a
    name) that do not compare as equal, so places are compared instead.
    """
    own, said = rasterio.crs.CRS.from_wkt(wkt), rasterio.crs.CRS.from_string(crs)
    if own == said:
        return True
    if own.is_geographic != said.is_geographic:
        return False
    left, bottom, right, top = bounds
    x = [left, right, left, right, (left + right) / 2]
    y = [bottom, bottom, top, top, (bottom + top) / 2]
    try:
        there = transform(own, said, x, y)
    except rasterio.errors.RasterioError:
        return False
    shift = [np.abs(np.subtract(a, b)).max() for a, b in zip(there, (x, y), strict=True)]
    return bool(shift[0] <= pixel[0] / 2 and shift[1] <= pixel[1] / 2)


@lru_cache(maxsize=512)
def _meets(
    wkt: str, bounds: tuple[float, ...], footprint: tuple[float, float, float, float]
) -> bool:
    """Whether a file's bounds touch those of a footprint; True if they cannot be compared."""
    try:
        west, south, east, north = transform_bounds(
            rasterio.crs.CRS.from_wkt(wkt), "EPSG:4326", *bounds, densify_pts=21
        )
    except rasterio.errors.RasterioError:
        return True
    if not all(map(math.isfinite, (west, south, east, north))):
        return True
    left, bottom, right, top = footprint
    beside = bool(arcs_meet((west, east), (left, right)))
    return beside and south <= top and north >= bottom
