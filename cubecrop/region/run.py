"""`map_region`: plan a region, run its tiles, and put the results together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cubecrop.checks import check_flag, check_whole
from cubecrop.cube import MEMORY
from cubecrop.cube.tiles import SIDE
from cubecrop.model import CropModel, check_device_name
from cubecrop.pipeline.inputs import as_model
from cubecrop.pipeline.masks import AUTO
from cubecrop.region.capacity import check_capacity
from cubecrop.region.driver import Driver
from cubecrop.region.engine import check_client
from cubecrop.region.log import RunLog
from cubecrop.region.planning import plan as plan_region

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import geopandas as gpd
    from distributed import Client

    from cubecrop.archive import Archive
    from cubecrop.pipeline.masks import Mask
    from cubecrop.region.status import RegionRun
    from cubecrop.season import Season

__all__ = ["map_region"]


def map_region(
    aoi: object,
    year: int,
    out: str | Path,
    *,
    archive: str | Path | Archive | None = None,
    model: CropModel | str | Path | None = None,
    parcels: gpd.GeoDataFrame | str | Path | None = None,
    client: Client | None = None,
    tile: float = SIDE,
    season: Season | None = None,
    resolution: float | None = None,
    crs: str | int | None = None,
    memory: float = MEMORY,
    device: str | None = None,
    clouds: str | None = None,
    weather: str | Path | Archive | None = None,
    allow_gaps: bool = False,
    mask: Mask = AUTO,
    mask_classes: Sequence[str] | None = None,
    clip: bool = True,
    layers: Sequence[str] = (),
    max_lost: float = 0,
    attempts: int = 3,
    resources: Mapping[str, float] | None = None,
    replan: bool = False,
    retry_failed: bool = False,
    progress: bool = True,
) -> RegionRun:
    """Map the crops of an area of any size, tile by tile, on this machine or on a Dask cluster.

    The plan is made once and kept in ``out/plan``: tiles, and the items that they are made from. A
    tile appears in ``out/tiles`` complete or not at all. The same call continues a run that was
    interrupted at any moment: finished tiles are kept if they were made from the same inputs.

    Parameters
    ----------
    aoi, year, archive, model, season, resolution, crs, memory, device, weather, allow_gaps
    mask_classes, clip
        As for `cubecrop.classify`. Without ``crs``, an area over several UTM zones is mapped in
        each of them, up to the meridians between them. Without ``archive``, an earlier plan in
        ``out`` keeps its own, whatever the environment names since. Without ``model``,
        `CropModel.default()` classifies.
    out : path or URL
        Folder of the run, or an address such as ``s3://bucket/run`` that fsspec can write to. All
        workers must be able to read and write it.
    parcels : geopandas.GeoDataFrame or path, optional
        Parcels to classify, as for `cubecrop.classify_parcels`. A parcel belongs to one tile, and
        is sampled whole, also beyond the tile's edge.
    client : distributed.Client, optional
        Client of a Dask cluster. Each worker process maps one tile at a time, with as many
        threads as it has. By default tiles are mapped in this process, one after another.
    tile : float, default 20480
        Side of a tile in metres. Multiples of 20,480 never cut through a block of a Sentinel-2
        file, so that no block is read twice.
    clouds : {"scl", "probability"}, optional
        The cloud mask; by default that of training.
    mask : {"auto", "worldcover", "landcover"}, GeoDataFrame, path, DataArray or None
        Where crops grow, as for `cubecrop.classify`. Parcels and arrays are stored in ``out/plan``;
        all workers must be able to read a GeoTIFF. With another mask, tiles are mapped again.
        Parcels are classified whatever the mask.
    layers : sequence of {"set_size", "level", "crop_at_level"}, default ()
        Layers to write beside crops and confidence, as in `cubecrop.write_map`. With other layers,
        tiles are mapped again.
    max_lost : float, default 0
        Share of a tile's items, 0 to 1, that may be unreadable; see `cubecrop.write_map`. A tile
        with more of them fails, and the others go on.
    attempts : int, default 3
        How often a tile is tried if a server does not answer, or if its files are unreadable for
        another reason that may pass.
    resources : mapping, optional
        Dask resources that a worker must have to get a tile, such as ``{"GPU": 1}``.
    replan : bool, default False
        Search the archive again and replace the plan. By default the plan in ``out`` is used.
    retry_failed : bool, default False
        Only try the tiles that failed.
    progress : bool, default True
        Show a progress bar on a terminal or in a notebook.

    Returns
    -------
    RegionRun
        A table of the tiles and their outcomes. Failed tiles raise no error; they are listed, and
        the same call tries them again.

    Raises
    ------
    NoScenesError, ParcelError, AoiError, ModelFormatError, SchemaError
        As for `cubecrop.classify` and `cubecrop.classify_parcels`, before any tile is begun.
    ArgumentError
        A tile needs more memory than a worker has, and the message says what would fit; or the
        model does not give one of the layers; or the mask lies elsewhere than the area.
    ClusterError
        The cluster is not there, or went away. Finished tiles are kept.
    OutputError
        ``out`` holds another run or other files, or cannot be written.
    """
    attempts = check_whole("attempts", attempts, minimum=1)
    for name, flag in (("progress", progress), ("retry_failed", retry_failed)):
        check_flag(name, flag)
    check_device_name(device)
    if client is not None:
        check_client(client, resources)
    crop_model = as_model(model)
    the_plan = plan_region(
        aoi, year, out, archive=archive, model=crop_model, parcels=parcels, season=season,
        tile=tile, resolution=resolution, crs=crs, memory=memory, clouds=clouds, weather=weather,
        allow_gaps=allow_gaps, mask=mask, mask_classes=mask_classes, clip=clip,
        layers=layers, max_lost=max_lost, replan=replan, progress=progress,
    )  # fmt: skip
    check_capacity(the_plan, client, resources)
    with RunLog(the_plan.output) as log:
        driver = Driver(the_plan, crop_model, log, client=client, device=device, attempts=attempts)
        return driver.run(resources=resources, retry_failed=retry_failed, progress=progress)
