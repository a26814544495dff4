"""Put the results of a region's tiles together: mosaic, parcels, areas, collection, picture."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cubecrop.errors import OutputError
from cubecrop.region.areas import AREAS, total_counts, write_areas
from cubecrop.region.mosaic import main_grid, write_mosaics
from cubecrop.region.region_collection import COLLECTION, region_classes, write_collection
from cubecrop.region.region_parcels import PARCELS, write_parcels
from cubecrop.region.region_picture import PICTURE, write_picture
from cubecrop.region.results import read_results
from cubecrop.write.layers import LAYER_STYLES, layer_facts
from cubecrop.write.qgis import write_class_style, write_confidence_style
from cubecrop.write.shares import classes_text, predicted_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from cubecrop.region.output import Output
    from cubecrop.region.results import Planned, Results
    from cubecrop.write.provenance import Provenance

__all__ = ["Collected", "collect", "remove_collected"]

#: Reasons of failures that the sentences list.
_LISTED: Final = 5
_STYLES: Final = ("crop_type.qml", "confidence.qml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What stands at the top of a run's folder, and what it says.

    Paths or URLs: ``crop_type``, ``confidence`` and ``clear_dates`` are virtual rasters of the
    whole region. What there is nothing for is None: ``parcels`` if there are none, and rasters,
    collection and picture if no tile maps pixels. ``done`` and ``failed`` count tiles.
    ``sentences`` describe the mapped share, the predicted parcels and the failures.
    """

    crop_type: str | None
    confidence: str | None
    clear_dates: str | None
    collection: str | None
    areas: str
    picture: str | None
    parcels: str | None
    done: int
    failed: int
    sentences: tuple[str, ...]


def collect(
    output: Output,
    tiles: Sequence[Planned],
    facts: Provenance,
    *,
    name: str,
    resolution: float,
    parcels: bool = False,
) -> Collected:
    """Put the results of all tiles together.

    The files depend only on the plan and on the tiles' results, not on their order. Each appears
    whole or not at all.

    Parameters
    ----------
    output : Output
        The run's folder.
    tiles : sequence of Planned
        All tiles of the plan.
    facts : Provenance
        Classes, season and model. Codes without a class and gaps of the season are taken from the
        tiles.
    name : str
        Id of the STAC collection; the tiles' items name it.
    resolution : float
        Pixel size in metres.
    parcels : bool, default False
        Whether the plan has parcels.

    Returns
    -------
    Collected

    Raises
    ------
    OutputError
        No tile has a map and there are no parcels, or a file cannot be written.
    """
    results = read_results(output, tiles)
    mapped = results.mapped
    if not mapped and not (parcels and results.done):
        raise OutputError(
            f"{output.url} has no tile with a map, so there is nothing to put together. "
            f"{' '.join(_failure_lines(results, len(tiles)))} Run the same command again."
        )
    marks = {mark.value: mark for one in mapped for mark in one.marks}
    gaps = next((one.gaps for one in mapped if one.gaps), "")  # those of the first tile
    unreliable = "; ".join(dict.fromkeys(one.unreliable for one in mapped if one.unreliable))
    facts = replace(
        facts, marks=tuple(marks[value] for value in sorted(marks)), gaps=gaps,
        unreliable=unreliable,
    )  # fmt: skip
    # Without any map, the model classifies only parcels, or no tile has images.
    files = _write_rasters(output, tiles, results, facts) if mapped else _remove_rasters(output)
    table = write_parcels(output, results, facts) if parcels else None
    counts = total_counts(results)
    write_areas(output, counts, facts, resolution=resolution, parcels=table)
    files |= {AREAS, *((PARCELS,) if parcels else ())}
    classes = region_classes(facts, counts)
    if mapped:
        write_collection(output, mapped, facts, name=name, classes=classes, files=files)
        files.add(COLLECTION)

    def made(file: str) -> str | None:
        return output.href(file) if file in files else None

    return Collected(
        crop_type=made("crop_type.vrt"),
        confidence=made("confidence.vrt"),
        clear_dates=made("clear_dates.vrt"),
        collection=made(COLLECTION),
        areas=output.href(AREAS),
        picture=made(PICTURE),
        parcels=made(PARCELS),
        done=len(results.done),
        failed=len(results.failed),
        sentences=tuple(_sentences(results, classes if mapped else (), table, len(tiles))),
    )


def remove_collected(output: Output) -> None:
    """Remove what stands for the whole region; done before tiles change that it shows."""
    _remove_rasters(output)
    for name in (AREAS, PARCELS):
        output.remove(name)


def _write_rasters(
    output: Output, tiles: Sequence[Planned], results: Results, facts: Provenance
) -> set[str]:
    """Write mosaics, their styles and the picture; return the names of the files."""
    files = set(write_mosaics(output, results.mapped, facts))
    with output.new_file("crop_type.qml") as path:
        write_class_style(path, facts)
    with output.new_file("confidence.qml") as path:
        write_confidence_style(path)
    for style in LAYER_STYLES:
        name = style.removesuffix(".qml")
        named = layer_facts(name, facts)
        if named is None or f"{name}.vrt" not in files:
            output.remove(style)  # of an earlier run that had the layer
            continue
        with output.new_file(style) as path:
            write_class_style(path, named)
        files.add(style)
    write_picture(output, tiles, results, main_grid(results.mapped), facts)
    return files | {*_STYLES, PICTURE}


def _remove_rasters(output: Output) -> set[str]:
    """Remove what an earlier run with maps left; no file remains."""
    for name in output.names():
        if name in {*_STYLES, *LAYER_STYLES, PICTURE, COLLECTION} or name.endswith(".vrt"):
            output.remove(name)
    return set()


def _sentences(
    results: Results,
    classes: Sequence[Mapping[str, object]],
    parcels: pd.DataFrame | None,
    n_tiles: int,
) -> list[str]:
    lines = classes_text(classes)
    if parcels is not None:
        lines += predicted_text(parcels["status"])
    return lines + _failure_lines(results, n_tiles)


def _failure_lines(results: Results, n_tiles: int) -> list[str]:
    """How many tiles have no result, and why."""
    if not results.failed:
        return []
    reasons = Counter(results.failed.values()).most_common()
    lines = [f"Without a result: {len(results.failed):,} of {n_tiles:,} tiles."]
    lines += [
        f"{n:,} tile{'' if n == 1 else 's'}: {text}"
        for text, n in sorted(reasons, key=lambda one: (-one[1], one[0]))[:_LISTED]
    ]
    if len(reasons) > _LISTED:
        lines.append(f"and {len(reasons) - _LISTED} other reasons, in the folder failures.")
    return lines
