"""Land cover of the simulated archive: WorldCover's form, the simulator's land."""

import geopandas as gpd
import numpy as np
import shapely

import cubecrop
from cubecrop.cube import open_season


def test_simulated_land_cover_shows_the_land(tmp_path):
    archive = cubecrop.simulate_archive(
        tmp_path / "archive", size_km=0.6, seed=4, land_cover=True, progress=False
    )
    truth = gpd.read_parquet(archive / "truth-2024.parquet")
    cube = open_season(truth, 2024, archive=archive, modalities=["sentinel2", "landcover"])
    cover = cube["landcover"].landcover
    assert cover.product == "ESA WorldCover"
    codes, (x, y) = cover.to_numpy(), np.meshgrid(cube.x, cube.y)
    inner = truth.geometry.buffer(-15)
    for crop, code in (("permanent grass", 30), ("winter wheat", 40)):
        within = shapely.contains_xy(inner[truth["crop:name"] == crop].union_all(), x, y)
        assert within.any()
        assert (codes[within] == code).all()
    beyond = ~shapely.contains_xy(truth.geometry.buffer(15).union_all(), x, y)
    assert not np.isin(codes[beyond], (0, 40)).any()
    assert {10, 60} & {*np.unique(codes[beyond])}
