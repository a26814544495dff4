"""Turn STAC items of any catalogue into scenes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pyproj
import pystac
import shapely.errors

from cubecrop.archive.extent import (
    collection_of,
    footprint_of,
    name_of,
    solar_day,
    span_of,
)  # fmt: skip
from cubecrop.archive.grid import Grid, grid_of
from cubecrop.archive.harmonise import Harmonisation, declared, harmonise
from cubecrop.archive.identity import (
    cloud_cover_of,
    code_of,
    datatake_of,
    generated_of,
    is_l1c,
    platform_of,
    relative_orbit_of,
    tile_of,
    utc,
)  # fmt: skip
from cubecrop.archive.providers import (
    PROVIDERS,
    CollectionRule,
    Provider,
    check_provider,
    tell_provider,
)  # fmt: skip
from cubecrop.archive.radar import calibration_of, check_power
from cubecrop.archive.unsupported import (
    is_text,
    is_zarr,
    why_not,
    why_not_an_item,
    why_not_these_files,
    zarr_asset,
)  # fmt: skip
from cubecrop.checks import brief
from cubecrop.errors import UnsupportedItemError
from cubecrop.schema import CLOUD_PROBABILITY, SERIES, Asset, Scene

if TYPE_CHECKING:
    import datetime as dt

__all__ = ["normalise_item"]

_SCHEMES = {"", "file", "http", "https", "s3"}
#: Assets of a Sentinel-2 item without reflectance: classes, and a probability in percent.
_NO_VALUES: Final = {"SCL", CLOUD_PROBABILITY}
_MEND: Final = "Mend the item, or leave it out of the archive."
_ACCOUNT: Final = re.compile(r"[a-z0-9]{3,24}")


def normalise_item(
    item: Mapping[str, Any] | pystac.Item, *, provider: str | Provider | None = None
) -> Scene:
    """Turn a STAC item into a scene.

    Parameters
    ----------
    item : mapping or pystac.Item
        A STAC item as JSON, with absolute hrefs, or as pystac reads it.
    provider : str or Provider, optional
        Provider of the item: ``planetary-computer``, ``earth-search``, ``cdse`` or ``local``.
        By default the links and hrefs of the item decide; without a known address it is
        ``local``. An item whose links name another provider is refused.

    Returns
    -------
    Scene
        With assets keyed by ESA band names, and scale, offset and nodata decided.

    Raises
    ------
    UnsupportedItemError
        The item cannot be used; the message names it and the reason.
    """
    if isinstance(item, pystac.Item):
        item = _as_json(item)
    if not isinstance(item, Mapping):
        raise UnsupportedItemError(f"item is a {type(item).__name__}, expected a STAC item (dict).")
    name = name_of(item)
    if why := why_not_an_item(item):
        raise UnsupportedItemError(f"item {name!r} {why}")
    collection_of(item)
    try:
        return _encodable(_scene(item, _provider(provider, item), name))
    except UnsupportedItemError:
        raise
    except (
        LookupError, TypeError, ValueError, AttributeError, ArithmeticError,
        shapely.errors.ShapelyError, pyproj.exceptions.ProjError,
    ) as error:  # fmt: skip
        raise UnsupportedItemError(
            f"item {name!r} is malformed: {type(error).__name__}: {error}. {_MEND}"
        ) from error


def _encodable(scene: Scene) -> Scene:
    """Return a scene whose texts any file can hold; raise if one has a lone surrogate."""
    texts = {
        "collection": scene.collection, "links": scene.href or "", "platform": scene.platform,
        "sat:orbit_state": scene.orbit_state, "calibration": scene.calibration,
        **{f"href of {band}": asset.href for band, asset in scene.assets.items()},
    }  # fmt: skip
    for what, text in texts.items():
        if not is_text(text):
            raise UnsupportedItemError(
                f"item {scene.id!r} has in {what} {text!r}, which holds half a character (a lone "
                f"surrogate), so no file can hold it. {_MEND}"
            )
    return scene


def _as_json(item: pystac.Item) -> dict[str, Any]:
    """An item as JSON with absolute hrefs, since pystac keeps relative hrefs of assets."""
    whole = item.clone()
    try:
        whole.make_asset_hrefs_absolute()
    except pystac.STACError as error:
        raise UnsupportedItemError(
            f"item {item.id!r} has assets at relative hrefs and no address of its own. Read it "
            "with `pystac.Item.from_file(...)`, or set one with `item.set_self_href(...)`."
        ) from error
    return whole.to_dict(transform_hrefs=False)


def _scene(item: Mapping[str, Any], row: Provider, name: str) -> Scene:
    properties = item.get("properties")
    if not isinstance(properties, Mapping):
        raise UnsupportedItemError(
            f"item {name!r} has properties {brief(properties)}, expected an object. {_MEND}"
        )
    rule = _rule(item, row, name)
    footprint = footprint_of(item)
    start, end = _dates(item)
    found = _raw_assets(item, rule, row, name)
    values = {_keys(rule)[band]: raw for band, raw in found.items() if band not in _NO_VALUES}
    decided = harmonise(item, rule, values)
    is_optical = rule.modality == "sentinel2"
    is_radar = rule.modality == "sentinel1"
    if is_radar:
        check_power(values, name)
    return Scene(
        id=name,
        collection=str(item.get("collection")),
        modality=rule.modality,
        start=start,
        end=end,
        solar_day=solar_day(start, footprint),
        footprint=footprint,
        assets={
            band: _asset(band, raw, properties, rule, decided, name) for band, raw in found.items()
        },
        crs=_crs(properties, values, rule, name) if rule.modality != "weather" else None,
        href=next((link["href"] for link in item.get("links", ()) if link["rel"] == "self"), None),
        platform=platform_of(item),
        tile=tile_of(item) if is_optical else "",
        baseline=decided.baseline,
        datatake=datatake_of(item) if is_optical else "",
        generated=generated_of(item),
        orbit_state=str(properties.get("sat:orbit_state") or "").lower(),
        relative_orbit=relative_orbit_of(item),
        calibration=calibration_of(item, rule.calibration) if is_radar else "",
        cloud_cover=cloud_cover_of(item),
        provider=row.name,
        harmonisation=decided.reason,
        offset_unverified=decided.unverified,
        access=row.access,
        accumulation=rule.accumulation,
        classes=rule.classes,
        product=rule.product,
    )


def _provider(provider: str | Provider | None, item: Mapping[str, Any]) -> Provider:
    if provider is None:
        return tell_provider(item)
    if not isinstance(provider, Provider):
        if provider not in PROVIDERS:
            raise UnsupportedItemError(
                f"provider {provider!r} is not known, expected one of {sorted(PROVIDERS)}."
            )
        provider = PROVIDERS[provider]
    check_provider(item, provider)
    return provider


def _rule(item: Mapping[str, Any], row: Provider, name: str) -> CollectionRule:
    collection = str(item.get("collection"))
    rule = row.collections.get(collection)
    if rule is None:
        why = why_not(item)
        known = f"the known collections of provider {row.name!r} are {sorted(row.collections)}."
        raise UnsupportedItemError(
            f"item {name!r} is of collection {collection!r}"
            + (f" and {why}" if why else f"; {known}")
        )
    if rule.modality == "sentinel2" and is_l1c(item):
        raise UnsupportedItemError(
            f"item {name!r} of collection {collection!r} shows an L1C product, reflectance at the "
            "top of the atmosphere; expected L2A."
        )
    return rule


def _dates(item: Mapping[str, Any]) -> tuple[dt.datetime, dt.datetime]:
    """Nominal time and end; items without a nominal time (weather) use their start."""
    first, last = span_of(item)
    moment = item["properties"].get("datetime")
    return utc(str(moment)) if moment else first, last


def _raw_assets(
    item: Mapping[str, Any], rule: CollectionRule, row: Provider, name: str
) -> dict[str, Mapping[str, Any]]:
    """Raw assets by our band names; every asset must be a file, optional ones may be missing."""
    found = item.get("assets") or {}
    optional = {band: key for band, key in rule.optional.items() if key in found}
    if not rule.assets and not optional:
        raise UnsupportedItemError(
            f"item {name!r} has assets {sorted(found)}, expected at least one of "
            f"{sorted(rule.optional.values())}."
        )
    keys = {**rule.assets, **optional}
    if missing := sorted(key for key in rule.assets.values() if key not in found):
        collection = str(item.get("collection"))
        raise UnsupportedItemError(
            f"item {name!r} has assets {sorted(found)} but lacks {missing}, which collection "
            f"{collection!r} of provider {row.name!r} should have.{_cure(item, collection, found)}"
        )
    for key in keys.values():
        href = _href(found[key])
        if not href or urlsplit(href).scheme not in _SCHEMES or href.startswith("/vsi"):
            raise UnsupportedItemError(
                f"asset {key!r} of item {name!r} has href {href!r}, expected a path or an "
                "http, https or s3 address."
            )
        if rule.modality != "weather" and zarr_asset(found[key]):
            raise UnsupportedItemError(
                f"asset {key!r} of item {name!r} is a Zarr store ({href!r}), expected a GeoTIFF "
                "or JPEG 2000 file."
            )
    hrefs = {band: _href(found[key]) for band, key in keys.items() if band != CLOUD_PROBABILITY}
    if rule.modality in SERIES and (why := why_not_these_files(hrefs, keys)):
        raise UnsupportedItemError(f"item {name!r} {why} {_MEND}")
    return {band: found[key] for band, key in keys.items()}


def _keys(rule: CollectionRule) -> dict[str, str]:
    return {**rule.assets, **rule.optional}


def _href(raw: Mapping[str, Any]) -> str:
    """Address of an asset; Azure's own scheme becomes the https address."""
    href = str(raw.get("href", "")).removeprefix("file://")
    if not href.startswith("abfs://"):
        return href
    options = (raw.get("xarray:open_kwargs") or {}).get("storage_options") or {}
    account = str(options.get("account_name", ""))
    if not _ACCOUNT.fullmatch(account):
        return href
    return f"https://{account}.blob.core.windows.net/{href.removeprefix('abfs://')}"


def _cure(item: Mapping[str, Any], collection: str, found: Mapping[str, Any]) -> str:
    """What to do about an item whose assets have other names than expected."""
    if is_zarr(item):
        return " Its bands are in a Zarr store (EOPF), which cannot be read."
    for other in PROVIDERS.values():
        rule = other.collections.get(collection)
        if rule and all(key in found for key in rule.assets.values()):
            return f" They have the names of {other.name}: pass `provider={other.name!r}`."
    return ""


def _crs(
    properties: Mapping[str, Any],
    assets: Mapping[str, Mapping[str, Any]],
    rule: CollectionRule,
    name: str,
) -> str:
    """CRS of the bands, which the item or (CDSE) each asset states."""
    codes = [_code(asset, name) or _code(properties, name) for asset in assets.values()]
    if any(code != codes[0] for code in codes):
        raise UnsupportedItemError(
            f"item {name!r} has bands of several CRS, {codes}, expected one. {_MEND}"
        )
    try:
        crs = pyproj.CRS.from_user_input(codes[0])
    except pyproj.exceptions.CRSError as error:
        raise UnsupportedItemError(
            f"item {name!r} has no usable proj:code or proj:epsg ({codes[0]!r}), expected the CRS "
            f"of its bands such as 'EPSG:32631'. {_MEND}"
        ) from error
    if rule.modality in SERIES and not crs.is_projected:
        raise UnsupportedItemError(
            f"item {name!r} has CRS {codes[0]!r}, expected a projected one: the declared position "
            "of an image in radar or sensor geometry is wrong. Use terrain-corrected data "
            "(Sentinel-1 RTC, Sentinel-2 L2A)."
        )
    return str(crs.to_string())


def _code(stated: Mapping[str, Any], name: str) -> str | None:
    """CRS as an item or an asset states it; None if it does not."""
    try:
        return code_of(stated)
    except ValueError as error:
        raise UnsupportedItemError(f"item {name!r} has {error}. {_MEND}") from error


def _asset(
    band: str,
    raw: Mapping[str, Any],
    properties: Mapping[str, Any],
    rule: CollectionRule,
    decided: Harmonisation,
    name: str,
) -> Asset:
    is_class = band in _NO_VALUES
    grid = Grid()
    if rule.modality != "weather":
        # Sentinel-2 files have several pixel sizes, so an item's shape holds only for some.
        grid = grid_of(raw, properties, alike=rule.modality != "sentinel2")
        if why := grid.why_not():
            key = _keys(rule)[band]
            raise UnsupportedItemError(f"asset {key!r} of item {name!r} {why} {_MEND}")
    return Asset(
        href=_href(raw),
        scale=1.0 if is_class else decided.scale,
        offset=0.0 if is_class else decided.offset,
        nodata=_nodata(band, raw, rule, name),
        bounds=grid.bounds,
        shape=grid.shape,
        pixel=grid.pixel,
    )


def _nodata(band: str, raw: Mapping[str, Any], rule: CollectionRule, name: str) -> float | None:
    """Nodata DN: as the item declares it, else as known for the collection."""
    found, known = declared(raw, "nodata"), rule.nodata.get(band)
    if any(map(math.isnan, found)):
        # NaN does not equal itself, so a set holds it several times.
        found = {number for number in found if not math.isnan(number)} | {math.nan}
    if band == CLOUD_PROBABILITY:
        return known  # catalogues declare 0, which is a probability
    if len(found) > 1 or (found and rule.modality == "sentinel2" and found != {known}):
        raise UnsupportedItemError(
            f"asset {_keys(rule)[band]!r} of item {name!r} declares nodata {sorted(found)}, "
            f"expected {known}: missing pixels would be read as values. {_MEND}"
        )
    return found.pop() if found else known
