"""What a model does not know: coarser classes, crop sets, and code 253 of maps."""

import json
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from samples import make_samples

import cubecrop
from cubecrop.classification import classify_pixel_sets, nothing_found, parcel_table
from cubecrop.classification.kernels import (
    decide_pixels,
    pixel_confidence,
    pixel_set_size,
    pixels_at_level,
)
from cubecrop.errors import LabelError, ModelFormatError, ModelMismatchError
from cubecrop.model import Calibration, CropModel, KnowledgeLimits, Limit
from cubecrop.nomenclature import (
    NODATA,
    OUTSIDE_KNOWLEDGE,
    WITHOUT_CLASS,
    Crop,
    Group,
    Nomenclature,
)
from cubecrop.testing import forbid_compute, write_archive
from cubecrop.training import TrainConfig, fit, fit_limits

AOI = gpd.GeoSeries([shapely.box(500_050, 5_629_750, 500_250, 5_629_950)], crs=32631)
QUICK = TrainConfig(epochs=20, n_pixels=4)
#: Grass and maize are green in the same months, more or less; wheat is not.
TREE = Nomenclature(
    crops=(
        Crop(code="G", name="grass", colour="#00FF00", parent="L"),
        Crop(code="M", name="maize", colour="#FF0000", parent="L"),
        Crop(code="W", name="wheat", colour="#FFFF00", parent="E"),
    ),
    groups=(
        Group(code="L", name="late", colour="#00FFFF", parent="C", level="season"),
        Group(code="E", name="early", colour="#0000FF", parent="C", level="season"),
        Group(code="C", name="any crop", colour="#FF00FF", level="all"),
    ),
)
LIMITS = KnowledgeLimits(
    parcel=Limit(probability=0.8, dissimilarity=1.5),
    pixel=Limit(probability=0.7, dissimilarity=2.5),
    kept=0.8,
    outside=0.02,
    n=40,
)


def part(samples, rows):
    return samples.isel(parcel=rows)


@pytest.fixture(scope="module")
def without_wheat():
    """A model of grass and maize, and samples of other parcels, of wheat among them."""
    learned, labels = make_samples(n=90)
    few = [None if label == "wheat" else label for label in labels]
    model = fit(learned, few, nomenclature=TREE.only(["grass", "maize"]), config=QUICK)
    shown, truth = make_samples(n=90, seed=5)
    return model, shown, np.array(truth)


def parcels_of(samples):
    n = samples.sizes["parcel"]
    return gpd.GeoDataFrame(
        {"id": samples["parcel"].to_numpy()}, geometry=[shapely.box(3, 50, 3.1, 50.1)] * n, crs=4326
    )


def test_wheat_shown_to_a_model_without_wheat_is_unknown_and_not_maize(without_wheat):
    model, shown, truth = without_wheat
    known = np.where(truth == "wheat", None, truth)
    limits = fit_limits(model, shown, known.tolist(), kept=0.8)
    assert limits.n == (truth != "wheat").sum()
    model = model.with_limits(limits)
    new, truth = make_samples(n=150, seed=9)
    truth = np.array(truth)
    table = parcel_table(parcels_of(new), classify_pixel_sets(new, model).compute(), model)
    sure = (table["crop:level"] == "crop").to_numpy()
    assert sure[truth == "wheat"].mean() < 0.1
    assert sure[truth != "wheat"].mean() > 0.6
    # The most probable crop stays in its column, for scores and training.
    assert set(table["crop:name"]) == {"grass", "maize"}
    unknown = table["crop:level"] == "unknown"
    assert unknown[truth == "wheat"].mean() > 0.9
    assert table.loc[unknown, "crop:name_at_level"].isna().all()
    assert (table.loc[unknown, "dissimilarity"] > limits.parcel.dissimilarity).all()


def test_columns_name_the_finest_class_that_is_probable_enough(without_wheat):
    model, shown, _ = without_wheat
    found = classify_pixel_sets(part(shown, slice(0, 5)), model).compute()
    model = model.with_calibration(Calibration(temperature=1, alpha=0.1, threshold=0.3, n=50))
    model = model.with_limits(LIMITS)
    found["probability"][:] = [[0.9, 0.1], [0.6, 0.4], [0.6, 0.4], [np.nan] * 2, [0.1, 0.9]]
    found["dissimilarity"][:] = [0.1, 0.1, 1.6, np.nan, 1.4]
    table = parcel_table(parcels_of(part(shown, slice(0, 5))), found, model)
    assert texts(table["crop:level"]) == ["crop", "season", "unknown", None, "crop"]
    assert texts(table["crop:name_at_level"]) == ["grass", "late", None, None, "maize"]
    assert texts(table["crop:code_at_level"]) == ["G", "L", None, None, "M"]
    assert texts(table["crop:name"]) == ["grass", "grass", "grass", None, "maize"]
    assert table["crop:set_size"].tolist() == [1, 2, 2, 0, 1]
    # Parcels of which nothing was found have the same columns.
    empty = parcel_table(table, nothing_found(table, model), model)
    assert empty["crop:level"].isna().all()
    assert empty["dissimilarity"].isna().all()
    plain = parcel_table(parcels_of(part(shown, slice(0, 5))), found, model.with_limits(None))
    assert "crop:level" not in plain


def texts(column):
    return [None if gone else text for text, gone in zip(column, column.isna(), strict=True)]


def columns_of(probability, dissimilarity):
    """Columns (y, x, …) as of `pixel_block`, with one sensor."""
    probability = np.array(probability, np.float32)
    dates = np.ones((len(probability), 1), np.float32)
    far = np.array(dissimilarity, np.float32)[:, None]
    return np.concatenate([probability, dates, far], axis=1)[None]


def test_pixels_beyond_the_limit_are_253_without_confidence():
    nan = np.nan
    columns = columns_of(
        [[0.9, 0.1, 0], [0.5, 0.4, 0.1], [0.9, 0.1, 0], [nan, nan, nan]], [0.1, 2.4, 2.6, nan]
    )
    limit = LIMITS.pixel
    decided = decide_pixels(columns, n_classes=3, needed=[True], limit=limit)
    assert decided.tolist() == [[0, 0, 253, 254]]
    assert decide_pixels(columns[..., :4], n_classes=3, needed=[True]).tolist() == [[0, 0, 0, 254]]
    confidence = pixel_confidence(columns, n_classes=3, limit=limit)
    np.testing.assert_allclose(confidence, [[0.9, 0.5, nan, nan]], rtol=1e-6)
    calibration = Calibration(temperature=1, alpha=0.1, threshold=0.3, n=50)
    sizes = pixel_set_size(columns, n_classes=3, calibration=calibration, limit=limit)
    assert sizes.tolist() == [[1, 2, 0, 0]]
    node = pixels_at_level(columns, nomenclature=TREE, limit=limit, what=0)
    level = pixels_at_level(columns, nomenclature=TREE, limit=limit, what=1)
    assert node.tolist() == [[0, 3, 255, 255]]
    assert level.tolist() == [[0, 1, 255, 255]]


def test_limits_keep_the_share_that_they_promise(without_wheat):
    model, shown, truth = without_wheat
    known = np.where(truth == "wheat", None, truth).tolist()
    for kept in (0.5, 0.9):
        limits = fit_limits(model, shown, known, kept=kept, outside=0.05)
        table = parcel_table(
            parcels_of(shown),
            classify_pixel_sets(shown, model.with_limits(limits)).compute(),
            model.with_limits(limits),
        )
        rows = truth != "wheat"
        assert (table["crop:level"] == "crop")[rows].mean() >= kept
        assert (table["crop:level"] == "unknown")[rows].mean() <= 0.05
    with pytest.raises(LabelError, match="less than 1 - kept"):
        fit_limits(model, shown, known, kept=0.9, outside=0.2)
    with pytest.raises(LabelError, match="fewer than 20 labelled parcels"):
        fit_limits(model, shown, [*known[:12], *[None] * (len(known) - 12)])


def test_limits_are_found_in_the_season_of_the_model(without_wheat):
    """Days count from the model's first day, also in samples whose season starts later."""
    model, shown, truth = without_wheat
    known = np.where(truth == "wheat", None, truth).tolist()
    later = shown.copy()
    later.attrs = {**shown.attrs, "season_start": "2017-09-11"}  # the day of the first image
    assert fit_limits(model, later, known) == fit_limits(model, shown, known)


def test_limits_are_part_of_a_model_and_go_with_its_calibration(without_wheat, tmp_path):
    model, _, _ = without_wheat
    assert model.limits is None
    limited = model.with_limits(LIMITS)
    again = CropModel.load(limited.save(tmp_path / "model"))
    assert again.limits == LIMITS
    assert again.digest == limited.digest != model.digest
    assert "80% of 40 parcels" in repr(limited)
    calibration = Calibration(temperature=2, alpha=0.1, threshold=0.3, n=50)
    assert limited.with_calibration(calibration).limits is None
    with pytest.raises(ModelMismatchError, match="no embeddings"):
        replace(model, training_space=None).with_limits(LIMITS)
    with pytest.raises(ModelFormatError, match="no limit"):
        Limit(probability=2, dissimilarity=1)


def test_fit_finds_limits_where_it_has_validation_parcels():
    samples, labels = make_samples(n=150)
    model = fit(samples, labels, config=replace(QUICK, epochs=3, validation=0.2))
    assert model.limits is not None
    assert model.limits.n == model.calibration.n


@pytest.fixture(scope="module")
def limited():
    samples, labels = make_samples(n=60)
    model = fit(samples, labels, nomenclature=TREE, config=replace(QUICK, epochs=1))
    # Of another season's dates: what the archive covers is not what is tested here.
    model = replace(model, coverage={}).with_calibration(
        Calibration(temperature=1, alpha=0.1, threshold=0.3, n=50)
    )
    return model.with_limits(LIMITS)


def test_a_map_shows_what_the_model_does_not_know(limited, tmp_path):
    archive = write_archive(tmp_path / "archive")  # its pixels are alike
    cube = cubecrop.open_season(AOI, 2018, archive=archive).load()
    parcel = gpd.GeoDataFrame({"id": ["one"]}, geometry=AOI.buffer(-99).envelope)
    far = limited.applicability(cubecrop.sample_pixel_sets(cube, parcel, n_pixels=1)).item()

    def mapped(model):
        with forbid_compute():
            return cubecrop.classify(AOI, 2018, archive=archive, model=model)

    near = Limit(probability=0.5, dissimilarity=far / 2)
    found = mapped(limited.with_limits(replace(LIMITS, pixel=near)))
    out = cubecrop.write_map(found, tmp_path / "map", progress=False)
    with rasterio.open(out / "crop_type.tif") as raster:
        assert (raster.read(1) == OUTSIDE_KNOWLEDGE).all()
    item = json.loads((out / "item.json").read_text())
    classes = item["assets"]["crop_type"]["classification:classes"]
    assert {one["value"]: one["name"] for one in classes}[OUTSIDE_KNOWLEDGE] == WITHOUT_CLASS[
        OUTSIDE_KNOWLEDGE
    ].slug
    assert WITHOUT_CLASS[OUTSIDE_KNOWLEDGE].title in (out / "crop_type.qml").read_text()
    found = found.compute()
    assert (found["set_size"] == 0).all()
    assert (found["level"] == NODATA).all()
    assert (found["crop_at_level"] == NODATA).all()

    wide = Limit(probability=0.5, dissimilarity=far * 2)
    known = mapped(limited.with_limits(replace(LIMITS, pixel=wide))).compute()
    assert (known["crop_type"] < len(TREE)).all()
    assert (known["set_size"] > 0).all()
    assert known["level"].attrs["flag_meanings"] == "crop season all"
    node, level = TREE.finest(known["probability"].transpose(..., "crop").to_numpy(), 0.5)
    np.testing.assert_array_equal(known["crop_at_level"], node)
    np.testing.assert_array_equal(known["level"], level)
    np.testing.assert_allclose(known["probability"], found["probability"], atol=1e-6)

    # A model without limits never hides a pixel.
    plain = mapped(limited.with_limits(None)).compute()
    assert not {"level", "crop_at_level"} & set(plain.data_vars)
    np.testing.assert_array_equal(plain["crop_type"], known["crop_type"])
