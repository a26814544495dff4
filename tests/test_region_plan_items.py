"""Frozen items are the archive's own: the same scenes, whatever its provider and its order."""

import json
import random
import tracemalloc
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
import stac_geoparquet
import xarray as xr
from region_plans import AREA, PLACE, parcels, planned, trained

from benchmarks.graph import untrained_model
from benchmarks.region_plan import ITEMS, MadeArchive
from cubecrop import region
from cubecrop.archive import PROVIDERS, open_archive, search
from cubecrop.archive.catalog import FileArchive
from cubecrop.archive.search import items_with_scenes
from cubecrop.circle import bbox_of, box_of
from cubecrop.errors import ArchiveError, NoScenesError, UnsupportedItemError
from cubecrop.region.items import IMAGES, FrozenItems, freeze
from cubecrop.season import Season
from cubecrop.testing import Optical, Place, Radar, Weather, write_archive


@pytest.fixture(scope="module")
def model(archive):
    return trained(archive, weather=True)


def of_folder(folder, provider):
    """Real items of a provider, as an archive."""
    if not ITEMS.is_dir():
        pytest.skip(f"no real items at {ITEMS}")
    items = []
    for path in sorted((ITEMS / folder).glob("*.json")):
        item = json.loads(path.read_text())
        source = FileArchive(folder, (item,), PROVIDERS[provider].searching([item["collection"]]))
        try:
            found = list(items_with_scenes(source, "sentinel2", WORLD, Season(year_of(item))))
        except UnsupportedItemError:
            continue
        if found:
            items.append(item)
    return items


WORLD = shapely.box(-180, -90, 180, 90)


def year_of(item):
    return int(item["properties"]["datetime"][:4])


@pytest.mark.parametrize(
    ("folder", "provider"),
    [
        ("pc__sentinel-2-l2a", "planetary-computer"),
        ("es1__sentinel-2-c1-l2a", "earth-search"),
        ("cdse__sentinel-2-l2a", "cdse"),
    ],
)
def test_scenes_of_a_provider_are_the_same(folder, provider, tmp_path):
    items = of_folder(folder, provider)
    model = untrained_model()
    tried = 0
    for number, item in enumerate(items[:4]):
        row = PROVIDERS[provider].searching([item["collection"]])
        source = FileArchive(provider, tuple(items), row)
        middle = shapely.geometry.shape(item["geometry"]).representative_point()
        made = region.plan(
            middle.buffer(0.03), year_of(item), tmp_path / str(number), archive=source,
            model=model, season=Season(year_of(item)), progress=False,
        )  # fmt: skip
        for tile in made.tiles:
            request = made.request(tile)
            assert request.archive.provider == row
            found, direct = (
                search(tile.area, request.season, archive=one, modalities=("sentinel2",))
                for one in (request.archive, source)
            )
            # With access, and so with the function that signs addresses.
            assert found.scenes == direct.scenes
            assert found.superseded == direct.superseded
            assert len(request.archive.records) == tile.scenes
            assert {scene.access for scene in found} == {row.access}
            tried += 1
    assert tried


def test_the_cube_of_the_real_patch_is_the_same(flanders, tmp_path):
    source = open_archive(flanders)
    made = region.plan(
        flanders / "parcels.parquet", 2018, tmp_path, archive=flanders, model=untrained_model(),
        tile=160, progress=False,
    )  # fmt: skip
    tile = made.tiles[5]
    request = made.request(tile)
    direct = made.options.request(archive=source, weather=None, crs=tile.tile.crs)
    xr.testing.assert_identical(request.open(tile.area).compute(), direct.open(tile.area).compute())


def test_weather_of_another_archive_is_frozen_too(archive, model, tmp_path):
    place = Place(crs="EPSG:4326", left=2.9, top=50.9, height=2, width=2, pixel=0.1)
    elsewhere = write_archive(
        tmp_path / "weather",
        [Weather(start="2017-08-01", end="2018-12-31", place=place,
                 variables={"temperature_mean": (290.0, "K"), "temperature_min": (280.0, "K"),
                            "temperature_max": (300.0, "K"), "precipitation": (1.0, "mm d-1"),
                            "solar_radiation": (1e7, "J m-2 d-1")})],
    )  # fmt: skip
    made = planned(tmp_path / "out", archive, model, weather=elsewhere)
    request = made.request(made.tiles[0])
    assert isinstance(request.weather, FileArchive)
    assert [item["collection"] for item in request.weather.records] == ["agera5-daily"]
    cube = request.open(made.tiles[0].area)
    assert float(cube["weather"]["weather"].sel(variable="temperature_mean").mean()) == 290


def test_a_weather_store_stays_an_address(archive, model, tmp_path):
    made = planned(tmp_path, archive, model, weather="arco-era5")
    request = made.request(made.tiles[0])
    assert request.weather == "arco-era5"
    collections = {item["collection"] for item in request.archive.records}
    assert "agera5-daily" not in collections


def test_a_provider_of_your_own_is_refused(archive, model, tmp_path):
    source = open_archive(archive)
    rule = source.provider.collections["sentinel-2-l2a"]
    other = replace(
        source,
        provider=replace(
            source.provider, collections={"sentinel-2-l2a": replace(rule, scale=2e-4)}
        ),
    )
    with pytest.raises(ArchiveError, match="workers read a provider by its name"):
        planned(tmp_path, other, trained(archive))


def shuffled(source, seed):
    records = list(source.records)
    random.Random(seed).shuffle(records)
    return FileArchive(source.name, tuple(records), source.provider)


def test_a_plan_does_not_depend_on_the_order_of_items(archive, model, tmp_path):
    source = open_archive(archive)
    files = []
    for seed in range(3):
        made = planned(tmp_path / str(seed), shuffled(source, seed), model)
        files.append((made.digest, made.output.read_bytes("plan/items.parquet")))
    assert len(set(files)) == 1


def frozen(path, source, area=WORLD, season=None):
    season = season or Season(2018)
    found = (
        (IMAGES, item, scene, {})
        for modality in ("sentinel2", "sentinel1", "terrain", "weather")
        for item, scene in items_with_scenes(source, modality, area, season)
    )
    freeze(path, found)
    return FrozenItems.read(path)


def test_items_come_back_whole(archive, tmp_path):
    source = open_archive(archive)
    items = frozen(tmp_path / "items.parquet", source)
    back = items.meeting(WORLD)[IMAGES]
    assert len(back) == len(items)

    def key(item):
        return item["collection"], item["id"]

    names = {key(item) for item in back}
    assert sorted(back, key=key) == sorted(
        (json.loads(json.dumps(item)) for item in source.records if key(item) in names), key=key
    )


def test_the_file_is_stac_geoparquet(archive, tmp_path):
    path = tmp_path / "items.parquet"
    items = frozen(path, open_archive(archive))
    table = gpd.read_parquet(path)
    assert table.crs == "EPSG:4326"
    assert len(table) == len(items)
    assert table.geometry.geom_equals(gpd.GeoSeries(items.shapes, crs=table.crs)).all()
    stac = list(stac_geoparquet.arrow.stac_table_to_items(pq.read_table(path)))
    assert {item["id"] for item in stac} == set(table["id"])
    assert all(item["assets"] for item in stac)


def test_copies_of_an_item_are_one(archive, tmp_path):
    source = open_archive(archive)
    signed = []
    for item in source.records:
        assets = {k: {**a, "href": a["href"] + "?sig=1"} for k, a in item["assets"].items()}
        signed.append({**item, "assets": assets, "links": []})
    both = FileArchive(source.name, (*source.records, *signed), source.provider)
    # A signature is no part of a Zarr store's address, so only images are compared.
    area = shapely.box(*search(AREA, 2018, archive=source).aoi.lonlat.bounds)
    one, two = (
        frozen(tmp_path / f"{name}.parquet", FileArchive("x", records, source.provider), area)
        for name, records in (("one", source.records), ("two", both.records))
    )
    assert one.digest == two.digest
    assert len(one) == len(two)


def test_a_worker_reads_only_its_row_groups(tmp_path):
    """Items of a strip of 40 places; a place needs a small part of the file."""
    if not ITEMS.is_dir():
        pytest.skip(f"no real items at {ITEMS}")
    france = MadeArchive(30)
    path = tmp_path / "items.parquet"
    found = (
        (IMAGES, item, scene, {})
        for item, scene in items_with_scenes(france, "sentinel2", france.area, Season(2024))
    )
    freeze(path, found)
    items = FrozenItems.read(path)
    assert len(items) > 2000
    tracemalloc.start()
    near = items.meeting(shapely.box(2.0, 47.0, 2.1, 47.1))[IMAGES]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    whole = sum(len(json.dumps(item)) for item in near) / len(near) * len(items)
    assert 0 < len(near) < len(items) / 20
    assert peak < whole / 4


def test_items_without_an_end_are_frozen(tmp_path):
    """Weather has a start and an end, images a moment; both are columns of one file."""
    folder = write_archive(
        tmp_path / "archive",
        [Optical(when="2018-05-01T10:56:21Z"), Radar(when="2018-05-02T17:40:42Z")],
    )
    items = frozen(tmp_path / "items.parquet", open_archive(folder))
    assert sorted(items.modality) == ["sentinel1", "sentinel2"]
    moments = pq.read_table(tmp_path / "items.parquet", columns=["datetime"])["datetime"]
    assert [moment.isoformat()[:16] for moment in sorted(moments.to_pylist())] == [
        "2018-05-01T10:56", "2018-05-02T17:40",
    ]  # fmt: skip
    assert len(np.unique(items.hours)) == 2


def test_a_plan_in_another_storage_is_read_there(archive, model):
    made = planned("memory://region-plan", archive, model, parcels=parcels())
    again = region.RegionPlan.read(made.output)
    assert again == made
    tile = made.tiles[len(made.tiles) // 2]
    assert len(again.parcels(tile)) == tile.touching
    assert again.request(tile).open(tile.area).attrs["items"]
    assert {PLACE.crs} == {one.tile.crs for one in again.tiles}


def test_an_area_across_the_180th_meridian(tmp_path):
    edge = pyproj.Transformer.from_crs(4326, 32760, always_xy=True).transform(179.9999, -16.3)[0]
    west_of_it = Place(crs="EPSG:32760", left=edge // 10 * 10 - 600, top=8_200_000)
    # Zones are alike: the meridian is as far from the other one's middle.
    east_of_it = replace(west_of_it, crs="EPSG:32701", left=1e6 - edge // 10 * 10)
    places = [west_of_it, east_of_it]
    scenes = [
        Optical(when=f"2018-0{month}-01T22:56:21Z", place=place, tile=f"0{zone}KAA")
        for month in (4, 5)
        for zone, place in enumerate(places)
    ]
    source = open_archive(write_archive(tmp_path / "archive", scenes))
    footprints = shapely.union_all([box_of(item["bbox"]) for item in source.records])
    west, south, east, north = bbox_of(footprints)
    assert west > 179 > -179 > east
    points = shapely.points([179.9999, -179.9999], [(south + north) / 2] * 2)
    table = gpd.GeoDataFrame({"id": ["west", "east"]}, geometry=points, crs=4326)
    made = region.plan(
        (west, south, east, north), 2018, tmp_path / "out", archive=source, tile=320,
        model=untrained_model("sentinel2"), season=Season(2018), parcels=table, progress=False,
    )  # fmt: skip
    assert {tile.tile.crs for tile in made.tiles} == {"EPSG:32760", "EPSG:32701"}
    assert sum(tile.parcels for tile in made.tiles) == 2
    owners = [tile.tile.crs for tile in made.tiles if tile.parcels]
    assert sorted(owners) == ["EPSG:32701", "EPSG:32760"]
    bounds = made.table.geometry.bounds
    assert (abs(bounds["minx"]) > 179).all()
    assert (abs(bounds["maxx"]) > 179).all()
    seen = set()
    for tile in made.tiles:
        if tile.scenes:
            request = made.request(tile)
            try:
                attrs = request.open(tile.area).attrs
            except NoScenesError:
                continue  # images only touch the tile
            assert attrs == replace(request, archive=source).open(tile.area).attrs
            seen |= set(attrs["items"])
    assert seen == {item["id"] for item in source.records}
