"""Folds: which parcels are trained on and which are tested, by protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Fold"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Fold:
    """One split of a population.

    Parameters
    ----------
    protocol : str
        Name of the protocol.
    name : str
        Name of the test part, such as "1 of 5" or a region.
    train, test : numpy.ndarray
        Positions in the population, without a common one.
    """

    protocol: str
    name: str
    train: NDArray[np.int64]
    test: NDArray[np.int64]
