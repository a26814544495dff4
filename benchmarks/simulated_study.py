"""How far models carry between simulated regions and years, with 100 and with 1,000 parcels each.

The simulator knows every crop, and its regions and years differ in climate, weather and management
alone. ``python -m benchmarks.simulated_study sample STORES`` simulates three regions in three
years, and draws pixel sets from their archives into stores on disk. It takes about 20 minutes of
processor time and 3 GB of disk. ``python -m benchmarks.simulated_study evaluate STORES OUT`` trains
and tests models on these sets with `cubecrop.generalisation_report`, which needs no archive.

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

from cubecrop import TrainConfig, open_season, sample_pixel_sets, simulate_archive
from cubecrop.evaluation import StudyOptions
from cubecrop.evaluation.study import study
from cubecrop.region.cluster import connected
from cubecrop.sample import SetStore, hash_ids, join_stores, stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from cubecrop.evaluation import Report
    from cubecrop.sample import StoredSets

#: Regions, and the side of a square in km that holds about 1,000 parcels of the shared crops.
SIDES: Final = {"flanders": 6.4, "aquitaine": 7.2, "ontario": 7.8}
YEARS: Final = (2022, 2023, 2024)
#: Crops that grow in two of these regions or in all three.
CROPS: Final = (
    "alfalfa", "maize", "permanent grass", "potato", "soybean", "spring barley", "winter barley",
    "winter rapeseed", "winter wheat",
)  # fmt: skip
#: Labelled parcels of a region, a third of them in each year.
PARCELS: Final = (100, 1000)
N_PIXELS: Final = 16
PROTOCOLS: Final = ("random", "leave-region-out", "leave-year-out")


def sample(
    stores: Path,
    *,
    sides: dict[str, float] | None = None,
    years: Sequence[int] = YEARS,
    parcels: int = max(PARCELS),
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


def opened(stores: Path, parcels: int) -> tuple[list[StoredSets], list[str]]:
    """Pixel sets of each region and year, with so many parcels of a region, and their regions."""
    folders = sorted(path for path in stores.iterdir() if path.is_dir())
    found = [SetStore(folder) for folder in folders]
    regions = [folder.name.rsplit("-", 1)[0] for folder in folders]
    samples = []
    for store, region in zip(found, regions, strict=True):
        rows = np.arange(store.about.sizes["parcel"])
        ((sets, _),) = join_stores([store], [rows], np.zeros_like(rows))
        samples.append(sets.take(rows[: -(-parcels // regions.count(region))]))
    return samples, regions


def evaluate(
    stores: Path,
    out: Path,
    *,
    parcels: int,
    options: StudyOptions,
    workers: int | None = None,
) -> Report:
    """Train and test on so many parcels of each region; goes on after an interruption."""
    samples, regions = opened(stores, parcels)
    labels = [sets.root["label"].to_numpy().astype(str).tolist() for sets in samples]
    of_region = [[name] * len(own) for name, own in zip(regions, labels, strict=True)]
    with connected(workers=workers) as client:
        return study(samples, labels, options, regions=of_region, out=out, client=client)


def main(arguments: list[str] | None = None) -> None:
    """Run a step."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulated_study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    steps = parser.add_subparsers(dest="step", required=True)
    first = steps.add_parser("sample", help="simulate archives, and draw pixel sets from them")
    first.add_argument("stores", type=Path)
    second = steps.add_parser("evaluate", help="train and test on the pixel sets")
    second.add_argument("stores", type=Path)
    second.add_argument("out", type=Path, help="gets a folder for each number of parcels")
    second.add_argument("--parcels", type=int, nargs="+", default=list(PARCELS))
    second.add_argument("--seeds", type=int, default=3)
    second.add_argument("--workers", type=int, help="processes; by default this one")
    second.add_argument("--epochs", type=int, help="fewer for a quick try")
    for name in ("stress", "ablations"):
        second.add_argument(f"--{name}", action="store_true", help="as in `cubecrop evaluate`")
    given = parser.parse_args(arguments)
    if given.step == "sample":
        sample(given.stores)
        return
    # A set has no more pixels than the stores.
    config = TrainConfig(n_pixels=N_PIXELS, epochs=given.epochs)
    for parcels in given.parcels:
        out = given.out / f"{parcels}-parcels"
        options = StudyOptions(
            protocols=PROTOCOLS, seeds=given.seeds, stress=given.stress, ablation=given.ablations,
            config=config, title=f"Simulated regions and years, {parcels:,} parcels a region",
            command=f"python -m benchmarks.simulated_study evaluate {given.stores} {given.out}",
        )  # fmt: skip
        found = evaluate(given.stores, out, parcels=parcels, options=options, workers=given.workers)
        Console().print(str(found))


if __name__ == "__main__":
    main()
