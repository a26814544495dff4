"""What the files of each kind of band can hold: types, missing numbers, impossible ones.

An archive can hold other products than its items say: reflectance as float or as int16 with
the offset taken out, radar as amplitude or in decibels. Types tell most of them, from the
header. The others are told by numbers that no product of the kind has: a single such pixel is
missing, and a block of the file that holds little else is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.schema import CLOUD_PROBABILITY, SENTINEL1_BANDS, SENTINEL2_BANDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["KINDS", "Kind", "kind_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of band.

    Parameters
    ----------
    types : tuple of str
        Types that its files may have.
    expected : str
        What is expected, for messages.
    missing : tuple of float
        Numbers that are missing in every file of the kind.
    kept : tuple of float
        Numbers that are values, though files call them nodata.
    lowest, highest : float, optional
        Beyond these a pixel is missing.
    absurd : tuple of float, optional
        Numbers below the first or above the second are of another product.
    cure : str
        What to do about a file of that other product.
    """

    types: tuple[str, ...]
    expected: str
    missing: tuple[float, ...] = ()
    kept: tuple[float, ...] = ()
    lowest: float | None = None
    highest: float | None = None
    absurd: tuple[float, float] | None = None
    cure: str = ""

    def holds(self, largest: float) -> bool:
        """Whether a band of the kind may hold all of 0 up to a number."""
        low, high = self.absurd or (-np.inf, np.inf)
        lows = (low, -np.inf if self.lowest is None else self.lowest)
        highs = (high, np.inf if self.highest is None else self.highest)
        return max(lows) <= 0 and largest <= min(highs)

    def impossible(self, block: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Pixels that cannot be, None where there is none."""
        found = None
        with np.errstate(invalid="ignore"):
            if self.lowest is not None and (low := block < self.lowest).any():
                found = low
            if self.highest is not None and (high := block > self.highest).any():
                found = high if found is None else found | high
        return found


_WHOLE: Final = ("uint8", "int8", "uint16", "int16", "uint32", "int32")
#: Largest DN of an L2A product, which has 15 bits (ESA, Sentinel-2 Products Specification
#: Document); 65535 stands for saturated pixels in its metadata.
_LARGEST_DN: Final = 2**15 - 1
_SATURATED: Final = 65535

KINDS: Final[Mapping[str, Kind]] = {
    "reflectance": Kind(
        types=("uint16",),
        expected="the DN of Sentinel-2 L2A, uint16",
        missing=(0.0, float(_SATURATED)),
        highest=_LARGEST_DN,
        absurd=(0, _LARGEST_DN),
        cure="Use the files of the L2A product.",
    ),
    "classes": Kind(types=_WHOLE, expected="classes of the SCL as whole numbers, 0 to 11"),
    "probability": Kind(
        types=_WHOLE,
        expected="a probability in percent as whole numbers, 0 to 100",
        # Catalogues, and their files, call 0 % nodata.
        kept=(0.0,),
    ),
    "power": Kind(
        types=("float32", "float64"),
        expected="backscatter in linear power as floating point numbers",
        # Power below -1 (noise taken out leaves a few thousandths) is decibels; over a whole
        # block, power above 30 (15 dB) is amplitude or a scaled number.
        absurd=(-1.0, 30.0),
        cure="Use linear power: of decibels, 10 ** (dB / 10).",
    ),
    "elevation": Kind(
        types=("float32", "float64", "int16", "uint16", "int32"),
        expected="heights in metres, of 16 bits at least",
        # Land lies between -430 m and 8,849 m; what is beyond stands for no height.
        lowest=-1000.0,
        highest=9000.0,
    ),
}
_KIND_OF: Final[Mapping[str, str]] = {
    **dict.fromkeys(SENTINEL2_BANDS, "reflectance"),
    "SCL": "classes",
    CLOUD_PROBABILITY: "probability",
    **dict.fromkeys(SENTINEL1_BANDS, "power"),
    "elevation": "elevation",
}


def kind_of(band: str) -> str:
    """Key in `KINDS` of a band, "" where it is of none."""
    return _KIND_OF.get(band, "")
