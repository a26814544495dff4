"""Drawing pixel sets: cubecrop against a loop that clips the cube parcel by parcel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import rioxarray  # noqa: F401 (registers `.rio`)

import cubecrop

if TYPE_CHECKING:
    import xarray as xr

_YEAR = 2024


class SampleParcels:
    """Pixel sets of Sentinel-2 from a season cube that is in memory already.

    Both take the same parcels. The loop clips the series with rioxarray and draws from what
    is left, as much code in the field does.
    """

    size_km = 2.5
    n_parcels = 25
    n_pixels = 64
    timeout = 600
    repeat = 3

    def setup_cache(self) -> str:
        archive = cubecrop.simulate_archive(
            Path.cwd() / "archive", years=[_YEAR], size_km=self.size_km, progress=False
        )
        return str(archive)

    def setup(self, archive: str) -> None:
        parcels = gpd.read_parquet(f"{archive}/parcels-{_YEAR}.parquet")
        cube = cubecrop.open_season(parcels, _YEAR, archive=archive, modalities=("sentinel2",))
        self.cube = cube.load()
        self.parcels = parcels.head(self.n_parcels)

    def time_cubecrop(self, _: str) -> None:
        self.cubecrop()

    def time_clip_loop(self, _: str) -> None:
        self.clip_loop()

    def cubecrop(self) -> xr.DataTree:
        samples = cubecrop.sample_pixel_sets(self.cube, self.parcels, n_pixels=self.n_pixels)
        return samples.compute()

    def clip_loop(self) -> np.ndarray:
        series = self.cube["sentinel2/reflectance"].rename(None)
        shape = (len(self.parcels), *series.shape[:2], self.n_pixels)
        out = np.full(shape, np.nan, np.float32)
        for i, geometry in enumerate(self.parcels.geometry):
            clipped = series.rio.clip([geometry], self.parcels.crs)
            rows, columns = np.nonzero(clipped.notnull().any(("time", "band")).to_numpy())
            chosen = np.random.default_rng(i).permutation(len(rows))[: self.n_pixels]
            out[i, ..., : len(chosen)] = clipped.to_numpy()[..., rows[chosen], columns[chosen]]
        return out
