"""Reads with odc-loader, the reader of odc-stac."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from odc.geo.geobox import GeoBox

from cubecrop.cube.access import with_file
from cubecrop.cube.blocks import nesting
from cubecrop.cube.headers import check_file
from cubecrop.cube.pixels import as_raster, read_pixels, without_gaps
from cubecrop.cube.rasterio_backend import RasterioBackend
from cubecrop.cube.warp import footing
from cubecrop.errors import MissingExtraError

if TYPE_CHECKING:
    import rasterio
    from numpy.typing import DTypeLike, NDArray

    from cubecrop.cube.grid import Lattice, Window
    from cubecrop.cube.read import WindowReader
    from cubecrop.cube.source import Source

__all__ = ["OdcBackend", "read_odc_window"]

#: Additional pixels that are read around the part of a file that a window needs.
_MARGIN = 16


def read_odc_window(
    source: Source,
    lattice: Lattice,
    window: Window,
    *,
    dtype: DTypeLike,
    fill: float,
    resampling: Literal["nearest", "bilinear"],
    replicate: bool = True,
) -> NDArray[np.generic]:
    """Read a window of a file onto the lattice; see `cubecrop.cube.read.read_window`."""
    try:
        from odc.loader import RasterLoadParams, RasterSource, RioDriver
    except ImportError as error:
        raise MissingExtraError(
            "OdcBackend needs odc-stac. Install it with `pip install 'cubecrop[odc]'`."
        ) from error
    shape = (window.height, window.width)
    grid = GeoBox(shape, lattice.transform(window), lattice.crs)

    def read(file: rasterio.DatasetReader) -> NDArray[np.generic]:
        check_file(file, source)
        nested = replicate and nesting(file, lattice) is not None
        out = np.full(shape, fill, dtype=dtype)
        # odc-stac rounds windows to blocks, so its warp needs more pixels than ours.
        needed = footing(file, lattice, window, margin=_MARGIN)
        if needed is None:
            return out
        values = read_pixels(file, source, needed.place, dtype=np.dtype(dtype), fill=fill)
        values = without_gaps(values, source, needed.scale, fill=fill)
        config = RasterLoadParams(
            dtype=np.dtype(dtype).name,
            fill_value=fill,
            src_nodata_override=fill,
            use_overviews=False,
            resampling="nearest" if nested else resampling,
            fail_on_error=True,
        )
        driver = RioDriver()
        load = driver.new_load(grid)
        with (
            as_raster(file, values, needed.place, fill=fill) as name,
            driver.restore_env(driver.capture_env(), load) as context,
        ):
            part, values = driver.open(RasterSource(name), context).read(config, grid)
        driver.finalise_load(load)
        out[part] = values
        return out

    return with_file(source, read)


class OdcBackend(RasterioBackend):
    """Builds graphs as `RasterioBackend` does, and warps files to the grid as odc-stac does.

    If files are in the cube's CRS, the two backends agree bit for bit. Across UTM zones, odc-stac
    warps each window by itself, with GDAL's tolerance of an eighth of a pixel: sharp edges differ
    a little, and a pixel may differ from chunk to chunk. Each chunk decodes all blocks that it
    overlaps, even if another chunk decoded them before. Needs the extra ``odc``.
    """

    read: ClassVar[WindowReader | None] = staticmethod(read_odc_window)

    def __init__(self) -> None:
        """Takes no ``memory``, since nothing is kept for other chunks."""
        super().__init__()
