"""Pixel sets as arrays that a network can take: (parcel, time, pixel, band), and days."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from cubecrop.errors import SchemaError
from cubecrop.schema import SERIES, check_pixel_sets
from cubecrop.season import Season

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

__all__ = ["SensorArrays", "days_since_start", "season_of", "sensor_arrays"]


@dataclass(frozen=True, slots=True)
class SensorArrays:
    """One sensor's pixel sets in memory.

    ``values`` (parcel, time, pixel, band) float32, ``valid`` (parcel, time, pixel) bool,
    ``days`` (time,) float32 since the season's start.
    """

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    days: NDArray[np.float32]


def season_of(tree: xr.DataTree) -> Season:
    """The season that a cube or pixel sets were made for, from their attrs."""
    try:
        return Season(
            int(tree.attrs["season_year"]),
            start=dt.date.fromisoformat(tree.attrs["season_start"]),
            end=dt.date.fromisoformat(tree.attrs["season_end"]),
        )
    except KeyError as error:
        raise SchemaError(
            f"the tree has no attribute {error}, so its season is unknown. Make it with "
            "`cubecrop.open_season(...)` or set season_year, season_start and season_end."
        ) from error


def days_since_start(time: NDArray[np.datetime64], season: Season) -> NDArray[np.float32]:
    """Whole days since the season's start.

    Whole, so that the few seconds between the tiles of one pass change no prediction.
    """
    start = np.datetime64(season.start, "D")
    return (time.astype("datetime64[D]") - start).astype(np.float32)


def sensor_arrays(samples: xr.DataTree, sensors: Iterable[str]) -> Mapping[str, SensorArrays]:
    """Load sensors of pixel sets; computes what is lazy, all sensors at once.

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
    season = season_of(samples)
    tree = xr.DataTree.from_dict(
        {
            name: samples.children[name].to_dataset(inherit=False)[[SERIES[name], "valid"]]
            for name in wanted
        }
    ).load()
    out = {}
    for name in wanted:
        series = tree[name][SERIES[name]].transpose("parcel", "time", "pixel", "band")
        out[name] = SensorArrays(
            np.ascontiguousarray(series.to_numpy(), dtype=np.float32),
            tree[name]["valid"].transpose("parcel", "time", "pixel").to_numpy(),
            days_since_start(tree[name]["time"].to_numpy(), season),
        )
    return out
