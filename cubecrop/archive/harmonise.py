"""What a DN of Sentinel-2 means: the one place where scale and offset are decided.

From processing baseline 04.00 on, ESA adds 1000 to every DN of L2A, so that reflectance is
``DN / 10000 - 0.1``. Earth Search took the 1000 away again from the files of some of its
collections, says so in a flag, and declares the offset of -0.1 all the same. Applied twice
or not at all, it shifts every value by 0.1 without a word; so nothing is guessed here, and
where baseline, flag and declared metadata disagree, the item is refused.
"""

from __future__ import annotations

import math
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
#: Earth Search v1 and v0.
_FLAGS: Final = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_CURE: Final = (
    "Use the same acquisition of 'sentinel-2-c1-l2a' (earth-search), or of planetary-computer "
    "or cdse, whose files hold the DN that ESA made."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Harmonisation:
    """Scale and offset of an item's values, why, and the baseline they stand on.

    ``unverified`` where the reason is a flag that its catalogue is known to get wrong.
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
        How its collection is read; ``rule.offset`` says what the offset goes by.
    bands : mapping
        Asset key to raw asset of the files with values (not classes).

    Returns
    -------
    Harmonisation

    Raises
    ------
    UnsupportedItemError
        Baseline, flag and declared metadata contradict each other, or none of them says
        what a DN means.
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
    # Earth Search declares -0.1 of shifted files too, and CDSE of all; it proves nothing there.
    expected = {offset, _BASELINE_OFFSET} if shifted or rule.declares_offset else {offset}
    seen = check_declared(bands, name, scale=rule.scale, offsets=expected)
    return Harmonisation(
        scale=rule.scale,
        offset=offset,
        reason=_reason(offset, baseline, flag, seen, shifted=shifted),
        baseline=baseline,
        unverified=since and rule.offset == "flag" and flag is False and not originals,
    )


def declared(asset: Mapping[str, Any], what: str) -> set[float]:
    """What an asset declares as scale, offset or nodata, wherever STAC lets it stand."""
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
    """Offsets that assets declare; raises where they or scales are not what is expected."""
    seen = set()
    for key, asset in bands.items():
        for what, expected in (("scale", {scale}), ("offset", offsets)):
            for value in declared(asset, what):
                if not any(math.isclose(value, one, abs_tol=1e-9) for one in expected):
                    wanted = " or ".join(map(str, sorted(expected)))
                    raise UnsupportedItemError(
                        f"asset {key!r} of item {name!r} declares {what} {value}, but its "
                        f"collection and processing baseline ask for {wanted}. Applying either "
                        f"could shift every value. {_CURE}"
                    )
        seen |= declared(asset, "offset")
    return seen


def _baseline(item: Mapping[str, Any], name: str) -> tuple[str, bool] | None:
    """Processing baseline, and whether ESA adds the offset from it on; None of none of ESA's."""
    text, label = baseline_of(item)
    named = read_baseline(label)
    text = text or label
    found = read_baseline(text)
    if found is None:
        raise UnsupportedItemError(
            f"item {name!r} has processing baseline {text!r} (s2:processing_baseline, "
            "processing:version), expected a number such as '05.00': without it nobody can "
            f"tell whether reflectance is offset by -0.1. {_CURE}"
        )
    if not all(is_esas(one) for one in (found, named) if one is not None):
        return None
    since = found >= _OFFSET_BASELINE
    if named is not None and (named >= _OFFSET_BASELINE) != since:
        raise UnsupportedItemError(
            f"item {name!r} states processing baseline {text}, but its product's name says "
            f"{label}; one has an offset of -0.1 and the other has not. {_CURE}"
        )
    return f"{found[0]:02d}.{found[1]:02d}", since


def _as_declared(
    item: Mapping[str, Any],
    rule: CollectionRule,
    bands: Mapping[str, Mapping[str, Any]],
    name: str,
) -> Harmonisation:
    """Scale and offset of a baseline that no ESA product has: what all bands declare alike.

    Sen2Cor run at home writes such ones, and adds the offset or not as its L1C asks for.
    """
    stated, label = baseline_of(item)
    numbers = [one for one in map(read_baseline, (stated, label)) if one is not None]
    home = next(one for one in numbers if not is_esas(one))
    baseline = f"{home[0]:02d}.{home[1]:02d}"
    found = {key: declared(asset, "offset") for key, asset in bands.items()}
    every = set().union(*found.values())
    proves = rule.offset == "baseline" and not rule.declares_offset
    if not proves or len(every) != 1 or not all(found.values()):
        told = "what its bands declare proves nothing in its collection"
        if proves:
            without = [key for key, offsets in found.items() if not offsets]
            some = f"declare the offsets {sorted(every)}" if every else "declare no offset"
            told = f"its bands {some}" + (f" ({without} none)" if every and without else "")
        raise UnsupportedItemError(
            f"item {name!r} is of processing baseline {baseline}, which no ESA product has "
            "(Sen2Cor run at home writes such ones): nobody can tell whether reflectance is offset "
            f"by -0.1, and {told}. State it in every band of the item, as `raster:bands: "
            "[{'scale': 0.0001, 'offset': -0.1}]` (0 where the L1C was of a baseline before "
            "04.00), or use ESA's product of the same acquisition."
        )
    seen = check_declared(bands, name, scale=rule.scale, offsets={0.0, _BASELINE_OFFSET})
    flag = _flag(item["properties"], name)
    (offset,) = seen
    if flag and offset:
        raise UnsupportedItemError(
            f"item {name!r} has boa_offset_applied: true, and its bands declare the offset "
            f"{offset:g}: nobody can tell whether it is to be applied. {_CURE}"
        )
    return Harmonisation(
        scale=rule.scale,
        offset=_BASELINE_OFFSET if offset else 0.0,
        reason=f"offset {offset:g}: declared by all bands (baseline {baseline}, none of ESA's)",
        baseline=baseline,
    )


def _flag(properties: Mapping[str, Any], name: str) -> bool | None:
    """Whether the catalogue says that it shifted the files; None where it does not say."""
    found = {key: properties[key] for key in _FLAGS if properties.get(key) is not None}
    values = list(found.values())
    if any(not isinstance(value, bool) or value is not values[0] for value in values):
        raise UnsupportedItemError(
            f"item {name!r} has {found}, expected one true or false: nobody can tell whether "
            f"its files are shifted. {_CURE}"
        )
    return values[0] if values else None


def _are_originals(bands: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    """Whether the files are ESA's own JPEG 2000, which no catalogue shifts."""
    kinds = {
        urlsplit(str(asset.get("href"))).path.lower().endswith(".jp2")
        or "jp2" in str(asset.get("type")).lower()
        for asset in bands.values()
    }
    if len(kinds) > 1:
        raise UnsupportedItemError(
            f"item {name!r} has bands in JPEG 2000 beside bands in another form, expected one "
            f"form: they may be offset differently. {_CURE}"
        )
    return kinds == {True}


def _is_shifted(
    rule: CollectionRule, baseline: str, since: bool, flag: bool | None, originals: bool, name: str
) -> bool:
    """Whether the catalogue already took ESA's offset out of the files."""
    key = "boa_offset_applied"
    if flag and not since:
        why = f"is of baseline {baseline}, before 04.00, where there is no offset to take out"
    elif flag and rule.offset == "baseline":
        why = "is of a collection whose files hold the DN that ESA made"
    elif flag and originals:
        why = "points to ESA's own JPEG 2000, which hold the offset"
    elif flag is None and since and rule.offset == "flag" and not originals:
        raise UnsupportedItemError(
            f"item {name!r} is of baseline {baseline} and lacks the flag {key!r}: its files may "
            "or may not be shifted by 1000 already, and the declared offset stands in both "
            f"cases. {_CURE}"
        )
    else:
        return bool(flag)
    raise UnsupportedItemError(f"item {name!r} has {key}: true, but {why}. {_CURE}")


def _reason(
    offset: float, baseline: str, flag: bool | None, seen: set[float], *, shifted: bool
) -> str:
    said = "" if flag is None else f", boa_offset_applied {str(flag).lower()}"
    said += "".join(f", declared offset {value:g}" for value in sorted(seen))
    why = (
        "the catalogue has taken ESA's offset out of the files"
        if shifted
        else f"baseline {'from' if offset else 'before'} 04.00"
    )
    return f"offset {offset:g}: {why} (baseline {baseline}{said})"
