"""The task of one tile: read its land once, map it, classify its parcels, leave evidence."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import dask
import numpy as np
import pandas as pd
import xarray as xr

from cubecrop.archive.catalog import FileArchive
from cubecrop.classification import classify_pixel_sets, classify_pixels, parcel_table
from cubecrop.errors import NoScenesError, OutputError
from cubecrop.lost_scenes import tolerate
from cubecrop.nomenclature import NODATA
from cubecrop.pipeline.known import parts_known
from cubecrop.pipeline.masks import land_of
from cubecrop.progress import compute
from cubecrop.region.capacity import usable_threads
from cubecrop.region.edges import EDGE_PIXELS, opened_parts, whole_sets, write_part
from cubecrop.region.evidence import (
    files_in,
    peak_memory,
    sizes_in,
    worker_name,
)
from cubecrop.region.failures import TransientError, is_transient_text
from cubecrop.region.heap import heap_kept
from cubecrop.region.options import digest_of
from cubecrop.region.output import PROOF
from cubecrop.region.planned import RUN, RegionPlan
from cubecrop.region.zones import foreign_pixels, n_owned
from cubecrop.sample import plain_parcels, reading_order, sample_pixel_sets
from cubecrop.write.cog import NO_DATES
from cubecrop.write.crop_map import check_losses, write_rasters
from cubecrop.write.layers import LAYERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

    from cubecrop.lost_scenes import Loss
    from cubecrop.model import CropModel, ModelHandle
    from cubecrop.region.output import Output
    from cubecrop.region.planned import PlannedTile

__all__ = ["PARCELS", "Job", "collection_id", "do"]

#: File with the predictions of a tile's parcels.
PARCELS: Final = "parcels.parquet"
#: One tile at a time in a process: a tile uses all threads of its worker.
_ONE = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a task needs; small enough to be sent to a worker.

    Parameters
    ----------
    kind : {"tiles", "edges"}
        Whether to map a tile and classify the parcels in it, or to classify the parcels of the
        tile that cross its edges.
    output : Output
        Where the run lies.
    plan_digest : str
        Digest of the plan, which workers read from the output.
    model : ModelHandle
        The model handle.
    tile : PlannedTile
        The tile.
    inputs : mapping
        Digests of everything that the results depend on, by name. For edges, the names are the
        tiles that store a part of the parcels.
    device : str or None
        Device that predicts.
    attempt : int
        Number of this attempt, from 1.
    mask_query : str
        Query of the address of the mask, such as a signature, which no file of the run holds.
    is_last : bool
        Whether no attempt follows. Files that cannot be read for a reason that may pass count as
        lost only then.
    """

    kind: Literal["tiles", "edges"]
    output: Output
    plan_digest: str
    model: ModelHandle
    tile: PlannedTile
    inputs: Mapping[str, str]
    device: str | None = None
    mask_query: str = field(default="", repr=False)
    attempt: int = 1
    is_last: bool = False

    @property
    def folder(self) -> str:
        """Where the results go."""
        return f"{self.kind}/{self.tile.tile.id}"

    @property
    def digest(self) -> str:
        """Digest of all inputs."""
        return digest_of(self.inputs)


def collection_id(plan: RegionPlan) -> str:
    """Id of the STAC collection of a region: the same for each plan of an area and a year."""
    return f"crop-types-{plan.options.year}-{digest_of(plan.area)[:8]}"


def do(job: Job) -> dict[str, Any]:
    """Do a job and write its results; returns its evidence, without pixels.

    Dask may run a job on two workers if it loses sight of one. The results are equal, so those of
    the first stay.

    Raises
    ------
    TransientError, ReadError, ModelMismatchError, OutputError
        The tile cannot be made; nothing is written.
    """
    with _ONE, heap_kept():
        try:
            return _done(job)
        except OutputError:
            found = job.output.read_json(f"{job.folder}/{PROOF}")
            if isinstance(found, dict) and found.get("digest") == job.digest:
                return found
            raise


def _done(job: Job) -> dict[str, Any]:
    started, clock = dt.datetime.now(dt.UTC), time.monotonic()
    plan = replace(_plan(job.output, job.plan_digest), mask_query=job.mask_query)
    model = job.model.model()
    threads = usable_threads(plan, job.tile)
    with (
        dask.config.set(num_workers=threads),
        job.output.new_folder(job.folder) as folder,
    ):
        make = _map_tile if job.kind == "tiles" else _classify_edges
        about = make(job, plan, model, folder)
        evidence = {
            "tile": job.tile.tile.id,
            "digest": job.digest,
            "inputs": dict(job.inputs),
            **about,
            "seconds": round(time.monotonic() - clock, 3),
            "started": started.isoformat(timespec="seconds"),
            "finished": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "attempts": job.attempt,
            "threads": threads,
            "worker": worker_name(),
            "peak_memory": peak_memory(),
            "files": files_in(folder),
            "sizes": sizes_in(folder),
        }
        (folder / PROOF).write_text(json.dumps(evidence, indent=2) + "\n", encoding="utf-8")
    return evidence


def _map_tile(job: Job, plan: RegionPlan, model: CropModel, folder: Path) -> dict[str, Any]:
    """Read a tile, map it and sample its parcels in one pass over the files."""
    tile, options = job.tile, plan.options
    name, parcels = tile.tile.id, plan.parcels(tile)
    is_owned = parcels["owner"] == name
    n_edges = int((is_owned & ~parcels["is_whole"]).sum())
    about: dict[str, Any] = {
        "outcome": "done",
        "items": [],
        "lost": [],
        "bytes": tile.bytes,
        **_counts(0),
        "parcels": {"owned": int(is_owned.sum()), "predicted": 0, "on edges": n_edges},
    }
    request = plan.request(tile)
    try:
        cube = request.open(tile.area)
    except NoScenesError as error:
        if tile.scenes and isinstance(request.weather, FileArchive) and not request.weather.records:
            raise  # there are images, but not the weather that the model needs
        empty = _counts(n_owned(tile, options.resolution, plan.outline))
        return about | empty | {"outcome": "no images", "reason": str(error), "bytes": 0}
    gaps, device = options.allow_gaps, job.device
    lazy: dict[str, xr.Dataset | xr.DataTree] = {}
    if tile.mapped is not None:
        land, mask = land_of(cube, plan.mask, plan.outline, model.nomenclature)
        crop_map = classify_pixels(cube, model, land=land, allow_gaps=gaps, device=device)
        crop_map = _window(crop_map.assign_attrs(mask=mask), tile)
        lazy["map"] = crop_map[["crop_type", "confidence", "clear_dates", *options.layers]]
    whole = _in_reading_order(cube, parcels[is_owned & parcels["is_whole"]])
    if len(whole):
        lazy["parcels"] = classify_pixel_sets(
            _sets(cube, whole, model), model, allow_gaps=gaps, device=device
        )
    edges = _in_reading_order(cube, parcels[~parcels["is_whole"]])
    if len(edges):
        lazy["edges"] = _sets(cube, edges, model)
    values, lost = _computed(lazy, lose=options.max_lost > 0)
    if not job.is_last and (passing := [one for one in lost if is_transient_text(one.error)]):
        raise TransientError(f"{len(passing)} files could not be read: {passing[0].error}")
    about["items"] = [str(item) for item in np.atleast_1d(cube.attrs["items"])]
    about["lost"] = [loss.told() for loss in lost]
    check_losses(lost, about["items"], options.max_lost)
    if "map" in values:
        home = (job.output.folder or Path("/")) / job.folder
        about |= _write_map(
            folder, values["map"], tile, lost, home=home, collection=collection_id(plan)
        )
    if "parcels" in values:
        table = _table(whole, values["parcels"], model)
        about["parcels"]["predicted"] = int((table["status"] == "predicted").sum())
        table.to_parquet(folder / PARCELS, index=False)
    if "edges" in values:
        write_part(folder / EDGE_PIXELS, values["edges"])
    return about


def _classify_edges(job: Job, plan: RegionPlan, model: CropModel, folder: Path) -> dict[str, Any]:
    """Classify parcels across the edges of a tile from the parts that its neighbours stored."""
    name = job.tile.tile.id
    parcels = plan.parcels(job.tile)
    own = parcels[(parcels["owner"] == name) & ~parcels["is_whole"]]
    ids = plain_parcels(own)["id"].tolist()
    with opened_parts(job.output, job.inputs) as parts:
        if name in parts:
            gaps = plan.options.allow_gaps
            tables = [
                _table(
                    own.iloc[places],
                    classify_pixel_sets(sets, model, allow_gaps=gaps, device=job.device).compute(
                        scheduler="synchronous"
                    ),
                    model,
                )
                for sets, places in whole_sets(parts, name, ids)
            ]
        else:
            tables = [_unpredicted(own, "no image of its tile")]
    table = pd.concat(tables).sort_values("parcel").reset_index(drop=True)
    table.to_parquet(folder / PARCELS, index=False)
    predicted = int((table["status"] == "predicted").sum())
    return {
        "outcome": "done",
        "parcels": {"owned": len(own), "predicted": predicted, "on edges": len(own)},
    }


def _computed(
    lazy: dict[str, xr.Dataset | xr.DataTree], *, lose: bool
) -> tuple[dict[str, Any], list[Loss]]:
    """Compute datasets and trees together, so that each file is read once, and list lost files."""
    trees = {
        key: one if isinstance(one, xr.DataTree) else xr.DataTree(one) for key, one in lazy.items()
    }
    nodes = {
        (key, node.path): node.to_dataset(inherit=False)
        for key, tree in trees.items()
        for node in tree.subtree
    }
    places = [(place, name) for place, node in nodes.items() for name in node.data_vars]
    arrays, report = tolerate([nodes[place][name].data for place, name in places], lose=lose)
    *results, lost = compute(
        *arrays,
        report,
        description="",
        progress=False,
        scheduler="synchronous" if dask.config.get("num_workers") == 1 else "threads",
    )
    for (place, name), result in zip(places, results, strict=True):
        nodes[place] = nodes[place].assign({name: nodes[place][name].copy(data=result)})
    values: dict[str, Any] = {}
    for key, one in lazy.items():
        own = {path: node for (owner, path), node in nodes.items() if owner == key}
        is_tree = isinstance(one, xr.DataTree)
        values[key] = xr.DataTree.from_dict(own, name=one.name) if is_tree else own["/"]
    return values, lost or []


def _window(crop_map: xr.Dataset, tile: PlannedTile) -> xr.Dataset:
    """The part of a map that the tile maps; the cube also reads what its parcels need."""
    assert tile.mapped is not None  # noqa: S101 (for type checkers)
    left, bottom, right, top = tile.mapped
    x, y = crop_map["x"].to_numpy(), crop_map["y"].to_numpy()
    return crop_map.isel(
        y=np.flatnonzero((y > bottom) & (y < top)), x=np.flatnonzero((x > left) & (x < right))
    )


def _write_map(
    folder: Path,
    crop_map: xr.Dataset,
    tile: PlannedTile,
    lost: Sequence[Loss],
    *,
    home: Path,
    collection: str,
) -> dict[str, Any]:
    """Write the rasters and the item of a tile; pixels of another zone have no data."""
    x, y = crop_map["x"].to_numpy(), crop_map["y"].to_numpy()
    if (foreign := foreign_pixels(x, y, tile)) is not None:
        keep = xr.DataArray(~foreign, dims=("y", "x"))
        fills = {"crop_type": NODATA, "confidence": np.nan, "clear_dates": NO_DATES}
        fills |= {layer: one.nodata for layer, one in LAYERS.items() if layer in crop_map}
        for name, fill in fills.items():
            one = crop_map[name]
            kept = one.where(keep, one.dtype.type(fill)).astype(one.dtype)
            crop_map = crop_map.assign({name: kept.assign_attrs(one.attrs)})
    write_rasters(folder, crop_map, lost=lost, home=home, collection=collection)
    # Pixels of another zone, and those outside of the area, have no dates.
    is_own = crop_map["clear_dates"].isel(sensor=0).to_numpy() != NO_DATES
    own = crop_map["crop_type"].to_numpy()[is_own]
    return _counts(own.size, np.bincount(own, minlength=NODATA + 1))


def _counts(pixels: int, counts: NDArray[np.int64] | None = None) -> dict[str, Any]:
    """Pixels of each class index or code; without counts, no pixel has data."""
    if counts is None:
        counts = np.zeros(NODATA + 1, np.int64)
        counts[NODATA] = pixels
    return {
        "pixels": pixels,
        "counts": {str(value): int(counts[value]) for value in np.flatnonzero(counts)},
        "share_without_data": round(float(counts[NODATA]) / pixels, 6) if pixels else 0.0,
    }


def _in_reading_order(cube: xr.DataTree, parcels: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return parcels.iloc[reading_order(cube, parcels)] if len(parcels) else parcels


def _sets(cube: xr.DataTree, parcels: gpd.GeoDataFrame, model: CropModel) -> xr.DataTree:
    return sample_pixel_sets(cube, plain_parcels(parcels), n_pixels=model.n_pixels)


def _table(parcels: gpd.GeoDataFrame, found: xr.Dataset, model: CropModel) -> pd.DataFrame:
    """Predictions of parcels, without their ids and geometries."""
    part = parts_known(model, plain_parcels(parcels))
    bare = parcels[["parcel", "id", "geometry"]]
    table = parcel_table(bare, found, model, part=part)
    ordered: pd.DataFrame = table.drop(columns=["id", "geometry"]).sort_values("parcel")
    return ordered.reset_index(drop=True)


def _unpredicted(parcels: gpd.GeoDataFrame, status: str) -> pd.DataFrame:
    bare: pd.DataFrame = parcels[["parcel"]].assign(status=status)
    return bare.reset_index(drop=True)


@lru_cache(maxsize=2)
def _plan(output: Output, digest: str) -> RegionPlan:
    """The plan, read once per process."""
    if not output.exists(RUN):
        raise OutputError(
            f"{worker_name()} does not see {output.href(RUN)}. All workers must reach the output: "
            "name a folder on a disk that they share, or an address such as s3://bucket/run."
        )
    plan = RegionPlan.read(output)
    if plan.digest != digest:
        raise TransientError(f"{output.url} holds another plan than the run that is going on.")
    return plan
