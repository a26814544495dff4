"""Baseline, tile, orbit and datatake of an item, under the keys of any catalogue."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "HALF_ORBIT", "Baseline", "baseline_of", "cloud_cover_of", "code_of", "datatake_of",
    "generated_of", "is_esas", "is_l1c", "newness", "platform_of", "product_of", "read_baseline",
    "relative_orbit_of", "tile_of", "utc",
]  # fmt: skip

#: Keys in order of trust: Planetary Computer and Earth Search, CDSE, old Earth Search.
_BASELINES: Final = (
    "s2:processing_baseline", "processing:version", "sentinel2:processing_baseline",
    "sentinel:processing_baseline",
)  # fmt: skip
_PRODUCTS: Final = ("s2:product_uri", "sentinel:product_id", "sentinel2:product_uri")
_DATATAKES: Final = ("s2:datatake_id", "eopf:datatake_id")
_GENERATED: Final = ("s2:generation_time", "processing:datetime", "sentinel2:generation_time")
_TILES: Final = ("s2:mgrs_tile", "grid:code", "sentinel:mgrs")


#: Values that tools write for "not known".
_NOTHING: Final = {"", "n/a", "na", "nan", "none", "null", "unknown", "-"}
#: ESA's L2A baselines are 00.01 to 05.12 so far. Sen2Cor run by a user writes 99.99 and 99.33,
#: whatever its L1C.
_FIRST_FOREIGN: Final = 10

#: A satellite sees a place again after 100 minutes at the earliest, so images of one place less
#: than half of that apart are from one pass.
HALF_ORBIT: Final = dt.timedelta(minutes=50)

#: Major and minor number of a processing baseline.
Baseline = tuple[int, int]


def utc(text: str) -> dt.datetime:
    """Parse a time as UTC; also with a space for the "T", in lower case or without a zone."""
    moment = dt.datetime.fromisoformat(text.strip().upper())
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def product_of(item: Mapping[str, Any]) -> str:
    """Name of the ESA product that an item shows, or the item's id."""
    return _first(item["properties"], _PRODUCTS) or str(item.get("id", ""))


def is_l1c(item: Mapping[str, Any]) -> bool:
    """Whether the ESA product is L1C, at the top of the atmosphere."""
    return "_MSIL1C_" in product_of(item)


def baseline_of(item: Mapping[str, Any]) -> tuple[object, str]:
    """Processing baseline as stated, and from the product's name (``_N0500_``); "" if missing."""
    named = re.search(r"_N(\d\d)(\d\d)_", product_of(item))
    properties = item["properties"]
    stated = next((properties[key] for key in _BASELINES if _is_stated(properties.get(key))), "")
    return stated, f"{named[1]}.{named[2]}" if named else ""


def read_baseline(stated: object) -> Baseline | None:
    """Read a baseline: "05.10", "N0510", or the number 5.1 for 5.10; None if it is none of these.

    ESA writes two digits after the point. A single digit has lost its zero because a catalogue
    stores the baseline as a number.
    """
    if isinstance(stated, bool):
        return None
    if isinstance(stated, float):
        stated = f"{stated:.2f}" if abs(stated - round(stated, 2)) < 1e-5 else ""
    text = str(stated).strip().upper()
    match = re.fullmatch(r"(\d{1,2})(?:\.(\d{1,2}))?", text) or re.fullmatch(r"N(\d\d)(\d\d)", text)
    return (int(match[1]), int((match[2] or "0").ljust(2, "0"))) if match else None


def is_esas(baseline: Baseline) -> bool:
    """Whether ESA makes products of a baseline; no other baseline determines the offset."""
    return baseline[0] < _FIRST_FOREIGN


def newness(baseline: str, generated: str) -> tuple[bool, str, str]:
    """Sort key of a processing: a newer processing of the same acquisition is larger."""
    number = read_baseline(baseline)
    return number is None or is_esas(number), baseline, generated


def tile_of(item: Mapping[str, Any]) -> str:
    """MGRS tile with a two-digit zone, such as ``05CNL``; "" if none is stated."""
    properties = item["properties"]
    texts = [str(properties[key]) for key in _TILES if properties.get(key)]
    for prefix in ("mgrs", "sentinel"):
        zone = properties.get(f"{prefix}:utm_zone")
        zone = int(zone) if isinstance(zone, float) and zone.is_integer() else zone
        parts = [zone, *(properties.get(f"{prefix}:{k}") for k in ("latitude_band", "grid_square"))]
        if all(part is not None for part in parts):
            texts.append("".join(map(str, parts)))
    if match := re.search(r"_T(\d{2}[A-Z]{3})_", product_of(item)):
        texts.append(match[1])
    for text in texts:
        if match := re.fullmatch(r"(?:MGRS-|T)?(\d{1,2})([C-X][A-Z]{2})", text.strip().upper()):
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
    """Relative orbit as stated, or from the product's name (``_R051_``).

    Raises
    ------
    ValueError
        The stated value is not an orbit number.
    """
    stated = item["properties"].get("sat:relative_orbit")
    if not _is_stated(stated):
        match = re.search(r"_R(\d{3})_", product_of(item))
        return int(match[1]) if match else None
    match = re.fullmatch(r"[Rr]?(\d{1,4})(?:\.0*)?", str(stated).strip())
    if match is None:
        raise ValueError(f"sat:relative_orbit is {stated!r}, expected a number such as 51")
    return int(match[1])


def cloud_cover_of(item: Mapping[str, Any]) -> float | None:
    """Percent of cloud, None if it is not known or not between 0 and 100.

    Raises
    ------
    ValueError
        The stated value is not a number.
    """
    stated = item["properties"].get("eo:cloud_cover")
    if not _is_stated(stated):
        return None
    try:
        cover = float(stated)
    except (TypeError, ValueError) as error:
        raise ValueError(f"eo:cloud_cover is {stated!r}, expected percent") from error
    # Some catalogues write -1 or 9999 for "not known".
    return cover if 0 <= cover <= 100 else None


def code_of(stated: Mapping[str, Any]) -> str | None:
    """CRS under ``proj:code`` (projection 2) or ``proj:epsg`` (projection 1); None if missing.

    Raises
    ------
    ValueError
        Both are stated and differ.
    """
    raw = {key: stated[key] for key in ("proj:code", "proj:epsg") if _is_stated(stated.get(key))}
    codes = {_crs_text(value) for value in raw.values()}
    if len(codes) > 1:
        both = " and ".join(f"{key} {value!r}" for key, value in raw.items())
        raise ValueError(f"{both}, expected one CRS")
    return codes.pop() if codes else None


def _crs_text(value: object) -> str:
    """A CRS as "EPSG:32631", also from a number or a number as text."""
    text = str(value).strip()
    match = re.fullmatch(r"(?i:urn:ogc:def:crs:EPSG:[^:]*:|EPSG:)?(\d+)(?:\.0*)?", text)
    return f"EPSG:{int(match[1])}" if match and not isinstance(value, bool) else text


def platform_of(item: Mapping[str, Any]) -> str:
    """Satellite, such as ``sentinel-2a``; "" if none is stated."""
    stated = str(item["properties"].get("platform") or "").lower()
    if short := re.fullmatch(r"s(?:entinel)?[-_ ]?([12])[-_ ]?([a-z])", stated.strip()):
        return f"sentinel-{short[1]}{short[2]}"
    match = re.match(r"S([12])([A-Z])_", product_of(item))
    return stated or (f"sentinel-{match[1]}{match[2].lower()}" if match else "")


def generated_of(item: Mapping[str, Any]) -> str:
    """Time at which the product was made, UTC, in one format; "" if it is not stated."""
    text = _first(item["properties"], _GENERATED)
    if not text:
        match = re.search(r"_(\d{8}T\d{6})(?:\.SAFE)?$", product_of(item))
        text = match[1] if match else ""
    return _iso(text)


def _iso(text: str) -> str:
    """A time in one format, or "" if the text is not a time."""
    try:
        return utc(text).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        return ""


def _first(properties: Mapping[str, Any], keys: Iterable[str]) -> str:
    return next((str(properties[key]) for key in keys if properties.get(key) is not None), "")


def _is_stated(value: object) -> bool:
    """Whether a property is neither null, NaN nor a word for "not known"."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return False
    return not isinstance(value, str) or value.strip().lower() not in _NOTHING
