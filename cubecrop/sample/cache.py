"""Cache of drawn pixel sets on disk, so that the next training need not read the archive."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shapely
import xarray as xr

from cubecrop.files import swap_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import geopandas as gpd

__all__ = ["cache_key", "cached"]

#: Increase this number when a change alters the pixels drawn from the same input, or the storage.
_FORMAT = 2
_STORE, _SEAL = "pixel_sets.zarr", "seal.json"


def cache_key(
    samples: xr.DataTree, parcels: gpd.GeoDataFrame, options: Mapping[str, object]
) -> str:
    """Hash everything that pixel sets depend on; reads no pixel.

    Parameters
    ----------
    samples : xarray.DataTree
        Lazy pixel sets. Their attrs hold season, archive, item ids and hrefs, number of pixels
        and seed; their children hold dates and bands.
    parcels : geopandas.GeoDataFrame
        Ids and geometries, in the order of the samples.
    options : mapping
        Everything else that changes values, such as the resolution.

    Returns
    -------
    str
        SHA-256 in hexadecimal.
    """
    children = {
        name: {
            key: [str(value) for value in child[key].to_numpy().ravel()]
            for key in ("time", "band", "variable")
            if key in child.coords
        }
        for name, child in samples.children.items()
    }
    about = {
        "format": _FORMAT,
        "attrs": samples.attrs,
        "children": children,
        "crs": parcels.crs.to_wkt(),
        "ids": [repr(parcel) for parcel in parcels["id"].tolist()],
        "options": options,
    }
    hashed = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    for shape in shapely.to_wkb(parcels.geometry.to_numpy()):
        hashed.update(shape or b"none")
    return hashed.hexdigest()


def cached(folder: str | Path, key: str, make: Callable[[], xr.DataTree]) -> xr.DataTree:
    """Read pixel sets from a cache; if they are missing or damaged, make and store them.

    Parameters
    ----------
    folder : path
        The cache; created if it is missing. It holds a folder for each key, which only the user
        removes.
    key : str
        See `cache_key`.
    make : callable
        Returns the pixel sets, in memory.

    Returns
    -------
    xarray.DataTree
        In memory, equal to what ``make`` returns.

    Raises
    ------
    OutputError
        The cache cannot be written.
    """
    home = Path(folder) / key
    if (kept := _read(home)) is not None:
        return kept
    samples = make()
    # A folder that exists already is damaged, or another process was faster: replace it.
    with swap_folder(home, cure="Free some space, or name another cache.") as part:
        _write(samples, part / _STORE)
        (part / _SEAL).write_text(json.dumps(_seal(part / _STORE)), encoding="utf-8")
    return samples


def _write(samples: xr.DataTree, store: Path) -> None:
    # Zarr's format 2 specifies how text is stored; format 3 does not.
    samples.to_zarr(store, mode="w", zarr_format=2, consolidated=True)


def _read(home: Path) -> xr.DataTree | None:
    """Read stored pixel sets; None if they are missing, or any byte of them has changed."""
    try:
        seal: dict[str, Any] = json.loads((home / _SEAL).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not (home / _STORE).is_dir() or _seal(home / _STORE) != seal:
        return None
    with xr.open_datatree(home / _STORE, engine="zarr", consolidated=True, chunks=None) as tree:
        return tree.load()


def _seal(store: Path) -> dict[str, str]:
    """SHA-256 of each file."""
    files = sorted(path for path in store.rglob("*") if path.is_file())
    return {
        path.relative_to(store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
