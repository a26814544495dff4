"""What the finished tiles of a region say about themselves, and why others have no result."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from affine import Affine

from cubecrop.nomenclature import NODATA, Mark
from cubecrop.region.output import PROOF
from cubecrop.region.status import failure_name
from cubecrop.texts import one_line, without_paths
from cubecrop.write.layers import LAYERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cubecrop.cube.tiles import Bounds, Tile
    from cubecrop.region.output import Output

__all__ = ["AT_ONCE", "Planned", "Raster", "Results", "TileResult", "failure_of", "read_results"]

#: Rasters of a tile, in the order in which outputs list them.
_RASTERS: Final = ("crop_type", "confidence", "clear_dates", *LAYERS)
#: Small files that are read at the same time; an object store answers slowly but in parallel.
AT_ONCE: Final = 16
#: Characters of an error in a table or sentence.
_ERROR: Final = 200


class Planned(Protocol):
    """A tile of a plan: the rectangle that it maps, if any, and the digest of its inputs."""

    @property
    def tile(self) -> Tile:
        """The tile."""

    @property
    def mapped(self) -> Bounds | None:
        """Left, bottom, right, top of the pixels that it maps, metres; None if it maps none."""

    @property
    def digest(self) -> str:
        """Digest of all that goes into its result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """Values of a tile's raster: type, nodata as text, and names of its bands."""

    dtype: str
    nodata: str
    bands: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileResult:
    """A finished tile.

    ``shape`` is (rows, columns) and ``transform`` goes from (column, row) to metres; both are None
    if the tile maps no pixel. ``counts`` are pixels by class index or code. ``bbox`` is west,
    south, east, north in degrees. ``gaps`` describes those of the season, if there are some.
    """

    tile: Tile
    digest: str
    has_images: bool
    counts: Mapping[int, int]
    files: frozenset[str]
    shape: tuple[int, int] | None = None
    transform: Affine | None = None
    rasters: Mapping[str, Raster] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    bbox: tuple[float, float, float, float] | None = None
    software: Mapping[str, str] = field(default_factory=dict)
    gaps: str = ""
    unreliable: str = ""

    @property
    def id(self) -> str:
        """Id of the tile."""
        return self.tile.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Finished tiles, and the reasons why the others have no result, both by id."""

    done: Mapping[str, TileResult]
    failed: Mapping[str, str]

    @property
    def mapped(self) -> list[TileResult]:
        """Finished tiles that map pixels, by id."""
        return [one for one in self.done.values() if one.shape is not None]


def read_results(output: Output, tiles: Sequence[Planned]) -> Results:
    """Read the evidence and the STAC items of all tiles.

    A folder that another plan wrote, with another digest, is no result.

    Parameters
    ----------
    output : Output
        The run's folder.
    tiles : sequence of Planned
        All tiles of the plan.
    """
    planned = sorted(tiles, key=lambda one: one.tile.id)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(partial(_read, output), planned))
        missing = [one.tile.id for one, result in zip(planned, found, strict=True) if not result]
        why = partial(failure_of, output, kind="tiles", unknown="it has not been mapped yet")
        reasons = list(pool.map(why, missing))
    return Results(
        done={one.id: one for one in found if one is not None},
        failed=dict(zip(missing, reasons, strict=True)),
    )


def _read(output: Output, planned: Planned) -> TileResult | None:
    place = f"tiles/{planned.tile.id}"
    evidence = output.read_json(f"{place}/{PROOF}")
    if evidence is None or evidence.get("digest") != planned.digest:
        return None
    result = TileResult(
        tile=planned.tile,
        digest=planned.digest,
        has_images=evidence["outcome"] == "done",
        counts={int(value): int(n) for value, n in sorted(evidence["counts"].items())},
        files=frozenset(evidence["files"]),
    )
    if "crop_type.tif" not in result.files:
        return result
    return _with_item(result, output.read_json(f"{place}/item.json"))


def _with_item(result: TileResult, item: Mapping[str, Any]) -> TileResult:
    """Add what the STAC item says; the rest of it is dropped, since a country has many items."""
    properties, assets = item["properties"], item["assets"]
    west, south, east, north = item["bbox"]
    rows, columns = properties["proj:shape"]
    return replace(
        result,
        shape=(rows, columns),
        transform=Affine(*properties["proj:transform"]),
        rasters={name: _raster(assets[name]) for name in _RASTERS if name in assets},
        marks=_marks(assets["crop_type"]),
        bbox=(west, south, east, north),
        gaps=str(properties.get("cubecrop:season_gaps", "")),
        unreliable=str(properties.get("cubecrop:unreliable", "")),
        software=properties["processing:software"],
    )


def _raster(asset: Mapping[str, Any]) -> Raster:
    bands = tuple(band["name"] for band in asset.get("bands", ()))
    return Raster(
        dtype=asset["data_type"], nodata=str(asset["nodata"]), bands=bands or (asset["title"],)
    )


def _marks(asset: Mapping[str, Any]) -> tuple[Mark, ...]:
    """Codes without a class that the tile has, without nodata."""
    return tuple(
        Mark(
            value=one["value"],
            slug=one["name"],
            title=one["title"],
            colour=f"#{one['color_hint']}",
        )
        for one in asset["classification:classes"]
        if one["value"] != NODATA and (one.get("cubecrop:no_class") or one["value"] > 251)
    )


def failure_of(output: Output, tile: str, *, kind: str, unknown: str) -> str:
    """Why a job failed, in one line without paths of this machine.

    Parameters
    ----------
    output : Output
        The run's folder.
    tile : str
        Id of the tile.
    kind : {"tiles", "edges"}
        What the job makes.
    unknown : str
        Text if no failure is recorded.
    """
    failure = output.read_json(failure_name(f"{kind}/{tile}")) or {}
    return one_line(without_paths(str(failure.get("error", unknown))), length=_ERROR)
