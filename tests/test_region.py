"""Regions: tiles give what one cube gives, without seams, and each pixel and parcel once."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from region_runs import SEASON, TILE, YEAR, mapped, no_half_files, results, table_of, whole
from small_region import crop_map, tabled

import cubecrop
from benchmarks.graph import untrained_model
from cubecrop import region
from cubecrop.errors import OutputError
from cubecrop.testing import Place, season_scenes, write_archive


@pytest.fixture(scope="module")
def run(place, declared, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("region") / "run"
    return mapped(place, declared, model, out, parcels=declared)


@pytest.fixture(scope="module")
def one_cube(place, declared, model):
    return crop_map(place, declared, model)


def test_tiles_give_the_map_of_one_cube(run, one_cube):
    assert run.is_complete
    assert len(run.table) >= 9
    out = run.output.folder
    assert no_half_files(out)
    assert np.array_equal(whole(out, "crop_type", one_cube)[0], one_cube["crop_type"])
    confidence = whole(out, "confidence", one_cube)[0]
    assert np.allclose(confidence, one_cube["confidence"], atol=1e-5, equal_nan=True)
    assert np.array_equal(whole(out, "clear_dates", one_cube), one_cube["clear_dates"])


def test_another_side_gives_the_same_map(run, place, declared, model, one_cube, tmp_path):
    other = mapped(place, declared, model, tmp_path / "run", tile=330)
    assert len(other.table) != len(run.table)
    for name in ("crop_type", "clear_dates"):
        one, two = (whole(r.output.folder, name, one_cube) for r in (run, other))
        assert np.array_equal(one, two)


def test_parcels_are_those_of_one_table(run, place, declared, model):
    table = table_of(run.output.folder)
    expected = tabled(place, declared, model).set_index("id")
    assert sorted(table["id"]) == sorted(declared["id"])
    table = table.set_index("id").loc[expected.index]
    pairs = pd.read_parquet(run.output.folder / "plan" / "parcel_tiles.parquet")
    assert (~pairs["is_whole"]).sum() > 10  # many parcels cross edges
    for name in expected.columns.drop("geometry"):
        if pd.api.types.is_float_dtype(expected[name]):
            assert np.allclose(table[name], expected[name], atol=1e-5, equal_nan=True), name
        else:
            assert table[name].astype(object).equals(expected[name].astype(object)), name


def test_the_same_call_changes_nothing(run, place, declared, model):
    before = results(run.output.folder)
    times = {p: p.stat().st_mtime_ns for p in run.output.folder.glob("tiles/*/*")}
    again = mapped(place, declared, model, run.output.folder, parcels=declared)
    assert again.is_complete
    assert results(run.output.folder) == before
    assert {p: p.stat().st_mtime_ns for p in run.output.folder.glob("tiles/*/*")} == times


def test_a_damaged_tile_is_made_again(run, place, declared, model):
    before = results(run.output.folder)
    folder = next(run.output.folder.glob("tiles/*/crop_type.tif")).parent
    (folder / "crop_type.tif").unlink()
    other = next(p.parent for p in run.output.folder.glob("tiles/*/*.tif") if p.parent != folder)
    (other / "evidence.json").write_text("{")
    again = mapped(place, declared, model, run.output.folder, parcels=declared)
    assert again.is_complete
    assert results(run.output.folder) == before


def test_status_from_elsewhere(run):
    found = region.status(run.output.folder)
    same = ["tile", "state", "pixels", "share_without_data", "parcels", "predicted"]
    pd.testing.assert_frame_equal(found.table[same], run.table[same])
    assert found.is_complete
    assert "done" in repr(found)
    assert "<table" in found._repr_html_()


def test_evidence_names_what_went_in(run):
    for path in run.output.folder.glob("tiles/*/evidence.json"):
        evidence = json.loads(path.read_text())
        assert evidence["items"]
        assert sum(evidence["counts"].values()) == evidence["pixels"]
        assert evidence["seconds"] > 0
        assert evidence["peak_memory"] > 0


def test_another_model_makes_all_again_and_says_why(place, declared, model, tmp_path):
    aoi = gpd.GeoSeries([declared.union_all().centroid.buffer(150)], crs=declared.crs)
    run = mapped(place, aoi, model, tmp_path / "run")
    config = cubecrop.TrainConfig(epochs=1, n_pixels=8)
    other = cubecrop.train(
        declared, "crop:name", YEAR, archive=place, season=SEASON, config=config, seed=3,
        progress=False,
    )  # fmt: skip
    again = mapped(place, aoi, other, tmp_path / "run")
    assert again.is_complete
    log = (tmp_path / "run" / "run.log").read_text()
    assert f"{len(run.table)} finished tiles are made again: changed model" in log


def test_another_area_in_the_same_folder_is_refused(run, place, declared, model):
    aoi = gpd.GeoSeries([declared.union_all().centroid.buffer(100)], crs=declared.crs)
    with pytest.raises(OutputError, match="area"):
        mapped(place, aoi, model, run.output.folder)


def test_polygons_leave_out_tiles_that_they_do_not_meet(place, declared, model, tmp_path):
    west, south, east, north = declared.to_crs("EPSG:4326").total_bounds
    triangle = shapely.Polygon([(west, south), (east, south), (west, north)])
    run = mapped(place, triangle, model, tmp_path / "run")
    assert run.is_complete
    tiles = region.RegionPlan.read(run.output).tiles
    there = gpd.GeoSeries([triangle], crs=4326).to_crs(tiles[0].tile.crs).iloc[0]
    assert all(tile.tile.box.intersects(there) for tile in tiles)
    whole_box = region.plan(
        (west, south, east, north), YEAR, tmp_path / "all", archive=place, model=model,
        season=SEASON, tile=TILE, progress=False,
    )  # fmt: skip
    assert len(run.table) < len(whole_box.tiles)


def test_parcels_at_the_edge_of_all_images(tmp_path):
    # The files begin at a line of the lattice: the tile west of it meets them without a pixel.
    place = Place(left=499_980, top=5_700_000, height=40, width=40)
    archive = write_archive(tmp_path / "archive", season_scenes(YEAR, place=place))
    left, bottom, right, top = place.bounds
    boxes = [shapely.box(left + x, top - 300, left + 80, top - 200) for x in (-20, 0, 20)]
    parcels = gpd.GeoDataFrame({"id": [1, 2, 3]}, geometry=boxes, crs=place.crs)
    aoi = gpd.GeoSeries([shapely.box(left, bottom, right, top)], crs=place.crs)
    found = cubecrop.map_region(
        aoi, YEAR, tmp_path / "out", archive=archive, model=untrained_model(), parcels=parcels,
        tile=640, progress=False,
    )  # fmt: skip
    assert found.table["state"].tolist() == ["no images", "done"]
    assert table_of(tmp_path / "out")["status"].tolist() == ["predicted"] * 3
    assert found.is_complete
