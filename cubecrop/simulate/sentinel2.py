"""Sentinel-2 images of the simulated land on one day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from cubecrop.schema import SENTINEL2_BANDS
from cubecrop.simulate.clouds import CIRRUS, HIGH, MEDIUM, classify_scene, make_sky
from cubecrop.simulate.draws import smooth_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.simulate.clouds import Sky
    from cubecrop.simulate.land import Land

__all__ = ["BANDS_10M", "CLOUD_SPECTRUM", "Optical", "see_optical"]

BANDS_10M: Final = ("B02", "B03", "B04", "B08")

#: Reflectance of a thick water cloud by band, relative to its brightness.
CLOUD_SPECTRUM: Final = np.array([1.05, 1.02, 1.0, 1.0, 1.01, 1.02, 1.02, 1.02, 0.72, 0.5])

# DN = reflectance x 10000 + 1000 from processing baseline 04.00 on (ESA, Sentinel-2 Products
# Specification Document, BOA_ADD_OFFSET = -1000 to be added to the DN).
_QUANTIFICATION, _OFFSET = 10_000, 1_000

# Standard deviation of the point spread in m. Each pixel of 10 m belongs to one unit, and four of
# them are averaged for 20 m. With this blur, the modulation at the Nyquist frequency is 0.47 (10 m
# bands) and 0.20 (20 m bands), about the 0.25 and 0.3 that ESA's data quality reports state.
_BLUR = {True: 5.4, False: 10.2}
# Share of light from the surrounding hundred metres or so that remains after correction.
_ADJACENT = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Optical:
    """One Sentinel-2 image: DN uint16 by band, scene class uint8, cloud cover in percent."""

    bands: dict[str, NDArray[np.uint16]]
    scl: NDArray[np.uint8]
    cloud_cover: float


def see_optical(
    land: Land,
    reflectance: NDArray[np.float32],
    *,
    cloud: float,
    zenith: float,
    snow: float,
    summer: float,
    rng: np.random.Generator,
) -> Optical:
    """Map the reflectance of the units to pixels, blur it, and add the sky.

    Parameters
    ----------
    land : Land
        Map of the units.
    reflectance : ndarray of float32 (unit, spot, band)
        From `surface.Surface.reflectance`.
    cloud, snow, summer : float
        From 0 to 1; see `clouds.make_sky`.
    zenith : float
        Zenith angle of the sun, degrees.
    rng : numpy.random.Generator
        The generator of this scene.

    Returns
    -------
    Optical
        Bands of 10 m (y, x) and of 20 m (y / 2, x / 2).
    """
    half = land.grid.size // 2
    sky = make_sky(half, cloud, zenith, rng, summer=summer)
    # Two thirds of the differences between spots stay all season.
    spot = 0.8 * land.texture + 0.45 * smooth_noise(rng, land.unit.shape, 1.2)
    better, worse = spot.clip(0, 2), (-spot).clip(0, 2)
    # Corrections for view angle, gas and aerosol leave errors of a few percent, more in blue.
    gain = 1 + rng.normal(0, 0.018) + rng.normal(0, 0.012, len(SENTINEL2_BANDS))
    aerosol = rng.normal(0.0, 0.006) * np.linspace(1.4, 0.2, len(SENTINEL2_BANDS))
    bands: dict[str, NDArray[np.uint16]] = {}
    observed: dict[str, NDArray[np.float32]] = {}
    for index, name in enumerate(SENTINEL2_BANDS):
        fine = name in BANDS_10M
        thin, usual, dense = (reflectance[:, k, index] for k in range(3))
        image = usual[land.unit]
        image += better * (dense - usual)[land.unit] + worse * (thin - usual)[land.unit]
        image = gaussian_filter(image, _BLUR[fine] / 10, truncate=2.5)
        image = (1 - _ADJACENT) * image + _ADJACENT * uniform_filter(image, 31)
        image = image if fine else _halve(image)
        image = image * np.float32(gain[index]) + np.float32(aerosol[index])
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        image += noise * (np.float32(0.0012) + np.float32(0.008) * image)
        image = _through(image, sky, index, fine=fine)
        bands[name] = (np.rint(image * _QUANTIFICATION) + _OFFSET).clip(1, 65535).astype(np.uint16)
        if name in ("B02", "B04", "B08", "B11"):
            observed[name] = _halve(image) if fine else image
    scl = classify_scene(sky, observed, snow, rng)
    cover = 100 * float(np.isin(scl, (MEDIUM, HIGH, CIRRUS)).mean())
    return Optical(bands=bands, scl=scl, cloud_cover=round(cover, 3))


def _through(
    image: NDArray[np.float32], sky: Sky, index: int, *, fine: bool
) -> NDArray[np.float32]:
    opacity, veil, shadow, bright = (
        _double(field) if fine else field
        for field in (sky.opacity, sky.veil, sky.shadow, sky.brightness)
    )
    # Light from the sky still reaches shaded ground, most in the blue.
    image = image * (1 - shadow * np.float32(np.linspace(0.62, 0.82, 10)[index]))
    # Haze and cirrus scatter most in the blue and little beyond 1.5 um.
    scatter = np.float32(np.linspace(1.0, 0.25, 10)[index])
    image = image * (1 - 0.8 * scatter * veil) + 0.32 * scatter * veil
    top = bright * np.float32(CLOUD_SPECTRUM[index])
    mixed: NDArray[np.float32] = image * (1 - opacity) + opacity * top
    return mixed


def _halve(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average blocks of 2 x 2 pixels."""
    rows, columns = image.shape
    blocks: NDArray[np.float32] = image.reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))
    return blocks


def _double(field: NDArray[np.float32]) -> NDArray[np.float32]:
    return field.repeat(2, axis=0).repeat(2, axis=1)
