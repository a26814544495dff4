"""STAC items in, scenes out: every catalogue's habits end here."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyproj
import shapely
import shapely.errors
from shapely.geometry import shape

from cubecrop.archive.providers import LOCAL, PROVIDERS, CollectionRule, Provider
from cubecrop.errors import UnsupportedItemError
from cubecrop.schema import Asset, Scene

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["footprint_of", "normalise_item", "span_of"]

#: ESA: BOA_ADD_OFFSET is -1000 DN from processing baseline 04.00 on.
_OFFSET_BASELINE = (4, 0)
_BASELINE_OFFSET = -0.1

_SCHEMES = {"", "file", "http", "https", "s3"}


def normalise_item(item: Mapping[str, Any], *, provider: str | Provider | None = None) -> Scene:
    """Turn a STAC item into a scene.

    Parameters
    ----------
    item : mapping
        A STAC item as JSON, with absolute hrefs.
    provider : str or Provider, optional
        Whose item it is; by default the form of a local archive.

    Returns
    -------
    Scene
        With assets keyed by ESA band names, and scale, offset and nodata decided.

    Raises
    ------
    UnsupportedItemError
        Naming the item and the reason.
    """
    row = _provider(provider)
    name = _name(item)
    try:
        return _scene(item, row, name)
    except UnsupportedItemError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UnsupportedItemError(
            f"item {name!r} is malformed: {type(error).__name__}: {error}. Mend it, or leave it "
            "out of the archive."
        ) from error


def footprint_of(item: Mapping[str, Any]) -> BaseGeometry:
    """Where an item lies, in degrees: its geometry, or its bbox where it has none."""
    name = _name(item)
    try:
        geometry = item.get("geometry")
        footprint = shape(geometry) if geometry else shapely.box(*item["bbox"])
        usable = not footprint.is_empty and all(map(math.isfinite, footprint.bounds))
    except (
        KeyError, IndexError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError,
    ) as error:  # fmt: skip
        raise UnsupportedItemError(
            f"item {name!r} has no usable geometry or bbox: {error}."
        ) from error
    if not usable:
        raise UnsupportedItemError(f"item {name!r} has an empty geometry.")
    return footprint if footprint.is_valid else shapely.make_valid(footprint)


def span_of(item: Mapping[str, Any]) -> tuple[dt.datetime, dt.datetime]:
    """First and last moment of an item, UTC."""
    name = _name(item)
    properties = item.get("properties")
    if not isinstance(properties, Mapping):
        raise UnsupportedItemError(f"item {name!r} has properties {properties!r}.")
    moment = properties.get("datetime")
    first = properties.get("start_datetime") or moment
    last = properties.get("end_datetime") or moment
    try:
        return _utc(str(first)), _utc(str(last))
    except ValueError as error:
        raise UnsupportedItemError(
            f"item {name!r} has no readable datetime ({moment!r}, {first!r}, {last!r})."
        ) from error


def _name(item: Mapping[str, Any]) -> str:
    return str(item.get("id", "without id"))


def _scene(item: Mapping[str, Any], row: Provider, name: str) -> Scene:
    properties = dict(item.get("properties") or {})
    collection = str(item.get("collection"))
    rule = row.collections.get(collection)
    if rule is None:
        raise UnsupportedItemError(
            f"item {name!r} is of collection {collection!r}; provider {row.name!r} is known "
            f"to have {sorted(row.collections)}."
        )
    footprint = footprint_of(item)
    start, end = _dates(item)
    baseline = str(properties.get("s2:processing_baseline", ""))
    offset = _offset(rule, baseline, name)
    return Scene(
        id=name,
        collection=collection,
        modality=rule.modality,
        start=start,
        end=end,
        solar_day=(start + dt.timedelta(hours=footprint.centroid.x / 15)).date(),
        footprint=footprint,
        assets=_assets(item, properties, rule, offset, name),
        crs=_crs(properties, item, name) if rule.modality != "weather" else None,
        href=next((link["href"] for link in item.get("links", ()) if link["rel"] == "self"), None),
        platform=str(properties.get("platform", "")).lower(),
        tile=str(properties.get("s2:mgrs_tile", "")),
        baseline=baseline,
        datatake=_datatake(properties),
        generated=str(properties.get("s2:generation_time", "")),
        orbit_state=str(properties.get("sat:orbit_state", "")),
        relative_orbit=_whole(properties.get("sat:relative_orbit")),
        calibration=str(properties.get("calibration", rule.calibration)).lower(),
        cloud_cover=properties.get("eo:cloud_cover"),
    )


def _provider(provider: str | Provider | None) -> Provider:
    if provider is None:
        return LOCAL
    if isinstance(provider, Provider):
        return provider
    if provider not in PROVIDERS:
        raise UnsupportedItemError(
            f"provider {provider!r} is not known, expected one of {sorted(PROVIDERS)}."
        )
    return PROVIDERS[provider]


def _dates(item: Mapping[str, Any]) -> tuple[dt.datetime, dt.datetime]:
    """Nominal time and end; only items without a nominal time (weather) go by their start."""
    first, last = span_of(item)
    moment = item["properties"].get("datetime")
    return _utc(str(moment)) if moment else first, last


def _utc(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def _offset(rule: CollectionRule, baseline: str, name: str) -> float:
    if not rule.offset_from_baseline:
        return 0.0
    match = re.fullmatch(r"(\d+)\.(\d+)", baseline)
    if match is None:
        raise UnsupportedItemError(
            f"item {name!r} has s2:processing_baseline {baseline!r}, expected a number such "
            "as '05.00': without it nobody can tell whether reflectance is offset by -0.1."
        )
    since = (int(match[1]), int(match[2])) >= _OFFSET_BASELINE
    return _BASELINE_OFFSET if since else 0.0


def _crs(properties: Mapping[str, Any], item: Mapping[str, Any], name: str) -> str:
    code = properties.get("proj:code")
    if code is None and properties.get("proj:epsg") is not None:
        code = f"EPSG:{properties['proj:epsg']}"
    if code is None:
        codes = {asset.get("proj:code") for asset in item.get("assets", {}).values()} - {None}
        code = codes.pop() if len(codes) == 1 else None
    try:
        crs = pyproj.CRS.from_user_input(code)
    except pyproj.exceptions.CRSError as error:
        raise UnsupportedItemError(
            f"item {name!r} has no usable proj:code or proj:epsg ({code!r})."
        ) from error
    return str(crs.to_string())


def _assets(
    item: Mapping[str, Any],
    properties: Mapping[str, Any],
    rule: CollectionRule,
    offset: float,
    name: str,
) -> dict[str, Asset]:
    found = item.get("assets") or {}
    if missing := sorted(key for key in rule.assets.values() if key not in found):
        raise UnsupportedItemError(
            f"item {name!r} has assets {sorted(found)} but lacks {missing}, which collection "
            f"{item.get('collection')!r} should have."
        )
    assets = {}
    for band, key in rule.assets.items():
        raw = found[key]
        href = str(raw.get("href", ""))
        if not href or urlsplit(href).scheme not in _SCHEMES or href.startswith("/vsi"):
            raise UnsupportedItemError(
                f"asset {key!r} of item {name!r} has href {href!r}, expected a path or an "
                "http, https or s3 address."
            )
        is_class = band == "SCL"
        asset = Asset(
            href=href.removeprefix("file://"),
            scale=1.0 if is_class else rule.scale,
            offset=0.0 if is_class else offset,
            nodata=rule.nodata.get(band, _declared(raw, "nodata")),
            bounds=_bounds(raw, properties),
        )
        _check_declared(asset, raw, key, name)
        assets[band] = asset
    return assets


def _declared(raw: Mapping[str, Any], what: str) -> float | None:
    bands = raw.get("raster:bands") or raw.get("bands") or [{}]
    value = bands[0].get(what, raw.get(f"raster:{what}", raw.get(what)))
    return None if value is None else float(value)


def _check_declared(asset: Asset, raw: Mapping[str, Any], key: str, name: str) -> None:
    """Raise where an item's own raster metadata contradicts what the rule decided."""
    for what, decided in (("scale", asset.scale), ("offset", asset.offset)):
        declared = _declared(raw, what)
        if declared is not None and not math.isclose(declared, decided, abs_tol=1e-9):
            raise UnsupportedItemError(
                f"asset {key!r} of item {name!r} declares {what} {declared}, but its collection "
                f"and processing baseline ask for {decided}. Applying either could shift every "
                "value; use a catalogue that this library knows."
            )


def _bounds(
    raw: Mapping[str, Any], properties: Mapping[str, Any]
) -> tuple[float, float, float, float] | None:
    size = raw.get("proj:shape", properties.get("proj:shape"))
    transform = raw.get("proj:transform", properties.get("proj:transform"))
    if size is None or transform is None:
        bbox = raw.get("proj:bbox", properties.get("proj:bbox"))
        if bbox is None or len(bbox) != 4:
            return None
        left, bottom, right, top = map(float, bbox)
        return left, bottom, right, top
    rows, columns = size
    dx, skew_x, left, skew_y, dy, top = map(float, transform[:6])
    if skew_x or skew_y:
        return None
    right, bottom = left + dx * columns, top + dy * rows
    return min(left, right), min(bottom, top), max(left, right), max(bottom, top)


def _datatake(properties: Mapping[str, Any]) -> str:
    """Start of the datatake, ``YYYYMMDDTHHMMSS``: the same for every tile of one pass."""
    texts = (properties.get("s2:datatake_id"), properties.get("s2:product_uri"))
    for text, pattern in zip(
        texts, (r"GS2._(\d{8}T\d{6})_", r"S2._MSIL2A_(\d{8}T\d{6})_"), strict=True
    ):
        if text and (match := re.match(pattern, str(text))):
            return match[1]
    return ""


def _whole(value: object) -> int | None:
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        return None
