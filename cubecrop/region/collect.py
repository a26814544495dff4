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
from cubecrop.write.qgis import write_class_style, write_confidence_style
from cubecrop.write.shares import classes_text, predicted_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from cubecrop.region.output import Output
    from cubecrop.region.results import Planned, Results
    from cubecrop.write.provenance import Provenance

__all__ = ["Collected", "collect"]

#: Reasons of failures that the sentences list.
_LISTED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What stands at the top of a run's folder, and what it says.

    Paths or URLs: ``crop_type``, ``confidence`` and ``clear_dates`` are virtual rasters of the
    whole region; ``clear_dates`` and ``parcels`` are None if there are none. ``done`` and
    ``failed`` count tiles. ``sentences`` describe the mapped share, the predicted parcels and the
    failures.
    """

    crop_type: str
    confidence: str
    clear_dates: str | None
    collection: str
    areas: str
    picture: str
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
        Classes, season and model. Codes without a class are taken from the tiles.
    name : str
        Id of the STAC collection; the tiles' items name it.
    parcels : bool, default False
        Whether the plan has parcels.

    Returns
    -------
    Collected

    Raises
    ------
    OutputError
        No tile has a map, or a file cannot be written.
    """
    results = read_results(output, tiles)
    mapped = results.mapped
    if not mapped:
        raise OutputError(
            f"{output.url} has no tile with a map, so there is nothing to put together. "
            f"{' '.join(_failure_lines(results, len(tiles)))} Run the same command again."
        )
    marks = {mark.value: mark for one in mapped for mark in one.marks}
    facts = replace(facts, marks=tuple(marks[value] for value in sorted(marks)))
    files = _write_rasters(output, tiles, results, facts)
    table = write_parcels(output, results, facts) if parcels else None
    counts = total_counts(results)
    grid = main_grid(mapped)
    write_areas(output, counts, facts, resolution=grid.size, parcels=table)
    files |= {AREAS, *((PARCELS,) if parcels else ())}
    classes = region_classes(facts, counts)
    write_collection(output, mapped, facts, name=name, classes=classes, files=files)
    return Collected(
        crop_type=output.href("crop_type.vrt"),
        confidence=output.href("confidence.vrt"),
        clear_dates=output.href("clear_dates.vrt") if "clear_dates.vrt" in files else None,
        collection=output.href(COLLECTION),
        areas=output.href(AREAS),
        picture=output.href(PICTURE),
        parcels=output.href(PARCELS) if parcels else None,
        done=len(results.done),
        failed=len(results.failed),
        sentences=tuple(_sentences(results, classes, table, len(tiles))),
    )


def _write_rasters(
    output: Output, tiles: Sequence[Planned], results: Results, facts: Provenance
) -> set[str]:
    """Write mosaics, their styles and the picture; return the names of the files."""
    files = set(write_mosaics(output, results.mapped, facts))
    with output.new_file("crop_type.qml") as path:
        write_class_style(path, facts)
    with output.new_file("confidence.qml") as path:
        write_confidence_style(path)
    write_picture(output, tiles, results, main_grid(results.mapped), facts)
    return files | {"crop_type.qml", "confidence.qml", PICTURE}


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
