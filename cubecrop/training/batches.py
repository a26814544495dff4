"""Batches of pixel sets: drawn anew each epoch, augmented, the same for a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cubecrop.model import WEATHER, Batch, SensorArrays, Series
from cubecrop.sample import draw_positions, hash_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from cubecrop.training.config import TrainConfig
    from cubecrop.training.sets import TrainingSet

__all__ = ["batches", "n_batches"]

#: Sizes of small sets; a map's pixels are sets of one.
_SMALL = (1, 2, 4, 8, 16)


def n_batches(sets: Sequence[TrainingSet], config: TrainConfig) -> int:
    """Steps of an epoch."""
    return sum(-(-len(one.labels) // config.batch_size) for one in sets)


def batches(
    sets: Sequence[TrainingSet],
    deviations: Mapping[str, NDArray[np.float32]],
    config: TrainConfig,
    *,
    seed: int,
    epoch: int,
) -> Iterator[tuple[Batch, Tensor]]:
    """One epoch's batches, in random order, each of one training set.

    Which pixels are drawn depends on (seed, epoch, parcel id); the rest on (seed, epoch).
    """
    rng = np.random.default_rng([seed, epoch])
    order = []
    for number, one in enumerate(sets):
        shuffled = rng.permutation(len(one.labels))
        starts = range(0, len(shuffled), config.batch_size)
        order += [(number, shuffled[start : start + config.batch_size]) for start in starts]
    for index in rng.permutation(len(order)):
        number, members = order[index]
        one = sets[number]
        # Tables of single pixels need no padding to the size of a parcel's set.
        size = min(config.n_pixels, max(1, int(one.drawn[members].max())))
        if rng.random() < config.small_sets:
            size = min(size, int(rng.choice(_SMALL)))
        hashes = hash_ids([one.ids[i] for i in members], seed, epoch)
        pixels = draw_positions(one.drawn[members], hashes, size)  # (member, size)
        # One shift for all sensors: it is the season that comes early, not a satellite.
        shift = rng.uniform(-1, 1, (len(members), 1)) * config.shift_days
        series = {
            name: _draw(arrays, members, pixels, shift, deviations[name], config, name, rng)
            for name, arrays in one.arrays.series.items()
        }
        if config.network.fusion in {"early", "mid"}:
            # Late and decision fusion learn to lack a sensor from all parcels, see `Outputs`.
            series = _drop_sensors(series, config, rng)
        batch = Batch(
            series, _features(one.arrays.geometry, members), _features(one.arrays.terrain, members)
        )
        yield batch, torch.from_numpy(one.labels[members])


def _features(features: NDArray[np.float32] | None, members: NDArray[np.int64]) -> Tensor | None:
    return None if features is None else torch.from_numpy(features[members])


def _draw(
    arrays: SensorArrays,
    members: NDArray[np.int64],
    pixels: NDArray[np.int64],
    shift: NDArray[np.float64],
    deviation: NDArray[np.float32],
    config: TrainConfig,
    name: str,
    rng: np.random.Generator,
) -> Series:
    n, n_dates = len(members), len(arrays.days)
    if name == WEATHER:
        pixels = np.zeros((n, 1), dtype=np.int64)  # a set of one
    dropped = rng.random((n, n_dates)) < config.date_dropout.get(name, 0.0)
    # Places of the drawn pixels, (batch, time, pixel), among all that are stored.
    row = members[:, None] * n_dates + np.arange(n_dates)
    place = row[:, :, None] * arrays.valid.shape[2] + pixels[:, None, :]
    valid = arrays.valid.ravel()[place] & (pixels >= 0)[:, None, :]
    kept = valid & ~dropped[:, :, None]
    # A parcel keeps a date where it has one: whole sensors are dropped on purpose only.
    bare = valid.any(axis=(1, 2)) & ~kept.any(axis=(1, 2))
    kept[bare] = valid[bare]
    # What is masked is neither read nor given noise.
    values = arrays.values.reshape(-1, arrays.values.shape[-1])[place[kept]]  # (pixel, band)
    # torch's generator takes a third of the time of numpy's.
    noise = torch.empty(values.shape).normal_(generator=_generator(rng))
    scale = torch.from_numpy(np.float32(config.jitter) * deviation)
    torch.from_numpy(values).addcmul_(noise, scale)
    if config.offset:
        offset = rng.standard_normal((n, values.shape[1]), dtype=np.float32)
        member = np.repeat(np.arange(n), kept.sum(axis=(1, 2)))
        values += (offset * np.float32(config.offset) * deviation)[member]
    days = torch.from_numpy((arrays.days + shift).astype(np.float32))
    if not config.shift_days:
        days = days[:1].expand(n, -1)  # shared, which a stride of 0 says
    thermal = None if arrays.thermal is None else torch.from_numpy(arrays.thermal[members])
    return Series(torch.from_numpy(values), torch.from_numpy(kept), days, thermal)


def _generator(rng: np.random.Generator) -> torch.Generator:
    """A generator of torch's, seeded by one of numpy's."""
    return torch.Generator().manual_seed(int(rng.integers(2**63)))


def _drop_sensors(
    batch: dict[str, Series], config: TrainConfig, rng: np.random.Generator
) -> dict[str, Series]:
    """Drop each sensor that may be missing from a share of members, never the last one."""
    names = [name for name in batch if name in config.may_be_missing]
    for name in [names[i] for i in rng.permutation(len(names))]:
        series = batch[name]
        rest = [s.seen for key, s in batch.items() if key not in {name, WEATHER}]
        if not rest:
            continue
        others = torch.stack(rest).any(dim=0)
        away = torch.from_numpy(rng.random(len(series.valid)) < config.sensor_dropout) & others
        batch[name] = series.keep(~away)
    return batch
