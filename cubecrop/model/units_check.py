"""Check that pixel sets have the units of a model's training, by the numbers themselves.

Reflectance as DN or in percent, radar in linear power, and codes such as -9999 among valid pixels
have the right names and shapes, and would give wrong classes without any other sign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.errors import ModelMismatchError
from cubecrop.schema import SERIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cubecrop.model.arrays import SampleArrays, SensorArrays
    from cubecrop.model.networks import CropNetwork

__all__ = ["check_units"]

#: Multiples of the usual size of training, |mean| + 3 deviations, that no land reaches: in the mean
#: of its reflectance or backscatter, and in a single pixel. DN are 10,000 times, percent 100 times
#: reflectance.
_MEAN: Final = 10.0
_SINGLE: Final = 400.0
#: The mean of reflectance is never so much smaller than that of training.
_TINY: Final = 1e-3
#: Decibels of land are negative nearly everywhere; linear power never is.
_FEW_NEGATIVE: Final = 0.01
#: Parcels that are looked at together, and rows of values that means are taken of.
_AT_ONCE: Final = 256
_ROWS: Final = 20_000


def check_units(arrays: SampleArrays, network: CropNetwork) -> None:
    """Raise if valid values of a sensor are of other units than in training.

    Parameters
    ----------
    arrays : SampleArrays
        Pixel sets in the model's bands.
    network : CropNetwork
        Knows mean and deviation of each band in training.

    Raises
    ------
    ModelMismatchError
        The message names the sensor and gives values of both.
    """
    for name in (name for name in SERIES if name in arrays.series):
        mean, deviation = (part.detach().cpu().numpy() for part in network.scaling(name))
        usual = np.abs(mean) + 3 * deviation  # (band,)
        rows = _rows(arrays.series[name])
        if len(rows) == 0:
            continue
        for values in _valid(arrays.series[name]):
            if (odd := np.abs(values) > _SINGLE * usual).any():
                seen = f"{np.count_nonzero(odd)} valid values such as {values[odd][0]:g}"
                raise _mismatch(name, seen, mean, deviation)
        size = np.abs(rows).mean(axis=0, dtype=np.float64)
        if (
            np.median(size / np.maximum(usual, 1e-30)) > _MEAN
            or (name == "sentinel2" and (size < _TINY * np.abs(mean)).all())
            or (name == "sentinel1" and (mean < 0).all() and (rows < 0).mean() < _FEW_NEGATIVE)
        ):
            raise _mismatch(name, f"values such as {_text(rows)}", mean, deviation)


def _valid(sensor: SensorArrays) -> Iterator[NDArray[np.float32]]:
    """Valid values (row, band), those of some parcels at a time."""
    for start in range(0, len(sensor.valid), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        yield sensor.values[part][sensor.valid[part]]


def _rows(sensor: SensorArrays) -> NDArray[np.float32]:
    """Valid values (row, band), evenly taken from all of them."""
    places = np.flatnonzero(sensor.valid)
    return sensor.pick(places[:: -(-len(places) // _ROWS) or 1])


def _text(rows: NDArray[np.float32]) -> str:
    return ", ".join(f"{value:.4g}" for value in np.median(rows, axis=0)[:3])


def _mismatch(
    name: str, seen: str, mean: NDArray[np.float32], deviation: NDArray[np.float32]
) -> ModelMismatchError:
    unit = "dB" if name == "sentinel1" else "reflectance of 0 to 1"
    trained = ", ".join(f"{m:.3g} ± {d:.2g}" for m, d in zip(mean[:3], deviation[:3], strict=True))
    return ModelMismatchError(
        f"{name} has {seen}, but the model was trained on {trained} in its first bands: the units "
        f"differ, or codes for missing values are marked as valid. Convert {SERIES[name]} to the "
        f"units of training (season cubes have {unit}), and set `valid` to False where nothing is."
    )
