"""The parcels of a recipe's sources: errors name the source, and what is left out is counted."""

import geopandas as gpd
import pandas as pd
import pytest
from recipe_countries import BOXES, SOURCE, TOP, recipe_of

from cubecrop.errors import ArgumentError, LabelError
from cubecrop.pipeline import recipes
from cubecrop.pipeline.recipes import train_recipe


def test_errors_name_the_source(tmp_path, countries_server, countries_archive):
    recipe = recipe_of(
        tmp_path, countries_server, countries_archive, top=TOP.replace('"rpg"', '"lbg"')
    )
    with pytest.raises(LabelError, match=r"source flanders 2023: .*not in the list 'lbg'"):
        train_recipe(recipe, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_codes_that_have_no_class_are_named_with_their_source(
    tmp_path, countries, countries_server, countries_archive
):
    """Other spring rape has no class in the default model's tree, so no parcel would be left."""
    declared = gpd.read_parquet(countries / "parcels-2023.parquet")
    declared["crop:code"] = "OPN"
    declared.to_parquet(countries / "parcels-2022.parquet", write_covering_bbox=True)
    recipe = recipe_of(tmp_path, countries_server, countries_archive, years=(2022,))
    told = (
        r"source flanders 2022: column 'crop:code' has no label that the list 'rpg' gives a class"
    )
    with pytest.raises(LabelError, match=told):
        train_recipe(recipe, tmp_path / "out", progress=False)


def test_labels_that_a_nomenclature_lacks_are_named_with_their_source(tmp_path, countries):
    declared = gpd.read_parquet(countries / "parcels-2024.parquet")
    labels = declared["crop:code"].unique()
    lines = [f"{label},crop {i}" for i, label in enumerate(labels)]
    (tmp_path / "classes.csv").write_text("\n".join(["code,name", *lines]))
    declared["crop:code"] = declared["crop:code"].where(declared.index != 0, "oats?")
    declared.to_parquet(tmp_path / "odd.parquet")
    top = TOP.replace('codes = "rpg"', 'nomenclature = "classes.csv"')
    sources = "".join(
        SOURCE.format(
            region=region, year=2024, parcels=parcels, archive=countries / "archive",
            bbox=[-10, 40, 10, 60],
        ) + 'id = "field"\n'
        for region, parcels in (("a", countries / "parcels-2024.parquet"), ("b", "odd.parquet"))
    )  # fmt: skip
    (tmp_path / "recipe.toml").write_text(top + sources)
    told = r"^source b 2024: 1 labels are neither a code nor a name of .*classes\.csv: 'oats\?'"
    with pytest.raises(LabelError, match=told):
        train_recipe(tmp_path / "recipe.toml", tmp_path / "out", progress=False)
    (tmp_path / "classes.csv").write_text("code;label")  # the fault of no source
    with pytest.raises(LabelError, match=r"^[^ ]*classes\.csv"):
        train_recipe(tmp_path / "recipe.toml", tmp_path / "out", progress=False)


def with_codes(path, countries, change):
    """A recipe of the parcels of Flanders in 2023 alone, with other codes; and their number."""
    declared = gpd.read_parquet(countries / "parcels-2023.parquet").to_crs("EPSG:4326")
    declared = declared.cx[2:4, 50:51.5]
    declared["crop:code"] = change(declared["crop:code"].tolist())
    declared.to_parquet(path / "parcels.parquet")
    source = SOURCE.format(
        region="flanders", year=2023, parcels="parcels.parquet", archive=countries / "archive",
        bbox=BOXES["flanders"],
    )  # fmt: skip
    (path / "recipe.toml").write_text(f'{TOP}{source}id = "field"\n')
    return path / "recipe.toml", len(declared)


def test_parcels_with_codes_of_later_years_are_left_out_and_counted(
    tmp_path, countries, monkeypatch
):
    """The list is of 2018; a register adds codes each year."""
    monkeypatch.setattr(recipes, "study", lambda *_, **__: None)  # the report
    recipe, n = with_codes(tmp_path, countries, lambda own: ["XX1", "XX2", "XX1", *own[3:]])
    told = f"3 of {n} parcels are left out, since their codes are not in the list 'rpg'"
    with pytest.warns(UserWarning, match=rf"flanders 2023: {told}.*: XX1 \(2\), XX2 \(1\)\."):
        train_recipe(recipe, tmp_path / "out", progress=False)
    card = (tmp_path / "out" / "card.md").read_text()
    assert f"- flanders 2023: {told}" in card
    assert "XX1 (2), XX2 (1)." in card


def test_a_list_that_lacks_most_codes_is_the_wrong_one(tmp_path, countries):
    def change(own):
        return ["XX1" if i % 3 else code for i, code in enumerate(own)]

    recipe, _ = with_codes(tmp_path, countries, change)
    with pytest.raises(LabelError, match=r"source flanders 2023: .*more than half.*XX1 \("):
        train_recipe(recipe, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_sources_to_train_on_that_hold_a_single_class_are_named(tmp_path, countries):
    recipe, _ = with_codes(tmp_path, countries, lambda own: ["MIS"] * len(own))
    told = r"flanders 2023 \(column 'crop:code'\).*only the class 'maize', expected two or more"
    with pytest.raises(LabelError, match=told):
        train_recipe(recipe, tmp_path / "out", progress=False)
    held = SOURCE.format(
        region="aquitaine", year=2023, parcels=countries / "parcels-2023.parquet",
        archive=countries / "archive", bbox=BOXES["aquitaine"],
    )  # fmt: skip
    end = '[held_out]\nregions = ["aquitaine"]\n'
    recipe.write_text(f'{recipe.read_text()}{held}id = "field"\n{end}')
    with pytest.raises(LabelError, match=told):  # the others are of a source that is only scored
        train_recipe(recipe, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_single_class_within_an_archive_is_told_with_the_labels_own_column(tmp_path, countries):
    """Maize where the images are, and other crops 100 km away."""
    recipe, _ = with_codes(tmp_path, countries, lambda own: ["MIS"] * len(own))
    table = gpd.read_parquet(tmp_path / "parcels.parquet").to_crs("EPSG:3035")
    away = table.assign(field=table["field"] + " away", geometry=table.translate(0, 100_000))
    away["crop:code"] = "BTH"
    pd.concat([table, away]).to_parquet(tmp_path / "parcels.parquet")
    recipe.write_text(recipe.read_text().replace(str(BOXES["flanders"]), "[0, 48, 8, 54]"))
    told = r"within archive .* \(column 'crop:code'\) hold only the class 'maize', expected"
    with pytest.raises(LabelError, match=told):
        train_recipe(recipe, tmp_path / "out", progress=False)


def test_parcels_of_overlapping_regions_are_not_held_out_and_trained_on(
    tmp_path, countries_server, countries_archive
):
    recipe = recipe_of(
        tmp_path, countries_server, countries_archive, end='[held_out]\nregions = ["aquitaine"]\n'
    )
    text = recipe.read_text().replace(str(BOXES["flanders"]), "[-2.0, 40.0, 4.0, 52.0]")
    recipe.write_text(text)
    with pytest.raises(ArgumentError, match=r"source aquitaine 2023, which is held out, lie in"):
        train_recipe(recipe, tmp_path / "out", progress=False)
