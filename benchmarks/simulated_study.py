"""How far models carry between simulated regions and years, with 100 and with 1,000 parcels each.

The simulator knows every crop, and its regions and years differ in climate, weather and management
alone. ``python -m benchmarks.simulated_sets STORES`` makes the pixel sets;
``python -m benchmarks.simulated_study STORES OUT --workers N`` trains and tests models on them with
`cubecrop.generalisation_report`, once with 100 and once with 1,000 labelled parcels of each region,
a third of them in each year. It needs no archive. The same command continues after an interruption.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from distributed import Client, LocalCluster
from rich.console import Console

from cubecrop import TrainConfig
from cubecrop.evaluation.study import study
from cubecrop.evaluation.study_options import StudyOptions
from cubecrop.sample import SetStore, join_stores

if TYPE_CHECKING:
    from cubecrop.evaluation import Report
    from cubecrop.sample import StoredSets

#: Labelled parcels of a region.
PARCELS: Final = (100, 1000)
PROTOCOLS: Final = ("random", "leave-region-out", "leave-year-out")


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
    with ExitStack() as stack:
        client = None
        if workers is not None:
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
            )  # fmt: skip
            client = stack.enter_context(Client(stack.enter_context(cluster)))
        return study(samples, labels, options, regions=of_region, out=out, client=client)


def main(arguments: list[str] | None = None) -> None:
    """Train, test and report."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulated_study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stores", type=Path)
    parser.add_argument("out", type=Path, help="gets a folder for each number of parcels")
    parser.add_argument("--parcels", type=int, nargs="+", default=list(PARCELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, help="processes; by default this one")
    parser.add_argument("--epochs", type=int, help="fewer for a quick try")
    for name in ("stress", "ablations"):
        parser.add_argument(f"--{name}", action="store_true", help="as in `cubecrop evaluate`")
    parser.add_argument(
        "--uncalibrated", action="store_true", help="without the inner trainings of calibrations"
    )
    given = parser.parse_args(arguments)
    for parcels in given.parcels:
        samples, _ = opened(given.stores, parcels)
        # Sets have no more pixels than the stores. Some folds have just over the 2,000 parcels from
        # which a share is held out for validation, others just under: none does it here.
        config = TrainConfig(n_pixels=samples[0].n_pixels, epochs=given.epochs, validation=0)
        if given.uncalibrated:
            config = replace(config, alpha=0)
        options = StudyOptions(
            protocols=PROTOCOLS, seeds=given.seeds, stress=given.stress, ablation=given.ablations,
            config=config, title=f"Simulated regions and years, {parcels:,} parcels a region",
            command=f"python -m benchmarks.simulated_study STORES OUT --parcels {parcels}"
            f" --seeds {given.seeds}" + " --stress" * given.stress
            + " --ablations" * given.ablations + " --uncalibrated" * given.uncalibrated,
        )  # fmt: skip
        found = evaluate(
            given.stores, given.out / f"{parcels}-parcels", parcels=parcels, options=options,
            workers=given.workers,
        )  # fmt: skip
        Console().print(str(found))


if __name__ == "__main__":
    main()
