"""Split parcels into training parcels and others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cubecrop.checks import check_share, check_whole
from cubecrop.errors import LabelError
from cubecrop.sample.draw import hash_ids
from cubecrop.sample.parcels import check_parcels, labels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

__all__ = ["split_groups", "split_parcels"]


def split_parcels(
    parcels: gpd.GeoDataFrame, label: str, *, held_out: float = 0.3, seed: int = 0
) -> pd.Series[str]:
    """Hold out a share of the parcels of each class.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame
        Columns ``id``, ``geometry`` and the label.
    label : str
        The label column.
    held_out : float, default 0.3
        Share of each class, from 0 to below 1. Above 0, at least one parcel of each class is
        held out, but never all: a class with a single parcel stays in training.
    seed : int, default 0
        The split depends only on the seed, ids and labels, not on the order of parcels.

    Returns
    -------
    pandas.Series
        ``"train"``, ``"held out"`` or ``"unlabelled"``, on the index of ``parcels``.

    Raises
    ------
    LabelError
        The column does not exist, or the share is out of range.
    """
    check_parcels(parcels)
    check_share("held_out", held_out, error=LabelError)
    check_whole("seed", seed, minimum=0)
    labels = np.array([text or "" for text in labels_of(parcels, label)])
    rank = hash_ids(parcels["id"].tolist(), "split", seed)
    part = np.where(labels == "", "unlabelled", "train").astype(object)
    for name in np.unique(labels[labels != ""]):
        members = np.flatnonzero(labels == name)
        if len(members) < 2 or held_out == 0:
            continue
        n = min(max(1, round(held_out * len(members))), len(members) - 1)
        part[members[np.argsort(rank[members])[:n]]] = "held out"
    return pd.Series(part, index=parcels.index, name="part")


def split_groups(
    labels: NDArray[np.int64],
    groups: Sequence[object],
    share: float,
    *,
    salt: str,
    seed: int = 0,
    fewest: int = 2,
) -> NDArray[np.bool_]:
    """Choose a share of each class, in whole groups.

    Parameters
    ----------
    labels : numpy.ndarray
        (parcel,) class indices.
    groups : sequence
        The name of each parcel's group. Parcels of a group stay together. Without groups, use
        the ids.
    share : float
        Share of each class. It is met as closely as the groups allow, and never exceeds a half.
    salt : str
        Purpose of the split; another salt chooses other groups.
    seed : int, default 0
        The split depends only on the seed, salt, groups and labels, not on the order of parcels.
    fewest : int, default 2
        No parcel is chosen from a class with fewer parcels, nor from a group that contains one.

    Returns
    -------
    numpy.ndarray
        (parcel,) bool, True for chosen parcels.
    """
    if len(labels) == 0 or share == 0:
        return np.zeros(len(labels), dtype=bool)
    names, group = np.unique(np.array([str(name) for name in groups]), return_inverse=True)
    counts = np.bincount(labels)
    sizes = np.zeros((len(names), len(counts)), dtype=np.int64)  # (group, class)
    np.add.at(sizes, (group, labels), 1)
    order = np.argsort(hash_ids(names.tolist(), salt, seed), kind="stable")
    order = order[(sizes[order][:, counts < fewest] == 0).all(axis=1)]
    n_chosen = np.zeros_like(counts)
    chosen = np.zeros(len(names), dtype=bool)
    # Rare classes first: a group that is chosen for a common class may contain them too.
    for index in np.argsort(counts, kind="stable"):
        for candidate in order[sizes[order, index] > 0]:
            if n_chosen[index] >= max(1, round(share * counts[index])):
                break
            # At least half of each class remains, even if groups are large.
            if not chosen[candidate] and (n_chosen + sizes[candidate] <= counts / 2).all():
                chosen[candidate] = True
                n_chosen += sizes[candidate]
    return np.asarray(chosen[group])
