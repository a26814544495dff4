"""Spectral bands of Sentinel-2's MSI, as far as the simulator needs them.

Responses are approximated by Gaussians with the published central wavelength and full width
at half maximum of Sentinel-2A (ESA, Sentinel-2 MSI spectral responses, COPE-GSEG-EOPG-TN-15-
0007, version 3). True responses are flatter on top; for smooth vegetation and soil spectra
the band means differ by less than 0.003.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.schema import SENTINEL2_BANDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RESPONSES", "band_means"]

#: Central wavelength and full width at half maximum in nm, by band.
RESPONSES: Final = {
    "B02": (492.4, 66.0),
    "B03": (559.8, 36.0),
    "B04": (664.6, 31.0),
    "B05": (704.1, 15.0),
    "B06": (740.5, 15.0),
    "B07": (782.8, 20.0),
    "B08": (832.8, 106.0),
    "B8A": (864.7, 21.0),
    "B11": (1613.7, 91.0),
    "B12": (2202.4, 175.0),
}


def band_means(spectra: NDArray[np.floating]) -> NDArray[np.float64]:
    """Average spectra over the bands.

    Parameters
    ----------
    spectra : ndarray (..., 2101)
        Values at 400, 401, ... 2500 nm.

    Returns
    -------
    ndarray of float64 (..., 10)
        In the order of `cubecrop.schema.SENTINEL2_BANDS`.
    """
    wavelength = np.arange(400, 2501, dtype=np.float64)
    weights = np.stack(
        [
            np.exp(-4 * np.log(2) * ((wavelength - centre) / width) ** 2)
            for centre, width in (RESPONSES[band] for band in SENTINEL2_BANDS)
        ]
    )
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(spectra @ weights.T, dtype=np.float64)
