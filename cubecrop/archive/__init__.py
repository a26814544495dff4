"""Archives: search STAC catalogues and normalise their items to scenes."""

from __future__ import annotations

from cubecrop.archive.acquisitions import LOW_CLOUD, availability
from cubecrop.archive.api import StacApiArchive
from cubecrop.archive.catalog import Archive, open_archive
from cubecrop.archive.choice import PUBLIC_ARCHIVES, chosen
from cubecrop.archive.items import normalise_item
from cubecrop.archive.providers import PROVIDERS, CollectionRule, Provider
from cubecrop.archive.search import Scenes, as_modalities, search, season_for
from cubecrop.archive.search_cache import CachedArchive
from cubecrop.archive.weather import WEATHER_SOURCES, WeatherSource, open_weather
from cubecrop.errors import UnsupportedItemError

__all__ = [
    "LOW_CLOUD",
    "PROVIDERS",
    "PUBLIC_ARCHIVES",
    "WEATHER_SOURCES",
    "Archive",
    "CachedArchive",
    "CollectionRule",
    "Provider",
    "Scenes",
    "StacApiArchive",
    "UnsupportedItemError",
    "WeatherSource",
    "as_modalities",
    "availability",
    "chosen",
    "normalise_item",
    "open_archive",
    "open_weather",
    "search",
    "season_for",
]
