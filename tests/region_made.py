"""Tiles of a region as its tasks write them, made of random pixels for tests."""

import json
from dataclasses import dataclass, replace

import numpy as np
from crop_maps import fake_map

from cubecrop.cube.tiles import Tile
from cubecrop.nomenclature import NODATA
from cubecrop.region.output import PROOF
from cubecrop.region.status import failure_name
from cubecrop.write.cog import NO_DATES, write_clear_dates, write_confidence, write_crop_type
from cubecrop.write.facts import MapFacts
from cubecrop.write.provenance import Provenance
from cubecrop.write.stac import write_item

SIDE = 640.0
SENSORS = ("sentinel2", "sentinel1")
COLLECTION = "crop-types-2018-test"


@dataclass(frozen=True)
class PlannedTile:
    tile: Tile
    mapped: tuple
    digest: str = "d"


def planned(column, row, *, crs="EPSG:32631", left=500_000.0, top=5_650_000.0, side=SIDE):
    west, north = left + column * side, top - row * side
    tile = Tile(crs, west, north - side, west + side, north)
    return PlannedTile(tile, tile.bounds)


def facts_of(dataset):
    return replace(MapFacts.of(dataset), marks=())


def provenance():
    facts = facts_of(fake_map(np.zeros((2, 2), "uint8")))
    names = Provenance.__dataclass_fields__
    return Provenance(**{name: getattr(facts, name) for name in names})


def values_of(planned):
    """Classes of a tile: stripes that go on over the edges of tiles."""
    left, bottom, right, top = planned.mapped
    x = np.arange(left + 5, right, 10)
    y = np.arange(top - 5, bottom, -10)
    stripes = ((x[None, :] // 80 + y[:, None] // 120) % 4).astype("uint8")
    stripes[(x[None, :] // 10 + y[:, None] // 10) % 50 == 0] = NODATA
    return stripes


def write_tile(output, planned, *, values=None, sensors=SENSORS, parcels=None, owned=None):
    """Write a tile's folder; ``owned`` is where its zone has pixels."""
    values = values_of(planned) if values is None else values
    if owned is not None:
        values = np.where(owned, values, NODATA).astype("uint8")
    x, y = planned.tile.left, planned.tile.top
    facts = facts_of(fake_map(values, x=x, y=y, crs=planned.tile.crs))
    confidence = np.where(values == NODATA, np.nan, 0.5 + values / 10).astype("float32")
    clear = np.stack([values.astype("uint16") + 10 * i for i in range(len(sensors))])
    clear[:, values == NODATA] = NO_DATES
    counts = np.bincount(values.ravel(), minlength=256)
    with output.new_folder(f"tiles/{planned.tile.id}") as folder:
        write_crop_type(folder / "crop_type.tif", values, facts)
        write_confidence(folder / "confidence.tif", confidence, facts)
        write_clear_dates(folder / "clear_dates.tif", clear, facts, sensors)
        write_item(
            folder / "item.json", facts, counts=counts, home=folder, sensors=sensors,
            collection=COLLECTION,
        )  # fmt: skip
        if parcels is not None:
            parcels.to_parquet(folder / "parcels.parquet")
        write_evidence(folder, counts=counts, digest=planned.digest)
    return values


def write_evidence(folder, *, counts=(), digest="d", outcome="done", inputs=()):
    files = dict.fromkeys(sorted(path.name for path in folder.iterdir()), "sha")
    told = {str(value): int(n) for value, n in enumerate(counts) if n}
    evidence = {
        "outcome": outcome, "digest": digest, "inputs": dict(inputs), "counts": told,
        "files": files,
    }  # fmt: skip
    (folder / PROOF).write_text(json.dumps(evidence))


def write_failure(output, planned, error, *, kind="tiles"):
    output.write_json(failure_name(f"{kind}/{planned.tile.id}"), {"error": error})
