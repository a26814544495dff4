"""Crop classes: their codes, names, colours, and the groups above them."""

from __future__ import annotations

from cubecrop.nomenclature.classes import Nomenclature
from cubecrop.nomenclature.crops import Crop, Group
from cubecrop.nomenclature.labels import warn_of_spellings
from cubecrop.nomenclature.reserved import (
    MAX_CLASSES,
    NODATA,
    NOT_CROPLAND,
    OUTSIDE_KNOWLEDGE,
    TOO_FEW,
    WITHOUT_CLASS,
    Mark,
    decide,
)

__all__ = [
    "MAX_CLASSES", "NODATA", "NOT_CROPLAND", "OUTSIDE_KNOWLEDGE", "TOO_FEW", "WITHOUT_CLASS",
    "Crop", "Group", "Mark", "Nomenclature", "decide",
    "warn_of_spellings",
]  # fmt: skip
