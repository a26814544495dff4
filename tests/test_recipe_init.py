"""Recipes that start from another model."""

from dataclasses import replace

import geopandas as gpd
import pytest
import shapely
from recipe_countries import BOXES, SOURCE, TOP, recipe_of
from samples import make_samples, with_weather

import cubecrop
from cubecrop.errors import ArgumentError
from cubecrop.model import PrestoWeights
from cubecrop.model.presto import PrestoEncoder
from cubecrop.pipeline import recipes
from cubecrop.pipeline.recipe_card import recipe_card
from cubecrop.pipeline.recipe_file import Recipe
from cubecrop.pipeline.recipe_init import regions_of_init
from cubecrop.pipeline.recipes import train_recipe


def test_a_recipe_takes_composites_and_weather_from_the_model_it_starts_from(
    tmp_path, countries, monkeypatch
):
    source = SOURCE.format(
        region="flanders", year=2024, parcels=countries / "parcels-2024.parquet",
        archive=countries / "archive", bbox=BOXES["flanders"],
    ) + 'id = "field"\n'  # fmt: skip
    samples, labels = make_samples()
    samples.attrs["composite"] = "month"
    config = cubecrop.TrainConfig(epochs=1, network=cubecrop.NetworkOptions(weather=True))
    init = cubecrop.fit(with_weather(samples), labels, config=config, progress=False)
    init.save(tmp_path / "init")
    top = TOP.replace('composite = "month"', 'init = "init"')
    (tmp_path / "recipe.toml").write_text(top + source)
    monkeypatch.setattr("cubecrop.pipeline.recipes.study", lambda *_, **__: None)  # the report
    model = train_recipe(tmp_path / "recipe.toml", tmp_path / "out", progress=False)
    assert model.composite == "month"
    assert model.modalities == init.modalities
    assert "weather" in model.modalities


def points(*lonlat):
    shapes = shapely.buffer(shapely.points(lonlat), 0.001)
    return gpd.GeoDataFrame(geometry=shapes, crs="EPSG:4326").to_crs("EPSG:3035")


def test_a_model_says_in_which_regions_it_has_learned(tmp_path):
    """The default model has learned in Flanders, and not in Aquitaine."""
    text = TOP + "".join(
        SOURCE.format(region=region, year=year, parcels="p.gpkg", archive="a", bbox=box)
        for region, box in BOXES.items() for year in (2023, 2024)
    )  # fmt: skip
    (tmp_path / "recipe.toml").write_text(text)
    recipe = Recipe.read(tmp_path / "recipe.toml")
    away, home = points((0, 44), (0.5, 44)), points((0, 44), (4.3, 50.8))
    default = cubecrop.CropModel.default()
    assert regions_of_init(default, recipe, [away, home, away, away]) == ("flanders",)
    assert regions_of_init(default, recipe, [away] * 4) == ()
    assert regions_of_init(None, recipe, [home] * 4) == ()
    unknown = replace(default, training=replace(default.training, bboxes=()))
    assert regions_of_init(unknown, recipe, [away] * 4) == tuple(BOXES)
    samples, labels = make_samples(n=9)
    quick = cubecrop.TrainConfig(epochs=1)
    further = cubecrop.fit(samples, labels, init=default, config=quick, progress=False)
    assert regions_of_init(further, recipe, [away, home, away, away]) == ("flanders",)
    counts = {source.name: {} for source in recipe.sources}
    recipe = replace(recipe, init="default")
    text = recipe_card(recipe, default, counts, seen_before=["flanders"])
    assert "has learned in flanders before: scores of parcels that are held out there are" in text


def test_a_model_of_presto_that_knows_the_regions_is_refused_before_sampling(
    tmp_path, countries_server, countries
):
    samples, labels = make_samples(n=9)
    weights = PrestoWeights(weights=PrestoEncoder().state_dict())
    quick = cubecrop.TrainConfig(epochs=1)
    known = cubecrop.fit(samples, labels, init=weights, config=quick, progress=False)
    # Without places it may know all.
    replace(known, training=replace(known.training, bboxes=())).save(tmp_path / "known")
    archive, top = countries / "archive", f'{TOP}init = "known"\n'
    recipe = recipe_of(tmp_path, countries_server, archive, years=(2024,), top=top)
    with pytest.raises(ArgumentError, match="Presto that has learned in flanders, aquitaine"):
        train_recipe(recipe, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_report_starts_from_init_as_its_model_does(
    tmp_path, countries_server, countries_archive, monkeypatch
):
    asked = []
    monkeypatch.setattr(recipes, "study", lambda *given, **_: asked.append(given[2]))
    recipe = recipe_of(
        tmp_path, countries_server, countries_archive, years=(2024,), top=f'{TOP}init = "default"\n'
    )
    train_recipe(recipe, tmp_path / "out", progress=False)
    (options,) = asked
    assert options.init.digest == cubecrop.CropModel.default().digest
    assert {one.init is options.init for one in options.candidates() if one.kind != "forest"} == {
        True
    }
    card = (tmp_path / "out" / "card.md").read_text()
    assert "learned nothing of these regions. The networks of the report start from them" in card
