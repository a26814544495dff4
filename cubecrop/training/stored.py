"""Training sets on disk: batches are read from stored pixel sets when they are drawn."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cubecrop.model import (
    WEATHER,
    SampleArrays,
    SensorArrays,
    WeatherArrays,
    all_finite,
    assemble,
    days_since_start,
    keep_freed_memory,
    mean_over_pixels,
)
from cubecrop.sample import StoredSets, draw_positions, hash_ids
from cubecrop.sample.shards import NODATA, pick

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from cubecrop.model import NetworkConfig
    from cubecrop.season import Season

__all__ = ["StoredTrainingSet", "block_rows", "stored_training_set"]

#: Pixels on dates of all sensors that are in memory at a time: 28 MB of ten bands, which the
#: allocator keeps for the next block, see `keep_freed_memory`.
_WORK: Final = 700_000


def block_rows(dates: Sequence[int], n_pixels: int) -> int:
    """Number of parcels that are processed at a time, from the dates of each sensor."""
    return max(1, _WORK // max(1, sum(dates) * n_pixels))


class _Numbers(SensorArrays):
    """Pixel sets whose values are as stored; only those that are picked are unpacked."""

    __slots__ = ()

    def pick(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        return pick(self.values.reshape(-1, self.values.shape[-1]), index)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredTrainingSet:
    """Pixel sets on disk, and the class indices and ids of their parcels.

    It has the properties and methods of `cubecrop.training.sets.TrainingSet`, and gives the same
    values. ``seen`` has the dates of each sensor with a valid pixel, as bits (parcel, byte).
    ``pixels`` (parcel, pixel) are the only pixels of the set, if it has fewer than are stored.
    """

    source: StoredSets
    season: Season
    config: NetworkConfig
    ids: Sequence[object]
    labels: NDArray[np.int64]
    drawn: NDArray[np.int64]
    geometry: NDArray[np.float32] | None = None
    terrain: NDArray[np.float32] | None = None
    seen: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    pixels: NDArray[np.int64] | None = None

    @property
    def groups(self) -> list[object]:
        """Names of the parcels' groups; the ids where there are none."""
        root = self.source.root
        return root["group"].to_numpy().tolist() if "group" in root else list(self.ids)

    @property
    def names(self) -> list[str]:
        """The satellite series, and weather if the network takes it."""
        return [*self._sensors, *([WEATHER] if self.config.weather else [])]

    @property
    def _sensors(self) -> list[str]:
        return [one.name for one in self.config.sensors if one.name in self.source.nodes]

    def days(self, name: str) -> NDArray[np.float32]:
        """Days (time,) of a sensor since the season's start."""
        return days_since_start(self.source.nodes[name]["time"].to_numpy(), self.season)

    def dated(self, name: str) -> NDArray[np.bool_]:
        """Which dates of a sensor have a valid pixel, (parcel, time)."""
        n = self.source.nodes[name].sizes["time"]
        return np.unpackbits(self.seen[name], axis=1, count=n).astype(bool)

    def take(self, index: NDArray[np.int64]) -> StoredTrainingSet:
        """Some of the parcels, by position."""
        return replace(
            self,
            source=self.source.take(index),
            ids=[self.ids[i] for i in index],
            labels=self.labels[index],
            drawn=self.drawn[index],
            geometry=None if self.geometry is None else self.geometry[index],
            terrain=None if self.terrain is None else self.terrain[index],
            seen={name: bits[index] for name, bits in self.seen.items()},
            pixels=None if self.pixels is None else self.pixels[index],
        )

    def drawn_once(self, n_pixels: int, seed: int) -> StoredTrainingSet:
        """The same parcels with at most ``n_pixels`` drawn pixels each, as at prediction."""
        width = max(1, min(n_pixels, int(self.drawn.max(initial=1))))
        pixels = draw_positions(self.drawn, hash_ids(self.ids, seed, "validation"), width)
        if self.pixels is not None:  # positions among those that were drawn before
            before = np.take_along_axis(self.pixels, np.maximum(pixels, 0), axis=1)
            pixels = np.where(pixels >= 0, before, -1)
        return replace(self, pixels=pixels, drawn=np.minimum(self.drawn, width))

    def gather(self, members: NDArray[np.int64]) -> tuple[SampleArrays, NDArray[np.int64]]:
        """Read some parcels; see `cubecrop.training.sets.TrainingSet.gather`."""
        series: dict[str, SensorArrays] = {}
        for name in self._sensors:
            numbers = self._in_order(name, self.source.numbers(name, members))
            # A packed pixel is masked in all bands or in none.
            is_packed = numbers.dtype == np.uint16
            valid = numbers[..., 0] != NODATA if is_packed else all_finite(numbers)
            series[name] = _Numbers(numbers, valid, self.days(name))
        return self._assembled(series, members, self.names), np.arange(len(members))

    def blocks(self, *names: str) -> Iterator[SampleArrays]:
        """All parcels, some at a time; of the named series, by default of all."""
        width = self.source.n_pixels if self.pixels is None else self.pixels.shape[1]
        dates = [self.source.nodes[name].sizes["time"] for name in self._sensors]
        step = block_rows(dates, width)
        for start in range(0, len(self.labels), step):
            index = np.arange(start, min(start + step, len(self.labels)))
            pixels = None if self.pixels is None else self.pixels[index]
            series = {}
            for name in self._sensors:
                if not names or name in names:
                    values = self._in_order(name, self.source.values(name, index, pixels))
                    series[name] = SensorArrays(values, all_finite(values), self.days(name))
            yield self._assembled(series, index, names or self.names)

    def digest(self) -> str:
        """SHA-256 over all that training uses."""
        source = self.source
        about = [self.ids, self.groups, source.digests, self.season.attrs, self.config.to_dict()]
        hashed = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
        for array in (source.pieces, source.starts, self.labels, self.drawn):
            hashed.update(np.ascontiguousarray(array).tobytes())
        return hashed.hexdigest()

    def _in_order(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """Values (parcel, time, pixel, band) with the bands in the network's order."""
        wanted = next(sensor.bands for sensor in self.config.sensors if sensor.name == name)
        bands = self.source.nodes[name]["band"].to_numpy().tolist()
        if bands == list(wanted):
            return values
        return np.ascontiguousarray(values[..., [bands.index(band) for band in wanted]])

    def _assembled(
        self, series: Mapping[str, SensorArrays], index: NDArray[np.int64], names: Sequence[str]
    ) -> SampleArrays:
        weather = None
        if self.config.needs_thermal_time or (self.config.weather and WEATHER in names):
            node = self.source.nodes[WEATHER]
            weather = WeatherArrays(
                self.source.weather(index),
                days_since_start(node["time"].to_numpy(), self.season),
                [str(name) for name in node["variable"].to_numpy()],
            )
        return assemble(
            series,
            self.config,
            weather=weather,
            geometry=None if self.geometry is None else self.geometry[index],
            terrain=None if self.terrain is None else self.terrain[index],
        )


def stored_training_set(
    source: StoredSets, season: Season, labels: NDArray[np.int64], config: NetworkConfig
) -> StoredTrainingSet:
    """The parcels with a valid pixel; reads all pixels once, a bounded number at a time."""
    keep_freed_memory()
    root = source.root
    counts = root["pixel_count"].to_numpy()
    whole = StoredTrainingSet(
        source=source,
        season=season,
        config=config,
        ids=root["parcel"].to_numpy().tolist(),
        labels=labels,
        drawn=np.minimum(counts, source.n_pixels).astype(np.int64),
        geometry=root["geometry"].to_numpy().astype(np.float32) if config.geometry else None,
        terrain=_terrain(source, config) if config.terrain else None,
    )
    sensors = [name for name in whole.names if name != WEATHER]
    bits: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in sensors}
    used = []
    for block in whole.blocks():
        dated = {name: block.series[name].dated for name in sensors}
        for name in sensors:
            bits[name].append(np.packbits(dated[name], axis=1))
        used.append(np.any([one.any(axis=1) for one in dated.values()], axis=0))
    whole = replace(whole, seen={name: np.concatenate(parts) for name, parts in bits.items()})
    chosen = np.concatenate(used)
    return whole if chosen.all() else whole.take(np.flatnonzero(chosen))


def _terrain(source: StoredSets, config: NetworkConfig) -> NDArray[np.float32]:
    """Mean terrain of the parcels, (parcel, variable)."""
    names = [str(name) for name in source.nodes["terrain"]["variable"].to_numpy()]
    order = [names.index(name) for name in config.terrain_variables]
    parts = []
    for index in source.blocks():
        values = source.values("terrain", index)[:, 0]  # (parcel, pixel, variable)
        parts.append(mean_over_pixels(np.moveaxis(values, 1, 2)[:, order]))
    return np.concatenate(parts)
