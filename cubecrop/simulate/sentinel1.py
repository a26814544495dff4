"""Sentinel-1 images of the simulated land on one day."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.simulate.land import Land

__all__ = ["ORBITS", "Orbit", "see_radar"]

# Equivalent looks of an IW GRD pixel (4.4, ESA Sentinel-1 Product Specification), raised a
# little by the resampling of terrain correction.
_LOOKS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Orbit:
    """A track: ``incidence`` in degrees, ``heading`` of the look direction in radians."""

    state: str
    number: int
    platform: str
    clock: dt.time
    incidence: float
    heading: float
    phase: int


#: Each track has its own satellite and repeats every 12 days, six days after the other. Without
#: Sentinel-1B there is no descending track, as over much of Europe after its loss.
ORBITS: Final = (
    Orbit(
        state="ascending", number=161, platform="A", clock=dt.time(17, 40, 42),
        incidence=38.0, heading=np.radians(79), phase=4,
    ),
    Orbit(
        state="descending", number=110, platform="B", clock=dt.time(5, 58, 12),
        incidence=42.0, heading=np.radians(281), phase=10,
    ),
)  # fmt: skip


def see_radar(
    land: Land, power: NDArray[np.float64], rng: np.random.Generator
) -> dict[str, NDArray[np.float32]]:
    """Map the backscatter of the units to pixels and add speckle.

    Parameters
    ----------
    land : Land
        Map of the units.
    power : ndarray (unit, 2)
        Gamma nought in linear power, VV and VH.
    rng : numpy.random.Generator
        The generator of this scene.

    Returns
    -------
    dict
        ``vv`` and ``vh`` (y, x) float32. Speckle is gamma distributed with 5 looks (Ulaby &
        Dobson 1989, Handbook of Radar Scattering Statistics for Terrain).
    """
    images = {}
    for index, name in enumerate(("vv", "vh")):
        image = power[:, index].astype(np.float32)[land.unit]
        # Good and poor spots differ by about a third of a dB.
        image *= np.float32(1) + np.float32(0.08) * land.texture.clip(-3, 3)
        speckle = rng.standard_gamma(_LOOKS, image.shape, dtype=np.float32) / np.float32(_LOOKS)
        images[name] = (image * speckle).clip(1e-5, None)
    return images
