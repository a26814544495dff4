"""Offsets and providers of test items: every decision, and every contradiction."""

import json
from copy import deepcopy

import pytest

from cubecrop.archive import PROVIDERS, normalise_item
from cubecrop.errors import UnsupportedItemError
from cubecrop.schema import SENTINEL2_BANDS
from cubecrop.testing import Optical, write_archive


@pytest.fixture
def optical(tmp_path):
    """A made item of baseline 05.10 in the Planetary Computer's form."""
    folder = write_archive(tmp_path / "made", [Optical(when="2018-06-01T10:56:21Z", id="made")])
    return json.loads((folder / "sentinel-2-l2a" / "made" / "made.json").read_text())


def in_form_of(item, provider, collection, *, suffix="tif", **properties):
    """An item under a catalogue's asset keys and collection id."""
    item = deepcopy(item)
    rule = PROVIDERS[provider].collections[collection]
    assets = {key: item["assets"][band] for band, key in rule.assets.items()}
    for key, asset in assets.items():
        asset |= {"href": f"https://example.org/{key}.{suffix}", "type": f"image/{suffix}"}
    found = {**item["properties"], **properties}
    return {
        **item,
        "collection": collection,
        "assets": assets,
        "properties": {key: value for key, value in found.items() if value is not None},
    }


def declare(item, **values):
    for key, asset in item["assets"].items():
        if key.upper() != "SCL":
            asset["raster:bands"] = [values]
    return item


V1 = "earthsearch:boa_offset_applied"
BASELINE = "s2:processing_baseline"
L2A = ("earth-search", "sentinel-2-l2a")
V0 = ("earth-search", "sentinel-s2-l2a-cogs")
C1 = ("earth-search", "sentinel-2-c1-l2a")
PC = ("planetary-computer", "sentinel-2-l2a")
CDSE = ("cdse", "sentinel-2-l2a")

DECIDED = {
    "raw, from the baseline": (PC, {}, None, -0.1),
    "raw, before": (PC, {BASELINE: "03.01"}, None, 0.0),
    "raw, declared": (CDSE, {}, -0.1, -0.1),
    "processing:version": (CDSE, {BASELINE: None, "processing:version": "05.00"}, -0.1, -0.1),
    "before, -0.1 declared all the same": (CDSE, {BASELINE: "02.14"}, -0.1, 0.0),
    "before, 0 declared": (CDSE, {BASELINE: "02.14"}, 0, 0.0),
    "from the product's name": (PC, {BASELINE: None, "s2:product_uri": "S2A_N0500_X"}, None, -0.1),
    "c1": (C1, {}, -0.1, -0.1),
    "c1, flag false": (C1, {V1: False}, -0.1, -0.1),
    "c1, nothing declared": (C1, {}, None, -0.1),
    "shifted, -0.1 declared all the same": (L2A, {V1: True}, -0.1, 0.0),
    "shifted, 0 declared": (L2A, {V1: True}, 0, 0.0),
    "not shifted": (L2A, {V1: False}, -0.1, -0.1),
    "old, flag false": (L2A, {BASELINE: "02.14", V1: False}, 0, 0.0),
    "old, no flag": (L2A, {BASELINE: "02.14"}, 0, 0.0),
    "v0, shifted": (V0, {"sentinel:boa_offset_applied": True}, None, 0.0),
    "BOA_ADD_OFFSET of each band": (PC, {"BOA_ADD_OFFSET_B2": -1000}, None, -0.1),
    "BOA_ADD_OFFSET as a list": (PC, {"s2:boa_add_offset": [-1000] * 13}, None, -0.1),
    "BOA_ADD_OFFSET of a shifted file": (L2A, {V1: True, "boa_add_offset": -1000}, -0.1, 0.0),
}


@pytest.mark.parametrize(("form", "properties", "stated", "offset"), DECIDED.values(), ids=DECIDED)
def test_the_offset_is_decided_and_the_reason_recorded(optical, form, properties, stated, offset):
    item = in_form_of(optical, *form, **properties)
    if stated is not None:
        declare(item, scale=1e-4, offset=stated, nodata=0)
    scene = normalise_item(item, provider=form[0])
    assert {scene.assets[band].offset for band in SENTINEL2_BANDS} == {offset}
    assert scene.harmonisation.startswith(f"offset {offset:g}: ")
    assert ("boa_offset_applied" in scene.harmonisation) == (
        V1 in properties or "sentinel:boa_offset_applied" in properties
    )
    assert scene.offset_unverified == (form is L2A and offset < 0)


CONTRADICTIONS = {
    "no flag from 04.00": (L2A, {}, -0.1, "sentinel-2-c1-l2a"),
    "no flag from 04.00, v0": (V0, {}, None, "lacks the flag"),
    "flag of a raw collection": (C1, {V1: True}, -0.1, "original DN"),
    "flag of the Planetary Computer": (PC, {V1: True}, None, "original DN"),
    "flag before 04.00": (L2A, {BASELINE: "02.14", V1: True}, 0, "before 04.00"),
    "flag a text": (L2A, {V1: "true"}, -0.1, "true or false"),
    "flags differ": (L2A, {V1: True, "sentinel:boa_offset_applied": False}, 0, "true or false"),
    "flag false, 0 declared": (L2A, {V1: False}, 0, "declares offset 0.0"),
    "flag true, +0.1 declared": (L2A, {V1: True}, 0.1, "declares offset 0.1"),
    "c1, 0 declared": (C1, {}, 0, "declares offset 0.0"),
    "cdse, 0 declared": (CDSE, {}, 0, "declares offset 0.0"),
    "old, -0.1 declared": (C1, {BASELINE: "02.14"}, -0.1, "declares offset -0.1"),
    "no baseline": (CDSE, {BASELINE: None}, -0.1, "has an unknown processing baseline"),
    "baseline no number": (PC, {BASELINE: "new"}, None, "processing baseline 'new'"),
    "name contradicts": (PC, {BASELINE: "02.14", "s2:product_uri": "S2A_N0500_X"}, 0, "05.00"),
    "flag without a prefix": (PC, {"boa_offset_applied": True}, None, "original DN"),
    "flag with another prefix": (PC, {"s2:boa_offset_applied": True}, None, "original DN"),
    "BOA_ADD_OFFSET 0": (
        PC,
        {"s2:boa_add_offset": 0},
        None,
        "states s2:boa_add_offset 0, .* -1000",
    ),
    "BOA_ADD_OFFSET before 04.00": (
        PC,
        {BASELINE: "02.14", "BOA_ADD_OFFSET_B2": -1000},
        0,
        "require 0",
    ),
    "an L1C": (PC, {"s2:product_uri": "S2A_MSIL1C_2020"}, None, "L1C"),
}


@pytest.mark.parametrize(
    ("form", "properties", "stated", "reason"), CONTRADICTIONS.values(), ids=CONTRADICTIONS
)
def test_a_contradiction_is_refused(optical, form, properties, stated, reason):
    item = in_form_of(optical, *form, **properties)
    if stated is not None:
        declare(item, offset=stated)
    with pytest.raises(UnsupportedItemError, match=reason) as caught:
        normalise_item(item, provider=form[0])
    assert "'made'" in str(caught.value)


def test_originals_in_jpeg_2000_are_never_shifted(optical):
    item = declare(in_form_of(optical, *L2A, suffix="jp2"), offset=-0.1)
    scene = normalise_item(item, provider="earth-search")
    assert scene.assets["B04"].offset == -0.1
    assert not scene.offset_unverified
    mixed = deepcopy(item)
    mixed["assets"]["red"] |= {"href": "https://example.org/red.tif", "type": "image/tiff"}
    with pytest.raises(UnsupportedItemError, match="one form"):
        normalise_item(mixed, provider="earth-search")
    item["properties"][V1] = True
    with pytest.raises(UnsupportedItemError, match="JPEG 2000"):
        normalise_item(item, provider="earth-search")


def test_one_scene_in_four_forms_means_the_same(optical):
    def values(form, **properties):
        item = in_form_of(optical, *form, **properties)
        asset = normalise_item(item, provider=form[0]).assets["B8A"]
        return asset.scale, asset.offset

    assert values(PC) == values(C1) == values(CDSE) == (1e-4, -0.1)
    assert values(L2A, **{V1: True}) == (1e-4, 0.0)  # whose files hold 1000 less


@pytest.mark.parametrize("where", ["raster:bands", "bands", "asset"])
def test_metadata_is_found_wherever_stac_lets_it_stand(optical, where):
    item = in_form_of(optical, *CDSE)
    for value, fails in ((-0.1, False), (0.0, True)):
        found = {"raster:bands": {"offset": value}}.get(where, {"raster:offset": value})
        for asset in item["assets"].values():
            asset |= found if where == "asset" else {where: [found]}
        if fails:
            with pytest.raises(UnsupportedItemError, match=r"declares offset 0\.0"):
                normalise_item(item, provider="cdse")
        else:
            scene = normalise_item(item, provider="cdse")
            assert (scene.assets["SCL"].scale, scene.assets["SCL"].offset) == (1, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"nodata": 65535}, "declares nodata"),
        ({"nodata": 0, "raster:nodata": 1}, "declares nodata"),
        ({"scale": 1.0}, "declares scale"),
        ({"type": "application/vnd+zarr"}, "Zarr"),
        ({"href": "https://example.org/a.zarr/B04"}, "Zarr"),
        ({"proj:code": "EPSG:32632"}, "several CRS"),
    ],
)
def test_an_asset_that_differs_from_the_known_form_is_refused(optical, change, reason):
    optical["assets"]["B04"] |= change
    with pytest.raises(UnsupportedItemError, match=reason) as caught:
        normalise_item(optical)
    assert "'made'" in str(caught.value)


# Whose item it is


def test_a_provider_is_recognised_by_links_or_hrefs(optical):
    page = "https://planetarycomputer.microsoft.com/api/stac/v1/collections/sentinel-2-l2a"
    linked = {**optical, "links": [{"rel": "collection", "href": page}]}
    assert normalise_item(linked).provider == "planetary-computer"
    assert normalise_item(optical).provider == "local"
    for host, provider in (
        ("https://sentinel2l2a01.blob.core.windows.net/a", "planetary-computer"),
        ("https://other.blob.core.windows.net/a", "local"),
        ("https://notplanetarycomputer.microsoft.com.example.org/a", "local"),
    ):
        item = deepcopy(optical)
        for key, asset in item["assets"].items():
            asset["href"] = f"{host}/{key}.tif"
        assert normalise_item(item).provider == provider
    item = in_form_of(optical, *L2A, **{V1: True})
    for key, asset in item["assets"].items():
        asset["href"] = f"https://s3.us-west-2.amazonaws.com/sentinel-cogs/{key}.tif"
    assert normalise_item(item).provider == "earth-search"
    with pytest.raises(UnsupportedItemError, match=r"'made' has links of .*files of"):
        normalise_item({**item, "links": linked["links"]})


def test_a_mirror_names_its_provider(optical):
    mirrored = in_form_of(optical, *CDSE)
    with pytest.raises(UnsupportedItemError, match="pass `provider='cdse'`"):
        normalise_item(mirrored)
    assert normalise_item(mirrored, provider="cdse").provider == "cdse"
    assert normalise_item(in_form_of(optical, *C1)).provider == "earth-search"


@pytest.mark.parametrize("thing", [None, [], "item", {}, {"type": "Catalog"}, {"type": []}])
def test_objects_that_are_no_item_are_refused(thing):
    with pytest.raises(UnsupportedItemError, match="item"):
        normalise_item(thing)
