"""The whole study: from samples to a report, in Python and on the command line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cubecrop
from cubecrop import NetworkOptions, TrainConfig, generalisation_report
from cubecrop.errors import ArgumentError, ReadError, SchemaError
from cubecrop.evaluation import Predictions, Report
from tests.samples import make_samples
from tests.small_region import LABEL, SEASON, YEAR
from tests.test_cli import run
from tests.test_train_table import extraction

POINTS = Path(__file__).parents[2] / "shared/data/points"
QUICK = TrainConfig(epochs=2)


def places(samples, lon, lat, *, spread=0.5, seed=0):
    """The samples scattered around a place."""
    rng = np.random.default_rng(seed)
    n = samples.sizes["parcel"]
    moved = samples.to_dataset().assign_coords(
        lon=("parcel", lon + spread * rng.random(n)), lat=("parcel", lat + spread * rng.random(n))
    )
    nodes = {name: node.to_dataset(inherit=False) for name, node in samples.children.items()}
    return type(samples).from_dict({"/": moved, **nodes})


def renamed(samples, prefix):
    ids = [f"{prefix}{i}" for i in range(samples.sizes["parcel"])]
    nodes = {name: node.to_dataset(inherit=False) for name, node in samples.children.items()}
    root = samples.to_dataset().assign_coords(parcel=ids)
    return type(samples).from_dict({"/": root, **nodes})


@pytest.fixture(scope="module")
def two_regions():
    """Two regions far apart, 36 parcels each, of easy classes."""
    first, labels = make_samples(n=36, seed=1)
    second, _ = make_samples(n=36, seed=2)
    return (
        [renamed(places(first, 3, 50, seed=1), "a"), renamed(places(second, 20, 50, seed=2), "b")],
        [labels, labels],
    )


def test_a_report_of_two_regions(two_regions, tmp_path):
    samples, labels = two_regions
    report = generalisation_report(
        samples, labels, protocols=("random", "leave-region-out"), seeds=2, config=QUICK,
        out=tmp_path / "out", progress=False,
    )  # fmt: skip
    table = report.predictions.table
    counted = table.groupby(["protocol", "model", "seed"], observed=True)["parcel"]
    assert set(counted.nunique()) == {72}
    assert set(counted.size()) == {72}
    assert set(table["region"]) == set(table.query("protocol == 'leave-region-out'")["fold"])
    assert table["region"].nunique() == 2
    away = table[table["protocol"] == "leave-region-out"]
    assert (away["region"].astype(str) == away["fold"].astype(str)).all()
    for name in ("report.html", "report.md", "scores.parquet", "about.json"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    assert Report.read(tmp_path / "out").predictions.table.astype(str).equals(table.astype(str))


def test_regions_whose_tables_begin_and_end_in_other_months(two_regions):
    samples, labels = [tree.copy() for tree in two_regions[0]], two_regions[1]
    samples[0].attrs["season_start"] = "2017-08-01"
    samples[1].attrs["season_end"] = "2018-12-31"
    report = generalisation_report(
        samples, labels, protocols=("leave-region-out",), seeds=1, config=QUICK, progress=False
    )
    tested = report.predictions.table.groupby("model", observed=True)["parcel"].nunique()
    assert tested.to_dict() == {"network": 72, "random forest": 72}
    assert [tree.attrs["season_end"] for tree in samples] == ["2018-10-31", "2018-12-31"]
    thermal = TrainConfig(network=NetworkOptions(time_encoding="thermal-time"))
    with pytest.raises(SchemaError, match="thermal time is summed from its start"):
        generalisation_report(samples, labels, config=thermal, progress=False)


def test_the_same_call_gives_the_same_report(two_regions, tmp_path):
    samples, labels = two_regions
    options = {"protocols": ("random",), "seeds": 1, "config": QUICK, "progress": False}
    generalisation_report(samples, labels, out=tmp_path / "a", **options)
    generalisation_report(samples, labels, out=tmp_path / "b", **options)
    files = [folder / "scores.parquet" for folder in (tmp_path / "a", tmp_path / "b")]
    first, second = (Predictions.read(file) for file in files)
    np.testing.assert_array_equal(first.probability, second.probability)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "a" / "runs").iterdir()}
    again = generalisation_report(samples, labels, out=tmp_path / "a", **options)
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "a" / "runs").iterdir()} == before
    np.testing.assert_array_equal(again.predictions.probability, first.probability)


def test_stress_and_early_seasons(two_regions):
    samples, labels = two_regions
    report = generalisation_report(
        samples, labels, protocols=("random", "leave-region-out"), seeds=1, config=QUICK,
        stress=("optical dates kept", "no radar"), early=True, progress=False,
    )  # fmt: skip
    table = report.predictions.table
    changed = table[table["variant"] != ""]
    assert set(changed["protocol"]) == {"leave-region-out"}
    assert set(changed["variant"]) == {
        "optical dates kept", "no radar", "until day", "training parcels",
    }  # fmt: skip
    # 36 parcels are too few for inner folds, so the network stays without a calibration.
    assert {refusal.variant for refusal in report.about.refusals} == {"no radar", "calibration"}
    assert set(changed[changed["variant"] == "no radar"]["model"]) == {
        "network for missing sensors"
    }


def test_ablations_are_rows(two_regions):
    samples, labels = two_regions
    report = generalisation_report(
        samples, labels, protocols=("leave-region-out",), models=("network",), seeds=1,
        config=TrainConfig(epochs=1), ablation=True, progress=False,
    )  # fmt: skip
    models = set(report.predictions.table["model"])
    assert {"network", "optical only", "early fusion", "temporal encoder gru"} <= models
    assert set(report.about.models) == models


def test_what_the_samples_do_not_allow_is_said(two_regions):
    samples, labels = two_regions
    with pytest.raises(ArgumentError, match="year"):
        generalisation_report(samples, labels, protocols=("leave-year-out",), progress=False)
    with pytest.raises(ArgumentError, match="region"):
        generalisation_report(
            samples[0], labels[0], protocols=("leave-region-out",), progress=False
        )
    with pytest.raises(ArgumentError, match=r"models \['tree'\] are unknown"):
        generalisation_report(samples, labels, models=("tree",), progress=False)
    with pytest.raises(ArgumentError, match="protocols"):
        generalisation_report(samples, labels, protocols=("hope",), progress=False)


needs_points = pytest.mark.skipif(not POINTS.exists(), reason=f"no real points in {POINTS}")


def command(*words):
    return [sys.executable, "-m", "cubecrop", "evaluate", *map(str, words)]


def france(out):
    return command(
        POINTS / "france-2023-dekad.parquet", "--label", "ewoc_code", "--most-frequent", 4,
        "--protocol", "random", "blocked", "--models", "random forest", "network", "--seeds", 1,
        "--epochs", 3, "--out", out,
    )  # fmt: skip


@needs_points
@pytest.mark.slow
def test_a_killed_command_goes_on_and_ends_with_the_same_report(tmp_path):
    def finished(out):
        return len(list((out / "runs").glob("*.json"))) if (out / "runs").exists() else 0

    done = subprocess.run(france(tmp_path / "calm"), capture_output=True, text=True, check=True)
    assert "Random folds, network: macro-F1" in done.stdout
    assert (tmp_path / "calm" / "report.html").exists()
    killed = tmp_path / "killed"
    process = subprocess.Popen(france(killed), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while finished(killed) < 3 and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    n = finished(killed)
    assert 3 <= n < 20
    assert not (killed / "report.html").exists()
    kept = {f.name: f.stat().st_mtime_ns for f in (killed / "runs").glob("*.json")}
    subprocess.run(france(killed), capture_output=True, check=True)
    again = {f.name: f.stat().st_mtime_ns for f in (killed / "runs").glob("*.json")}
    assert kept.items() <= again.items()
    first, second = (Predictions.read(f / "scores.parquet") for f in (tmp_path / "calm", killed))
    pd.testing.assert_frame_equal(first.table, second.table)
    np.testing.assert_array_equal(first.probability, second.probability)
    facts = [json.loads((f / "about.json").read_text()) for f in (tmp_path / "calm", killed)]
    for one in facts:
        del one["seconds"], one["command"]
    assert facts[0] == facts[1]


@needs_points
def test_the_report_is_drawn_again_without_training(tmp_path):
    table = POINTS / "france-2023-dekad.parquet"
    cubecrop.pipeline.evaluate_table(
        table, "ewoc_code", most_frequent=3, out=tmp_path, progress=False,
        options=cubecrop.evaluation.StudyOptions(
            protocols=("random",), models=("random forest",), seeds=1
        ),
    )  # fmt: skip
    page = (tmp_path / "report.html").read_text("utf-8")
    for path in (tmp_path / "runs").iterdir():
        path.unlink()
    (tmp_path / "report.html").unlink()
    subprocess.run(
        [sys.executable, "-m", "cubecrop", "report", tmp_path], check=True, capture_output=True
    )
    assert (tmp_path / "report.html").read_text("utf-8") == page


@pytest.mark.parametrize("wrong", [pd.DataFrame({"sample_id": [1]}), [], None])
def test_a_table_is_named_by_its_path(wrong):
    with pytest.raises(ReadError, match=r"tables is .*expected the path of a table"):
        cubecrop.pipeline.evaluate_table(wrong, "crop")


def test_a_column_that_names_no_region_is_an_error(tmp_path, place, declared):
    """Regions from coordinates would answer another question than the one that was asked."""
    told = r"column 'region' names no region for {n} of {n} labelled parcels.*leave it out.*--by"
    path = extraction(tmp_path / "table.parquet", n=12)
    pd.read_parquet(path).assign(region=None).to_parquet(path)
    words = command(path, "--label", "crop", "--by", "region", "--out", tmp_path / "o")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(told.format(n=11), " ".join(done.stderr.split()))  # one has no crop
    with pytest.raises(ArgumentError, match=told.format(n=len(declared))):
        cubecrop.pipeline.evaluate(
            declared.assign(region=""), LABEL, YEAR, archive=place, by="region", season=SEASON,
            progress=False,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "title"),
    [
        (["--more", "b/oise.parquet", "--more", "c/orne.parquet"], "aisne, oise, orne"),
        (["--year", "2023", "--other", "b/oise.gpkg", "2022", "x"], "aisne, oise"),
        (["--year", "2023", "--other", "b/aisne.gpkg", "2022", "x"], "aisne"),
        ([], "aisne"),
        (["--title", "Mine"], None),
    ],
)
def test_the_title_names_all_tables(more, title, tmp_path, monkeypatch):
    asked = []

    def kept(*_, options, **__):
        asked.append(options.title)

    for name in ("evaluate", "evaluate_table"):
        monkeypatch.setattr(f"cubecrop.pipeline.evaluations.{name}", kept)
    assert run("evaluate", "a/aisne.parquet", "--label", "crop", "--out", tmp_path, *more) == 0
    assert asked == [f"How far the models carry: {title}" if title else "Mine"]


def test_options_of_archives_and_of_tables_do_not_mix(tmp_path):
    words = command("table.parquet", "--label", "crop", "--out", tmp_path / "o", "--archive", "a")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--archive are for parcels in an archive, but --year is missing" in done.stderr


def test_names_that_are_given_twice_count_once():
    options = cubecrop.evaluation.StudyOptions(
        protocols=("random", "random"), models=("network", "network")
    )
    assert list(options.protocols) == ["random"]
    assert [one.name for one in options.candidates()] == ["network"]
    with pytest.raises(ArgumentError, match="models is"):
        cubecrop.evaluation.StudyOptions(models=())
    with pytest.raises(ArgumentError, match="stress"):
        cubecrop.evaluation.StudyOptions(stress=("fog",))


def test_clouds_and_the_stress_belong_together(two_regions):
    samples, labels = two_regions
    for options in ({"others": samples[0]}, {"stress": ["clouds of another place"]}):
        with pytest.raises(ArgumentError, match="belong together"):
            generalisation_report(samples, labels, progress=False, **options)


def test_parcels_of_an_archive(place, declared, tmp_path):
    """Pixel sets that lie on disk are split, trained on and tested like those in memory."""
    options = cubecrop.evaluation.StudyOptions(
        protocols=("random",), models=("network", "random forest"), seeds=1, config=QUICK,
        stress=("optical dates kept",),
    )  # fmt: skip
    report = cubecrop.pipeline.evaluate(
        declared, LABEL, YEAR, archive=place, options=options, season=SEASON, progress=False
    )
    table = report.predictions.table
    plain = table[table["variant"] == ""]
    for model in ("network", "random forest"):
        tested = plain[plain["model"] == model]["parcel"]
        assert tested.is_unique
        assert set(tested) == set(declared["id"].astype(str))
    (source, *_) = report.about.sources
    assert source.dates["sentinel2"] > 10
    assert report.about.sources[0].year == YEAR
