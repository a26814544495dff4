"""Scale and offset of Sentinel-2 values; nothing else decides them.

From processing baseline 04.00 on, ESA adds 1000 to every DN of L2A, so that reflectance is
``DN / 10000 - 0.1``. Earth Search subtracts the 1000 from the files of some of its
collections and says so in a flag, but still declares the offset of -0.1. An offset applied twice
or not at all silently shifts every value by 0.1. So nothing is guessed here: an item is refused if
its baseline, flag and declared metadata disagree.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cubecrop.archive.identity import baseline_of, is_esas, read_baseline
from cubecrop.errors import UnsupportedItemError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cubecrop.archive.providers import CollectionRule

__all__ = ["Harmonisation", "check_declared", "declared", "harmonise"]

#: ESA: BOA_ADD_OFFSET is -1000 DN from processing baseline 04.00 on.
_OFFSET_BASELINE: Final = (4, 0)
_BASELINE_OFFSET: Final = -0.1
#: End of the flag's key: Earth Search v1 begins it with "earthsearch:", v0 with "sentinel:", and
#: mirrors with their own prefix or none.
_FLAG: Final = "boa_offset_applied"
#: ESA's name of the offset in DN, which some catalogues copy from the product: for all bands, as
#: a list, or by band (BOA_ADD_OFFSET_B2).
_ADD_OFFSET: Final = re.compile(r"(?:.*:)?boa_add_offset(?:_.+)?", re.IGNORECASE)
_CURE: Final = (
    "Use the same acquisition from 'sentinel-2-c1-l2a' (earth-search), planetary-computer or "
    "cdse, whose files hold ESA's original DN."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Harmonisation:
    """Scale and offset of an item's values, the reason for them, and the baseline.

    ``unverified`` is true if the reason is a flag that its catalogue sometimes sets wrongly.
    """

    scale: float
    offset: float
    reason: str = ""
    baseline: str = ""
    unverified: bool = False


def harmonise(
    item: Mapping[str, Any], rule: CollectionRule, bands: Mapping[str, Mapping[str, Any]]
) -> Harmonisation:
    """Decide scale and offset of an item, from its metadata alone.

    Parameters
    ----------
    item : mapping
        A STAC item as JSON.
    rule : CollectionRule
        How its collection is read; ``rule.offset`` names the source of the offset.
    bands : mapping
        Asset key to raw asset, for the files that hold values (not classes).

    Returns
    -------
    Harmonisation

    Raises
    ------
    UnsupportedItemError
        Baseline, flag and declared metadata contradict each other, or none of them gives
        the offset.
    """
    name = str(item.get("id"))
    if rule.offset == "none":
        check_declared(bands, name, scale=rule.scale, offsets={0.0})
        return Harmonisation(scale=rule.scale, offset=0.0)
    stated = _baseline(item, name)
    if stated is None:
        return _as_declared(item, rule, bands, name)
    baseline, since = stated
    flag = _flag(item["properties"], name)
    originals = rule.offset == "flag" and _are_originals(bands, name)
    shifted = _is_shifted(rule, baseline, since, flag, originals, name)
    offset = _BASELINE_OFFSET if since and not shifted else 0.0
    # Earth Search declares -0.1 for shifted files too, and CDSE for all files: no evidence there.
    expected = {offset, _BASELINE_OFFSET} if shifted or rule.declares_offset else {offset}
    of_product = {offset, _BASELINE_OFFSET} if shifted else {offset}
    _check_add_offset(item["properties"], bands, name, of_product)
    declared_offsets = check_declared(bands, name, scale=rule.scale, offsets=expected)
    return Harmonisation(
        scale=rule.scale,
        offset=offset,
        reason=_reason(offset, baseline, flag, declared_offsets, shifted=shifted),
        baseline=baseline,
        unverified=since and rule.offset == "flag" and flag is False and not originals,
    )


def declared(asset: Mapping[str, Any], what: str) -> set[float]:
    """Scale, offset or nodata that an asset declares, in any place that STAC allows."""
    places: list[Mapping[str, Any]] = [*(asset.get("raster:bands") or ())[:1]]
    places += (asset.get("bands") or ())[:1]
    found = [place.get(key) for place in places for key in (what, f"raster:{what}")]
    found += [asset.get(f"raster:{what}"), asset.get(what)]
    return {_number(value, what) for value in found if value is not None}


def _number(value: object, what: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is {value!r}, expected a number") from error


def check_declared(
    bands: Mapping[str, Mapping[str, Any]], name: str, *, scale: float, offsets: set[float]
) -> set[float]:
    """Offsets that assets declare; raises if an offset or scale is not as expected."""
    declared_offsets = set()
    for key, asset in bands.items():
        for what, expected in (("scale", {scale}), ("offset", offsets)):
            for value in declared(asset, what):
                if not any(math.isclose(value, known, abs_tol=1e-9) for known in expected):
                    wanted = " or ".join(map(str, sorted(expected)))
                    raise UnsupportedItemError(
                        f"asset {key!r} of item {name!r} declares {what} {value}, but its "
                        f"collection and processing baseline require {wanted}. The wrong one would "
                        f"shift every value. {_CURE}"
                    )
        declared_offsets |= declared(asset, "offset")
    return declared_offsets


def _check_add_offset(
    properties: Mapping[str, Any],
    bands: Mapping[str, Mapping[str, Any]],
    name: str,
    offsets: set[float],
) -> None:
    """Raise if item or assets state ESA's BOA_ADD_OFFSET, and it is not one of the offsets."""
    for place in (properties, *bands.values()):
        for key, value in place.items():
            if value is None or not _ADD_OFFSET.fullmatch(str(key)):
                continue
            numbers = value if isinstance(value, list | tuple) else [value]
            for number in {_number(one, str(key)) for one in numbers}:
                if not any(math.isclose(number, known * 1e4, abs_tol=1e-5) for known in offsets):
                    wanted = " or ".join(f"{known * 1e4:g}" for known in sorted(offsets))
                    raise UnsupportedItemError(
                        f"item {name!r} states {key} {number:g}, but its collection, flag and "
                        f"processing baseline require {wanted}. The wrong one would shift every "
                        f"value. {_CURE}"
                    )


def _baseline(item: Mapping[str, Any], name: str) -> tuple[str, bool] | None:
    """Processing baseline and whether ESA adds its offset; None if it is no baseline of ESA's."""
    text, label = baseline_of(item)
    named = read_baseline(label)
    text = text or label
    found = read_baseline(text)
    if found is None:
        what = f"processing baseline {text!r}" if text else "an unknown processing baseline"
        raise UnsupportedItemError(
            f"item {name!r} has {what} (s2:processing_baseline, processing:version, or its "
            "product's name), expected a number such as '05.00'. Without it, whether "
            f"reflectance has the offset of -0.1 is unknown. {_CURE}"
        )
    if not all(is_esas(one) for one in (found, named) if one is not None):
        return None
    since = found >= _OFFSET_BASELINE
    if named is not None and (named >= _OFFSET_BASELINE) != since:
        raise UnsupportedItemError(
            f"item {name!r} states processing baseline {text}, but its product's name says "
            f"{label}. Only one of them has an offset of -0.1. {_CURE}"
        )
    return f"{found[0]:02d}.{found[1]:02d}", since


def _as_declared(
    item: Mapping[str, Any],
    rule: CollectionRule,
    bands: Mapping[str, Mapping[str, Any]],
    name: str,
) -> Harmonisation:
    """Scale and offset of a baseline that no ESA product has, if all bands declare the same.

    Sen2Cor run by a user writes such a baseline; whether it adds the offset depends on its L1C.
    """
    stated, label = baseline_of(item)
    numbers = [one for one in map(read_baseline, (stated, label)) if one is not None]
    foreign = next(number for number in numbers if not is_esas(number))
    baseline = f"{foreign[0]:02d}.{foreign[1]:02d}"
    found = {key: declared(asset, "offset") for key, asset in bands.items()}
    every = set().union(*found.values())
    proves = rule.offset == "baseline" and not rule.declares_offset
    if not proves or len(every) != 1 or not all(found.values()):
        why = "declared offsets are no evidence in its collection"
        if proves:
            without = [key for key, offsets in found.items() if not offsets]
            some = f"declare the offsets {sorted(every)}" if every else "declare no offset"
            why = f"its bands {some}" + (f" ({without} none)" if every and without else "")
        raise UnsupportedItemError(
            f"item {name!r} has processing baseline {baseline}, which no ESA product has (Sen2Cor "
            "run by a user writes it). Whether reflectance has the offset of -0.1 is unknown, and "
            f"{why}. Declare the offset in every band of the item, as `raster:bands: "
            "[{'scale': 0.0001, 'offset': -0.1}]` (0 if the L1C has a baseline before 04.00), or "
            "use ESA's product of the same acquisition."
        )
    declared_offsets = check_declared(
        bands, name, scale=rule.scale, offsets={0.0, _BASELINE_OFFSET}
    )
    flag = _flag(item["properties"], name)
    (offset,) = declared_offsets
    _check_add_offset(item["properties"], bands, name, declared_offsets)
    if flag and offset:
        raise UnsupportedItemError(
            f"item {name!r} has boa_offset_applied: true, but its bands declare the offset "
            f"{offset:g}. Whether to apply it is unknown. {_CURE}"
        )
    return Harmonisation(
        scale=rule.scale,
        offset=_BASELINE_OFFSET if offset else 0.0,
        reason=f"offset {offset:g}: declared by all bands (baseline {baseline}, not ESA's)",
        baseline=baseline,
    )


def _flag(properties: Mapping[str, Any], name: str) -> bool | None:
    """Whether the catalogue states that it shifted the files; None if it does not state it."""
    flags = {
        key: value
        for key, value in properties.items()
        if value is not None and str(key).rpartition(":")[2] == _FLAG
    }
    values = list(flags.values())
    if any(not isinstance(value, bool) or value is not values[0] for value in values):
        raise UnsupportedItemError(
            f"item {name!r} has {flags}, expected one value, true or false. Whether its files "
            f"are shifted is unknown. {_CURE}"
        )
    return values[0] if values else None


def _are_originals(bands: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    """Whether the files are ESA's original JPEG 2000, which no catalogue shifts."""
    kinds = {
        urlsplit(str(asset.get("href"))).path.lower().endswith(".jp2")
        or "jp2" in str(asset.get("type")).lower()
        for asset in bands.values()
    }
    if len(kinds) > 1:
        raise UnsupportedItemError(
            f"item {name!r} has bands in JPEG 2000 and bands in another format, expected one "
            f"format: their offsets may differ. {_CURE}"
        )
    return kinds == {True}


def _is_shifted(
    rule: CollectionRule, baseline: str, since: bool, flag: bool | None, originals: bool, name: str
) -> bool:
    """Whether the catalogue has already removed ESA's offset from the files."""
    if flag and not since:
        why = f"has baseline {baseline}; before 04.00 there is no offset to remove"
    elif flag and rule.offset == "baseline":
        why = "belongs to a collection whose files hold ESA's original DN"
    elif flag and originals:
        why = "points to ESA's original JPEG 2000, which hold the offset"
    elif flag is None and since and rule.offset == "flag" and not originals:
        raise UnsupportedItemError(
            f"item {name!r} has baseline {baseline} and lacks the flag {_FLAG!r}. Its files may or "
            "may not be shifted by 1000, and the declared offset is the same in both cases. "
            f"{_CURE}"
        )
    else:
        return bool(flag)
    raise UnsupportedItemError(f"item {name!r} has {_FLAG}: true, but {why}. {_CURE}")


def _reason(
    offset: float, baseline: str, flag: bool | None, declared_offsets: set[float], *, shifted: bool
) -> str:
    said = "" if flag is None else f", boa_offset_applied {str(flag).lower()}"
    said += "".join(f", declared offset {value:g}" for value in sorted(declared_offsets))
    why = (
        "the catalogue has removed ESA's offset from the files"
        if shifted
        else f"baseline {'from' if offset else 'before'} 04.00"
    )
    return f"offset {offset:g}: {why} (baseline {baseline}{said})"
