"""The cost of a whole department, extrapolated from regions small enough to measure.

``python -m benchmarks.department`` simulates square regions with every date of a season, and runs
four steps on each of them, each in its own process: reading the parcels' pixels,
`cubecrop.train`, `cubecrop.classify_parcels` and `cubecrop.classify` with writing. It prints
processor seconds and peak memory of each step. A second table scales them to a larger area:
reading, parcels and map in proportion to the area, training in proportion to its parcels.

The second table is arithmetic, not a measurement. It holds for an archive on a local disk. Reading
over a network adds waiting, and other compression takes another time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
from rich.console import Console
from rich.table import Table

import cubecrop
from benchmarks.memory import peak_mb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_YEAR, _LABEL = 2024, "crop:name"
_STORED_PIXELS = 256


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of a step: processor and wall seconds, peak memory in MB, and MB of its pixel sets."""

    cpu: float
    wall: float
    peak: float
    held: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Region:
    """A measured region: its side, its parcels, MB on disk, and the cost of each step."""

    size_km: float
    parcels: int
    disk: float
    steps: Mapping[str, Cost]

    @property
    def area(self) -> float:
        """Square kilometres."""
        return self.size_km**2


def _read(folder: Path, epochs: int | None) -> float:
    del epochs
    parcels = gpd.read_parquet(folder / f"archive/parcels-{_YEAR}.parquet")
    cube = cubecrop.open_season(
        parcels, _YEAR, archive=folder / "archive", modalities=("sentinel2", "sentinel1")
    )
    samples = cubecrop.sample_pixel_sets(cube, parcels, n_pixels=_STORED_PIXELS).load()
    return sum(node.to_dataset(inherit=False).nbytes for node in samples.subtree) / 1e6


def _train(folder: Path, epochs: int | None) -> float:
    model = cubecrop.train(
        folder / f"archive/parcels-{_YEAR}.parquet", _LABEL, _YEAR, archive=folder / "archive",
        config=cubecrop.TrainConfig(epochs=epochs), progress=False,
    )  # fmt: skip
    model.save(folder / "model")
    return 0.0


def _parcels(folder: Path, epochs: int | None) -> float:
    del epochs
    table = cubecrop.classify_parcels(
        folder / f"archive/parcels-{_YEAR}.parquet", _YEAR, archive=folder / "archive",
        model=folder / "model", progress=False,
    )  # fmt: skip
    cubecrop.write_parcels(table, folder / "classified.parquet")
    return 0.0


def _map(folder: Path, epochs: int | None) -> float:
    del epochs
    crop_map = cubecrop.classify(
        folder / f"archive/parcels-{_YEAR}.parquet", _YEAR, archive=folder / "archive",
        model=folder / "model",
    )  # fmt: skip
    cubecrop.write_map(crop_map, folder / "map", progress=False)
    return 0.0


#: The steps in order: the last two use the model of `train`.
STEPS: Mapping[str, Callable[[Path, int | None], float]] = {
    "read": _read, "train": _train, "parcels": _parcels, "map": _map,
}  # fmt: skip


def run_step(name: str, folder: Path, epochs: int | None) -> Cost:
    """Run one step in this process."""
    start, work = time.perf_counter(), time.process_time()
    held = STEPS[name](folder, epochs)  # MB
    cpu, wall = time.process_time() - work, time.perf_counter() - start
    return Cost(cpu=cpu, wall=wall, peak=peak_mb(), held=held)


def measure(size_km: float, *, epochs: int | None) -> Region:
    """Simulate a region and run every step in its own process."""
    with tempfile.TemporaryDirectory(prefix="cubecrop-department-") as name:
        folder = Path(name)
        archive = cubecrop.simulate_archive(
            folder / "archive", years=[_YEAR], size_km=size_km, progress=False
        )
        steps = {}
        for step in STEPS:
            command = [sys.executable, "-m", "benchmarks.department", "--step", step, name]
            if epochs:
                command += ["--epochs", str(epochs)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            steps[step] = Cost(**json.loads(done.stdout.splitlines()[-1]))
        return Region(
            size_km=size_km,
            parcels=len(gpd.read_parquet(archive / f"parcels-{_YEAR}.parquet")),
            disk=sum(path.stat().st_size for path in archive.rglob("*") if path.is_file()) / 1e6,
            steps=steps,
        )


def department(
    small: Region, large: Region, *, area: float, learned: int
) -> list[tuple[str, str, str]]:
    """Work out the cost of a larger area: step, hours of one core, memory or disk.

    Costs per area come from the difference of the two regions, which cancels the start-up.
    Training scales from the larger region, because training on few parcels takes more epochs.
    """
    wider, more = large.area - small.area, large.parcels - small.parcels

    def by_area(name: str) -> str:
        return _hours((large.steps[name].cpu - small.steps[name].cpu) * area / wider)

    # `train` holds out 0.3 of the parcels for the test and learns from the others.
    fit = (large.steps["train"].cpu - large.steps["read"].cpu) / (0.7 * large.parcels)
    sets = large.steps["read"].held / large.parcels
    peak = (large.steps["train"].peak - small.steps["train"].peak) / more
    given = learned / 0.7
    return [
        ("archive", "", f"{(large.disk - small.disk) * area / wider / 1000:.0f} GB on disk"),
        ("train: read", by_area("read"), f"{given * sets / 1000:.1f} GB of pixel sets"),
        (f"train: learn from {learned:,} parcels", _hours(fit * learned),
         f"{given * peak / 1000:.1f} GB at the peak"),
        ("classify_parcels", by_area("parcels"), ""),
        ("classify, write_map", by_area("map"), ""),
    ]  # fmt: skip


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f}"


def main(arguments: list[str] | None = None) -> None:
    """Measure and print both tables, or run a single step."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.department",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sizes-km", nargs=2, type=float, default=(2.0, 4.0))
    parser.add_argument("--area", type=float, default=6000, help="km2 to extrapolate to")
    parser.add_argument("--learned", type=int, default=3000, help="training parcels in that area")
    parser.add_argument("--epochs", type=int, help="fewer for a quick try")
    parser.add_argument(
        "--step", nargs=2, metavar=("STEP", "FOLDER"), help="run only this step and print JSON"
    )
    options = parser.parse_args(arguments)
    console = Console()
    if options.step:
        name, folder = options.step
        cost = run_step(name, Path(folder), options.epochs)
        print(json.dumps(asdict(cost)))  # noqa: T201 (for the process that started this one)
        return
    table = Table(
        "km2", "parcels", "step", "CPU s", "CPU s / km2", "wall s", "peak MB",
        title=f"Measured ({os.cpu_count()} cores)",
    )  # fmt: skip
    small, large = (measure(size, epochs=options.epochs) for size in sorted(options.sizes_km))
    for region in (small, large):
        console.print(json.dumps(asdict(region)), soft_wrap=True)
        for name, cost in region.steps.items():
            table.add_row(
                f"{region.area:.2f}", f"{region.parcels}", name, f"{cost.cpu:.0f}",
                f"{cost.cpu / region.area:.2f}", f"{cost.wall:.0f}", f"{cost.peak:.0f}",
            )  # fmt: skip
    console.print(table)
    table = Table(
        "step", "hours of a core", "memory or disk",
        title=f"Worked out for {options.area:,.0f} km2",
    )  # fmt: skip
    for row in department(small, large, area=options.area, learned=options.learned):
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    main()
