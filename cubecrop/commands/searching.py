"""The command ``search``; ``cli.py`` adds it to the others."""

from __future__ import annotations

from pathlib import Path

import cubecrop
from cubecrop.options import Aoi, Archive, End, Start, Weather, Year, season_between
from cubecrop.printing import found_table, plain_console

__all__ = ["search"]


def search(
    *,
    aoi: Aoi,
    year: Year,
    archive: Archive = None,
    start: Start = None,
    end: End = None,
    weather: Weather = None,
    low_cloud: float = 20,
    timeline: Path | None = None,
    cache: Path | None = None,
) -> None:
    """Show what an archive has for an area and a season: dates, clouds, orbits, gaps.

    Parameters
    ----------
    low_cloud
        Percent of cloud up to which a scene counts as one that shows the ground.
    timeline
        PNG to draw the dates to.
    cache
        Folder that keeps the answers of a STAC API for the next search.
    """
    from cubecrop.archive.acquisitions import check_low_cloud

    check_low_cloud(low_cloud)
    if timeline is not None:
        from cubecrop.write.timeline import check_timeline_path

        check_timeline_path(timeline)
    scenes = cubecrop.search(
        aoi, season_between(year, start, end) or year, archive=archive, weather=weather, cache=cache
    )
    found = cubecrop.availability(scenes, low_cloud=low_cloud)
    console = plain_console()
    if len(found):
        console.print(found_table(scenes, found, low_cloud))
        console.print(
            "A gap is a run of days without an acquisition. A Sentinel-2 scene counts only if at "
            f"most {low_cloud:g} % of it is cloud."
        )
    others = [f"{modality} ({len(scenes.of(modality))})" for modality in ("weather", "terrain")
              if scenes.of(modality)]  # fmt: skip
    console.print(f"Also: {', '.join(others) or 'neither weather nor terrain'}.")
    if scenes.superseded:
        console.print(f"{len(scenes.superseded)} older processings are left out.")
    if timeline is not None:
        from cubecrop.write import write_timeline

        write_timeline(scenes, timeline, low_cloud=low_cloud)
        console.print(f"Drawn to {timeline}")
