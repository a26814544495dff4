"""What is missing and what cannot be: the same straight and warped, whatever the chunks."""

import numpy as np
import pytest
from cubes import DAY, RADAR_DAY, season
from files import eastern_half, edit, rewrite

from cubecrop.cube import OdcBackend, StackstacBackend
from cubecrop.errors import ReadError
from cubecrop.testing import Elevation, Optical, Radar, write_archive

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

BANDS, SCL = "sentinel-2-l2a/*/B*.tif", "sentinel-2-l2a/*/SCL.tif"
RADAR, HEIGHTS = "sentinel-1-rtc/*/v*.tif", "cop-dem-glo-30/*/data.tif"
PATHS = {BANDS: "sentinel2/reflectance", RADAR: "sentinel1/backscatter",
         HEIGHTS: "terrain/terrain"}  # fmt: skip
WAYS = {
    "straight": {},
    "in chunks": {"chunks": 16},
    "warped": {"crs": "EPSG:3035"},
    "warped in chunks": {"crs": "EPSG:3035", "chunks": 16},
    "at 7 m": {"resolution": 7},
}
BACKENDS = {"stackstac": {"backend": StackstacBackend()}, "odc": {"backend": OdcBackend()},
            "odc warped": {"backend": OdcBackend(), "crs": "EPSG:3035"}}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    scenes = [Optical(when=DAY, dn=3000), Radar(when=RADAR_DAY), Elevation(elevation=100)]
    return write_archive(tmp_path, scenes)


def half_mask(old):
    mask = np.full(old.shape, 255, np.uint8)
    mask[:, old.shape[1] // 2 :] = 0
    return mask


# The file's number for missing pixels in its eastern half, its header, and what the item says.
MISSING = {
    "DN 0, undeclared": (BANDS, 0, {}, None),
    "DN 65535, the file's": (BANDS, 65535, {"nodata": 65535}, None),
    "DN 5000, the file's": (BANDS, 5000, {"nodata": 5000}, 0),
    "DN above 15 bits, in half of a block": (BANDS, 64500, {}, None),
    "DN under a mask": (BANDS, 4000, {"mask": half_mask}, None),
    "power, the file's beside the item's": (RADAR, -9999, {"nodata": -9999}, -32768),
    "power, the item's beside the file's": (RADAR, -32768, {"nodata": 0}, -32768),
    "power 0, the file's": (RADAR, 0, {"nodata": 0}, -32768),
    "power NaN": (RADAR, np.nan, {"nodata": -32768}, None),
    "power inf": (RADAR, np.inf, {"nodata": None}, "nan"),
    "heights, the file's": (HEIGHTS, -9999, {"nodata": -9999}, None),
    "heights, the file's beside the item's": (HEIGHTS, -9999, {"nodata": -9999}, -32767),
    "heights, the file's beside inf": (HEIGHTS, -9999, {"nodata": -9999}, "inf"),
    "heights, the file's beside 0": (HEIGHTS, -32767, {"nodata": -32767}, 0),
    "heights, the item's beside the file's": (HEIGHTS, 7, {"nodata": -9999}, 7),
    "heights, the item's beside none": (HEIGHTS, 7, {}, 7),
    "heights of no land": (HEIGHTS, -32767, {}, None),
    "whole heights": (HEIGHTS, -32768, {"nodata": -32768, "dtype": "int16"}, None),
    "heights under a mask": (HEIGHTS, 300, {"mask": half_mask}, None),
}


def declare(nodata):
    def change(item):
        for key, asset in item["assets"].items():
            if key != "SCL":
                asset["raster:bands"] = [{"nodata": nodata}]

    return change


@pytest.mark.parametrize("name", MISSING)
def test_what_file_or_item_call_nodata_is_missing_and_never_a_value(folder, name):
    pattern, number, header, declared = MISSING[name]
    rewrite(folder, pattern, eastern_half(number), **header)
    if declared is not None:
        edit(folder, pattern.rsplit("/", 1)[0] + "/*.json", declare(declared))
    path = PATHS[pattern]
    ways = WAYS if name.startswith(("DN 65535", "power, the f", "heights, the f")) else {
        key: WAYS[key] for key in ("straight", "warped in chunks")
    }  # fmt: skip
    if pattern != HEIGHTS:
        ways = {**ways, "odc": BACKENDS["odc"]}
    for way, options in ways.items():
        found = season(folder, **options)[path]
        first = found.isel({found.dims[0]: 0, found.dims[1]: 0} if found.ndim == 4 else {})
        seen = np.isfinite(first if found.ndim == 4 else found[0])
        assert seen.mean() == pytest.approx(0.5, abs=0.08), way
        values = found.values[np.isfinite(found.values)]
        if pattern == BANDS:
            np.testing.assert_allclose(values, 0.2, atol=1e-6, err_msg=way)
        elif pattern == RADAR:
            near = np.abs(values[:, None] - 10 * np.log10([0.1, 0.02])).min(1)
            assert near.max() < 1e-4, way
        else:
            assert set(np.round(values, 3)) <= {0, 100}, way


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_masks_both_nodata(folder, backend):
    rewrite(folder, BANDS, eastern_half(65535), nodata=65535)
    values = season(folder, **BACKENDS[backend])["sentinel2/reflectance"].values
    np.testing.assert_allclose(values[np.isfinite(values)], 0.2, atol=1e-6)
    assert np.isfinite(values).mean() == pytest.approx(0.5, abs=0.08)


def test_a_class_that_the_file_calls_nodata_is_outside(folder):
    rewrite(folder, SCL, eastern_half(255), nodata=255)
    for options in (*WAYS.values(), *BACKENDS.values()):
        status = season(folder, **options)["sentinel2/status"]
        assert set(np.unique(status)) == {0, 2}


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32"])
def test_classes_in_wider_numbers_are_the_same_classes(folder, dtype):
    expected = season(folder)["sentinel2/status"]
    rewrite(folder, SCL, dtype=dtype)
    assert season(folder)["sentinel2/status"].identical(expected)


@pytest.mark.parametrize(
    ("number", "dtype", "told"),
    [(12, "uint8", "holds 12, expected 0 to 11"), (255, "uint8", "254 or more"),
     (260, "uint16", "254 or more"), (-1, "int16", "254 or more")],
)  # fmt: skip
@pytest.mark.parametrize("way", [*WAYS, *BACKENDS])
def test_classes_that_are_none_are_named(folder, number, dtype, told, way):
    rewrite(folder, SCL, eastern_half(number), dtype=dtype)
    options = {**WAYS, **BACKENDS}[way]
    with pytest.raises(ReadError, match=f"asset 'SCL' of item .*{told}"):
        season(folder, **options)


def mostly(number):
    def put(old):
        out = old.astype(np.float64)
        out[:, 1 + old.shape[1] // 3 :] = number
        return out

    return put


@pytest.mark.parametrize(
    ("pattern", "values", "told"),
    [
        (BANDS, mostly(64500), "asset 'B02' of item .*from 64500 to 64500 in"),
        (RADAR, lambda old: 10 * np.log10(old), "asset 'vv' of item .*decibels"),
        (RADAR, mostly(300), "asset 'vv' of item .*linear power"),
    ],
    ids=["DN above 15 bits", "decibels", "amplitude"],
)
@pytest.mark.parametrize("way", [*WAYS, "odc"])
def test_a_block_of_another_product_is_an_error_whatever_the_chunks(
    folder, pattern, values, told, way
):
    rewrite(folder, pattern, values)
    with pytest.raises(ReadError, match=told):
        season(folder, **{**WAYS, **BACKENDS}[way])


def test_a_single_dn_above_15_bits_is_missing_and_does_not_spread(folder):
    def four(old):
        out = old.copy()
        out[20:22, 20:22] = 64500
        return out

    rewrite(folder, "sentinel-2-l2a/*/B02.tif", four)
    found = season(folder)["sentinel2"]
    assert np.isnan(found["reflectance"]).sum() == 10 * 4
    assert (found["status"] == 2).sum() == 4
    warped = season(folder, resolution=7)["sentinel2/reflectance"]
    np.testing.assert_allclose(warped.values[np.isfinite(warped.values)], 0.2, atol=1e-6)
    assert 0 < np.isnan(warped[0, 0]).mean() < 0.01


def test_a_few_negative_powers_are_no_decibels(folder):
    """Noise that was taken out leaves power a little below zero, over water in most pixels."""
    rewrite(folder, RADAR, mostly(-0.002))
    assert 0 < np.isfinite(season(folder)["sentinel1/backscatter"]).mean() < 0.5
