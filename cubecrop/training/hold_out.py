"""Which training parcels choose the epoch and calibrate the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cubecrop.sample import hash_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["FEWEST", "hold_out"]

#: With fewer training parcels than this, none are held out by default.
FEWEST = 300
_SHARE = 0.15
#: A class with fewer parcels needs them all to be learned.
_FEWEST_OF_CLASS = 10


def hold_out(
    labels: NDArray[np.int64],
    groups: Sequence[object],
    share: float | None,
    *,
    seed: int,
) -> NDArray[np.bool_]:
    """Choose validation parcels: a share of each class, whole groups at a time.

    The choice depends on the seed and the groups' names alone, not on the order of parcels.

    Parameters
    ----------
    labels : numpy.ndarray
        (parcel,) class indices.
    groups : sequence
        A name a parcel; parcels of one name stay together. Ids where there are no groups.
    share : float, optional
        Share of each class; by default 0.15 of 300 parcels or more, else none.
    seed : int
        Another seed, other parcels.

    Returns
    -------
    numpy.ndarray
        (parcel,) bool. A class with under 10 parcels has none, nor has any group that
        holds one of those.
    """
    held = np.zeros(len(labels), dtype=bool)
    if share is None:
        share = _SHARE if len(labels) >= FEWEST else 0.0
    if share == 0 or len(labels) == 0:
        return held
    names, group = np.unique(np.array([str(one) for one in groups]), return_inverse=True)
    counts = np.bincount(labels)
    sizes = np.zeros((len(names), len(counts)), dtype=np.int64)  # (group, class)
    np.add.at(sizes, (group, labels), 1)
    order = np.argsort(hash_ids(names.tolist(), "validation", seed), kind="stable")
    order = order[(sizes[order][:, counts < _FEWEST_OF_CLASS] == 0).all(axis=1)]
    taken = np.zeros_like(counts)
    chosen = np.zeros(len(names), dtype=bool)
    # Rare classes choose first: a group taken for a common class may hold them too.
    for index in np.argsort(counts, kind="stable"):
        for one in order[sizes[order, index] > 0]:
            if taken[index] >= round(share * counts[index]):
                break
            # Most of each class stays in training, however large the groups.
            if not chosen[one] and (taken + sizes[one] <= counts / 2).all():
                chosen[one] = True
                taken += sizes[one]
    held[:] = chosen[group]
    return held
