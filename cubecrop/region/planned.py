"""A region's plan: tiles, frozen items and parcels, as files that workers read."""

from __future__ import annotations

import functools
import hashlib
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyproj
import rasterio
import shapely

from cubecrop._version import __version__
from cubecrop.aoi import Aoi
from cubecrop.archive.catalog import FileArchive
from cubecrop.circle import cut_at_180, unwrap
from cubecrop.cube.tiles import Tile
from cubecrop.display import block, html_table, plain
from cubecrop.errors import CubecropError, OutputError
from cubecrop.region.items import IMAGES, WEATHER, FrozenItems
from cubecrop.region.land import mask_of, outline_of
from cubecrop.region.options import RunOptions, digest_of, provider_from
from cubecrop.region.parcels import read_neighbours, read_pairs
from cubecrop.region.plan_text import lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from cubecrop.archive import Archive
    from cubecrop.cube import CubeRequest
    from cubecrop.cube.outline import Outline
    from cubecrop.cube.tiles import Bounds
    from cubecrop.pipeline.masks import CropMask
    from cubecrop.region.output import Output

__all__ = [
    "FORMAT", "INPUTS", "ITEMS", "PAIRS", "PARCELS", "PICTURE", "RUN", "TILES",
    "PlannedTile", "RegionPlan", "software", "tiles_table",
]  # fmt: skip

#: Version of the files of a plan.
FORMAT: Final = 2
RUN: Final = "plan/run.json"
TILES: Final = "plan/tiles.parquet"
ITEMS: Final = "plan/items.parquet"
PARCELS: Final = "plan/parcels.parquet"
PAIRS: Final = "plan/parcel_tiles.parquet"
PICTURE: Final = "plan/plan.png"
#: What goes into the result of a tile.
INPUTS: Final = ("model", "options", "items", "parcels", "grid", "software")
_SIDES: Final = ("left", "bottom", "right", "top")
#: Parts that the longest edge of a rectangle is divided into before its points are reprojected to
#: degrees. An edge is curved there; a part departs from its curve by less than a metre.
_PARTS: Final = 4
_COUNTS: Final = ("scenes", "bytes", "requests", "memory", "parcels", "touching")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTile:
    """What one task does.

    Parameters
    ----------
    tile : Tile
        The cell of the lattice.
    mapped : tuple of float or None
        The part that is mapped, metres: the cell, cut with the area's bounding rectangle. None
        for a tile that only samples parcels.
    read : tuple of float
        Rectangle of the cube, metres: ``mapped`` and the parcels, cut to the cell.
    is_shared : bool
        Whether pixels may belong to other zones; see `Lands.owns`.
    scenes : int
        Satellite scenes that meet ``read``.
    bytes : int
        Estimate of what is read.
    requests : int
        Estimate of the requests to a server.
    memory : int
        Bytes of results in memory, beside what each thread needs.
    parcels : int
        Parcels that the tile owns.
    touching : int
        Parcels that touch the cell, with those that it owns.
    inputs : dict of str
        SHA-256 of model, options, items, parcels, grid and software.
    """

    tile: Tile
    mapped: Bounds | None
    read: Bounds
    is_shared: bool
    scenes: int
    bytes: int
    requests: int
    memory: int
    parcels: int
    touching: int
    inputs: dict[str, str] = field(hash=False)

    @property
    def id(self) -> str:
        """Id of the tile."""
        return self.tile.id

    @property
    def digest(self) -> str:
        """SHA-256 over all inputs."""
        return digest_of(self.inputs)

    @property
    def area(self) -> Aoi:
        """``read`` as an area, for `CubeRequest.open`."""
        return Aoi(shapely.box(*self.read), self.tile.crs)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RegionPlan:
    """The plan of a region's run; see `cubecrop.region.plan`.

    Parameters
    ----------
    output : Output
        The folder of the run.
    options : RunOptions
        Its options.
    model_digest : str
        SHA-256 of the model.
    tiles : tuple of PlannedTile
        All tiles, by CRS and place.
    n_items : int
        Number of the frozen items.
    items_digest : str
        SHA-256 of the frozen items.
    n_parcels : int or None
        Parcels of the input; None without parcels.
    n_without_tile : int
        Those of them that lie outside of the area or the archive, or have no geometry.
    area : str
        The area in words.
    digest : str
        SHA-256 over options and digests of tiles.
    mask_query : str, default ""
        Query of the address of the mask, such as a signature. It is not part of the plan's files.
    """

    output: Output
    options: RunOptions
    model_digest: str
    tiles: tuple[PlannedTile, ...]
    n_items: int
    items_digest: str
    n_parcels: int | None
    n_without_tile: int
    area: str
    digest: str
    mask_query: str = ""

    @classmethod
    def read(cls, output: Output) -> RegionPlan:
        """Read a plan; a process reads each plan once.

        Raises
        ------
        OutputError
            There is no plan, it is not complete, or another version of cubecrop made it.
        """
        content = output.read_json(RUN)
        if not isinstance(content, dict):
            raise OutputError(
                f"{output.url} holds no plan ({RUN}). Make one with `cubecrop.region.plan(...)` "
                "or `cubecrop map-region ... --plan`."
            )
        check_version(output, content)
        return _read(output, str(content["digest"]))

    def request(self, tile: PlannedTile) -> CubeRequest:
        """The request of a tile's cube; its archive holds the frozen items that meet ``read``.

        Open it with ``plan.request(tile).open(tile.area)``.
        """
        options = self.options
        found = _items(self.output, self.items_digest).meeting(tile.area.lonlat)
        archive = FileArchive(
            options.archive, tuple(found[IMAGES]), provider_from(options.provider)
        )
        weather: str | Archive | None = options.weather
        if options.weather is not None and options.weather_provider is not None:
            weather = FileArchive(
                options.weather, tuple(found[WEATHER]), provider_from(options.weather_provider)
            )
        return options.request(archive=archive, weather=weather, crs=tile.tile.crs)

    @property
    def mask(self) -> CropMask:
        """The mask of cropland."""
        return mask_of(self.output, self.options.mask, query=self.mask_query)

    @property
    def outline(self) -> Outline | None:
        """The polygons that the map is clipped to."""
        return outline_of(self.output, self.options.clip)

    def parcels(self, tile: PlannedTile) -> gpd.GeoDataFrame:
        """Parcels that a tile owns or that touch its cell.

        Returns
        -------
        geopandas.GeoDataFrame
            ``parcel`` (int64, position in plan/parcels.parquet), ``id``, ``geometry`` (plain
            shape in the input's CRS), ``owner`` (tile id), ``is_whole`` (whether the owner has
            all its pixels); sorted by position.
        """
        if self.n_parcels is None:
            none = pd.DataFrame(
                {"parcel": np.zeros(0, np.int64), "id": [], "geometry": [], "owner": [],
                 "is_whole": np.zeros(0, bool)}
            )  # fmt: skip
            return gpd.GeoDataFrame(none, geometry="geometry", crs="EPSG:4326")
        with _undamaged(self.output, PAIRS):
            return read_pairs(_local(self.output, PAIRS, self.digest), tile.tile)

    @property
    def neighbours(self) -> dict[str, tuple[str, ...]]:
        """For each tile that owns parcels across its edges: all tiles that they touch, sorted."""
        if self.n_parcels is None:
            return {}
        return _neighbours(self.output, self.digest)

    def lines(self) -> list[tuple[str, str]]:
        """What the plan is and costs, as pairs of name and text; reads what finished tiles took."""
        return lines_of(self, measured=True)

    def __repr__(self) -> str:
        return block(f"Plan of {self.area} in {plain(self.output.url)}", lines_of(self))

    def _repr_html_(self) -> str:
        return html_table(f"Plan of {self.area} in {plain(self.output.url)}", lines_of(self))

    @property
    def table(self) -> gpd.GeoDataFrame:
        """One row a tile, as in plan/tiles.parquet."""
        return tiles_table(self.tiles)


def software() -> dict[str, str]:
    """Versions of what computes values."""
    return {
        "cubecrop": __version__,
        "gdal": rasterio.__gdal_version__,
        "proj": f"{rasterio.__proj_version__}, {pyproj.proj_version_str}",
    }


def plan_digest(options: RunOptions, tiles: Sequence[PlannedTile]) -> str:
    """SHA-256 over options and tiles: a process keeps the plan of a digest that it has read."""
    # Two options that are not in the digest of the options, but that workers go by.
    limits = [options.max_lost, options.memory]
    return digest_of([options.digest, limits, [[tile.id, tile.digest] for tile in tiles]])


def check_version(output: Output, content: Mapping[str, Any]) -> None:
    """Raise unless this version of cubecrop made a plan."""
    made = content.get("format"), content.get("cubecrop")
    if made != (FORMAT, __version__):
        raise OutputError(
            f"{output.url} holds a plan of format {made[0]} by cubecrop {made[1]}; this is "
            f"cubecrop {__version__}, which writes format {FORMAT}. Plan again with `replan=True` "
            "(`--replan`), name another folder, or use that version."
        )


def tiles_table(tiles: Sequence[PlannedTile]) -> gpd.GeoDataFrame:
    """One row a tile; the geometry is the mapped rectangle, or that of the parcels, in degrees."""
    columns: dict[str, list[Any]] = {
        "tile": [one.id for one in tiles],
        "crs": [one.tile.crs for one in tiles],
        "is_mapped": [one.mapped is not None for one in tiles],
        "is_shared": [one.is_shared for one in tiles],
    }
    for name in _COUNTS:
        columns[name] = [getattr(one, name) for one in tiles]
    nothing = (None,) * 4
    for i, side in enumerate(_SIDES):
        columns[side] = [one.tile.bounds[i] for one in tiles]
        columns[f"mapped_{side}"] = [(one.mapped or nothing)[i] for one in tiles]
        columns[f"read_{side}"] = [one.read[i] for one in tiles]
    columns |= {f"input:{name}": [one.inputs[name] for one in tiles] for name in INPUTS}
    columns["digest"] = [one.digest for one in tiles]
    return gpd.GeoDataFrame(columns, geometry=_in_degrees(tiles), crs="EPSG:4326")


def _in_degrees(tiles: Sequence[PlannedTile]) -> NDArray[np.object_]:
    """Rectangles of tiles in degrees, split at the 180th meridian, with a few points a side."""
    boxes = np.array([shapely.box(*(one.mapped or one.read)) for one in tiles], dtype=object)
    for name in {one.tile.crs for one in tiles}:
        some = np.array([one.tile.crs == name for one in tiles])
        to_degrees = pyproj.Transformer.from_crs(name, "EPSG:4326", always_xy=True)
        sides = np.ptp(shapely.bounds(boxes[some]).reshape(-1, 2, 2), axis=1).max(axis=1)
        boxes[some] = shapely.transform(
            shapely.segmentize(boxes[some], sides / _PARTS),
            lambda xy, change=to_degrees: np.column_stack(change.transform(*xy.T)),
        )
    for i in np.flatnonzero(np.ptp(shapely.bounds(boxes)[:, ::2], axis=1) > 180):
        boxes[i] = cut_at_180(unwrap(boxes[i]))
    return boxes


def _planned(row: Mapping[Any, Any]) -> PlannedTile:
    def bounds(prefix: str) -> Bounds:
        left, bottom, right, top = (float(row[f"{prefix}{side}"]) for side in _SIDES)
        return left, bottom, right, top

    return PlannedTile(
        tile=Tile(row["crs"], *bounds("")),
        mapped=bounds("mapped_") if row["is_mapped"] else None,
        read=bounds("read_"),
        is_shared=bool(row["is_shared"]),
        inputs={name: str(row[f"input:{name}"]) for name in INPUTS},
        **{name: int(row[name]) for name in _COUNTS},
    )


@contextmanager
def _undamaged(output: Output, name: str) -> Iterator[None]:
    """Raise `OutputError` where a file of a plan is missing or damaged."""
    try:
        yield
    except (pa.ArrowException, OSError, LookupError, ValueError) as error:
        if isinstance(error, CubecropError):
            raise
        raise OutputError(
            f"{output.url} holds a plan of which {name} is missing or damaged: {error}. Run the "
            "same command again, which completes it, or with `replan=True` (`--replan`)."
        ) from error


@functools.lru_cache(maxsize=2)
def _read(output: Output, digest: str) -> RegionPlan:
    content = output.read_json(RUN)
    with _undamaged(output, TILES):
        with output.local(TILES) as path:
            rows: pd.DataFrame = gpd.read_parquet(path).drop(columns="geometry")
        tiles = tuple(_planned(row) for row in rows.to_dict("records"))
    options = RunOptions.from_json(content["options"])
    if plan_digest(options, tiles) != digest:
        raise OutputError(
            f"{output.url} holds a plan that is not complete: {TILES} does not belong to {RUN}. "
            "Run the same command again, which completes it."
        )
    return RegionPlan(
        output=output, options=options, model_digest=content["model"], tiles=tiles,
        n_items=content["items"]["count"], items_digest=content["items"]["digest"],
        n_parcels=content["parcels"]["count"],
        n_without_tile=content["parcels"]["without_tile"],
        area=content["area"]["name"], digest=digest,
    )  # fmt: skip


@functools.lru_cache(maxsize=2)
def _neighbours(output: Output, digest: str) -> dict[str, tuple[str, ...]]:
    with _undamaged(output, PAIRS):
        return read_neighbours(_local(output, PAIRS, digest))


@functools.lru_cache(maxsize=2)
def _items(output: Output, digest: str) -> FrozenItems:
    with _undamaged(output, ITEMS):
        items = FrozenItems.read(_local(output, ITEMS, digest))
    if items.digest != digest:
        raise OutputError(
            f"{output.url} holds other items ({ITEMS}) than those of its plan. Run the same "
            "command again."
        )
    return items


@functools.lru_cache(maxsize=8)
def _local(output: Output, name: str, digest: str) -> Path:
    """A local path of a file of a plan; a remote file is fetched once a process."""
    if output.folder is not None:
        return output.folder / name
    path = Path(_fetched().name) / hashlib.sha256(f"{output.url} {digest}".encode()).hexdigest()
    path.mkdir(exist_ok=True)
    with output.local(name) as found:
        return Path(shutil.move(found, path / Path(name).name))


@functools.cache
def _fetched() -> tempfile.TemporaryDirectory[str]:
    """A folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="cubecrop-plan-")
