"""The model that is part of the package: its record, its page, and what data it takes."""

import datetime as dt
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.default_model.places import belgium, flanders
from benchmarks.default_model.points import DATA, read_points, simulated_points
from benchmarks.default_model.recipe import recipe, recipe_digest
from benchmarks.default_model.scoring import cut
from cubecrop import CropModel, TrainConfig, classify_parcels, simulate_archive, train
from cubecrop.errors import ModelFormatError, ModelMismatchError
from cubecrop.model.shipped import read_card, shipped_folder, shipped_models
from cubecrop.model.shipped.card import card_text, shortfalls_of
from cubecrop.nomenclature import Nomenclature
from cubecrop.pipeline.inputs import as_model
from cubecrop.season import Season

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def points():
    return simulated_points([2021], n=60, seed=77)[2]


def test_the_model_in_the_package_is_the_one_of_its_record():
    model, record = CropModel.default(), read_card()
    assert model.digest == record["digest"]
    assert record["recipe"] == recipe()
    assert record["recipe_digest"] == recipe_digest()
    assert dict(model.training.parcels) == record["parcels"]
    files = sorted(shipped_folder().iterdir())
    assert [file.name for file in files] == ["card.json", "model.json", "model.safetensors"]
    assert sum(file.stat().st_size for file in files) < 3e6


def test_it_has_the_packaged_tree_and_limits_of_its_knowledge():
    model, record = CropModel.default(), read_card()
    assert model.nomenclature == Nomenclature.from_hierarchy("coarse")
    assert model.nomenclature.levels == ["crop", "season", "all"]
    assert record["limits"]["kept"] == model.limits.kept == 0.8
    assert model.limits.n == record["limits"]["n"] <= sum(record["parcels"].values())
    for name in ("parcel", "pixel"):
        limit = getattr(model.limits, name)
        assert record["limits"][name]["probability"] == pytest.approx(limit.probability, abs=1e-4)
        assert 0 < limit.probability < 1
    # By the rule of the limits; the regions have different numbers of points.
    sizes = {name: one["n"] for name, one in record["regions"].items()}
    kept = sum(n * record["regions"][name]["levels"]["crop"] for name, n in sizes.items())
    assert kept / sum(sizes.values()) == pytest.approx(0.8, abs=0.01)


def test_the_card_says_where_aims_are_missed():
    record = read_card()
    rates = [one["false_sure"] for one in record["false_sure"].values()]
    assert set(record["false_sure"]) == {name for name, n in record["parcels"].items() if n >= 50}
    missed = any("Crops that a model never saw" in text for text in shortfalls_of(record))
    assert missed == (np.mean(rates) > 0.1)


def test_it_is_not_used_in_regions_where_it_misses_the_aim():
    record, limits = read_card(), CropModel.default().limits
    missed = {
        name for name, one in record["regions"].items() if one["coarse"]["sure_accuracy"] < 0.75
    }
    assert {area.name for area in limits.unreliable} == missed
    corte, bastia, ghent, caen = (9.15, 42.31), (9.45, 42.70), (3.72, 51.05), (-0.2, 49.0)
    lon, lat = np.array([corte, bastia, ghent, caen]).T
    unreliable = limits.unreliable_at(lon, lat).tolist()
    assert unreliable == ["Corsica" in missed] * 2 + ["Flanders" in missed, "France" in missed]


def test_the_page_is_made_from_the_record():
    page = (ROOT / "docs" / "default-model.md").read_text("utf-8")
    assert page == card_text(read_card())


def test_the_card_names_origins_and_licences():
    text = card_text(read_card())
    for name in ("WorldCereal", "Copernicus", "Registre Parcellaire", "Agriculture and Agri-Food",
                 "Landbouwgebruikspercelen", "Licence Ouverte 2.0"):  # fmt: skip
        assert name in text


def test_commands_print_the_models_and_a_card_without_torch():
    code = (
        "import sys; from cubecrop.cli import app\n"
        "app(sys.argv[1:], result_action='return_value')\n"
        "assert 'torch' not in sys.modules"
    )
    for words, wanted in ((["models"], "default (used"), (["models", "show"], "# The default")):
        out = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
        )
        assert wanted in out.stdout
    with pytest.raises(ModelFormatError, match=str(shipped_models())):
        shipped_folder("best")


def test_it_is_used_where_no_model_is_given(points):
    assert as_model(None) is CropModel.default()
    known = points.labelled()
    probability = as_model(None).predict_proba(known.samples).to_numpy()
    assert np.isfinite(probability).all()
    names = np.array(as_model(None).nomenclature.names)
    assert np.mean(names[probability.argmax(axis=1)] == known.labels) > 0.4


@pytest.mark.slow
def test_train_starts_from_it_and_parcels_are_classified_by_it(tmp_path):
    archive = simulate_archive(tmp_path / "a", years=[2024], size_km=0.6, seed=4, progress=False)
    parcels = archive / "parcels-2024.parquet"
    config = TrainConfig(epochs=1)
    model = train(
        parcels, "crop:name", 2024, archive=archive, init=CropModel.default(), config=config,
        progress=False,
    )  # fmt: skip
    assert model.composite == "month"
    assert model.season_for(Season(2024), 50.0) == Season(2024)
    table = classify_parcels(parcels, 2024, archive=archive)
    assert set(table["crop:name"].dropna()) <= set(CropModel.default().nomenclature.names)
    assert (table["crop:name"] == "winter cereal")[
        table["declared:crop:name"] == "winter wheat"
    ].any()


def test_it_takes_shorter_seasons_and_refuses_too_short_ones(points):
    model = CropModel.default()
    for start, end in (((1, 1), (12, 31)), ((4, 1), (7, 31))):
        probability = model.predict_proba(cut(points.samples, start, end))
        assert np.isfinite(probability.to_numpy()).all()
    with pytest.raises(ModelMismatchError, match="too short"):
        model.predict_proba(cut(points.samples, (5, 15), (9, 30)))
    longer = points.samples.copy()
    longer.attrs["season_end"] = "2022-02-28"
    with pytest.raises(ModelMismatchError, match="or on a part of it"):
        model.predict_proba(longer)
    usual = Season(2021)
    assert model.season_for(usual, 50.0).end == dt.date(2021, 12, 31)
    with pytest.raises(ModelMismatchError, match="equator"):
        model.season_for(Season(2021, hemisphere="south"), -30.0)


def test_it_takes_one_sensor_and_either_calibration_of_the_radar(points):
    model, samples = CropModel.default(), points.samples.copy()
    radar = samples["sentinel1"]["backscatter"]
    for calibration, error in (("gamma0", None), ("beta0", "sigma0, gamma0")):
        radar.attrs["calibration"] = calibration
        if error is None:
            assert model.check(samples) == ("sentinel2", "sentinel1")
        else:
            with pytest.raises(ModelMismatchError, match=error):
                model.check(samples)
    radar.attrs["calibration"] = "sigma0"
    for name in ("sentinel1", "sentinel2"):
        alone = samples.copy()
        del alone[name]
        assert np.isfinite(model.predict_proba(alone).to_numpy()).all()


HAS_DATA = pytest.mark.skipif(not DATA.exists(), reason="needs the real data beside the project")


@HAS_DATA
def test_it_knows_the_points_that_it_was_trained_on():
    record, model = read_card(), CropModel.default()
    names, right, without = np.array(model.nomenclature.names), [], []
    for part in read_points():
        known, region = part.labelled(), record["regions"][part.name]
        assert known.counts == region["classes"]
        found = names[model.predict_proba(known.samples, allow_gaps=True).to_numpy().argmax(axis=1)]
        right.extend(found == known.labels)
        without.extend([region["network"]["accuracy"]] * len(known))
    assert np.mean(right) > np.mean(without) + 0.05


@HAS_DATA
@pytest.mark.slow
def test_it_maps_a_real_patch_of_flanders():
    found = flanders()
    assert found["parcels"] == 14
    assert found["groups right"] >= 9
    # Its limits leave a map: most pixels have a crop, and few are unknown.
    assert found["pixels by level"]["crop"] > 0.5
    assert found["pixels by level"]["unknown"] < 0.2
    assert found["pixels, groups right"] > 0.5 * found["pixels"]
    assert found["nearest training point, km"] > 5


@HAS_DATA
def test_it_agrees_with_worldcereal_on_maize_and_winter_cereals_in_belgium():
    pytest.importorskip("h5netcdf")
    pytest.importorskip("h5py")
    table = belgium()
    for layer, name in (("maize", "maize"), ("winter cereals", "winter cereal")):
        assert table.loc[layer, name] > 0.8 * table.loc[layer, "pixels"]
