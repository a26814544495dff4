"""What an item says of a file, held against the file's own header when it is opened.

A file that was replaced in place under an old item, or an item that was copied from another,
would be read at the wrong place or taken for another product without a word. Nothing but the
header is looked at, which an open file has in memory.
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

#: Pixels by which stated edges may differ from a file's: a half where the one counts from
#: centres of pixels and the other from their edges, and a little for rounding.
_SLACK: Final = 0.6
_CURE: Final = "Fetch the file and its item again, from one source, or leave the item out."


def check_file(file: rasterio.DatasetReader, source: Source) -> None:
    """Raise unless a file is what its item says, has one band, a CRS and north up.

    Raises
    ------
    ReadError
        Naming item and asset, what the item says, and what the file is.
    """
    where = f"asset {source.asset!r} of item {source.item!r} ({source.href.split('?')[0]})"
    if file.count != 1:
        raise ReadError(f"{where} has {file.count} bands, expected one.")
    if file.crs is None or file.gcps[0]:
        raise ReadError(
            f"{where} has no CRS: it is damaged, or in radar geometry. Fetch the file again; of "
            "Sentinel-1, use a terrain-corrected product (RTC)."
        )
    if file.transform.b or file.transform.d or file.transform.a <= 0 or file.transform.e >= 0:
        raise ReadError(f"{where} is not north-up.")
    for why in (_wrong_type(file, source.kind), _wrong_scale(file, source.stated)):
        if why:
            raise ReadError(f"{where} {why}")
    if source.stated is not None and (why := _elsewhere(file, source.stated)):
        raise ReadError(f"{where} {why} {_CURE}")


def has_mask(file: rasterio.DatasetReader) -> bool:
    """Whether a file masks pixels by a band of its own, beside or in place of nodata."""
    return MaskFlags.per_dataset in file.mask_flag_enums[0]


def _wrong_type(file: rasterio.DatasetReader, name: str) -> str:
    kind, seen = KINDS.get(name), file.dtypes[0]
    if kind is None or seen in kind.types:
        return ""
    return (
        f"is of type {seen}, expected {kind.expected} ({', '.join(kind.types)}): it is another "
        f"product, or was converted. {_CURE}"
    )


def _wrong_scale(file: rasterio.DatasetReader, stated: Stated | None) -> str:
    """Scale and offset in the file's own tags, where it has some, must be those applied."""
    seen = file.scales[0], file.offsets[0]
    if stated is None or seen == (1.0, 0.0):
        return ""
    applied = stated.scale, stated.offset
    if np.allclose(seen, applied, rtol=1e-6, atol=1e-9):
        return ""
    return (
        f"says in its own tags that a value is DN * {seen[0]:g} + {seen[1]:g}, but by its item it "
        f"is DN * {applied[0]:g} + {applied[1]:g}. Find out which is right, and mend the other."
    )


def _elsewhere(file: rasterio.DatasetReader, stated: Stated) -> str:
    """How the file's place differs from what its item says; "" where it does not."""
    wide, high = file.transform.a, -file.transform.e
    if stated.crs is not None and not _one_crs(
        file.crs.to_wkt(), stated.crs, tuple(file.bounds), (wide, high)
    ):
        return f"is in {file.crs.to_string()}, but its item says {stated.crs}."
    if stated.shape is not None and stated.shape != file.shape:
        return f"has {file.shape} rows and columns, but its item says {stated.shape}."
    if stated.pixel is not None and not np.allclose((wide, high), stated.pixel, rtol=1e-3):
        return f"has pixels of {(wide, high)}, but its item says {stated.pixel}."
    if stated.bounds is not None:
        slack = wide * _SLACK, high * _SLACK, wide * _SLACK, high * _SLACK
        pairs = zip(file.bounds, stated.bounds, slack, strict=True)
        if any(abs(own - said) > most for own, said, most in pairs):
            return f"has bounds {tuple(file.bounds)}, but its item says {stated.bounds}."
    elif stated.footprint is not None and not _meets(
        file.crs.to_wkt(), tuple(file.bounds), stated.footprint
    ):
        return (
            f"has bounds {tuple(file.bounds)} in {file.crs.to_string()}, which its item's "
            f"geometry, within {stated.footprint} degrees, does not touch."
        )
    return ""


@lru_cache(maxsize=512)
def _one_crs(wkt: str, crs: str, bounds: tuple[float, ...], pixel: tuple[float, float]) -> bool:
    """Whether a file lies at the same place in both CRS.

    One CRS has many forms (with and without a vertical part, an authority, a name), which do
    not compare as equal; what counts is whether they give the same places.
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
    """Whether a file's bounds touch those of a footprint; True where nobody can tell."""
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
