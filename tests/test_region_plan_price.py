"""What a plan says it costs: bytes, requests, memory, hours; in words and as a picture."""

import json
from dataclasses import replace

import geopandas as gpd
import matplotlib.image
import numpy as np
import pytest
import shapely
from region_plans import parcels, planned, trained

from benchmarks.graph import untrained_model
from benchmarks.region_plan import FRANCE, ITEMS, MadeArchive
from benchmarks.region_plan import plan as plan_of_france
from cubecrop import region
from cubecrop.archive import normalise_item
from cubecrop.cube.tiles import utm_codes
from cubecrop.errors import ArgumentError
from cubecrop.region.plan_text import check_memory, hours, peak_memory
from cubecrop.region.price import bytes_per_km2

#: Around the meridian between two UTM zones, degrees.
TWO_ZONES = shapely.box(5.4, 47.0, 6.5, 47.8)


@pytest.fixture(scope="module")
def model(archive):
    return trained(archive)


@pytest.fixture(scope="module")
def plan(archive, model, tmp_path_factory):
    return planned(tmp_path_factory.mktemp("plan"), archive, model, parcels=parcels())


def real(name):
    if not ITEMS.is_dir():
        pytest.skip(f"no real items at {ITEMS}")
    return json.loads(min((ITEMS / name).glob("*.json")).read_text())


def test_stated_sizes_of_files_count():
    item = real("es1__sentinel-2-c1-l2a")
    sizes = bytes_per_km2(normalise_item(item), item)
    whole = 109.8**2
    assert sizes["B04"] == round(item["assets"]["red"]["file:size"] / whole)
    assert sizes["SCL"] == round(item["assets"]["scl"]["file:size"] / whole)


def test_without_stated_sizes_constants_count():
    item = real("pc__sentinel-2-l2a")
    sizes = bytes_per_km2(normalise_item(item), item)
    assert sizes["B02"] == 10_000  # a byte for each of 100 x 100 pixels
    assert sizes["B05"] == 2_500
    assert sizes["SCL"] == 125


def test_bytes_are_those_of_the_part_that_is_read(plan):
    """By hand: five acquisitions of Sentinel-2 and more of Sentinel-1 that cover each tile."""
    tile = next(tile for tile in plan.tiles if tile.touching == 0 or tile.scenes)
    left, bottom, right, top = tile.read
    km2 = (right - left) * (top - bottom) / 1e6
    kinds = [item["collection"] for item in plan.request(tile).archive.records]
    optical, radar = kinds.count("sentinel-2-l2a"), kinds.count("sentinel-1-rtc")
    assert optical + radar == tile.scenes
    found = sum(one.bytes for one in plan.tiles) / sum(
        (one.read[2] - one.read[0]) * (one.read[3] - one.read[1]) / 1e6 for one in plan.tiles
    )
    assert tile.bytes / km2 == pytest.approx(found, rel=0.05)


def test_memory_is_that_of_maps_and_edges(archive, model, tmp_path):
    plain = planned(tmp_path, archive, model)
    tile = max(plain.tiles, key=lambda one: one.memory)
    # 16 x 16 pixels: class, confidence, clear dates of two sensors.
    assert tile.memory == 16 * 16 * (1 + 4 + 2 * 2)
    edges = planned(tmp_path, archive, model, parcels=parcels())
    for one in edges.tiles:
        n_edge = int((~edges.parcels(one)["is_whole"]).sum())
        more = one.memory - (0 if one.mapped is None else pixels(one) * 9)
        assert (more > 0) == (n_edge > 0)
        assert more % max(n_edge, 1) == 0


def pixels(tile):
    left, bottom, right, top = tile.mapped
    return (right - left) * (top - bottom) / 100


def test_a_tile_that_does_not_fit_names_the_size_that_would(plan):
    large = replace(
        plan,
        options=replace(plan.options, tile=20_480.0, modalities=("sentinel2",)),
        tiles=tuple(replace(one, memory=2_000_000_000, scenes=10**9) for one in plan.tiles),
    )
    assert peak_memory(large, 2) == 1e9 + 2 * 2e9 + 2e9
    both = replace(large.options, modalities=("sentinel2", "sentinel1", "terrain"))
    assert peak_memory(replace(large, options=both), 2) == 1e9 + 2 * 1.9 * 2e9 + 2e9
    check_memory(large, 7e9, 2)
    with pytest.raises(ArgumentError, match=r"needs 7\.0 GB: 2 threads.*has 6\.5 GB.*tile=10240"):
        check_memory(large, 6.5e9, 2)
    with pytest.raises(ArgumentError, match=r"tile=5120`"):
        check_memory(large, 5.6e9, 2)
    with pytest.raises(ArgumentError, match=r"memory=5\.0e\+08`"):
        check_memory(large, 4e9, 2)
    with pytest.raises(ArgumentError, match="Give workers more memory or fewer threads"):
        check_memory(large, 1e9, 2)


def test_a_small_tile_does_not_fill_the_memory_of_its_threads(plan):
    tile = max(plan.tiles, key=lambda one: one.scenes)
    left, bottom, right, top = tile.read
    one = replace(plan, tiles=(tile,))
    series = (right - left) * (top - bottom) / 100 * tile.scenes * 26 / 0.3
    assert peak_memory(one, 1) == pytest.approx(1.25e9 + series + tile.memory, abs=2)
    assert peak_memory(one, 4) == pytest.approx(2e9 + series + tile.memory, abs=2)
    check_memory(one, 2.1e9, 4)


def test_hours_grow_with_the_area(plan):
    half = replace(plan, tiles=plan.tiles[: len(plan.tiles) // 2])
    km2 = sum((t.read[2] - t.read[0]) * (t.read[3] - t.read[1]) for t in plan.tiles)
    assert hours(plan, 3600, 1) == pytest.approx(km2 / 160**2)
    assert hours(plan, 3600, 4) == pytest.approx(hours(plan, 3600, 1) / 4)
    assert hours(half, 60, 1) < hours(plan, 60, 1)


def test_a_plan_says_what_it_is(plan):
    names = [name for name, _ in plan.lines()]
    assert names == [
        "tiles", "season", "archive", "items", "parcels", "to read", "memory", "model", "digest",
    ]  # fmt: skip
    assert repr(plan).startswith("Plan of lon 3.0")
    assert f"  tiles: {len(plan.tiles)} of 0.16 km in EPSG:32631" in repr(plan)
    assert "outside the area" in repr(plan)
    assert "<table>" in plan._repr_html_()


def test_finished_tiles_tell_the_hours(archive, model, tmp_path):
    made = planned(tmp_path, archive, model)
    for tile in made.tiles[:3]:
        left, bottom, right, top = tile.read
        seconds = 90 * (right - left) * (top - bottom) / 160**2
        made.output.write_json(
            f"tiles/{tile.id}/evidence.json", {"outcome": "done", "seconds": seconds}
        )
    text = dict(made.lines())["time"]
    whole = 500 * 500 / 160**2 * 90 / 3600
    assert text.startswith(f"{whole:.1f} hours of one worker")
    assert "90 s each" in text


def test_a_plan_is_drawn(plan):
    picture = matplotlib.image.imread(plan.output.folder / "plan" / "plan.png")
    assert max(picture.shape) <= 2000
    colours = np.round(picture[..., :3] * 255)
    red = (colours == [0xD6, 0x27, 0x28]).all(axis=-1)
    assert red.sum() > 500  # the outline of the area
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) > 50


@pytest.fixture(scope="module")
def two_zones(tmp_path_factory):
    real("pc__sentinel-2-l2a")
    return plan_of_france(str(tmp_path_factory.mktemp("zones")), 20_480, MadeArchive(2), TWO_ZONES)


def test_each_point_has_one_tile_also_at_the_edge_of_a_zone(two_zones):
    rng = np.random.default_rng(3)
    west, south, east, north = TWO_ZONES.bounds
    lon, lat = rng.uniform(west, east, 5000), rng.uniform(south, north, 5000)
    lon[:1000] = rng.uniform(5.99, 6.01, 1000)
    codes = utm_codes(lon, lat)
    n_tiles = np.zeros(len(lon), int)
    for tile in two_zones.tiles:
        code = int(tile.tile.crs[5:])
        points = gpd.GeoSeries(gpd.points_from_xy(lon, lat), crs=4326).to_crs(code)
        inside = shapely.contains_xy(shapely.box(*tile.mapped), points.x, points.y)
        if not tile.is_shared:
            assert (codes[inside] == code).all()
        n_tiles += inside & (codes == code)
    assert (n_tiles == 1).all()
    assert {tile.tile.crs for tile in two_zones.tiles} == {"EPSG:32631", "EPSG:32632"}
    shared = [tile for tile in two_zones.tiles if tile.is_shared]
    assert 0 < len(shared) < len(two_zones.tiles)


def test_parcels_at_the_edge_of_a_zone_have_one_owner(tmp_path):
    real("pc__sentinel-2-l2a")
    rng = np.random.default_rng(4)
    points = shapely.points(rng.uniform(5.95, 6.05, 300), rng.uniform(47.05, 47.75, 300))
    table = gpd.GeoDataFrame({"id": range(300)}, geometry=points, crs=4326)
    table = table.to_crs(2154).set_geometry(table.to_crs(2154).buffer(400))
    made = region.plan(
        TWO_ZONES, 2024, tmp_path, archive=MadeArchive(2), model=untrained_model(),
        parcels=table, progress=False,
    )  # fmt: skip
    assert made.n_without_tile == 0
    assert sum(tile.parcels for tile in made.tiles) == 300
    crossing = table.to_crs(4326).geometry.intersects(shapely.LineString([(6, 47), (6, 48)]))
    assert crossing.any()
    owners = {}
    for tile in made.tiles:
        found = made.parcels(tile)
        # A parcel is sampled in one zone, in full.
        assert {owner[:5] for owner in found["owner"]} <= {tile.id[:5]}
        for parcel, owner in zip(found["parcel"], found["owner"], strict=True):
            assert owners.setdefault(parcel, owner) == owner
    assert len(owners) == 300


def test_the_plan_of_france_is_a_benchmark(benchmarks):
    real("pc__sentinel-2-l2a")
    suite = benchmarks("region_plan", "RegionPlan", dates=1, area=TWO_ZONES, side=10_240)()
    suite.setup()
    assert suite.track_tiles() > 80
    assert suite.track_items() > 4
    assert 100 < suite.track_peak() < 5_000
    assert suite.track_seconds() > 0


def test_the_plan_of_a_country_does_not_depend_on_the_order_of_items(tmp_path):
    real("pc__sentinel-2-l2a")
    area = FRANCE.intersection(TWO_ZONES)
    one, other = (
        plan_of_france(str(tmp_path / str(seed)), 20_480, MadeArchive(2, shuffled=seed), area)
        for seed in (0, 5)
    )
    assert one.digest == other.digest
    assert one.items_digest == other.items_digest
