"""Streams of random numbers that do not depend on the order in which they are drawn."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Purpose", "smooth_noise", "stream"]


class Purpose(enum.IntEnum):
    """What a stream is for; part of its key, so that no two purposes share numbers."""

    PARCELS = 1
    CROPS = 2
    GROWTH = 3
    TEXTURE = 4
    ELEVATION = 5
    WEATHER = 6
    CLOUD_COVER = 7
    SENTINEL2 = 8
    SENTINEL1 = 9


def stream(purpose: Purpose, *key: int) -> np.random.Generator:
    """Open the generator of one purpose, by a key such as (seed, year, index)."""
    return np.random.default_rng([int(purpose), *key])


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], sigma: float
) -> NDArray[np.float32]:
    """Draw a correlated field of mean 0 and standard deviation 1; ``sigma`` in pixels."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    field: NDArray[np.float32] = gaussian_filter(noise, sigma, mode="reflect")
    field -= field.mean()
    field /= max(float(field.std()), 1e-6)
    return field
