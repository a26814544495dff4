"""What a Dask task runs: a block of series in, probabilities out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cubecrop.model import ModelReference, SensorArrays, one_thread
from cubecrop.nomenclature import NODATA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["confidence_of", "decide", "parcel_block", "pixel_block"]

#: Pixels brought into the network's order in one go; bounds the copy of a chunk.
_PIXELS = 1024


def pixel_block(
    *series: NDArray[np.float32],
    reference: ModelReference,
    sensors: Sequence[str],
    days: Sequence[NDArray[np.float32]],
    n_classes: int,
    device: str | None,
) -> NDArray[np.float32]:
    """Classify a block of pixels, each as a set of one.

    Parameters
    ----------
    *series : numpy.ndarray
        (y, x, time, band) float32 a sensor, NaN = no observation.
    reference : ModelReference
        The model.
    sensors : sequence of str
        Names of the series.
    days : sequence of numpy.ndarray
        (time,) of each series.
    n_classes : int
        Classes of the model.
    device : str or None
        Where to compute.

    Returns
    -------
    numpy.ndarray
        Probability (y, x, crop) float32, NaN where nothing can be predicted.
    """
    shape = series[0].shape[:2]
    out = np.full((shape[0] * shape[1], n_classes), np.nan, dtype=np.float32)
    predictor = reference.predictor(device)
    rows = max(1, _PIXELS // max(shape[1], 1))
    with one_thread():
        for top in range(0, shape[0], rows):
            arrays = {
                name: _singles(block[top : top + rows], when)
                for name, block, when in zip(sensors, series, days, strict=True)
            }
            start = top * shape[1]
            found = predictor(arrays)
            out[start : start + len(found)] = found
    return out.reshape(*shape, n_classes)


def parcel_block(
    *series: NDArray[np.generic],
    reference: ModelReference,
    sensors: Sequence[str],
    days: Sequence[NDArray[np.float32]],
    n_classes: int,
    device: str | None,
) -> NDArray[np.float32]:
    """Classify a block of parcels.

    Parameters
    ----------
    *series : numpy.ndarray
        A sensor's values (parcel, time, band, pixel) float32 and ``valid`` (parcel, time,
        pixel) bool, sensor by sensor.
    reference, sensors, days, n_classes, device
        As for `pixel_block`.

    Returns
    -------
    numpy.ndarray
        Probability (parcel, crop) float32, NaN where nothing can be predicted.
    """
    values, valid = series[::2], series[1::2]
    arrays = {
        name: SensorArrays(np.ascontiguousarray(v.swapaxes(2, 3)), ok.astype(bool), when)
        for name, v, ok, when in zip(sensors, values, valid, days, strict=True)
    }
    predictor = reference.predictor(device)
    with one_thread():
        found = predictor(arrays)
    return found.reshape(-1, n_classes)


def _singles(block: NDArray[np.float32], days: NDArray[np.float32]) -> SensorArrays:
    """A (y, x, time, band) block as sets of one pixel."""
    flat = np.ascontiguousarray(block).reshape(-1, 1, *block.shape[2:])
    values = flat.swapaxes(1, 2)  # (parcel, time, pixel, band)
    return SensorArrays(values, np.asarray(np.isfinite(values).all(axis=-1)), days)


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
