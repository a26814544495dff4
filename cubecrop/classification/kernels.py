"""What a Dask task runs: a block of series in, probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cubecrop.model import (
    ModelReference,
    SensorArrays,
    WeatherArrays,
    assemble,
    mean_over_pixels,
    one_thread,
    pixel_sets_of,
)
from cubecrop.nomenclature import NODATA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Inputs", "confidence_of", "decide", "parcel_block", "pixel_block"]

#: Pixels brought into the network's order in one go; bounds the copy of a chunk.
_PIXELS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the arrays of a block are: sensors with their days, weather with its own.

    ``terrain`` and ``geometry`` say whether arrays of these follow.
    """

    sensors: Sequence[str]
    days: Sequence[NDArray[np.float32]]
    weather_days: NDArray[np.float32] | None = None
    weather_variables: Sequence[str] = ()
    terrain: bool = False
    geometry: bool = False

    def weather(self, values: NDArray[np.float32]) -> WeatherArrays:
        """Weather (parcel, time, variable) with its days and variables."""
        if self.weather_days is None:
            raise ValueError("there is no weather")
        return WeatherArrays(values, self.weather_days, self.weather_variables)


def pixel_block(
    *arrays: NDArray[Any],
    reference: ModelReference,
    inputs: Inputs,
    n_classes: int,
    device: str | None,
) -> NDArray[np.float32]:
    """Classify a block of pixels, each as a set of one.

    Parameters
    ----------
    *arrays : numpy.ndarray
        (y, x, time, band) float32 a sensor, NaN = no observation; then terrain (y, x,
        variable), where ``inputs`` has it; then weather (cell, time, variable) and the cell
        of each pixel (y, x), where it has that.
    reference : ModelReference
        The model.
    inputs : Inputs
        What the arrays are.
    n_classes : int
        Classes of the model.
    device : str or None
        Where to compute.

    Returns
    -------
    numpy.ndarray
        Probability (y, x, crop) float32, NaN where nothing can be predicted.
    """
    rest = list(arrays[len(inputs.sensors) :])
    terrain = rest.pop(0) if inputs.terrain else None
    weather, cells = rest if inputs.weather_days is not None else (None, None)
    shape = arrays[0].shape[:2]
    out = np.full((shape[0] * shape[1], n_classes), np.nan, dtype=np.float32)
    predictor = reference.predictor(device)
    rows = max(1, _PIXELS // max(shape[1], 1))
    with one_thread():
        for top in range(0, shape[0], rows):
            part = slice(top, top + rows)
            series = {
                name: _singles(block[part], when)
                for name, block, when in zip(inputs.sensors, arrays, inputs.days, strict=False)
            }
            here = None
            if weather is not None and cells is not None:
                here = inputs.weather(weather[cells[part].ravel()])
            sets = assemble(
                series,
                predictor.network.config,
                weather=here,
                terrain=None if terrain is None else _flat(terrain[part]),
            )
            start = top * shape[1]
            found = predictor(sets)
            out[start : start + len(found)] = found
    return out.reshape(*shape, n_classes)


def parcel_block(
    *arrays: NDArray[Any],
    reference: ModelReference,
    inputs: Inputs,
    n_classes: int,
    device: str | None,
) -> NDArray[np.float32]:
    """Classify a block of parcels.

    Parameters
    ----------
    *arrays : numpy.ndarray
        A sensor's values (parcel, time, band, pixel) float32 and ``valid`` (parcel, time,
        pixel) bool, sensor by sensor; then terrain (parcel, variable, pixel), geometry
        (parcel, feature) and weather (parcel, time, variable), where ``inputs`` has them.
    reference, inputs, n_classes, device
        As for `pixel_block`.

    Returns
    -------
    numpy.ndarray
        Probability (parcel, crop) float32, NaN where nothing can be predicted.
    """
    n = 2 * len(inputs.sensors)
    values, valid, rest = arrays[:n:2], arrays[1:n:2], list(arrays[n:])
    terrain = rest.pop(0) if inputs.terrain else None
    geometry = rest.pop(0) if inputs.geometry else None
    predictor = reference.predictor(device)
    sets = assemble(
        {
            name: pixel_sets_of(v.swapaxes(2, 3), ok, when)
            for name, v, ok, when in zip(inputs.sensors, values, valid, inputs.days, strict=True)
        },
        predictor.network.config,
        weather=None if inputs.weather_days is None else inputs.weather(rest.pop(0)),
        terrain=None if terrain is None else mean_over_pixels(terrain),
        geometry=None if geometry is None else geometry.astype(np.float32),
    )
    with one_thread():
        found = predictor(sets)
    return found.reshape(-1, n_classes)


def _singles(block: NDArray[np.float32], days: NDArray[np.float32]) -> SensorArrays:
    """A (y, x, time, band) block as sets of one pixel."""
    values = _flat(block)[:, :, None, :]  # (parcel, time, pixel, band)
    return SensorArrays(values, np.asarray(np.isfinite(values).all(axis=-1)), days)


def _flat(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """A block (y, x, ...) as (pixel, ...)."""
    return np.ascontiguousarray(block).reshape(-1, *block.shape[2:])


def decide(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Most probable class.

    Parameters
    ----------
    probability : numpy.ndarray
        (…, crop) float32, NaN in all crops or none.

    Returns
    -------
    numpy.ndarray
        Class index (…) uint8, 255 where there is no probability.
    """
    known = np.asarray(np.isfinite(probability).all(axis=-1))
    index = np.where(known[..., None], probability, 0).argmax(axis=-1)
    return np.where(known, index, NODATA).astype(np.uint8)


def confidence_of(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability of the most probable class (…), NaN where there is none."""
    return np.asarray(probability.max(axis=-1))
