"""The STAC item of a crop map: classes, season, model and source items."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pyproj
import pystac
import shapely

from cubecrop._version import __version__
from cubecrop.circle import bbox_of, cut_at_180, unwrap
from cubecrop.nomenclature import MAX_CLASSES, NODATA, WITHOUT_CLASS, Crop
from cubecrop.texts import json_text, slug, without_paths
from cubecrop.write.cog import NO_DATES
from cubecrop.write.layers import LAYERS, layer_facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from cubecrop.lost_scenes import Loss
    from cubecrop.nomenclature import Mark, Nomenclature
    from cubecrop.write.facts import MapFacts

__all__ = ["EXTENSIONS", "class_objects", "write_item"]

EXTENSIONS: Final = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("projection/v2.0.0", "classification/v2.0.0", "processing/v1.1.0")
)
# Edges of a projected rectangle are curved in longitude and latitude. Cut into this many pieces,
# then simplified to a metre, they stay accurate over a tile of 100 km.
_EDGE_PIECES: Final = 16
_OUTLINE_TOLERANCE: Final = 1e-5  # degrees, about a metre
_OUTLINE_DECIMALS: Final = 7
#: The collection of an item in the folder ``tiles/<tile>``.
_COLLECTION: Final = "../../collection.json"


def write_item(
    path: Path,
    facts: MapFacts,
    *,
    counts: NDArray[np.intp],
    home: Path,
    lost: Sequence[Loss] = (),
    sensors: Sequence[str] = (),
    layers: Mapping[str, NDArray[np.uint8]] | None = None,
    collection: str | None = None,
    outside: int = 0,
) -> None:
    """Write the item of a crop map.

    Parameters
    ----------
    path : pathlib.Path
        JSON file to write; hrefs of the assets are relative to it.
    facts : MapFacts
        Grid, classes and provenance.
    counts : numpy.ndarray
        Pixels of each class index, 256 integers.
    home : pathlib.Path
        Final folder of the item, for links to source items on the same disk.
    lost : sequence of Loss
        Scenes that could not be read; the properties list them with the reasons.
    sensors : sequence of str
        Bands of ``clear_dates.tif``; without them the item has no such asset.
    layers : mapping of str to numpy.ndarray, optional
        Values (y, x) of the rasters of `cubecrop.write.layers` beside the map.
    collection : str, optional
        Id of the collection that the item belongs to, two folders above it. The collection has
        styles and a picture, so the item has none.
    outside : int, default 0
        Pixels without data that lie outside of the area, which was clipped to its polygons.
    """
    geometry, bbox = _outline(facts)
    item = pystac.Item(
        id=_identity(facts),
        geometry=geometry,
        bbox=bbox,
        datetime=None,
        start_datetime=dt.datetime.combine(facts.season.start, dt.time.min, dt.UTC),
        end_datetime=dt.datetime.combine(facts.season.end, dt.time(23, 59, 59), dt.UTC),
        properties={**_properties(facts), "cubecrop:lost": _loss_records(facts, lost)},
        stac_extensions=list(EXTENSIONS),
        assets={
            **_assets(facts, counts, outside),
            **(_clear_dates(sensors) if sensors else {}),
            **_layers(facts, layers or {}),
            **(_for_viewers(layers or {}) if collection is None else {}),
        },
    )
    if collection is not None:
        item.collection_id = collection
        for relation in (pystac.RelType.ROOT, pystac.RelType.PARENT, pystac.RelType.COLLECTION):
            item.add_link(pystac.Link(relation, _COLLECTION, media_type=pystac.MediaType.JSON))
    for name, href in zip(facts.items, facts.item_hrefs, strict=True):
        # An item without an address cannot be linked; `cubecrop:items` holds its id.
        if (place := _portable(href, home)) is not None:
            item.add_link(
                pystac.Link(
                    pystac.RelType.DERIVED_FROM,
                    place,
                    media_type=pystac.MediaType.GEOJSON,
                    title=name,
                )
            )
    content = item.to_dict(include_self_link=False, transform_hrefs=False)
    path.write_text(json_text(content, indent=2) + "\n", encoding="utf-8")


def class_objects(
    nomenclature: Nomenclature,
    marks: Iterable[Mark],
    counts: NDArray[np.intp],
    *,
    outside: int = 0,
) -> list[dict[str, Any]]:
    """Classes in the form of the classification extension 2.0, then codes without a class.

    Parameters
    ----------
    nomenclature : Nomenclature
        The map's classes.
    marks : iterable of Mark
        Codes without a class. One that no pixel has is left out, except nodata.
    counts : numpy.ndarray
        Pixels of each class index, 256 integers.
    outside : int, default 0
        How many of the pixels without data lie outside of the area.

    Returns
    -------
    list of dict
        ``value``, unique ``name`` of letters, digits, ``-`` and ``_``, ``title`` for people,
        ``color_hint``, ``count``. ``cubecrop:outside`` counts the pixels of nodata that lie
        outside of the area. ``cubecrop:no_class`` is true for a code without a class
        whose value could be a class index.
    """
    marks = list(marks)
    # Reserve all slugs, so that a class has the same name in every map.
    taken = {mark.slug for mark in (*marks, *WITHOUT_CLASS.values())}
    classes: list[dict[str, Any]] = []
    for value, crop in enumerate(nomenclature.crops):
        name = _slug(crop, value, taken)
        taken.add(name)
        entry: dict[str, Any] = {"value": value, "name": name, "title": crop.name}
        if crop.code != crop.name:
            entry["description"] = f"Code {crop.code} {nomenclature.name}".rstrip()
        entry["color_hint"] = crop.colour.removeprefix("#").upper()
        classes.append({**entry, "count": int(counts[value])})
    for mark in marks:
        if counts[mark.value] or mark.value == NODATA:
            entry = {"value": mark.value, "name": mark.slug, "title": mark.title}
            if mark.value == NODATA:  # transparent, so without a colour
                entry["nodata"] = True
                if outside:
                    entry["cubecrop:outside"] = int(outside)
            else:
                entry["color_hint"] = mark.colour.removeprefix("#")
            if mark.value < MAX_CLASSES:
                entry["cubecrop:no_class"] = True
            classes.append({**entry, "count": int(counts[mark.value])})
    return classes


def _slug(crop: Crop, value: int, taken: set[str]) -> str:
    for text in (crop.name, crop.code):
        plain = slug(text)
        if plain and plain not in taken:
            return plain
    return f"class_{value}" if f"class_{value}" not in taken else f"class_{value}_{value}"


def _loss_records(facts: MapFacts, lost: Sequence[Loss]) -> list[dict[str, str]]:
    """Lost scenes and reasons, without paths of this machine."""
    local = [path for href in facts.item_hrefs if (path := _local(href)) is not None]
    return [{**loss.told(), "error": without_paths(loss.error, local)} for loss in lost]


def _properties(facts: MapFacts) -> dict[str, Any]:
    authority = facts.crs.to_authority()
    code = {"proj:code": ":".join(authority) if authority else None}
    if authority is None:
        code["proj:wkt2"] = facts.crs.to_wkt(version="WKT2_2019")
    smoothing = facts.smoothing
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    return {
        "title": ", ".join([facts.title, *([smoothing.effect] if smoothing else [])]),
        "created": now.isoformat().replace("+00:00", "Z"),
        "gsd": abs(facts.transform.a),
        **code,
        "proj:shape": list(facts.shape),
        "proj:transform": [float(value) for value in facts.transform][:6],
        "proj:bbox": list(facts.bounds),
        "processing:level": "L4",
        "processing:software": {"cubecrop": __version__},
        "cubecrop:season_year": facts.season.year,
        "cubecrop:archive": facts.archive,
        "cubecrop:model_name": facts.model_name,
        "cubecrop:model_digest": facts.model_digest,
        **({"cubecrop:calibration": facts.calibration} if facts.calibration else {}),
        **({"cubecrop:season_gaps": facts.gaps} if facts.gaps else {}),
        **({"cubecrop:unreliable": facts.unreliable} if facts.unreliable else {}),
        **({"cubecrop:mask": facts.mask} if facts.mask else {}),
        **({"cubecrop:smoothing": smoothing.to_json()} if smoothing else {}),
        "cubecrop:nomenclature": facts.nomenclature.name,
        "cubecrop:coverage": {name: dict(one) for name, one in facts.coverage.items()},
        "cubecrop:items": list(facts.items),
    }


def _assets(facts: MapFacts, counts: NDArray[np.intp], outside: int) -> dict[str, pystac.Asset]:
    return {
        "crop_type": pystac.Asset(
            "./crop_type.tif",
            title="Crop type, class index",
            media_type=pystac.MediaType.COG,
            roles=["data"],
            extra_fields={
                "data_type": "uint8",
                "nodata": NODATA,
                "classification:classes": class_objects(
                    facts.nomenclature, facts.without_class, counts, outside=outside
                ),
            },
        ),
        "confidence": pystac.Asset(
            "./confidence.tif",
            title="Confidence, probability of the mapped class",
            media_type=pystac.MediaType.COG,
            roles=["data", "confidence"],
            extra_fields={"data_type": "float32", "nodata": "nan", "unit": "1"},
        ),
    }


def _clear_dates(sensors: Sequence[str]) -> dict[str, pystac.Asset]:
    return {
        "clear_dates": pystac.Asset(
            "./clear_dates.tif",
            title="Number of clear dates, one band a sensor",
            media_type=pystac.MediaType.COG,
            roles=["data"],
            extra_fields={
                "data_type": "uint16",
                "nodata": NO_DATES,
                "unit": "1",
                "bands": [{"name": name} for name in sensors],
            },
        )
    }


def _layers(facts: MapFacts, layers: Mapping[str, NDArray[np.uint8]]) -> dict[str, pystac.Asset]:
    assets = {}
    for name, values in layers.items():
        layer, named = LAYERS[name], layer_facts(name, facts)
        fields: dict[str, Any] = {"data_type": "uint8", "nodata": layer.nodata}
        if named is None:
            fields["unit"] = "1"
        else:
            counts = np.bincount(values.ravel(), minlength=NODATA + 1)
            fields["classification:classes"] = class_objects(
                named.nomenclature, named.without_class, counts
            )
        assets[name] = pystac.Asset(
            f"./{name}.tif",
            title=layer.title,
            media_type=pystac.MediaType.COG,
            roles=["data"],
            extra_fields=fields,
        )
    return assets


def _for_viewers(layers: Iterable[str]) -> dict[str, pystac.Asset]:
    return {
        **_styles(["crop_type", "confidence", *(name for name in layers if LAYERS[name].classes)]),
        "quicklook": pystac.Asset(
            "./quicklook.png",
            title="Map in class colours with legend",
            media_type=pystac.MediaType.PNG,
            roles=["overview"],
        ),
    }


def _styles(rasters: Iterable[str]) -> dict[str, pystac.Asset]:
    return {
        f"{raster}_style": pystac.Asset(
            f"./{raster}.qml",
            title=f"Style of {raster}.tif for QGIS",
            media_type=pystac.MediaType.XML,
            roles=["style"],
        )
        for raster in rasters
    }


def _outline(facts: MapFacts) -> tuple[dict[str, Any], list[float]]:
    """Footprint in longitude and latitude, split at the antimeridian as in RFC 7946."""
    left, bottom, right, top = facts.bounds
    box = shapely.box(left, bottom, right, top)
    pieces = shapely.segmentize(box, max(right - left, top - bottom) / _EDGE_PIECES)
    to_degrees = pyproj.Transformer.from_crs(facts.crs, "EPSG:4326", always_xy=True)
    lonlat = shapely.transform(
        pieces, lambda xy: np.column_stack(to_degrees.transform(xy[:, 0], xy[:, 1]))
    )
    # Simplify before the cut: it would remove points that a cut outline needs on the meridian.
    whole = shapely.simplify(unwrap(lonlat), _OUTLINE_TOLERANCE)
    shape = shapely.transform(cut_at_180(whole), lambda xy: xy.round(_OUTLINE_DECIMALS))
    return shapely.geometry.mapping(shape), list(bbox_of(shape))


def _identity(facts: MapFacts) -> str:
    """Make an id that depends only on model, grid, season, source items, mask and smoothing."""
    parts = (
        facts.model_digest, facts.crs.to_string(), facts.bounds, facts.shape,
        str(facts.season), facts.items, *([facts.mask] if facts.mask else []),
        *([facts.smoothing.to_json()] if facts.smoothing else []),
    )  # fmt: skip
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    return f"crop-types-{facts.season.year}-{digest[:12]}"


def _portable(href: str, home: Path) -> str | None:
    """Make an address that stays valid when map and archive are moved together.

    None if there is no address. None also for a file that shares only the root folder with the
    map, since its path would describe this machine.
    """
    if not href:
        return None
    if (path := _local(href)) is None:
        return href
    relative = Path(os.path.relpath(Path(path).resolve(), home))
    ups = sum(part == os.pardir for part in relative.parts)
    return relative.as_posix() if ups < len(home.parts) - 1 else None


def _local(href: str) -> str | None:
    """The path of a file on this machine; None for another address."""
    if href.startswith("file:"):
        return url2pathname(urlsplit(href).path)
    return None if "://" in href else href
