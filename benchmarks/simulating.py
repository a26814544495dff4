"""Simulating one region and year as `cubecrop simulate` does, in its own process."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.memory import peak_mb

_SCRIPT = f"""
{inspect.getsource(peak_mb)}
import json, sys, time
start, work = time.perf_counter(), time.process_time()
import cubecrop
cubecrop.simulate_archive(sys.argv[1], size_km=float(sys.argv[2]), progress=False)
seconds = {{"wall": time.perf_counter() - start, "cpu": time.process_time() - work}}
print(json.dumps({{"peak": peak_mb(), **seconds}}))
"""


class Simulate:
    """One region of 2.5 km and one year, with the import; peak memory also at twice the side."""

    size_km = 2.5
    timeout = 600

    def setup_cache(self) -> dict[str, float]:
        usual, larger = self.run(self.size_km), self.run(2 * self.size_km)
        return {**usual, "larger": larger["peak"]}

    def run(self, size_km: float) -> dict[str, float]:
        with tempfile.TemporaryDirectory(prefix="cubecrop-simulating-") as folder:
            out = Path(folder, "archive")
            done = subprocess.run(
                [sys.executable, "-c", _SCRIPT, str(out), str(size_km)],
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            disk = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        return {**json.loads(done.stdout.splitlines()[-1]), "disk": disk / 1e6}

    def track_duration(self, run: dict[str, float]) -> float:
        return run["wall"]

    track_duration.unit = "s"

    def track_cpu(self, run: dict[str, float]) -> float:
        """Processor seconds, which depend less on other work on the machine."""
        return run["cpu"]

    track_cpu.unit = "s"

    def track_peak(self, run: dict[str, float]) -> float:
        return run["peak"]

    track_peak.unit = "MB"

    def track_peak_twice_the_side(self, run: dict[str, float]) -> float:
        return run["larger"]

    track_peak_twice_the_side.unit = "MB"

    def track_disk(self, run: dict[str, float]) -> float:
        return run["disk"]

    track_disk.unit = "MB"
