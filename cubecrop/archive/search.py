"""Search an archive for the scenes of an area and a season."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from cubecrop.aoi import Aoi, parse_aoi
from cubecrop.archive.catalog import Archive, open_archive
from cubecrop.archive.choice import chosen
from cubecrop.archive.duplicates import resolve_duplicates
from cubecrop.archive.finding import items_with_scenes, no_weather, why_nothing
from cubecrop.archive.weather import check_weather, weather_store
from cubecrop.checks import check_names
from cubecrop.display import block, html_table, plain
from cubecrop.errors import NoScenesError, SchemaError
from cubecrop.schema import MODALITIES, OPTIONAL_MODALITIES, SERIES, Modality, Scene
from cubecrop.season import Season

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import shapely

__all__ = ["Scenes", "as_modalities", "search", "season_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """The scenes of one search, in order of time.

    ``superseded`` are older processings that a newer processing replaces.
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

    def __repr__(self) -> str:
        return block(f"Scenes of {plain(self.archive)}, season {self.season}", self._rows())

    def _repr_html_(self) -> str:
        return html_table(f"Scenes of {plain(self.archive)}, season {self.season}", self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        rows: list[tuple[str, str]] = []
        for modality in (*MODALITIES, *OPTIONAL_MODALITIES):
            found = self.of(modality)
            if not found:
                continue
            text = f"{len(found)} scene{'' if len(found) == 1 else 's'}"
            if modality in SERIES:
                days = sorted({scene.solar_day for scene in found})
                text += f" on {len(days)} date{'' if len(days) == 1 else 's'}"
                text += f", {days[0]} to {days[-1]}"
            rows.append((modality, text))
        if self.superseded:
            rows.append(("superseded", f"{len(self.superseded)} older processings"))
        return rows

    def __len__(self) -> int:
        return len(self.scenes)

    def __iter__(self) -> Iterator[Scene]:
        return iter(self.scenes)


def search(
    aoi: object,
    season: Season | int,
    *,
    archive: str | Path | Archive | None = None,
    modalities: Iterable[Modality] = MODALITIES,
    weather: str | Path | Archive | None = None,
    cache: str | Path | None = None,
) -> Scenes:
    """Find the scenes of an area and a season; metadata only, no pixel is read.

    Parameters
    ----------
    aoi : bbox, geometry, GeoDataFrame or path
        See `cubecrop.aoi.parse_aoi`.
    season : Season or int
        A season, or a harvest year whose default window fits the area's hemisphere.
    archive : str, Path or Archive, optional
        See `open_archive`. By default your own archive, or else the first public one that has
        the season; see `cubecrop.archive.PUBLIC_ARCHIVES`.
    modalities : iterable of str
        Which of ``sentinel2``, ``sentinel1``, ``weather``, ``terrain``, and ``landcover`` (not
        searched by default) to search for. A modality without scenes is absent; without any
        satellite scene the search fails. Sentinel-1 items without VV and VH are skipped.
    weather : str, Path or Archive, optional
        Source of the weather, if not the archive: a key of `WEATHER_SOURCES`
        (``arco-era5``, ``earth-data-hub``), a path or address of a Zarr store with CF units,
        or another archive.
    cache : path, optional
        Folder that keeps the answers of a STAC API. The same search then needs no network;
        see `CachedArchive`. To use it with `open_season`, `classify` or `train`, pass it to
        `open_archive`.

    Returns
    -------
    Scenes

    Raises
    ------
    ArchiveError
        The archive cannot be opened, or none was named and no public one answers.
    NoScenesError
        No Sentinel image meets the area and the season, although a Sentinel modality was
        requested; or the archive named for the weather has no weather.
    UnsupportedItemError
        An item that was found cannot be used; the message names it.
    """
    wanted = as_modalities(modalities)
    if weather is not None:
        check_weather(weather, wanted)
    area = parse_aoi(aoi)
    season = season_for(season, area)
    source, weather = chosen(
        archive, weather, area=area, season=season, modalities=wanted, cache=cache
    )

    found: list[Scene] = []
    lonlat = area.lonlat
    for modality in wanted:
        if modality == "weather" and weather is not None:
            found += _search_weather(weather, area, season)
        else:
            found += _search_modality(source, modality, lonlat, season)
    if set(wanted) & set(SERIES) and not any(s.modality in SERIES for s in found):
        raise NoScenesError(why_nothing(source, area, season, wanted))
    kept, superseded = resolve_duplicates(found, list(source.provider.collections))
    return Scenes(archive=source.name, season=season, aoi=area, scenes=kept, superseded=superseded)


def as_modalities(modalities: object) -> tuple[Modality, ...]:
    """Modalities as a tuple; raises `SchemaError` if one is not known or there are none."""
    known = (*MODALITIES, *OPTIONAL_MODALITIES)
    return check_names("modalities", modalities, known, error=SchemaError)  # type: ignore[return-value]


def season_for(season: Season | int, area: Aoi) -> Season:
    """A season unchanged, or the default season of a harvest year in the area's hemisphere."""
    if isinstance(season, Season):
        return season
    south = area.centre.y < 0
    return Season(season, hemisphere="south" if south else "north")


def _search_weather(weather: str | Path | Archive, area: Aoi, season: Season) -> list[Scene]:
    """Weather from a store or an archive other than the one with the images."""
    if isinstance(weather, str | Path) and (store := weather_store(weather, season)) is not None:
        return [store]
    source = open_archive(weather)
    found = list(_search_modality(source, "weather", area.lonlat, season))
    if not found:
        raise NoScenesError(no_weather(source, area, season))
    return found


def _search_modality(
    source: Archive, modality: Modality, area: shapely.Geometry, season: Season
) -> Iterator[Scene]:
    return (scene for _, scene in items_with_scenes(source, modality, area, season))
