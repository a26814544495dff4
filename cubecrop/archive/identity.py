"""Which acquisition an item shows: baseline, tile, orbit, datatake, under any catalogue's keys."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "baseline_of", "datatake_of", "generated_of", "is_l1c", "platform_of", "product_of",
    "relative_orbit_of", "tile_of", "utc",
]  # fmt: skip

#: Keys in order of trust: Planetary Computer and Earth Search, CDSE, and Earth Search of old.
_BASELINES: Final = (
    "s2:processing_baseline", "processing:version", "sentinel2:processing_baseline",
    "sentinel:processing_baseline",
)  # fmt: skip
_PRODUCTS: Final = ("s2:product_uri", "sentinel:product_id", "sentinel2:product_uri")
_DATATAKES: Final = ("s2:datatake_id", "eopf:datatake_id")
_GENERATED: Final = ("s2:generation_time", "processing:datetime", "sentinel2:generation_time")
_TILES: Final = ("s2:mgrs_tile", "grid:code", "sentinel:mgrs")


def utc(text: str) -> dt.datetime:
    """A moment in UTC; with a space for the "T", in lower case and without a zone too."""
    moment = dt.datetime.fromisoformat(text.upper())
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def product_of(item: Mapping[str, Any]) -> str:
    """Name of the ESA product that an item shows, or the item's id."""
    return _first(item["properties"], _PRODUCTS) or str(item.get("id", ""))


def is_l1c(item: Mapping[str, Any]) -> bool:
    """Whether the ESA product is of the top of the atmosphere."""
    return "_MSIL1C_" in product_of(item)


def baseline_of(item: Mapping[str, Any]) -> tuple[str, str]:
    """Processing baseline as stated, and as the product's name has it (``_N0500_``); "" = not."""
    named = re.search(r"_N(\d\d)(\d\d)_", product_of(item))
    return _first(item["properties"], _BASELINES), f"{named[1]}.{named[2]}" if named else ""


def tile_of(item: Mapping[str, Any]) -> str:
    """MGRS tile with two digits of zone, such as ``05CNL``; "" where none is stated."""
    properties = item["properties"]
    texts = [str(properties[key]) for key in _TILES if properties.get(key)]
    for prefix in ("mgrs", "sentinel"):
        parts = [properties.get(f"{prefix}:{k}") for k in ("utm_zone", "latitude_band")]
        parts.append(properties.get(f"{prefix}:grid_square"))
        if all(part is not None for part in parts):
            texts.append("".join(map(str, parts)))
    if match := re.search(r"_T(\d{2}[A-Z]{3})_", product_of(item)):
        texts.append(match[1])
    for text in texts:
        if match := re.fullmatch(r"(?:MGRS-|T)?(\d{1,2})([C-X][A-Z]{2})", text):
            return match[1].zfill(2) + match[2]
    return ""


def datatake_of(item: Mapping[str, Any]) -> str:
    """Start of the datatake, ``YYYYMMDDTHHMMSS``: the same for every tile of one pass."""
    for text in (_first(item["properties"], _DATATAKES), product_of(item)):
        match = re.match(r"(?:GS2._|S2._MSIL2A_)(\d{8}T\d{6})_", text)
        if match and _iso(match[1]):
            return match[1]
    return ""


def relative_orbit_of(item: Mapping[str, Any]) -> int | None:
    """Relative orbit as stated or as the product's name has it (``_R051_``)."""
    stated = item["properties"].get("sat:relative_orbit")
    if stated is None:
        match = re.search(r"_R(\d{3})_", product_of(item))
        stated = match[1] if match else None
    try:
        return int(stated)
    except (TypeError, ValueError):
        return None


def platform_of(item: Mapping[str, Any]) -> str:
    """Satellite, such as ``sentinel-2a``; "" where none is stated."""
    stated = str(item["properties"].get("platform") or "").lower()
    match = re.match(r"S([12])([A-Z])_", product_of(item))
    return stated or (f"sentinel-{match[1]}{match[2].lower()}" if match else "")


def generated_of(item: Mapping[str, Any]) -> str:
    """When the product was made, UTC, in one form for every catalogue; "" where not stated."""
    text = _first(item["properties"], _GENERATED)
    if not text:
        match = re.search(r"_(\d{8}T\d{6})(?:\.SAFE)?$", product_of(item))
        text = match[1] if match else ""
    return _iso(text)


def _iso(text: str) -> str:
    """A moment in one form, or "" where the text is none."""
    try:
        return utc(text).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        return ""


def _first(properties: Mapping[str, Any], keys: Iterable[str]) -> str:
    return next((str(properties[key]) for key in keys if properties.get(key) is not None), "")
