"""Looking at dark pixels where only an unreliable flag says what a DN means."""

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
#: No surface reflects less than -0.02, whatever the atmospheric correction did: a DN below
#: this has had its offset taken out.
_LOWEST: Final = 800
#: Share and number of clear pixels below it that are not a fault of the cloud mask.
_SHARE: Final = 0.1
_COUNT: Final = 9


def check_dark_pixels(planes: Sequence[Plane | None], mask: NDArray[np.uint8], name: str) -> None:
    """Raise where files hold other DN than their catalogue says.

    Parameters
    ----------
    planes : sequence of Plane
        The bands of a scene whose DN are said to hold an offset of 1000; 0 = no data.
    mask : numpy.ndarray
        (y, x) uint8 of `Status`.
    name : str
        The item's id.

    Raises
    ------
    UnsupportedItemError
        Naming the item, what was seen, and where the same image is told rightly.
    """
    plane = planes[_BLUE]
    if plane is None:
        return
    blue = plane.spread((mask.shape[0], mask.shape[1]))
    clear = (mask == Status.CLEAR) & (blue != 0)
    dark = int(np.count_nonzero(clear & (blue < _LOWEST)))
    if dark >= _COUNT and dark > _SHARE * np.count_nonzero(clear):
        raise UnsupportedItemError(
            f"item {name!r} says that its DN hold ESA's offset of 1000 (boa_offset_applied: "
            f"false), but {dark} of {np.count_nonzero(clear)} clear pixels have a blue DN "
            f"below {_LOWEST}, a reflectance below -0.02: the offset was taken out already. "
            "Use the same acquisition of 'sentinel-2-c1-l2a' (earth-search), or of "
            "planetary-computer or cdse."
        )
