"""Pixel sets on disk, from which any parcels are read quickly.

A store is a folder. ``about.zarr.zip`` holds everything but the pixels: dates, bands, ids, shapes
and the weather of each cell, as Zarr in one file, since it has dozens of small arrays.
``pixels.zarr`` holds the pixels as arrays (parcel, time, pixel, band) in
Zarr's format 3, with one compressed chunk a parcel and many parcels in one file (a shard).
Reflectance is stored as 16-bit numbers, like in the files, where that gives back the same float32
values; other values stay float32. ``seal.json`` has the SHA-256 of each file.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import dask.array as da
import numpy as np
import shapely
import xarray as xr
import zarr
from dask.delayed import delayed
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore, ZipStore

from cubecrop.files import swap_folder
from cubecrop.progress import compute
from cubecrop.sample.shards import NODATA, OFFSET, SCALE, ShardedRows
from cubecrop.schema import SERIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import geopandas as gpd
    from dask.delayed import Delayed
    from numpy.typing import NDArray

    from cubecrop.progress import Scheduler

__all__ = ["SetStore", "cache_key", "stored", "stored_bytes"]

#: Increase this number when a change alters the pixels drawn from the same input, or the storage.
_FORMAT: Final = 4
_ABOUT, _PIXELS, _SEAL = "about.zarr.zip", "pixels.zarr", "seal.json"
#: Bytes of a shard, which is in memory while it is written.
_SHARD: Final = 32 * 10**6
#: Parcels of pixel sets in memory that are written at a time.
_BLOCK: Final = 64


class SetStore:
    """A store of pixel sets that is open for reading.

    Parameters
    ----------
    folder : pathlib.Path
        A complete store.

    Attributes
    ----------
    about : xarray.DataTree
        Coordinates, attributes and all variables without a pixel dimension, in memory. A child
        ``weather`` has ``weather (cell, time, variable)``, and the root ``weather_cell (parcel)``.
    rows : mapping
        Child to its arrays in `ShardedRows`: the packed ones first.
    digest : str
        SHA-256 over all content.
    """

    def __init__(self, folder: Path) -> None:
        with (
            ZipStore(folder / _ABOUT, mode="r") as file,
            xr.open_datatree(
                file,  # type: ignore[arg-type]  # xarray's types lack Zarr's stores
                engine="zarr",
                consolidated=True,
                chunks=None,
            ) as about,
        ):
            self.about = about.load()
        self.rows: dict[str, list[ShardedRows]] = {}
        for name in self.about.children:
            arrays = folder / _PIXELS / name
            paths = [arrays / kind for kind in ("packed", "values")]
            self.rows[name] = [ShardedRows(path) for path in paths if path.is_dir()]
        self.digest = hashlib.sha256((folder / _SEAL).read_bytes()).hexdigest()


def cache_key(
    samples: xr.DataTree, parcels: gpd.GeoDataFrame, options: Mapping[str, object]
) -> str:
    """Hash everything that pixel sets depend on; reads no pixel.

    Parameters
    ----------
    samples : xarray.DataTree
        Lazy pixel sets, or the cube that they are drawn from. The attrs hold season, archive,
        item ids and hrefs; the children hold dates and bands.
    parcels : geopandas.GeoDataFrame
        Ids and geometries, in the order of the samples.
    options : mapping
        Everything else that changes values, such as the resolution and the number of pixels.

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


def stored(
    folder: str | Path,
    key: str,
    make: Callable[[], xr.DataTree],
    *,
    progress: bool = True,
    scheduler: Scheduler | None = None,
) -> SetStore:
    """Open a store of pixel sets; if it is missing or damaged, read the pixels and write it.

    Parameters
    ----------
    folder : path
        Holds a folder for each key, which only the user removes; created if it is missing.
    key : str
        See `cache_key`.
    make : callable
        Returns the pixel sets. They may be lazy, and are then computed and written block by
        block, so that they need not fit the memory.
    progress, scheduler
        As for `cubecrop.train`. Blocks are written where they are computed, so a
        scheduler must use threads of this process.

    Returns
    -------
    SetStore

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    home = Path(folder) / key
    if not _is_whole(home):
        samples = make()
        # A folder that exists already is damaged: replace it.
        cure = "Free some space, or name another folder with `cache=` (`--cache`)."
        with suppress(_MadeByOtherError), swap_folder(home, cure=cure, check=_check_other) as part:
            _write(samples, part, progress=progress, scheduler=scheduler)
            (part / _SEAL).write_text(json.dumps(_seal(part), sort_keys=True), encoding="utf-8")
    return SetStore(home)


def stored_bytes(cube: xr.DataTree, counts: NDArray[np.int64], n_pixels: int) -> int:
    """Bytes that pixel sets of a cube take at most before compression, without padding."""
    pixels = int(np.minimum(counts, n_pixels).sum())
    total = 0
    for name in SERIES:
        if name in cube.children:
            sizes = cube.children[name].sizes
            width = 2 if name == "sentinel2" and not cube.attrs.get("composite") else 4
            total += pixels * sizes["time"] * sizes["band"] * width
    return total


def _write(
    samples: xr.DataTree, folder: Path, *, progress: bool, scheduler: Scheduler | None
) -> None:
    group = zarr.open_group(folder / _PIXELS, mode="w", zarr_format=3)
    root = samples.to_dataset()
    nodes: dict[str, xr.Dataset] = {}
    tasks: list[Delayed] = []
    for name, node in samples.children.items():
        child = node.to_dataset(inherit=False)
        if name == "weather":
            nodes[name] = child
            continue
        array = child[SERIES.get(name, name)]
        dims = ("parcel", "time", "pixel", "band" if name in SERIES else "variable")
        rows = (
            array.transpose(*dims) if name in SERIES else array.expand_dims("time").transpose(*dims)
        )
        tasks += _blocks(rows.data, _RowWriter(group, name, rows.shape))
        # Attributes of the variable, which is not part of this tree.
        nodes[name] = child.drop_dims(("parcel", "pixel")).assign_attrs(
            {**child.attrs, "variable": dict(array.attrs)}
        )
    weather = nodes["weather"]["weather"].data if "weather" in nodes else None
    weather, *_ = compute(
        weather, *tasks, description="Reading parcels", progress=progress, scheduler=scheduler
    )
    if weather is not None:
        cell, nodes["weather"] = _by_cell(nodes["weather"], np.asarray(weather))
        root = root.assign(weather_cell=("parcel", cell))
    _write_about(folder / _ABOUT, xr.DataTree.from_dict({"/": root, **nodes}, name=samples.name))


def _write_about(path: Path, about: xr.DataTree) -> None:
    # Zarr writes some of its files twice, which a ZIP archive cannot replace: it takes them whole.
    files: dict[str, Any] = {}
    # Zarr's format 2 specifies how text is stored; format 3 does not.
    about.to_zarr(MemoryStore(files), mode="w", zarr_format=2, consolidated=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            # Without a date, so that the same content gives the same bytes.
            archive.writestr(zipfile.ZipInfo(name), files[name].to_bytes())


def _blocks(array: Any, writer: _RowWriter) -> list[Delayed]:  # noqa: ANN401 (NumPy or Dask)
    if not isinstance(array, da.Array):
        array = da.from_array(array, chunks=(_BLOCK, *array.shape[1:]))
    array = array.rechunk(dict.fromkeys(range(1, array.ndim), -1))
    starts = np.cumsum((0, *array.chunks[0]))[:-1].tolist()
    write = delayed(writer.write, pure=False)
    return [
        write(start, block) for start, block in zip(starts, array.to_delayed().ravel(), strict=True)
    ]


def _by_cell(child: xr.Dataset, weather: NDArray[Any]) -> tuple[NDArray[np.int32], xr.Dataset]:
    """The distinct series of weather (parcel, time, variable), and which one each parcel has."""
    rows = np.ascontiguousarray(weather, dtype=np.float32).reshape(len(weather), -1)
    keys = [row.tobytes() for row in rows]
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    first = {number[key]: i for i, key in reversed(list(enumerate(keys)))}
    cell = np.array([number[key] for key in keys], dtype=np.int32)
    distinct = weather[[first[i] for i in range(len(first))]]
    kept = child.drop_dims("parcel").assign(weather=(("cell", "time", "variable"), distinct))
    kept["weather"].attrs.update(child["weather"].attrs)
    return cell, kept


class _RowWriter:
    """Writes blocks of parcels to an array, in any order and from several threads.

    A shard is written once, when all its parcels are there. Values that 16 bits cannot hold
    exactly go to a second array. An array that gets no values takes no space.
    """

    def __init__(self, group: zarr.Group, name: str, shape: tuple[int, ...]) -> None:
        self._group, self._name = group, name
        self._n, *row = shape
        self._row = tuple(row)
        self._per_shard = max(1, min(self._n, _SHARD // max(4 * math.prod(row), 1)))
        self._lock = threading.Lock()
        self._parts: dict[tuple[str, int], NDArray[Any]] = {}
        self._left: dict[int, int] = {}

    def write(self, start: int, block: NDArray[np.float32]) -> None:
        """Add the rows of a block from a position on."""
        if 0 in block.shape:
            return
        packed = _packed(block) if self._name == "sentinel2" else None
        kind = "values" if packed is None else "packed"
        rows = block if packed is None else packed
        whole = []
        with self._lock:
            for shard, within, piece in self._cut(start, len(rows)):
                if (kind, shard) not in self._parts:
                    fill = np.nan if packed is None else NODATA
                    shape = (self._length(shard), *self._row)
                    self._parts[kind, shard] = np.full(shape, fill, rows.dtype)
                self._parts[kind, shard][within] = rows[piece]
                left = self._left.setdefault(shard, self._length(shard))
                self._left[shard] = left - (within.stop - within.start)
                if self._left[shard] == 0:
                    whole += [
                        (what, shard, self._parts.pop((what, shard)))
                        for what in ("packed", "values")
                        if (what, shard) in self._parts
                    ]
            arrays = {what: self._array(what) for what, *_ in whole}
        for what, shard, values in whole:
            first = shard * self._per_shard
            arrays[what][first : first + len(values)] = values

    def _cut(self, start: int, length: int) -> Iterator[tuple[int, slice, slice]]:
        """Each shard that rows lie in, their place in it, and their place in the block."""
        stop = start + length
        for shard in range(start // self._per_shard, (stop - 1) // self._per_shard + 1):
            origin = shard * self._per_shard
            low, high = max(start, origin), min(stop, origin + self._per_shard)
            yield shard, slice(low - origin, high - origin), slice(low - start, high - start)

    def _length(self, shard: int) -> int:
        return min(self._per_shard, self._n - shard * self._per_shard)

    def _array(self, kind: str) -> Any:  # noqa: ANN401 (an array of any dtype)
        path = f"{self._name}/{kind}"
        if path in self._group:
            return self._group[path]
        return self._group.create_array(
            path,
            shape=(self._n, *self._row),
            chunks=(1, *self._row),
            shards=(self._per_shard, *self._row),
            dtype="uint16" if kind == "packed" else "float32",
            fill_value=NODATA if kind == "packed" else np.nan,
            compressors=BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
        )


def _packed(values: NDArray[np.float32]) -> NDArray[np.uint16] | None:
    """Reflectance as 16-bit numbers; None if they would not give back the same values."""
    numbers = np.rint((values.astype(np.float64) - OFFSET) / SCALE)
    masked = np.isnan(numbers)
    if (masked != masked[..., :1]).any():  # a pixel is masked in all bands or in none
        return None
    if not ((numbers >= 0) & (numbers < NODATA) | masked).all():
        return None
    numbers[masked] = NODATA
    same = (numbers * SCALE + OFFSET).astype(np.float32) == values
    return numbers.astype(np.uint16) if (same | masked).all() else None


class _MadeByOtherError(Exception):
    """Another process was faster, and may be reading its store: it must not be replaced."""


def _check_other(home: Path) -> None:
    if _is_whole(home):
        raise _MadeByOtherError


def _is_whole(home: Path) -> bool:
    """Whether a store is there and no byte of it has changed."""
    try:
        seal: dict[str, Any] = json.loads((home / _SEAL).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return _seal(home) == seal


def _seal(home: Path) -> dict[str, str]:
    """SHA-256 of each file but the seal."""
    out = {}
    for path in sorted(home.rglob("*")):
        if path.is_file() and path.name != _SEAL:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            out[path.relative_to(home).as_posix()] = digest
    return out
