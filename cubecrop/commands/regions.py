"""The command ``map-region``; ``cli.py`` adds it to the others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

import cubecrop
from cubecrop.errors import ArgumentError
from cubecrop.options import (
    AllowGaps,
    Archive,
    Clip,
    Clouds,
    CropMask,
    End,
    Layers,
    MaskClasses,
    Memory,
    RegionAoi,
    Start,
    Weather,
    memory_or_default,
    model_or_default,
    season_between,
)
from cubecrop.printing import plain_console, print_calibration, print_model, print_rows

__all__ = ["map_region"]


def map_region(
    *,
    out: str,
    aoi: RegionAoi = None,
    year: Annotated[int | None, Parameter(help="Harvest year.")] = None,
    archive: Archive = None,
    model: Path | None = None,
    parcels: Path | None = None,
    tile: float | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    start: Start = None,
    end: End = None,
    resolution: float | None = None,
    crs: str | None = None,
    max_lost: float = 0,
    clouds: Clouds = None,
    weather: Weather = None,
    memory: Memory = None,
    allow_gaps: AllowGaps = False,
    mask: CropMask = "auto",
    mask_classes: MaskClasses = None,
    clip: Clip = True,
    layers: Layers = None,
    plan: Annotated[bool, Parameter(negative="")] = False,
    replan: Annotated[bool, Parameter(negative="")] = False,
    status: Annotated[bool, Parameter(negative="")] = False,
    retry_failed: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Map an area of any size tile by tile, here or on a Dask cluster.

    The same command continues a run that was interrupted. Exit code 1 if a tile failed.

    Parameters
    ----------
    out
        Folder of the run, or an address such as s3://bucket/run.
    model
        Folder of a trained model; by default the model that is part of cubecrop.
    parcels
        Vector file of parcels to classify, with a unique id and a CRS.
    tile
        Side of a tile in metres; by default 20480, two blocks of most files.
    workers
        Start a Dask cluster on this machine with so many processes.
    scheduler
        Address of a running Dask scheduler, such as tcp://10.0.0.1:8786.
    resolution
        Pixel size in metres; by default that of the model's training, or 10.
    crs
        Projected CRS such as EPSG:3035 for the whole area; by default its UTM zones.
    max_lost
        Share of a tile's STAC items, 0 to 1, that may be unreadable.
    plan
        Make, print and draw the plan, and stop.
    replan
        Search the archive again and replace the plan.
    status
        Print the state of the run in OUT, also while another process runs it.
    retry_failed
        Only try the tiles that failed.
    """
    from cubecrop import region
    from cubecrop.region.cluster import connected

    if status:
        print_rows(region.status(out).lines())
        return
    missing = [name for name, value in (("aoi", aoi), ("year", year)) if value is None]
    if aoi is None or year is None:
        raise ArgumentError(f"map-region needs {', '.join(f'--{name}' for name in missing)} too.")
    crop_model = model_or_default(model)
    options: dict[str, Any] = {
        "archive": archive, "model": crop_model, "parcels": parcels,
        "season": season_between(year, start, end, crop_model),
        "resolution": resolution, "crs": crs, "clouds": clouds, "weather": weather,
        "memory": memory_or_default(memory), "allow_gaps": allow_gaps, "max_lost": max_lost,
        "mask": mask, "mask_classes": mask_classes, "clip": clip,
        "layers": layers or (),
        "replan": replan, **({} if tile is None else {"tile": tile}),
    }  # fmt: skip
    if plan:
        print_rows(region.plan(aoi, year, out, **options).lines())
        return
    with connected(workers=workers, scheduler=scheduler) as client:
        if client is not None:
            plain_console(stderr=True).print(f"Dask's dashboard: {client.dashboard_link}")
        run = cubecrop.map_region(
            aoi, year, out, client=client, retry_failed=retry_failed, **options
        )
    print_model(plain_console(), crop_model, given=model is not None)
    print_calibration(plain_console(), crop_model)
    print_rows(run.lines())
    if not run.is_complete:
        sys.exit(1)
