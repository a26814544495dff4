"""Which items show the same image, and which of two is newest: never by id or order alone."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
from items import write_items

import cubecrop
from cubecrop.archive import availability, normalise_item, open_archive
from cubecrop.archive.extent import footprint_of
from cubecrop.errors import UnsupportedItemError
from cubecrop.testing import Optical, Place, Radar, write_archive

PLACE = Place()
LEFT, BOTTOM, RIGHT, TOP = PLACE.bounds
AREA = gpd.GeoSeries([shapely.box(*PLACE.bounds)], crs=PLACE.crs)
DAY = "2018-05-01T10:56:21Z"
NO_NAME = {"s2:product_uri": None, "s2:datatake_id": "GS2A_20180501T105621_014005_N05.00"}


def items_of(folder, scenes):
    """Items of scenes with absolute hrefs, as JSON."""
    write_archive(folder, scenes)
    found = []
    for scene in scenes:
        file = next(folder.glob(f"*/{scene.id}/{scene.id}.json"))
        item = json.loads(file.read_text())
        for asset in item["assets"].values():
            asset["href"] = str(file.parent / asset["href"])
        found.append({**item, "links": []})
    return found


def opened(folder, items, *, turned):
    return cubecrop.open_season(
        AREA, 2018, archive=write_items(folder / "items.json", items[::-1] if turned else items)
    )


@pytest.mark.parametrize("turned", [False, True])
def test_halves_of_one_id_are_both_seen(tmp_path, turned):
    def half(name, sees):
        return Optical(when=DAY, id=name, dn=lambda x, y: np.where(sees(x), 3000, 0))

    items = items_of(
        tmp_path,
        [half("W", lambda x: x < LEFT + 300), half("E", lambda x: x >= LEFT + 300)],
    )
    halves = shapely.box(LEFT, BOTTOM, LEFT + 300, TOP), shapely.box(LEFT + 300, BOTTOM, RIGHT, TOP)
    for item, shape in zip(items, gpd.GeoSeries(halves, crs=PLACE.crs).to_crs(4326), strict=True):
        item |= {"id": "SAME", "bbox": list(shape.bounds)}
        item["geometry"] = shapely.geometry.mapping(shape)
    cube = opened(tmp_path, items, turned=turned)
    assert np.isfinite(cube["sentinel2/reflectance"].to_numpy()[0]).all()
    assert cube.attrs["items"] == ["SAME", "SAME"]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("ids", [("SAME", "SAME"), ("Z", "A")])
def test_the_newest_processing_is_shown(tmp_path, turned, ids):
    made = [(0.1, "2018-05-02T00:00:00Z"), (0.4, "2023-05-02T00:00:00Z")]
    scenes = [
        Radar(when=DAY, id=f"r{i}", vv=v, vh=v, properties={"processing:datetime": m})
        for i, (v, m) in enumerate(made)
    ]
    scenes += [
        Optical(when=DAY, id=f"o{i}", dn=dn, baseline=baseline, properties=NO_NAME)
        for i, (dn, baseline) in enumerate([(3000, "05.00"), (4000, "05.10")])
    ]
    items = items_of(tmp_path, scenes)
    for i, item in enumerate(items):
        item["id"] = ids[i % 2]
    cube = opened(tmp_path, items, turned=turned)
    assert cube["sentinel1"].sizes["time"] == cube["sentinel2"].sizes["time"] == 1
    assert float(cube["sentinel1/backscatter"][0, 0, 9, 9]) == pytest.approx(-3.98, abs=0.01)
    assert float(cube["sentinel2/reflectance"][0, 0, 9, 9]) == pytest.approx(0.3)


def test_slices_of_a_radar_pass_are_both_kept_and_one_listed_twice_counts_once(tmp_path):
    scenes = [Radar(when=f"2018-05-01T17:40:{second}Z", id=second) for second in ("10", "35")]
    items = items_of(tmp_path, scenes)
    archive = write_items(tmp_path / "items.json", [*items, *items])
    found = cubecrop.search(AREA, 2018, archive=archive)
    assert [scene.id for scene in found] == ["10", "35"]
    assert found.superseded == ()


def test_equal_processings_do_not_depend_on_order(tmp_path):
    scenes = [Optical(when=DAY, id=name, dn=dn) for name, dn in (("a", 3000), ("b", 4000))]
    items = [{**item, "id": "SAME"} for item in items_of(tmp_path, scenes)]
    values = {
        float(opened(tmp_path, items, turned=turned)["sentinel2/reflectance"][0, 0, 9, 9])
        for turned in (False, True)
    }
    assert len(values) == 1


@pytest.mark.parametrize("baseline", ["99.99", "99.33", 99.99, "N9999", "10.00"])
def test_a_baseline_that_esa_never_used_needs_a_declared_offset(tmp_path, baseline):
    scenes = [
        Optical(when=DAY, id=name, baseline=b, properties=NO_NAME)
        for name, b in (("HOME", baseline), ("ESA", "05.11"))
    ]
    home, esa = items_of(tmp_path, scenes)
    with pytest.raises(UnsupportedItemError, match=r"'HOME'.*no ESA product.*raster:bands"):
        normalise_item(home)
    for offset in (0, -0.1):
        for key, asset in home["assets"].items():
            if key != "SCL":
                asset["raster:bands"] = [{"scale": 0.0001, "offset": offset}]
        scene = normalise_item(home)
        assert {a.offset for n, a in scene.assets.items() if n != "SCL"} == {offset}
        assert scene.baseline.startswith(("99.", "10."))
    archive = write_items(tmp_path / "items.json", [home, esa])
    assert [s.id for s in cubecrop.search(AREA, 2018, archive=archive)] == ["ESA"]
    del home["assets"]["B02"]["raster:bands"]
    with pytest.raises(UnsupportedItemError, match=r"B02.*none"):
        normalise_item(home)


def test_a_name_of_a_product_made_at_home_is_not_decided_by_another_baseline(tmp_path):
    uri = {"s2:product_uri": "S2A_MSIL2A_20180501T105621_N9999_R051_T31UES_20230101T000000.SAFE"}
    (item,) = items_of(tmp_path, [Optical(when=DAY, id="HOME", baseline="05.09", properties=uri)])
    with pytest.raises(UnsupportedItemError, match=r"99\.99, which no ESA product has"):
        normalise_item(item)


@pytest.mark.parametrize(
    ("stated", "baseline", "offset"),
    [
        (5.1, "05.10", -0.1), (5.11, "05.11", -0.1), (4, "04.00", -0.1), (2.07, "02.07", 0),
        ("5.1", "05.10", -0.1), ("N0510", "05.10", -0.1), ("05.10 ", "05.10", -0.1),
        (3.01, "03.01", 0), ("00.01", "00.01", 0), ("06.00", "06.00", -0.1),
    ],
)  # fmt: skip
def test_baselines_that_are_numbers(tmp_path, stated, baseline, offset):
    (item,) = items_of(tmp_path, [Optical(when=DAY, id="A", properties=NO_NAME)])
    item["properties"]["s2:processing_baseline"] = stated
    scene = normalise_item(item)
    assert (scene.baseline, scene.assets["B02"].offset) == (baseline, offset)


NUMBERS = {
    "orbit a text": ("sat:relative_orbit", "51", "relative_orbit", 51),
    "orbit a float": ("sat:relative_orbit", 51.0, "relative_orbit", 51),
    "cloud a text": ("eo:cloud_cover", "12.3", "cloud_cover", 12.3),
    "cloud NaN": ("eo:cloud_cover", float("nan"), "cloud_cover", None),
    "cloud unknown": ("eo:cloud_cover", "n/a", "cloud_cover", None),
    "cloud -1": ("eo:cloud_cover", -1, "cloud_cover", None),
    "code a number": ("proj:code", 32631, "crs", "EPSG:32631"),
    "code a float": ("proj:code", 32631.0, "crs", "EPSG:32631"),
    "code a digit text": ("proj:code", "32631", "crs", "EPSG:32631"),
    "code an URN": ("proj:code", "urn:ogc:def:crs:EPSG::32631", "crs", "EPSG:32631"),
    "epsg a code": ("proj:epsg", "EPSG:32631", "crs", "EPSG:32631"),
    "tile in lower case": ("s2:mgrs_tile", "31ues", "tile", "31UES"),
    "platform short": ("platform", "S2A", "platform", "sentinel-2a"),
}


@pytest.mark.parametrize(("key", "value", "name", "expected"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_as_text_and_texts_as_numbers(tmp_path, key, value, name, expected):
    items = items_of(tmp_path, [Optical(when=DAY, id="A")])
    items[0]["properties"][key] = value
    assert getattr(normalise_item(items[0]), name) == expected
    found = cubecrop.search(AREA, 2018, archive=write_items(tmp_path / "items.json", items))
    assert availability(found)["scenes"].tolist() == [1]


@pytest.mark.parametrize(
    ("key", "value"), [("sat:relative_orbit", "left"), ("eo:cloud_cover", "much")]
)
def test_words_where_a_number_should_be_are_named(tmp_path, key, value):
    (item,) = items_of(tmp_path, [Optical(when=DAY, id="A")])
    item["properties"][key] = value
    with pytest.raises(UnsupportedItemError, match=f"'A'.*{key} is '{value}'"):
        normalise_item(item)


METRES = shapely.geometry.mapping(shapely.box(*PLACE.bounds))
SWAPPED = {"type": "Polygon", "coordinates": [[[y, x] for x, y in PLACE.footprint]]}


@pytest.mark.parametrize(
    "change",
    [
        {"geometry": METRES},
        {"geometry": METRES, "bbox": list(PLACE.bounds)},
        {"bbox": list(PLACE.bounds)},
        {"geometry": SWAPPED},
    ],
    ids=["geometry", "both", "bbox", "swapped"],
)
@pytest.mark.parametrize("wrong", [1, 2])
def test_footprints_in_metres_are_placed_by_what_is_right(tmp_path, change, wrong):
    items = items_of(
        tmp_path, [Optical(when=f"2018-{d}T10:56:21Z", id=d) for d in ("03-01", "05-01")]
    )
    for item in items[:wrong]:
        item |= change
    archive = write_items(tmp_path / "items.json", items)
    found = cubecrop.search(AREA, 2018, archive=archive)
    assert len(found) == 2
    west, south, east, north = open_archive(archive).extent(["sentinel-2-l2a"]).bbox
    assert (west, south, east, north) == pytest.approx(PLACE.bbox, abs=1e-3)


def test_an_item_without_a_usable_place_is_refused_by_name(tmp_path):
    (item,) = items_of(tmp_path, [Optical(when=DAY, id="A")])
    bare = {
        key: {k: v for k, v in asset.items() if not k.startswith("proj:")}
        for key, asset in item["assets"].items()
    }
    metres = {**item, "assets": bare, "geometry": METRES, "bbox": None}
    swapped = {**item, "assets": bare, "geometry": SWAPPED}
    elsewhere = {**item, "properties": {**item["properties"], "proj:code": "EPSG:32640"}}
    for one, told in ((metres, "degrees"), (swapped, "swapped"), (elsewhere, "proj: fields")):
        archive = write_items(tmp_path / "items.json", [one])
        with pytest.raises(UnsupportedItemError, match=f"'A'.*{told}"):
            cubecrop.search(AREA, 2018, archive=archive)


@pytest.mark.parametrize("collection", [["sentinel-2-l2a"], {"id": "a"}, 7])
def test_a_collection_that_is_no_text_is_named(tmp_path, collection):
    items = items_of(tmp_path, [Optical(when=DAY, id="A")])
    items[0]["collection"] = collection
    with pytest.raises(UnsupportedItemError, match="'A' has collection"):
        normalise_item(items[0])
    with pytest.raises(UnsupportedItemError, match="'A' has collection"):
        cubecrop.search(AREA, 2018, archive=write_items(tmp_path / "items.json", items))


def test_a_lone_surrogate_is_named(tmp_path):
    items = items_of(tmp_path, [Optical(when=DAY, id="A")])
    for change in (
        {"id": "a\ud800"},
        {"properties": {**items[0]["properties"], "platform": "\ud800"}},
    ):
        changed = {**items[0], **change}
        with pytest.raises(UnsupportedItemError, match="half a character") as caught:
            cubecrop.search(AREA, 2018, archive=write_items(tmp_path / "items.json", [changed]))
        str(caught.value).encode()


def test_outlines_of_very_many_points_are_taken_by_their_hull(tmp_path):
    items = items_of(tmp_path, [Optical(when=DAY, id="A")])
    west, south, east, north = PLACE.bbox
    share = np.random.default_rng(0).random((30_000, 2))
    ring = (share * [east - west, north - south] + np.array([west, south])).tolist()
    many = [[[p, p, p, p]] for p in ring[:12_000]]
    for shape in (
        {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        {"type": "Polygon", "coordinates": [[*ring[:150], ring[0]]]},
        {"type": "MultiPolygon", "coordinates": many},
    ):
        items[0]["geometry"] = shape
        found = footprint_of(items[0])
        assert shapely.get_num_coordinates(found) < 10_000
        assert found.is_valid
        assert found.bounds == pytest.approx(PLACE.bbox, abs=3e-4)
        archive = open_archive(write_items(tmp_path / "items.json", items))
        assert (
            shapely.get_num_coordinates(shapely.geometry.shape(archive.records[0]["geometry"]))
            < 10_000
        )
        assert len(cubecrop.search(AREA, 2018, archive=archive)) == 1
