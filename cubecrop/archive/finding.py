"""Items and scenes of one archive for an area and a season, and why there are none."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import shapely

from cubecrop.archive.items import normalise_item
from cubecrop.archive.providers import LOCAL
from cubecrop.archive.weather import WEATHER_SOURCES
from cubecrop.schema import SENTINEL1_BANDS, SERIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cubecrop.aoi import Aoi
    from cubecrop.archive.base import Archive
    from cubecrop.schema import Modality, Scene
    from cubecrop.season import Season

__all__ = ["items_with_scenes", "no_weather", "why_nothing"]


def items_with_scenes(
    source: Archive, modality: Modality, area: shapely.Geometry, season: Season
) -> Iterator[tuple[Mapping[str, Any], Scene]]:
    """Items of a modality that meet an area (degrees) and a season, each with its scene."""
    # One day more on each side, since solar days are not UTC days; the exact cut is below.
    first = dt.datetime.combine(season.start, dt.time(), dt.UTC) - dt.timedelta(days=1)
    last = dt.datetime.combine(season.end, dt.time.max, dt.UTC) + dt.timedelta(days=1)
    for collection in source.provider.collections_of(modality):
        dated = source.provider.collections[collection].dated
        interval = (first, last) if dated else None
        for item in source.items([collection], area, interval):
            if modality == "sentinel1" and _of_other_polarisations(item):
                continue
            # A local archive may hold items that were copied from a known provider.
            row = source.provider if source.provider.name != LOCAL.name else None
            scene = normalise_item(item, provider=row)
            if modality not in SERIES or season.start <= scene.solar_day <= season.end:
                yield item, scene


def _of_other_polarisations(item: Mapping[str, Any]) -> bool:
    """Whether a radar item states its polarisations and lacks VV or VH.

    Images over land have VV and VH; those of polar regions and of the first years may differ.
    """
    properties = item.get("properties")
    stated = properties.get("sar:polarizations") if isinstance(properties, Mapping) else None
    if not isinstance(stated, list | tuple) or not stated:
        return False
    return not {band.upper() for band in SENTINEL1_BANDS} <= {str(band).upper() for band in stated}


def why_nothing(source: Archive, area: Aoi, season: Season, wanted: tuple[Modality, ...]) -> str:
    """Say why an archive has no satellite scene of an area and a season, and what to do."""
    collections = [c for m in wanted if m in SERIES for c in source.provider.collections_of(m)]
    start = f"archive {source.name} has no Sentinel scene for {area} in season {season}. "
    extent = source.extent(collections)
    if extent is None:
        return start + f"It has no item of the collections {collections}."
    if extent.area.intersects(area.lonlat):
        return start + (
            f"It covers the area from {extent.start:%Y-%m-%d} to {extent.end:%Y-%m-%d}; "
            "choose a harvest year whose season lies within that time."
        )
    swapped = shapely.transform(area.lonlat, lambda xy: xy[:, ::-1])
    hint = (
        "Longitude and latitude look swapped: give (west, south, east, north)."
        if extent.area.intersects(swapped)
        else "Choose an area within that."
    )
    return start + f"It covers {extent}. {hint}"


def no_weather(source: Archive, area: Aoi, season: Season) -> str:
    """Say that an archive has no weather for an area and a season, and what to do."""
    return (
        f"archive {source.name} has no weather for {area} in season {season}. Use another "
        f"source: {', '.join(WEATHER_SOURCES)}, or a Zarr store."
    )
