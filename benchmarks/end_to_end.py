"""From files to a table of parcels and to a map, with cubecrop and with chains without it."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import shapely

import cubecrop
from benchmarks.graph import untrained_model
from benchmarks.plain import PlainChain
from benchmarks.season_files import YEAR, located, scattered_parcels, write_season
from cubecrop.sample import draw_positions, hash_ids
from cubecrop.sample.zonal import pixels_of
from cubecrop.schema import SENTINEL2_BANDS

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_N_PIXELS = 64


class EndToEnd:
    """30 dates of Sentinel-2: CPU seconds for the parcels of a 20 km square, and for a km² of map.

    The map has a side of 5.12 km in the corner of the same files. It covers whole blocks, so that
    a square kilometre costs as much as in a map of the whole area. The networks are untrained and
    have the published sizes (PSE and L-TAE); a parcel's set has 64 pixels.
    """

    side, area = 2048, 2000
    map_side = 512
    n_optical, n_radar = 30, 0
    block = 512
    n_parcels = 21_200  # about 20,000 of them lie within the area
    repeat = 3
    timeout = 7200

    def setup_cache(self) -> str:
        root = Path.cwd() / "archive"
        items = write_season(
            root, side=self.side, n_optical=self.n_optical, n_radar=self.n_radar, block=self.block
        )
        located(items, root, root / "items.json")
        sensors = ("sentinel2", "sentinel1") if self.n_radar else ("sentinel2",)
        untrained_model(*sensors).save(root / "model")
        return str(root)

    def setup(self, root: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="cubecrop-end-to-end-")
        # Building a graph caches the model; keep it out of the user's cache.
        self.cache_before = os.environ.get("XDG_CACHE_HOME")
        os.environ["XDG_CACHE_HOME"] = self.folder.name
        self.archive, self.model = Path(root) / "items.json", Path(root) / "model"
        first = json.loads(self.archive.read_text("utf-8"))["features"][0]
        transform = first["assets"]["B02"]["proj:transform"]
        self.crs, self.left, self.top = first["properties"]["proj:code"], transform[2], transform[5]
        parcels = scattered_parcels(self.side, self.n_parcels)
        here = shapely.box(*self.bounds(self.area))
        self.parcels = parcels[parcels.within(here)].reset_index(drop=True)

    def teardown(self, _: str) -> None:
        if self.cache_before is None:
            os.environ.pop("XDG_CACHE_HOME", None)
        else:
            os.environ["XDG_CACHE_HOME"] = self.cache_before
        self.folder.cleanup()

    def track_parcels(self, _: str) -> float:
        return self.measured()["parcels"]

    def track_plain_parcels(self, _: str) -> float:
        return self.measured()["plain_parcels"]

    def track_parcels_faster(self, _: str) -> float:
        return self.measured()["plain_parcels"] / self.measured()["parcels"]

    def track_map(self, _: str) -> float:
        return self.measured()["map"] / self.map_km2

    def track_plain_map(self, _: str) -> float:
        return self.measured()["plain_map"] / self.map_km2

    def track_map_faster(self, _: str) -> float:
        return self.measured()["plain_map"] / self.measured()["map"]

    def track_map_tasks(self, _: str) -> int:
        return len(self.classified(self.area).__dask_graph__())

    def peakmem_parcels(self, _: str) -> None:
        self.parcels_table()

    def peakmem_plain_parcels(self, _: str) -> None:
        self.plain_parcels()

    def peakmem_map(self, _: str) -> None:
        self.map()

    def peakmem_plain_map(self, _: str) -> None:
        self.plain_map()

    track_parcels.unit = track_plain_parcels.unit = "CPU s"
    track_map.unit = track_plain_map.unit = "CPU s / km2"
    track_parcels_faster.unit = track_map_faster.unit = "x"
    track_map_tasks.unit = "tasks"
    runs = ("parcels", "plain_parcels", "map", "plain_map")

    @property
    def map_km2(self) -> float:
        return (self.map_side / 100) ** 2

    def measured(self) -> dict[str, float]:
        """Median of several runs of each; they alternate, so that all share the machine's load."""
        if not hasattr(self, "found"):
            seconds: dict[str, list[float]] = {name: [] for name in self.runs}
            for _ in range(self.repeat):
                for name, runs in seconds.items():
                    runs.append(self.once(name))
            self.found = {name: statistics.median(runs) for name, runs in seconds.items()}
        return self.found

    def once(self, name: str) -> float:
        """CPU seconds of a run, without the search for the best batch size."""
        run = getattr(self, {"parcels": "parcels_table"}.get(name, name))
        prepared = getattr(self, f"prepare_{name}", lambda: ())()
        start = time.process_time()
        run(*prepared)
        return time.process_time() - start

    def bounds(self, side: int) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) of a square of ``side`` pixels in the upper left corner."""
        return self.left, self.top - 10 * side, self.left + 10 * side, self.top

    def parcels_table(self) -> gpd.GeoDataFrame:
        return cubecrop.classify_parcels(
            self.parcels, YEAR, archive=self.archive, model=self.model, progress=False
        )

    def classified(self, side: int) -> xr.Dataset:
        aoi = gpd.GeoSeries([shapely.box(*self.bounds(side))], crs=self.crs)
        return cubecrop.classify(aoi, YEAR, archive=self.archive, model=self.model)

    def map(self) -> xr.Dataset:
        return self.classified(self.map_side)[["crop_type", "confidence"]].compute()

    def chain(self, side: int, n_pixels: int) -> PlainChain:
        chain = PlainChain(self.archive, self.bounds(side), int(self.crs.removeprefix("EPSG:")))
        chain.tune(n_pixels)
        return chain

    def prepare_plain_parcels(self) -> tuple[PlainChain]:
        return (self.chain(self.area, _N_PIXELS),)

    def plain_parcels(self, chain: PlainChain | None = None) -> pd.Series:
        chain = chain or self.chain(self.area, _N_PIXELS)
        pixels = pixels_of(self.parcels.geometry.to_numpy(), 10)
        drawn = draw_positions(pixels.counts, hash_ids(self.parcels["id"], 0), _N_PIXELS)
        # A set that is too small repeats its first pixel, as in the published code.
        drawn = np.where(drawn < 0, drawn[:, :1], drawn)
        at = (np.cumsum(pixels.counts) - pixels.counts)[:, None] + drawn
        row, column = round(-self.top / 10), round(self.left / 10)
        classes = chain.classify(pixels.rows[at] - row, pixels.columns[at] - column)
        return self.parcels["id"].map(dict(zip(self.parcels["id"], classes, strict=True)))

    def prepare_plain_map(self) -> tuple[PlainChain]:
        return (self.chain(self.map_side, 1),)

    def plain_map(self, chain: PlainChain | None = None) -> np.ndarray:
        chain = chain or self.chain(self.map_side, 1)
        rows, columns = np.divmod(np.arange(self.map_side**2)[:, None], self.map_side)
        return chain.classify(rows, columns).reshape(self.map_side, self.map_side)


class EndToEndTwoSatellites(EndToEnd):
    """85 dates of Sentinel-2 and 60 of Sentinel-1: CPU seconds for a km² of map, and for parcels.

    The plain chain makes only the map: its cube of all parcels would take 10 GB.
    """

    n_optical, n_radar = 85, 60
    runs = ("parcels", "map", "plain_map")
    repeat = 2

    def track_parcels(self, _: str) -> float:
        return self.measured()["parcels"]

    def track_map(self, _: str) -> float:
        return self.measured()["map"] / self.map_km2

    def track_plain_map(self, _: str) -> float:
        return self.measured()["plain_map"] / self.map_km2

    def track_map_faster(self, _: str) -> float:
        return self.measured()["plain_map"] / self.measured()["map"]

    def track_map_tasks(self, _: str) -> int:
        return len(self.classified(self.area).__dask_graph__())

    def peakmem_parcels(self, _: str) -> None:
        self.parcels_table()

    def peakmem_map(self, _: str) -> None:
        self.map()

    def peakmem_plain_map(self, _: str) -> None:
        self.plain_map()

    track_parcels.unit = "CPU s"
    track_map.unit = track_plain_map.unit = "CPU s / km2"
    track_map_faster.unit, track_map_tasks.unit = "x", "tasks"


class EndToEndOpenEo(EndToEnd):
    """CPU seconds for a km² of map of 30 dates with openeo-core, which must be installed.

    Its LightTAE of default sizes takes each of a pixel's 300 values as a step; it masks no cloud.
    The area is small and starts at a block of the files; the time for pixels that it reads and
    does not use is negligible beside the network.
    """

    openeo_side = 64
    repeat = 1
    runs = ("map", "openeo_map")

    def setup(self, root: str) -> None:
        if importlib.util.find_spec("openeo_core") is None:
            raise NotImplementedError("openeo-core is not installed: `pip install openeo-core`.")
        super().setup(root)

    def track_map(self, _: str) -> float:
        return self.measured()["map"] / self.map_km2

    def track_openeo_map(self, _: str) -> float:
        return self.measured()["openeo_map"] / (self.openeo_side / 100) ** 2

    def track_map_faster(self, _: str) -> float:
        return self.track_openeo_map(_) / self.track_map(_)

    track_map.unit = track_openeo_map.unit = "CPU s / km2"
    track_map_faster.unit = "x"

    def prepare_openeo_map(self) -> tuple[object]:
        from openeo_core.model import base

        features = self.n_optical * len(SENTINEL2_BANDS)
        values = np.random.default_rng(0).uniform(size=(28, features)).astype(np.float32)
        table = gpd.GeoDataFrame(
            {f"f{i}": column for i, column in enumerate(values.T)},
            geometry=[shapely.Point(0, 0)] * len(values),
        )
        model = base.mlm_class_lighttae(epochs=1, seed=0, dimension=["time", "bands"])
        return (base.ml_fit(model, table.assign(crop=np.arange(28) % 7), "crop"),)

    def openeo_map(self, model: object) -> xr.DataArray:
        from openeo_core.io.stac import DefaultStacLoader
        from openeo_core.model import base

        data = DefaultStacLoader().load_stac(
            json.loads(self.archive.read_text("utf-8")),
            assets=list(SENTINEL2_BANDS),
            bounds=self.bounds(self.openeo_side),
            resolution=10,
        )
        return base.ml_predict(data.compute(), model)
