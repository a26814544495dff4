"""Weather from another source than the images: known sources, and any Zarr store."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import shapely

from cubecrop.archive.base import Archive, refuse_password
from cubecrop.archive.catalog import open_archive
from cubecrop.checks import brief
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
        Address of the store.
    accumulation : {"hour", "midnight"}
        Period that its amounts cover, by its documentation: the hour that ends at the time
        stamp, or the time since 00 UTC.
    about : str
        Content, and who may read it.
    """

    url: str
    accumulation: Accumulation
    about: str


#: ERA5's amounts cover the hour before the time stamp (ECMWF, "ERA5: data documentation",
#: table 3). ERA5-Land's amounts start at 00 UTC (ECMWF, "ERA5-Land: data documentation"); the
#: Earth Data Hub does not change them.
WEATHER_SOURCES: Final[Mapping[str, WeatherSource]] = {
    "arco-era5": WeatherSource(
        url="https://storage.googleapis.com/gcp-public-data-arco-era5/ar/"
        "full_37-1h-0p25deg-chunk-1.zarr-v3",
        accumulation="hour",
        about="ERA5, hourly, 0.25 degree, public; each hour is a file of the whole globe",
    ),
    "earth-data-hub": WeatherSource(
        url="https://data.earthdatahub.destine.eu/era5/era5-land-v0.zarr",
        accumulation="midnight",
        about="ERA5-Land, hourly, 0.1 degree; needs a DestinE token in ~/.netrc",
    ),
}


def check_weather(weather: object, modalities: Collection[str]) -> str | Path | Archive:
    """Return a weather source; raise if its type is wrong or weather is not requested.

    Nothing is opened.

    Raises
    ------
    ArchiveError
        The source has another type, or is an address with an unsupported scheme or a password.
    SchemaError
        Weather is not among the modalities.
    """
    if "weather" not in modalities:
        raise SchemaError(
            f"weather={str(weather)!r} names a source, but modalities are {list(modalities)}. Add "
            "'weather' to them, or leave the source out, as for a model without weather."
        )
    if not isinstance(weather, str | Path | Archive):
        raise ArchiveError(f"weather is {brief(weather)}, {_known()}.")
    if isinstance(weather, str | Path):
        _store_address(weather)
    return weather


def open_weather(weather: object, modalities: Collection[str]) -> str | Path | Archive:
    """Open a weather source if it is an archive; return the name of a store.

    Parameters
    ----------
    weather : str, Path or Archive
        See `cubecrop.search`.
    modalities : collection of str
        The modalities of the search; weather must be among them.

    Returns
    -------
    str, Path or Archive
        The name or address of a store, or an open archive.

    Raises
    ------
    ArchiveError
        It is not a weather source.
    SchemaError
        Weather is not among the modalities.
    """
    source = check_weather(weather, modalities)
    if not isinstance(source, str | Path) or _store_address(source) is not None:
        return source
    try:
        return open_archive(source)
    except ArchiveError as error:
        raise ArchiveError(
            f"weather={str(source)!r} is not a weather source: {_known()} ({error})"
        ) from error


def _known() -> str:
    return f"expected one of {sorted(WEATHER_SOURCES)}, a Zarr store, or an archive"


def weather_store(source: str | Path, season: Season) -> Scene | None:
    """A Zarr store as a scene, or None if the name is that of an archive.

    Parameters
    ----------
    source : str or Path
        A key of `WEATHER_SOURCES`, or a path or address of a Zarr store. An address with
        ``gs://`` must be a public bucket.
    season : Season
        Gives the dates of the scene, since the store is opened later.

    Returns
    -------
    Scene or None

    Raises
    ------
    ArchiveError
        The address has an unsupported scheme, or holds a password.
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
    """Address of a Zarr store; None if the name is that of an archive."""
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
