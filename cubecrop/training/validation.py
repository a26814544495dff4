"""Choose the training parcels that select the best epoch and calibrate the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cubecrop.sample import split_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FEWEST", "split_validation"]

#: With fewer training parcels than this, none are used for validation by default.
FEWEST = 2000
_SHARE = 0.15
#: A class with fewer parcels needs all of them for training.
_FEWEST_OF_CLASS = 10


def split_validation(
    labels: NDArray[np.int64],
    groups: Sequence[object],
    share: float | None,
    *,
    seed: int,
) -> NDArray[np.bool_]:
    """Choose validation parcels: a share of each class, whole groups at a time.

    The choice depends only on the seed and the groups' names, not on the order of parcels.

    Parameters
    ----------
    labels : numpy.ndarray
        (parcel,) class indices.
    groups : sequence
        One name per parcel; parcels with the same name stay together. Pass the ids where there
        are no groups.
    share : float, optional
        Share of each class; by default 0.15 with 2,000 parcels or more, else 0.
    seed : int
        Another seed chooses other parcels.

    Returns
    -------
    numpy.ndarray
        (parcel,) bool. No parcel is chosen from a class with under 10 parcels, nor from a
        group that holds a parcel of such a class.
    """
    if share is None:
        share = _SHARE if len(labels) >= FEWEST else 0.0
    return split_groups(
        labels, groups, share, salt="validation", seed=seed, fewest=_FEWEST_OF_CLASS
    )
