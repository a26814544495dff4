"""Real items as their catalogues may write them in future: read alike, or refused with advice."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pyproj
import pystac
import pytest

from cubecrop.archive import PROVIDERS, UnsupportedItemError, normalise_item

ITEMS = Path(__file__).parents[1].parent / "shared" / "data" / "stac-items"
#: One real item of each form.
PC = "pc__sentinel-2-l2a/S2B_MSIL2A_20240825T173909_R098_T13TDE_20240825T215747"
PC_OLD = "pc__sentinel-2-l2a/S2A_MSIL2A_20200611T080611_R078_T35MNM_20200826T230619"
RTC = "pc__sentinel-1-rtc/S1A_IW_GRDH_1SDV_20240325T055038_20240325T055103_053134_066FC4_rtc"
C1 = "es1__sentinel-2-c1-l2a/S2A_T13TDE_20240402T174230_L2A"
L2A = "es1__sentinel-2-l2a/S2B_24MXV_20250731_0_L2A"
L2A_OLD = "es1__sentinel-2-l2a/S2A_13SCA_20200403_0_L2A"
JP2 = "es1__sentinel-2-l2a/S2B_5CNL_20221009_0_L2A"
V0 = "es0__sentinel-s2-l2a-cogs/S2B_20EPT_20250731_0_L2A"
CDSE = "cdse__sentinel-2-l2a/S2C_MSIL2A_20260527T014651_N0512_R017_T55WFR_20260527T042005"
DEM = "pc__cop-dem-glo-30/Copernicus_DSM_COG_10_S90_00_W177_00_DEM"
GRD = "pc__sentinel-1-grd/S1A_IW_GRDH_1SDV_20220428T034417_20220428T034442_042968_05213C"
FORMS = [PC, PC_OLD, RTC, C1, L2A, L2A_OLD, JP2, V0, CDSE, DEM]

BASELINE, FLAG = "s2:processing_baseline", "earthsearch:boa_offset_applied"


def real(name):
    if not ITEMS.is_dir():
        pytest.skip(f"no real items at {ITEMS}")
    return json.loads((ITEMS / f"{name}.json").read_text())


def having(**properties):
    """A change of properties; ``...`` takes one out."""

    def change(item):
        item["properties"] |= properties
        item["properties"] = {k: v for k, v in item["properties"].items() if v is not ...}

    return change


def stating(baseline, **properties):
    """Another baseline, of a product whose name says nothing of it."""
    return having(**{BASELINE: baseline, "s2:product_uri": ...}, **properties)


def top(**members):
    return lambda item: item.update(members)


def every_asset(**fields):
    """A change of all assets; ``...`` takes a field out."""

    def change(item):
        for key, asset in item["assets"].items():
            merged = asset | fields
            item["assets"][key] = {k: v for k, v in merged.items() if v is not ...}

    return change


def one_asset(key, **fields):
    return lambda item: item["assets"][key].update(fields)


def only(*keys, under=None):
    """Assets of some keys alone, or these under other keys."""

    def change(item):
        names = under or keys
        item["assets"] = {n: item["assets"][k] for n, k in zip(names, keys, strict=True)}

    return change


def one_file(one, other):
    """Two assets that are one file, as when an item is copied by hand."""
    return lambda item: item["assets"][other].update(href=item["assets"][one]["href"])


def swapped(one, other):
    """Two assets with the files of each other."""

    def change(item):
        first, second = (item["assets"][key] for key in (one, other))
        first["href"], second["href"] = second["href"], first["href"]

    return change


def offset_of(value):
    """``raster:bands`` of every band state an offset."""

    def change(item):
        for asset in item["assets"].values():
            for band in asset.get("raster:bands", [])[:1]:
                band["offset"] = value

    return change


def as_stac_1_1(item):
    """Asset-level raster fields, ``bands`` and ``proj:code``, as the newer extensions have them."""
    item["stac_version"] = "1.1.0"
    for asset in item["assets"].values():
        band = (asset.pop("raster:bands", None) or [{}])[0]
        common = asset.pop("eo:bands", None)
        asset |= {f"raster:{k}": band[k] for k in ("scale", "offset") if k in band}
        asset |= {k: band[k] for k in ("nodata", "data_type") if k in band}
        if common:
            asset["bands"] = [{"name": common[0].get("name"), "eo:common_name": "any"}]
    item["properties"]["proj:code"] = f"EPSG:{item['properties'].pop('proj:epsg')}"


def crs_on_assets(item):
    every_asset(**{"proj:epsg": item["properties"].pop("proj:epsg")})(item)


def crs_as_wkt(item):
    wkt = pyproj.CRS(item["properties"]["proj:epsg"]).to_wkt()
    having(**{"proj:epsg": None, "proj:wkt2": wkt})(item)


def nobodys(item):
    """A mirror's copy: no links, files elsewhere."""
    item["links"] = []
    for key, asset in item["assets"].items():
        asset["href"] = f"https://example.org/{key}.tif"


def old_keys(item):
    """``sentinel2:`` for ``s2:``, as the first items of Earth Search's version 1 have it."""
    item["properties"] = {
        key.replace("s2:", "sentinel2:", 1): value for key, value in item["properties"].items()
    }


def of_old_baseline(item):
    """A product of baseline 02.14, of which CDSE declares -0.1 as of every other."""
    item["id"] = item["id"].replace("_N0512_", "_N0214_")
    item["properties"]["processing:version"] = "02.14"


#: Item, change, and what of the scene must then be so, dots reaching into B04 or vv.
READ = {
    **{
        f"raw, baseline {text}": (PC, stating(text), {"asset.offset": offset, "asset.scale": 1e-4})
        for text, offset in (("00.01", 0), ("02.14", 0), ("03.01", 0), ("04.00", -0.1),
                             ("05.12", -0.1), ("5.0", -0.1))
    },
    "baseline in the product's name": (PC, having(**{BASELINE: ...}), {"asset.offset": -0.1}),
    "cdse, version in the id": (CDSE, having(**{"processing:version": ...}),
                                {"asset.offset": -0.1}),
    "cdse, before 04.00": (CDSE, of_old_baseline, {"asset.offset": 0, "baseline": "02.14"}),
    "no raster metadata, c1": (C1, every_asset(**{"raster:bands": ..., "eo:bands": ...}),
                               {"asset.offset": -0.1, "asset.nodata": 0}),
    "no raster metadata, flag true": (L2A, every_asset(**{"raster:bands": ...}),
                                      {"asset.offset": 0, "asset.nodata": 0}),
    "no eo:bands": (L2A, every_asset(**{"eo:bands": ...}), {"asset.offset": 0}),
    "STAC 1.1, c1": (C1, as_stac_1_1, {"asset.offset": -0.1, "crs": "EPSG:32613"}),
    "STAC 1.1, flag true": (L2A, as_stac_1_1, {"asset.offset": 0, "crs": "EPSG:32724"}),
    "flag false": (L2A, having(**{FLAG: False}), {"asset.offset": -0.1, "offset_unverified": True}),
    "old, no flag": (L2A_OLD, having(**{FLAG: ...}), {"asset.offset": 0}),
    "both flags alike": (L2A, having(**{"sentinel:boa_offset_applied": True}), {"asset.offset": 0}),
    "old keys": (L2A, old_keys, {"asset.offset": 0, "baseline": "05.11", "tile": "24MXV",
                                 "platform": "sentinel-2b"}),
    "CRS on assets": (PC, crs_on_assets, {"crs": "EPSG:32613"}),
    "CRS under both keys": (PC, having(**{"proj:code": "EPSG:32613"}), {"crs": "EPSG:32613"}),
    "CRS as a text": (PC, having(**{"proj:epsg": "32613"}), {"crs": "EPSG:32613"}),
    "CRS code alone": (PC, having(**{"proj:epsg": None, "proj:code": "EPSG:32613"}),
                       {"crs": "EPSG:32613"}),
    **{
        f"datetime {text}": (PC, having(datetime=text), {"iso": iso})
        for text, iso in (
            ("2024-08-25 17:39:09Z", "2024-08-25T17:39:09+00:00"),
            ("2024-08-25t17:39:09z", "2024-08-25T17:39:09+00:00"),
            ("2024-08-25T17:39:09", "2024-08-25T17:39:09+00:00"),
            ("2024-08-25T17:39:09.024123456Z", "2024-08-25T17:39:09.024123+00:00"),
            ("2024-08-26T01:39:09+08:00", "2024-08-25T17:39:09+00:00"),
        )
    },
    "datetime null": (PC, having(datetime=None, start_datetime="2024-08-25 17:39:09Z",
                                 end_datetime="2024-08-25 17:39:19Z"),
                      {"iso": "2024-08-25T17:39:09+00:00"}),
    "another solar day": (PC, having(datetime="2024-08-26T03:00:00Z"), {"day": "2024-08-25"}),
    "no geometry": (PC, top(geometry=None), {"day": "2024-08-25"}),
    "no direction": (RTC, having(**{"sat:orbit_state": ...}), {"orbit_state": ""}),
    "direction in capitals": (RTC, having(**{"sat:orbit_state": "ASCENDING"}),
                              {"orbit_state": "ascending", "asset.nodata": -32768}),
    "no relative orbit": (RTC, having(**{"sat:relative_orbit": ...}), {"relative_orbit": None}),
    "Sentinel-1C": (RTC, having(platform="SENTINEL-1C"), {"platform": "sentinel-1c"}),
    "a copy, raw": (PC, nobodys, {"provider": "local", "asset.offset": -0.1}),
    "a copy, c1": (C1, nobodys, {"provider": "earth-search", "asset.offset": -0.1}),
    "a copy, version 0": (V0, nobodys, {"provider": "earth-search", "asset.offset": 0}),
    "a copy, radar": (RTC, nobodys, {"provider": "local", "asset.nodata": -32768}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "expected"), READ.values(), ids=READ)
def test_variants_of_one_item_are_read_alike(name, change, expected):
    item = real(name)
    change(item)
    before = deepcopy(item)
    scene = normalise_item(item)
    assert item == before
    asset = scene.assets["B04" if scene.modality == "sentinel2" else "vv"]
    values = {"iso": scene.datetime.isoformat(), "day": scene.solar_day.isoformat()}
    for key, value in expected.items():
        holder = asset if key.startswith("asset.") else scene
        found = values[key] if key in values else getattr(holder, key.split(".")[-1])
        assert found == value, key


def test_shape_and_transform_of_different_objects_are_not_combined():
    """A shape of 20 m on an asset and a transform of 10 m on the item make no edges together."""
    item = real(PC)

    def edges(**properties):
        scene = normalise_item({**item, "properties": item["properties"] | properties})
        return {band: asset.bounds for band, asset in scene.assets.items()}

    expected, fine = edges(), dict(item["assets"]["B02"])
    every_asset(**{"proj:transform": ..., "proj:bbox": ...})(item)
    assert set(edges().values()) == {None}
    for keys in (("proj:transform", "proj:shape"), ("proj:bbox",)):
        assert edges(**{key: fine[key] for key in keys}) == expected


#: Item, change, and words that the refusal must hold.
REFUSED = {
    "no baseline anywhere": (PC, stating(...), "expected a number such as '05.00'.*c1-l2a"),
    "baseline null": (PC, stating(None), "expected a number"),
    "baseline without a point": (PC, stating("0500"), "baseline '0500'"),
    "baseline against name": (PC_OLD, having(**{BASELINE: "04.00"}), "its product's name says"),
    "baseline against id": (CDSE, having(**{"processing:version": "02.14"}), "name says"),
    **{
        f"flag {value!r}": (L2A, having(**{FLAG: value}), "one value, true or false.*c1-l2a")
        for value in ("true", "false", 1, 0)
    },
    "flag null": (L2A, having(**{FLAG: None}), "lacks the flag.*c1-l2a"),
    "flag absent": (L2A, having(**{FLAG: ...}), "lacks the flag.*c1-l2a"),
    "flag absent, version 0": (V0, having(**{"sentinel:boa_offset_applied": ...}), "lacks the"),
    "flag true before 04.00": (L2A_OLD, having(**{FLAG: True}), "no offset to remove"),
    "flag true of c1": (C1, having(**{FLAG: True}), "original DN"),
    "flag true of originals": (JP2, having(**{FLAG: True}), "JPEG 2000"),
    "flags differ": (L2A, having(**{"sentinel:boa_offset_applied": False}), "one value, true"),
    "c1 declares 0": (C1, offset_of(0), r"declares offset 0\.0"),
    "c1 declares DN": (C1, offset_of(-1000), r"declares offset -1000\.0"),
    "old declares -0.1": (L2A_OLD, offset_of(-0.1), r"declares offset -0\.1"),
    "before Collection 1": (L2A, top(collection="sentinel-2-pre-c1-l2a"), "Collection 1"),
    "two CRS": (PC, having(**{"proj:code": "EPSG:32614"}), "expected one CRS"),
    "bands of two CRS": (CDSE, one_asset("B04_10m", **{"proj:code": "EPSG:32654"}), "several CRS"),
    "no CRS": (PC, having(**{"proj:epsg": None}), "no usable proj:code"),
    "CRS as WKT": (PC, crs_as_wkt, "no usable proj:code"),
    "radar in degrees": (RTC, having(**{"proj:epsg": 4326}), "sensor geometry"),
    "GRD called RTC": (GRD, top(collection="sentinel-1-rtc"), "no usable proj:code"),
    "GRD": (GRD, lambda item: None, "GRD.*sentinel-1-rtc"),
    "one polarisation": (RTC, only("vv"), r"lacks \['vh'\]"),
    "polar polarisations": (RTC, only("vv", "vh", under=("hh", "hv")), r"lacks \['vh', 'vv'\]"),
    "no datetime": (PC, having(datetime=None), "no readable datetime"),
    "no assets": (PC, top(assets={}), "has assets"),
    "a band missing": (PC, lambda item: item["assets"].pop("B04"), r"lacks \['B04'\]"),
    "no id": (PC, top(id=None), "expected text that identifies"),
    "nobody's names": (L2A, nobodys, "pass `provider='earth-search'`"),
    "names of CDSE": (CDSE, nobodys, "pass `provider='cdse'`"),
    "L1C inside": (PC, having(**{"s2:product_uri": "S2B_MSIL1C_20240825T173909_N0511_X"}), "L1C"),
    "one file of two bands": (PC, one_file("B08", "B8A"), r"'B08' and 'B8A' at one file"),
    "bands swapped": (C1, swapped("swir16", "swir22"), "asset 'swir16'.*band B11.*B12.tif"),
    "polarisations swapped": (RTC, swapped("vv", "vh"), "asset 'vv'.*of VH"),
    **{
        f"href {href}": (PC, one_asset("B04", href=href), "asset 'B04' of item .*expected a path")
        for href in ("", "/vsis3/bucket/B04.tif", "gs://bucket/B04.tif", "data:image/tiff,x")
    },
    **{
        f"collection {name}": (PC, top(collection=name, id="another"), reason)
        for name, reason in (
            ("sentinel-2-l1c", "L1C"), ("landsat-c2-l2", "sensor"), ("hls2-s30", "sensor"),
            ("modis-13Q1-061", "sensor"), ("sentinel-3-olci-lfr-netcdf", "sensor"),
            ("sentinel-5p-l2-netcdf", "sensor"), ("naip", "sensor"), ("usda-cdl", "a map"),
            ("io-lulc-9-class", "a map"), ("cop-dem-glo-90", "cop-dem-glo-30"),
            ("nasadem", "cop-dem-glo-30"), ("cop-dem-glo-30-dged-cog", "elevation"),
            ("sentinel-1-grd", "radar geometry"),
            ("sentinel-1-global-mosaics", "sentinel-1-rtc"), ("sentinel-1-slc", "SLC"),
            ("sentinel-2-global-mosaics", "mosaic"), ("sentinel-1-grd-rtc-staging", "RTC"),
            ("gridmet", "weather=.*"), ("SENTINEL-2", "known coll"), (None, "known coll"),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "reason"), REFUSED.values(), ids=REFUSED)
def test_ambiguous_items_are_refused(name, change, reason):
    item = real(name)
    change(item)
    with pytest.raises(UnsupportedItemError, match=reason) as caught:
        normalise_item(item)
    assert repr(str(item["id"])) in str(caught.value)
    assert "malformed" not in str(caught.value)


# pystac tells what it could not bring to its own version of STAC, such as buckets.
@pytest.mark.filterwarnings("ignore:Could not parse bucket")
@pytest.mark.parametrize("name", FORMS)
def test_a_pystac_item_is_its_dict(name):
    item = real(name)
    scene = normalise_item(item)
    read = normalise_item(pystac.Item.from_dict(deepcopy(item)))
    for field in ("id", "provider", "assets", "crs", "start", "solar_day", "tile", "baseline",
                  "orbit_state", "relative_orbit", "datatake", "generated"):  # fmt: skip
        assert getattr(read, field) == getattr(scene, field)


def test_a_pystac_item_of_a_file_names_files_beside_it(tmp_path):
    item = real(FORMS[0])
    for key in item["assets"]:
        item["assets"][key]["href"] = f"./{key}.tif"
    item["links"] = []
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item))
    read = pystac.Item.from_file(str(path))
    scene = normalise_item(read, provider="planetary-computer")
    for asset in scene.assets.values():
        assert Path(asset.href).parent == tmp_path
    assert all(asset.href.startswith("./") for asset in read.assets.values())  # as it was given
    read.set_self_href(None)
    with pytest.raises(UnsupportedItemError, match=r"relative hrefs.*from_file"):
        normalise_item(read, provider="planetary-computer")


@pytest.mark.parametrize("name", FORMS)
def test_a_provider_that_links_and_files_contradict_is_refused(name):
    item = real(name)
    own = normalise_item(item).provider
    assert normalise_item(item, provider=own).provider == own
    theirs = replace(PROVIDERS[own], name="mine")  # a row made of the provider's own
    assert normalise_item(item, provider=theirs).provider == "mine"
    for other in {"planetary-computer", "earth-search", "cdse"} - {own}:
        with pytest.raises(UnsupportedItemError, match=rf"{item['id']}.* should be of '{other}'"):
            normalise_item(item, provider=other)
