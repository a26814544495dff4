"""Sample parcels of any extent tile by tile into stores on disk."""

from __future__ import annotations

import shutil
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop._version import __version__
from cubecrop.aoi import parse_aoi
from cubecrop.archive import Archive, season_for
from cubecrop.errors import CubecropError, NoScenesError, OutputError, SchemaError
from cubecrop.model import beside_satellites
from cubecrop.pipeline.parcel_tiles import ParcelTile, tiles_of
from cubecrop.progress import client_is_active, progress_bar
from cubecrop.sample import (
    SetStore,
    StoredSets,
    cache_key,
    join_stores,
    reading_order,
    sample_pixel_sets,
    stored,
    stored_bytes,
)
from cubecrop.schema import crs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import geopandas as gpd
    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.cube import CubeRequest
    from cubecrop.progress import Scheduler
    from cubecrop.training import TrainConfig

__all__ = ["sample_tiles"]

#: A disk with less free space than this share of the uncompressed pixel sets is too small.
_COMPRESSED: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sampling:
    """What all tiles have in common."""

    parcels: gpd.GeoDataFrame
    request: CubeRequest
    folder: Path
    n_pixels: int
    progress: bool
    scheduler: Scheduler | None

    def store(self, tile: ParcelTile, cube: xr.DataTree) -> tuple[SetStore, NDArray[np.int64]]:
        """The store of a tile, and the parcels (row,) of its rows."""
        order = tile.parcels[reading_order(cube, self.parcels.iloc[tile.parcels])]
        places = self.parcels.iloc[order]
        options = {
            "n_pixels": self.n_pixels,
            "resolution": self.request.resolution,
            "crs": crs_of(cube),
            "bounds": tile.area.geometry.bounds,
            "version": __version__,
            # Attributes hold only names, and two folders may have the same name.
            "places": [_place(self.request.archive), _place(self.request.weather)],
        }
        store = stored(
            self.folder,
            cache_key(cube, places, options),
            partial(self._sampled, cube, places),
            progress=self.progress,
            scheduler=self.scheduler,
        )
        return store, order

    def _sampled(self, cube: xr.DataTree, places: gpd.GeoDataFrame) -> xr.DataTree:
        _check_space(self.folder, cube, places, self.n_pixels, self.request.resolution)
        return sample_pixel_sets(cube, places, n_pixels=self.n_pixels, seed=0)


def sample_tiles(
    parcels: gpd.GeoDataFrame,
    request: CubeRequest,
    folder: Path,
    *,
    config: TrainConfig,
    n_pixels: int,
    progress: bool,
    scheduler: Scheduler | None,
) -> list[tuple[StoredSets, NDArray[np.int64]]]:
    """Sample parcels tile by tile; each block of each file is read for one tile.

    A parcel across the edge of a tile is sampled in each of them. Its pixels are drawn by its id
    alone, so that the pieces complete each other.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame
        Plain shapes with unique ids, within the archive's extent.
    request : CubeRequest
        The cube's options, with an opened archive.
    folder : pathlib.Path
        Where the stores are; those that are there already are used.
    config : TrainConfig
        Says which inputs the network needs.
    n_pixels : int
        Pixels that are drawn from each parcel.
    progress, scheduler
        As for `cubecrop.train`.

    Returns
    -------
    list of tuple
        Pixel sets, and the positions (parcel,) of their parcels.

    Raises
    ------
    NoScenesError
        No tile has an image in the season.
    SchemaError
        The archive lacks an input that the network needs.
    OutputError
        The disk is full, or too small.
    """
    request = replace(request, season=season_for(request.season, parse_aoi(parcels)))
    tiles, owner = tiles_of(parcels, resolution=request.resolution, crs=request.crs)
    if scheduler is None and client_is_active():
        scheduler = "threads"  # a cluster's workers cannot write to stores of this process
    sampling = _Sampling(
        parcels=parcels, request=request, folder=folder, n_pixels=n_pixels,
        progress=progress and len(tiles) == 1, scheduler=scheduler,
    )  # fmt: skip
    found: dict[int, tuple[SetStore, NDArray[np.int64]]] = {}
    for number, tile, cube in _cubes(tiles, request, config, progress=progress):
        with _named(tile, single=len(tiles) == 1):
            found[number] = sampling.store(tile, cube)
    _warn_of_others(parcels, [order for _, order in found.values()], request)
    place = {number: i for i, number in enumerate(found)}
    return join_stores(
        [store for store, _ in found.values()],
        [order for _, order in found.values()],
        np.array([place.get(number, 0) for number in owner.tolist()]),
    )


def _cubes(
    tiles: Sequence[ParcelTile], request: CubeRequest, config: TrainConfig, *, progress: bool
) -> Iterator[tuple[int, ParcelTile, xr.DataTree]]:
    """The cube of each tile that has images; raises if none has."""
    single = len(tiles) == 1
    without: list[NoScenesError] = []
    missing = set(config.may_be_missing)
    show = progress and not single
    with progress_bar("Sampling parcels", total=len(tiles), unit="tiles", progress=show) as bar:
        for number, tile in enumerate(tiles):
            with _named(tile, single=single):
                cube = None
                try:
                    cube = replace(request, crs=tile.tile.crs).open(tile.area)
                except NoScenesError as error:
                    without.append(error)
                else:
                    # A sensor that may be missing must be in some tile.
                    missing -= set(cube.children)
                    is_last = number == len(tiles) - 1
                    _check_found(cube, config, request, missing if is_last else set())
            if cube is not None:
                yield number, tile, cube
            bar.advance()
    if len(without) == len(tiles):
        raise without[0]
    if missing:  # the last tile had no image
        raise _lacking(missing, request)


def _warn_of_others(
    parcels: gpd.GeoDataFrame, sampled: Sequence[NDArray[np.int64]], request: CubeRequest
) -> None:
    """Warn of parcels in tiles without an image."""
    others = np.setdiff1d(np.arange(len(parcels)), np.concatenate(sampled))
    if len(others):
        names = ", ".join(repr(name) for name in parcels["id"].iloc[others[:5]])
        count = "1 parcel lies" if len(others) == 1 else f"{len(others)} parcels lie"
        warnings.warn(
            f"{count} where archive {request.source.name} has no image of season "
            f"{request.season}, left out: {names}{' …' if len(others) > 5 else ''}.",
            stacklevel=4,
        )


def _check_found(
    cube: xr.DataTree, config: TrainConfig, request: CubeRequest, missing: set[str]
) -> None:
    """Raise if an archive lacks inputs of the network, before pixels are read."""
    needed = set(beside_satellites(config.network)) - set(cube.children)
    if lacking := needed | missing:
        raise _lacking(lacking, request)


def _lacking(names: set[str], request: CubeRequest) -> SchemaError:
    return SchemaError(
        f"archive {request.source.name} has no {' and no '.join(sorted(names))} for "
        "these parcels and this season, but the config needs it. Use another archive, pass "
        "`weather=...` for weather, or leave it out of the TrainConfig."
    )


def _check_space(
    folder: Path, cube: xr.DataTree, parcels: gpd.GeoDataFrame, n_pixels: int, resolution: float
) -> None:
    """Raise if the disk cannot hold the pixel sets of a tile."""
    areas = parcels.geometry.to_crs(crs_of(cube)).area.to_numpy()
    counts = np.ceil(areas / resolution**2).astype(np.int64)
    needed = _COMPRESSED * stored_bytes(cube, counts, n_pixels)
    home = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if needed > (free := shutil.disk_usage(home).free):
        raise OutputError(
            f"{home} has {free / 1e9:.1f} GB of free space, but the pixel sets of a tile take at "
            f"least {needed / 1e9:.1f} GB. Free some, or name another folder with `cache=` "
            "(`--cache`)."
        )


@contextmanager
def _named(tile: ParcelTile, *, single: bool) -> Iterator[None]:
    """Let errors name the tile, if there are several."""
    try:
        yield
    except CubecropError as error:
        if single:
            raise
        raise type(error)(f"tile {tile.tile.id}: {error}") from error


def _place(source: object) -> str:
    """Full path or address of an archive."""
    name = str(source.name if isinstance(source, Archive) else source or "")
    return str(Path(name).resolve()) if "://" not in name and Path(name).exists() else name
