"""Cloud masks from Sentinel-2's scene classification (SCL)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from cubecrop.cube.read import Layer
from cubecrop.schema import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CLOUD_LAYER", "DILATION", "SCL_MASKED", "mask_from_scl"]

#: Saturated, shadow, cloud medium and high, cirrus, snow: what WorldCereal masks. Class 0
#: is no data and is masked as such.
SCL_MASKED = (1, 3, 8, 9, 10, 11)
#: Metres around masked pixels that are masked too: thin edges escape the classification.
DILATION = 60.0


def mask_from_scl(scl: NDArray[np.generic], resolution: float) -> NDArray[np.uint8]:
    """Status of each pixel from its class and that of its neighbours.

    Parameters
    ----------
    scl : numpy.ndarray
        (y, x) uint8, ESA's classes 0 to 11.
    resolution : float
        Pixel size in metres.

    Returns
    -------
    numpy.ndarray
        (y, x) uint8 of `Status`: clear, cloud, outside.
    """
    masked = np.isin(scl, SCL_MASKED)
    status = np.full(scl.shape, Status.CLEAR, dtype=np.uint8)
    if masked.any():
        distance = ndimage.distance_transform_edt(~masked, sampling=resolution)
        status[distance <= DILATION] = Status.CLOUD
    status[scl == 0] = Status.OUTSIDE
    return status


#: The SCL asset read as `Status`. Nothing is read where no file reaches: outside.
CLOUD_LAYER = Layer(
    bands=("SCL",),
    dtype="uint8",
    fill=Status.OUTSIDE,
    raw_fill=0,
    lost=Status.LOST,
    resampling="nearest",
    halo=DILATION,
    finish=mask_from_scl,
)
