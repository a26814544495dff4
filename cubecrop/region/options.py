"""The options of a region's run, as JSON."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cubecrop.archive import PROVIDERS, Archive
from cubecrop.cube import CubeRequest
from cubecrop.errors import ArchiveError
from cubecrop.season import Season
from cubecrop.texts import place_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cubecrop.archive import Provider
    from cubecrop.schema import Modality

__all__ = ["RunOptions", "digest_of", "full_path", "provider_from", "provider_row"]

T = TypeVar("T")

#: Options that change how a result is computed, but not its values.
_WITHOUT_EFFECT: Final = {"max_lost", "memory", "tile"}
#: Options that are tuples, which JSON does not know.
_LISTS: Final = ("modalities", "layers")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Everything that decides the values of a region's map, except area, items and model.

    Parameters
    ----------
    year : int
        Harvest year.
    start, end : str
        First and last day of the season, ISO.
    hemisphere : str
        ``north`` or ``south``.
    modalities : tuple of str
        Children of the season cubes.
    resolution : float
        Pixel size in metres.
    crs : str or None
        The CRS of all tiles; None for UTM zones.
    tile : float
        Side of a tile, metres.
    composite : str or None
        ``dekad`` or ``month``.
    clouds : str
        ``scl`` or ``probability``.
    archive : str
        Name of the archive of the images.
    provider : mapping
        Its provider; see `provider_row`.
    weather : str or None
        Name of the archive, or the address of the store, that has the weather; None if it is in
        the archive of the images.
    weather_provider : mapping or None
        Provider of that archive; None for a store.
    allow_gaps : bool
        Whether an archive may cover less of the season than the training data.
    max_lost : float
        Share of a tile's scenes that may be lost.
    mask : mapping or None
        The mask of cropland; see `cubecrop.region.land`.
    layers : tuple of str
        Layers that tiles have beside crops and confidence; see `cubecrop.write.layers`.
    clip : mapping or None
        CRS and SHA-256 of the polygons that the map is clipped to.
    n_pixels : int
        Pixels drawn from a parcel.
    memory : float
        Bytes per thread.
    """

    year: int
    start: str
    end: str
    hemisphere: str
    modalities: tuple[Modality, ...]
    resolution: float
    crs: str | None
    tile: float
    composite: str | None
    clouds: str
    archive: str
    provider: Mapping[str, Any]
    weather: str | None
    weather_provider: Mapping[str, Any] | None
    allow_gaps: bool
    max_lost: float
    n_pixels: int
    memory: float
    mask: Mapping[str, Any] | None = None
    clip: Mapping[str, str] | None = None
    layers: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RunOptions:
        """The options from what `to_json` gave."""
        lists = {name: tuple(content.get(name, ())) for name in _LISTS}
        return cls(**{**content, **lists})

    def to_json(self) -> dict[str, Any]:
        """The options as JSON."""
        return {**asdict(self), **{name: list(getattr(self, name)) for name in _LISTS}}

    @property
    def season(self) -> Season:
        """The season."""
        return Season(
            self.year,
            start=dt.date.fromisoformat(self.start),
            end=dt.date.fromisoformat(self.end),
            hemisphere=self.hemisphere,  # type: ignore[arg-type]
        )

    @property
    def digest(self) -> str:
        """SHA-256 over the options that change values of a tile."""
        without = _WITHOUT_EFFECT if self.layers else {*_WITHOUT_EFFECT, "layers"}
        kept = {k: v for k, v in self.to_json().items() if k not in without}
        # One folder has several paths; the frozen items say which files an archive has.
        names: dict[str, Any] = {"archive": place_name(self.archive)}
        if self.mask is not None:
            # Nor does it matter where a raster lies, or what it is called.
            told = {key: one for key, one in self.mask.items() if key not in {"href", "name"}}
            names["mask"] = told
        if self.weather_provider is not None:
            names["weather"] = place_name(self.weather or "")
        return digest_of(kept | names)

    def request(
        self, *, archive: Archive, weather: str | Path | Archive | None, crs: str
    ) -> CubeRequest:
        """The request of a tile's cube."""
        return CubeRequest(
            season=self.season,
            archive=archive,
            modalities=self.modalities,
            resolution=self.resolution,
            crs=crs,
            memory=self.memory,
            composite=self.composite,  # type: ignore[arg-type]
            clouds=self.clouds,  # type: ignore[arg-type]
            weather=weather,
        )


def full_path(value: T) -> T | str:
    """A value, or the absolute path of a file or folder that it names."""
    try:
        path = Path(value).expanduser() if isinstance(value, str) else None
        return str(path.resolve()) if path is not None and path.exists() else value
    except OSError:  # too long for a path
        return value


def digest_of(content: object) -> str:
    """SHA-256 over content as JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def provider_row(archive: Archive) -> dict[str, Any]:
    """A provider as JSON: its name, and whether each of its collections is searched.

    Raises
    ------
    ArchiveError
        The provider is not one of `PROVIDERS`, so a worker could not make it again.
    """
    provider = archive.provider
    row = {
        "name": provider.name,
        "collections": {key: rule.searched for key, rule in provider.collections.items()},
    }
    known = provider.name in PROVIDERS
    if not known or not set(row["collections"]) <= set(PROVIDERS[provider.name].collections):
        found = None
    else:
        found = provider_from(row)
    if found != provider:
        raise ArchiveError(
            f"archive {archive.name} has the provider {provider.name!r} with rules of its own, "
            f"expected one of {sorted(PROVIDERS)}, as `open_archive` gives them: workers read a "
            "provider by its name."
        )
    return row


def provider_from(row: Mapping[str, Any]) -> Provider:
    """The provider of a `provider_row`."""
    known = PROVIDERS[row["name"]]
    rules = {
        key: replace(known.collections[key], searched=searched)
        for key, searched in row["collections"].items()
    }
    return replace(known, collections=rules)
