"""Real items of every catalogue: what is parsed or refused, and how numbers are scaled."""

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from cubecrop.archive import PROVIDERS, normalise_item, open_archive, search
from cubecrop.errors import UnsupportedItemError
from cubecrop.schema import SENTINEL2_BANDS
from cubecrop.season import Season
from cubecrop.testing import Optical, write_archive

ITEMS = Path(__file__).parents[1].parent / "shared" / "data" / "stac-items"
#: Source and collection of every item that a user may map with; all others are refused.
SUPPORTED = {
    ("pc", "sentinel-2-l2a"): "planetary-computer",
    ("pc", "sentinel-1-rtc"): "planetary-computer",
    ("pc", "cop-dem-glo-30"): "planetary-computer",
    ("pc", "era5-pds"): "planetary-computer",
    ("es1", "sentinel-2-c1-l2a"): "earth-search",
    ("es1", "sentinel-2-l2a"): "earth-search",
    ("es1", "cop-dem-glo-30"): "earth-search",
    ("es0", "sentinel-s2-l2a-cogs"): "earth-search",
    ("cdse", "sentinel-2-l2a"): "cdse",
    ("stactools", "cop-dem-glo-30"): "local",
}
#: A word of the reason that the refused must name.
REASONS = {
    "sentinel-1-grd": "radar geometry",
    "sentinel1-grd": "radar geometry",
    "None": "radar geometry",
    "sentinel1-slc": "SLC",
    "sentinel1-rtc-aws": "RTC",
    "sentinel-2-l1c": "L1C",
    "sentinel2-l1c-example": "L1C",
    "sentinel-2-global-mosaics": "mosaic",
    "cop-dem-glo-90": "cop-dem-glo-30",
    "sentinel-2-l2a-staging": "Zarr",
    "sentinel2-l2a-example": "provider",
}


def files():
    if not ITEMS.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no real items at {ITEMS}"))]
    paths = sorted(ITEMS.glob("*/*.json"))
    return [pytest.param(path, id=f"{path.parent.name}/{path.stem}") for path in paths]


def load(path):
    return json.loads(path.read_text())


def real(folder, pattern):
    """Real items of a folder, sorted by name."""
    if not ITEMS.is_dir():
        pytest.skip(f"no real items at {ITEMS}")
    found = [load(path) for path in sorted((ITEMS / folder).glob(f"{pattern}.json"))]
    assert found
    return found


def offset_by_the_facts(source, item):
    """Offset of an item as ../shared/facts/archives.md states it; None = must be refused."""
    properties = item["properties"]
    text = json.dumps(properties)
    baseline = re.search(r'(?:processing_baseline|processing:version)": "(\d\d\.\d\d)"', text)
    product = re.search(r"_N(\d\d)(\d\d)_", text)
    number = baseline[1] if baseline else f"{product[1]}.{product[2]}"
    if number < "04.00":
        return 0.0
    if source in {"pc", "cdse"} or item["collection"] == "sentinel-2-c1-l2a":
        return -0.1
    flag = re.search(r'boa_offset_applied": (true|false)', text)
    if flag is None:
        return -0.1 if "jp2" in json.dumps(item["assets"]["red"]) else None
    return 0.0 if flag[1] == "true" else -0.1


@pytest.mark.parametrize("path", files())
def test_every_real_item_is_parsed_as_the_facts_say_or_refused_with_a_reason(path):
    item, source = load(path), path.parent.name.split("__")[0]
    collection = str(item.get("collection"))
    expected = SUPPORTED.get((source, collection)) if path.parent.name != "collections" else None
    if expected and not any(word in path.name for word in ("DEM", "rtc", "era5")):
        keys = set(PROVIDERS[expected].collections[collection].assets.values())
        if not keys <= set(item["assets"]) or offset_by_the_facts(source, item) is None:
            expected = None
    if expected is None:
        reason = "STAC Collection" if path.parent.name == "collections" else REASONS.get(collection)
        with pytest.raises(UnsupportedItemError, match=reason) as caught:
            normalise_item(item)
        assert repr(item["id"]) in str(caught.value)
        assert "malformed" not in str(caught.value)
        return
    scene = normalise_item(item)
    assert scene == normalise_item(item, provider=expected)
    assert (scene.id, scene.provider, scene.collection) == (item["id"], expected, collection)
    if scene.modality == "sentinel2":
        check_optical(scene, item, offset_by_the_facts(source, item))
    elif scene.modality == "sentinel1":
        check_radar(scene, item)
    elif scene.modality == "weather":
        check_weather(scene, item)
    else:
        asset = scene.assets["elevation"]
        assert (scene.crs, asset.scale, asset.offset, asset.nodata) == ("EPSG:4326", 1, 0, None)
        assert scene.datetime.date().isoformat() == "2021-04-22"


def check_optical(scene, item, offset):
    cloud = {"CLDPRB"} if item["collection"] == "sentinel-2-c1-l2a" else set()
    assert set(scene.assets) == {*SENTINEL2_BANDS, "SCL"} | cloud
    for band, asset in scene.assets.items():
        # 0 % of cloud is a value, though the items declare it as nodata.
        expected = {"SCL": (1.0, 0.0, 0.0), "CLDPRB": (1.0, 0.0, 255.0)}
        assert (asset.scale, asset.offset, asset.nodata) == expected.get(band, (1e-4, offset, 0.0))
        name = "CLD" if band == "CLDPRB" else band
        assert name in re.split(r"[/_.]", asset.href)  # which every catalogue's files are called
        left, bottom, right, top = asset.bounds
        assert right - left == top - bottom == 109_800
    zone = int(re.fullmatch(r"(\d\d)[C-X][A-Z]{2}", scene.tile)[1])
    assert re.fullmatch(rf"EPSG:32[67]{zone:02d}", scene.crs)
    assert scene.harmonisation.startswith(f"offset {offset:g}: ")
    assert scene.baseline in scene.harmonisation
    assert re.fullmatch(r"sentinel-2[abc]", scene.platform)
    if scene.datatake:
        assert scene.relative_orbit
        assert scene.generated > scene.datatake[:4]
    else:
        assert "sentinel2:id" in item["properties"]
    assert scene.orbit_state == item["properties"].get("sat:orbit_state", "")


def check_weather(scene, item):
    kinds = {"an": {"temperature"}, "fc": {"precipitation", "solar_radiation"}}
    assert set(scene.assets) == kinds[item["properties"]["era5:kind"]]
    assert scene.accumulation == "hour"
    assert (scene.crs, scene.start.isoformat()) == (None, "2020-12-01T00:00:00+00:00")
    for asset in scene.assets.values():
        assert asset.href.startswith("https://cpdataeuwest.blob.core.windows.net/era5/ERA5/2020/")
        assert (asset.scale, asset.offset, asset.nodata) == (1, 0, None)


def check_radar(scene, item):
    assert set(scene.assets) == {"vv", "vh"}
    for asset in scene.assets.values():
        assert (asset.scale, asset.offset, asset.nodata) == (1, 0, -32768)
    assert (scene.calibration, scene.orbit_state) == ("gamma0", "descending")
    assert scene.relative_orbit == item["properties"]["sat:relative_orbit"]
    assert scene.platform == "sentinel-1a"
    assert scene.crs == f"EPSG:{item['properties']['proj:epsg']}"
    assert scene.harmonisation == ""
    assert " " in item["properties"]["start_datetime"]


def test_radar_without_a_projected_crs_is_refused():
    item = real("pc__sentinel-1-rtc", "*")[0]
    item["properties"]["proj:epsg"] = 4326
    with pytest.raises(UnsupportedItemError, match="radar or sensor geometry"):
        normalise_item(item)


def test_every_item_of_the_manifest_is_tested():
    if not ITEMS.is_dir():
        pytest.skip(f"no real items at {ITEMS}")
    rows = list(csv.DictReader((ITEMS / "MANIFEST.csv").read_text().splitlines()))
    assert len(rows) == len(files())
    counts = Counter()
    for path in ITEMS.glob("*/*.json"):
        try:
            counts[normalise_item(load(path)).provider] += 1
        except UnsupportedItemError:
            counts["refused"] += 1
    assert sum(counts.values()) == len(rows)
    assert set(counts) == {*PROVIDERS, "refused"}


# One acquisition once, on real items


def found_in(tmp_path, items, bbox, season, **options):
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    archive = open_archive(path, **options)
    return search(bbox, season, archive=archive, modalities=["sentinel2"])


def ids(scenes):
    return [scene.id for scene in scenes]


def test_reprocessings_of_one_acquisition_count_once(tmp_path):
    items = real("es1__sentinel-2-l2a", "S2A_32T*_20200302_?_L2A")
    for name, order in (("a", items), ("b", items[::-1])):
        (tmp_path / name).mkdir()
        found = found_in(tmp_path / name, order, (7.5, 47, 10, 48), 2020)
        assert ids(found) == ["S2A_32TMT_20200302_1_L2A", "S2A_32TNT_20200302_1_L2A"][::-1]
        assert {scene.assets["B02"].offset for scene in found} == {0.0}
        assert sorted(ids(found.superseded)) == [
            "S2A_32TMT_20200302_0_L2A",
            "S2A_32TNT_20200302_0_L2A",
        ]


def test_one_acquisition_in_two_collections_counts_once(tmp_path):
    items = real("es1__sentinel-2-l2a", "*_2025*") + real("es1__sentinel-2-c1-l2a", "*_2025*")
    season = Season(2026, hemisphere="south")
    found = found_in(tmp_path, items, (-42, -7, -36, -3), season)
    raw = [one for one in found if one.collection == "sentinel-2-c1-l2a"]
    assert sorted(one.tile for one in raw) == ["24MUV", "24MVV", "24MWV", "24MXV"]
    assert {one.tile for one in found} - {one.tile for one in raw} == {"24MUA"}
    assert {one.collection for one in found.superseded} == {"sentinel-2-l2a"}
    assert len(found) + len(found.superseded) == 9
    only = found_in(tmp_path, items, (-42, -7, -36, -3), season, collections=["sentinel-2-l2a"])
    assert {one.collection for one in only} == {"sentinel-2-l2a"}
    v0 = real("es0__sentinel-s2-l2a-cogs", "S2B_20EPT*")  # which outlines it differently
    found = found_in(tmp_path, items + v0, (-62, -62, -57, -60), season)
    assert [one.collection for one in found] == ["sentinel-2-c1-l2a"]


def test_tiles_of_three_zones_are_of_one_day(tmp_path):
    items = real("pc__sentinel-2-l2a", "S2A_MSIL2A_20190101*")
    found = found_in(tmp_path, items, (160, 40, 180, 65), 2019)
    assert len(found) == len(items)
    assert found.superseded == ()
    assert {one.crs for one in found} == {"EPSG:32658", "EPSG:32659", "EPSG:32660"}
    assert {one.solar_day.isoformat() for one in found} == {"2019-01-01"}


def test_items_read_from_a_file_are_as_they_were(tmp_path):
    for folder in ("cdse__sentinel-2-l2a", "es0__sentinel-s2-l2a-cogs", "pc__sentinel-2-l2a"):
        items = [item for item in real(folder, "*") if len(item["assets"]) > 2]
        unique = {item["id"]: item for item in items}
        items = [one for one in unique.values() if "myurl" not in json.dumps(one)]
        path = tmp_path / f"{folder}.json"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
        archive = open_archive(path)
        for raw, record in zip(items, archive.records, strict=True):
            before, after = normalise_item(raw), normalise_item(record, provider=archive.provider)
            for name in ("assets", "crs", "tile", "baseline", "datatake", "generated", "start"):
                assert getattr(before, name) == getattr(after, name)


def test_an_image_across_the_antimeridian_has_the_day_of_where_it_is():
    item = real("pc__sentinel-2-l2a", "S2A_MSIL2A_20230216T145731*")[0]

    def at(west=0, east=0, **geometry):
        ring = [[west, 0], [east, 0], [east, 1], [west, 1], [west, 0]]
        shape = geometry or {"type": "Polygon", "coordinates": [ring]}
        properties = {**item["properties"], "datetime": "2018-06-01T23:30:00Z"}
        # Without what else places it.
        assets = {
            key: {name: value for name, value in asset.items() if not name.startswith("proj:")}
            for key, asset in item["assets"].items()
        }
        stated = {"bbox": None, "geometry": shape, "properties": properties, "assets": assets}
        return normalise_item({**item, **stated})

    east = [[[[179.5, 0], [180, 0], [180, 1], [179.5, 1], [179.5, 0]]]]
    west = [[[[-180, 0], [-179.9, 0], [-179.9, 1], [-180, 1], [-180, 0]]]]
    parts = {"type": "MultiPolygon", "coordinates": east + west}
    for scene in (at(179.5, -179.9), at(**parts)):
        assert scene.solar_day.isoformat() == "2018-06-02"
        assert scene.footprint.area == pytest.approx(0.6)
    assert at(-179.5, 179.9).solar_day.isoformat() == "2018-06-01"
    low = [[[[-0.5, 0], [-0.1, 0], [-0.1, 1], [-0.5, 0]]], [[[0.1, 0], [1, 0], [1, 1], [0.1, 0]]]]
    greenwich = at(type="MultiPolygon", coordinates=low)
    assert greenwich.solar_day.isoformat() == "2018-06-01"
    assert at(3, 4).solar_day.isoformat() == "2018-06-01"


def test_items_that_state_no_datatake_join_the_pass_they_are_of(tmp_path):
    def scene(name, when, uri, baseline="02.14"):
        properties = {"s2:product_uri": uri}
        return Optical(when=when, id=name, baseline=baseline, properties=properties)

    scenes = [
        scene("named", "2018-06-01T10:56:21Z", "S2A_MSIL2A_20180601T104021_N0500_", "05.00"),
        scene("unnamed", "2018-06-01T10:56:21.999Z", None),
        scene("an orbit later", "2018-06-01T12:37:00Z", None),
        scene("its twin", "2018-06-01T12:37:00.001Z", None, "05.00"),
    ]
    archive = write_archive(tmp_path, scenes)
    found = search((2.9, 50.7, 3.1, 50.9), 2018, archive=archive, modalities=["sentinel2"])
    assert ids(found) == ["named", "its twin"]
    assert ids(found.superseded) == ["unnamed", "an orbit later"]
