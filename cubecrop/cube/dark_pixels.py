"""Check dark pixels when only an unreliable flag says whether DN include ESA's offset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.errors import UnsupportedItemError
from cubecrop.schema import SENTINEL2_BANDS, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cubecrop.cube.planes import Plane

__all__ = ["check_dark_pixels"]

#: Blue is dark over plants, soil and water alike: reflectance 0.02 to 0.08, DN 200 to 800
#: without ESA's offset of 1000 and 1200 to 1800 with it.
_BLUE: Final = SENTINEL2_BANDS.index("B02")
#: DN of a reflectance of -0.02 with the offset. Even after a poor atmospheric correction no
#: surface is darker, so lower DN have no offset.
_LOWEST: Final = 800
#: Share and number of such clear pixels that errors of the cloud mask cannot explain.
_SHARE: Final = 0.1
_COUNT: Final = 9


def check_dark_pixels(planes: Sequence[Plane | None], mask: NDArray[np.uint8], name: str) -> None:
    """Raise if the DN of a scene do not include the offset that its catalogue claims.

    Parameters
    ----------
    planes : sequence of Plane
        The bands of a scene whose DN should include an offset of 1000; 0 = no data.
    mask : numpy.ndarray
        (y, x) uint8 of `Status`.
    name : str
        The item's id.

    Raises
    ------
    UnsupportedItemError
        Many clear pixels are too dark. The message names the item, the count of dark pixels,
        and catalogues that describe the same image correctly.
    """
    plane = planes[_BLUE]
    if plane is None:
        return
    blue = plane.spread((mask.shape[0], mask.shape[1]))
    clear = (mask == Status.CLEAR) & (blue != 0)
    dark = int(np.count_nonzero(clear & (blue < _LOWEST)))
    if dark >= _COUNT and dark > _SHARE * np.count_nonzero(clear):
        raise UnsupportedItemError(
            f"item {name!r} says that its DN include ESA's offset of 1000 (boa_offset_applied: "
            f"false), but {dark} of {np.count_nonzero(clear)} clear pixels have a blue DN "
            f"below {_LOWEST}, a reflectance below -0.02: the offset was already removed. "
            "Use the same acquisition from 'sentinel-2-c1-l2a' (earth-search), or from "
            "planetary-computer or cdse."
        )
