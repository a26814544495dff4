"""What is known of each provider's catalogue, as data.

A provider is a row: how its collections are called, what its assets are called, what a
digital number means. A new catalogue is a new row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cubecrop.schema import SENTINEL1_BANDS, SENTINEL2_BANDS, Modality

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LOCAL", "PROVIDERS", "CollectionRule", "Provider"]


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
        Our band name to the DN that means nothing, where the files or items do not say.
    offset_from_baseline : bool
        Reflectance carries an offset of -0.1 from processing baseline 04.00 on (ESA,
        Sentinel-2 Products Specification Document, "BOA_ADD_OFFSET" = -1000).
    calibration : str
        Radar calibration where the item does not name it.
    dated : bool
        False for collections that hold for any year, such as a DEM.
    """

    modality: Modality
    assets: Mapping[str, str]
    scale: float = 1.0
    nodata: Mapping[str, float] = field(default_factory=dict)
    offset_from_baseline: bool = False
    calibration: str = ""
    dated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A catalogue: its name, the URL of its STAC API if it has one, and its collections."""

    name: str
    collections: Mapping[str, CollectionRule]
    url: str | None = None

    def collections_of(self, modality: Modality) -> list[str]:
        """Collection ids that feed a child of the season cube."""
        return [key for key, rule in self.collections.items() if rule.modality == modality]


_SENTINEL2_ASSETS = {band: band for band in (*SENTINEL2_BANDS, "SCL")}

#: A folder, an ItemCollection or a STAC API with ESA band names as asset keys and raw DN:
#: the form of the Planetary Computer's items.
LOCAL: Final = Provider(
    name="local",
    collections={
        "sentinel-2-l2a": CollectionRule(
            modality="sentinel2",
            assets=_SENTINEL2_ASSETS,
            scale=1e-4,
            nodata=dict.fromkeys(_SENTINEL2_ASSETS, 0.0),
            offset_from_baseline=True,
        ),
        "sentinel-1-rtc": CollectionRule(
            modality="sentinel1",
            assets={band: band for band in SENTINEL1_BANDS},
            calibration="gamma0",
        ),
        "cop-dem-glo-30": CollectionRule(
            modality="terrain", assets={"elevation": "data"}, dated=False
        ),
        "agera5-daily": CollectionRule(modality="weather", assets={"weather": "zarr"}),
    },
)

PROVIDERS: Final[Mapping[str, Provider]] = {LOCAL.name: LOCAL}
