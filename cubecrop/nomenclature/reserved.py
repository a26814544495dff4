"""Class indices that are reserved for pixels without a class, and how a class is decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "MAX_CLASSES", "NODATA", "NOT_CROPLAND", "OUTSIDE_KNOWLEDGE", "TOO_FEW", "WITHOUT_CLASS",
    "Mark", "decide",
]  # fmt: skip

#: Class index of a pixel without an observation.
NODATA = 255
#: Class index of a pixel with fewer observations than the model needs.
TOO_FEW = 254
#: Class index of a pixel that is unlike all that the model learned from.
OUTSIDE_KNOWLEDGE = 253
#: Class index of a pixel that a mask leaves out: no crop grows there.
NOT_CROPLAND = 252
#: Indices from here on are not classes.
MAX_CLASSES = 252


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A code of a map without a class: its slug for programs, title for people, and colour."""

    value: int
    slug: str
    title: str
    colour: str


#: Reasons why a pixel has no class, by code.
WITHOUT_CLASS: Final[Mapping[int, Mark]] = {
    mark.value: mark
    for mark in (
        Mark(
            value=NOT_CROPLAND,
            slug="not_cropland",
            title="Not cropland",
            colour="#F2EFE6",
        ),
        Mark(
            value=OUTSIDE_KNOWLEDGE,
            slug="outside_what_the_model_knows",
            title="Outside what the model knows",
            colour="#54546A",
        ),
        Mark(
            value=TOO_FEW,
            slug="too_few_observations",
            title="Too few observations",
            colour="#A6A6A6",
        ),
        Mark(value=NODATA, slug="nodata", title="No data", colour="#E0E0E0"),
    )
}


def decide(probability: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The most probable class, or 255.

    Parameters
    ----------
    probability : numpy.ndarray
        (…, crop) float, at least one crop.

    Returns
    -------
    numpy.ndarray
        Class index (…) uint8; the first of equally probable classes; 255 if any probability
        is NaN.
    """
    known = np.asarray(np.isfinite(probability).all(axis=-1))
    index = np.where(known[..., None], probability, 0).argmax(axis=-1)
    return np.where(known, index, NODATA).astype(np.uint8)
