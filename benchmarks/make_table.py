"""Make the table of canopy reflectance that the package ships.

Run ``python -m benchmarks.make_table``; it needs the extra ``simulate-table`` and takes
about a minute. For each node of its axes the table holds three numbers per band, which give the
reflectance over any ground::

    canopy + ground * through / (1 - ground * bounce)

SAIL places a soil in the same way; ``through`` combines direct and diffuse light.

The responses of Sentinel-2's bands are approximated by Gaussians with the published central
wavelength and full width at half maximum of Sentinel-2A (ESA, Sentinel-2 MSI spectral responses,
COPE-GSEG-EOPG-TN-15-0007, version 3). True responses are flatter on top; for smooth vegetation
and soil spectra the band means differ by less than 0.003.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.schema import SENTINEL2_BANDS
from cubecrop.simulate.canopy import AXES, TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["RESPONSES", "band_means", "leaf_state", "main", "run_prosail"]

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
#: Sentinel-2 looks nearly straight down; the hot spot is that of PROSAIL's reference runs.
VIEW: Final = {"zenith": 4.0, "azimuth": 60.0, "hotspot": 0.05}
#: Reflectances of the ground in the PROSAIL runs that give ``through`` and ``bounce``.
_GROUNDS: Final = (0.15, 0.45)


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


def leaf_state(chlorophyll: float, senescence: float, water: float) -> dict[str, float]:
    """Give the arguments of PROSPECT-D for a leaf with senescence from 0 (green) to 1 (straw).

    Pigments and water decrease, brown pigment increases, dry matter stays. Carotenoids start at a
    fifth of chlorophyll and decrease later than it (Feret et al. 2017, Remote Sens. Environ. 193,
    204-215).

    Returns
    -------
    dict
        ``n`` (1), ``cab``, ``car`` (ug cm-2), ``cbrown`` (1), ``cw`` (cm), ``cm`` (g cm-2).
    """
    return {
        "n": 1.5 + 0.5 * senescence,
        "cab": chlorophyll * (1 - senescence) ** 1.5,
        "car": 0.2 * chlorophyll * (1 - 0.8 * senescence),
        "cbrown": 0.9 * senescence,
        "cw": water * (1 - 0.93 * senescence),
        "cm": 0.006,
    }


def run_prosail(state: Mapping[str, float], ground: float) -> NDArray[np.float64]:
    """Run PROSAIL (PROSPECT-D and 4SAIL) for one node of the table.

    Parameters
    ----------
    state : mapping
        A value for each axis of `cubecrop.simulate.canopy.AXES`.
    ground : float
        Reflectance of the ground, the same at all wavelengths.

    Returns
    -------
    ndarray of float64 (2101,)
        Bidirectional reflectance factor at 400, 401, ... 2500 nm.

    References
    ----------
    Jacquemoud et al. 2009, Remote Sens. Environ. 113, S56-S66; Feret et al. 2017, Remote Sens.
    Environ. 193, 204-215; Verhoef et al. 2007, IEEE Trans. Geosci. Remote Sens. 45, 1808-1822.
    The implementation is the ``prosail`` package of J. Gomez-Dans.
    """
    import prosail

    leaf = leaf_state(state["chlorophyll"], state["senescence"], state["water"])
    spectrum = prosail.run_prosail(
        **leaf,
        lai=state["lai"],
        lidfa=state["leaf_angle"],
        typelidf=2,
        hspot=VIEW["hotspot"],
        tts=state["sun_zenith"],
        tto=VIEW["zenith"],
        psi=VIEW["azimuth"],
        prospect_version="D",
        rsoil0=np.full(2101, ground),
    )
    return np.asarray(spectrum, dtype=np.float64)


def _node(state: Mapping[str, float]) -> NDArray[np.float64]:
    """Compute canopy, through and bounce of a node, (3, band)."""
    canopy, low, high = (band_means(run_prosail(state, ground)) for ground in (0.0, *_GROUNDS))
    a, b = _GROUNDS
    gain_a, gain_b = (low - canopy) / a, (high - canopy) / b
    bounce = (gain_b - gain_a) / np.maximum(gain_b * b - gain_a * a, 1e-9)
    bounce = bounce.clip(0, 0.95)
    return np.stack([canopy, gain_a * (1 - a * bounce), bounce])


def main() -> None:
    """Write the table of canopies and the reflectance of the dry soil."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TABLE)
    out: Path = parser.parse_args().out
    import prosail

    shape = tuple(len(values) for values in AXES.values())
    nodes = np.empty((*shape, 3, 10), dtype=np.float16)
    for index in itertools.product(*map(range, shape)):
        state = {name: values[i] for (name, values), i in zip(AXES.items(), index, strict=True)}
        nodes[index] = _node(state)
    soils = prosail.spectral_lib.soil
    axes = {name: np.asarray(values, dtype=np.float32) for name, values in AXES.items()}
    dry = band_means(soils.rsoil1).astype(np.float32)
    np.savez_compressed(out, allow_pickle=False, nodes=nodes, soil_dry=dry, **axes)


if __name__ == "__main__":
    main()
