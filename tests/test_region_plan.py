"""A plan freezes what a run maps: tiles, items and parcels."""

import inspect
import json
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr
from region_plans import AREA, PLACE, TILE, YEAR, box, parcels, planned, trained

import cubecrop
from cubecrop import region
from cubecrop.archive import open_archive
from cubecrop.region.output import Output


@pytest.fixture(scope="module")
def model(archive):
    return trained(archive, weather=True, terrain=True)


@pytest.fixture(scope="module")
def plan(archive, model, tmp_path_factory):
    return planned(tmp_path_factory.mktemp("plan"), archive, model, parcels=parcels())


def test_tiles_divide_the_pixels_of_the_area(plan):
    boxes = [shapely.box(*tile.mapped) for tile in plan.tiles if tile.mapped is not None]
    whole = AREA.iloc[0]
    assert sum(one.area for one in boxes) == whole.area
    assert shapely.union_all(boxes).equals(whole)
    assert len({tile.id for tile in plan.tiles}) == len(plan.tiles)
    assert all(shapely.box(*tile.read).within(tile.tile.box) for tile in plan.tiles)


def test_a_tile_opens_the_cube_of_its_rectangle(plan, archive):
    original = open_archive(archive)
    for tile in plan.tiles[::7]:
        request = plan.request(tile)
        frozen, direct = (
            one.open(tile.area) for one in (request, replace(request, archive=original))
        )
        assert set(frozen.children) == {"sentinel2", "sentinel1", "weather", "terrain"}
        assert frozen.attrs == direct.attrs
        left, bottom, right, top = tile.read
        assert frozen.sizes["x"] * 10 == right - left
        assert frozen.sizes["y"] * 10 == top - bottom
        xr.testing.assert_identical(frozen.compute(), direct.compute())


def test_a_plan_is_read_back_as_it_was_written(plan):
    again = region.RegionPlan.read(plan.output)
    assert again == plan
    table = gpd.read_parquet(plan.output.folder / "plan" / "tiles.parquet")
    assert table["tile"].tolist() == [tile.id for tile in plan.tiles]
    assert table["digest"].tolist() == [tile.digest for tile in plan.tiles]
    assert table.crs == "EPSG:4326"


def test_each_parcel_in_the_area_has_one_owner(plan):
    table = parcels()
    kept = gpd.read_parquet(plan.output.folder / "plan" / "parcels.parquet")
    assert kept["id"].tolist() == table["id"].tolist()
    assert kept["crop"].tolist() == table["crop"].tolist()
    assert kept.geometry.geom_equals(table.geometry).all()
    inside = AREA.iloc[0].contains(table.geometry.representative_point())
    assert ((kept["region:owner"] != "") == inside).all()
    assert set(kept["region:absent"][~inside]) == {"outside the area"}
    assert 0 < inside.sum() < len(table)
    assert sum(tile.parcels for tile in plan.tiles) == inside.sum()


def test_a_tile_knows_the_parcels_that_touch_it(plan):
    table = parcels()
    places = gpd.read_parquet(plan.output.folder / "plan" / "parcels.parquet")
    owner = places["region:owner"].to_numpy()
    seen = np.zeros(len(table), int)
    for tile in plan.tiles:
        found = plan.parcels(tile)
        cell = tile.tile.box
        touched = table.geometry.intersects(cell) & (owner != "")
        near = table.geometry.intersects(cell.buffer(25, join_style="mitre")) & (owner != "")
        positions = set(found["parcel"])
        assert set(np.flatnonzero(touched)) <= positions <= set(np.flatnonzero(near))
        assert len(found) == tile.touching
        assert (found["owner"].to_numpy() == owner[found["parcel"]]).all()
        assert (found["id"].to_numpy() == table["id"].to_numpy()[found["parcel"]]).all()
        assert found.crs == table.crs
        whole = found[found["is_whole"]]
        assert (whole["owner"] == tile.id).all()
        assert whole.geometry.within(cell).all()
        own = found[found["owner"] == tile.id]
        assert len(own) == tile.parcels
        # All of a parcel that lies in the cell is read.
        parts = found.geometry.intersection(cell)
        assert parts[~parts.is_empty].covered_by(shapely.box(*tile.read)).all()
        seen[found["parcel"]] += 1
    assert (seen[owner == ""] == 0).all()
    assert (seen[owner != ""] >= 1).all()
    assert (seen > 1).any()


def test_tiles_beyond_the_area_only_sample_parcels(archive, model, tmp_path):
    area = box(160, 200, 290, 400)
    made = planned(tmp_path, archive, model, aoi=area, parcels=parcels(60))
    beyond = [tile for tile in made.tiles if tile.mapped is None]
    assert beyond
    assert all(tile.touching > 0 and tile.parcels == 0 for tile in beyond)


def test_without_parcels_there_are_none(archive, model, tmp_path):
    made = planned(tmp_path, archive, model)
    assert len(made.parcels(made.tiles[0])) == 0
    assert not made.output.exists("plan/parcels.parquet")
    assert {tile.touching for tile in made.tiles} == {0}


def test_the_same_arguments_give_the_same_plan(plan, archive, model, tmp_path):
    again = planned(tmp_path, archive, model, parcels=parcels())
    assert again.digest == plan.digest
    assert again.tiles == plan.tiles
    for name in ("items", "tiles", "parcels", "parcel_tiles"):
        one, other = (made.output.read_bytes(f"plan/{name}.parquet") for made in (plan, again))
        assert one == other, name


def test_an_area_that_is_no_rectangle_maps_only_tiles_that_meet_it(archive, model, tmp_path):
    triangle = gpd.GeoSeries(
        [shapely.Polygon([AREA.iloc[0].exterior.coords[i] for i in range(3)])], crs=PLACE.crs
    ).to_crs("EPSG:4326")
    made = planned(tmp_path, archive, model, aoi=triangle.iloc[0])
    shape = triangle.to_crs(PLACE.crs).iloc[0]
    assert all(shapely.box(*tile.mapped).intersects(shape) for tile in made.tiles)
    rectangle = planned(tmp_path / "other", archive, model, aoi=shapely.box(*triangle.total_bounds))
    assert len(made.tiles) < len(rectangle.tiles)


def test_run_json_says_what_was_planned(plan, model):
    content = json.loads(plan.output.read_bytes("plan/run.json"))
    assert content["model"] == model.digest
    assert content["digest"] == plan.digest
    assert content["options"]["tile"] == TILE
    assert content["options"]["year"] == YEAR
    assert content["parcels"]["count"] == len(parcels())
    assert Output.at(plan.output.url).exists("plan/items.parquet")


def test_without_a_model_the_default_one_is_planned(archive, tmp_path):
    made = region.plan(AREA, YEAR, tmp_path / "run", archive=archive, progress=False)
    assert made.model_digest == cubecrop.CropModel.default().digest
    asked = inspect.signature(cubecrop.map_region).parameters["model"]
    assert asked.default is None
