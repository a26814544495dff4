"""Memory within a tile on a Dask worker: kept while the tile is made, returned when it ends."""

import json
import os
import subprocess
import sys

import pytest

MEASURE = """
import json, resource
import numpy as np
from cubecrop.region.heap import heap_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(200):
        np.ones(1_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

found = {"usual": faults()}
with heap_kept():
    found["kept"] = faults()
    arrays = [np.ones(10_000) for _ in range(2_000)]  # 160 MB
    last = np.ones(10_000)  # lies above them, so that the heap does not simply shrink
    held = resident()
    del arrays
found["returned"] = held - resident()
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has these settings")
def test_arrays_of_a_tile_reuse_memory_that_is_returned_at_its_end() -> None:
    worker = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}  # as Dask starts its workers
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], env=worker, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["kept"] < found["usual"] / 20
    assert found["returned"] > 140e6
