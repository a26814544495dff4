"""Clouds, their shadows and haze over one Sentinel-2 scene, and the scene classes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import ndtri

from cubecrop.simulate.draws import fractal, smooth_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Sky", "classify_scene", "make_sky"]

_PAD: Final = 60  # pixels of 20 m: 1.2 km
# Cloud fields of one scale: see `draws.fractal`.
_SLOPE: Final = 3.2

# Classes of SCL (ESA, Sentinel-2 Level-2A algorithm theoretical basis document).
DARK, SHADOW, VEGETATION, BARE, WATER, UNCLASSIFIED = 2, 3, 4, 5, 6, 7
MEDIUM, HIGH, CIRRUS, SNOW = 8, 9, 10, 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Sky:
    """What stands between the ground and the sensor, float32 (y, x) at 20 m.

    ``opacity`` of water clouds and ``veil`` of cirrus and haze from 0 to 1, ``shadow`` the
    share of direct light that is lost, ``brightness`` of the cloud tops.
    """

    opacity: NDArray[np.float32]
    veil: NDArray[np.float32]
    shadow: NDArray[np.float32]
    brightness: NDArray[np.float32]
    cirrus: bool


def make_sky(
    size: int, cloud: float, zenith: float, rng: np.random.Generator, *, summer: float
) -> Sky:
    """Draw the sky of one overpass.

    Parameters
    ----------
    size : int
        Pixels of 20 m.
    cloud : float
        The day's cloud from 0 to 1, which follows the rain.
    zenith : float
        Of the sun, degree: how far shadows fall.
    rng : numpy.random.Generator
        The scene's own.
    summer : float
        From 0 (January) to 1 (July): broken convective cloud against wide layers.

    Returns
    -------
    Sky
    """
    shape = (size + 2 * _PAD, size + 2 * _PAD)
    inner = (slice(_PAD, -_PAD), slice(_PAD, -_PAD))
    km = size * 0.02
    # The window sees a part of larger fields: the smaller it is, the less varies within it.
    spread = (0.28 + 0.3 * summer) * min(1.6, (km / 2.5) ** 0.6) * rng.uniform(0.6, 1.4)
    latent = 1.05 * ndtri(np.clip(cloud, 0.01, 0.99)) - 0.1 + 0.35 * rng.standard_normal()
    height = rng.uniform(500, 1500) * (0.6 + 0.6 * summer)
    wispy = rng.random()
    field = latent + spread * fractal(rng, shape, _SLOPE)
    opacity = -np.expm1(-3.0 * field.clip(0)).astype(np.float32)
    # Shadows fall away from a sun in the south-south-east; at most to the pad's end.
    length = min(height * np.tan(np.radians(zenith)) / 20, _PAD - 1)
    north, west = round(length * np.cos(0.42)), round(length * np.sin(0.42))
    shadow = np.roll(opacity, (-north, -west), axis=(0, 1))[inner]
    cirrus = bool(wispy < 0.18)
    haze = 0.03 * max(0.0, rng.normal(0.1, 0.5) + 0.7 * cloud)
    if rng.random() < 0.2:
        haze += rng.uniform(0.02, 0.09)
    veil = np.full((size, size), np.float32(haze))
    if cirrus:
        veil += (0.16 + 0.08 * smooth_noise(rng, (size, size), 14)).clip(0).astype(np.float32)
    brightness = (0.52 + 0.1 * smooth_noise(rng, (size, size), 5)).clip(0.2, 0.9)
    return Sky(
        opacity=opacity[inner],
        veil=veil.clip(0, 0.6),
        shadow=(shadow * (1 - 0.6 * opacity[inner])).astype(np.float32),
        brightness=brightness.astype(np.float32),
        cirrus=cirrus,
    )


def classify_scene(
    sky: Sky,
    seen: dict[str, NDArray[np.float32]],
    snow: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Scene classes as Sen2Cor gives them, with its usual mistakes.

    Thin cloud is missed or called unclassified, bright dry soil, roofs and gravel are called
    cloud now and then, half of the shadows are called dark or not seen, snow is taken for
    cloud at times (Baetens et al. 2019, Remote Sensing 11, 433; Skakun et al. 2022, Remote
    Sens. Environ. 274, 112990).

    Parameters
    ----------
    sky : Sky
        The truth.
    seen : dict
        Reflectance at 20 m as the sensor sees it, by band: B02, B04, B08, B11.
    snow : float
        Share of the fields under snow.
    rng : numpy.random.Generator
        Of the mistakes, which come in patches.

    Returns
    -------
    ndarray of uint8 (y, x)
    """
    shape = sky.opacity.shape
    doubt = smooth_noise(rng, shape, 3.0)
    ndvi = (seen["B08"] - seen["B04"]) / np.maximum(seen["B08"] + seen["B04"], 1e-3)
    scl = np.where(ndvi + 0.02 * doubt > 0.4, VEGETATION, BARE)
    scl[(ndvi < 0.4) & (ndvi > 0.34) & (doubt > 1.0)] = UNCLASSIFIED
    scl[(seen["B08"] < 0.13) & (ndvi > 0.1)] = DARK
    scl[(seen["B08"] < 0.10) & (ndvi < 0.05)] = WATER
    ndsi = (seen["B04"] - seen["B11"]) / np.maximum(seen["B04"] + seen["B11"], 1e-3)
    if snow > 0.05:
        white = (ndsi > 0.35) & (seen["B02"] > 0.2)
        scl[white] = np.where(doubt[white] > 1.4, MEDIUM, SNOW)
    # Bright ground is taken for cloud where the doubt is large.
    bright = (seen["B02"] > 0.14) & (ndsi < 0.35) & (sky.opacity < 0.05)
    scl[bright & (doubt > 0.9)] = UNCLASSIFIED
    scl[bright & (doubt > 1.7)] = MEDIUM
    shaded = sky.shadow > 0.2
    scl[shaded & (doubt > -0.5)] = SHADOW
    scl[shaded & (doubt > 0.9)] = DARK
    # Haze makes ground that is not plainly green ambiguous.
    dim = (sky.veil + 0.015 * doubt > 0.048) & (ndvi < 0.62) & (sky.opacity < 0.05)
    scl[dim] = UNCLASSIFIED
    thickness = sky.opacity + 0.06 * doubt * (sky.opacity > 0)
    # Below 0.05 the cloud is missed.
    scl[thickness > 0.05] = UNCLASSIFIED
    scl[thickness > 0.2] = MEDIUM
    scl[thickness > 0.78] = HIGH
    if sky.cirrus:
        thin = (sky.veil + 0.03 * doubt > 0.13) & (thickness < 0.2)
        scl[thin] = CIRRUS
    return scl.astype(np.uint8)
