"""Weather of other places than the imagery's: known sources, and any Zarr store."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import shapely

from cubecrop.archive.base import Archive, refuse_password
from cubecrop.archive.catalog import open_archive
from cubecrop.checks import told
from cubecrop.errors import ArchiveError, SchemaError
from cubecrop.schema import Accumulation, Asset, Scene

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cubecrop.season import Season

__all__ = ["WEATHER_SOURCES", "WeatherSource", "check_weather", "open_weather", "weather_store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeatherSource:
    """A published Zarr store of weather.

    Parameters
    ----------
    url : str
        Where it is.
    accumulation : {"hour", "midnight"}
        What its amounts are, as its documentation says: of the hour that ends at the stamp,
        or of all since 00 UTC.
    about : str
        What it is, and who may read it.
    """

    url: str
    accumulation: Accumulation
    about: str


#: Each a row. ERA5's amounts are of the hour before (ECMWF, "ERA5: data documentation",
#: table 3); ERA5-Land's run from 00 UTC (ECMWF, "ERA5-Land: data documentation"), which
#: the Earth Data Hub leaves as they are.
WEATHER_SOURCES: Final[Mapping[str, WeatherSource]] = {
    "arco-era5": WeatherSource(
        url="https://storage.googleapis.com/gcp-public-data-arco-era5/ar/"
        "full_37-1h-0p25deg-chunk-1.zarr-v3",
        accumulation="hour",
        about="ERA5, hourly, 0.25 degree, for anybody; each hour is a file of the whole globe",
    ),
    "earth-data-hub": WeatherSource(
        url="https://data.earthdatahub.destine.eu/era5/era5-land-v0.zarr",
        accumulation="midnight",
        about="ERA5-Land, hourly, 0.1 degree, with a token of DestinE in ~/.netrc",
    ),
}


def check_weather(weather: object, modalities: Collection[str]) -> str | Path | Archive:
    """Give a source of weather; raise unless it is of a right kind and weather looked for.

    Nothing is opened.

    Raises
    ------
    ArchiveError
        It is of another kind, or an address that is not read or holds a password.
    SchemaError
        No weather is looked for.
    """
    if "weather" not in modalities:
        raise SchemaError(
            f"weather={str(weather)!r} names a source, but modalities are {list(modalities)}. Add "
            "'weather' to them, or leave the source out, as for a model that takes no weather."
        )
    if not isinstance(weather, str | Path | Archive):
        raise ArchiveError(f"weather is {told(weather)}, {_known()}.")
    if isinstance(weather, str | Path):
        _store_address(weather)
    return weather


def open_weather(weather: object, modalities: Collection[str]) -> str | Path | Archive:
    """A source of weather: a store by its name, an archive opened.

    Parameters
    ----------
    weather : str, Path or Archive
        See `cubecrop.search`.
    modalities : collection of str
        What is looked for; weather must be among it.

    Returns
    -------
    str, Path or Archive
        As it is, or the archive that it names.

    Raises
    ------
    ArchiveError
        It is no source of weather.
    SchemaError
        No weather is looked for.
    """
    source = check_weather(weather, modalities)
    if not isinstance(source, str | Path) or _store_address(source) is not None:
        return source
    try:
        return open_archive(source)
    except ArchiveError as error:
        raise ArchiveError(
            f"weather={str(source)!r} is no source of weather: {_known()} ({error})"
        ) from error


def _known() -> str:
    return f"expected one of {sorted(WEATHER_SOURCES)}, a Zarr store, or an archive"


def weather_store(source: str | Path, season: Season) -> Scene | None:
    """A Zarr store as a scene, or None where a name is that of an archive.

    Parameters
    ----------
    source : str or Path
        A key of `WEATHER_SOURCES`, or a path or address of a Zarr store. ``gs://`` stands for
        a bucket that anybody may read.
    season : Season
        Its dates, since a store is opened later.

    Returns
    -------
    Scene or None

    Raises
    ------
    ArchiveError
        The address is of a kind that is not read, or holds a password.
    """
    text = str(source)
    row = WEATHER_SOURCES.get(text)
    url = _store_address(source)
    if url is None:
        return None
    return Scene(
        id=text,
        collection="",
        modality="weather",
        start=dt.datetime.combine(season.start, dt.time(), dt.UTC),
        end=dt.datetime.combine(season.end, dt.time(), dt.UTC),
        solar_day=season.start,
        footprint=shapely.box(-180, -90, 180, 90),
        assets={"weather": Asset(href=url)},
        accumulation=row.accumulation if row else "",
        provider=text if row else "",
    )


def _store_address(source: str | Path) -> str | None:
    """Where a Zarr store is, None where a name is that of an archive."""
    text = str(source)
    refuse_password(text)
    row = WEATHER_SOURCES.get(text)
    url = row.url if row else text
    if row is None and not _is_store(url):
        return None
    scheme = urlsplit(url).scheme
    if scheme == "gs":
        url = "https://storage.googleapis.com/" + url.removeprefix("gs://")
    elif scheme not in {"http", "https", "file", ""}:
        raise ArchiveError(
            f"weather is at {url!r}, expected a path or an https or gs address of a Zarr store, "
            f"or one of {sorted(WEATHER_SOURCES)}."
        )
    elif scheme not in {"http", "https"}:
        url = str(Path(url.removeprefix("file://")).expanduser().resolve())
    return url


def _is_store(text: str) -> bool:
    path = urlsplit(text).path.rstrip("/")
    if ".zarr" in path.rsplit("/", 1)[-1]:
        return True
    folder = Path(text).expanduser()
    return any((folder / name).is_file() for name in ("zarr.json", ".zgroup", ".zmetadata"))
