"""Masks of cropland and clipped areas, end to end on a small archive."""

import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr
from fields import PLACE
from masked_place import BBOX, area, cover_of, mapped

import cubecrop
from cubecrop import cli
from cubecrop.classification import kernels
from cubecrop.classification.land import UNKNOWN
from cubecrop.errors import ArchiveError, ArgumentError, ReadError
from cubecrop.nomenclature import Nomenclature
from cubecrop.pipeline.masks import CropMask, as_mask, cropland_classes, land_of
from cubecrop.season import Season
from cubecrop.write.provenance import Provenance
from cubecrop.write.shares import mapped_text


@pytest.fixture(scope="module")
def whole(bare, field_model):
    """The map of all land."""
    return mapped(area(), bare, field_model)


def same_where(found, whole, kept):
    """Whether a map is that of all land where pixels are kept, and has no class elsewhere."""
    np.testing.assert_array_equal(found.crop_type.values[kept], whole.crop_type.values[kept])
    np.testing.assert_allclose(
        found.probability.values[:, kept], whole.probability.values[:, kept], rtol=1e-4, atol=1e-6
    )
    assert np.isnan(found.confidence.values[~kept]).all()
    assert np.isnan(found.probability.values[:, ~kept]).all()
    assert (found.crop_type.values[~kept] >= 252).all()


def test_land_cover_of_the_archive_masks_a_map(covered, field_model, whole):
    found, cover = mapped(area(), covered, field_model), cover_of(covered)
    same_where(found, whole, cover == 40)
    crop_type = found.crop_type.values
    assert (crop_type[(cover == 10) | (cover == 30)] == 252).all()
    assert (crop_type[cover == 0] == 255).all()  # unknown land is neither a crop nor no crop
    assert {0, 10, 30, 40} == {*np.unique(cover)}
    assert found.attrs["mask"] == "ESA WorldCover 2021: cropland"
    flags = dict(
        zip(found.crop_type.flag_values, found.crop_type.flag_meanings.split(), strict=True)
    )
    assert flags[252] == "not_cropland"
    np.testing.assert_array_equal(found.clear_dates, whole.clear_dates)


def test_land_without_land_cover_is_unknown_and_the_title_is_true(bare, field_model):
    """A tile of a region that has land cover elsewhere."""
    cube = cubecrop.open_season(area(), 2018, archive=bare, modalities=["sentinel2"])
    mask = CropMask(
        kind="landcover", collection="esa-worldcover", name="ESA WorldCover", is_there=True
    )
    land, text = land_of(cube, mask, None, field_model.nomenclature)
    assert (land.to_numpy() == UNKNOWN).all()
    assert text == "ESA WorldCover: no map of this area"
    season = Season(2018)
    made = Provenance(
        nomenclature=field_model.nomenclature, season=season, archive="a", model_name="m",
        model_digest="d", mask=text,
    )  # fmt: skip
    assert made.title == "Crop types 2018, cropland of ESA WorldCover"


def test_a_mask_is_chosen_by_name_and_by_classes(covered, bare, field_model, whole):
    cover = cover_of(covered)
    both = mapped(
        area(),
        covered,
        field_model,
        mask="worldcover",
        mask_classes=["cropland", "trees"],
        chunks=13,
    )
    same_where(both, whole, np.isin(cover, (10, 40)))
    xr.testing.assert_equal(mapped(area(), covered, field_model, mask=None), whole)
    assert whole.attrs["mask"] == ""
    with pytest.raises(ArgumentError, match="no land cover of the area"):
        mapped(area(), bare, field_model, mask="worldcover")
    with pytest.raises(ArgumentError, match=r"name \['forest'\].*'trees'"):
        mapped(area(), covered, field_model, mask_classes=["forest"])
    with pytest.raises(ArgumentError, match="has no classes"):
        mapped(area(), covered, field_model, mask=None, mask_classes=["trees"])
    for wrong in (3, "WorldCover", ""):
        with pytest.raises(ArgumentError, match=f"mask is {wrong!r}, expected 'auto'"):
            mapped(area(), covered, field_model, mask=wrong)
    with pytest.raises(ArgumentError, match=r"mask_classes are \['trees'\].*no land cover"):
        mapped(area(), bare, field_model, mask_classes=["trees"])


def inside(shapes):
    """Which pixel centres lie in shapes of the place's CRS."""
    x = PLACE.left + (np.arange(PLACE.width) + 0.5) * 10
    y = PLACE.top - (np.arange(PLACE.height) + 0.5) * 10
    return shapely.contains_xy(shapely.union_all(shapes), *np.meshgrid(x, y))


def test_parcels_mask_a_map(bare, field_model, whole, field_parcels, tmp_path):
    some = field_parcels.iloc[[1, 6, 11]].rotate(20)
    path = tmp_path / "some.geojson"
    some.to_crs(4326).to_file(path)
    kept = inside(some)
    for mask in (some, some.to_frame("geometry"), some.to_crs(3035), path):
        found = mapped(area(), bare, field_model, mask=mask, chunks=17)
        same_where(found, whole, kept)
        assert (found.crop_type.values[~kept] == 252).all()
    assert found.attrs["mask"] == "some.geojson"
    with pytest.raises(ArgumentError, match="no CRS"):
        mapped(area(), bare, field_model, mask=some.set_crs(None, allow_override=True))
    with pytest.raises(ArgumentError, match=r"lies at lon 8\.99.*but the area at lon 3\.0"):
        mapped(area(), bare, field_model, mask=some.set_crs(32632, allow_override=True))
    with pytest.raises(cubecrop.errors.ParcelError, match="no active geometry"):
        mapped(area(), bare, field_model, mask=gpd.GeoDataFrame({"id": [1]}))


def test_a_raster_masks_a_map(bare, field_model, whole, tmp_path):
    """A raster of another grid: pixels of 30 m, moved by 4 m; a part has no value."""
    left, top = PLACE.left + 64, PLACE.top - 4
    values = np.random.default_rng(0).integers(0, 3, (13, 9)).astype(np.int16)
    values[3:5, 2] = -1
    path = tmp_path / "mask.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=9, height=13, count=1, dtype="int16", crs=PLACE.crs,
        transform=rasterio.Affine(30, 0, left, 0, -30, top), nodata=-1,
    ) as file:  # fmt: skip
        file.write(values, 1)
    x = PLACE.left + (np.arange(PLACE.width) + 0.5) * 10
    y = PLACE.top - (np.arange(PLACE.height) + 0.5) * 10
    columns, rows = np.floor((x - left) / 30).astype(int), np.floor((top - y) / 30).astype(int)
    padded = np.pad(values, 1, constant_values=-1)
    seen = padded[np.clip(rows + 1, 0, 14)[:, None], np.clip(columns + 1, 0, 10)[None]]
    array = xr.DataArray(
        values, dims=("y", "x"),
        coords={"y": top - (np.arange(13) + 0.5) * 30, "x": left + (np.arange(9) + 0.5) * 30},
    ).rio.write_crs(PLACE.crs).rio.write_nodata(-1)  # fmt: skip
    for mask in (path, str(path), array):
        found = mapped(area(), bare, field_model, mask=mask, chunks=17)
        same_where(found, whole, seen > 0)
        assert (found.crop_type.values[seen == 0] == 252).all()
        assert (found.crop_type.values[seen < 0] == 255).all()
    with pytest.raises(ArgumentError, match=r"gdal_translate mask\.vrt mask\.tif"):
        as_mask(tmp_path / "mask.vrt")
    path.write_bytes(b"no tiff")
    with pytest.raises(cubecrop.errors.ReadError, match=r"mask\.tif"):
        mapped(area(), bare, field_model, mask=path)


@pytest.mark.parametrize("prefix", ["", "/vsicurl/"])
def test_the_address_of_a_raster_holds_no_password(prefix):
    with pytest.raises(ArchiveError, match=r"netrc") as caught:
        as_mask(f"{prefix}https://me:secret@maps.example/mask.tif")
    assert "secret" not in str(caught.value)


def test_an_area_of_polygons_is_clipped_to_them(bare, field_model, whole, field_parcels):
    shapes = field_parcels.iloc[[0, 3, 12, 15]].rotate(30)
    bounds = gpd.GeoSeries([shapely.box(*shapes.total_bounds)], crs=PLACE.crs)
    rectangle = mapped(bounds, bare, field_model)
    outline = shapely.union_all(shapes)
    for aoi in (shapes, gpd.GeoSeries([outline], crs=PLACE.crs)):
        found = mapped(aoi, bare, field_model, chunks=11)
        x, y = np.meshgrid(found.x, found.y)
        kept = shapely.contains_xy(outline, x, y)
        same_where(found, rectangle, kept)
        assert (found.crop_type.values[~kept] == 255).all()
        assert (found.clear_dates.values[:, ~kept] == 65535).all()
        np.testing.assert_array_equal(
            found.clear_dates.values[:, kept], rectangle.clear_dates.values[:, kept]
        )
    np.testing.assert_array_equal(
        mapped(shapes, bare, field_model, clip=False).crop_type, rectangle.crop_type
    )
    # A bbox, and a shape that is a rectangle, have no outline to clip to.
    for aoi in (BBOX, shapely.box(*BBOX)):
        assert (mapped(aoi, bare, field_model).crop_type != 255).any()
        np.testing.assert_array_equal(
            mapped(aoi, bare, field_model).crop_type,
            mapped(aoi, bare, field_model, clip=False).crop_type,
        )


def test_written_maps_tell_masked_pixels_from_missing_ones(
    covered, field_model, field_parcels, tmp_path
):
    shapes = field_parcels.iloc[[0, 3, 12, 15]].rotate(30)
    crop_map = cubecrop.classify(shapes, 2018, archive=covered, model=field_model)
    out = cubecrop.write_map(crop_map, tmp_path / "map", progress=False)
    values = crop_map.crop_type.to_numpy()
    x, y = np.meshgrid(crop_map.x, crop_map.y)
    kept = shapely.contains_xy(shapely.union_all(shapes), x, y)
    with rasterio.open(out / "crop_type.tif") as file:
        np.testing.assert_array_equal(file.read(1), values)
        assert file.tags()["MASK"] == "ESA WorldCover 2021: cropland"
        assert file.colormap(1)[252] == (0xF2, 0xEF, 0xE6, 255)
    item = (out / "item.json").read_text()
    assert '"cubecrop:mask": "ESA WorldCover 2021: cropland"' in item
    assert "Crop types 2018" in item
    assert "cropland of ESA WorldCover 2021" in item
    share = 100 * (values[kept] < 252).mean()
    none = 100 * (values[kept] == 252).mean()
    told, line = mapped_text(out / "item.json")
    assert told == "Cropland is ESA WorldCover 2021: cropland."
    assert line.startswith(f"Mapped {share:.1f} % of {kept.sum():,} pixels")
    assert f"{none:.1f} % not cropland" in line
    assert 'value="252"' in (out / "crop_type.qml").read_text()
    assert "Not cropland" in (out / "crop_type.tif.aux.xml").read_text()


def test_the_network_sees_only_pixels_that_are_classified(covered, field_model, monkeypatch):
    seen = []
    real = kernels.with_enough_dates

    def counted(sets, coverage):
        seen.append(len(sets))
        return real(sets, coverage)

    monkeypatch.setattr(kernels, "with_enough_dates", counted)
    mapped(area(), covered, field_model)
    assert sum(seen) == (cover_of(covered) == 40).sum()


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["winter wheat", "maize"], {"cropland"}),
        (["wheat", "permanent grass"], {"cropland", "grassland"}),
        (["Dauergrünland", "Mais"], {"cropland", "grassland"}),
        (["pasture_meadow_grassland_grass", "potatoes"], {"cropland", "grassland"}),
        (["wheat", "Vineyards"], {"cropland", "shrubland"}),
        (["grass and forage", "permanent crop"], {"cropland", "grassland", "shrubland"}),
        (["wheat", "Fruit trees"], {"cropland", "shrubland", "trees"}),
    ],
)
def test_land_cover_counts_as_cropland_where_the_models_crops_grow(names, kept):
    assert {*cropland_classes(Nomenclature.from_names(names))} == kept


def test_a_missing_file_of_land_cover_is_never_passed_over(covered, field_model, tmp_path):
    archive = shutil.copytree(covered, tmp_path / "archive")
    (path,) = archive.glob("esa-worldcover/*/map.tif")
    path.unlink()
    crop_map = cubecrop.classify(area(), 2018, archive=archive, model=field_model)
    with pytest.raises(ReadError, match="item 'ESA_WorldCover_10m_2021"):
        cubecrop.write_map(crop_map, tmp_path / "map", max_lost=1, progress=False)


def test_the_command_masks_and_clips(covered, field_model, field_parcels, tmp_path, capsys):
    field_model.save(tmp_path / "model")
    field_parcels.iloc[[0, 15]].rotate(30).to_crs(4326).to_file(tmp_path / "aoi.geojson")
    common = [
        "classify", "--aoi", tmp_path / "aoi.geojson", "--year", 2018, "--archive", covered,
        "--model", tmp_path / "model",
    ]  # fmt: skip

    def told(out, *options):
        cli.app(
            [*map(str, [*common, "--out", tmp_path / out, *options])],
            exit_on_error=False, result_action="return_value",
        )  # fmt: skip
        return " ".join(capsys.readouterr().out.split())

    assert "Cropland is ESA WorldCover 2021: cropland, trees." in told(
        "a", "--mask", "worldcover", "--mask-classes", "cropland", "--mask-classes", "trees"
    )
    assert "Cropland" not in told("b", "--mask", "none", "--no-clip")
    with (
        rasterio.open(tmp_path / "a/crop_type.tif") as a,
        rasterio.open(tmp_path / "b/crop_type.tif") as b,
    ):
        assert a.shape == b.shape
        assert (a.read(1) == 255).mean() > 0.5 > (b.read(1) == 255).mean()
        assert (b.read(1) != 252).all()
