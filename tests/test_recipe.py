"""Recipes: several simulated countries over HTTP become a model with a report."""

import pytest
from recipe_countries import TOP, recipe_of

import cubecrop
from cubecrop.cli import main
from cubecrop.errors import OutputError
from cubecrop.pipeline import recipes
from cubecrop.pipeline.recipe_state import RecipeFolder
from cubecrop.pipeline.recipes import train_recipe
from cubecrop.training.checkpoint import Checkpoint


def test_countries_over_http_become_a_model_and_a_report(
    tmp_path, countries_server, countries_archive, capsys, monkeypatch
):
    end = (
        '[held_out]\nregions = ["aquitaine"]\n'
        '[report]\nseeds = 1\nprotocols = ["leave-region-out"]\n'
    )
    recipe = recipe_of(tmp_path, countries_server, countries_archive, end=end)
    monkeypatch.setattr(
        "sys.argv",
        ["cubecrop", "train", "--recipe", str(recipe), "--out", str(tmp_path / "out")],
    )
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "held out, aquitaine 2023" in capsys.readouterr().out
    model = cubecrop.CropModel.load(tmp_path / "out/model")
    assert model.name == "two countries"
    assert model.licence == "CC-BY-4.0"
    assert set(model.nomenclature.codes) <= set(
        cubecrop.Nomenclature.from_hierarchy("coarse").codes
    )
    own = {part: values["n"] for part, values in model.scores.items() if "forest" not in part}
    assert own["held out"] == own["held out, aquitaine 2023"] + own["held out, aquitaine 2024"] > 0
    assert not any("flanders" in part for part in own)
    assert model.training.years == (2023, 2024)
    assert all(south > 50 for _, south, _, _ in model.training.bboxes)  # nothing of Aquitaine
    card = (tmp_path / "out/card.md").read_text()
    assert "| held out, aquitaine 2024 |" in card
    assert "| flanders 2023 | train |" in card
    assert "EuroCrops" in card
    text = (tmp_path / "out/report/report.md").read_text()
    assert "aquitaine" in text
    assert (tmp_path / "out/report/report.html").stat().st_size > 10_000
    assert not (tmp_path / "out/training").exists()
    with pytest.raises(SystemExit, match="1"):  # it has all that there is to do
        main()
    assert "holds the model and the report of this recipe already" in " ".join(
        capsys.readouterr().err.split()
    )


class StoppedError(Exception):
    """The process is killed here."""


def stopped(*_, **__):
    raise StoppedError


def test_a_recipe_goes_on_where_it_was_interrupted(
    tmp_path, countries_server, countries, monkeypatch
):
    archive = countries / "archive"
    end = '[report]\nseeds = 1\nprotocols = ["random"]\n'
    recipe = recipe_of(tmp_path, countries_server, archive, years=(2024,), end=end)
    out, options = tmp_path / "out", {"cache": tmp_path / "cache", "progress": False}
    with monkeypatch.context() as patch:  # after an epoch
        save = Checkpoint.save
        patch.setattr(Checkpoint, "save", lambda *given: (save(*given), stopped()))
        with pytest.raises(StoppedError):
            train_recipe(recipe, out, **options)
    assert sorted(path.name for path in out.iterdir()) == ["recipe.json", "training"]
    epochs = (out / "training" / "metrics.csv").read_text().splitlines()
    with monkeypatch.context() as patch:  # with a model, before the report
        patch.setattr(recipes, "study", stopped)
        begun, load = [], Checkpoint.load
        patch.setattr(Checkpoint, "load", lambda self: begun.append(load(self)) or begun[-1])
        with pytest.raises(StoppedError):
            train_recipe(recipe, out, **options)
    assert len(epochs) == 2
    assert [state is not None for state in begun] == [True]  # it went on
    assert RecipeFolder.at(out, overwrite=False).model() is not None
    assert RecipeFolder.at(out, overwrite=True).model() is None  # it would train from the start
    digest = cubecrop.CropModel.load(out / "model").digest
    other = tmp_path / "other"
    other.mkdir()
    changed = recipe_of(
        other, countries_server, archive, years=(2024,), end=end, top=f"{TOP}seed = 1\n"
    )
    with pytest.raises(OutputError, match=r"differs in settings\. .*--overwrite"):
        train_recipe(changed, out, **options)
    with monkeypatch.context() as patch:  # the model is kept, and only the report is made
        asked = []
        patch.setattr(recipes, "fit_and_score", stopped)
        patch.setattr(recipes, "study", lambda *given, **_: asked.append(given[2].seeds))
        assert train_recipe(recipe, out, **options).digest == digest
        # Another report of the same model asks for no other training of it.
        more = recipe_of(
            other, countries_server, archive, years=(2024,), end=end.replace("= 1", "= 2")
        )
        assert train_recipe(more, out, **options).digest == digest
        assert asked == [1, 2]
    assert (out / "card.md").exists()
    (out / "recipe.json").unlink()
    with pytest.raises(OutputError, match=r"no recipe\.json says of which recipe"):
        train_recipe(recipe, out, **options)


def test_other_files_in_the_folder_of_a_recipe_stay(tmp_path, countries_server, countries):
    recipe = recipe_of(tmp_path, countries_server, countries / "archive")
    for name in ("training/parcels.csv", "recipe.json"):
        foreign = tmp_path / "out" / name
        foreign.parent.mkdir(parents=True, exist_ok=True)
        foreign.write_text("{}")
        with pytest.raises(OutputError, match=foreign.name):
            train_recipe(recipe, tmp_path / "out", progress=False)
        assert foreign.read_text() == "{}"
        foreign.unlink()
