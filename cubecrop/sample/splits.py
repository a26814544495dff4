"""Splitting parcels into those to learn from and those held out."""

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
        Share of each class, 0 to below 1; at least one parcel of each class that has two,
        and never all. A class with a single parcel stays in training.
    seed : int, default 0
        The split depends on it and on ids and labels alone, not on the order.

    Returns
    -------
    pandas.Series
        ``"train"``, ``"held out"`` or ``"unlabelled"``, on the index of ``parcels``.

    Raises
    ------
    LabelError
        The column is not there, or the share is out of range.
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
    """Hold out a share of each class, whole groups at a time.

    Parameters
    ----------
    labels : numpy.ndarray
        (parcel,) class indices.
    groups : sequence
        A name a parcel; parcels of one name stay together. Ids where there are no groups.
    share : float
        Share of each class, reached as nearly as the groups allow and never above a half.
    salt : str
        What the split is for: another word, other groups.
    seed : int, default 0
        The split depends on it, the salt, groups and labels alone, not on the order.
    fewest : int, default 2
        A class with fewer parcels has none held out, nor has any group that holds one of its.

    Returns
    -------
    numpy.ndarray
        (parcel,) bool, True where held out.
    """
    if len(labels) == 0 or share == 0:
        return np.zeros(len(labels), dtype=bool)
    names, group = np.unique(np.array([str(one) for one in groups]), return_inverse=True)
    counts = np.bincount(labels)
    sizes = np.zeros((len(names), len(counts)), dtype=np.int64)  # (group, class)
    np.add.at(sizes, (group, labels), 1)
    order = np.argsort(hash_ids(names.tolist(), salt, seed), kind="stable")
    order = order[(sizes[order][:, counts < fewest] == 0).all(axis=1)]
    taken = np.zeros_like(counts)
    chosen = np.zeros(len(names), dtype=bool)
    # Rare classes choose first: a group taken for a common class may hold them too.
    for index in np.argsort(counts, kind="stable"):
        for one in order[sizes[order, index] > 0]:
            if taken[index] >= max(1, round(share * counts[index])):
                break
            # Half of each class stays, however large the groups.
            if not chosen[one] and (taken + sizes[one] <= counts / 2).all():
                chosen[one] = True
                taken += sizes[one]
    return np.asarray(chosen[group])
