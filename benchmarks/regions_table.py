"""Points of five regions as tables that `cubecrop evaluate` reads, with common classes and bands.

``python -m benchmarks.regions_table DATA OUT`` reads the tables in ``DATA/points`` as the
[default model](../docs/default-model.md) does: as monthly composites of the bands that all have,
with its ten classes. It writes a table for each of Ontario, the Maritimes (both 2017), Flanders
(2018), Corsica (2022) and France (2023), in WorldCereal's long form with the columns ``crop`` and
``region``. Points of other crops are left out.

The steps of 30 days of Flanders become the months that hold their middle days, which lie up to nine
days from the middle of the month.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from rich.console import Console

from benchmarks.default_model.points import read_points
from cubecrop.files import new_file

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import ArrayLike, NDArray

    from benchmarks.default_model.points import Points

__all__ = ["as_table", "main", "write_tables"]

#: WorldCereal's code for a missing number.
_MISSING: Final = 65535


def write_tables(data: Path, out: Path) -> list[Path]:
    """Write the table of each region; returns their paths."""
    paths = []
    for points in read_points(data):
        known = points.labelled()
        paths.append(out / f"{known.name.lower()}.parquet")
        with new_file(paths[-1], cure="Name another folder.") as part:
            as_table(known).to_parquet(part, index=False)
        Console().print(f"{known.name}: {len(known)} points")
    return paths


def as_table(points: Points) -> pd.DataFrame:
    """Monthly points as a table with one row a point and month.

    Numbers are stored as `cubecrop.sample.read_worldcereal` documents: reflectance * 10000, and
    10 ** ((dB + 83) / 20).
    """
    samples = points.samples
    time = samples["sentinel2"]["time"].to_numpy()
    if not np.array_equal(time, samples["sentinel1"]["time"].to_numpy()):
        raise ValueError(f"{points.name}: the sensors have different dates, expected the same.")
    n_steps = len(time)
    columns: dict[str, ArrayLike] = {
        "sample_id": np.repeat(samples["parcel"].to_numpy().astype(str), n_steps),
        "timestamp": np.tile(time.astype("datetime64[M]").astype("datetime64[s]"), len(points)),
        "year": np.full(len(points) * n_steps, samples.attrs["season_year"]),
        "crop": np.repeat(np.array(points.labels, dtype=str), n_steps),
        "region": np.full(len(points) * n_steps, points.name),
    }
    columns |= {name: np.repeat(samples[name].to_numpy(), n_steps) for name in ("lon", "lat")}
    if "group" in samples.coords:
        columns["location_id"] = np.repeat(samples["group"].to_numpy().astype(str), n_steps)
    reflectance, decibel = samples["sentinel2"]["reflectance"], samples["sentinel1"]["backscatter"]
    for band in reflectance["band"].to_numpy():
        columns[f"S2-L2A-{band}"] = _encoded(reflectance.sel(band=band) * 10000)
    for band in decibel["band"].to_numpy():
        columns[f"S1-SIGMA0-{band.upper()}"] = _encoded(10 ** ((decibel.sel(band=band) + 83) / 20))
    return pd.DataFrame(columns)


def _encoded(numbers: xr.DataArray) -> NDArray[np.uint16]:
    """Whole numbers in the order of the table's rows, from (parcel, time, pixel)."""
    values = numbers.transpose("parcel", "time", "pixel").to_numpy().ravel()
    return np.where(np.isfinite(values), np.round(values), _MISSING).astype(np.uint16)


def main(arguments: list[str] | None = None) -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.regions_table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, help="folder that has the folder `points`")
    parser.add_argument("out", type=Path, help="gets a table for each region")
    given = parser.parse_args(arguments)
    write_tables(given.data, given.out)


if __name__ == "__main__":
    main()
