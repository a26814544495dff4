"""Sentences about the share of an area or table with a prediction, and reasons for the rest."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from cubecrop.nomenclature import MAX_CLASSES, NODATA, NOT_CROPLAND, WITHOUT_CLASS
from cubecrop.texts import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = [
    "archive_of", "classes_text", "mapped_text", "percent", "predicted_text",
    "sure_text", "unmasked_text",
]  # fmt: skip

#: Explanation after a title.
_BESIDES: Final = {NODATA: " (outside the images, or never clear)"}
_LOOK: Final = (
    "See what the archive has with `cubecrop search --aoi AOI --year YEAR --archive ARCHIVE "
    "--timeline seen.png`."
)


def mapped_text(item: Path) -> list[str]:
    """Describe the mask, the share of pixels with a class, why others have none, and smoothing.

    Parameters
    ----------
    item : pathlib.Path
        The ``item.json`` that `write_map` wrote; without it there are no sentences.
    """
    if not item.is_file():
        return []
    content = json.loads(item.read_text(encoding="utf-8"))
    lines = classes_text(content["assets"]["crop_type"]["classification:classes"])
    properties = content.get("properties", {})
    mask, smoothing = properties.get("cubecrop:mask"), properties.get("cubecrop:smoothing")
    return [
        *([f"Cropland is {mask}."] if mask else []),
        *lines,
        *([_smoothed(smoothing)] if smoothing else []),
    ]


def _smoothed(record: Mapping[str, Any]) -> str:
    """What smoothing did to a map."""
    changed, classified = record["changed_pixels"], record["classified_pixels"]
    how = (
        f"groups of fewer than {record['minimum_pixels']} pixels"
        if record["method"] == "sieve"
        else "most frequent class of each parcel"
    )
    return (
        f"Smoothed: {percent(changed, classified)} of the pixels with a class took another "
        f"({how}){'; they have no confidence' if changed else ''}."
    )


def archive_of(item: Path) -> str | None:
    """The archive that a map's ``item.json`` names; None without such a file."""
    if not item.is_file():
        return None
    content = json.loads(item.read_text(encoding="utf-8"))
    return str(content["properties"]["cubecrop:archive"])


def classes_text(classes: Iterable[Mapping[str, Any]]) -> list[str]:
    """As `mapped_text`, for classes with their ``count`` as `write_map` writes them."""
    classes = list(classes)
    # Nobody asked for the pixels outside of the area.
    counts = {
        int(one["value"]): int(one["count"]) - int(one.get("cubecrop:outside", 0))
        for one in classes
    }
    reasons = {
        value: _reason(value, one.get("title"))
        for one in classes
        if (value := int(one["value"])) >= MAX_CLASSES or one.get("cubecrop:no_class")
    }
    return _mapped(counts, reasons)


def _reason(value: int, title: str | None) -> str:
    """Why a pixel with a code outside the classes has no class."""
    known = WITHOUT_CLASS.get(value)
    text = title or (known.title if known else f"code {value}")
    return one_line(text, length=60).lower() + _BESIDES.get(value, "")


def _mapped(counts: Mapping[int, int], why: Mapping[int, str]) -> list[str]:
    total = sum(counts.values())
    mapped = sum(n for value, n in counts.items() if value not in why)
    reasons = [
        f"{percent(counts[value], total)} {why[value]}"
        for value in sorted(why, reverse=True)
        if counts[value]
    ]
    lines = [
        f"Mapped {percent(mapped, total)} of {total:,} pixels"
        f"{': ' if reasons else ''}{', '.join(reasons)}."
    ]
    # Land that a mask leaves out is no gap.
    if 2 * (mapped + counts.get(NOT_CROPLAND, 0)) < total:
        lines.append(f"Warning: less than half of the area is mapped. {_LOOK}")
    return lines


def predicted_text(status: Iterable[str]) -> list[str]:
    """Describe how many parcels have a prediction, and why others have none.

    Reasons that differ only in the numbers after a colon are counted together.
    """
    counts = Counter(text.partition(":")[0] for text in status)
    total, predicted = sum(counts.values()), counts.pop("predicted", 0)
    lines = [f"Predicted {predicted:,} of {total:,} parcel{'' if total == 1 else 's'}."]
    lines += [
        f"{n:,} parcel{'' if n == 1 else 's'}: {text}"
        for text, n in sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    ]
    if total and not predicted:
        lines.append(
            "None is predicted: check the parcels' CRS and coordinates, and what `cubecrop search` "
            "finds for them."
        )
    elif 2 * predicted < total:
        lines.append(f"Warning: less than half of the parcels are predicted. {_LOOK}")
    return lines


def unmasked_text(item: Path) -> list[str]:
    """Say that a map is of all land, if its ``item.json`` names no mask."""
    if not item.is_file() or json.loads(item.read_text(encoding="utf-8"))["properties"].get(
        "cubecrop:mask"
    ):
        return []
    return [
        "The archive has no land cover, so nothing within the area is left out: woods, roads and "
        "towns there have a class too. Pass parcels or a raster of the cropland as the mask."
    ]


def sure_text(levels: Iterable[object]) -> list[str]:
    """Describe at which levels parcels have a class, from the column ``crop:level``."""
    # Nulls are None or NaN, by the version of pandas.
    counts = Counter(text if isinstance(text, str) else "none" for text in levels)
    if not counts:
        return []
    known = ", ".join(f"{n:,} {level}" for level, n in counts.most_common())
    return [f"Finest level of which the model is sure, in parcels: {known} (see crop:level)."]


def percent(part: int, total: int) -> str:
    """A share as text; 0 % and 100 % mean exactly none and all."""
    if part in (0, total):
        return "100 %" if part else "0 %"
    share = 100 * part / total
    if share < 0.05:
        return "under 0.1 %"
    return f"{min(share, 99.9):.1f} %".replace(".0 %", " %")
