"""Splitting parcels into those to learn from and those held out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cubecrop.errors import LabelError
from cubecrop.sample.draw import hash_ids
from cubecrop.sample.parcels import check_parcels, labels_of

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["split_parcels"]


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
    if not 0 <= held_out < 1:
        raise LabelError(f"held_out is {held_out!r}, expected a share from 0 to below 1.")
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
