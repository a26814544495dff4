"""The command line, as a user runs it."""

import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import pytest
import shapely

import cubecrop
from cubecrop import cli, printing
from cubecrop.cube import MEMORY
from cubecrop.errors import LabelError, ModelMismatchError, NoScenesError, OutputError


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        cli.app([str(a) for a in arguments], exit_on_error=True)
    return stop.value.code


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated") / "archive"
    return cubecrop.simulate_archive(out, years=[2024], size_km=0.6, seed=4, progress=False)


def test_help_names_every_command():
    out = subprocess.run(
        [sys.executable, "-m", "cubecrop", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("demo", "search", "simulate", "train", "classify", "classify-parcels"):
        assert command in out.stdout


def test_an_error_is_one_message_and_exit_code_one(tmp_path):
    out = subprocess.run(
        [sys.executable, "-m", "cubecrop", "search", "--aoi", "3,50,4,51", "--year", "2018",
         "--archive", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert out.returncode == 1
    assert "no archive at" in out.stderr
    assert "Traceback" not in out.stderr


def test_a_bbox_west_of_greenwich_is_an_argument(place):
    with pytest.raises(NoScenesError, match="lon -3"):
        cli.app(
            ["search", "--aoi", "-3.0,50.8,-2.9,50.9", "--year", "2024", "--archive", str(place)],
            exit_on_error=False, result_action="return_value",
        )  # fmt: skip


def test_the_demo_says_what_its_scores_mean():
    scores = {"train": {"n": 198.0}, "held out": {"n": 80.0}}
    told = printing.demo_text(SimpleNamespace(scores=scores))
    assert "the same 198 parcels" in told
    assert "the same 80 others" in told
    assert "1.2 % of accuracy" in told


def test_the_demo_quotes_the_scores_of_the_page_of_answers():
    told = printing.demo_text(SimpleNamespace(scores={"train": {"n": 2}, "held out": {"n": 1}}))
    page = Path(__file__).parents[1] / "docs" / "answers.md"
    if not page.exists():
        pytest.skip("the page is not there, as in a source distribution")
    rows = page.read_text("utf-8").splitlines()
    found = [float(number) for number in re.findall(r"0\.\d\d", told)]
    for method, said in (("network", found[::2]), ("random forest", found[1::2])):
        row = next(row for row in rows if row.startswith(f"| {method} | 5 |"))
        accuracy = re.findall(r"(\.\d+) /", row)[0]
        at_home, *_, away = re.findall(r"/ (\.\d+)", row)
        measured = [float(number) for number in (accuracy, at_home, away)]
        assert said == [pytest.approx(one, abs=0.0051) for one in measured]


@pytest.mark.slow
def test_the_four_commands(place, tmp_path, capsys):
    parcels = place / "parcels-2024.parquet"
    common = ["--year", "2024", "--archive", place]
    assert run("search", "--aoi", parcels, *common) == 0
    assert "Sentinel-1" in capsys.readouterr().out
    train = [parcels, "--label", "crop:name", *common, "--out", tmp_path / "model"]
    assert run("train", *train, "--epochs", "2") == 0
    assert "held out" in capsys.readouterr().out
    model = ["--model", tmp_path / "model"]
    table = tmp_path / "parcels.parquet"
    assert run("classify-parcels", parcels, *common, *model, "--out", table) == 0
    assert "Predicted 53 of 53 parcels." in capsys.readouterr().out
    assert len(gpd.read_parquet(table)) == len(gpd.read_parquet(parcels))
    away, told = tmp_path / "away.parquet", tmp_path / "told.parquet"
    gpd.read_parquet(parcels).iloc[:1].set_crs("EPSG:32633", allow_override=True).to_parquet(away)
    with pytest.raises(NoScenesError, match="no parcel lies within archive"):
        run("classify-parcels", away, *common, *model, "--out", told)
    assert not told.exists()
    assert run("classify", "--aoi", parcels, *common, *model, "--out", tmp_path / "map") == 0
    assert (tmp_path / "map" / "quicklook.png").exists()


def test_columns_that_a_file_cannot_hold_are_refused_before_reading(tmp_path, monkeypatch):
    parcels = gpd.GeoDataFrame(
        {"id": [1], "note": [2**70]}, geometry=[shapely.box(3, 50, 3.1, 50.1)], crs=4326
    )
    monkeypatch.setattr("cubecrop.sample.read_parcels", lambda _: parcels)
    monkeypatch.setattr("cubecrop.classify_parcels", None)
    with pytest.raises(OutputError, match=r"cannot hold the columns \['note'\]"):
        cli.app(
            ["classify-parcels", "p.parquet", "--year", "2018", "--archive", str(tmp_path),
             "--model", "model", "--out", str(tmp_path / "o.parquet")],
            exit_on_error=False, result_action="return_value",
        )  # fmt: skip


@pytest.mark.slow
def test_a_model_trained_with_weather_needs_weather_to_classify(place, tmp_path, monkeypatch):
    images = shutil.copytree(place, tmp_path / "images")
    catalog = json.loads((images / "catalog.json").read_text())
    catalog["links"] = [link for link in catalog["links"] if "agera5" not in link["href"]]
    (images / "catalog.json").write_text(json.dumps(catalog))
    (store,) = (images / "agera5-daily").glob("*/*.zarr")
    parcels = place / "parcels-2024.parquet"
    common = ["--year", "2024", "--archive", images]
    weather = ["--weather", store]
    model = tmp_path / "model"
    train = ["train", parcels, "--label", "crop:name", *common, "--epochs", "1"]
    assert run(*train, "--out", model, *weather) == 0
    assert cubecrop.CropModel.load(model).config.weather
    assert run("search", "--aoi", parcels, *common, *weather) == 0
    classify = ["classify-parcels", parcels, *common, "--model", model, "--out"]
    assert run(*classify, tmp_path / "a.parquet", *weather) == 0
    asked = []
    monkeypatch.setattr(cubecrop, "classify", lambda *_, **options: asked.append(options))
    monkeypatch.setattr(cubecrop, "write_map", lambda *_, **__: None)
    map_ = ["classify", "--aoi", parcels, *common, "--model", model, "--out", tmp_path / "map"]
    assert run(*map_, *weather) == 0
    assert asked[0]["weather"] == str(store)
    with pytest.raises(ModelMismatchError, match=r"no 'weather'.*`weather=...`"):
        ask(*classify, tmp_path / "b.parquet")
    with pytest.raises(
        LabelError, match=r"--weather, --memory and --cache are for parcels in an archive"
    ):
        ask("train", parcels, "--label", "crop:name", "--out", tmp_path / "c", *weather)


@pytest.mark.parametrize(("given", "expected"), [([], MEMORY), (["--memory", "4e8"], 4e8)])
def test_the_memory_of_a_thread_reaches_the_library(place, tmp_path, monkeypatch, given, expected):
    asked = []

    def call(*_, **options):
        asked.append(options["memory"])
        raise LabelError("stopped")

    for name in ("train", "classify_parcels", "classify"):
        function = getattr(cubecrop, name)
        assert inspect.signature(function).parameters["memory"].default == MEMORY
        monkeypatch.setattr(cubecrop, name, call)
    monkeypatch.setattr(cubecrop.CropModel, "load", lambda _: SimpleNamespace(season_window=None))
    parcels = place / "parcels-2024.parquet"
    common = ["--year", "2024", "--archive", place, *given]
    model = ["--model", tmp_path / "model", "--out"]
    for command in (
        ["train", parcels, "--label", "crop:name", *common, "--out", tmp_path / "model"],
        ["classify-parcels", parcels, *common, *model, tmp_path / "a.parquet"],
        ["classify", "--aoi", parcels, *common, *model, tmp_path / "map"],
    ):
        with pytest.raises(LabelError, match="stopped"):
            ask(*command)
    assert asked == [expected] * 3


def test_memory_is_not_for_a_table_of_samples(tmp_path):
    with pytest.raises(LabelError, match=r"--year is missing"):
        ask(
            "train",
            "samples.parquet",
            "--label",
            "crop",
            "--out",
            tmp_path / "m",
            "--memory",
            "1e9",
        )


def ask(*arguments):
    cli.app([str(a) for a in arguments], exit_on_error=False, result_action="return_value")
