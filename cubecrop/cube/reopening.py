"""Opening a file again whose place is known: most of the time of opening goes into its CRS."""

from __future__ import annotations

import warnings
from contextlib import suppress

import rasterio
import rasterio.errors

__all__ = ["opened_again"]

# The warning is for those who ask where such a file lies. It names the module that opens, this one.
warnings.filterwarnings(
    "ignore",
    category=rasterio.errors.NotGeoreferencedWarning,
    module=r"cubecrop\.cube\.reopening",
)


def opened_again(name: str, driver: str) -> rasterio.DatasetReader | None:
    """Open a file by GDAL's name, without CRS and geotransform; None where warnings are errors."""
    with suppress(rasterio.errors.NotGeoreferencedWarning):
        return rasterio.DatasetReader(name, driver=driver, sharing=False, GEOREF_SOURCES="NONE")
    return None
