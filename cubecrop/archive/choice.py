"""The archive of a call that names none: one's own, or the first public one with the season."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cubecrop.archive.api import StacApiArchive, said
from cubecrop.archive.catalog import open_archive
from cubecrop.archive.finding import items_with_scenes, why_nothing
from cubecrop.archive.providers import PROVIDERS
from cubecrop.archive.search_cache import CachedArchive
from cubecrop.archive.settings import VARIABLE, Named, named_archive, named_weather, settings_file
from cubecrop.archive.weather import open_weather
from cubecrop.errors import ArchiveError, NoScenesError, UnsupportedItemError
from cubecrop.schema import SERIES
from cubecrop.texts import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cubecrop.aoi import Aoi
    from cubecrop.archive.base import Archive
    from cubecrop.schema import Modality
    from cubecrop.season import Season

__all__ = ["PUBLIC_ARCHIVES", "chosen"]

#: Public archives in the order in which they are asked.
PUBLIC_ARCHIVES: Final = ("planetary-computer", "earth-search")
#: Public weather for a model that needs it, if the chosen archive has none of the season.
_PUBLIC_WEATHER: Final = "arco-era5"
#: The reason at the end of urllib3's report of a connection that was not made.
_REASON: Final = re.compile(r"Failed to [^()]*(\([^)]*)?|[^'\"(]*timed out[^'\")]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What an archive must have images of."""

    area: Aoi
    season: Season
    modalities: tuple[Modality, ...]
    needed: tuple[Modality, ...]


def chosen(
    archive: str | Path | Archive | None,
    weather: str | Path | Archive | None,
    *,
    area: Aoi,
    season: Season,
    modalities: tuple[Modality, ...],
    needed: tuple[Modality, ...] = (),
    cache: str | Path | None = None,
) -> tuple[Archive, str | Path | Archive | None]:
    """Open the archive of the images and the source of the weather; metadata only.

    An archive that is named is opened as it is. Otherwise it is that of the environment variable
    ``CUBECROP_ARCHIVE``, or that of ``cubecrop.toml``, or the first of `PUBLIC_ARCHIVES` that
    answers and has an image of the area in the season of each needed modality, and of one
    satellite at least. A warning says why another one was passed over.

    Weather that is not named is that of ``cubecrop.toml``, unless an archive is named; or that of
    the archive. A public archive without weather of the whole season gives way to ``arco-era5``.

    Parameters
    ----------
    archive, weather
        As for `cubecrop.search`; None if not named.
    area, season, modalities
        What is searched for.
    needed : tuple of str
        The modalities without which the archive is of no use.
    cache : path, optional
        Folder of the answers; see `open_archive`. The answers to these questions are kept too.

    Raises
    ------
    ArchiveError
        What is named cannot be opened, or no public archive has the season and one of them did
        not answer, or has items that cannot be used. The message lists what each said.
    NoScenesError
        All public archives answered, and none has the season.
    """
    if weather is not None:
        weather = open_weather(weather, modalities)
    if archive is not None:
        return open_archive(archive, cache=cache), weather
    named = named_archive()
    if weather is None and "weather" in modalities and (own := named_weather()) is not None:
        weather = _opened_weather(own, modalities)
    if named is not None:
        return _opened(named, cache), weather
    wanted = _Wanted(
        area=area, season=season, modalities=modalities,
        needed=tuple(name for name in needed if name != "weather"),
    )  # fmt: skip
    source = _first_public(wanted, cache)
    if weather is None and "weather" in needed and not _has_weather(source, wanted):
        weather = _PUBLIC_WEATHER
        warnings.warn(
            f"{source.name} has no weather of the whole season {season}, so that of {weather} is "
            "used. Each of its hours is a file of the whole globe, which takes long for a small "
            "area. Name another source with `weather=...` (`--weather`).",
            stacklevel=3,
        )
    return source, weather


def _opened(named: Named, cache: str | Path | None) -> Archive:
    try:
        return open_archive(named.source, cache=cache)
    except ArchiveError as error:
        raise ArchiveError(f"the archive that {named.where} names: {error}") from error


def _opened_weather(named: Named, modalities: tuple[Modality, ...]) -> str | Path | Archive:
    try:
        return open_weather(named.source, modalities)
    except ArchiveError as error:
        raise ArchiveError(f"the weather that {named.where} names: {error}") from error


def _first_public(wanted: _Wanted, cache: str | Path | None) -> Archive:
    """The first public archive that answers and has the season; raises if none has."""
    said: dict[str, str] = {}
    silent, without = [], []
    for name in PUBLIC_ARCHIVES:
        source = open_archive(name, cache=cache)
        hasty = _hasty(source)
        try:
            lacking = _lacking(hasty, wanted)
        except ArchiveError as error:
            silent.append(name)
            said[name] = _reason(error)
            continue
        except UnsupportedItemError as error:
            said[name] = one_line(error, length=200)
            continue
        if not lacking:
            if said:
                others = "; ".join(f"{other}: {text}" for other, text in said.items())
                warnings.warn(f"{name} is used, since others are not. {others}", stacklevel=4)
            return source
        without.append(name)
        said[name] = lacking
    lines = [f"{name} ({PROVIDERS[name].url}): {text}" for name, text in said.items()]
    kind = NoScenesError if len(without) == len(said) else ArchiveError
    raise kind(
        f"no archive is named, and no public archive can be used for {wanted.area} in season "
        f"{wanted.season}.\n  " + "\n  ".join(lines) + f"\n{_cure(all_answered=not silent)}"
    )


def _cure(*, all_answered: bool) -> str:
    first = "Choose another area or year" if all_answered else "Check the network"
    return (
        f"{first}, or name an archive: `archive=...` (`--archive`), the environment variable "
        f'{VARIABLE}, or a line `archive = "..."` in {settings_file()}.'
    )


def _hasty(source: Archive) -> Archive:
    """The same archive, asked with little patience, since another one can be asked instead."""
    if isinstance(source, StacApiArchive):
        return replace(source, hasty=True)
    if isinstance(source, CachedArchive):
        return replace(source, archive=_hasty(source.archive))
    return source


def _lacking(source: Archive, wanted: _Wanted) -> str:
    """What an archive lacks; "" if it has the season."""
    satellites: Sequence[Modality] = [name for name in wanted.modalities if name in SERIES]
    needed_ones = [name for name in wanted.needed if name in SERIES]
    if satellites and not needed_ones and not any(_has(source, m, wanted) for m in satellites):
        return why_nothing(source, wanted.area, wanted.season, wanted.modalities)
    lacking = [name for name in wanted.needed if not _has(source, name, wanted)]
    return f"it has no {' and no '.join(lacking)} of the area in the season" if lacking else ""


def _has(source: Archive, modality: Modality, wanted: _Wanted) -> bool:
    """Whether an archive has one scene; its first answers are enough."""
    found = items_with_scenes(source, modality, wanted.area.lonlat, wanted.season)
    return next(found, None) is not None


def _has_weather(source: Archive, wanted: _Wanted) -> bool:
    """Whether an archive has weather from the first to the last day of the season."""
    area, season = wanted.area.lonlat, wanted.season
    scenes = [scene for _, scene in items_with_scenes(source, "weather", area, season)]
    starts, ends = [one.start.date() for one in scenes], [one.end.date() for one in scenes]
    return bool(scenes) and min(starts) <= season.start and max(ends) >= season.end


def _reason(error: ArchiveError) -> str:
    """What an archive said, without the cure and the library's objects."""
    cause = error.__cause__
    answered = getattr(cause, "status_code", None) is not None
    text = said(cause) if cause is not None and answered else str(cause or error)
    found = _REASON.search(text)
    reason = found[0].strip(" \"'").replace("(", "") if found else text
    return f"it did not answer ({one_line(reason, length=200)})"
