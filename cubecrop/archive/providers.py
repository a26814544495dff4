"""Facts about each provider's catalogue, as data.

A provider is a row: the names of its collections and assets, and the meaning of a digital
number. Another catalogue needs one more row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from cubecrop.archive.signing import COPERNICUS_S3, OPEN_S3, PLANETARY_COMPUTER_TOKENS
from cubecrop.errors import ArchiveError, UnsupportedItemError
from cubecrop.schema import (
    CLOUD_PROBABILITY,
    SENTINEL1_BANDS,
    SENTINEL2_BANDS,
    Access,
    Accumulation,
    Modality,
)

__all__ = [
    "LOCAL", "PROVIDERS", "CollectionRule", "Provider", "check_provider", "provider_at",
    "tell_provider",
]  # fmt: skip

#: Source of a collection's offset: "none" if it has no offset; "baseline" if the files hold
#: ESA's original DN, so that the processing baseline decides; "flag" if the catalogue may have
#: shifted the files and states it in a flag.
OffsetSource = Literal["none", "baseline", "flag"]

#: Links that show which catalogue an item is from.
_HOME_LINKS: Final = {"self", "root", "parent", "collection", "canonical"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRule:
    """How one collection is read.

    Parameters
    ----------
    modality : str
        The child of the season cube that it feeds.
    assets : mapping
        Our band name to the catalogue's asset key.
    scale : float
        Value of one DN.
    nodata : mapping
        Our band name to the nodata DN, for use if neither file nor item declares it.
    offset : str
        Where the offset comes from: ``none``, ``baseline`` or ``flag``. Reflectance has
        an offset of -0.1 from processing baseline 04.00 on (ESA, Sentinel-2 Products
        Specification Document, "BOA_ADD_OFFSET" = -1000).
    calibration : str
        Radar calibration, for items that do not name it.
    dated : bool
        False for collections that are valid for any year, such as a DEM.
    searched : bool
        False for collections that a search leaves out unless the user names them, since a
        better collection holds the same acquisitions.
    optional : mapping
        Further assets by our name that only some items have. If ``assets`` is empty, an item
        needs at least one of them.
    accumulation : str
        Period that weather amounts cover; see `cubecrop.schema.Accumulation`.
    classes : mapping
        Classes of a land-cover map by code. Names are slugs; two maps call the same class by the
        same slug, so that ``cropland`` is cropland whatever the map.
    product : str
        Name of a land-cover map, for people.
    declares_offset : bool
        Whether items declare an offset of -0.1 whatever their baseline. The declaration then
        does not contradict the baseline.
    """

    modality: Modality
    assets: Mapping[str, str]
    scale: float = 1.0
    nodata: Mapping[str, float] = field(default_factory=dict)
    offset: OffsetSource = "none"
    calibration: str = ""
    dated: bool = True
    searched: bool = True
    optional: Mapping[str, str] = field(default_factory=dict)
    accumulation: Accumulation = ""
    classes: Mapping[int, str] = field(default_factory=dict)
    product: str = ""
    declares_offset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A catalogue: name, collections in order of preference, URL of its STAC API if it has one.

    ``homes`` are the hosts and S3 buckets of its links and files, which identify its items;
    ``access`` is how its files are opened.
    """

    name: str
    collections: Mapping[str, CollectionRule]
    url: str | None = None
    homes: frozenset[str] = frozenset()
    access: Access = field(default_factory=Access)

    def collections_of(self, modality: Modality) -> list[str]:
        """Collection ids that feed a child of the season cube, the preferred one first."""
        rules = self.collections.items()
        return [key for key, rule in rules if rule.modality == modality and rule.searched]

    def searching(self, collections: Iterable[str] | None = None) -> Provider:
        """Return the provider with only the named collections searched; None means all."""
        wanted = list(self.collections if collections is None else collections)
        if unknown := [key for key in wanted if key not in self.collections]:
            raise ArchiveError(
                f"collections {unknown} of provider {self.name!r} are not known, expected some "
                f"of {list(self.collections)}."
            )
        rules = {key: replace(self.collections[key], searched=True) for key in wanted}
        return replace(self, collections=rules)


def tell_provider(item: Mapping[str, Any]) -> Provider:
    """The provider of an item, from its links, hrefs and collection; else ``LOCAL``.

    Raises
    ------
    UnsupportedItemError
        The links name one catalogue and the files another.
    """
    by_links, by_files = _named_by(item)
    both = (by_links & by_files) or by_links or by_files
    if len(both) > 1 or (by_links and by_files and not by_links & by_files):
        raise UnsupportedItemError(
            f"item {str(item.get('id'))!r} has links of {sorted(by_links)} and files of "
            f"{sorted(by_files)}, expected one provider: the same DN means a different "
            "reflectance with each. Name the right one with `provider=...`."
        )
    if both:
        return PROVIDERS[both.pop()]
    # It may be a mirror of a collection that only one catalogue has.
    collection = str(item.get("collection"))
    owners = [row for row in PROVIDERS.values() if collection in row.collections]
    return owners[0] if len(owners) == 1 else LOCAL


def check_provider(item: Mapping[str, Any], row: Provider) -> None:
    """Raise if links or files of an item belong to other providers than the given one.

    A mirror may have its files anywhere, and a ``local`` item may come from any provider.
    """
    by_links, by_files = _named_by(item)
    named = by_links | by_files
    # Compare homes, not names: a user may derive a provider from one of these under another name.
    if named and row.homes and not any(PROVIDERS[name].homes & row.homes for name in named):
        raise UnsupportedItemError(
            f"item {str(item.get('id'))!r} should be of {row.name!r}, but its links or files are "
            f"of {sorted(named)}: the same DN means a different reflectance with each. Leave "
            "`provider=` out, or name the right one."
        )


def _named_by(item: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Providers that host an item's links, and those that host its files."""
    links, assets = item.get("links"), item.get("assets")
    pages = [
        str(link.get("href", ""))
        for link in (links if isinstance(links, list | tuple) else ())
        if isinstance(link, Mapping) and link.get("rel") in _HOME_LINKS
    ]
    files = [
        str(asset.get("href", ""))
        for asset in (assets.values() if isinstance(assets, Mapping) else ())
        if isinstance(asset, Mapping)
    ]
    return _at_home(pages), _at_home(files)


def provider_at(url: str) -> Provider:
    """The provider of a STAC API; ``LOCAL`` if its address is not known."""
    names = _at_home([url])
    if not names:
        return LOCAL
    row = PROVIDERS[names.pop()]
    # Another version of the API has other collections: search all that it lists.
    return row if url.rstrip("/") == row.url else row.searching()


def _at_home(hrefs: Iterable[str]) -> set[str]:
    """Names of the providers that own any of the addresses."""
    places = {place for href in hrefs for place in _places(href)}
    return {row.name for row in PROVIDERS.values() if row.homes & places}


def _places(href: str) -> Iterator[str]:
    """The host of an address, its parent domains and its S3 bucket."""
    try:
        parts = urlsplit(href)
        host = (parts.hostname or "").lower()
    except ValueError:
        return
    if parts.scheme not in {"http", "https", "s3"}:
        return
    labels = host.split(".")
    yield from (".".join(labels[i:]) for i in range(len(labels)))
    if parts.scheme != "s3" and host.endswith(".amazonaws.com"):
        if match := re.fullmatch(r"(.+)\.s3[.-].*amazonaws\.com", host):
            yield match[1]
        elif host.startswith("s3"):
            yield parts.path.lstrip("/").split("/")[0]


def _sentinel2(
    assets: Mapping[str, str],
    offset: OffsetSource,
    *,
    searched: bool = True,
    optional: Mapping[str, str] | None = None,
) -> CollectionRule:
    return CollectionRule(
        modality="sentinel2",
        assets=assets,
        scale=1e-4,
        # 0 % of cloud is a value, even though catalogues declare 0 as nodata of that asset too.
        nodata={**dict.fromkeys(assets, 0.0), CLOUD_PROBABILITY: 255.0},
        offset=offset,
        searched=searched,
        optional=optional or {},
    )


_ESA_NAMES: Final = {band: band for band in (*SENTINEL2_BANDS, "SCL")}
_COMMON_NAMES: Final = {
    "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
    "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B11": "swir16", "B12": "swir22",
    "SCL": "scl",
}  # fmt: skip
#: Each band at its native resolution.
_SIZED_NAMES: Final = {
    band: f"{band}_{10 if band in {'B02', 'B03', 'B04', 'B08'} else 20}m" for band in _ESA_NAMES
}
_ELEVATION: Final = CollectionRule(
    modality="terrain", assets={"elevation": "data"}, dated=False
)  # fmt: skip
#: Product User Manual of ESA WorldCover v200 (2021), table 3; 2020 (v100) has the same codes.
_WORLDCOVER: Final = CollectionRule(
    modality="landcover",
    assets={"landcover": "map"},
    nodata={"landcover": 0.0},
    dated=False,
    product="ESA WorldCover",
    classes={
        10: "trees", 20: "shrubland", 30: "grassland", 40: "cropland", 50: "built_up",
        60: "bare", 70: "snow_and_ice", 80: "water", 90: "wetland", 95: "mangroves",
        100: "moss_and_lichen",
    },
)  # fmt: skip
#: Classes as the items list them (``file:values``). A map of every year since 2017, but what it
#: calls rangeland is grass and shrubs, so it is searched only if it is named.
_IO_LULC: Final = CollectionRule(
    modality="landcover",
    assets={"landcover": "data"},
    nodata={"landcover": 0.0},
    dated=False,
    searched=False,
    product="Impact Observatory 10 m land cover",
    classes={
        1: "water", 2: "trees", 4: "wetland", 5: "cropland", 7: "built_up", 8: "bare",
        9: "snow_and_ice", 10: "clouds", 11: "grassland",
    },
)  # fmt: skip
_RADAR: Final = {band: band for band in SENTINEL1_BANDS}

#: A folder, an ItemCollection or a STAC API with ESA band names as asset keys and raw DN:
#: the form of the Planetary Computer's items.
LOCAL: Final = Provider(
    name="local",
    collections={
        "sentinel-2-l2a": _sentinel2(_ESA_NAMES, "baseline"),
        "sentinel-1-rtc": CollectionRule(
            modality="sentinel1", assets=_RADAR, calibration="gamma0"
        ),
        "cop-dem-glo-30": _ELEVATION,
        "esa-worldcover": _WORLDCOVER,
        "io-lulc-annual-v02": _IO_LULC,
        "agera5-daily": CollectionRule(modality="weather", assets={"weather": "zarr"}),
    },
)  # fmt: skip

PLANETARY_COMPUTER: Final = Provider(
    name="planetary-computer",
    url="https://planetarycomputer.microsoft.com/api/stac/v1",
    access=PLANETARY_COMPUTER_TOKENS,
    homes=frozenset(
        {
            "planetarycomputer.microsoft.com",
            "pct-apis-staging.westeurope.cloudapp.azure.com",
            "sentinel2l2a01.blob.core.windows.net",
            "sentinel1euwest.blob.core.windows.net",
            "sentinel1euwestrtc.blob.core.windows.net",
            "elevationeuwest.blob.core.windows.net",
            # Land cover of several producers lies in one account.
            "ai4edataeuwest.blob.core.windows.net",
        }
    ),
    collections={
        "sentinel-2-l2a": _sentinel2(_ESA_NAMES, "baseline"),
        "sentinel-1-rtc": CollectionRule(
            modality="sentinel1",
            assets=_RADAR,
            calibration="gamma0",
            nodata=dict.fromkeys(_RADAR, -32768.0),
        ),
        "cop-dem-glo-30": _ELEVATION,
        "esa-worldcover": _WORLDCOVER,
        "io-lulc-annual-v02": _IO_LULC,
        # One item is a month. Analyses ("an") have the temperature; forecasts ("fc") have the
        # amounts of the hour before the time stamp. The collection ends with 2020.
        "era5-pds": CollectionRule(
            modality="weather",
            assets={},
            optional={
                "temperature": "air_temperature_at_2_metres",
                "precipitation": "precipitation_amount_1hour_Accumulation",
                "solar_radiation": "integral_wrt_time_of_surface_direct_downwelling_shortwave_"
                "flux_in_air_1hour_Accumulation",
            },
            accumulation="hour",
        ),
    },
)

#: Version 1 and, for ``sentinel-s2-l2a-cogs``, version 0. The flag of ``sentinel-2-l2a`` is
#: sometimes wrong (Element84/earth-search issues 66 and 71), so ``c1-l2a`` is searched instead.
EARTH_SEARCH: Final = Provider(
    name="earth-search",
    url="https://earth-search.aws.element84.com/v1",
    access=OPEN_S3,
    homes=frozenset(
        {
            "earth-search.aws.element84.com",
            "e84-earth-search-sentinel-data",
            "earthsearch-data",
            "sentinel-cogs",
            "sentinel-s2-l2a",
            "copernicus-dem-30m",
        }
    ),
    collections={
        "sentinel-2-c1-l2a": _sentinel2(
            _COMMON_NAMES, "baseline", optional={CLOUD_PROBABILITY: "cloud"}
        ),
        "sentinel-2-l2a": _sentinel2(_COMMON_NAMES, "flag", searched=False),
        "sentinel-s2-l2a-cogs": _sentinel2(_ESA_NAMES, "flag", searched=False),
        "cop-dem-glo-30": _ELEVATION,
    },
)

CDSE: Final = Provider(
    name="cdse",
    url="https://stac.dataspace.copernicus.eu/v1",
    access=COPERNICUS_S3,
    homes=frozenset({"dataspace.copernicus.eu", "eodata"}),
    collections={
        # The program that writes the items always declares -0.1: eu-cdse/eometadatatool,
        # eometadatatool/stac/sentinel-2-l2a/template/stac_s2l2a.py.
        "sentinel-2-l2a": replace(_sentinel2(_SIZED_NAMES, "baseline"), declares_offset=True)
    },
)

PROVIDERS: Final[Mapping[str, Provider]] = {
    row.name: row for row in (LOCAL, PLANETARY_COMPUTER, EARTH_SEARCH, CDSE)
}
