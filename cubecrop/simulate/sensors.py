"""What Sentinel-2 and Sentinel-1 see of the simulated land on one day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cubecrop.schema import SENTINEL2_BANDS
from cubecrop.simulate.crops import CROPS, Growth
from cubecrop.simulate.draws import Purpose, smooth_noise, stream

if TYPE_CHECKING:
    from cubecrop.simulate.land import Land

__all__ = ["BANDS_10M", "Optical", "cloud_covers", "see_optical", "see_radar"]

Image = NDArray[np.float32]

BANDS_10M: Final = ("B02", "B03", "B04", "B08")

# Reflectances in the order of SENTINEL2_BANDS, read by eye from typical curves of the USGS
# spectral library version 7 (Kokaly et al. 2017, doi:10.3133/ds1035) and rounded.
_LEAF = np.array([0.025, 0.055, 0.028, 0.090, 0.28, 0.38, 0.41, 0.42, 0.20, 0.095])
_FLOWER = np.array([0.040, 0.150, 0.125, 0.180, 0.34, 0.43, 0.46, 0.46, 0.22, 0.105])
_DRY = np.array([0.075, 0.115, 0.155, 0.195, 0.23, 0.25, 0.27, 0.29, 0.33, 0.245])
_SOIL = np.array([0.075, 0.100, 0.130, 0.150, 0.17, 0.19, 0.21, 0.23, 0.28, 0.240])
_CLOUD = np.array([1.00, 0.98, 0.97, 0.98, 1.0, 1.0, 1.0, 1.0, 0.62, 0.45])
# Which part of the leaf spectrum each band takes its crop factor from: 0 red edge, 1 near
# infrared, 2 shortwave infrared; the visible bands share the red edge's.
_PART = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])

# DN = reflectance x 10000 + 1000 from processing baseline 04.00 on (ESA, Sentinel-2 Products
# Specification Document, BOA_ADD_OFFSET = -1000 to be added to the DN).
_QUANTIFICATION, _OFFSET = 10_000, 1_000

# Scene classes (ESA, Sentinel-2 Level-2A algorithm): the ones that the simulator uses.
_SHADOW, _VEGETATION, _BARE, _MEDIUM, _HIGH, _CIRRUS = 3, 4, 5, 8, 9, 10
_CLOUDY = (_MEDIUM, _HIGH, _CIRRUS)

# Looks of a 10 m RTC pixel, between the 4.4 equivalent looks of IW GRDH (ESA, Sentinel-1
# Product Specification) and what terrain correction averages.
_LOOKS = 5
_PAD = 24  # pixels of 20 m, farther than any shadow falls


@dataclass(frozen=True, slots=True, kw_only=True)
class Optical:
    """One Sentinel-2 image: DN uint16 by band, scene class uint8, cloud cover in percent."""

    bands: dict[str, NDArray[np.uint16]]
    scl: NDArray[np.uint8]
    cloud_cover: float


def cloud_covers(days_of_year: NDArray[np.int64], *, year: int, seed: int) -> NDArray[np.float64]:
    """Deal cloud covers to the dates: a third clear, a third overcast, more in winter.

    The covers are fixed quantiles, so that about half of all pixels are hidden in each
    season whatever the seed; which date gets which is random.
    """
    n = days_of_year.size
    quantile = (np.arange(n) + 0.5) / n
    cover = np.interp(quantile, [0.33, 0.73], [0.0, 1.0])
    rng = stream(Purpose.CLOUD_COVER, seed, year)
    gloom = rng.random(n) + 0.2 * np.cos(2 * np.pi * days_of_year / 365.25)
    dealt = np.empty(n)
    dealt[np.argsort(gloom, kind="stable")] = cover
    return dealt


def see_optical(
    land: Land,
    growth: Growth,
    *,
    day: float,
    wetness: float,
    cover: float,
    key: tuple[int, ...],
) -> Optical:
    """Mix leaf, flower, dry matter and soil by cover, then lay clouds and shadows over it.

    Parameters
    ----------
    land, growth : Land, Growth
        What stands where, and its curves.
    day : float
        Days from 1 January of the harvest year.
    wetness : float
        Of the topsoil, 0 to 1; wet soil is darker.
    cover : float
        Share of the image under cloud.
    key : tuple of int
        Key of the random stream.

    Returns
    -------
    Optical
        Bands of 10 m (y, x) and of 20 m (y / 2, x / 2).
    """
    rng = stream(Purpose.SENTINEL2, *key)
    surface = _reflectance(land, growth, day, wetness, rng)  # (band, y, x) 10 m
    half = land.grid.size // 2
    opacity, shadow, scl, brightness = _clouds(half, cover, rng)  # (y, x) 20 m

    haze = np.float32(max(0.0, rng.normal(0.004, 0.004)))
    bands: dict[str, NDArray[np.uint16]] = {}
    ndvi: dict[str, Image] = {}
    for index, name in enumerate(SENTINEL2_BANDS):
        fine = name in BANDS_10M
        image = surface[index] if fine else _halve(surface[index])
        veil, dark, bright = (
            (np.kron(field, np.ones((2, 2), np.float32)) if fine else field)
            for field in (opacity, shadow, brightness)
        )
        noise = 1 + 0.02 * rng.standard_normal(image.shape, dtype=np.float32)
        # Scattered skylight is bluest, so haze lifts the first bands most.
        image = image * noise + haze / (1 + index)
        image = image * (1 - 0.6 * dark)
        image = image * (1 - veil) + veil * bright * np.float32(_CLOUD[index])
        dn = np.rint(image * _QUANTIFICATION) + _OFFSET
        bands[name] = dn.clip(1, 65535).astype(np.uint16)  # 0 is nodata
        if name in ("B04", "B08"):
            ndvi[name] = _halve(image)
    green = (ndvi["B08"] - ndvi["B04"]) > 0.4 * (ndvi["B08"] + ndvi["B04"])
    scl = np.where(scl > 0, scl, np.where(green, _VEGETATION, _BARE)).astype(np.uint8)
    return Optical(
        bands=bands, scl=scl, cloud_cover=round(100 * float(np.isin(scl, _CLOUDY).mean()), 3)
    )


def _reflectance(
    land: Land, growth: Growth, day: float, wetness: float, rng: np.random.Generator
) -> Image:
    """Reflectance without cloud, (band, y, x)."""
    canopy = growth.canopy(day)
    factor = np.array([[CROPS[i].edge, CROPS[i].nir, CROPS[i].swir] for i in growth.crop])
    factor = (factor * growth.spectrum)[:, _PART]  # (unit, band)
    bare = np.maximum(1 - canopy.green - canopy.flower - canopy.dry, 0)
    soil = (growth.soil * (1 - 0.3 * wetness))[:, None] * _SOIL
    leaf = factor * _LEAF
    still = (
        canopy.flower[:, None] * _FLOWER + canopy.dry[:, None] * _DRY + bare[:, None] * soil
    ).astype(np.float32)
    # Texture moves ground between leaf and soil and leaves the rest.
    swap = (canopy.green[:, None] * (leaf - soil)).astype(np.float32)
    mean = still + (canopy.green[:, None] * leaf).astype(np.float32)
    texture = 0.1 * land.texture + 0.03 * smooth_noise(rng, land.unit.shape, 1.5)
    image: Image = np.empty((len(SENTINEL2_BANDS), *land.unit.shape), dtype=np.float32)
    for band in range(len(SENTINEL2_BANDS)):
        sharp = mean[land.unit, band] + texture * swap[land.unit, band]
        # The point spread of the instrument mixes neighbours at the edges of parcels.
        gaussian_filter(sharp, 0.55, output=image[band], truncate=3)
    return image.clip(0.002, 1)


def _clouds(
    size: int, cover: float, rng: np.random.Generator
) -> tuple[Image, Image, NDArray[np.uint8], Image]:
    """Opacity, shadow, scene class (0 where clear) and brightness of the clouds, at 20 m."""
    shape = (size + 2 * _PAD, size + 2 * _PAD)
    inner = (slice(_PAD, -_PAD), slice(_PAD, -_PAD))
    field = smooth_noise(rng, shape, 13) + 0.35 * smooth_noise(rng, shape, 3)
    cirrus = rng.random() < 0.15
    # The sun stands in the south-east at the overpass, so shadows fall to the north-west.
    north, west = (int(step) for step in rng.integers((5, 3), (18, 10)))
    brightness = (0.5 + 0.1 * smooth_noise(rng, shape, 5)[inner]).clip(0.2, 0.9)
    scl = np.zeros((size, size), dtype=np.uint8)
    if cover <= 0:
        nothing = np.zeros((size, size), dtype=np.float32)
        return nothing, nothing, scl, brightness
    if cover >= 1:
        opacity = (0.88 + 0.06 * field).clip(0.6, 1)
    else:
        threshold = np.quantile(field[inner], 1 - cover)
        # A fifth of the opacity is reached before the mask begins: thin edges go unseen.
        opacity = ((field - threshold) / 0.6 + 0.2).clip(0, 1)
    opacity = (opacity * (0.4 if cirrus else 1.0)).astype(np.float32)
    masked = opacity > (0.08 if cirrus else 0.2)
    shadow = np.roll(opacity, (-north, -west), axis=(0, 1))[inner]
    shaded = np.roll(masked, (-north, -west), axis=(0, 1))[inner]
    opacity, masked = opacity[inner], masked[inner]
    if cirrus:
        shaded = np.zeros_like(shaded)
    scl[shaded] = _SHADOW
    scl[masked] = _CIRRUS if cirrus else _MEDIUM
    scl[masked & (opacity > 0.7)] = _HIGH
    return opacity, shadow, scl, brightness


def _halve(image: Image) -> Image:
    """Mean of blocks of 2 x 2."""
    rows, columns = image.shape
    blocks: Image = image.reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))
    return blocks


def see_radar(
    land: Land,
    growth: Growth,
    *,
    day: float,
    wetness: float,
    descending: bool,
    key: tuple[int, ...],
) -> dict[str, Image]:
    """Backscatter of soil and canopy, mixed in dB by cover, with speckle.

    Parameters
    ----------
    land, growth : Land, Growth
        What stands where, and its curves.
    day : float
        Days from 1 January of the harvest year.
    wetness : float
        Of the topsoil, 0 to 1; wet soil is up to 4 dB brighter.
    descending : bool
        The morning pass, which sees dew and other rows.
    key : tuple of int
        Key of the random stream.

    Returns
    -------
    dict
        ``vv`` and ``vh`` (y, x) float32, gamma nought in linear power.
    """
    rng = stream(Purpose.SENTINEL1, *key)
    canopy = growth.canopy(day)
    closed = np.minimum(canopy.green + canopy.flower + 0.6 * canopy.dry, 1)
    rough = growth.structure[:, 0]
    soil = {"vv": -11.5 + 4 * wetness + rough, "vh": -19.0 + 3 * wetness + rough}
    images = {}
    for name in ("vv", "vh"):
        full = np.array([getattr(CROPS[i], name) for i in growth.crop]) + growth.structure[:, 1]
        rows = 0.5 * growth.structure[:, 0] * (1 if descending else -1)
        decibel = closed * (full + rows) + (1 - closed) * soil[name] + 0.4 * descending
        power = (10 ** (decibel / 10)).astype(np.float32)[land.unit]
        power *= 1 + 0.1 * land.texture
        speckle = rng.standard_gamma(_LOOKS, power.shape, dtype=np.float32) / _LOOKS
        images[name] = (power * speckle).clip(1e-5, None)
    return images
