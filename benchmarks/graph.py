"""Building the graph of a whole Sentinel-2 tile, without reading a pixel: time, tasks, bytes."""

from __future__ import annotations

import datetime as dt
import json
import os
import pickle
import tempfile
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import pyproj
import shapely
import torch

import cubecrop
from cubecrop.model import CropModel, CropNetwork, NetworkConfig, SensorConfig
from cubecrop.nomenclature import Nomenclature
from cubecrop.schema import SENTINEL1_BANDS, SENTINEL2_BANDS

if TYPE_CHECKING:
    import xarray as xr

_CRS = "EPSG:32631"
#: Upper left corner of the Sentinel-2 tile 31UES, metres.
_LEFT, _TOP = 499_980, 5_700_000
_YEAR = 2018
_CROPS = ("barley", "beet", "grassland", "maize", "potato", "rapeseed", "wheat")


class ClassifyGraph:
    """`cubecrop.classify` over one tile and season, with items whose files do not exist."""

    n_optical = 150
    n_radar = 60
    side = 109_800
    repeat = 3
    timeout = 300

    def setup(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="cubecrop-graph-")
        root = Path(self.folder.name)
        # Building a graph caches the model; keep it out of the user's cache.
        self.cache_before = os.environ.get("XDG_CACHE_HOME")
        os.environ["XDG_CACHE_HOME"] = str(root / "cache")
        self.archive = write_items(root, self.side, self.n_optical, self.n_radar)
        self.model = untrained_model()
        self.model.save(root / "model")
        self.aoi = gpd.GeoSeries([_rectangle(self.side)], crs=_CRS)

    def teardown(self) -> None:
        if self.cache_before is None:
            os.environ.pop("XDG_CACHE_HOME", None)
        else:
            os.environ["XDG_CACHE_HOME"] = self.cache_before
        self.folder.cleanup()

    def build(self) -> xr.Dataset:
        return cubecrop.classify(self.aoi, _YEAR, archive=self.archive, model=self.model)

    def time_build(self) -> None:
        self.build()

    def track_tasks(self) -> int:
        return len(self.build().__dask_graph__())

    track_tasks.unit = "tasks"

    def track_pickled(self) -> float:
        return len(pickle.dumps(dict(self.build().__dask_graph__()))) / 1e6

    track_pickled.unit = "MB"

    def track_peak(self) -> float:
        """Peak memory of building and materialising the graph."""
        tracemalloc.start()
        try:
            graph = dict(self.build().__dask_graph__())
            peak = tracemalloc.get_traced_memory()[1]
            del graph
        finally:
            tracemalloc.stop()
        return peak / 1e6

    track_peak.unit = "MB"


def untrained_model(*sensors: str, **sizes: Any) -> CropModel:
    """Make a model with random weights, by default of the default sizes for both satellites."""
    bands = {"sentinel2": SENTINEL2_BANDS, "sentinel1": SENTINEL1_BANDS}
    config = NetworkConfig(
        sensors=tuple(SensorConfig(name=name, bands=bands[name]) for name in sensors or bands),
        n_classes=len(_CROPS),
        **sizes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CropNetwork(config)
    radar = "sentinel1" in (sensors or bands)
    return CropModel(
        network=network.eval(),
        nomenclature=Nomenclature.from_labels(_CROPS),
        season_window=cubecrop.Season(_YEAR).window,
        radar_calibration="gamma0" if radar else "",
        radar_orbits=("ascending", "descending") if radar else (),
    )


def write_items(root: Path, side: int, n_optical: int, n_radar: int) -> Path:
    """Write the ItemCollection of a season over a square of ``side`` metres."""
    season = cubecrop.Season(_YEAR)
    start = dt.datetime.combine(season.start, dt.time(10, 56, 21), dt.UTC)

    def moments(n: int) -> list[dt.datetime]:
        return [start + dt.timedelta(season.n_days / n) * i for i in range(n)]

    items = [_optical(i, when, side) for i, when in enumerate(moments(n_optical))]
    items += [_radar(i, when, side) for i, when in enumerate(moments(n_radar))]
    path = root / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}), "utf-8")
    return path


def _optical(number: int, when: dt.datetime, side: int) -> dict[str, object]:
    keys = {band: 10 if band in {"B02", "B03", "B04", "B08"} else 20 for band in SENTINEL2_BANDS}
    return _item(
        f"S2A_MSIL2A_{number:03d}",
        "sentinel-2-l2a",
        when,
        side,
        pixels={**keys, "SCL": 20},
        properties={
            "platform": "Sentinel-2A",
            "eo:cloud_cover": 40.0,
            "s2:mgrs_tile": "31UES",
            "s2:processing_baseline": "05.00",
            "sat:orbit_state": "descending",
            "sat:relative_orbit": 51,
        },
    )


def _radar(number: int, when: dt.datetime, side: int) -> dict[str, object]:
    return _item(
        f"S1A_IW_GRDH_1SDV_{number:03d}_rtc",
        "sentinel-1-rtc",
        when,
        side,
        pixels=dict.fromkeys(SENTINEL1_BANDS, 10),
        properties={
            "platform": "SENTINEL-1A",
            "sat:orbit_state": ("ascending", "descending")[number % 2],
            "sat:relative_orbit": (161, 110)[number % 2],
        },
    )


def _item(
    name: str,
    collection: str,
    when: dt.datetime,
    side: int,
    *,
    pixels: dict[str, int],
    properties: dict[str, object],
) -> dict[str, object]:
    to_degrees = pyproj.Transformer.from_crs(_CRS, "EPSG:4326", always_xy=True)
    footprint = shapely.transform(
        shapely.segmentize(_rectangle(side), side / 8),
        to_degrees.transform,
        interleaved=False,
    )
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "geometry": shapely.geometry.mapping(footprint),
        "bbox": list(footprint.bounds),
        "properties": {"datetime": when.isoformat(), "proj:code": _CRS, **properties},
        "links": [],
        "assets": {
            key: {
                "href": f"./{name}/{key}.tif",
                "proj:shape": [side // pixel, side // pixel],
                "proj:transform": [pixel, 0, _LEFT, 0, -pixel, _TOP],
            }
            for key, pixel in pixels.items()
        },
    }


def _rectangle(side: int) -> shapely.Polygon:
    return shapely.box(_LEFT, _TOP - side, _LEFT + side, _TOP)
