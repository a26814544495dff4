"""Why an item or its files cannot be used, and what could be used instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "is_text", "is_zarr", "why_not", "why_not_an_item", "why_not_these_files", "zarr_asset",
]  # fmt: skip

#: Pattern for collection, id and product type of an item, and the reason and cure.
_REASONS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), reason)
    for pattern, reason in (
        (
            r"sentinel-?1\S*mosaic",
            "is a mosaic of many passes of Sentinel-1, not an acquisition with a date and an "
            "orbit. Use 'sentinel-1-rtc' of planetary-computer.",
        ),
        (
            r"mosaic|_L3__|S2MSI_L3",
            "is a mosaic of many dates, not an acquisition with a date and an SCL. "
            "Use Sentinel-2 L2A.",
        ),
        (
            r"slc|_SL1_|sentinel-?1\S*burst",
            "is Sentinel-1 in slant range, complex (SLC). Use 'sentinel-1-rtc' of "
            "planetary-computer.",
        ),
        (
            r"sentinel-?1\S*rtc|rtc-s1",
            "is Sentinel-1 RTC in an unknown format. Use 'sentinel-1-rtc' of "
            "planetary-computer, or a catalogue in its format.",
        ),
        (
            r"sentinel-?1-?grd|_GRD[HMF]_",
            "is Sentinel-1 GRD in radar geometry, on ground control points: its declared CRS "
            "would place it wrongly. Use 'sentinel-1-rtc' of "
            "planetary-computer.",
        ),
        (
            r"l1c",
            "is Sentinel-2 L1C, reflectance at the top of the atmosphere without an SCL. "
            "Use Sentinel-2 L2A.",
        ),
        (
            r"pre-c1-l2a",
            "is Sentinel-2 from before Collection 1, and no flag states whether its values "
            "have the offset. Use 'sentinel-2-c1-l2a'.",
        ),
        (r"cop-dem-glo-90", "is the 90 m elevation model. Use 'cop-dem-glo-30'."),
        (
            r"modis|hls2?|landsat|naip|sentinel-?[356]|(^|[_ ])S[356][ABP]_",
            "is from a sensor that cubecrop does not support. Use Sentinel-2 L2A.",
        ),
        (
            r"worldcover|lulc|land-?cover|cropland|usda-cdl",
            "is a map whose classes cubecrop does not know. Use 'esa-worldcover' as land cover, "
            "and Sentinel-2 L2A and Sentinel-1 RTC as images.",
        ),
        (
            r"(^| )(nasadem|alos-dem|3dep|cop-dem-eea|cop-dem-glo-30-)",
            "is an elevation model in another format. Use 'cop-dem-glo-30' of planetary-computer "
            "or earth-search.",
        ),
    )
)  # fmt: skip
#: A band in the name of a file; all catalogues have it there.
_BAND: Final = re.compile(
    r"(?<![a-z0-9])(b0[1-9]|b8a|b1[0-2]|scl|vv|vh)(?![a-z0-9])", re.IGNORECASE
)
_WEATHER: Final = re.compile(r"era5|daymet|gridmet|nclimgrid|terraclimate|ecmwf", re.IGNORECASE)


def why_not(item: Mapping[str, Any]) -> str:
    """Reason and cure for an item of an unknown collection; "" if no reason is known."""
    properties = item.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    if _WEATHER.search(str(item.get("collection"))):
        return (
            "is weather in a format that cannot be read from an item. Pass its Zarr store, or "
            "another source, as `weather=...`."
        )
    if is_zarr(item):
        return (
            "has its bands in a Zarr store (EOPF), expected one GeoTIFF or JPEG 2000 file per band."
        )
    kind = properties.get("product:type"), properties.get("sar:product_type")
    text = " ".join(str(part) for part in (item.get("collection"), item.get("id"), *kind) if part)
    return next((reason for pattern, reason in _REASONS if pattern.search(text)), "")


def why_not_an_item(item: Mapping[str, Any]) -> str:
    """Reason why JSON is not a STAC item; "" if it is one."""
    kind = item.get("type")
    if kind in ("Collection", "Catalog") or (kind is None and "extent" in item):
        return f"is a STAC {kind or 'Collection'}, expected an Item. Search it for items."
    if kind != "Feature":
        return f"has type {kind!r}, expected a STAC Item ('Feature')."
    if not isinstance(item.get("id"), str) or not item["id"]:
        return f"has id {item.get('id')!r}, expected text that identifies the scene."
    if not is_text(item["id"]):
        return "has half a character (a lone surrogate) in its id, which no file can hold."
    return ""


def why_not_these_files(hrefs: Mapping[str, str], keys: Mapping[str, str]) -> str:
    """Why files cannot be those of an image's bands; "" if nothing speaks against it.

    Parameters
    ----------
    hrefs, keys : mapping
        Address and asset key of each band, by our name of it.
    """
    owners: dict[str, str] = {}
    for band, href in hrefs.items():
        if (other := owners.setdefault(href, band)) != band:
            return (
                f"has the assets {keys[other]!r} and {keys[band]!r} at one file, {href!r}, "
                "expected a file for each band."
            )
        name = href.split("?")[0].rsplit("/", 1)[-1]
        named = {found.upper() for found in _BAND.findall(name)}
        if len(named) == 1 and named != {band.upper()}:
            return (
                f"has the asset {keys[band]!r}, which is band {band}, at {name!r}, a file of "
                f"{named.pop()}."
            )
    return ""


def is_text(text: str) -> bool:
    """Whether a text can be written to a file: it has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_zarr(item: Mapping[str, Any]) -> bool:
    """Whether an asset of an item is a Zarr store."""
    assets = item.get("assets")
    found = assets.values() if isinstance(assets, Mapping) else ()
    return any(zarr_asset(asset) for asset in found if isinstance(asset, Mapping))


def zarr_asset(asset: Mapping[str, Any]) -> bool:
    """Whether an asset is, or lies in, a Zarr store."""
    text = f"{asset.get('type')} {str(asset.get('href')).split('?')[0]}"
    return re.search(r"vnd[.+]zarr|\.zarr(/|$)", text) is not None
