"""Daily state of each unit of a region, which stands write and images show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Growth"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Plants and ground of each unit by day, float32 (day, unit) unless stated.

    Attributes
    ----------
    crop : ndarray of int8
        Index into `CROPS` of the plants on the unit; -1 = none.
    lai, chlorophyll, senescence
        In the units of `canopy.AXES`.
    flower : share of ground that shows petals.
    litter : share of the ground under straw or leaves.
    rough : dB that the tillage adds to the soil's backscatter.
    ridged : row effect of the ground, dB.
    crown_cover : share of the ground under the crowns of trees or vines; 0 in other crops.
    crown_lai : leaf and wood area within the crowns, m2 per m2 of crown.
    crown_senescence : share of that area that is wood or dead leaves.
    blossom : share of the crowns that shows petals.
    dates : dict
        By harvest year, the days ``sown``, ``flowering`` and ``harvest`` of the crop, (unit,),
        as indices; -1 where there is none.
    """

    crop: NDArray[np.int8]
    lai: NDArray[np.float32]
    chlorophyll: NDArray[np.float32]
    senescence: NDArray[np.float32]
    flower: NDArray[np.float32]
    litter: NDArray[np.float32]
    rough: NDArray[np.float32]
    ridged: NDArray[np.float32]
    crown_cover: NDArray[np.float32]
    crown_lai: NDArray[np.float32]
    crown_senescence: NDArray[np.float32]
    blossom: NDArray[np.float32]
    dates: dict[int, dict[str, NDArray[np.int64]]]
