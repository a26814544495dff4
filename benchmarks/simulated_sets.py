"""Pixel sets of simulated regions and years, on disk, for the study of how far models carry.

``python -m benchmarks.simulated_sets STORES`` simulates three regions in three years, and draws
pixel sets from their archives into stores. It takes about 10 minutes of processor time, and 3 GB of
disk for an archive at a time. `benchmarks.simulated_study` trains and tests on them.

Each parcel is labelled in one of the three years, so another year never shows a known parcel.
Labels are the crops that grew. Parcels of crops that grow in one region only are left out, since
no model of the other regions could know them.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import geopandas as gpd
import numpy as np
from rich.console import Console

from cubecrop import open_season, sample_pixel_sets, simulate_archive
from cubecrop.sample import hash_ids, stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

#: Regions, and the side of a square in km that holds about 1,000 parcels of the shared crops.
SIDES: Final = {"flanders": 6.4, "aquitaine": 7.2, "ontario": 7.8}
YEARS: Final = (2022, 2023, 2024)
#: Crops that grow in two of these regions or in all three.
CROPS: Final = (
    "alfalfa", "maize", "permanent grass", "potato", "soybean", "spring barley", "winter barley",
    "winter rapeseed", "winter wheat",
)  # fmt: skip
#: Labelled parcels of a region, a third of them in each year.
PARCELS: Final = 1000
N_PIXELS: Final = 16


def sample(
    stores: Path,
    *,
    sides: dict[str, float] | None = None,
    years: Sequence[int] = YEARS,
    parcels: int = PARCELS,
) -> None:
    """Simulate each region, and draw pixel sets of each year; stores that are there stay.

    Parameters
    ----------
    stores : pathlib.Path
        Gets a folder ``REGION-YEAR`` with the pixel sets of each region and year.
    sides : dict, optional
        Side of the square in km for each region.
    years : sequence of int
        Harvest years.
    parcels : int
        Labelled parcels of a region in all years together.
    """
    for region, side in (sides or SIDES).items():
        with tempfile.TemporaryDirectory(prefix="cubecrop-study-") as name:
            archive = simulate_archive(
                Path(name) / "archive", regions=[region], years=years, size_km=side,
                wrong_labels=0, progress=False,
            )  # fmt: skip
            for number, year in enumerate(years):
                table = gpd.read_parquet(archive / f"parcels-{year}.parquet")
                chosen = labelled_in(table, number, len(years)).iloc[: -(-parcels // len(years))]
                stored(stores, f"{region}-{year}", partial(_drawn, archive, chosen, year))
                Console().print(f"{region} {year}: {len(chosen)} parcels")


def labelled_in(table: gpd.GeoDataFrame, number: int, n_years: int) -> gpd.GeoDataFrame:
    """Parcels of shared crops that are labelled in one of some years, in a random order."""
    order = np.argsort(hash_ids(table["id"].tolist(), "labelled in", 0), kind="stable")
    own = table.iloc[order[number::n_years]]
    return own[own["crop:name"].isin(CROPS)]


def _drawn(archive: Path, parcels: gpd.GeoDataFrame, year: int) -> xr.DataTree:
    """Pixel sets in memory, with the label of each parcel."""
    cube = open_season(
        parcels, year, archive=archive,
        modalities=("sentinel2", "sentinel1", "weather", "terrain"),
    )  # fmt: skip
    sets = sample_pixel_sets(cube, parcels, n_pixels=N_PIXELS).load()
    radar = sets["sentinel1"]["backscatter"]
    # 16 bits are 0.02 dB or finer, far below speckle, and halve the stores.
    sets["sentinel1"]["backscatter"] = radar.astype(np.float16).astype(np.float32)
    names = ("parcel", parcels["crop:name"].to_numpy().astype(str))
    sets.dataset = sets.to_dataset().assign_coords(label=names)
    return sets


def main(arguments: list[str] | None = None) -> None:
    """Simulate and draw."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulated_sets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stores", type=Path)
    sample(parser.parse_args(arguments).stores)


if __name__ == "__main__":
    main()
