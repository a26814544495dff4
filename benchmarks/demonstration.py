"""The demo as a user starts it, in its own process: seconds, memory and scores.

``python -m benchmarks.demonstration`` runs it with several seeds, which differ in land, weather and
split, and prints the scores of the network and of the random forest on the same held-out parcels,
with their range. Parcels are scored against the declared crops, 3 % of which are wrong; the map's
pixels are scored against the true crops. Seconds are processor seconds.

``--kernels avx2 default`` runs each seed with torch's kernels for other processors, which round
differently. The results then differ as they would between machines.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.memory import peak_mb

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Default side of `cubecrop.demo`.
SIZE_KM = 3.0

_SCRIPT = f"""
{inspect.getsource(peak_mb)}
import json, sys, time
import cubecrop
folder, seed, size = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
result = cubecrop.demo(folder, seed=seed, size_km=size, progress=False)
scores = result.model.scores
results = {{
    "peak": peak_mb(),
    "cpu": time.process_time(),
    "parcels": result.parcels.accuracy,
    "pixels": result.pixels.accuracy,
    "held": scores["held out"]["n"],
    "network": [scores["held out"][key] for key in ("accuracy", "macro_f1")],
    "forest": [scores["held out, random forest"][key] for key in ("accuracy", "macro_f1")],
}}
print(json.dumps(results))
"""
_COLUMNS = ("network", "forest")


def run_demo(
    seed: int, size_km: float, kernels: str | None = None
) -> dict[str, float | list[float]]:
    """Run the demo in its own process and return its results and the seconds it took."""
    environment = {**os.environ, **({"ATEN_CPU_CAPABILITY": kernels} if kernels else {})}
    with tempfile.TemporaryDirectory(prefix="cubecrop-demo-") as folder:
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, f"{folder}/demo", str(seed), str(size_km)],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
            env=environment,
        )
        seconds = time.perf_counter() - start
    return {"seconds": seconds, **json.loads(done.stdout.splitlines()[-1])}


class Demo:
    """`cubecrop demo` with seed 0, in one run that includes the start of Python."""

    size_km = SIZE_KM
    timeout = 600

    def setup_cache(self) -> dict[str, float]:
        return run_demo(0, self.size_km)

    def track_duration(self, run: dict[str, float]) -> float:
        return run["seconds"]

    track_duration.unit = "s"

    def track_cpu(self, run: dict[str, float]) -> float:
        """Processor seconds, which depend less on other work on the machine."""
        return run["cpu"]

    track_cpu.unit = "s"

    def track_peak(self, run: dict[str, float]) -> float:
        return run["peak"]

    track_peak.unit = "MB"

    def track_parcels_right(self, run: dict[str, float]) -> float:
        """Accuracy on held-out parcels, of simulated crops."""
        return 100 * run["parcels"]

    track_parcels_right.unit = "%"

    def track_pixels_right(self, run: dict[str, float]) -> float:
        """Share of right pixels of the map in held-out parcels, of simulated crops."""
        return 100 * run["pixels"]

    track_pixels_right.unit = "%"


def main(arguments: list[str] | None = None) -> None:
    """Run the demo with several seeds; print a row for each seed and the range."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.demonstration",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5))
    parser.add_argument("--size-km", type=float, default=SIZE_KM)
    parser.add_argument("--kernels", nargs="+", choices=("default", "avx2", "avx512"))
    options = parser.parse_args(arguments)
    console = Console()
    runs = {}
    for seed in options.seeds:
        for kernels in options.kernels or (None,):
            name = f"{seed}, {kernels}" if kernels else f"{seed}"
            runs[name] = run_demo(seed, options.size_km, kernels)
            console.print(f"seed {name}: {json.dumps(runs[name])}", soft_wrap=True)
    table = Table(
        "seed", "held out", *(f"{name}, accuracy / macro-F1" for name in _COLUMNS),
        "pixels right", "CPU s", "peak MB", title=f"cubecrop demo ({os.cpu_count()} cores)",
    )  # fmt: skip
    for seed, run in runs.items():
        table.add_row(
            seed, f"{run['held']:.0f}",
            *(" / ".join(f"{value:.3f}" for value in run[name]) for name in _COLUMNS),
            f"{run['pixels']:.1%}", f"{run['cpu']:.0f}", f"{run['peak']:.0f}",
        )  # fmt: skip
    results = runs.values()
    table.add_section()
    table.add_row(
        "range", _range((run["held"] for run in results), ".0f"),
        *(
            " / ".join(_range((run[name][i] for run in results), ".2f") for i in (0, 1))
            for name in _COLUMNS
        ),
        _range((run["pixels"] for run in results), ".0%"),
        _range((run["cpu"] for run in results), ".0f"),
        _range((run["peak"] for run in results), ".0f"),
    )  # fmt: skip
    console.print(table)


def _range(values: Iterable[float], form: str) -> str:
    values = sorted(values)
    return f"{values[0]:{form}} to {values[-1]:{form}}"


if __name__ == "__main__":
    main()
