"""The demo as a user starts it, in a process of its own: seconds and memory."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import tempfile
import time

from benchmarks.memory import peak_mb

_SCRIPT = f"""
{inspect.getsource(peak_mb)}
import json, sys
import cubecrop
result = cubecrop.demo(sys.argv[1], seed=0, size_km=float(sys.argv[2]), progress=False)
right = {{"parcels": result.parcels.accuracy, "pixels": result.pixels.accuracy}}
print(json.dumps({{"peak": peak_mb(), **right}}))
"""


class Demo:
    """`cubecrop demo` with seed 0; everything in one run, its start included."""

    size_km = 2.5
    timeout = 600

    def setup_cache(self) -> dict[str, float]:
        with tempfile.TemporaryDirectory(prefix="cubecrop-demo-") as folder:
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", _SCRIPT, f"{folder}/demo", str(self.size_km)],
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            seconds = time.perf_counter() - start
        return {"seconds": seconds, **json.loads(done.stdout.splitlines()[-1])}

    def track_duration(self, run: dict[str, float]) -> float:
        return run["seconds"]

    track_duration.unit = "s"

    def track_peak(self, run: dict[str, float]) -> float:
        return run["peak"]

    track_peak.unit = "MB"

    def track_parcels_right(self, run: dict[str, float]) -> float:
        """Accuracy on held-out parcels, of simulated crops."""
        return 100 * run["parcels"]

    track_parcels_right.unit = "%"

    def track_pixels_right(self, run: dict[str, float]) -> float:
        """Share of the map's pixels in held-out parcels that are right, of simulated crops."""
        return 100 * run["pixels"]

    track_pixels_right.unit = "%"
