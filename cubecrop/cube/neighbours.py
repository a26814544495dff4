"""Dilate masks by a distance, for margins around clouds and borders."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["dilated"]

#: In pixels: a neighbour exactly at the distance counts as within it, despite rounding.
_SLACK = 1e-9


def dilated(mask: NDArray[np.bool_], distance: float, resolution: float) -> NDArray[np.bool_]:
    """Find the pixels whose centre lies within a distance of a masked pixel's centre.

    The result equals a distance transform with a threshold, in a tenth of the time: the disk is
    cut into rows, and each row takes a few shifts that double its length.

    Parameters
    ----------
    mask : numpy.ndarray
        (y, x) bool.
    distance, resolution : float
        The distance and the pixel size, both in metres.

    Returns
    -------
    numpy.ndarray
        (y, x) bool.
    """
    if not mask.any():
        return np.zeros(mask.shape, dtype=bool)
    radius = distance / resolution
    strip, strip_width = mask, -1
    out = np.zeros(mask.shape, dtype=bool)
    for rows in range(math.floor(radius + _SLACK) + 1):
        width = math.floor(math.sqrt(max(radius**2 - rows**2, 0)) + _SLACK)
        if width != strip_width:
            strip, strip_width = _widened(mask, width), width
        height = max(len(mask) - rows, 0)
        out[rows:] |= strip[:height]
        out[:height] |= strip[rows:]
    return out


def _widened(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Find the pixels with a masked pixel up to ``width`` columns away."""
    wide = np.pad(mask, ((0, 0), (width, width)))
    length, wanted = 1, 2 * width + 1
    while length < wanted:
        step = min(length, wanted - length)
        wide = wide[:, : wide.shape[1] - step] | wide[:, step:]
        length += step
    return wide
