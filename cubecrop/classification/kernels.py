"""Kernels that a Dask task runs: they take a block of series and return probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cubecrop.model import (
    ModelHandle,
    SensorArrays,
    WeatherArrays,
    all_finite,
    assemble,
    mean_over_pixels,
    one_thread,
    pixel_sets_of,
    with_enough_dates,
)
from cubecrop.nomenclature import NODATA, OUTSIDE_KNOWLEDGE, TOO_FEW, decide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cubecrop.coverage import Coverage
    from cubecrop.model import Calibration, Limit, Predictor, SampleArrays
    from cubecrop.nomenclature import Nomenclature

__all__ = [
    "Inputs", "confidence_of", "dates_of", "decide_pixels", "parcel_block", "pixel_block",
    "pixel_confidence", "pixel_set_size", "pixels_at_level",
]  # fmt: skip

#: At most so many times as many pixels are copied if a mask leaves most of them out.
_SPARSE = 8
#: Pixels that are copied to the network's axis order at a time, which bounds the memory.
_PIXELS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Metadata of a block's arrays: days of each sensor, days and variables of weather.

    ``coverage`` is the minimum coverage of each sensor; with less, a sensor counts as absent.
    """

    days: Mapping[str, NDArray[np.float32]]
    coverage: Mapping[str, Coverage]
    weather_days: NDArray[np.float32] | None = None
    weather_variables: Sequence[str] = ()

    def weather(self, values: NDArray[np.float32]) -> WeatherArrays:
        """Weather (parcel, time, variable) with its days and variables."""
        if self.weather_days is None:
            raise ValueError("the inputs have no weather")
        return WeatherArrays(values, self.weather_days, self.weather_variables)


def pixel_block(
    *arrays: NDArray[Any],
    names: Sequence[str],
    reference: ModelHandle,
    inputs: Inputs,
    n_classes: int,
    device: str | None,
    distant: bool = False,
) -> NDArray[np.float32]:
    """Classify a block of pixels, each as a set of one.

    Parameters
    ----------
    *arrays : numpy.ndarray
        In the order of ``names``: a sensor's series (y, x, time, band) float32, NaN = no
        observation; "terrain" (y, x, variable); "weather" (cell, time, variable) and the index
        "cell" (y, x) of each pixel's weather cell; "land" (y, x) uint8, 0 where the network
        classifies. Without "land" it classifies all pixels.
    names : sequence of str
        Name of each array: the sensors of ``inputs``, and the model's other inputs.
    reference : ModelHandle
        The model handle.
    inputs : Inputs
        Metadata of the arrays.
    n_classes : int
        Number of the model's classes.
    device : str or None
        Device that computes.
    distant : bool, default False
        Compute the dissimilarity to the training parcels as well.

    Returns
    -------
    numpy.ndarray
        (y, x, crop and sensor) float32: probabilities, NaN without prediction, then the number of
        valid dates of each sensor, then the dissimilarity.
    """
    named = dict(zip(names, arrays, strict=True))
    land = named.get("land")
    terrain, weather = named.get("terrain"), named.get("weather")
    shape = arrays[0].shape[:2]
    width = n_classes + len(inputs.days) + distant
    out = np.full((shape[0] * shape[1], width), np.nan, dtype=np.float32)
    predictor = reference.predictor(device)
    rows = max(1, _PIXELS * _thinned(land) // max(shape[1], 1))
    with one_thread():
        for top in range(0, shape[0], rows):
            part = slice(top, top + rows)
            series = {name: _singles(named[name][part], days) for name, days in inputs.days.items()}
            pixels = np.arange(top * shape[1], min(top + rows, shape[0]) * shape[1])
            for column, name in enumerate(inputs.days, n_classes):
                out[pixels, column] = series[name].dates
            kept: NDArray[np.int64] | slice = slice(None)
            if land is not None:
                kept = np.flatnonzero(land[part].ravel() == 0)
                if len(kept) == 0:
                    continue
                series = {name: sensor.take(kept) for name, sensor in series.items()}
            part_weather = None
            if weather is not None:
                part_weather = inputs.weather(weather[named["cell"][part].ravel()[kept]])
            sets = assemble(
                series,
                predictor.network.config,
                weather=part_weather,
                terrain=None if terrain is None else _flat(terrain[part])[kept],
            )
            chosen = pixels[kept]
            seen = with_enough_dates(sets, inputs.coverage)
            found, dissimilarity = _predicted(predictor, reference, seen, distant=distant)
            out[chosen, :n_classes] = found
            if distant:
                out[chosen, -1] = dissimilarity
            for column, name in enumerate(inputs.days, n_classes):
                out[chosen, column] = sets.series[name].dates
    return out.reshape(*shape, width)


def _thinned(land: NDArray[np.uint8] | None) -> int:
    """How many pixels to copy for each that the network classifies, so that batches stay large."""
    if land is None or not land.size:
        return 1
    return min(_SPARSE, -(-land.size // max(1, int((land == 0).sum()))))


def parcel_block(
    *arrays: NDArray[Any],
    names: Sequence[str],
    reference: ModelHandle,
    inputs: Inputs,
    n_classes: int,
    device: str | None,
    distant: bool = False,
) -> NDArray[np.float32]:
    """Classify a block of parcels.

    Parameters
    ----------
    *arrays : numpy.ndarray
        In the order of ``names``: a sensor's values (parcel, time, band, pixel) float32;
        "valid:SENSOR" (parcel, time, pixel) bool, its valid pixels; "terrain" (parcel, variable,
        pixel); "geometry" (parcel, feature); "weather" (parcel, time, variable).
    names, reference, inputs, n_classes, device, distant
        As for `pixel_block`.

    Returns
    -------
    numpy.ndarray
        Probability (parcel, crop) float32, NaN without prediction, then the dissimilarity.
    """
    named = dict(zip(names, arrays, strict=True))
    terrain, geometry, weather = (named.get(name) for name in ("terrain", "geometry", "weather"))
    predictor = reference.predictor(device)
    sets = assemble(
        {
            name: pixel_sets_of(named[name].swapaxes(2, 3), named[f"valid:{name}"], days)
            for name, days in inputs.days.items()
        },
        predictor.network.config,
        weather=None if weather is None else inputs.weather(weather),
        terrain=None if terrain is None else mean_over_pixels(terrain),
        geometry=None if geometry is None else geometry.astype(np.float32),
    )
    with one_thread():
        seen = with_enough_dates(sets, inputs.coverage)
        probability, dissimilarity = _predicted(predictor, reference, seen, distant=distant)
    if not distant:
        return probability.reshape(-1, n_classes)
    return np.concatenate([probability, dissimilarity[:, None]], axis=1)


def _predicted(
    predictor: Predictor, reference: ModelHandle, sets: SampleArrays, *, distant: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities (parcel, crop), and dissimilarities (parcel,) if they are wanted."""
    space = reference.model().training_space if distant else None
    if space is None:
        return predictor(sets), np.full(len(sets), np.nan, dtype=np.float32)
    probability, embedding = predictor.with_embedding(sets)
    return probability, space.dissimilarity(embedding)


def dates_of(valid: NDArray[np.bool_], *, days: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count, range and longest gap of the dates on which a parcel has a valid pixel.

    Parameters
    ----------
    valid : numpy.ndarray
        (parcel, time, pixel) bool.
    days : numpy.ndarray
        (time,) int64, days since any fixed date.

    Returns
    -------
    numpy.ndarray
        (parcel, 4) int64: number of valid dates, first and last of them, and most days between
        consecutive ones; all 0 for a parcel without a valid date.
    """
    order = np.argsort(days, kind="stable")
    when, dated = days[order], np.asarray(valid.any(axis=2))[:, order]  # (parcel, time)
    none = np.iinfo(np.int64).min
    latest = np.maximum.accumulate(
        np.where(dated, when, none), axis=1
    )  # last valid date up to each date
    gaps = np.where(dated[:, 1:] & (latest[:, :-1] > none), when[1:] - latest[:, :-1], 0)
    number = dated.sum(axis=1)
    first = np.where(dated, when, np.iinfo(np.int64).max).min(axis=1, initial=when.max(initial=0))
    last = latest.max(axis=1, initial=none)
    out = np.stack([number, first, last, gaps.max(axis=1, initial=0)], axis=1)
    out[number == 0] = 0
    return out


def _singles(block: NDArray[np.float32], days: NDArray[np.float32]) -> SensorArrays:
    """Convert a block (y, x, time, band) to sets of one pixel."""
    values = _flat(block)[:, :, None, :]  # (parcel, time, pixel, band)
    return SensorArrays(values, all_finite(values), days)


def _flat(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reshape a block (y, x, ...) to (pixel, ...)."""
    return np.ascontiguousarray(block).reshape(-1, *block.shape[2:])


def decide_pixels(
    columns: NDArray[np.float32],
    *,
    n_classes: int,
    needed: Sequence[bool],
    limit: Limit | None = None,
) -> NDArray[np.uint8]:
    """Class of each pixel, or the reason why it has no class.

    Parameters
    ----------
    columns : numpy.ndarray
        (y, x, crop and sensor) float32, as from `pixel_block`.
    n_classes : int
        Number of the model's classes.
    needed : sequence of bool
        Whether the model needs each sensor.
    limit : Limit, optional
        The limit of the model's knowledge; the last column then is the dissimilarity.

    Returns
    -------
    numpy.ndarray
        Class index (y, x) uint8; 253 beyond the limit. A pixel without a prediction is 254 if it
        has an observation of every needed sensor and of at least one sensor, but too few
        observations; else it is 255.
    """
    observed = columns[..., n_classes : n_classes + len(needed)] > 0
    index = np.where(_beyond(columns, limit), OUTSIDE_KNOWLEDGE, decide(columns[..., :n_classes]))
    some = observed.any(axis=-1) & observed[..., np.array(needed, dtype=bool)].all(axis=-1)
    return np.where((index == NODATA) & some, TOO_FEW, index).astype(np.uint8)


def _beyond(columns: NDArray[np.float32], limit: Limit | None) -> NDArray[np.bool_]:
    """Which pixels (y, x) are outside of what the model knows; those without prediction are not."""
    if limit is None:
        return np.zeros(columns.shape[:-1], dtype=bool)
    return np.asarray(columns[..., -1] > limit.dissimilarity)


def confidence_of(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability of the most probable class (…), NaN without prediction."""
    return np.asarray(probability.max(axis=-1))


def pixel_confidence(
    columns: NDArray[np.float32], *, n_classes: int, limit: Limit | None = None
) -> NDArray[np.float32]:
    """Confidence (y, x) from the columns of `pixel_block`; NaN for a pixel without a class."""
    found = confidence_of(columns[..., :n_classes])
    return np.where(_beyond(columns, limit), np.float32(np.nan), found)


def pixel_set_size(
    columns: NDArray[np.float32],
    *,
    n_classes: int,
    calibration: Calibration,
    limit: Limit | None = None,
) -> NDArray[np.uint8]:
    """Number of crops (y, x) in the crop set; 0 for a pixel without a class."""
    inside = calibration.crop_sets(columns[..., :n_classes])
    sizes = np.where(_beyond(columns, limit), 0, inside.sum(axis=-1))
    return sizes.astype(np.uint8)


def pixels_at_level(
    columns: NDArray[np.float32], *, nomenclature: Nomenclature, limit: Limit, what: int
) -> NDArray[np.uint8]:
    """What `Nomenclature.finest` says of pixels, (y, x): 0 the node, 1 the level; 255 is none."""
    found = nomenclature.finest(columns[..., : len(nomenclature)], limit.probability)[what]
    return np.where(_beyond(columns, limit), NODATA, found).astype(np.uint8)
