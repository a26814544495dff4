"""What a second plan in one folder does, and what is refused before any worker."""

import contextlib
import json
import os
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import shapely
from region_plans import AREA, PLACE, box, parcels, planned, trained

import cubecrop
from cubecrop import region
from cubecrop.archive import open_archive
from cubecrop.errors import (
    AoiError,
    ArchiveError,
    ArgumentError,
    ModelFormatError,
    ModelMismatchError,
    NoScenesError,
    OutputError,
    ParcelError,
    SchemaError,
    SeasonError,
)


@pytest.fixture(scope="module")
def model(archive):
    return trained(archive)


class Counted:
    """An archive that counts its searches."""

    def __init__(self, archive):
        self.archive, self.searches = open_archive(archive), 0
        self.name, self.provider = self.archive.name, self.archive.provider

    def items(self, *question):
        self.searches += 1
        yield from self.archive.items(*question)

    def extent(self, collections):
        return self.archive.extent(collections)


def test_a_second_plan_takes_the_frozen_items(archive, model, tmp_path):
    counted = Counted(archive)
    first = planned(tmp_path, counted, model)
    searched = counted.searches
    assert searched == 4  # one a collection: of each sensor, and two of land cover
    second = planned(tmp_path, counted, model)
    assert counted.searches == searched
    assert second.digest == first.digest
    planned(tmp_path, counted, model, replan=True)
    assert counted.searches == 2 * searched


def changed_inputs(one, other):
    return {
        name
        for before, after in zip(one.tiles, other.tiles, strict=True)
        for name in before.inputs
        if before.inputs[name] != after.inputs[name]
    }


def test_a_tile_says_which_input_changed(archive, model, tmp_path):
    plan = planned(tmp_path, archive, model, parcels=parcels())
    other = replace(model, name="another")
    again = planned(tmp_path, archive, other, parcels=parcels())
    assert changed_inputs(plan, again) == {"model"}
    gaps = planned(tmp_path, archive, other, parcels=parcels(), allow_gaps=True)
    assert changed_inputs(again, gaps) == {"options"}
    sparing = planned(tmp_path, archive, other, parcels=parcels(), allow_gaps=True, memory=1e9)
    assert changed_inputs(gaps, sparing) == set()
    moved = parcels()
    row = 30
    moved.loc[row, "geometry"] = moved.geometry[row].buffer(-5)
    changed = planned(tmp_path, archive, other, parcels=moved, allow_gaps=True)
    assert changed_inputs(sparing, changed) <= {"parcels", "grid"}
    touched = {tile.id for tile in plan.tiles if row in set(sparing.parcels(tile)["parcel"])}
    differ = {
        before.id
        for before, after in zip(sparing.tiles, changed.tiles, strict=True)
        if before.inputs["parcels"] != after.inputs["parcels"]
    }
    assert differ == touched


def test_parcels_that_need_more_items_must_be_searched_for(archive, model, tmp_path):
    planned(tmp_path, archive, model, aoi=box(200, 200, 400, 400))
    wide = gpd.GeoDataFrame(
        {"id": ["wide"]}, geometry=[box(190, -4000, 410, 4000).iloc[0]], crs=PLACE.crs
    )
    arguments = {"aoi": box(200, 200, 400, 400), "parcels": wide.set_geometry([
        box(190, -4000, 410, 4500).iloc[0]])}  # fmt: skip
    with pytest.raises(OutputError, match=r"do not cover all of these parcels.*--replan"):
        planned(tmp_path, archive, model, **arguments)
    assert planned(tmp_path, archive, model, replan=True, **arguments).n_parcels == 1


def test_parcels_may_be_left_out_of_a_second_plan(archive, model, tmp_path):
    planned(tmp_path, archive, model, parcels=parcels())
    again = planned(tmp_path, archive, model)
    assert again.n_parcels is None
    assert again.output.names("plan") == ["items.parquet", "plan.png", "run.json", "tiles.parquet"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aoi": box(100, 100, 500, 500)}, r"the area is lon .*, there lon "),
        ({"tile": 320}, r"tile is 320\.0, there 160\.0"),
        ({"year": 2018, "season": cubecrop.Season(2018, hemisphere="south")}, "start is 2017-03"),
        ({"crs": 32632}, "crs is EPSG:32632, there None"),
    ],
    ids=["area", "tile", "season", "crs"],
)
def test_another_run_is_refused(archive, model, tmp_path, options, message):
    first = planned(tmp_path, archive, model)
    with pytest.raises(OutputError, match=rf"holds another run: .*{message}.*--replan"):
        planned(tmp_path, archive, model, **options)
    assert region.RegionPlan.read(first.output).digest == first.digest


def test_several_differences_are_all_named(archive, model, tmp_path):
    planned(tmp_path, archive, model)
    with pytest.raises(OutputError) as caught:
        planned(tmp_path, archive, model, aoi=box(0, 0, 100, 100), tile=320)
    assert "the area is" in str(caught.value)
    assert "tile is" in str(caught.value)


def edited(plan, **changes):
    path = plan.output.folder / "plan" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("changes", [{"format": 1, "items": {}}, {"cubecrop": "0.0.1"}])
def test_a_plan_of_another_version_is_refused(archive, model, tmp_path, changes):
    plan = planned(tmp_path, archive, model)
    edited(plan, **changes)
    with pytest.raises(OutputError, match=r"holds a plan of format .* by cubecrop .*--replan"):
        planned(tmp_path, archive, model)
    with pytest.raises(OutputError, match="holds a plan of format"):
        region.RegionPlan.read(plan.output)
    assert planned(tmp_path, archive, model, replan=True).digest == plan.digest


def test_a_plan_that_was_cut_short_is_not_read(archive, model, tmp_path):
    plan = planned(tmp_path, archive, model)
    other = planned(tmp_path / "other", archive, model, allow_gaps=True)
    for name in ("tiles.parquet", "run.json"):
        part = (other.output.folder / "plan" / name).read_bytes()
        (plan.output.folder / "plan" / name).write_bytes(part)
        if name == "tiles.parquet":
            edited(plan, digest="0" * 64)
            with pytest.raises(OutputError, match="not complete"):
                region.RegionPlan.read(plan.output)
    assert region.RegionPlan.read(plan.output).digest == other.digest


def test_damaged_items_are_refused(archive, model, tmp_path):
    plan = planned(tmp_path, archive, model)
    (plan.output.folder / "plan" / "items.parquet").unlink()
    with pytest.raises(OutputError, match=r"items .* are missing or damaged.*--replan"):
        planned(tmp_path, archive, model)
    assert planned(tmp_path, archive, model, replan=True).digest == plan.digest


def test_a_folder_with_other_files_is_refused(archive, model, tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(OutputError, match=r"holds holiday\.jpg and no plan"):
        planned(tmp_path, archive, model)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_file_is_no_folder(archive, model, tmp_path):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(OutputError, match="is a file"):
        planned(tmp_path / "out", archive, model)


def test_a_read_only_folder_is_refused(archive, model, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="is read-only"):
        planned(tmp_path / "out", archive, model)
    assert not (tmp_path / "out").exists()


def test_another_path_of_the_archive_is_the_same_archive(archive, model, tmp_path, monkeypatch):
    one = planned(tmp_path, archive, model)
    monkeypatch.chdir(archive.parent)
    other = planned(tmp_path, archive.name, model)
    assert other.tiles == one.tiles


def test_a_table_of_few_shapes_is_their_outline(archive, model, tmp_path):
    left, bottom, right, top = AREA.total_bounds
    two = gpd.GeoSeries(
        [shapely.box(left, bottom, left + 100, bottom + 100),
         shapely.Polygon([(right, top), (right - 100, top), (right, top - 100)])],
        crs=PLACE.crs,
    )  # fmt: skip
    made = planned(tmp_path, archive, model, aoi=two, parcels=parcels())
    mapped = [tile for tile in made.tiles if tile.mapped is not None]
    assert all(two.intersects(shapely.box(*tile.mapped)).any() for tile in mapped)
    assert len(mapped) < 9
    kept = gpd.read_parquet(tmp_path / "plan" / "parcels.parquet")
    points = kept.geometry.representative_point()
    assert ((kept["region:owner"] != "") == points.within(two.union_all())).all()
    # As GeoJSON it is the same area.
    again = planned(tmp_path, archive, model, aoi=two.to_crs(4326).union_all(), replan=True)
    assert {tile.id for tile in again.tiles} <= {tile.id for tile in made.tiles}


def test_a_full_disk_leaves_no_half_plan(archive, model, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gpd.GeoDataFrame, "to_parquet", full)
    with pytest.raises(OutputError, match="No space left on device"):
        planned(tmp_path, archive, model)
    names = [path.name for path in (tmp_path / "plan").iterdir()]
    assert names == ["items.parquet"]
    monkeypatch.undo()
    assert planned(tmp_path, archive, model).output.exists("plan/run.json")


BAD = {
    "area at sea": ({"aoi": (-30, 40, -29.9, 40.1)}, NoScenesError, r"It covers lon .*Choose an"),
    "another year": ({"year": 1999}, NoScenesError, "choose a harvest year"),
    "swapped": ({"aoi": (50.8, 3.0, 50.82, 3.01)}, NoScenesError, "look swapped"),
    "no area": ({"aoi": None}, AoiError, "expected a bbox"),
    "near the pole": ({"aoi": (3, 84.5, 3.1, 84.6)}, AoiError, "beyond the UTM zones"),
    "archive": ({"archive": "nowhere"}, ArchiveError, "no archive at nowhere"),
    "type of a model": ({"model": 3}, ModelFormatError, "expected a CropModel"),
    "season": ({"season": cubecrop.Season(2019)}, SeasonError, "pass the same year"),
    "tile": ({"tile": 0}, ArgumentError, "tile is 0, expected"),
    "tile of a few pixels": ({"tile": 50}, ArgumentError, "5 pixels of 10 m; expected 16"),
    "tile of too many": ({"tile": 1e7}, ArgumentError, "expected 16 to 30000 pixels"),
    "type of a tile": ({"tile": "20 km"}, ArgumentError, "tile is '20 km'"),
    "memory": ({"memory": 10}, SchemaError, "memory"),
    "clouds": ({"clouds": lambda scl, size: scl > 3}, ArgumentError, "clouds is a function"),
    "max_lost": ({"max_lost": 2}, ArgumentError, "max_lost is 2"),
    "allow_gaps": ({"allow_gaps": "no"}, ArgumentError, "allow_gaps"),
    "replan": ({"replan": 1}, ArgumentError, "replan is 1"),
    "out": ({"out": 7}, OutputError, "out is 7"),
    "crs": ({"crs": 4326}, SchemaError, "expected a projected CRS"),
    "parcels": ({"parcels": 5}, ParcelError, "parcels is a int"),
    "parcels without ids": ({"parcels": parcels().drop(columns="id")}, ParcelError, "no 'id'"),
    "a column of the plan": (
        {"parcels": parcels().assign(**{"region:owner": ""})}, OutputError, "which a plan adds",
    ),
    "parcels elsewhere": (
        {"parcels": parcels().translate(9e5).to_frame("geometry").assign(id=range(64))},
        ParcelError, r"none of the 64 parcels lies in the archive: they lie at lon",
    ),
    "parcels beside the area": (
        {"aoi": box(0, 0, 15, 15), "parcels": parcels()},
        ParcelError, r"lies in the area \(lon .*they lie at",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("options", "error", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_before_any_tile(archive, model, tmp_path, options, error, message):
    options = {"out": tmp_path, "archive": archive, "model": model, **options}
    with pytest.raises(error, match=message):
        planned(options.pop("out"), options.pop("archive"), options.pop("model"), **options)
    with contextlib.suppress(FileNotFoundError):
        assert not list((tmp_path / "plan").iterdir())


def test_a_model_of_parcel_shapes_maps_no_pixel(archive, tmp_path):
    shaped = trained(archive, geometry=True)
    with pytest.raises(ModelMismatchError, match=r"takes the shape of parcels.*--parcels"):
        planned(tmp_path, archive, shaped)
    made = planned(tmp_path, archive, shaped, parcels=parcels())
    assert {tile.mapped for tile in made.tiles} == {None}
    assert sum(tile.parcels for tile in made.tiles) == (
        AREA.iloc[0].contains(parcels().geometry.representative_point()).sum()
    )


def test_an_empty_table_of_parcels(archive, model, tmp_path):
    none = parcels().iloc[:0]
    made = planned(tmp_path, archive, model, parcels=none)
    assert made.n_parcels == 0
    assert len(made.parcels(made.tiles[0])) == 0
    shaped = trained(archive, geometry=True)
    with pytest.raises(ParcelError, match="there are no parcels"):
        planned(tmp_path / "other", archive, shaped, parcels=none)


def test_parcels_without_a_place_are_listed(archive, model, tmp_path):
    table = parcels()
    table.loc[3, "geometry"] = None
    table.loc[4, "geometry"] = shapely.Polygon()
    table.loc[5, "geometry"] = shapely.box(1e6, 6e6, 1e6 + 50, 6e6 + 50)
    made = planned(tmp_path, archive, model, parcels=table)
    kept = gpd.read_parquet(tmp_path / "plan" / "parcels.parquet")
    assert len(kept) == len(table)
    assert kept["region:absent"].iloc[[3, 4, 5]].tolist() == [
        "no geometry", "no geometry", "outside the archive",
    ]  # fmt: skip
    assert (kept["region:owner"].iloc[[3, 4, 5]] == "").all()
    assert made.n_without_tile == (kept["region:owner"] == "").sum()


def test_a_parcel_larger_than_any_cube_is_named(archive, model, tmp_path):
    table = parcels()
    ring = shapely.box(*AREA.total_bounds).union(shapely.box(5e5, 5.6e6, 5.00001e5, 6.2e6))
    table.loc[7, "geometry"] = ring
    with pytest.raises(ParcelError, match=r"too far apart for one cube.*'p007'"):
        planned(tmp_path, archive, model, parcels=table)


def test_ids_keep_their_kind(archive, model, tmp_path):
    table = parcels().assign(id=np.arange(len(parcels()), dtype=np.int64) + 10**12)
    made = planned(tmp_path, archive, model, parcels=table)
    found = made.parcels(made.tiles[-1])
    assert found["id"].dtype == np.int64
    assert (found["id"] - 10**12 == found["parcel"]).all()
