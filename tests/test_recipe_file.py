"""Recipes as files: what they say, and their mistakes."""

from pathlib import Path

import pytest
from recipe_countries import BOXES, SOURCE, TOP

from cubecrop.cli import main
from cubecrop.errors import ArgumentError
from cubecrop.pipeline.recipe_file import Recipe


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("most = 6", 'most = "6"'), "most = '6', expected a whole number"),
        (("most = 6", "moste = 6"), r"unknown entries \['moste'\]"),
        (('label = "crop:code"\n', ""), "no `label`"),
        (('codes = "rpg"', 'codes = "hcat9"'), "the recipe has codes 'hcat9', expected one of"),
        (('codes = "rpg"', 'codes = "coarse"'), r"has codes 'coarse', expected one of \['crop"),
        (("year = 2024", 'year = 2024\ncodes = "coarse"'), r"\[\[source\]\] 2 has codes 'coarse'"),
        (('"month"', '"week"'), "composite is 'week'"),
        (("year = 2024\n", ""), r"\[\[source\]\] 2 lacks \['year'\]"),
        (("year = 2024", "year = 2023"), "several sources are aquitaine 2023"),
        (("[2.0,", "["), "expected a list of 4 numbers"),
        (("END", "[held_out]\nregions = ['gascony']"), "names the regions"),
        (("END", "[held_out]\nyears = [2023, 2024]"), "leaves no source to train on"),
        (("END", "[report]\nprotocols = ['best']"), "expected some of"),
        (("END", "[report]\nprotocols = []"), "has no protocols, expected some of"),
        (('region = "flanders"', 'region = " "'), "3 has an empty region"),
        (("END", "[repot]"), r"unknown entries \['repot'\]"),
        (("END", "[held_out]\nshare = 1.5"), "share is 1.5"),
    ],
)
def test_mistakes_in_a_recipe_are_named(tmp_path, change, says):
    sources = [("aquitaine", 2023), ("aquitaine", 2024), ("flanders", 2024)]
    text = TOP + "".join(
        SOURCE.format(region=r, year=y, parcels="p.parquet", archive="a", bbox=BOXES[r])
        for r, y in sources
    )
    changed = (text + "\nEND").replace(*change, 1).removesuffix("END")
    assert changed != text + "\n"
    (tmp_path / "recipe.toml").write_text(changed)
    with pytest.raises(ArgumentError, match=says) as caught:
        Recipe.read(tmp_path / "recipe.toml")
    assert str(tmp_path / "recipe.toml") in str(caught.value)


def test_options_beside_a_recipe_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["cubecrop", "train", "p.gpkg", "--seed", "1", "--out", "out",
                                     "--recipe", str(tmp_path / "recipe.toml")])  # fmt: skip
    with pytest.raises(SystemExit):
        main()
    assert "PARCELS, --seed and --recipe are given" in " ".join(capsys.readouterr().err.split())


def test_paths_are_relative_to_the_recipe_and_names_of_archives_stay(tmp_path):
    text = TOP + SOURCE.format(
        region="a", year=2024, parcels="p.gpkg", archive="planetary-computer", bbox=[0, 0, 1, 1]
    )
    (tmp_path / "recipe.toml").write_text(text)
    recipe = Recipe.read(tmp_path / "recipe.toml")
    (source,) = recipe.sources
    assert source.parcels == str(tmp_path / "p.gpkg")
    assert source.archive == "planetary-computer"
    assert recipe.protocols == ("random", "blocked")
    # As editors on Windows write it; and a path in the home folder.
    odd = text.replace('"p.gpkg"', '"~/p.gpkg"').replace('region = "a"', 'region = " a "')
    (tmp_path / "recipe.toml").write_text(odd, "utf-8-sig")
    (source,) = Recipe.read(tmp_path / "recipe.toml").sources
    assert (source.name, source.parcels) == ("a 2024", str(Path.home() / "p.gpkg"))
    later = SOURCE.format(
        region="b", year=2023, parcels="q.gpkg", archive="planetary-computer", bbox=[2, 0, 3, 1]
    )
    (tmp_path / "recipe.toml").write_text(text + later)
    recipe = Recipe.read(tmp_path / "recipe.toml")
    assert recipe.protocols == ("random", "leave-region-out", "leave-year-out")
