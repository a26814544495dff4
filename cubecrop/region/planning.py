"""`plan`: find scenes once, cut an area into tiles, price them, and freeze all of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from cubecrop.archive.finding import items_with_scenes, no_weather, why_nothing
from cubecrop.checks import check_flag
from cubecrop.cube import MEMORY
from cubecrop.cube.tiles import SIDE, lands_of
from cubecrop.display import listed
from cubecrop.errors import (
    ArgumentError,
    NoScenesError,
    ParcelError,
)
from cubecrop.pipeline.inputs import (
    where_they_are,
    within_archive,
)
from cubecrop.pipeline.masks import AUTO, cropland_classes, no_landcover, with_landcover
from cubecrop.progress import Bar, progress_bar
from cubecrop.region.arguments import Job, checked
from cubecrop.region.earlier import check_output, check_same, frozen_before, sources_before
from cubecrop.region.items import IMAGES, WEATHER, FrozenItems, freeze
from cubecrop.region.land import mask_query, write_land
from cubecrop.region.layout import MARGIN, drafts_of, read_area
from cubecrop.region.options import digest_of
from cubecrop.region.output import Output
from cubecrop.region.parcels import (
    digests_of,
    owned,
    pairs_of,
    write_pairs,
    write_table,
)
from cubecrop.region.plan_picture import draw_plan
from cubecrop.region.planned import (
    FORMAT,
    INPUTS,
    ITEMS,
    PAIRS,
    PARCELS,
    PICTURE,
    RUN,
    TILES,
    PlannedTile,
    RegionPlan,
    plan_digest,
    software,
    tiles_table,
)
from cubecrop.region.price import Prices, bytes_per_km2
from cubecrop.region.state import check_alone
from cubecrop.region.tile_items import items_of_tiles, outlines
from cubecrop.sample import plain_parcels
from cubecrop.schema import SERIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import geopandas as gpd
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from cubecrop.archive import Archive
    from cubecrop.cube.tiles import Lands
    from cubecrop.model import CropModel
    from cubecrop.pipeline.masks import Mask
    from cubecrop.region.layout import Draft
    from cubecrop.region.parcels import Pairs
    from cubecrop.schema import Modality, Scene
    from cubecrop.season import Season

__all__ = ["plan"]


def plan(
    aoi: object,
    year: int,
    out: str | Path,
    *,
    archive: str | Path | Archive | None = None,
    model: CropModel | str | Path | None = None,
    parcels: gpd.GeoDataFrame | str | Path | None = None,
    season: Season | None = None,
    tile: float = SIDE,
    resolution: float | None = None,
    crs: str | int | None = None,
    memory: float = MEMORY,
    clouds: str | None = None,
    weather: str | Path | Archive | None = None,
    allow_gaps: bool = False,
    mask: Mask = AUTO,
    mask_classes: Sequence[str] | None = None,
    clip: bool = True,
    layers: Sequence[str] = (),
    max_lost: float = 0.0,
    replan: bool = False,
    progress: bool = True,
) -> RegionPlan:
    """Plan the map of a region, and write the plan; no pixel is read.

    The archive is searched once, and the very items are written to ``out``, so that a run of
    several days maps one archive. If ``out`` has a plan of the same area, year, archive, season,
    modalities, CRS, resolution and tile, its items are used again.

    Parameters
    ----------
    aoi : bbox, geometry, GeoDataFrame or path
        Area of interest of any size. If it is a rectangle, its bounding rectangle in each UTM
        zone is mapped, as by `classify`; of any other form, only tiles that meet it are. A table
        of up to 1,000 shapes is their union, and one of more its bounding rectangle, of which
        ``clip`` leaves out tiles without a shape.
    year : int
        Harvest year.
    out : path or URL
        Folder of the run, local or such as ``s3://bucket/run``: missing, empty, or of an earlier
        plan.
    archive : str, Path or Archive, optional
        Archive of the images. By default that of an earlier plan in ``out``, or else as for
        `classify`.
    model : CropModel or path, optional
        The model that will classify. By default `CropModel.default()`.
    parcels : geopandas.GeoDataFrame or path, optional
        Parcels to classify: columns ``id`` (unique), ``geometry``; any CRS. Those count whose
        representative point lies in the area.
    season : Season, optional
        Season to use instead of the model's own season window in the harvest year.
    tile : float, default 20480
        Side of a tile in metres. Multiples of 10,240 (of 20,480 for 20 m bands) do not cut
        through blocks of files.
    resolution, crs, memory, allow_gaps, mask_classes, clip
        As for `classify`. By default each tile has the CRS of its UTM zone.
    clouds : {"scl", "probability"}, optional
        The cloud mask; by default that of training. Workers know no functions.
    weather : str, Path or Archive, optional
        Archive or store of the weather, if it is not in ``archive``; see `search`.
    mask : {"auto", "worldcover", "landcover"}, GeoDataFrame, path, DataArray or None
        Where crops grow, as for `classify`. Parcels and arrays are stored in the plan; all workers
        must be able to read a GeoTIFF.
    layers : sequence of {"set_size", "level", "crop_at_level"}, default ()
        Layers to write beside crops and confidence; see `write_map`.
    max_lost : float, default 0
        Share of a tile's scenes that may be unreadable; see `write_map`.
    replan : bool, default False
        Search again and replace an earlier plan.
    progress : bool, default True
        Show progress on a terminal or in a notebook.

    Returns
    -------
    RegionPlan

    Raises
    ------
    NoScenesError
        The archive has no image of the area in the season.
    ParcelError
        Parcels are not a table with ids and a CRS, or none lies in the area and the archive.
    OutputError
        ``out`` holds something else, another run or another version's plan, a run is going on
        there, or it cannot be written.
    ModelFormatError, ModelMismatchError
        There is no model, or it takes the shape of parcels and there are none.
    AoiError, ArchiveError, SeasonError, SchemaError, ArgumentError
        An argument has a wrong type or is out of its range, the model does not give one of the
        layers, or the mask lies elsewhere than the area; the message names it.
    """
    check_flag("replan", replan)
    archive, weather = sources_before(Output.at(out), archive, weather, replan=replan)
    job = checked(
        aoi, year, out, archive=archive, model=model, parcels=parcels, season=season, tile=tile,
        resolution=resolution, crs=crs, memory=memory, clouds=clouds, weather=weather,
        allow_gaps=allow_gaps, mask=mask, mask_classes=mask_classes, clip=clip, layers=layers,
        max_lost=max_lost,
    )  # fmt: skip
    check_flag("progress", progress)
    earlier = check_output(job.output, replan=replan)
    check_alone(job.output)
    if earlier is not None and not replan:
        check_same(job.output, earlier, job.options, job.area_row)
    with progress_bar("Planning tiles", unit="items", progress=progress) as bar:
        return _written(job, None if replan else earlier, bar)


def _written(job: Job, earlier: Mapping[str, Any] | None, bar: Bar) -> RegionPlan:
    options, output = job.options, job.output
    modalities = with_landcover(options.modalities, job.mask)
    lands = lands_of(job.area, resolution=options.resolution, crs=options.crs)
    pairs = None if job.table is None else _pairs(job, job.table, lands)
    drafts = drafts_of(
        job.area, lands, pairs, side=options.tile, resolution=options.resolution,
        maps=not job.model.config.geometry, outline=job.outline,
    )  # fmt: skip
    if not drafts:
        raise ParcelError(
            "there are no parcels, and the model classifies nothing else. Pass some, or a model "
            "that takes no shape of parcels."
        )
    shapes = outlines(drafts)
    if earlier is None:
        where = read_area(drafts, margin=MARGIN)
        with output.new_file(ITEMS) as path:
            freeze(path, _found(job, modalities, where, bar))
            items = FrozenItems.read(path)
            rows = _checked_rows(job, items, shapes)
    else:
        items = frozen_before(output, earlier, read_area(drafts), modalities)
        modalities = tuple(earlier["items"]["modalities"])
        where = shapely.from_wkb(earlier["searched"])
        rows = _checked_rows(job, items, shapes)
    job = _with_mask(job, items)
    options = job.options
    tiles = _planned(job, drafts, pairs, items, rows, shapes)
    made = RegionPlan(
        output=output, options=options, model_digest=job.model.digest, tiles=tiles,
        n_items=len(items), items_digest=items.digest,
        n_parcels=None if job.table is None else len(job.table),
        n_without_tile=0 if pairs is None else int((pairs.owner < 0).sum()),
        area=str(job.area), digest=plan_digest(options, tiles),
        mask_query=mask_query(job.mask),
    )  # fmt: skip
    is_drawn = earlier is not None and earlier["digest"] == made.digest and output.exists(PICTURE)
    _write(job, made, pairs, items, where, modalities, draw=not is_drawn)
    return made


def _with_mask(job: Job, items: FrozenItems) -> Job:
    """The job with the land cover that the archive has; raises if it lacks the one asked for."""
    row = job.options.mask
    if row is None or not job.mask.needs_landcover:
        return job
    there = items.collections_of("landcover")
    rules = job.source.provider.collections
    chosen = next((key for key in rules if key in there and row["collection"] in ("", key)), None)
    if chosen is None:
        if row["kind"] == AUTO and row["classes"] is None:
            return replace(job, options=replace(job.options, mask=None))
        raise no_landcover(job.mask, job.source.name, listed(sorted(there)))
    known = set(rules[chosen].classes.values())
    if strange := sorted({*(row["classes"] or ())} - known):
        raise ArgumentError(
            f"mask_classes name {strange}, which {rules[chosen].product} does not have; it has "
            f"{sorted(known)}."
        )
    classes = [
        name for name in row["classes"] or cropland_classes(job.model.nomenclature)
        if name in known
    ]  # fmt: skip
    mask = {
        "kind": "landcover", "collection": chosen, "product": rules[chosen].product,
        "classes": classes,
    }  # fmt: skip
    modalities = with_landcover(job.options.modalities, job.mask)
    return replace(job, options=replace(job.options, mask=mask, modalities=modalities))


def _pairs(job: Job, table: gpd.GeoDataFrame, lands: list[Lands]) -> Pairs:
    places = plain_parcels(table)
    within = within_archive(places, job.source)
    pairs = pairs_of(
        table, job.area, lands, within=within, side=job.options.tile,
        resolution=job.options.resolution,
    )  # fmt: skip
    if len(table) and not pairs.tiles:
        what = "the archive" if not within.any() else f"the area ({job.area})"
        raise ParcelError(
            f"none of the {len(table)} parcels lies in {what}: "
            f"{where_they_are(places, job.source)}. Pass the parcels of the area, or leave them "
            "out."
        )
    return pairs


def _found(
    job: Job, modalities: Sequence[Modality], where: BaseGeometry, bar: Bar
) -> Iterator[tuple[str, Mapping[str, Any], Scene, Mapping[str, float]]]:
    """All items of the area, as `freeze` takes them."""
    season, weather = job.options.season, job.options.weather
    for modality in modalities:
        source, kind = job.source, IMAGES
        if modality == "weather" and weather is not None:
            if job.weather is None:
                continue  # a store
            source, kind = job.weather, WEATHER
        for item, scene in items_with_scenes(source, modality, where, season):
            yield kind, item, scene, bytes_per_km2(scene, item)
            bar.advance()


def _checked_rows(
    job: Job, items: FrozenItems, shapes: NDArray[np.object_]
) -> list[NDArray[np.int64]]:
    """Rows of the items of each tile; raises if there is nothing to map with."""
    options = job.options
    rows = items_of_tiles(items, shapes)
    satellites = np.isin(items.modality, list(SERIES))
    if not any(satellites[some].any() for some in rows):
        raise NoScenesError(why_nothing(job.source, job.area, options.season, options.modalities))
    if job.weather is not None and not (items.archive == WEATHER).any():
        raise NoScenesError(no_weather(job.weather, job.area, options.season))
    return rows


def _planned(
    job: Job,
    drafts: list[Draft],
    pairs: Pairs | None,
    items: FrozenItems,
    rows: list[NDArray[np.int64]],
    shapes: NDArray[np.object_],
) -> tuple[PlannedTile, ...]:
    """The drafts with their items, digests and prices."""
    options = job.options
    satellites = np.isin(items.modality, list(SERIES))
    prices = Prices.of(items, options)
    of_parcels = {} if pairs is None or job.table is None else digests_of(job.table, pairs)
    numbers = {} if pairs is None else owned(pairs)
    same = {
        "model": job.model.digest, "options": options.digest, "software": digest_of(software()),
    }  # fmt: skip
    tiles = []
    for draft, some, shape in zip(drafts, rows, shapes, strict=True):
        tile = draft.tile
        inputs = {
            **same,
            "items": items.digest_of(some),
            "parcels": of_parcels.get(tile, digest_of(None)),
            "grid": digest_of(
                [tile.crs, options.resolution, draft.mapped, draft.read, draft.is_shared]
            ),
        }
        touching, n_edge = (0, 0) if pairs is None else (pairs.count(tile), pairs.on_edge(tile))
        n_bytes, requests = prices.reading(draft.read, some, shape)
        tiles.append(
            PlannedTile(
                tile=tile, mapped=draft.mapped, read=draft.read, is_shared=draft.is_shared,
                scenes=int(satellites[some].sum()), bytes=n_bytes, requests=requests,
                memory=prices.results(draft.mapped, some, n_edge),
                parcels=numbers.get(tile, 0), touching=touching,
                inputs={name: inputs[name] for name in INPUTS},
            )
        )  # fmt: skip
    return tuple(tiles)


def _write(
    job: Job,
    made: RegionPlan,
    pairs: Pairs | None,
    items: FrozenItems,
    where: BaseGeometry,
    modalities: Sequence[Modality],
    *,
    draw: bool,
) -> None:
    """Write all files but the items; run.json, which proves the plan, comes last."""
    output, options = made.output, made.options
    if job.table is not None and pairs is not None:
        with output.new_file(PARCELS) as path:
            write_table(path, job.table, pairs)
        with output.new_file(PAIRS) as path:
            write_pairs(path, job.table, pairs)
    else:
        output.remove(PARCELS)
        output.remove(PAIRS)
    write_land(output, job.mask, job.outline)
    with output.new_file(TILES) as path:
        tiles_table(made.tiles).to_parquet(
            path, index=False, compression="zstd", schema_version="1.1.0"
        )
    if draw:
        with output.new_file(PICTURE) as path:
            draw_plan(path, made, job.area, job.table)
    output.write_json(
        RUN,
        {
            "format": FORMAT,
            **software(),
            "digest": made.digest,
            "area": job.area_row,
            "crs": sorted({tile.tile.crs for tile in made.tiles}),
            "options": options.to_json(),
            "model": made.model_digest,
            "items": {
                "count": len(items), "digest": made.items_digest, "modalities": list(modalities),
            },
            "parcels": {
                "count": made.n_parcels,
                "without_tile": made.n_without_tile,
            },
            "searched": shapely.to_wkb(where, hex=True),
        },
    )  # fmt: skip
