"""What the items of radar images state about their values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from cubecrop.errors import UnsupportedItemError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["calibration_of", "check_power"]

#: Ends of the keys that name a calibration, such as ``card4l:measurement_type`` of the CARD4L
#: extension of STAC.
_KEYS: Final = {"calibration", "measurement_type"}
_DECIBELS: Final = {"db", "decibel", "decibels"}


def calibration_of(item: Mapping[str, Any], usual: str) -> str:
    """Radar calibration that an item states, such as ``gamma0``, or else that of its collection.

    Raises
    ------
    UnsupportedItemError
        Two of its properties name different calibrations.
    """
    stated = {
        key: _plain(value)
        for key, value in item["properties"].items()
        if isinstance(value, str) and value.strip() and str(key).rpartition(":")[2] in _KEYS
    }
    if len(set(stated.values())) > 1:
        raise UnsupportedItemError(
            f"item {item.get('id')!r} has {stated}, expected one radar calibration: they differ by "
            "decibels. Correct the item."
        )
    return next(iter(stated.values()), usual)


def _plain(value: str) -> str:
    """A calibration in our spelling: "Gamma-nought" is "gamma0"."""
    return re.sub(r"[-_\s]+", "", value.lower()).replace("nought", "0").replace("naught", "0")


def check_power(assets: Mapping[str, Mapping[str, Any]], name: str) -> None:
    """Raise if an asset of a radar item states that its values are decibels."""
    for key, asset in assets.items():
        bands = [*(asset.get("raster:bands") or ())[:1], *(asset.get("bands") or ())[:1]]
        for place in (asset, *bands):
            unit = place.get("unit", place.get("raster:unit"))
            if str(unit).strip().lower() in _DECIBELS:
                raise UnsupportedItemError(
                    f"asset {key!r} of item {name!r} has the unit {unit!r}, expected linear power. "
                    "Convert its values with 10 ** (dB / 10) and correct the unit."
                )
