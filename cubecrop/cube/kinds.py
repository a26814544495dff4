"""What the files of each kind of band can hold: data types, missing values, impossible values.

An archive can hold other products than its items say: reflectance as float, or as int16 with
the offset removed; radar as amplitude or in decibels. The data type in the header gives most of
them away. The others hold values that are impossible for their kind of band. A single pixel with
such a value is missing; a block of the file that is full of them is an error.
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
        Data types that its files may have.
    expected : str
        Description of the expected content, for messages.
    missing : tuple of float
        Numbers that mean "missing" in every file of the kind.
    kept : tuple of float
        Numbers that are values although files declare them as nodata.
    lowest, highest : float, optional
        A pixel below or above is missing.
    gap : float, optional
        A number that a file holds where there is no measurement, without a declaration. It is
        missing before pixels are averaged.
    absurd : tuple of float, optional
        Numbers below the first or above the second belong to another product.
    cure : str
        What the user can do about a file of another product.
    """

    types: tuple[str, ...]
    expected: str
    missing: tuple[float, ...] = ()
    kept: tuple[float, ...] = ()
    lowest: float | None = None
    highest: float | None = None
    gap: float | None = None
    absurd: tuple[float, float] | None = None
    cure: str = ""

    def holds(self, largest: float) -> bool:
        """Whether all numbers from 0 to ``largest`` are possible values."""
        low, high = self.absurd or (-np.inf, np.inf)
        lows = (low, -np.inf if self.lowest is None else self.lowest)
        highs = (high, np.inf if self.highest is None else self.highest)
        return max(lows) <= 0 and largest <= min(highs)

    def impossible(self, block: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Mask of pixels with impossible values; None if there are none."""
        impossible = None
        with np.errstate(invalid="ignore"):
            if self.lowest is not None and (low := block < self.lowest).any():
                impossible = low
            if self.highest is not None and (high := block > self.highest).any():
                impossible = high if impossible is None else impossible | high
        return impossible


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
        # Catalogues and files declare 0 % as nodata.
        kept=(0.0,),
    ),
    "power": Kind(
        types=("float32", "float64"),
        expected="backscatter in linear power as floating point numbers",
        gap=0.0,
        # Values below -1 are decibels: noise removal leaves no less than a few thousandths below 0.
        # A whole block above 30 (15 dB) is amplitude or a scaled number.
        absurd=(-1.0, 30.0),
        cure="Use linear power: convert decibels with 10 ** (dB / 10).",
    ),
    "elevation": Kind(
        types=("float32", "float64", "int16", "uint16", "int32"),
        expected="heights in metres, of 16 bits at least",
        # Land lies between -430 m and 8,849 m; other numbers mean "no height".
        lowest=-1000.0,
        highest=9000.0,
    ),
    "landcover": Kind(types=_WHOLE, expected="codes of land-cover classes as whole numbers"),
}
_KIND_OF: Final[Mapping[str, str]] = {
    **dict.fromkeys(SENTINEL2_BANDS, "reflectance"),
    "SCL": "classes",
    CLOUD_PROBABILITY: "probability",
    **dict.fromkeys(SENTINEL1_BANDS, "power"),
    "elevation": "elevation",
    "landcover": "landcover",
}


def kind_of(band: str) -> str:
    """Key of a band's kind in `KINDS`; "" if it has none."""
    return _KIND_OF.get(band, "")
