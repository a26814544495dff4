"""Recipes: several simulated countries over HTTP become a model with a report."""

from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from samples import make_samples, with_weather
from servers import Faulty, over_http

import cubecrop
from cubecrop.cli import main
from cubecrop.errors import AoiError, ArgumentError, LabelError, OutputError, ReadError
from cubecrop.model import PrestoWeights
from cubecrop.model.presto import PrestoEncoder
from cubecrop.pipeline import recipes
from cubecrop.pipeline.recipe_card import recipe_card
from cubecrop.pipeline.recipe_file import Recipe
from cubecrop.pipeline.recipe_init import regions_of_init
from cubecrop.pipeline.recipe_state import RecipeFolder
from cubecrop.pipeline.recipes import train_recipe
from cubecrop.training.checkpoint import Checkpoint
from cubecrop.vector import read_part

TOP = """
name = "two countries"
licence = "CC-BY-4.0"
label = "crop:code"
codes = "rpg"
composite = "month"
most = 6
epochs = 2
"""
SOURCE = """
[[source]]
region = "{region}"
year = {year}
parcels = "{parcels}"
archive = "{archive}"
bbox = {bbox}
"""
BOXES = {"flanders": [2.0, 50.0, 4.0, 51.5], "aquitaine": [-1.0, 43.0, 1.0, 45.0]}


@pytest.fixture(scope="module")
def countries(tmp_path_factory):
    """Two regions and two years, with parcels as GeoParquet with a covering of boxes."""
    root = tmp_path_factory.mktemp("countries")
    place = cubecrop.simulate_archive(
        root / "archive", regions=list(BOXES), years=[2023, 2024], size_km=0.5, seed=4,
        progress=False,
    )  # fmt: skip
    for year in (2023, 2024):
        declared = gpd.read_parquet(place / f"parcels-{year}.parquet").to_crs("EPSG:3035")
        declared.rename(columns={"id": "field"}).to_parquet(
            root / f"parcels-{year}.parquet", write_covering_bbox=True
        )
    return root


@pytest.fixture(scope="module")
def running(countries):
    with Faulty(countries) as server:
        yield server


@pytest.fixture(scope="module")
def archive(running, countries):
    """Items whose files the server gives."""
    return over_http(countries / "archive", countries, f"{running.url}/archive")


@pytest.fixture
def server(running):
    running.asked.clear()
    return running


def written(folder, server, archive, *, top=TOP, years=(2023, 2024), end=""):
    text = top + "".join(
        SOURCE.format(
            region=region, year=year, parcels=f"{server.url}/parcels-{year}.parquet",
            archive=archive, bbox=BOXES[region],
        ) + 'id = "field"\n'
        for region in BOXES for year in years
    )  # fmt: skip
    path = folder / "recipe.toml"
    path.write_text(text + end)
    return path


def test_countries_over_http_become_a_model_and_a_report(
    tmp_path, server, archive, capsys, monkeypatch
):
    end = (
        '[held_out]\nregions = ["aquitaine"]\n'
        '[report]\nseeds = 1\nprotocols = ["leave-region-out"]\n'
    )
    recipe = written(tmp_path, server, archive, end=end)
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


def test_a_part_of_a_file_is_fetched_by_its_boxes(server, countries):
    x, y = np.random.default_rng(0).uniform(0, 1, (2, 20_000))
    east = np.arange(20_000) >= 10_000
    shapes = shapely.buffer(shapely.points(x + 10 * east, y + 45), 0.001)
    fields = gpd.GeoDataFrame({"field": range(20_000)}, geometry=shapes, crs="EPSG:4326")
    fields.to_crs("EPSG:3035").to_parquet(
        countries / "fields.parquet", write_covering_bbox=True, row_group_size=5000
    )
    found = read_part(f"{server.url}/fields.parquet", bbox=(0, 44, 2, 47), columns=["field"])
    assert found["field"].tolist() == list(range(10_000))
    assert found.crs == "EPSG:3035"
    sent = 0
    for method, path, asked in server.asked:
        assert path == "/fields.parquet"
        if method == "GET":
            first, last = asked.removeprefix("bytes=").split("-")
            sent += int(last) - int(first) + 1
    assert sent < 0.8 * (countries / "fields.parquet").stat().st_size


def test_a_parcel_belongs_to_the_part_with_its_inner_point(tmp_path):
    boxes = [shapely.box(0.0, 0.0, 0.2, 0.1), shapely.box(0.8, 0.0, 1.6, 0.1)]
    table = gpd.GeoDataFrame({"id": [1, 2]}, geometry=boxes, crs="EPSG:4326")
    table.to_file(tmp_path / "parcels.gpkg")
    assert read_part(tmp_path / "parcels.gpkg", bbox=(0, 0, 1, 1))["id"].tolist() == [1]
    with pytest.raises(AoiError, match=r"lacks the columns \['crop'\]"):
        read_part(tmp_path / "parcels.gpkg", columns=["crop"])


def test_a_rectangle_may_cross_the_180th_meridian(tmp_path):
    boxes = [shapely.box(x, -18.1, x + 0.1, -18) for x in (10, 178.5, -179.5)]
    table = gpd.GeoDataFrame({"id": [1, 2, 3]}, geometry=boxes, crs="EPSG:4326")
    table.to_parquet(tmp_path / "fiji.parquet")
    found = read_part(tmp_path / "fiji.parquet", bbox=(177, -20, -178, -16))
    assert found["id"].tolist() == [2, 3]


def test_addresses_that_give_no_parcels_say_so(server, countries):
    with pytest.raises(ReadError, match=r"does not answer.*download"):
        read_part(f"{server.url}/absent.parquet")
    (countries / "fields.gpkg").write_bytes(b"SQLite format 3\0" * 100)
    with pytest.raises(AoiError, match="cannot be read as GeoParquet"):
        read_part(f"{server.url}/fields.gpkg")
    with pytest.raises(AoiError, match=r"lacks the columns \['crop'\]"):
        read_part(f"{server.url}/parcels-2024.parquet", columns=["crop"])


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


def test_errors_name_the_source(tmp_path, server, archive):
    recipe = written(tmp_path, server, archive, top=TOP.replace('"rpg"', '"lbg"'))
    with pytest.raises(LabelError, match=r"source flanders 2023: .*not in the list 'lbg'"):
        train_recipe(recipe, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_codes_that_have_no_class_are_named_with_their_source(tmp_path, countries, server, archive):
    """Other spring rape has no class in the default model's tree, so no parcel would be left."""
    declared = gpd.read_parquet(countries / "parcels-2023.parquet")
    declared["crop:code"] = "OPN"
    declared.to_parquet(countries / "parcels-2022.parquet", write_covering_bbox=True)
    recipe = written(tmp_path, server, archive, years=(2022,))
    told = (
        r"source flanders 2022: column 'crop:code' has no label that the list 'rpg' gives a class"
    )
    with pytest.raises(LabelError, match=told):
        train_recipe(recipe, tmp_path / "out", progress=False)


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


def test_parcels_of_overlapping_regions_are_not_held_out_and_trained_on(tmp_path, server, archive):
    recipe = written(tmp_path, server, archive, end='[held_out]\nregions = ["aquitaine"]\n')
    text = recipe.read_text().replace(str(BOXES["flanders"]), "[-2.0, 40.0, 4.0, 52.0]")
    recipe.write_text(text)
    with pytest.raises(ArgumentError, match=r"source aquitaine 2023, which is held out, lie in"):
        train_recipe(recipe, tmp_path / "out", progress=False)


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


class StoppedError(Exception):
    """The process is killed here."""


def stopped(*_, **__):
    raise StoppedError


def test_a_recipe_goes_on_where_it_was_interrupted(tmp_path, server, countries, monkeypatch):
    archive = countries / "archive"
    end = '[report]\nseeds = 1\nprotocols = ["random"]\n'
    recipe = written(tmp_path, server, archive, years=(2024,), end=end)
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
    changed = written(other, server, archive, years=(2024,), end=end, top=f"{TOP}seed = 1\n")
    with pytest.raises(OutputError, match=r"differs in settings\. .*--overwrite"):
        train_recipe(changed, out, **options)
    with monkeypatch.context() as patch:  # the model is kept, and only the report is made
        asked = []
        patch.setattr(recipes, "fit_and_score", stopped)
        patch.setattr(recipes, "study", lambda *given, **_: asked.append(given[2].seeds))
        assert train_recipe(recipe, out, **options).digest == digest
        # Another report of the same model asks for no other training of it.
        more = written(other, server, archive, years=(2024,), end=end.replace("= 1", "= 2"))
        assert train_recipe(more, out, **options).digest == digest
        assert asked == [1, 2]
    assert (out / "card.md").exists()
    (out / "recipe.json").unlink()
    with pytest.raises(OutputError, match=r"no recipe\.json says of which recipe"):
        train_recipe(recipe, out, **options)


def test_other_files_in_the_folder_of_a_recipe_stay(tmp_path, server, countries):
    recipe = written(tmp_path, server, countries / "archive")
    for name in ("training/parcels.csv", "recipe.json"):
        foreign = tmp_path / "out" / name
        foreign.parent.mkdir(parents=True, exist_ok=True)
        foreign.write_text("{}")
        with pytest.raises(OutputError, match=foreign.name):
            train_recipe(recipe, tmp_path / "out", progress=False)
        assert foreign.read_text() == "{}"
        foreign.unlink()


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
    tmp_path, server, countries
):
    samples, labels = make_samples(n=9)
    weights = PrestoWeights(weights=PrestoEncoder().state_dict())
    quick = cubecrop.TrainConfig(epochs=1)
    known = cubecrop.fit(samples, labels, init=weights, config=quick, progress=False)
    # Without places it may know all.
    replace(known, training=replace(known.training, bboxes=())).save(tmp_path / "known")
    archive, top = countries / "archive", f'{TOP}init = "known"\n'
    recipe = written(tmp_path, server, archive, years=(2024,), top=top)
    with pytest.raises(ArgumentError, match="Presto that has learned in flanders, aquitaine"):
        train_recipe(recipe, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_report_starts_from_init_as_its_model_does(tmp_path, server, archive, monkeypatch):
    asked = []
    monkeypatch.setattr(recipes, "study", lambda *given, **_: asked.append(given[2]))
    recipe = written(tmp_path, server, archive, years=(2024,), top=f'{TOP}init = "default"\n')
    train_recipe(recipe, tmp_path / "out", progress=False)
    (options,) = asked
    assert options.init.digest == cubecrop.CropModel.default().digest
    assert {one.init is options.init for one in options.candidates() if one.kind != "forest"} == {
        True
    }
    card = (tmp_path / "out" / "card.md").read_text()
    assert "learned nothing of these regions. The networks of the report start from them" in card
