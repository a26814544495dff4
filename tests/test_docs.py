"""What lies outside the package must also work: examples, README, docs, CI script."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import geopandas as gpd
import pytest
from fields import make_parcels, write_images

import cubecrop
from cubecrop import errors, simulate_archive

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("docs") / "archive"
    return simulate_archive(out, years=[2024], size_km=0.6, progress=False)


def _run(script: str, *arguments: object, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(home / "cache"), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_example_plot_ndvi(simulated, tmp_path):
    picture = tmp_path / "ndvi.png"
    parcels = simulated / "parcels-2024.parquet"
    _run("plot_ndvi.py", parcels, "crop:name", 2024, simulated, picture, home=tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_example_map_a_season(tmp_path):
    # Few dates, since three stages read them all.
    archive = write_images(tmp_path / "archive", 2024)
    out, parcels = tmp_path / "season", tmp_path / "parcels.parquet"
    make_parcels().to_parquet(parcels)
    arguments = (parcels, "crop", 2024, archive, "--out", out, "--epochs", 1)
    told = _run("map_a_season.py", *arguments, home=tmp_path)
    assert "held out" in told
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == {
        "model/model.json",
        "model/model.safetensors",
        "parcels.parquet",
        "map/crop_type.tif",
        "map/crop_type.tif.aux.xml",
        "map/crop_type.qml",
        "map/confidence.tif",
        "map/confidence.tif.aux.xml",
        "map/confidence.qml",
        "map/item.json",
        "map/quicklook.png",
    }


def test_the_readme_has_one_test_command_and_ci_runs_it():
    blocks = re.findall(r"<!-- tests -->\n```sh\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 1
    assert "pytest" in blocks[0]
    assert "<!-- tests -->" in (ROOT / ".ci" / "run").read_text("utf-8")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_files_that_the_readme_links_are_there():
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README)
    assert links
    missing = [link for link in links if not (ROOT / link.split("#")[0]).exists()]
    assert not missing


def test_commands_in_readme_and_docs_parse():
    """Every `cubecrop …` line parses: options that do not exist would be refused."""
    from cubecrop.cli import app

    pages = [README, *(p.read_text("utf-8") for p in (ROOT / "docs").glob("*.md"))]
    blocks = [b for page in pages for b in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)]
    text = "\n".join(blocks).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("cubecrop ")]
    assert len(lines) >= 5
    for line in lines:
        words = shlex.split(line.replace("$year", "2024"))[1:]
        app.parse_args(words, print_error=False, exit_on_error=False)


def _blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def years(tmp_path, monkeypatch) -> Path:
    """Three years of few dates."""
    write_images(tmp_path / "archive", 2022, 2023, 2024)
    for year in (2022, 2023, 2024):
        make_parcels(label="crop:name").to_parquet(tmp_path / f"parcels-{year}.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(shutil.which("bash") is None, reason="the page's loop is one of bash")
def test_the_loop_over_years_runs(years, capsys):
    """The shell runs the page's loop; what it would call is then called here."""
    from cubecrop.cli import app

    loop, several = _blocks("several-years.md", "sh")
    record = "cubecrop() { printf '%s\\0' \"$@\"; printf '\\n'; }\n"
    said = subprocess.run(
        ["bash", "-euc", record + several + loop], capture_output=True, text=True, check=True
    )
    calls = [line.split("\0")[:-1] for line in said.stdout.splitlines()]
    assert [words[0] for words in calls] == [
        "train",
        "train",
        *("classify-parcels", "classify") * 2,
    ]
    assert "--more" in calls[0]
    for words in calls:
        few = ["--epochs", "1"] if words[0] == "train" else []
        app([*words, *few], result_action="return_value")
    for year in (2023, 2024):
        table = gpd.read_parquet(years / f"classified-{year}.parquet")
        assert (table["status"] == "predicted").all()
        assert (years / f"map-{year}" / "crop_type.tif").exists()


def test_the_network_of_several_years_runs(years, monkeypatch, capsys):
    short = partial(cubecrop.train, config=cubecrop.TrainConfig(epochs=1), progress=False)
    monkeypatch.setattr(cubecrop, "train", short)
    text = "".join(_blocks("several-years.md", "python"))
    names: dict[str, object] = {}
    exec(text, names)
    record = names["model"].training
    assert record.years == (2022, 2023)
    assert sum(record.parcels.values()) + sum(record.held_out.values()) == 32
    assert "of 16 parcels of 2024 are as declared" in capsys.readouterr().out


def test_every_error_is_in_the_table_with_its_builtin():
    page = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
    ours = [getattr(errors, name) for name in errors.__all__ if name != "CubecropError"]
    missing = [
        kind.__name__
        for kind in ours
        if f"| `{kind.__name__}` | `{kind.__bases__[1].__name__}` |" not in page
    ]
    assert not missing


def test_every_benchmark_is_on_its_page():
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    listed = (ROOT / "benchmarks" / "__main__.py").read_text("utf-8")
    suites = re.search(r"SUITES = \((.*?)\)", listed, re.DOTALL)[1].replace(",", " ").split()
    assert len(suites) > 5
    assert not [name for name in suites if f"`{name}`" not in page]


def test_every_public_name_is_in_the_api_page():
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    missing = [
        name
        for name in cubecrop.__all__
        if not re.search(rf"cubecrop\.{name}$", page, re.MULTILINE)
    ]
    assert not missing


def test_the_tests_that_guarantees_name_exist():
    page = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 5
    files = ("test_region_killed.py", "test_region_failures.py")
    tests = "".join((ROOT / "tests" / name).read_text("utf-8") for name in files)
    assert not named - set(re.findall(r"^def (test_\w+)", tests, re.MULTILINE))


def test_python_on_the_page_of_regions_compiles():
    blocks = _blocks("regions.md", "python")
    assert len(blocks) > 8
    for block in blocks:
        compile(block, "regions.md", "exec")
