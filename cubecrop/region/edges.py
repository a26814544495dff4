"""Parcels across the edges of tiles: each tile stores its part of their pixel sets.

A tile reads only its own land, so that no block of a file is read for two tiles. The pixels that a
parcel holds, and the draw among them, depend on the parcel alone. The parts of its pixel set that
several tiles store are therefore complementary, and together they are the whole set.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
import zarr

from cubecrop.archive.identity import HALF_ORBIT
from cubecrop.errors import SchemaError
from cubecrop.schema import SERIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["EDGE_PIXELS", "merged_sets", "read_sets", "write_sets"]

#: File of a tile with its part of the pixel sets of parcels that cross its edges.
EDGE_PIXELS = "edge_pixels.zip"
#: Coordinates of a series that belong to a pass of a satellite.
_ORBIT = ("orbit_state", "relative_orbit")
#: Time and orbit of a pass.
_Date = tuple[np.datetime64, object, object]


def write_sets(path: Path, sets: xr.DataTree) -> None:
    """Write computed pixel sets to one file, a Zarr store in a ZIP archive."""
    # First as a folder: a ZIP archive cannot replace the metadata that xarray writes twice.
    with tempfile.TemporaryDirectory(prefix="cubecrop-") as folder:
        sets.to_zarr(folder, zarr_format=2, consolidated=False)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(Path(folder).rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(folder).as_posix())


def read_sets(path: Path, parcels: Sequence[object]) -> xr.DataTree:
    """Read the pixel sets of some parcels from a file of `write_sets` into memory.

    Parcels that the file lacks are left out.
    """
    with (
        zarr.storage.ZipStore(path, mode="r") as store,
        xr.open_datatree(store, engine="zarr", consolidated=False, chunks=None) as tree,  # type: ignore[arg-type]
    ):
        here = np.isin(tree["parcel"].to_numpy(), np.asarray(parcels))
        return tree.isel(parcel=np.flatnonzero(here)).load()


def merged_sets(parts: Mapping[str, xr.DataTree], owner: str) -> xr.DataTree:
    """Merge the parts of pixel sets that several tiles drew.

    Parameters
    ----------
    parts : mapping
        Computed pixel sets by tile. All parcels are in the part of ``owner``; the other parts hold
        some of them.
    owner : str
        The tile that the parcels belong to. Weather, shape and order are those of its part.

    Returns
    -------
    xarray.DataTree
        The whole pixel sets, in the order of the owner's part, on the dates of all parts.

    Raises
    ------
    SchemaError
        Two parts have different bands or variables.
    """
    own = parts[owner]
    ids = own["parcel"].to_numpy()
    trees = [own, *(tree for tile, tree in sorted(parts.items()) if tile != owner)]
    nodes = {"/": own.to_dataset(inherit=False)}
    for name in sorted({str(child) for tree in trees for child in tree.children}):
        children = [
            (tree.children[name].to_dataset(inherit=False), _rows(ids, tree["parcel"].to_numpy()))
            for tree in trees
            if name in tree.children
        ]
        if name in SERIES:
            nodes[name] = _merged_series(children, SERIES[name], len(ids))
        elif name == "weather":
            if name in own.children:
                nodes[name] = own.children[name].to_dataset(inherit=False)
        else:
            nodes[name] = _merged_planes(children, name, len(ids))
    return xr.DataTree.from_dict(nodes, name=own.name)


def _rows(ids: NDArray[np.generic], part: NDArray[np.generic]) -> NDArray[np.int64]:
    """Row in the merged sets of each parcel of a part; -1 for a parcel of another owner."""
    place = {key: row for row, key in enumerate(ids.tolist())}
    return np.array([place.get(key, -1) for key in part.tolist()], dtype=np.int64)


def _merged_series(
    parts: Sequence[tuple[xr.Dataset, NDArray[np.int64]]], variable: str, n_parcels: int
) -> xr.Dataset:
    """Series on the dates of all parts; a pass that several tiles saw is one date."""
    first = parts[0][0]
    for child, _ in parts[1:]:
        if not np.array_equal(child["band"], first["band"]):
            raise SchemaError(
                f"tiles have {variable} of the bands {first['band'].to_numpy().tolist()} and "
                f"{child['band'].to_numpy().tolist()}, expected the same in all tiles. Map again "
                "into an empty folder."
            )
    passes, steps = _union([_passes(child) for child, _ in parts])
    shape = (n_parcels, len(passes), first.sizes["band"], first.sizes["pixel"])
    values = np.full(shape, np.nan, dtype=np.float32)
    for (child, rows), step in zip(parts, steps, strict=True):
        known = rows >= 0
        _fill(values, rows[known], step, child[variable].to_numpy()[known])
    coords = {"time": np.array([one[0] for one in passes], dtype="datetime64[ns]")}
    out = xr.Dataset(
        {
            variable: (("parcel", "time", "band", "pixel"), values, first[variable].attrs),
            "valid": (("parcel", "time", "pixel"), np.isfinite(values).all(axis=2)),
        },
        coords={**coords, "band": first["band"]},
    )
    for number, name in enumerate(_ORBIT, 1):
        if name in first.coords:
            column = np.array([one[number] for one in passes], dtype=first[name].dtype)
            out = out.assign_coords({name: ("time", column)})
    return out


def _fill(
    values: NDArray[np.float32],
    rows: NDArray[np.int64],
    steps: NDArray[np.int64],
    part: NDArray[np.float32],
) -> None:
    """Put the values of a part where they are not NaN."""
    place = np.ix_(rows, steps)
    before = values[place]
    values[place] = np.where(np.isnan(part), before, part)


def _passes(child: xr.Dataset) -> list[_Date]:
    """Time and orbit of each date."""
    orbits = [
        child[name].to_numpy().tolist() if name in child.coords else [None] * child.sizes["time"]
        for name in _ORBIT
    ]
    return list(zip(child["time"].to_numpy(), *orbits, strict=True))


def _union(
    parts: Sequence[Sequence[_Date]],
) -> tuple[list[_Date], list[NDArray[np.int64]]]:
    """All passes in order of time, and the index of each part's dates among them.

    The time of a pass can differ between tiles by the minutes that the satellite takes from one
    image to the next.
    """
    passes: list[_Date] = []
    members: list[set[int]] = []  # the parts that saw each pass
    steps = [np.zeros(len(dates), dtype=np.int64) for dates in parts]
    dated = [(date, part, index) for part, dates in enumerate(parts)
             for index, date in enumerate(dates)]  # fmt: skip
    for date, part, index in sorted(dated, key=lambda one: (one[0][0], one[1])):
        number = _same_pass(date, part, passes, members)
        if number is None:
            number = len(passes)
            passes.append(date)
            members.append(set())
        members[number].add(part)
        steps[part][index] = number
    return passes, steps


def _same_pass(
    date: _Date, part: int, passes: Sequence[_Date], members: Sequence[set[int]]
) -> int | None:
    """The pass that a date of a part belongs to, if another part saw it too."""
    for number in reversed(range(len(passes))):
        time, *orbit = passes[number]
        if date[0] - time >= np.timedelta64(HALF_ORBIT):
            return None
        if tuple(orbit) == date[1:] and part not in members[number]:
            return number
    return None


def _merged_planes(
    parts: Sequence[tuple[xr.Dataset, NDArray[np.int64]]], name: str, n_parcels: int
) -> xr.Dataset:
    """Values without dates, (parcel, variable, pixel)."""
    first = parts[0][0]
    shape = (n_parcels, *first[name].shape[1:])
    values = np.full(shape, np.nan, dtype=np.float32)
    for child, rows in parts:
        known = rows >= 0
        part = child[name].to_numpy()[known]
        values[rows[known]] = np.where(np.isnan(part), values[rows[known]], part)
    return xr.Dataset(
        {name: (first[name].dims, values, first[name].attrs)},
        coords={key: first[key] for key in ("variable",) if key in first.coords},
    )
