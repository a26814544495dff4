"""Recognise the parcels of a model's training by fingerprints of their ids and places."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
import pyproj
import shapely

from cubecrop.sample import fingerprints_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

    from cubecrop.model import CropModel
    from cubecrop.pipeline.declared import Declared

__all__ = ["fingerprints", "parts_known", "seen"]

#: Tolerance in degrees: centroids move when a table is reprojected.
_TOLERANCE: Final = 1e-4


def fingerprints(
    parcels: gpd.GeoDataFrame, part: NDArray[np.object_]
) -> dict[str, NDArray[np.uint64]]:
    """Sorted fingerprints of each part's parcels, to store in a model.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame
        Columns ``id``, ``geometry``; any CRS.
    part : numpy.ndarray
        (parcel,) "train" or "held out"; parcels with another value are not stored.
    """
    (prints,) = _prints(parcels, ((0, 0),))
    names = ("train", "held out")
    return {name: np.unique(prints[part == name]) for name in names if (part == name).any()}


def seen(declared: Sequence[Declared]) -> dict[str, NDArray[np.uint64]]:
    """Fingerprints of the parcels of each part, in all years."""
    prints = [fingerprints(one.table, one.part) for one in declared]
    names = dict.fromkeys(name for own in prints for name in own)
    return {
        name: np.unique(np.concatenate([own[name] for own in prints if name in own]))
        for name in names
    }


def parts_known(model: CropModel, parcels: gpd.GeoDataFrame) -> list[str]:
    """The part of each parcel in a model's training.

    Parameters
    ----------
    model : CropModel
        The model.
    parcels : geopandas.GeoDataFrame
        Columns ``id``, ``geometry``; any CRS.

    Returns
    -------
    list of str
        One word per parcel: "train" if the model was trained on it, in any year; "held out" if it
        was scored on it; "unseen" if neither holds for a parcel with this id at this place;
        "unknown" if the model has no record of its parcels.
    """
    if not model.parcels_seen:
        return ["unknown"] * len(parcels)
    candidates = _prints(parcels, product((-_TOLERANCE, _TOLERANCE), repeat=2))
    parts = np.full(len(parcels), "unseen", dtype=object)
    for name in ("held out", "train"):
        kept = model.parcels_seen.get(name, np.empty(0, dtype=np.uint64))
        parts[np.isin(candidates, kept).any(axis=0)] = name
    return [str(word) for word in parts]


def _prints(parcels: gpd.GeoDataFrame, moves: Iterable[tuple[float, ...]]) -> NDArray[np.uint64]:
    """Fingerprints (move, parcel) at centroids that are moved by (east, north) degrees."""
    with np.errstate(invalid="ignore"):  # parcels without a place
        centres = shapely.bounds(shapely.centroid(parcels.geometry.to_numpy()))
    to_degrees = pyproj.Transformer.from_crs(parcels.crs, "EPSG:4326", always_xy=True)
    lon, lat = map(np.asarray, to_degrees.transform(centres[:, 0], centres[:, 1]))
    return fingerprints_at(parcels["id"].tolist(), lon, lat, moves)
