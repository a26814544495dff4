"""Parcels across the edges of tiles: each tile stores its part of their pixel sets.

A tile reads only its own land, so that no block of a file is read for two tiles. The pixels that a
parcel holds, and the draw among them, depend on the parcel alone. The parts of its pixel set that
several tiles store are therefore complementary, and together they are the whole set.
"""

from __future__ import annotations

import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.region.failures import TransientError
from cubecrop.region.output import PROOF
from cubecrop.sample import SetStore, join_stores, stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.region.output import Output

__all__ = ["EDGE_PIXELS", "opened_parts", "whole_sets", "write_part"]

#: File of a tile with its part of the pixel sets of parcels that cross its edges.
EDGE_PIXELS: Final = "edge_pixels.zip"
_STORE: Final = "sets"
#: Parcels whose pixel sets are in memory at a time.
_AT_ONCE: Final = 256


def write_part(path: Path, sets: xr.DataTree) -> None:
    """Write computed pixel sets to one file: a store of `cubecrop.sample` in a ZIP archive."""
    with tempfile.TemporaryDirectory(prefix="cubecrop-") as folder:
        stored(folder, _STORE, lambda: sets, progress=False, scheduler="synchronous")
        home = Path(folder) / _STORE
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(home.rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(home).as_posix())


@contextmanager
def opened_parts(output: Output, digests: Mapping[str, str]) -> Iterator[dict[str, SetStore]]:
    """Yield the stores of the tiles that have one, by tile; they are unpacked for the block.

    Parameters
    ----------
    output : Output
        The run's folder.
    digests : mapping
        Digest of each tile's inputs.

    Raises
    ------
    TransientError
        A tile is not there or has another digest, since a worker replaces it at this moment.
        Without its part, parcels would lack pixels.
    """
    with tempfile.TemporaryDirectory(prefix="cubecrop-") as folder:
        stores = {}
        for tile, digest in sorted(digests.items()):
            evidence = output.read_json(f"tiles/{tile}/{PROOF}") or {}
            if evidence.get("digest") != digest:
                raise TransientError(f"tile {tile} is being replaced, with its part of parcels.")
            if EDGE_PIXELS not in evidence["files"]:
                continue
            name = f"tiles/{tile}/{EDGE_PIXELS}"
            try:
                with output.local(name) as path, zipfile.ZipFile(path) as archive:
                    archive.extractall(Path(folder) / tile)
            except FileNotFoundError as error:
                raise TransientError(f"{name} is being replaced.") from error
            stores[tile] = SetStore(Path(folder) / tile)
        yield stores


def whole_sets(
    parts: Mapping[str, SetStore], owner: str, ids: Sequence[object]
) -> Iterator[tuple[xr.DataTree, NDArray[np.int64]]]:
    """Join the parts of parcels to whole pixel sets.

    Parameters
    ----------
    parts : mapping
        Stores by tile. Each parcel is in the store of ``owner``, and in others that it touches.
    owner : str
        The tile that the parcels belong to; their weather is that of its store.
    ids : sequence
        Ids of the parcels.

    Yields
    ------
    tuple
        Pixel sets in memory of some of the parcels, and their positions (parcel,) in ``ids``.
    """
    number = {key: place for place, key in enumerate(ids)}
    rows = []
    for store in parts.values():
        keys = store.about["parcel"].to_numpy().tolist()
        # Parcels of other owners are numbered too, and then left out.
        rows.append(np.array([number.setdefault(key, len(number)) for key in keys], np.int64))
    first = np.full(len(number), list(parts).index(owner))
    for sets, places in join_stores(list(parts.values()), rows, first):
        own = np.flatnonzero(places < len(ids))
        for start in range(0, len(own), _AT_ONCE):
            index = own[start : start + _AT_ONCE]
            yield sets.load(index), places[index]
