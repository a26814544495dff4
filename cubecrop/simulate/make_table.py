"""Make the table of canopy reflectance that the package ships.

Run ``python -m cubecrop.simulate.make_table``; it needs the extra ``simulate-table`` and takes
about a minute. For each node of its axes the table holds three numbers a band, from which
follows the reflectance over any ground::

    canopy + ground * through / (1 - ground * bounce)

This is how SAIL itself places a soil, with ``through`` gathered over direct and diffuse light.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.simulate.bands import band_means
from cubecrop.simulate.canopy import AXES, TABLE, VIEW, leaf_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["main", "run_prosail"]

_GROUNDS: Final = (0.15, 0.45)


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
    """Canopy, through and bounce, (3, band)."""
    canopy, low, high = (band_means(run_prosail(state, ground)) for ground in (0.0, *_GROUNDS))
    a, b = _GROUNDS
    gain_a, gain_b = (low - canopy) / a, (high - canopy) / b
    bounce = (gain_b - gain_a) / np.maximum(gain_b * b - gain_a * a, 1e-9)
    bounce = bounce.clip(0, 0.95)
    return np.stack([canopy, gain_a * (1 - a * bounce), bounce])


def main() -> None:
    """Write the table, and the soils, litter and petals beside it."""
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
