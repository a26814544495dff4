"""The graph of a whole tile and season is small, and building it reads no pixel."""

import datetime as dt
import json
import tracemalloc

import dask
import geopandas as gpd
import pytest
import shapely
from samples import make_samples

import cubecrop
from cubecrop.schema import SENTINEL1_BANDS, SENTINEL2_BANDS
from cubecrop.training import TrainConfig, fit

TILE = (500_000, 5_490_200, 609_800, 5_600_000)


def raises_if_computed(*_, **__):
    raise AssertionError("something was computed")


def write_items(path, n_optical, n_radar):
    """Items of files that do not exist: whoever reads one fails."""
    lonlat = gpd.GeoSeries([shapely.box(*TILE)], crs=32631).to_crs(4326)[0]
    first = dt.datetime(2023, 9, 2, 10, 50, tzinfo=dt.UTC)

    def item(name, number, step, collection, properties, bands, size):
        moment = first + dt.timedelta(days=number * step)
        left, top = TILE[0] - 10 * (size - 10980) // 2, TILE[3] + 10 * (size - 10980) // 2
        place = {"proj:shape": [size, size], "proj:transform": [10, 0, left, 0, -10, top]}
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": f"{name}-{number}",
            "collection": collection,
            "geometry": shapely.geometry.mapping(lonlat),
            "bbox": list(lonlat.bounds),
            "links": [],
            "properties": {"datetime": moment.isoformat(), "proj:epsg": 32631, **properties},
            "assets": {b: {"href": f"./{name}/{number}/{b}.tif", **place} for b in bands},
        }

    optical = {"s2:processing_baseline": "05.10", "s2:mgrs_tile": "31UES"}
    radar = {"sat:orbit_state": "ascending", "sat:relative_orbit": 161}
    features = [
        item("s2", i, 420 / n_optical, "sentinel-2-l2a", optical, (*SENTINEL2_BANDS, "SCL"), 10980)
        for i in range(n_optical)
    ] + [
        item("s1", i, 420 / n_radar, "sentinel-1-rtc", radar, SENTINEL1_BANDS, 20980)
        for i in range(n_radar)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.mark.slow
def test_a_tile_and_season_make_a_small_graph(tmp_path):
    items = write_items(tmp_path / "items.json", 150, 60)
    samples, labels = make_samples()
    model = fit(samples, labels, config=TrainConfig(epochs=1, n_pixels=4))
    aoi = gpd.GeoSeries([shapely.box(*TILE)], crs=32631)
    tracemalloc.start()
    try:
        with dask.config.set(scheduler=raises_if_computed):
            lazy = cubecrop.classify(aoi, 2024, archive=items, model=model)
            n_tasks = len(dict(lazy.__dask_graph__()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lazy["crop_type"].shape == (10980, 10980)
    assert n_tasks < 20_000
    assert peak < 1e9
    # No chunk of a series is larger than its share of 2 GB, and half as much at an edge.
    rows, columns = lazy["crop_type"].data.chunksize
    assert rows * columns * 150 * 10 * 4 <= 1.5 * 600e6
