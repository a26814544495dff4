"""Pixel sets of many stores as one: some parcels of several tiles, on common dates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed

from cubecrop.errors import SchemaError
from cubecrop.sample.pixel_sets import places_of_fewer
from cubecrop.sample.shards import NODATA, unpack
from cubecrop.schema import SERIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from cubecrop.sample.store import SetStore

__all__ = ["StoredSets"]

#: Parcels that are in memory at a time when all are read.
_BLOCK: Final = 128


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StoredSets:
    """Pixel sets on disk with common dates, from which some parcels are read at a time.

    Parameters
    ----------
    root : xarray.Dataset
        Ids, shapes and other properties of the parcels, in memory.
    nodes : mapping
        Child to its dates, bands and attributes. The attribute ``variable`` has those of the
        variable with the pixels.
    stores : tuple of SetStore
        Where the pixels are.
    pieces : numpy.ndarray
        (piece, 2) int32: store and row. A parcel that crosses the edge of a tile has one piece in
        each tile; a pixel has values in one of them.
    starts : numpy.ndarray
        (parcel + 1,) first piece of each parcel, and the number of pieces.
    dates : tuple of mappings
        For each store and child, the positions (time,) of its dates among the common ones.
    """

    root: xr.Dataset
    nodes: Mapping[str, xr.Dataset]
    stores: tuple[SetStore, ...]
    pieces: NDArray[np.int32]
    starts: NDArray[np.int64]
    dates: tuple[dict[str, NDArray[np.int64]], ...]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def tree(self) -> xr.DataTree:
        """Pixel sets whose pixels cannot be computed: only the rest is in memory."""
        nodes = {
            name: _placeholder(name, node, len(self), self.n_pixels)
            for name, node in self.nodes.items()
        }
        return xr.DataTree.from_dict({"/": self.root, **nodes}, name="pixel_sets")

    @property
    def n_pixels(self) -> int:
        """Stored pixels of a parcel, with padding."""
        return int(self.root.attrs["n_pixels"])

    @property
    def digests(self) -> list[str]:
        """SHA-256 of each store."""
        return [store.digest for store in self.stores]

    def take(self, index: NDArray[np.int64]) -> StoredSets:
        """Some of the parcels, by position."""
        counts = np.diff(self.starts)[index]
        starts = np.concatenate(([0], np.cumsum(counts)))
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], counts)
        pieces = self.pieces[np.repeat(self.starts[:-1][index], counts) + within]
        root = self.root.isel(parcel=index)
        return replace(self, root=root, pieces=pieces, starts=starts)

    def blocks(self) -> Iterator[NDArray[np.int64]]:
        """Positions of all parcels, a bounded number at a time."""
        for start in range(0, len(self), _BLOCK):
            yield np.arange(start, min(start + _BLOCK, len(self)))

    def trees(self, n_pixels: int | None = None) -> Iterator[xr.DataTree]:
        """All parcels in memory, a bounded number at a time; see `load`."""
        for index in self.blocks():
            yield self.load(index, n_pixels)

    def load(self, index: NDArray[np.int64], n_pixels: int | None = None) -> xr.DataTree:
        """Read pixel sets into memory.

        Parameters
        ----------
        index : numpy.ndarray
            (parcel,) positions.
        n_pixels : int, optional
            Reduce the sets to those that a smaller ``n_pixels`` would have drawn, as
            `cubecrop.sample.fewer_pixels` does; by default all stored pixels.

        Returns
        -------
        xarray.DataTree
            As computed from `cubecrop.sample_pixel_sets`.
        """
        root = self.root.isel(parcel=index)
        pixels = None
        if n_pixels is not None:
            pixels = places_of_fewer(root, n_pixels)
            root = root.assign_attrs(n_pixels=n_pixels)
        nodes = {}
        for name, coords in self.nodes.items():
            node, about = _bare(coords)
            if name == "weather":
                values = self.weather(index)
            else:
                values = np.moveaxis(self.values(name, index, pixels), 3, 2)
            if name in SERIES:
                valid = np.isfinite(values).all(axis=2)
                node["valid"] = (("parcel", "time", "pixel"), valid)
            elif name != "weather":
                values = values[:, 0]
            node[SERIES.get(name, name)] = (_dims(name), values, about)
            nodes[name] = node
        return xr.DataTree.from_dict({"/": root, **nodes}, name="pixel_sets")

    def values(
        self, name: str, index: NDArray[np.int64], pixels: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Read pixels of a child.

        Parameters
        ----------
        name : str
            A satellite, or "terrain", which has one date and its variables as bands.
        index : numpy.ndarray
            (parcel,) positions.
        pixels : numpy.ndarray, optional
            (parcel, pixel) positions among the stored pixels, -1 for none; by default all.

        Returns
        -------
        numpy.ndarray
            (parcel, time, pixel, band) float32, NaN where masked.
        """
        numbers = self.numbers(name, index)
        if pixels is None:
            return unpack(numbers)
        place = np.arange(len(index))[:, None, None]
        date = np.arange(numbers.shape[1])[:, None]
        values = unpack(numbers[place, date, pixels[:, None, :]])
        values[np.broadcast_to((pixels < 0)[:, None, :], values.shape[:3])] = np.nan
        return values

    def numbers(self, name: str, index: NDArray[np.int64]) -> NDArray[Any]:
        """Read all pixels of a child as they are stored.

        Returns
        -------
        numpy.ndarray
            (parcel, time, pixel, band). If all stores hold packed numbers, uint16, see
            `cubecrop.sample.shards.unpack`; else float32, NaN where masked.
        """
        node = self.nodes[name]
        n_bands = node.sizes["band" if name in SERIES else "variable"]
        shape = (len(index), node.sizes.get("time", 1), self.n_pixels, n_bands)
        arrays = [rows for store in self.stores for rows in store.rows.get(name, ())]
        packed = all(rows.dtype == np.uint16 for rows in arrays)
        fill, dtype = (NODATA, np.uint16) if packed else (np.nan, np.float32)
        out: NDArray[Any] = np.empty(shape, dtype)
        for place, parcel in enumerate(index.tolist()):
            filled = False
            for number, row in self.pieces[self.starts[parcel] : self.starts[parcel + 1]].tolist():
                dates = self.dates[number].get(name)
                for rows in self.stores[number].rows.get(name, ()):
                    # Most parcels have one piece with all dates: it needs no copy.
                    if not filled and rows.dtype == dtype and rows.shape[1] == shape[1]:
                        filled = rows.read(row, out[place])
                        continue
                    part = np.empty(rows.shape[1:], rows.dtype)
                    if not rows.read(row, part):
                        continue
                    if not filled:
                        out[place], filled = fill, True
                    part = part if packed else unpack(part)
                    known = part != NODATA if packed else ~np.isnan(part)
                    out[place][dates] = np.where(known, part, out[place][dates])
            if not filled:
                out[place] = fill
        return out

    def weather(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Weather (parcel, time, variable) of the first piece of each parcel."""
        node = self.nodes["weather"]
        shape = (len(index), node.sizes["time"], node.sizes["variable"])
        out = np.full(shape, np.nan, np.float32)
        for place, parcel in enumerate(index.tolist()):
            number, row = self.pieces[self.starts[parcel]]
            about = self.stores[number].about
            if "weather" in about.children:
                cell = int(about["weather_cell"].to_numpy()[row])
                series = about["weather"]["weather"].to_numpy()[cell]
                out[place, self.dates[number]["weather"]] = series
        return out


def _placeholder(name: str, coords: xr.Dataset, n: int, n_pixels: int) -> xr.Dataset:
    """A node of pixel sets whose pixels cannot be computed."""
    node, about = _bare(coords)
    sizes = {**node.sizes, "parcel": n, "pixel": n_pixels}
    shape = tuple(sizes[dim] for dim in _dims(name))
    node[SERIES.get(name, name)] = (_dims(name), _unread(shape, np.float32), about)
    if name in SERIES:
        shape = (n, node.sizes["time"], n_pixels)
        node["valid"] = (("parcel", "time", "pixel"), _unread(shape, np.bool_))
    return node


def _bare(coords: xr.Dataset) -> tuple[xr.Dataset, dict[str, Any]]:
    """A copy of a node, and the attributes of the variable that it lacks."""
    node = coords.copy()
    about = node.attrs.pop("variable", {})
    return node, about


def _dims(name: str) -> tuple[str, ...]:
    if name == "weather":
        return "parcel", "time", "variable"
    if name in SERIES:
        return "parcel", "time", "band", "pixel"
    return "parcel", "variable", "pixel"


def _unread(shape: tuple[int, ...], dtype: type) -> da.Array:
    array: da.Array = da.from_delayed(delayed(_refuse, pure=True)(), shape, dtype=dtype)
    return array


def _refuse() -> None:
    raise SchemaError("these pixel sets are on disk; read parcels of them with `StoredSets.load`.")
