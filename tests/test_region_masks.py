"""Masks and clipped areas of regions: the tiles hold what one map of the area holds."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr
from fields import PLACE
from masked_place import area, cover_of, mapped
from region_runs import whole
from servers import Faulty

import cubecrop
from cubecrop import region
from cubecrop.cube import mask_raster
from cubecrop.errors import ArgumentError, OutputError

#: Side of the tiles, metres: the place of 400 m has four or more.
TILE = 320


def run(aoi, archive, field_model, out, **options):
    made = cubecrop.map_region(
        aoi, 2018, out, archive=archive, model=field_model, tile=TILE, progress=False, **options
    )
    assert made.is_complete
    return made


def same(out, expected):
    """Whether the tiles of a run are a map of `classify`."""
    (crop_type,) = whole(out, "crop_type", expected)
    np.testing.assert_array_equal(crop_type, expected.crop_type)
    return crop_type


def digests(out, archive, model, **options):
    """Digests of the tiles of a plan; those of equal digest are kept."""
    made = region.plan(
        area(), 2018, out, archive=archive, model=model, tile=TILE, progress=False, **options
    )
    return [tile.digest for tile in made.tiles]


def test_a_region_is_masked_as_its_map(covered, field_model, tmp_path):
    out = tmp_path / "run"
    run(area(), covered, field_model, out)
    found = same(out, mapped(area(), covered, field_model))
    assert {252, 255} < {*np.unique(found)}
    areas = pd.read_csv(out / "areas.csv").set_index("code")
    assert areas.loc["not_cropland", "pixels"] == (found == 252).sum()
    assert areas.loc["nodata", "pixels"] == (cover_of(covered) == 0).sum()
    collection = json.loads((out / "collection.json").read_text())
    assert "cropland of ESA WorldCover" in collection["title"]
    assert 'value="252"' in (out / "crop_type.qml").read_text()


def ones_at(left, top):
    """A raster of 9 by 9 pixels of 10 m, all of them cropland."""
    steps = (np.arange(9) + 0.5) * 10
    return xr.DataArray(
        np.ones((9, 9)), dims=("y", "x"), coords={"y": top - steps, "x": left + steps}
    ).rio.write_crs(PLACE.crs)


def test_a_mask_elsewhere_is_refused_before_anything_is_written(
    bare, field_model, field_parcels, tmp_path
):
    far = ones_at(PLACE.left + 100_000, PLACE.top)
    far.rio.to_raster(tmp_path / "far.tif")
    shifted = field_parcels.translate(xoff=100_000)
    for mask in (far, tmp_path / "far.tif", shifted):
        with pytest.raises(ArgumentError, match=r"the mask \(.*\) lies at .*but the area at"):
            digests(tmp_path / "run", bare, field_model, mask=mask)
    assert not (tmp_path / "run").exists()


def test_tiles_are_made_again_only_if_the_mask_differs(
    covered, field_model, field_parcels, tmp_path
):
    def of(**options):
        return digests(tmp_path / "run", covered, field_model, **options)

    first = of()
    assert of(mask="worldcover") == of(mask="landcover") == first
    assert of(mask="worldcover", mask_classes=["cropland"]) == first
    some, path = field_parcels.iloc[[1, 6]], tmp_path / "mask.tif"
    values = ones_at(PLACE.left, PLACE.top)
    values.rio.to_raster(path)
    options = ({"mask_classes": ["trees"]}, {"mask": None}, {"mask": some}, {"mask": path})
    others = [of(**one) for one in options]
    for i, one in enumerate([first, *others]):
        assert all(not set(one) & set(other) for other in others[i:])
    assert of(mask=some.iloc[::-1]) == others[2]
    (0 * values).rio.to_raster(path)  # the same path, another mask
    assert not set(of(mask=path)) & set(others[3])
    assert of() == first
    assert not [*tmp_path.glob("run/plan/mask*")]


def test_masks_of_users_are_stored_in_the_plan(bare, field_model, field_parcels, tmp_path):
    some = field_parcels.iloc[[1, 6, 11]].rotate(20).to_crs(3035)
    run(area(), bare, field_model, tmp_path / "parcels", mask=some)
    same(tmp_path / "parcels", mapped(area(), bare, field_model, mask=some))
    values = np.random.default_rng(0).integers(0, 2, (14, 14)).astype(float)
    values[4] = np.nan
    steps = (np.arange(14) + 0.5) * 30
    array = xr.DataArray(
        values, dims=("y", "x"), coords={"y": PLACE.top - steps, "x": PLACE.left + steps}
    ).rio.write_crs(PLACE.crs)
    run(area(), bare, field_model, tmp_path / "array", mask=array)
    expected = mapped(area(), bare, field_model, mask=array)
    assert {252, 255} < {*np.unique(same(tmp_path / "array", expected))}


def test_land_cover_that_an_archive_lacks_is_an_error(bare, covered, field_model, tmp_path):
    with pytest.raises(ArgumentError, match="no land cover of the area"):
        digests(tmp_path / "a", bare, field_model, mask="worldcover")
    with pytest.raises(ArgumentError, match=r"name \['forest'\].*'trees'"):
        digests(tmp_path / "a", covered, field_model, mask_classes=["forest"])
    digests(tmp_path / "b", covered, field_model, mask=None)
    with pytest.raises(OutputError, match=r"searched without landcover.*replan=True"):
        digests(tmp_path / "b", covered, field_model)
    digests(tmp_path / "b", covered, field_model, replan=True)


def test_a_region_of_polygons_is_clipped_to_them(bare, field_model, field_parcels, tmp_path):
    left, top = PLACE.left, PLACE.top
    corner = shapely.Polygon([(left, top), (left + 391, top - 12), (left + 23, top - 389)])
    aoi = gpd.GeoSeries([corner], crs=PLACE.crs)
    out = tmp_path / "triangle"
    run(aoi, bare, field_model, out, parcels=field_parcels)
    expected = mapped(aoi, bare, field_model)
    same(out, expected)
    inside = shapely.contains_xy(corner, *np.meshgrid(expected.x, expected.y))
    areas = pd.read_csv(out / "areas.csv").set_index("code")
    assert areas.pixels.sum() == inside.sum()
    assert areas.pixels["nodata"] == 0


def test_tiles_without_a_polygon_are_left_out(bare, field_model, field_parcels, tmp_path):
    """More than 1,000 parcels are no outline, but they clip the map too."""
    few = field_parcels.iloc[[0, 15]].rotate(5)
    many = gpd.GeoSeries(np.repeat(few.to_numpy(), 600), crs=few.crs)
    options = {"archive": bare, "model": field_model, "tile": 160, "progress": False}
    clipped = region.plan(many, 2018, tmp_path / "clipped", **options)
    whole = region.plan(many, 2018, tmp_path / "whole", clip=False, **options)
    assert 2 <= len(clipped.tiles) < len(whole.tiles)


def test_the_signature_of_a_masks_address_is_in_no_file(
    covered, field_model, tmp_path, monkeypatch
):
    everywhere = cubecrop.classify(area(), 2018, archive=covered, model=field_model, mask=None)
    mask = (
        xr.ones_like(everywhere["crop_type"].compute())
        .rio.write_crs(PLACE.crs)
        .rio.write_nodata(255)
    )
    (tmp_path / "files").mkdir()
    mask.rio.to_raster(tmp_path / "files" / "mask.tif", dtype="uint8")
    opened = []
    with_file = mask_raster.with_file

    def watched(source, use):
        opened.append(source.href)
        return with_file(source, use)

    monkeypatch.setattr(mask_raster, "with_file", watched)
    with Faulty(tmp_path / "files") as server:
        for signature in ("first-secret", "second-secret"):
            opened.clear()
            address = f"{server.url}/mask.tif?sig={signature}"
            run(area(), covered, field_model, tmp_path / "run", mask=address)
            assert set(opened) == {address}
    raster = json.loads((tmp_path / "run" / "plan" / "run.json").read_text())["options"]["mask"]
    assert raster["href"] == f"{server.url}/mask.tif"
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not any(b"-secret" in path.read_bytes() for path in files)
    # Another signature is no other mask: the second run kept all tiles, and only planning opened
    # the mask, to check its header and its place.
    assert len(opened) == 2
