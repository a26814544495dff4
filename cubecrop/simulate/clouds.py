"""Clouds, shadows and haze over one Sentinel-2 scene, and its scene classification (SCL)."""

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
# Slope of the power spectrum of cloud fields; see `draws.fractal`.
_SLOPE: Final = 3.2

# Classes of SCL (ESA, Sentinel-2 Level-2A algorithm theoretical basis document).
DARK, SHADOW, VEGETATION, BARE, WATER, UNCLASSIFIED = 2, 3, 4, 5, 6, 7
MEDIUM, HIGH, CIRRUS, SNOW = 8, 9, 10, 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Sky:
    """What stands between the ground and the sensor, float32 (y, x) at 20 m.

    ``opacity`` is that of water clouds and ``veil`` that of cirrus and haze, both from 0 to 1;
    ``shadow`` is the share of direct light that is lost, ``brightness`` that of the cloud tops.
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
        Side of the square in pixels of 20 m.
    cloud : float
        Cloudiness of the day from 0 to 1, which follows the rain.
    zenith : float
        Zenith angle of the sun, degrees; it sets how far shadows fall.
    rng : numpy.random.Generator
        The generator of this scene.
    summer : float
        0 in January (wide layers) to 1 in July (broken convective cloud).

    Returns
    -------
    Sky
    """
    shape = (size + 2 * _PAD, size + 2 * _PAD)
    inner = (slice(_PAD, -_PAD), slice(_PAD, -_PAD))
    km = size * 0.02
    # The window is a part of larger fields, so a smaller window varies less.
    spread = (0.28 + 0.3 * summer) * min(1.6, (km / 2.5) ** 0.6) * rng.uniform(0.6, 1.4)
    latent = 1.05 * ndtri(np.clip(cloud, 0.01, 0.99)) - 0.1 + 0.35 * rng.standard_normal()
    height = rng.uniform(500, 1500) * (0.6 + 0.6 * summer)
    wispy = rng.random()
    field = latent + spread * fractal(rng, shape, _SLOPE)
    opacity = -np.expm1(-3.0 * field.clip(0)).astype(np.float32)
    # The sun is in the south-south-east; shadows fall away from it, at most across the pad.
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
    observed: dict[str, NDArray[np.float32]],
    snow: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Classify a scene as Sen2Cor does, with its usual mistakes.

    It misses thin cloud or calls it unclassified, sometimes calls bright dry soil, roofs and
    gravel cloud, misses half of the shadows or calls them dark, and sometimes takes snow for
    cloud (Baetens et al. 2019, Remote Sensing 11, 433; Skakun et al. 2022, Remote
    Sens. Environ. 274, 112990).

    Parameters
    ----------
    sky : Sky
        The true sky.
    observed : dict
        Reflectance at 20 m as the sensor sees it, by band: B02, B04, B08, B11.
    snow : float
        Share of the fields under snow.
    rng : numpy.random.Generator
        The generator of the mistakes, which come in patches.

    Returns
    -------
    ndarray of uint8 (y, x)
    """
    shape = sky.opacity.shape
    doubt = smooth_noise(rng, shape, 3.0)
    ndvi = (observed["B08"] - observed["B04"]) / np.maximum(observed["B08"] + observed["B04"], 1e-3)
    scl = np.where(ndvi + 0.02 * doubt > 0.4, VEGETATION, BARE)
    scl[(ndvi < 0.4) & (ndvi > 0.34) & (doubt > 1.0)] = UNCLASSIFIED
    scl[(observed["B08"] < 0.13) & (ndvi > 0.1)] = DARK
    scl[(observed["B08"] < 0.10) & (ndvi < 0.05)] = WATER
    ndsi = (observed["B04"] - observed["B11"]) / np.maximum(observed["B04"] + observed["B11"], 1e-3)
    if snow > 0.05:
        white = (ndsi > 0.35) & (observed["B02"] > 0.2)
        scl[white] = np.where(doubt[white] > 1.4, MEDIUM, SNOW)
    # Sen2Cor takes bright ground for cloud where the doubt is large.
    bright = (observed["B02"] > 0.14) & (ndsi < 0.35) & (sky.opacity < 0.05)
    scl[bright & (doubt > 0.9)] = UNCLASSIFIED
    scl[bright & (doubt > 1.7)] = MEDIUM
    shaded = sky.shadow > 0.2
    scl[shaded & (doubt > -0.5)] = SHADOW
    scl[shaded & (doubt > 0.9)] = DARK
    # Under haze, ground that is not clearly green is ambiguous.
    dim = (sky.veil + 0.015 * doubt > 0.048) & (ndvi < 0.62) & (sky.opacity < 0.05)
    scl[dim] = UNCLASSIFIED
    thickness = sky.opacity + 0.06 * doubt * (sky.opacity > 0)
    # Sen2Cor misses cloud thinner than 0.05.
    scl[thickness > 0.05] = UNCLASSIFIED
    scl[thickness > 0.2] = MEDIUM
    scl[thickness > 0.78] = HIGH
    if sky.cirrus:
        thin = (sky.veil + 0.03 * doubt > 0.13) & (thickness < 0.2)
        scl[thin] = CIRRUS
    return scl.astype(np.uint8)
