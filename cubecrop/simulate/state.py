"""What stands on each unit of a region, day by day: stands write it, images show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Growth"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What stands on each unit, float32 (day, unit) unless said otherwise.

    Attributes
    ----------
    crop : ndarray of int8
        Index into `CROPS` of what stands, -1 = nothing.
    lai, chlorophyll, senescence
        As the axes of `canopy.AXES`.
    flower : share of ground that shows petals.
    litter : share of the ground under straw or leaves.
    rough : dB that the tillage adds to the soil's backscatter.
    ridged : dB, row effect of the ground.
    dates : dict
        ``sown``, ``flowering`` and ``harvest`` of the crop of each harvest year, (unit,) as
        index of the day; -1 where there is none.
    """

    crop: NDArray[np.int8]
    lai: NDArray[np.float32]
    chlorophyll: NDArray[np.float32]
    senescence: NDArray[np.float32]
    flower: NDArray[np.float32]
    litter: NDArray[np.float32]
    rough: NDArray[np.float32]
    ridged: NDArray[np.float32]
    dates: dict[int, dict[str, NDArray[np.int64]]]
