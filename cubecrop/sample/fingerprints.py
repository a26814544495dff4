"""Fingerprints of parcels: hashes of their ids and places, by which a model knows them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.sample.draw import hash_ids, mix
from cubecrop.texts import label_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["CELL", "fingerprints_at"]

#: Cell size in degrees. A fingerprint includes the cell of the parcel's centroid, since many
#: tables number their parcels from 1.
CELL: Final = 1e-3


def fingerprints_at(
    ids: Iterable[object],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    moves: Iterable[tuple[float, ...]] = ((0, 0),),
) -> NDArray[np.uint64]:
    """64-bit hashes (move, parcel) of id and cell, with places moved by (east, north) degrees.

    Parameters
    ----------
    ids : iterable
        One for each parcel.
    lon, lat : numpy.ndarray
        (parcel,) degrees; not finite for a parcel without a place.
    moves : iterable of tuple
        Degrees east and north by which places are moved.
    """
    placed = np.isfinite(lon) & np.isfinite(lat)
    lon, lat = np.where(placed, lon, 0), np.where(placed, lat, 0)
    # As text without ".0", since files may return whole numbers as floats.
    hashed = hash_ids((label_text(parcel) for parcel in ids), "parcel")
    rows = []
    for east, north in moves:
        column = np.floor((lon + east + 180) % 360 / CELL).astype(np.uint64)
        row = np.floor((lat + north + 91) / CELL).astype(np.uint64)
        cell = np.where(placed, mix(column << np.uint64(32) | row), np.uint64(0))
        rows.append(mix(hashed ^ cell))
    return np.stack(rows)
