"""What a department would take, worked out from a region that is small enough to measure.

``python -m benchmarks.department`` simulates square regions with every date of a season, and runs
four steps on each of them, each in a process of its own: reading the parcels' pixels,
`cubecrop.train`, `cubecrop.classify_parcels` and `cubecrop.classify` with writing. It prints
processor seconds and peak memory of each, and then what follows for a larger area by proportion:
reading, parcels and map by square kilometres, the training of a network by the parcels that it
learns from.

The second table is arithmetic, not a measurement. It holds for an archive on a local disk. One
behind a network adds waiting, and files that are compressed otherwise take otherwise long.
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
    """What a step took: processor and wall seconds, peak memory in MB, MB that it holds in sets."""

    cpu: float
    wall: float
    peak: float
    held: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Region:
    """A region that was measured: its side, its parcels, MB on disk, and what each step took."""

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


#: In this order: the later ones use the model.
STEPS: Mapping[str, Callable[[Path, int | None], float]] = {
    "read": _read, "train": _train, "parcels": _parcels, "map": _map,
}  # fmt: skip


def run_step(name: str, folder: Path, epochs: int | None) -> Cost:
    """Run one step in this process."""
    start, work = time.perf_counter(), time.process_time()
    held = STEPS[name](folder, epochs)
    cpu, wall = time.process_time() - work, time.perf_counter() - start
    return Cost(cpu=cpu, wall=wall, peak=peak_mb(), held=held)


def measure(size_km: float, *, epochs: int | None) -> Region:
    """Simulate a region and take every step in a process of its own."""
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
    """What a larger area takes: step, hours of one core, memory or disk.

    What goes by the area is the difference of the two regions, which leaves out the start.
    Training goes by the larger one: on few parcels it makes more epochs.
    """
    wider, more = large.area - small.area, large.parcels - small.parcels

    def by_area(name: str) -> str:
        return _hours((large.steps[name].cpu - small.steps[name].cpu) * area / wider)

    # `train` holds 0.3 of the parcels out, and learns from the others.
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
    """Measure and print both tables, or run the one step that is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.department",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sizes-km", nargs=2, type=float, default=(2.0, 4.0))
    parser.add_argument("--area", type=float, default=6000, help="km2 to work out")
    parser.add_argument("--learned", type=int, default=3000, help="parcels to learn from there")
    parser.add_argument("--epochs", type=int, help="for a quick look; by default those of fit")
    parser.add_argument("--step", nargs=2, metavar=("STEP", "FOLDER"), help="only this, as JSON")
    asked = parser.parse_args(arguments)
    console = Console()
    if asked.step:
        name, folder = asked.step
        cost = run_step(name, Path(folder), asked.epochs)
        print(json.dumps(asdict(cost)))  # noqa: T201 (for the process that started this one)
        return
    table = Table(
        "km2", "parcels", "step", "CPU s", "CPU s / km2", "wall s", "peak MB",
        title=f"Measured ({os.cpu_count()} cores)",
    )  # fmt: skip
    small, large = (measure(size, epochs=asked.epochs) for size in sorted(asked.sizes_km))
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
        title=f"Worked out for {asked.area:,.0f} km2",
    )  # fmt: skip
    for row in department(small, large, area=asked.area, learned=asked.learned):
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    main()
