"""Classification of pixels and of parcels."""

from __future__ import annotations

from cubecrop.classification.parcels import (
    classify_pixel_sets,
    declared_names,
    nothing_found,
    parcel_table,
)
from cubecrop.classification.pixels import classify_pixels
from cubecrop.classification.places import unreliable_in

__all__ = [
    "classify_pixel_sets",
    "classify_pixels",
    "declared_names",
    "nothing_found",
    "parcel_table",
    "unreliable_in",
]
