"""Pixels of parcels: pixel sets beside a loop that clips, a million parcels, statistics."""

from __future__ import annotations

import statistics
import time
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
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource

import cubecrop
from benchmarks.season_files import scattered_parcels, square
from cubecrop.sample import parcel_statistics
from cubecrop.schema import SENTINEL2_BANDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_YEAR = 2024


class SampleParcels:
    """Pixel sets of Sentinel-2 from a season cube in memory.

    Both take the same parcels. The loop clips the satellite series with rioxarray and draws from
    the remaining pixels, as much code in the field does.
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
    """Building the pixel sets of a million parcels of 144 pixels, without reading or an archive."""

    n_parcels = 1_000_000
    chunk = 428
    repeat = 1
    timeout = 1200

    def setup(self) -> None:
        self.columns = int(np.ceil(self.n_parcels**0.5))
        side = 11 * self.columns + 12
        shape = (70, len(SENTINEL2_BANDS), side, side)
        values = da.zeros(shape, dtype=np.float32, chunks=(*shape[:2], self.chunk, self.chunk))
        self.cube = _cube(values, 500_000, 5_600_000)

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


class ParcelStatistics:
    """CPU seconds for mean and deviation of 20,000 parcels with a median of 144 pixels.

    Both read the same float32 arrays of 2,048² pixels, 30 dates and 10 bands (5 GB) in memory and
    the same table, and both find the parcels' pixels themselves. exactextract takes the arrays as
    ``NumPyRasterSource``, without a copy. It runs once with all 300 planes, which is its fastest
    way; ``by_date`` is a run with the ten planes of one date, times the number of dates, as for a
    loop over files. exactextract weights the pixels on a parcel's edge by their share; cubecrop
    takes the pixels whose centre lies inside, and also gives the count.

    ``placing`` is the part of cubecrop's time that finds the pixels. ``copying`` is the time to
    copy all values once, one plane of a chunk at a time, to memory that stays in the processor's
    cache: a statistic that reads every value takes at least this time.
    """

    side = 2048
    chunk = 512
    n_dates = 30
    n_parcels = 20_000
    repeat = 3
    timeout = 1800

    def setup(self) -> None:
        self.parcels = scattered_parcels(self.side, self.n_parcels)
        rng = np.random.default_rng(0)
        plane = rng.uniform(0, 0.6, (self.side, self.side)).astype(np.float32)
        values = np.empty((self.n_dates, len(SENTINEL2_BANDS), *plane.shape), np.float32)
        for date in range(self.n_dates):
            hidden = rng.uniform(size=[-(-self.side // 64)] * 2) < 0.25
            hidden = hidden.repeat(64, axis=0).repeat(64, axis=1)[: self.side, : self.side]
            values[date] = np.where(hidden, np.nan, plane)
        place = square(self.side)
        self.cube = _cube(
            da.from_array(values, chunks=(-1, -1, self.chunk, self.chunk), name=False),
            place.left,
            place.top,
        )
        self.values, self.left, self.top = values, place.left, place.top
        self.cubecrop()  # numba compiles in the first run on a machine

    def track_cubecrop(self) -> float:
        return self.measured()["cubecrop"]

    def track_placing(self) -> float:
        return self.measured()["placing"]

    def track_copying(self) -> float:
        return self.measured()["copying"]

    def track_exactextract(self) -> float:
        return self.measured()["exactextract"]

    def track_exactextract_by_date(self) -> float:
        return self.measured()["by_date"] * self.n_dates

    def track_faster(self) -> float:
        return self.track_exactextract() / self.track_cubecrop()

    def track_faster_than_by_date(self) -> float:
        return self.track_exactextract_by_date() / self.track_cubecrop()

    track_cubecrop.unit = track_placing.unit = track_copying.unit = "CPU s"
    track_exactextract.unit = track_exactextract_by_date.unit = "CPU s"
    track_faster.unit = track_faster_than_by_date.unit = "x"

    def measured(self) -> dict[str, float]:
        """Median of several runs of each; they alternate, so that all share the machine's load."""
        if not hasattr(self, "found"):
            runs = {
                "cubecrop": self.cubecrop,
                "placing": lambda: parcel_statistics(self.cube, self.parcels),
                "copying": self.copying,
                "exactextract": lambda: self.exactextract(self.n_dates),
                "by_date": lambda: self.exactextract(1),
            }
            seconds: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(self.repeat):
                for name, run in runs.items():
                    start = time.process_time()
                    run()
                    seconds[name].append(time.process_time() - start)
            self.found = {name: statistics.median(each) for name, each in seconds.items()}
        return self.found

    def cubecrop(self) -> xr.DataTree:
        return parcel_statistics(self.cube, self.parcels).compute()

    def copying(self) -> None:
        size = self.chunk
        plane = np.empty((size, size), np.float32)
        for row, column in np.ndindex(-(-self.side // size), -(-self.side // size)):
            top, left = row * size, column * size
            for at in np.ndindex(*self.values.shape[:2]):
                values = self.values[at][top : top + size, left : left + size]
                plane[: values.shape[0], : values.shape[1]] = values

    def exactextract(self, n_dates: int) -> pd.DataFrame:
        size = 10 * self.side
        bounds = (self.left, self.top - size, self.left + size, self.top)
        sources = [
            NumPyRasterSource(plane, *bounds, nodata=np.nan, name=f"{date} {band}")
            for date in range(n_dates)
            for band, plane in zip(SENTINEL2_BANDS, self.values[date], strict=True)
        ]
        return exact_extract(sources, self.parcels, ["mean", "stdev"], output="pandas")


def _cube(values: da.Array, left: float, top: float) -> xr.DataTree:
    """Make a season cube from values (time, band, y, x)."""
    child = xr.Dataset(
        {
            "reflectance": (
                ("time", "band", "y", "x"), values, {"units": "1", "grid_mapping": "spatial_ref"},
            )
        },
        coords={
            "time": pd.date_range(f"{_YEAR}-01-01", periods=values.shape[0], freq="5D"),
            "band": list(SENTINEL2_BANDS),
            "y": top - 10 * np.arange(values.shape[2]) - 5.0,
            "x": left + 10 * np.arange(values.shape[3]) + 5.0,
            "spatial_ref": ((), 0, {"crs_wkt": pyproj.CRS(32631).to_wkt()}),
        },
    )  # fmt: skip
    root = child[["y", "x", "spatial_ref"]].assign_attrs(season_year=_YEAR)
    return xr.DataTree.from_dict({"/": root, "sentinel2": child})
