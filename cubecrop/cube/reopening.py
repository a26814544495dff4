"""Open a file again without its CRS, which takes most of the time of opening."""

from __future__ import annotations

import warnings
from contextlib import suppress

import rasterio
import rasterio.errors

__all__ = ["opened_again"]

# Nobody needs the georeference of these files. The warning names the module that opens: this one.
warnings.filterwarnings(
    "ignore",
    category=rasterio.errors.NotGeoreferencedWarning,
    module=r"cubecrop\.cube\.reopening",
)


def opened_again(name: str, driver: str) -> rasterio.DatasetReader | None:
    """Open a file without CRS and geotransform, by GDAL's name; None if warnings are errors."""
    with suppress(rasterio.errors.NotGeoreferencedWarning):
        return rasterio.DatasetReader(name, driver=driver, sharing=False, GEOREF_SOURCES="NONE")
    return None
