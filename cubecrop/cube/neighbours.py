"""Growing masks by a distance: the margin of a cloud, of a border."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["dilated"]

#: In pixels: a neighbour at the very distance is within it, whatever the division rounds to.
_SLACK = 1e-9


def dilated(mask: NDArray[np.bool_], distance: float, resolution: float) -> NDArray[np.bool_]:
    """Pixels whose centre lies within a distance of that of a masked one.

    What a distance transform and a threshold give, in a tenth of the time: the disk is cut
    into rows, and each row is a few shifts that double its length.

    Parameters
    ----------
    mask : numpy.ndarray
        (y, x) bool.
    distance, resolution : float
        Metres, and the pixel size in metres.

    Returns
    -------
    numpy.ndarray
        (y, x) bool.
    """
    if not mask.any():
        return np.zeros(mask.shape, dtype=bool)
    radius = distance / resolution
    strip, has = mask, -1
    out = np.zeros(mask.shape, dtype=bool)
    for rows in range(math.floor(radius + _SLACK) + 1):
        width = math.floor(math.sqrt(max(radius**2 - rows**2, 0)) + _SLACK)
        if width != has:
            strip, has = _widened(mask, width), width
        height = max(len(mask) - rows, 0)
        out[rows:] |= strip[:height]
        out[:height] |= strip[rows:]
    return out


def _widened(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Pixels with a masked one up to ``width`` columns away."""
    wide = np.pad(mask, ((0, 0), (width, width)))
    length, wanted = 1, 2 * width + 1
    while length < wanted:
        step = min(length, wanted - length)
        wide = wide[:, : wide.shape[1] - step] | wide[:, step:]
        length += step
    return wide
