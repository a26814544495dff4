"""The series of parcels, compared with each other: exact copies and mean series."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.model import season_of, sensor_arrays
from cubecrop.schema import SERIES
from cubecrop.training.forest import parcel_means
from cubecrop.training.sets import tree_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.evaluation.population import Population

__all__ = ["mean_series", "series_digests"]


def series_digests(
    trees: Iterable[tuple[xr.DataTree, NDArray[np.int64]]], n: int
) -> NDArray[np.object_]:
    """Text (parcel,) that is the same for exact copies; "" without a valid pixel.

    Only valid values count, in any order of a parcel's pixels.
    """
    out = np.full(n, "", dtype=object)
    for tree, members in trees:
        hashes = [hashlib.blake2b(digest_size=16) for _ in members]
        seen = np.zeros(len(members), dtype=bool)
        for name, arrays in sensor_arrays(tree, _sensors(tree)).items():
            bands = " ".join(map(str, tree[name]["band"].to_numpy()))
            times = tree[name]["time"].to_numpy().astype("datetime64[D]")
            values = np.where(arrays.valid[..., None], arrays.values, np.float32(np.nan))
            values = np.sort(values, axis=2) + np.float32(0)  # -0 and 0 are the same
            dated = np.asarray(arrays.valid.any(axis=2))
            for row in np.flatnonzero(dated.any(axis=1)).tolist():
                own = values[row, dated[row]]
                own = own[:, ~np.isnan(own).all(axis=(0, 2))]  # without padding
                hashes[row].update(f"{name} {bands} {own.shape}".encode())
                hashes[row].update(times[dated[row]].tobytes() + own.tobytes())
                seen[row] = True
        out[members[seen]] = [hashes[row].hexdigest() for row in np.flatnonzero(seen)]
    return out


def mean_series(
    population: Population,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Standardised mean series (member, feature) of parcels, with their positions (member,).

    Only parcels of one year, with the same sensors, bands and months, come together. Missing
    sensors have the mean of all parcels; parcels without any valid pixel are left out.
    """
    found: dict[object, list[tuple[NDArray[np.int64], NDArray[np.float64]]]] = {}
    for number, source in enumerate(population.sources):
        tree = tree_of(source)
        bands = {name: tuple(map(str, tree[name]["band"].to_numpy())) for name in _sensors(tree)}
        season = season_of(tree)
        kind = (season.start, season.end, tuple(bands.items()))
        own = np.flatnonzero(population.source == number)
        for part, members in population.trees(own):
            means = parcel_means(part, bands=bands, step="month")
            found.setdefault(kind, []).append((members, means))
    for parts in found.values():
        members = np.concatenate([positions for positions, _ in parts])
        values = np.concatenate([means for _, means in parts])
        known = np.isfinite(values).any(axis=1)
        members, values = members[known], values[known]
        if len(members):
            yield members, _standardised(values)


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(values)
    n = np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, values - np.where(known, values, 0).sum(axis=0) / n, 0)
    deviation = np.sqrt((centred**2).sum(axis=0) / n)
    return centred / np.where(deviation > 0, deviation, 1)


def _sensors(tree: xr.DataTree) -> list[str]:
    return [name for name in SERIES if name in tree.children]
