"""Batches of pixel sets: drawn again in each epoch, augmented, reproducible by seed."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from cubecrop.model import WEATHER, Batch, SensorArrays, Series
from cubecrop.sample import draw_positions, hash_ids
from cubecrop.training.stored import StoredTrainingSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from cubecrop.model import SampleArrays
    from cubecrop.training.config import TrainConfig
    from cubecrop.training.sets import AnySet

__all__ = ["batches", "dropped_dates", "n_batches", "random_windows"]

#: Sizes of small sets; maps classify each pixel as a set of one.
_SMALL = (1, 2, 4, 8, 16)
#: Share of members whose series are not cut to a window.
_WHOLE: Final = 0.5
#: Batches that are read from disk while the network learns from another.
_AHEAD: Final = 2


def n_batches(sets: Sequence[AnySet], config: TrainConfig) -> int:
    """Number of steps in an epoch."""
    return sum(-(-len(part.labels) // config.batch_size) for part in sets)


def batches(
    sets: Sequence[AnySet],
    deviations: Mapping[str, NDArray[np.float32]],
    config: TrainConfig,
    *,
    seed: int,
    epoch: int,
    n_days: int = 365,
) -> Iterator[tuple[Batch, Tensor]]:
    """One epoch's batches in random order; each comes from one training set.

    ``n_days`` is the length of the season, which windows need.

    The drawn pixels depend on (seed, epoch, parcel id), all else on (seed, epoch).
    """
    rng = np.random.default_rng([seed, epoch])
    order = []
    for number, part in enumerate(sets):
        shuffled = rng.permutation(len(part.labels))
        starts = range(0, len(shuffled), config.batch_size)
        order += [(number, shuffled[start : start + config.batch_size]) for start in starts]
    order = [order[index] for index in rng.permutation(len(order))]
    for number, members, held, rows in _gathered(sets, order):
        part = sets[number]
        # Tables of single pixels need no padding to the size of a parcel's set.
        size = min(config.n_pixels, max(1, int(part.drawn[members].max())))
        if rng.random() < config.small_sets:
            size = min(size, int(rng.choice(_SMALL)))
        hashes = hash_ids([part.ids[i] for i in members], seed, epoch)
        pixels = draw_positions(part.drawn[members], hashes, size)  # (member, size)
        # All sensors share a parcel's shift, since the whole season comes earlier or later.
        shift = rng.uniform(-1, 1, (len(members), 1)) * config.shift_days
        window = random_windows(len(members), n_days, config, rng)
        series = {
            name: _draw(arrays, rows, pixels, shift, window, deviations[name], config, name, rng)
            for name, arrays in held.series.items()
        }
        if config.network.fusion in {"early", "mid"}:
            # Late and decision fusion predict every parcel without each sensor, see `Outputs`.
            series = _drop_sensors(series, config, rng)
        batch = Batch(
            series,
            _features(part.geometry, members),
            _features(part.terrain, members),
        )
        yield batch, torch.from_numpy(part.labels[members])


def _gathered(
    sets: Sequence[AnySet], order: Sequence[tuple[int, NDArray[np.int64]]]
) -> Iterator[tuple[int, NDArray[np.int64], SampleArrays, NDArray[np.int64]]]:
    """Number and members of each batch, arrays that hold the members, and their rows there.

    Sets on disk are read in a thread while the network learns from earlier batches.
    """
    if not any(isinstance(part, StoredTrainingSet) for part in sets):
        for number, members in order:
            yield number, members, *sets[number].gather(members)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(order)
        ahead: deque[Future[tuple[SampleArrays, NDArray[np.int64]]]] = deque()
        for number, members in order:
            while waiting and len(ahead) < _AHEAD:
                following, own = waiting.popleft()
                ahead.append(pool.submit(sets[following].gather, own))
            yield number, members, *ahead.popleft().result()


def _features(features: NDArray[np.float32] | None, members: NDArray[np.int64]) -> Tensor | None:
    return None if features is None else torch.from_numpy(features[members])


def _draw(
    arrays: SensorArrays,
    members: NDArray[np.int64],
    pixels: NDArray[np.int64],
    shift: NDArray[np.float64],
    window: NDArray[np.float64] | None,
    deviation: NDArray[np.float32],
    config: TrainConfig,
    name: str,
    rng: np.random.Generator,
) -> Series:
    n, n_dates = len(members), len(arrays.days)
    if name == WEATHER:
        pixels = np.zeros((n, 1), dtype=np.int64)  # a set of one
    dropped = dropped_dates(arrays.days, n, name, window, config, rng)
    # Flat indices of the drawn pixels, (batch, time, pixel), among the stored ones.
    row = members[:, None] * n_dates + np.arange(n_dates)
    place = row[:, :, None] * arrays.valid.shape[2] + pixels[:, None, :]
    valid = arrays.valid.ravel()[place] & (pixels >= 0)[:, None, :]
    kept = valid & ~dropped[:, :, None]
    # If all dates of a parcel were dropped, it keeps them all: only `_drop_sensors` may remove a
    # whole sensor.
    emptied = valid.any(axis=(1, 2)) & ~kept.any(axis=(1, 2))
    kept[emptied] = valid[emptied]
    # Masked pixels are neither read nor given noise.
    values = arrays.pick(place[kept])  # (pixel, band)
    # Torch draws normal numbers in a third of NumPy's time.
    noise = torch.empty(values.shape).normal_(generator=_generator(rng))
    scale = torch.from_numpy(np.float32(config.jitter) * deviation)
    torch.from_numpy(values).addcmul_(noise, scale)
    if config.offset:
        offset = rng.standard_normal((n, values.shape[1]), dtype=np.float32)
        member = np.repeat(np.arange(n), kept.sum(axis=(1, 2)))
        values += (offset * np.float32(config.offset) * deviation)[member]
    days = torch.from_numpy((arrays.days + shift).astype(np.float32))
    if not config.shift_days:
        days = days[:1].expand(n, -1)  # a stride of 0 marks days that all members share
    thermal = None if arrays.thermal is None else torch.from_numpy(arrays.thermal[members])
    return Series(torch.from_numpy(values), torch.from_numpy(kept), days, thermal)


def dropped_dates(
    days: NDArray[np.float32],
    n: int,
    name: str,
    window: NDArray[np.float64] | None,
    config: TrainConfig,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Dates (member, time) of a series that a step leaves out, at random or outside of windows."""
    dropped = rng.random((n, len(days))) < config.date_dropout.get(name, 0.0)
    if window is not None and name != WEATHER:
        dropped |= (days < window[:, :1]) | (days > window[:, 1:])
    return dropped


def random_windows(
    n: int, n_days: int, config: TrainConfig, rng: np.random.Generator
) -> NDArray[np.float64] | None:
    """First and last day (member, 2) of the window to which each member's series are cut.

    Half of the members keep the whole season.
    """
    if config.windows is None:
        return None
    latest, earliest = config.windows
    ends = np.stack([rng.uniform(0, latest, n), rng.uniform(earliest, 1, n)], axis=1)
    ends[rng.random(n) < _WHOLE] = 0, 1
    return ends * n_days


def _generator(rng: np.random.Generator) -> torch.Generator:
    """A torch generator, seeded by a NumPy generator."""
    return torch.Generator().manual_seed(int(rng.integers(2**63)))


def _drop_sensors(
    batch: dict[str, Series], config: TrainConfig, rng: np.random.Generator
) -> dict[str, Series]:
    """Drop each sensor that may be missing from a share of members, but never the last sensor."""
    names = [name for name in batch if name in config.may_be_missing]
    for name in [names[i] for i in rng.permutation(len(names))]:
        series = batch[name]
        rest = [s.seen for key, s in batch.items() if key not in {name, WEATHER}]
        if not rest:
            continue
        others = torch.stack(rest).any(dim=0)
        drop = torch.from_numpy(rng.random(len(series.valid)) < config.sensor_dropout) & others
        batch[name] = series.keep(~drop)
    return batch
