"""Which training parcels choose the epoch and calibrate the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cubecrop.sample import split_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FEWEST", "hold_out"]

#: With fewer training parcels than this, none are held out by default.
FEWEST = 2000
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
        Share of each class; by default 0.15 of 2,000 parcels or more, else none.
    seed : int
        Another seed, other parcels.

    Returns
    -------
    numpy.ndarray
        (parcel,) bool. A class with under 10 parcels has none, nor has any group that
        holds one of those.
    """
    if share is None:
        share = _SHARE if len(labels) >= FEWEST else 0.0
    return split_groups(
        labels, groups, share, salt="validation", seed=seed, fewest=_FEWEST_OF_CLASS
    )
