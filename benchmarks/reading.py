"""Reading a season of Sentinel-2: cubecrop against a plain loop and against plain stackstac."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pystac
import rasterio
import shapely

import cubecrop
from cubecrop.schema import SENTINEL2_BANDS

if TYPE_CHECKING:
    import xarray as xr

_YEAR = 2024
#: SCL classes that a season cube masks. The loop masks them without the cube's margin of 60 m, as
#: most hand-written loops do.
_MASKED = (0, 1, 3, 8, 9, 10, 11)


class ReadSeason:
    """Read all bands and dates of a simulated archive into memory.

    The three do different amounts of work: cubecrop scales, masks cloud with a margin and
    returns float32; the loop scales and masks without a margin and returns float32, in one
    thread; stackstac returns unscaled digital numbers in its default float64.
    """

    size_km = 2.5
    timeout = 600
    repeat = 3

    def setup_cache(self) -> str:
        archive = cubecrop.simulate_archive(
            Path.cwd() / "archive", years=[_YEAR], size_km=self.size_km, progress=False
        )
        return str(archive)

    def setup(self, archive: str) -> None:
        self.archive = archive
        catalog = pystac.Catalog.from_file(f"{archive}/catalog.json")
        self.items = sorted(
            catalog.get_child("sentinel-2-l2a").get_items(), key=lambda item: item.datetime
        )
        for item in self.items:
            item.make_asset_hrefs_absolute()
        first = self.items[0].assets["B02"]
        (height, width), transform = (
            first.extra_fields[f"proj:{key}"] for key in ("shape", "transform")
        )
        left, top = transform[2], transform[5]
        self.bounds = (left, top - 10 * height, left + 10 * width, top)
        code = self.items[0].properties["proj:code"]
        self.epsg = int(code.removeprefix("EPSG:"))
        self.aoi = gpd.GeoSeries([shapely.box(*self.bounds)], crs=code)

    def time_cubecrop(self, _: str) -> None:
        self.cubecrop()

    def time_rasterio(self, _: str) -> None:
        self.rasterio()

    def time_stackstac(self, _: str) -> None:
        self.stackstac()

    def peakmem_cubecrop(self, _: str) -> None:
        self.cubecrop()

    def peakmem_rasterio(self, _: str) -> None:
        self.rasterio()

    def peakmem_stackstac(self, _: str) -> None:
        self.stackstac()

    def cubecrop(self) -> xr.DataTree:
        cube = cubecrop.open_season(
            self.aoi, _YEAR, archive=self.archive, modalities=("sentinel2",)
        )
        return cube["sentinel2"].to_dataset()[["reflectance"]].compute()

    def rasterio(self) -> np.ndarray:
        left, bottom, right, top = self.bounds
        shape = (len(self.items), len(SENTINEL2_BANDS))
        height, width = round((top - bottom) / 10), round((right - left) / 10)
        out = np.empty((*shape, height, width), np.float32)
        for i, item in enumerate(self.items):
            masked = np.isin(_read(item, "SCL", height, width), _MASKED)
            for j, band in enumerate(SENTINEL2_BANDS):
                numbers = _read(item, band, height, width)
                values = numbers * np.float32(1e-4) - np.float32(0.1)
                values[masked | (numbers == 0)] = np.nan
                out[i, j] = values
        return out

    def stackstac(self) -> xr.DataArray:
        import stackstac  # an extra, which other benchmarks go without

        return stackstac.stack(
            self.items,
            assets=list(SENTINEL2_BANDS),
            epsg=self.epsg,
            resolution=10,
            bounds=self.bounds,
        ).compute()


def _read(item: pystac.Item, key: str, height: int, width: int) -> np.ndarray:
    """Read a file at 10 m, repeating coarser pixels."""
    with rasterio.open(item.assets[key].href) as file:
        values = file.read(1)
    factor = height // values.shape[0]
    if factor > 1:
        values = values.repeat(factor, axis=0).repeat(factor, axis=1)
    return values[:height, :width]
