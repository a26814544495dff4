"""Season cubes: lazy arrays of scenes on one grid, each modality on its own dates."""

from __future__ import annotations

from cubecrop.cube.async_backend import AsyncBackend
from cubecrop.cube.backend import Backend
from cubecrop.cube.clouds import CloudMask, Clouds, clouds_name, valid_share
from cubecrop.cube.composites import Composite
from cubecrop.cube.grid import MEMORY
from cubecrop.cube.odc_backend import OdcBackend
from cubecrop.cube.rasterio_backend import RasterioBackend
from cubecrop.cube.season_cube import LEAST_MEMORY, CubeRequest, open_season
from cubecrop.cube.stackstac_backend import StackstacBackend

__all__ = [
    "LEAST_MEMORY",
    "MEMORY",
    "AsyncBackend",
    "Backend",
    "CloudMask",
    "Clouds",
    "Composite",
    "CubeRequest",
    "OdcBackend",
    "RasterioBackend",
    "StackstacBackend",
    "clouds_name",
    "open_season",
    "valid_share",
]
