"""Which pixels of a map are classified, and the codes of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cubecrop.nomenclature import NODATA, NOT_CROPLAND
from cubecrop.write.cog import NO_DATES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CLASSIFIED", "LEFT_OUT", "OUTSIDE", "UNKNOWN", "marked", "seen_dates"]

#: Codes of land (y, x) uint8: the network classifies the pixel, the pixel lies outside of the
#: area, a mask leaves it out, a mask has no value there.
CLASSIFIED: Final = 0
OUTSIDE: Final = 1
LEFT_OUT: Final = NOT_CROPLAND
UNKNOWN: Final = NODATA


def marked(crop_type: NDArray[np.uint8], land: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class of each pixel (y, x), with the code of land that is not classified."""
    codes = np.where(land == OUTSIDE, NODATA, land)
    return np.where(land == CLASSIFIED, crop_type, codes).astype(np.uint8)


def seen_dates(dates: NDArray[Any], land: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Clear dates (sensor, y, x); 65535 for pixels outside of the area."""
    return np.where(land == OUTSIDE, NO_DATES, dates).astype(np.uint16)
