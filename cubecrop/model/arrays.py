"""Pixel sets as arrays that a network can take."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr

from cubecrop.model.config import WEATHER
from cubecrop.model.thermal import degree_days, thermal_time
from cubecrop.schema import SERIES, check_pixel_sets
from cubecrop.season import Season

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from cubecrop.coverage import Coverage
    from cubecrop.model.config import NetworkConfig
    from cubecrop.model.record import Window

__all__ = [
    "SampleArrays", "SensorArrays", "WeatherArrays", "all_finite", "assemble", "days_since_start",
    "in_bands", "in_window", "mean_over_pixels", "pixel_sets_of", "sample_arrays", "season_of",
    "sensor_arrays", "with_enough_dates",
]  # fmt: skip

#: Days over which a network's weather is averaged: fewer steps and less noise than daily values.
_WEATHER_STEP: Final = 10.0


@dataclass(frozen=True, slots=True)
class SensorArrays:
    """Pixel sets of one satellite series or of weather, in memory.

    ``values`` (parcel, time, pixel, band) float32, ``valid`` (parcel, time, pixel) bool,
    ``days`` (time,) float32 since the season's start, ``thermal`` (parcel, time) float32
    degree days where they are needed.
    """

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    days: NDArray[np.float32]
    thermal: NDArray[np.float32] | None = None

    @property
    def dated(self) -> NDArray[np.bool_]:
        """Which dates have a valid pixel, (parcel, time)."""
        single_pixel = self.valid.shape[2] == 1
        return self.valid[:, :, 0] if single_pixel else np.asarray(self.valid.any(axis=2))

    @property
    def dates(self) -> NDArray[np.int64]:
        """Valid dates of each parcel, (parcel,)."""
        return np.asarray(self.dated.sum(axis=1))

    def pick(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """A copy of the values of some pixels, (pixel, band), by flat (parcel, time, pixel)."""
        return self.values.reshape(-1, self.values.shape[-1])[index]

    def take(self, index: NDArray[np.int64] | slice) -> SensorArrays:
        """Some of the parcels."""
        thermal = None if self.thermal is None else self.thermal[index]
        return replace(self, values=self.values[index], valid=self.valid[index], thermal=thermal)


@dataclass(frozen=True, slots=True)
class WeatherArrays:
    """Weather (parcel, time, variable) in the units of the schema, and its days (time,)."""

    values: NDArray[np.float32]
    days: NDArray[np.float32]
    variables: Sequence[str]


@dataclass(frozen=True, slots=True)
class SampleArrays:
    """All inputs of a network for some parcels: series by name, features (parcel, feature)."""

    series: Mapping[str, SensorArrays] = field(default_factory=dict)
    geometry: NDArray[np.float32] | None = None
    terrain: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.series.values())).valid)

    def take(self, index: NDArray[np.int64] | slice) -> SampleArrays:
        """Some of the parcels."""
        return SampleArrays(
            {name: sensor.take(index) for name, sensor in self.series.items()},
            None if self.geometry is None else self.geometry[index],
            None if self.terrain is None else self.terrain[index],
        )

    def without(self, name: str) -> SampleArrays:
        """The same arrays without one of the series."""
        others = {key: sensor for key, sensor in self.series.items() if key != name}
        return replace(self, series=others)


def season_of(tree: xr.DataTree) -> Season:
    """The season that a cube or pixel sets were made for, from their attributes.

    Raises
    ------
    SchemaError
        An attribute is missing, or the attributes do not form a season.
    """
    return Season.from_attrs(tree.attrs)


def in_bands(tree: xr.DataTree, config: NetworkConfig) -> xr.DataTree:
    """The tree with each sensor's bands in the network's order."""
    bands = {sensor.name: list(sensor.bands) for sensor in config.sensors}
    nodes = {"/": tree.to_dataset()}
    for name in tree.children:
        node = tree.children[name].to_dataset(inherit=False)
        ordered = name not in bands or node["band"].to_numpy().tolist() == bands[name]
        nodes[name] = node if ordered else node.sel(band=bands[name])
    return xr.DataTree.from_dict(nodes, name=tree.name)


def in_window(tree: xr.DataTree, window: Window) -> xr.DataTree:
    """The tree with another season window; days then count from that window's first day."""
    out = tree.copy()
    out.attrs = {**tree.attrs, **season_of(tree).with_window(window).attrs}
    return out


def days_since_start(time: NDArray[np.datetime64], season: Season) -> NDArray[np.float32]:
    """Whole days since the season's start.

    Days are whole, so that the few seconds between the tiles of one pass change no prediction.
    """
    start = np.datetime64(season.start, "D")
    return (time.astype("datetime64[D]") - start).astype(np.float32)


def assemble(
    series: Mapping[str, SensorArrays],
    config: NetworkConfig,
    *,
    weather: WeatherArrays | None = None,
    geometry: NDArray[np.float32] | None = None,
    terrain: NDArray[np.float32] | None = None,
) -> SampleArrays:
    """Arrange sensors, weather and features as inputs of the configured network.

    If the network needs thermal time, all dates of a parcel without weather are masked.
    """
    out = dict(series)
    if config.needs_thermal_time and weather is not None:
        daily = degree_days(weather.values, weather.variables, config.thermal_source)
        for name, sensor in series.items():
            thermal = thermal_time(daily, weather.days, sensor.days)
            known = np.isfinite(thermal)
            out[name] = replace(
                sensor, valid=sensor.valid & known[:, :, None], thermal=np.nan_to_num(thermal)
            )
    if config.weather and weather is not None:
        columns = [list(weather.variables).index(v) for v in config.weather_variables]
        out[WEATHER] = _steps(weather.values[..., columns], weather.days)
    return SampleArrays(
        out,
        geometry if config.geometry else None,
        terrain if config.terrain else None,
    )


def with_enough_dates(arrays: SampleArrays, coverage: Mapping[str, Coverage]) -> SampleArrays:
    """Mask each sensor in the parcels where it has fewer observations than a model needs.

    The network then treats the sensor as absent in these parcels.
    """
    series = dict(arrays.series)
    for name, required in coverage.items():
        if (sensor := series.get(name)) is None:
            continue
        enough = required.is_enough(sensor.dated, sensor.days)
        if not enough.all():
            series[name] = replace(sensor, valid=sensor.valid & enough[:, None, None])
    return replace(arrays, series=series)


def pixel_sets_of(
    values: NDArray[np.generic], valid: NDArray[np.generic], days: NDArray[np.float32]
) -> SensorArrays:
    """Pixel sets from values (parcel, time, pixel, band); a pixel without a band is not valid."""
    numbers = np.ascontiguousarray(values, dtype=np.float32)
    return SensorArrays(numbers, valid.astype(bool) & all_finite(numbers), days)


def all_finite(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether the numbers along the last axis are all finite, (...)."""
    # A matrix product is many times faster than a reduction along a short axis. A value that is
    # not finite makes the sum not finite. The scale keeps sums of float32 from overflowing.
    scale = np.full(values.shape[-1], np.float32(2.0**-20))
    with np.errstate(invalid="ignore"):
        sums = values.reshape(-1, values.shape[-1]) @ scale
    return np.asarray(np.isfinite(sums)).reshape(values.shape[:-1])


def _days(time: NDArray[np.datetime64], samples: xr.DataTree) -> NDArray[np.float32]:
    """Days since the season's start, or since the first date of samples without a season.

    Samples for published weights have no season: these networks count from the first date.
    """
    if "season_start" in samples.attrs or not len(time):
        return days_since_start(time, season_of(samples))
    days = time.astype("datetime64[D]")
    return np.asarray(days - days.min(), dtype=np.float32)


def sensor_arrays(samples: xr.DataTree, sensors: Iterable[str]) -> Mapping[str, SensorArrays]:
    """Load sensors of pixel sets; lazy arrays are computed, all sensors in one pass.

    Parameters
    ----------
    samples : xarray.DataTree
        Pixel sets.
    sensors : iterable of str
        Children to load.

    Returns
    -------
    mapping
        Sensor name to `SensorArrays`.
    """
    wanted = list(sensors)
    check_pixel_sets(samples, needs=wanted)
    tree = xr.DataTree.from_dict(
        {
            name: samples.children[name].to_dataset(inherit=False)[[SERIES[name], "valid"]]
            for name in wanted
        }
    ).load()
    out = {}
    for name in wanted:
        series = tree[name][SERIES[name]].transpose("parcel", "time", "pixel", "band")
        out[name] = pixel_sets_of(
            series.to_numpy(),
            tree[name]["valid"].to_numpy(),
            _days(tree[name]["time"].to_numpy(), samples),
        )
    return out


def sample_arrays(samples: xr.DataTree, config: NetworkConfig) -> SampleArrays:
    """Load a network's inputs from pixel sets; lazy arrays are computed.

    Parameters
    ----------
    samples : xarray.DataTree
        Pixel sets whose bands are in the network's order.
    config : NetworkConfig
        Names the sensors and features to load.

    Returns
    -------
    SampleArrays
    """
    sensors = [s.name for s in config.sensors if s.name in samples.children]
    weather = terrain = geometry = None
    if config.takes_weather:
        node = samples.children[WEATHER].to_dataset(inherit=False).load()
        weather = WeatherArrays(
            node[WEATHER].transpose("parcel", "time", "variable").to_numpy(),
            days_since_start(node["time"].to_numpy(), season_of(samples)),
            [str(name) for name in node["variable"].to_numpy()],
        )
    if config.terrain:
        array = samples["terrain"]["terrain"].sel(variable=list(config.terrain_variables))
        terrain = mean_over_pixels(array.transpose("parcel", "variable", "pixel").to_numpy())
    if config.geometry:
        geometry = samples["geometry"].transpose("parcel", "feature").to_numpy()
        geometry = geometry.astype(np.float32)
    series = sensor_arrays(samples, sensors)
    return assemble(series, config, weather=weather, geometry=geometry, terrain=terrain)


def mean_over_pixels(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean (parcel, variable) of the pixels (parcel, variable, pixel) that are not NaN."""
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(axis=-1, dtype=np.float64)
    count = known.sum(axis=-1)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean.astype(np.float32)


def _steps(values: NDArray[np.float32], days: NDArray[np.float32]) -> SensorArrays:
    """Means of weather (parcel, time, variable) over equal steps; each step is a set of one."""
    order = np.argsort(days, kind="stable")
    step = np.floor(days[order] / _WEATHER_STEP).astype(int)
    numbers, starts = np.unique(step, return_index=True)
    ordered = values[:, order]
    known = np.isfinite(ordered)
    total = np.add.reduceat(np.where(known, ordered, 0), starts, axis=1, dtype=np.float64)
    count = np.add.reduceat(known, starts, axis=1, dtype=np.int64)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    # A step is valid only if all its variables are known: a pixel set cannot lack a band.
    return SensorArrays(
        mean[:, :, None, :],
        all_finite(mean)[:, :, None],
        ((numbers + 0.5) * _WEATHER_STEP).astype(np.float32),
    )
