"""Areas where a model is unreliable: nothing there gets a class."""

import json
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from samples import make_samples

import cubecrop
from cubecrop.errors import ModelFormatError
from cubecrop.model import CropModel, KnowledgeLimits, Limit, UnreliableArea
from cubecrop.nomenclature import OUTSIDE_KNOWLEDGE
from cubecrop.testing import forbid_compute, write_archive
from cubecrop.training import TrainConfig, fit

AOI = gpd.GeoSeries([shapely.box(500_050, 5_629_750, 500_250, 5_629_950)], crs=32631)
WEST, SOUTH, EAST, NORTH = AOI.to_crs(4326).total_bounds
MIDDLE = (WEST + EAST) / 2
#: The west of the area of interest.
BOX = (WEST - 0.1, SOUTH - 0.1, MIDDLE, NORTH + 0.1)
REASON = "55 % of the points have the right group"


def limits(*boxes):
    far = Limit(probability=0.4, dissimilarity=1e6)
    areas = tuple(UnreliableArea(name="Corsica", bbox=box, reason=REASON) for box in boxes)
    return KnowledgeLimits(
        parcel=far, pixel=far, kept=0.8, outside=0.02, n=40, unreliable=areas
    )  # fmt: skip


@pytest.fixture(scope="module")
def model():
    samples, labels = make_samples(n=30)
    made = fit(samples, labels, config=TrainConfig(epochs=1, n_pixels=4))
    # Of another season's dates: what the archive covers is not what is tested here.
    return replace(made, coverage={}).with_limits(limits(BOX))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("archive"))


def mapped(model, archive, **options):
    with forbid_compute(), pytest.warns(UserWarning, match=f"unreliable.*Corsica: {REASON}"):
        return cubecrop.classify(AOI, 2018, archive=archive, model=model, **options)


def test_a_map_has_no_class_where_the_model_is_unreliable(model, archive, tmp_path):
    found = mapped(model, archive)
    plain = cubecrop.classify(AOI, 2018, archive=archive, model=model.with_limits(limits()))
    assert plain.attrs["unreliable"] == ""
    out = cubecrop.write_map(found, tmp_path / "map", progress=False)
    values, elsewhere = found.compute(), plain.compute()
    columns = gpd.points_from_xy(values["x"], [5_629_800] * values.sizes["x"], crs=32631)
    west = columns.to_crs(4326).x <= MIDDLE
    assert 0 < west.sum() < len(west)
    assert (values["crop_type"][:, west] == OUTSIDE_KNOWLEDGE).all()
    assert values["confidence"][:, west].isnull().all()
    assert (values["level"][:, west] == 255).all()
    np.testing.assert_array_equal(values["crop_type"][:, ~west], elsewhere["crop_type"][:, ~west])
    np.testing.assert_array_equal(values["clear_dates"], elsewhere["clear_dates"])
    item = json.loads((out / "item.json").read_text())["properties"]
    assert item["cubecrop:unreliable"] == f"Corsica: {REASON}"
    assert "where the model is unreliable" in item["title"]
    with rasterio.open(out / "crop_type.tif") as raster:
        assert raster.tags()["UNRELIABLE"] == f"Corsica: {REASON}"


def test_land_that_a_mask_leaves_out_stays_so(model, archive):
    fields = gpd.GeoDataFrame({"id": ["one"]}, geometry=AOI.buffer(-60).envelope)
    values = mapped(model, archive, mask=fields).compute()["crop_type"].to_numpy()
    assert set(values[0]) == {252}
    row = values[len(values) // 2]
    assert row[0] == 252
    assert row[8] == OUTSIDE_KNOWLEDGE
    assert row[12] < 3


def test_a_region_elsewhere_is_classified_as_ever(model, archive):
    near = (WEST - 2, SOUTH - 0.1, WEST - 1, NORTH + 0.1)
    elsewhere = model.with_limits(limits(near))
    with forbid_compute():
        found = cubecrop.classify(AOI, 2018, archive=archive, model=elsewhere)
        plain = cubecrop.classify(AOI, 2018, archive=archive, model=model.with_limits(limits()))
    assert len(found["crop_type"].__dask_graph__()) == len(plain["crop_type"].__dask_graph__())
    assert (found.compute()["crop_type"] < 3).all()


def test_parcels_in_an_unreliable_area_are_unknown(model, archive):
    boxes = [shapely.box(500_060, 5_629_800, 500_130, 5_629_900),
             shapely.box(500_170, 5_629_800, 500_240, 5_629_900)]  # fmt: skip
    parcels = gpd.GeoDataFrame({"id": ["west", "east"]}, geometry=boxes, crs=32631)
    with pytest.warns(UserWarning, match="unreliable"):
        table = cubecrop.classify_parcels(
            parcels, 2018, archive=archive, model=model, progress=False
        )
    assert (table["status"] == "predicted").all()
    assert table["crop:level"].tolist()[0] == "unknown"
    assert table["crop:level"].tolist()[1] != "unknown"
    assert table["crop:name_at_level"].isna().tolist()[0]


def test_areas_are_part_of_a_model(model, tmp_path):
    again = CropModel.load(model.save(tmp_path / "model"))
    assert again.limits == model.limits
    assert "Corsica" in repr(model)
    with pytest.raises(ModelFormatError, match=r"unreliable area 'X'.*west < east"):
        UnreliableArea(name="X", bbox=(9, 41, 8, 43), reason="")
    surer = model.limits.with_probability(0.9)
    assert surer.pixel.probability == surer.parcel.probability == 0.9
    assert surer.unreliable == model.limits.unreliable
    # A model without them has the same file and digest as models that know of no such areas.
    assert "unreliable" not in limits().to_dict()
    found = limits((8, 41, 9, 43)).unreliable_at(
        np.array([8.5, 8.5, 9.5, np.nan]), np.array([42, 44, 42, np.nan])
    )
    assert found.tolist() == [True, False, False, False]


def test_a_region_says_where_the_model_is_unreliable(model, archive, tmp_path):
    whole = (WEST - 0.1, SOUTH - 0.1, EAST + 0.1, NORTH + 0.1)
    cubecrop.map_region(
        AOI, 2018, archive=archive, model=model.with_limits(limits(whole)), out=tmp_path / "out",
        progress=False,
    )  # fmt: skip
    with rasterio.open(tmp_path / "out" / "crop_type.vrt") as raster:
        values = raster.read(1)
        assert set(np.unique(values)) <= {OUTSIDE_KNOWLEDGE, 255}
        assert (values == OUTSIDE_KNOWLEDGE).sum() >= 400
    collection = json.loads((tmp_path / "out" / "collection.json").read_text())
    assert "where the model is unreliable" in collection["title"]
