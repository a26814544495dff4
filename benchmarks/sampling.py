"""Drawing pixel sets: against a loop that clips parcel by parcel, and of very many parcels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dask.array as da
import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import rioxarray  # noqa: F401 (registers `.rio`)
import shapely
import xarray as xr

import cubecrop
from cubecrop.schema import SENTINEL2_BANDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

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

    def clip_loop(self) -> NDArray[np.float32]:
        series = self.cube["sentinel2/reflectance"].rename(None)
        shape = (len(self.parcels), *series.shape[:2], self.n_pixels)
        out = np.full(shape, np.nan, np.float32)
        for i, geometry in enumerate(self.parcels.geometry):
            clipped = series.rio.clip([geometry], self.parcels.crs)
            rows, columns = np.nonzero(np.isfinite(clipped).any(("time", "band")).to_numpy())
            chosen = np.random.default_rng(i).permutation(len(rows))[: self.n_pixels]
            out[i, ..., : len(chosen)] = clipped.to_numpy()[..., rows[chosen], columns[chosen]]
        return out


class PlaceParcels:
    """Pixel sets of very many parcels of 144 pixels, built and not read; no archive behind."""

    n_parcels = 1_000_000
    chunk = 428
    repeat = 1
    timeout = 1200

    def setup(self) -> None:
        self.columns = int(np.ceil(self.n_parcels**0.5))
        self.cube = self._cube(11 * self.columns + 12)

    def build(self) -> xr.DataTree:
        corners = 110.0 * np.stack(np.divmod(np.arange(self.n_parcels), self.columns)) + 3
        top, left = 5_600_000 - corners[0], 500_000 + corners[1]
        parcels = gpd.GeoDataFrame(
            {"id": np.arange(self.n_parcels)},
            geometry=shapely.box(left, top - 120, left + 120, top),
            crs=32631,
        )
        return cubecrop.sample_pixel_sets(self.cube, parcels)

    def time_build(self) -> None:
        self.build()

    def peakmem_build(self) -> None:
        self.build()

    def _cube(self, side: int) -> xr.DataTree:
        shape = (70, len(SENTINEL2_BANDS), side, side)
        values = da.zeros(shape, dtype=np.float32, chunks=(*shape[:2], self.chunk, self.chunk))
        dims = ("time", "band", "y", "x")
        child = xr.Dataset(
            {"reflectance": (dims, values, {"units": "1", "grid_mapping": "spatial_ref"})},
            coords={
                "time": pd.date_range(f"{_YEAR}-01-01", periods=70, freq="5D"),
                "band": list(SENTINEL2_BANDS),
                "y": 5_600_000 - 10 * np.arange(side) - 5.0,
                "x": 500_000 + 10 * np.arange(side) + 5.0,
                "spatial_ref": ((), 0, {"crs_wkt": pyproj.CRS(32631).to_wkt()}),
            },
        )
        root = child[["y", "x", "spatial_ref"]].assign_attrs(season_year=_YEAR)
        return xr.DataTree.from_dict({"/": root, "sentinel2": child})
