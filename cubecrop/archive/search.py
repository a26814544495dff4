"""What an archive holds for an area and a season."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd
import shapely

from cubecrop.aoi import Aoi, parse_aoi
from cubecrop.archive.catalog import Archive, open_archive
from cubecrop.archive.items import normalise_item
from cubecrop.errors import NoScenesError, SchemaError
from cubecrop.schema import MODALITIES, SERIES, Modality, Scene
from cubecrop.season import Season

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["Scenes", "search"]

#: Two tiles' footprints that overlap less than this are halves to mosaic, not duplicates.
_SAME_FOOTPRINT = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """The scenes of one search, in order of time.

    ``superseded`` are older processings of acquisitions that a newer one replaces.
    """

    archive: str
    season: Season
    aoi: Aoi
    scenes: tuple[Scene, ...] = field(repr=False)
    superseded: tuple[Scene, ...] = field(default=(), repr=False)

    def of(self, modality: Modality) -> tuple[Scene, ...]:
        """Scenes that feed one child of the season cube."""
        return tuple(scene for scene in self.scenes if scene.modality == modality)

    def table(self) -> pd.DataFrame:
        """One row a scene: modality, date, orbit, cloud cover in percent, tile, id."""
        rows = [
            {
                "modality": scene.modality,
                "date": scene.solar_day,
                "orbit": scene.orbit_state,
                "relative_orbit": scene.relative_orbit,
                "cloud_cover": scene.cloud_cover,
                "tile": scene.tile,
                "id": scene.id,
            }
            for scene in self.scenes
        ]
        return pd.DataFrame(
            rows,
            columns=[
                "modality",
                "date",
                "orbit",
                "relative_orbit",
                "cloud_cover",
                "tile",
                "id",
            ],
        )

    def __len__(self) -> int:
        return len(self.scenes)

    def __iter__(self) -> Iterator[Scene]:
        return iter(self.scenes)


def search(
    aoi: object,
    season: Season | int,
    *,
    archive: str | Path | Archive,
    modalities: Iterable[Modality] = MODALITIES,
) -> Scenes:
    """Find the scenes of an area and a season; metadata only, no pixel is read.

    Parameters
    ----------
    aoi : bbox, geometry, GeoDataFrame or path
        See `cubecrop.aoi.parse_aoi`.
    season : Season or int
        A season, or a harvest year whose default window fits the area's hemisphere.
    archive : str, Path or Archive
        See `open_archive`.
    modalities : iterable of str
        Which of ``sentinel2``, ``sentinel1``, ``weather``, ``terrain`` to look for. What is
        not found is absent, unless no satellite image at all is found.

    Returns
    -------
    Scenes

    Raises
    ------
    NoScenesError
        No Sentinel image meets the area and the season, though some were asked for.
    UnsupportedItemError
        An item that was found cannot be used; the message names it.
    """
    area = parse_aoi(aoi)
    season = season_for(season, area)
    source = open_archive(archive)
    wanted = tuple(modalities)
    if unknown := set(wanted) - set(MODALITIES):
        raise SchemaError(f"modalities {sorted(unknown)} are not among {list(MODALITIES)}.")

    found: list[Scene] = []
    for modality in wanted:
        found += _search_modality(source, modality, area.lonlat, season)
    if set(wanted) & set(SERIES) and not any(s.modality in SERIES for s in found):
        raise NoScenesError(_why_nothing(source, area, season, wanted))
    kept, superseded = _resolve_duplicates(found)
    return Scenes(archive=source.name, season=season, aoi=area, scenes=kept, superseded=superseded)


def season_for(season: Season | int, area: Aoi) -> Season:
    """A season as it is, or the default one of a harvest year in the area's hemisphere."""
    if isinstance(season, Season):
        return season
    south = area.lonlat.centroid.y < 0
    return Season(season, hemisphere="south" if south else "north")


def _search_modality(
    source: Archive, modality: Modality, area: shapely.Geometry, season: Season
) -> Iterator[Scene]:
    # A day more on each side, since solar days are not UTC days; the exact cut is below.
    first = dt.datetime.combine(season.start, dt.time(), dt.UTC) - dt.timedelta(days=1)
    last = dt.datetime.combine(season.end, dt.time.max, dt.UTC) + dt.timedelta(days=1)
    for collection in source.provider.collections_of(modality):
        dated = source.provider.collections[collection].dated
        interval = (first, last) if dated else None
        for item in source.items([collection], area, interval):
            scene = normalise_item(item, provider=source.provider)
            if modality not in SERIES or season.start <= scene.solar_day <= season.end:
                yield scene


def _resolve_duplicates(
    scenes: Iterable[Scene],
) -> tuple[tuple[Scene, ...], tuple[Scene, ...]]:
    """Keep the newest processing of each acquisition; complementary halves both stay."""
    kept: list[Scene] = []
    superseded: list[Scene] = []
    groups: dict[tuple[str, ...], list[Scene]] = {}
    unique = {(scene.collection, scene.id): scene for scene in scenes}
    for scene in unique.values():
        moment = scene.datatake or scene.start.strftime("%Y%m%dT%H%M%S")
        key: tuple[str, ...] = (scene.modality, scene.platform, scene.tile, moment)
        # Without a tile nothing says that two files show one acquisition.
        key = key if scene.tile else (*key, scene.collection, scene.id)
        groups.setdefault(key, []).append(scene)
    for group in groups.values():
        group.sort(key=lambda s: (s.baseline, s.generated, s.id), reverse=True)
        chosen: list[Scene] = []
        for scene in group:
            same = any(_share(scene, other) >= _SAME_FOOTPRINT for other in chosen)
            (superseded if same else chosen).append(scene)
        kept += chosen
    order = {modality: i for i, modality in enumerate(MODALITIES)}

    def by_time(scene: Scene) -> tuple[int, dt.datetime, str]:
        return order[scene.modality], scene.start, scene.id

    return tuple(sorted(kept, key=by_time)), tuple(sorted(superseded, key=by_time))


def _share(scene: Scene, other: Scene) -> float:
    """Share of a scene's footprint that another covers."""
    if scene.footprint.area == 0:
        return float(scene.footprint.intersects(other.footprint))
    return float(scene.footprint.intersection(other.footprint).area / scene.footprint.area)


def _why_nothing(source: Archive, area: Aoi, season: Season, wanted: tuple[Modality, ...]) -> str:
    collections = [c for m in wanted if m in SERIES for c in source.provider.collections_of(m)]
    start = f"archive {source.name} has no Sentinel scene for {area} in season {season}. "
    extent = source.extent(collections)
    if extent is None:
        return start + f"It has no item of the collections {collections}."
    coverage = shapely.box(*extent.bbox)
    west, south, east, north = extent.bbox
    where = f"lon {west:.4f} to {east:.4f}, lat {south:.4f} to {north:.4f}"
    if coverage.intersects(area.lonlat):
        return start + (
            f"It covers the area from {extent.start:%Y-%m-%d} to {extent.end:%Y-%m-%d}; "
            "choose a year within."
        )
    swapped = shapely.transform(area.lonlat, lambda xy: xy[:, ::-1])
    hint = (
        "Longitude and latitude look swapped: give (west, south, east, north)."
        if coverage.intersects(swapped)
        else "Choose an area within."
    )
    return start + f"It covers {where}. {hint}"
