"""The STAC collection of a region: its extent, classes and model, and an item a tile."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pystac

from cubecrop.circle import arc_of, wrap
from cubecrop.nomenclature import NODATA
from cubecrop.write.layers import LAYERS
from cubecrop.write.stac import EXTENSIONS, class_objects

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from cubecrop.region.output import Output
    from cubecrop.region.results import TileResult
    from cubecrop.write.provenance import Provenance

__all__ = ["COLLECTION", "region_classes", "write_collection"]

COLLECTION: Final = "collection.json"
#: Title, media type and role of each file that may stand beside the collection.
_FILES: Final = {
    "crop_type.vrt": ("Crop type of the whole region, one raster", "application/xml", "data"),
    "confidence.vrt": ("Confidence of the whole region, one raster", "application/xml", "data"),
    "clear_dates.vrt": ("Clear dates of the whole region, one raster", "application/xml", "data"),
    **{f"{name}.vrt": (f"{one.title}, whole region", "application/xml", "data")
       for name, one in LAYERS.items()},
    "crop_type.qml": ("Style of crop_type.vrt for QGIS", pystac.MediaType.XML, "style"),
    "confidence.qml": ("Style of confidence.vrt for QGIS", pystac.MediaType.XML, "style"),
    **{f"{name}.qml": (f"Style of {name}.vrt for QGIS", pystac.MediaType.XML, "style")
       for name, one in LAYERS.items() if one.classes},
    "parcels.parquet": ("Parcels with predicted crops", pystac.MediaType.PARQUET, "data"),
    "areas.csv": ("Areas by crop", "text/csv", "metadata"),
    "region.png": ("Map in class colours with legend", pystac.MediaType.PNG, "overview"),
}  # fmt: skip


def region_classes(facts: Provenance, counts: Mapping[int, int]) -> list[dict[str, Any]]:
    """Classes of the region in the form of the classification extension, with their pixels."""
    numbers = np.zeros(NODATA + 1, dtype=np.int64)
    for value, count in counts.items():
        numbers[value] = count
    return class_objects(facts.nomenclature, facts.without_class, numbers)


def write_collection(
    output: Output,
    tiles: Sequence[TileResult],
    facts: Provenance,
    *,
    name: str,
    classes: list[dict[str, Any]],
    files: Collection[str],
) -> None:
    """Write the collection.

    Parameters
    ----------
    output : Output
        The run's folder.
    tiles : sequence of TileResult
        The finished tiles that map pixels, at least one.
    facts : Provenance
        Season and model of the region.
    name : str
        Id of the collection; the items name it.
    classes : list of dict
        As `region_classes` makes them.
    files : collection of str
        Names of the files beside it.
    """
    season = facts.season
    start = dt.datetime.combine(season.start, dt.time.min, dt.UTC)
    end = dt.datetime.combine(season.end, dt.time(23, 59, 59), dt.UTC)
    collection = pystac.Collection(
        id=name,
        title=facts.title,
        description=f"{facts.title}: {len(tiles):,} tiles mapped by cubecrop from the archive "
        f"{facts.archive} with the model {facts.model_name}, {season.start} to {season.end}.",
        license="other",
        extent=pystac.Extent(
            pystac.SpatialExtent([_bbox(tiles)]), pystac.TemporalExtent([[start, end]])
        ),
        summaries=pystac.Summaries(_summaries(tiles, facts, classes)),
        stac_extensions=list(EXTENSIONS),
        assets={
            file.replace(".qml", "_style").partition(".")[0]: pystac.Asset(
                f"./{file}", title=title, media_type=kind, roles=[role]
            )
            for file, (title, kind, role) in _FILES.items()
            if file in files
        },
    )
    for one in tiles:
        collection.add_link(
            pystac.Link(
                pystac.RelType.ITEM,
                f"./tiles/{one.id}/item.json",
                media_type=pystac.MediaType.GEOJSON,
                title=one.id,
            )
        )
    content = collection.to_dict(include_self_link=False, transform_hrefs=False)
    # pystac sets itself as the root, which has no address before it is saved.
    content["links"] = [link for link in content["links"] if link["rel"] != "root"]
    output.write_json(COLLECTION, content)


def _summaries(
    tiles: Sequence[TileResult], facts: Provenance, classes: list[dict[str, Any]]
) -> dict[str, Any]:
    software = {tuple(sorted(one.software.items())) for one in tiles}
    return {
        "proj:code": sorted({one.tile.crs for one in tiles}),
        "gsd": sorted({one.transform.a for one in tiles if one.transform is not None}),
        "processing:level": ["L4"],
        "processing:software": [dict(one) for one in sorted(software)],
        "classification:classes": classes,
        "cubecrop:season_year": [facts.season.year],
        "cubecrop:archive": [facts.archive],
        "cubecrop:model_name": [facts.model_name],
        "cubecrop:model_digest": [facts.model_digest],
        "cubecrop:nomenclature": [facts.nomenclature.name],
        **({"cubecrop:calibration": [facts.calibration]} if facts.calibration else {}),
    }


def _bbox(tiles: Sequence[TileResult]) -> list[float]:
    """The smallest bbox of all tiles; west > east across the 180th meridian."""
    boxes = np.array([one.bbox for one in tiles], dtype=np.float64)
    west, south, east, north = boxes.T
    start, end = arc_of(west, np.where(east < west, east + 360, east))
    return [start, float(south.min()), float(wrap(end)), float(north.max())]
