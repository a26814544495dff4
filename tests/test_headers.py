"""A file's header is compared with its item, by every backend, with and without a warp."""

import numpy as np
import pytest
from affine import Affine
from cubes import DAY, NEXT, PLACE, RADAR_DAY, area, season
from extras import needs_stackstac
from files import edit, rewrite

from cubecrop import open_season
from cubecrop.cube import OdcBackend, StackstacBackend
from cubecrop.errors import ReadError, UnsupportedItemError
from cubecrop.testing import Elevation, Optical, Place, Radar, write_archive

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

BANDS, SCL = "sentinel-2-l2a/*/B02.tif", "sentinel-2-l2a/*/SCL.tif"
RADAR, HEIGHTS = "sentinel-1-rtc/*/vv.tif", "cop-dem-glo-30/*/data.tif"
WAYS = {
    "straight": {},
    "warped": {"crs": "EPSG:3035"},
    "in chunks": {"chunks": 16},
    "stackstac": {"backend": StackstacBackend()},
    "odc": {"backend": OdcBackend()},
    "odc, warped": {"backend": OdcBackend(), "crs": "EPSG:3035"},
}


@pytest.fixture
def folder(tmp_path):
    return write_archive(tmp_path, [Optical(when=DAY), Radar(when=RADAR_DAY), Elevation()])


def moved(by):
    return Affine(10, 0, PLACE.left + by, 0, -10, PLACE.top)


# What a file is, the asset that is blamed, and what of the message is told of the file.
OTHERS = {
    "shifted by a pixel": (BANDS, {"transform": moved(10)}, "B02", "has bounds"),
    "of the next tile": (BANDS, {"transform": moved(90_000)}, "B02", "has bounds"),
    "of the next zone": (BANDS, {"crs": "EPSG:32632"}, "B02", "is in EPSG:32632"),
    "of 20 m": (
        BANDS, {"values": lambda old: old[::2, ::2],
                "transform": Affine(20, 0, PLACE.left, 0, -20, PLACE.top)}, "B02", "(30, 30) rows",
    ),
    "smaller": (BANDS, {"values": lambda old: old[:40, :50]}, "B02", "(40, 50) rows"),
    "int16": (BANDS, {"dtype": "int16"}, "B02", "of type int16"),
    "float reflectance": (BANDS, {"dtype": "float32"}, "B02", "of type float32"),
    "eight bits": (BANDS, {"dtype": "uint8", "values": lambda old: old * 0 + 9}, "B02", "uint8"),
    "offset in its tags": (BANDS, {"tags": (1e-4, 0.0)}, "B02", "in its own tags"),
    "classes as float": (SCL, {"dtype": "float32"}, "SCL", "of type float32"),
    "classes of the next zone": (SCL, {"crs": "EPSG:32632"}, "SCL", "is in EPSG:32632"),
    "amplitude": (RADAR, {"dtype": "uint16", "nodata": None}, "vv", "of type uint16"),
    "radar shifted": (RADAR, {"transform": moved(-30)}, "vv", "has bounds"),
    "heights shifted": (HEIGHTS, {"transform": moved(30)}, "elevation", "has bounds"),
    "heights in decimetres": (HEIGHTS, {"tags": (0.1, 0.0)}, "elevation", "in its own tags"),
    "a picture of heights": (HEIGHTS, {"dtype": "uint8"}, "elevation", "of type uint8"),
}  # fmt: skip


def is_named(folder, name, way):
    """Whether a read of another file tells which one it is, and what it is."""
    pattern, change, asset, told = OTHERS[name]
    rewrite(folder, pattern, **change)
    child = {BANDS: "sentinel2", SCL: "sentinel2", RADAR: "sentinel1", HEIGHTS: "terrain"}[pattern]
    cube = open_season(area(PLACE), 2018, archive=folder, **WAYS[way])
    with pytest.raises(ReadError, match=f"asset '{asset}' of item") as caught:
        cube[child].to_dataset().compute()
    return told in str(caught.value)


@pytest.mark.parametrize("way", ["straight", "warped"])
@pytest.mark.parametrize("name", OTHERS)
def test_another_file_under_an_old_item_is_named(folder, name, way):
    assert is_named(folder, name, way)


@pytest.mark.parametrize(
    "way",
    ["in chunks", pytest.param("stackstac", marks=needs_stackstac), "odc", "odc, warped"],
)
def test_another_file_is_named_by_every_backend(folder, way):
    assert is_named(folder, "int16", way)


def test_tags_that_say_the_same_are_no_contradiction(folder):
    expected = season(folder)
    rewrite(folder, "sentinel-2-l2a/*/B*.tif", tags=(1e-4, -0.1))  # baseline 05.10
    assert season(folder)["sentinel2"].to_dataset().identical(expected["sentinel2"].to_dataset())


def drop(*keys):
    def change(item):
        for asset in item["assets"].values():
            for key in keys:
                asset.pop(key)

    return change


def centres(item):
    """Bounds from centre to centre, as tools state them that take a pixel for a point."""
    for asset in item["assets"].values():
        dx, _, left, _, dy, top = asset.pop("proj:transform")
        rows, columns = asset.pop("proj:shape")
        asset["proj:bbox"] = [left + dx / 2, top + dy * (rows - 0.5), left + dx * (columns - 0.5),
                              top + dy / 2]  # fmt: skip


def of_the_item(item):
    """The grid of 10 m on the item alone, though half of its files are of 20 m."""
    fine = item["assets"]["B02"]
    item["properties"] |= {key: fine[key] for key in ("proj:shape", "proj:transform")}
    drop("proj:shape", "proj:transform")(item)


def in_text(item):
    for asset in item["assets"].values():
        for key in ("proj:shape", "proj:transform"):
            asset[key] = [str(number) for number in asset[key]]


@pytest.mark.parametrize(
    "change", [drop("proj:shape"), drop("proj:transform"), drop("proj:shape", "proj:transform"),
               of_the_item, in_text],
    ids=["no shape", "no transform", "neither", "of the item", "as text"],
)  # fmt: skip
def test_items_that_say_less_are_read(folder, change):
    edit(folder, "sentinel-2-l2a/*/*.json", change)
    np.testing.assert_allclose(season(folder)["sentinel2/reflectance"], 0.2, atol=1e-6)


def test_half_a_pixel_is_a_convention_and_no_other_file(folder):
    edit(folder, "sentinel-2-l2a/*/*.json", centres)
    assert np.isfinite(season(folder)["sentinel2/reflectance"]).mean() > 0.9


def test_one_crs_under_another_name_is_the_same(folder):
    """ETRS89 and WGS 84 of one zone give the same coordinates, and are confused a lot."""
    rewrite(folder, "sentinel-2-l2a/*/*.tif", crs="EPSG:25831")
    np.testing.assert_allclose(season(folder)["sentinel2/reflectance"], 0.2, atol=1e-6)


def test_bounds_off_the_geometry_are_named_and_the_item_not_left_out(folder):
    def in_degrees(item):
        drop("proj:shape", "proj:transform")(item)
        item["properties"]["proj:bbox"] = item["bbox"]

    edit(folder, "sentinel-2-l2a/*/*.json", in_degrees)
    with pytest.raises(
        UnsupportedItemError,
        match="its proj: fields place its files at",
    ):
        open_season(area(PLACE), 2018, archive=folder)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [("proj:shape", [0, 60], "above 0"),
     ("proj:bbox", [5, 0, 5, 0], "item 'S2A.*proj: fields place its files"),
     ("proj:bbox", ["nan", 0, 5, 9], "left < right")],
)  # fmt: skip
def test_grids_that_no_file_has_are_refused(folder, key, value, told):
    def change(item):
        drop("proj:shape", "proj:transform")(item)
        item["assets"]["B02"][key] = value

    edit(folder, "sentinel-2-l2a/*/*.json", change)
    with pytest.raises(UnsupportedItemError, match=told):
        open_season(area(PLACE), 2018, archive=folder)


def test_a_file_far_from_a_geometry_is_named(folder):
    """Without bounds the geometry says where a file is."""
    edit(folder, "sentinel-2-l2a/*/*.json", drop("proj:shape", "proj:transform"))
    rewrite(folder, BANDS, transform=moved(90_000))
    with pytest.raises(ReadError, match=r"asset 'B02' of item .* lies elsewhere"):
        season(folder)


def test_nothing_is_read_beyond_the_items_extent(tmp_path):
    """A chunk that lies there is not read, so that no other may show it either."""
    wide = Place(left=PLACE.left, width=30)
    folder = write_archive(tmp_path, [Optical(when=DAY), Optical(when=NEXT)])
    item = f"*{NEXT[:10].replace('-', '')}*"

    def narrow(one):
        drop("proj:shape", "proj:transform")(one)
        one["geometry"]["coordinates"] = [wide.footprint]
        one["bbox"] = list(wide.bbox)

    edit(folder, f"sentinel-2-l2a/{item}/*.json", narrow)
    found = season(folder)["sentinel2/reflectance"]
    # 30 columns, 60 m of reserve for a geometry in degrees, and what is left of a pixel.
    assert np.isfinite(found[1, 0, 30]).sum() == 37
    assert found.equals(season(folder, chunks=20)["sentinel2/reflectance"])


def test_a_file_of_another_kind_is_lost_where_scenes_may_be(tmp_path):
    folder = write_archive(tmp_path, [Optical(when=DAY), Optical(when=NEXT)])
    rewrite(folder, f"sentinel-2-l2a/*{NEXT[:10].replace('-', '')}*/B05.tif", dtype="int16")
    found = season(folder, on_error="lost")["sentinel2/status"]
    assert (found[0] == 0).all()
    assert (found[1] == 3).all()
