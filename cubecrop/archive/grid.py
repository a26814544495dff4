"""The pixel grid that an item states for a file: bounds, shape and pixel size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Grid", "grid_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Edges (left, bottom, right, top), shape (rows, columns) and pixel (width, height).

    A value is None if neither asset nor item states it.
    """

    bounds: tuple[float, float, float, float] | None = None
    shape: tuple[int, int] | None = None
    pixel: tuple[float, float] | None = None

    def why_not(self) -> str:
        """Why no file can have this grid; "" if a file can."""
        if self.bounds is not None:
            left, bottom, right, top = self.bounds
            if not (all(map(math.isfinite, self.bounds)) and left < right and bottom < top):
                return f"has bounds {self.bounds}, expected left < right and bottom < top."
        if self.shape is not None and min(self.shape) < 1:
            return f"has proj:shape {list(self.shape)}, expected rows and columns above 0."
        return ""


def grid_of(raw: Mapping[str, Any], properties: Mapping[str, Any], *, alike: bool) -> Grid:
    """The grid of a file, as its asset or else its item states it.

    Parameters
    ----------
    raw, properties : mapping
        The asset, and the item's properties.
    alike : bool
        Whether all files of the item have one grid, so that the item's shape and pixel size
        hold for each file.

    Returns
    -------
    Grid
    """
    bounds = None
    for stated in (raw, properties):
        # Both from one place: an item's transform does not fit the shape of a coarser asset.
        bounds = _grid_bounds(stated) or _bbox(stated)
        if bounds is not None:
            break
    places = (raw, properties) if alike else (raw,)
    shapes = [shape for stated in places if (shape := _shape(stated)) is not None]
    pixels = [
        (abs(numbers[0]), abs(numbers[4]))
        for stated in places
        if (numbers := _transform(stated)) is not None
    ]
    return Grid(
        bounds=bounds,
        shape=shapes[0] if shapes else None,
        pixel=pixels[0] if pixels else None,
    )


def _bbox(stated: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """``proj:bbox`` in two or three dimensions."""
    bbox = stated.get("proj:bbox")
    if bbox is None or len(bbox) not in {4, 6}:
        return None
    numbers = list(map(float, bbox))
    half = len(numbers) // 2
    return numbers[0], numbers[1], numbers[half], numbers[half + 1]


def _shape(stated: Mapping[str, Any]) -> tuple[int, int] | None:
    size = stated.get("proj:shape")
    if size is None:
        return None
    rows, columns = (int(float(number)) for number in size)
    return rows, columns


def _transform(stated: Mapping[str, Any]) -> list[float] | None:
    """``proj:transform`` of a north-up grid; None if it is rotated or in GDAL's order."""
    numbers = stated.get("proj:transform")
    if numbers is None:
        return None
    dx, skew_x, left, skew_y, dy, top = map(float, numbers[:6])
    return None if skew_x or skew_y or not dx or not dy else [dx, skew_x, left, skew_y, dy, top]


def _grid_bounds(stated: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    shape, numbers = _shape(stated), _transform(stated)
    if shape is None or numbers is None:
        return None
    (rows, columns), (dx, _, left, _, dy, top) = shape, numbers
    right, bottom = left + dx * columns, top + dy * rows
    return min(left, right), min(bottom, top), max(left, right), max(bottom, top)
