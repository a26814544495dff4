"""Streams of random numbers that do not depend on the order of the draws."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Purpose", "fractal", "smooth_noise", "stream"]


class Purpose(enum.IntEnum):
    """Use of a stream; it is part of the key, so that no two uses share numbers."""

    PARCELS = 1
    CROPS = 2
    GROWTH = 3
    TEXTURE = 4
    ELEVATION = 5
    WEATHER = 6
    CLOUD = 7
    SENTINEL2 = 8
    SENTINEL1 = 9
    SOIL = 10
    LABELS = 11
    LAND_COVER = 12
    POINTS = 13
    WOOD = 14


def stream(purpose: Purpose, *key: int) -> np.random.Generator:
    """Open the generator of one purpose and a key such as (seed, region, year)."""
    return np.random.default_rng([int(purpose), *key])


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], sigma: float
) -> NDArray[np.float32]:
    """Draw a correlated field of mean 0 and standard deviation 1; ``sigma`` in pixels."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    field: NDArray[np.float32] = gaussian_filter(noise, sigma, mode="reflect")
    return _standardised(field)


def fractal(rng: np.random.Generator, shape: tuple[int, int], slope: float) -> NDArray[np.float32]:
    """Draw a field whose power falls with spatial frequency to the power ``-slope``.

    Mean 0, standard deviation 1. Terrain has slopes of about 3 to 4 in two dimensions
    (Turcotte 1997, Fractals and Chaos in Geology and Geophysics, chapter 7), cloud fields of
    about 2.7 to 3.7 (Davis et al. 1997, J. Atmos. Sci. 54, 241-260, from 5/3 in one dimension).
    """
    height, width = (2 * -(-n // 2) for n in shape)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1.0
    # The mean, at frequency 0, would have infinite power: no wave is longer than the field.
    amplitude = frequency ** (-slope / 2)
    amplitude[0, 0] = 0.0
    noise = rng.standard_normal((2, *frequency.shape))
    spectrum = amplitude * (noise[0] + 1j * noise[1])
    field = np.fft.irfft2(spectrum, s=(height, width))[: shape[0], : shape[1]]
    return _standardised(field.astype(np.float32))


def _standardised(field: NDArray[np.float32]) -> NDArray[np.float32]:
    field = field - field.mean()
    return field / max(float(field.std()), 1e-6)
