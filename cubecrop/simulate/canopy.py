"""Reflectance of leaf canopies from the PROSAIL table that the package ships."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AXES", "TABLE", "CanopyTable", "load_table"]

TABLE: Final = Path(__file__).parent / "canopy.npz"

#: Axes of the table. Leaf area index m2 m-2; chlorophyll ug cm-2; senescence from 0 (green) to
#: 1 (dry straw); water of the green leaf cm; mean leaf inclination and sun zenith degree.
AXES: Final = {
    "lai": (0.0, 0.15, 0.4, 0.8, 1.3, 2.0, 3.0, 4.5, 7.0),
    "chlorophyll": (10.0, 20.0, 32.0, 46.0, 65.0),
    "senescence": (0.0, 0.33, 0.66, 1.0),
    "water": (0.008, 0.016, 0.03),
    "leaf_angle": (35.0, 55.0, 70.0),
    "sun_zenith": (25.0, 40.0, 55.0, 70.0),
}


class CanopyTable:
    """The table of canopy reflectance, with linear interpolation.

    Attributes
    ----------
    soil_dry : ndarray of float64 (band,)
        Reflectance of PROSAIL's dry soil in Sentinel-2's bands.
    """

    def __init__(self, path: Path = TABLE) -> None:
        with np.load(path, allow_pickle=False) as stored:
            self.axes = {name: stored[name].astype(np.float64) for name in AXES}
            shape = tuple(axis.size for axis in self.axes.values())
            self._nodes = stored["nodes"].astype(np.float32).reshape(*shape, 30)
            self.soil_dry = stored["soil_dry"].astype(np.float64)

    def reflectance(
        self,
        *,
        lai: NDArray[np.floating],
        chlorophyll: NDArray[np.floating],
        senescence: NDArray[np.floating],
        water: NDArray[np.floating],
        leaf_angle: NDArray[np.floating],
        sun_zenith: float,
        ground: NDArray[np.floating],
    ) -> NDArray[np.float32]:
        """Interpolate the reflectance of canopies over their ground.

        Values beyond the end of an axis count as that end.

        Parameters
        ----------
        lai, chlorophyll, senescence, water, leaf_angle : ndarray (unit,)
            In the units of `AXES`.
        sun_zenith : float
            Degrees; the same for all units.
        ground : ndarray (unit, band)
            Reflectance of soil, litter or snow below.

        Returns
        -------
        ndarray of float32 (unit, band)
        """
        nodes = self._at_sun(sun_zenith)
        traits = (lai, chlorophyll, senescence, water, leaf_angle)
        low, share = [], []
        for axis, values in zip(list(self.axes.values())[:5], traits, strict=True):
            clipped = np.clip(values, axis[0], axis[-1])
            index = (np.searchsorted(axis, clipped, side="right") - 1).clip(0, axis.size - 2)
            low.append(index)
            share.append(((clipped - axis[index]) / np.diff(axis)[index]).astype(np.float32))
        steps = [int(np.prod(nodes.shape[i + 1 : 5])) for i in range(5)]
        base = sum(index * step for index, step in zip(low, steps, strict=True))
        flat = nodes.reshape(-1, 30)
        terms = np.zeros((np.size(lai), 30), dtype=np.float32)
        for corner in range(32):
            weight = np.ones(np.size(lai), dtype=np.float32)
            offset = 0
            for i in range(5):
                upper = corner >> i & 1
                weight = weight * (share[i] if upper else 1 - share[i])
                offset += steps[i] if upper else 0
            terms += weight[:, None] * flat[base + offset]
        canopy, through, bounce = terms[:, :10], terms[:, 10:20], terms[:, 20:]
        below = np.asarray(ground, dtype=np.float32)
        return np.asarray(canopy + below * through / (1 - below * bounce), dtype=np.float32)

    def _at_sun(self, zenith: float) -> NDArray[np.float32]:
        axis = self.axes["sun_zenith"]
        clipped = float(np.clip(zenith, axis[0], axis[-1]))
        i = int(np.clip(np.searchsorted(axis, clipped, side="right") - 1, 0, axis.size - 2))
        share = np.float32((clipped - axis[i]) / (axis[i + 1] - axis[i]))
        nodes = self._nodes[..., i, :] * (1 - share) + self._nodes[..., i + 1, :] * share
        return np.ascontiguousarray(nodes)


@cache
def load_table() -> CanopyTable:
    """Read the table, once per process."""
    return CanopyTable()
