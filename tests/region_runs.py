"""Runs of a small region: what they are compared by, and processes that run them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from small_region import SEASON, YEAR

import cubecrop

#: Side of the tiles of tests, metres: the region of 600 m has a dozen.
TILE = 200


def mapped(place, aoi, model, out, **options):
    """The region of tests, mapped in this process unless options say otherwise."""
    options = {"year": YEAR, "tile": TILE, "season": SEASON, "progress": False} | options
    return cubecrop.map_region(aoi, out=out, archive=place, model=model, **options)


def whole(out, name, like):
    """The tiles' raster of a name, put together on the grid of a map; fill where no tile is."""
    x, y = like["x"].to_numpy(), like["y"].to_numpy()
    together = None
    for path in sorted(Path(out).glob(f"tiles/*/{name}.tif")):
        with rasterio.open(path) as raster:
            values, left, top = raster.read(), raster.bounds.left, raster.bounds.top
        if together is None:
            fill = 255 if name == "crop_type" else np.nan if values.dtype.kind == "f" else 0
            together = np.full((len(values), len(y), len(x)), fill, values.dtype)
            times = np.zeros((len(y), len(x)), int)
        row, column = round((y[0] + 5 - top) / 10), round((left - x[0] + 5) / 10)
        place = np.s_[row : row + values.shape[1], column : column + values.shape[2]]
        together[:, *place] = values
        times[place] += 1
    assert (times == 1).all()  # every pixel has one owner
    return together


def results(out):
    """The bytes of everything that a run must not depend on how it went."""
    out = Path(out)
    names = sorted(
        path.relative_to(out).as_posix()
        for pattern in ("tiles/*/*.tif", "*.vrt", "areas.csv", "parcels.parquet")
        for path in out.glob(pattern)
    )
    return {name: (out / name).read_bytes() for name in names}


def table_of(out):
    return gpd.read_parquet(Path(out) / "parcels.parquet")


RUN = """
import sys, json
import cubecrop
from cubecrop.region.cluster import connected
options = json.loads(sys.argv[1])
options["progress"] = False
workers, scheduler = options.pop("workers", None), options.pop("scheduler", None)
if __name__ == "__main__":
    with connected(workers=workers, scheduler=scheduler) as client:
        run = cubecrop.map_region(client=client, **options)
    print(run)
    sys.exit(0 if run.is_complete else 1)
"""


def started(place, aoi, model, out, script, **options):
    """A process that maps a region; ``aoi`` and ``parcels`` are paths."""
    given = {
        "aoi": str(aoi), "out": str(out), "archive": str(place), "model": str(model), "tile": TILE,
    } | options  # fmt: skip
    path = Path(script)
    path.write_text(RUN)
    return subprocess.Popen(
        [sys.executable, str(path), json.dumps(given)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=interruptible,
    )  # fmt: skip


def interruptible():
    """Let a new process take SIGINT, also if this one was started to ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_until(condition, seconds=180.0, process=None):
    end = time.monotonic() + seconds
    while not condition():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the process ended: {process.stdout.read()[-3000:]}")
        assert time.monotonic() < end
        time.sleep(0.02)


def n_done(out):
    return len(list(Path(out).glob("tiles/*/evidence.json")))


def no_half_files(out):
    """Whether every visible tile is complete, and every raster opens and holds its pixels."""
    for folder in Path(out).glob("[te]*s/*/"):
        if folder.name.startswith("."):
            continue
        evidence = json.loads((folder / "evidence.json").read_text())
        assert set(evidence["files"]) == {p.name for p in folder.iterdir()} - {"evidence.json"}
        for path in folder.glob("*.tif"):
            with rasterio.open(path) as raster:
                raster.read()
    return True
