"""Adapting a model from the command line, to a table of samples or to parcels of an archive."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from small_region import LABEL, SEASON, YEAR
from test_cli import ask, run
from test_published_sets import series, write
from test_worldcereal import real

import cubecrop
from cubecrop.errors import (
    AoiError,
    ArgumentError,
    CubecropError,
    LabelError,
    ModelMismatchError,
    NoScenesError,
    OutputError,
    SchemaError,
)
from cubecrop.evaluation.guard import Check
from cubecrop.pipeline import adapt_model
from cubecrop.pipeline.known import parts_known
from cubecrop.sample import read_pixel_set_folder, read_worldcereal

CROPS = ("grass", "maize", "wheat")


def extraction(path, *, n=90, west=3.0, darker=0, seed=0, radar=True, **columns):
    """A wide table of twelve months whose classes peak in different ones, west to east."""
    rng = np.random.default_rng(seed)
    crop = np.arange(n) % len(CROPS)
    table = {
        "sample_id": [f"{west}-{i}" for i in range(n)],
        "start_date": ["2021-01-01"] * n,
        "end_date": ["2021-12-26"] * n,
        "lon": west + rng.permutation(n) / n,
        "lat": 50 + rng.permutation(n) / n,
        "year": [2021] * n,
        "crop": [CROPS[i] for i in crop],
    }
    for month in range(12):
        peak = np.exp(-(((month - 3 - 2 * crop) / 2) ** 2)) + rng.normal(0, 0.3, n)
        table[f"OPTICAL-B04-ts{month}-10m"] = (6000 - 600 * peak - darker).astype(int)
        table[f"OPTICAL-B08-ts{month}-10m"] = (6000 + 600 * peak - darker).astype(int)
        if radar:
            table[f"SAR-VV-ts{month}-20m"] = (6000 + 500 * peak).astype(int)
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame({**table, **columns}).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A model, the table that it was trained on, and a table of another place."""
    folder = tmp_path_factory.mktemp("tables")
    source = extraction(folder / "source.parquet")
    target = extraction(folder / "target.parquet", west=10.0, darker=2500, seed=5)
    config = cubecrop.TrainConfig(epochs=8)
    trained = cubecrop.train_table(source, "crop", held_out=0.2, config=config, progress=False)
    return trained.save(folder / "model"), source, target


@pytest.fixture(scope="module")
def adapted(tables, tmp_path_factory):
    """The model adapted to the other place, with the source."""
    model, source, target = tables
    out = tmp_path_factory.mktemp("adapted") / "model"
    ask("adapt", model, target, "--out", out, "--source", source, "--source-label", "crop")
    return cubecrop.CropModel.load(out)


def same_weights(one, other):
    a, b = one.network.state_dict(), other.network.state_dict()
    return all(torch.equal(a[key], b[key]) for key in a)


def accuracy(model, table):
    samples = read_worldcereal(table, label="crop")
    found = model.predict_proba(samples).idxmax("crop").to_numpy()
    return float((found == samples["label"].to_numpy()).mean())


def labelled(path, kept, out, **columns):
    """A copy of a table in which only some rows have a label."""
    table = pd.read_parquet(path)
    table["crop"] = [text if i in kept else None for i, text in enumerate(table["crop"])]
    table.assign(**columns).to_parquet(out)
    return out


def test_the_command_adapts_and_prints_the_check(tables, adapted, tmp_path, capsys):
    model, source, target = tables
    before = cubecrop.CropModel.load(model)
    given = ["--source", source, "--source-label", "crop"]
    assert run("adapt", model, target, "--out", tmp_path / "out", *given) == 0
    told = capsys.readouterr().out
    lines = [line.split() for line in told.splitlines()]
    assert "Self-training on 90 parcels." in told
    record = adapted.adaptation
    scores = [
        [f".{round(1000 * x):03d}" for x in pair]
        for pair in zip(record.before, record.after, strict=True)
    ]
    parts = zip(("western", "eastern", "northern"), record.tested, scores, strict=True)
    for part, n, pair in parts:
        assert 20 <= n <= 40
        assert [part, "third", str(n), *pair] in lines
    difference = np.mean(record.after) - np.mean(record.before)
    assert 0 < record.error < 0.2
    assert f"Mean difference +{difference:.3f} ± {record.error:.3f}".replace("0.", ".") in told
    assert sum(line[0] == "mean" for line in lines if line) == 1
    assert "Passed: the mean is not lower by more than its standard error." in told
    found = cubecrop.CropModel.load(tmp_path / "out")
    assert f"Model {found.digest[:12]} written to" in told
    assert found.digest == adapted.digest
    assert found.scores == {}
    assert before.scores != {}
    assert accuracy(found, target) > accuracy(before, target)


def test_labels_are_not_read_without_the_option(tables, adapted, tmp_path):
    model, source, target = tables
    garbage = tmp_path / target.name
    pd.read_parquet(target).assign(crop=[f"?{i}" for i in range(90)]).to_parquet(garbage)
    given = {"source": source, "source_label": "crop", "progress": False}
    assert adapt_model(model, garbage, **given).digest == adapted.digest
    pd.read_parquet(target).drop(columns="crop").to_parquet(garbage)
    assert adapt_model(model, garbage, **given).digest == adapted.digest
    assert "label" not in read_worldcereal(target, label=None)


def test_a_change_that_does_harm_is_refused(tables, tmp_path, capsys, monkeypatch):
    model, source, target = tables

    harm = Check(
        blocks=("western third",), tested=(30,), before=(0.9,), after=(0.5,), error=0.1
    )  # fmt: skip
    monkeypatch.setattr("cubecrop.evaluation.adaptation.check_change", lambda *_, **__: harm)
    given = ["--source", source, "--source-label", "crop"]
    assert run("adapt", model, target, "--out", tmp_path / "out", *given) == 0
    told = capsys.readouterr().out
    assert "Failed: the mean is lower by more than its standard error." in told
    assert "The model is written unchanged." in told
    assert ["western", "third", "30", ".900", ".500"] in [
        line.split() for line in told.splitlines()
    ]
    assert "no calibration" not in told
    kept, before = cubecrop.CropModel.load(tmp_path / "out"), cubecrop.CropModel.load(model)
    assert not kept.adaptation.applied
    assert same_weights(kept, before)
    assert kept.scores == before.scores


def test_few_labels_without_a_source_are_used_and_not_checked(tables, tmp_path, capsys):
    model, _, target = tables
    few = labelled(target, range(30), tmp_path / "few.parquet")
    with pytest.warns(UserWarning, match=r"nothing checks .*`--source`, `--source-label`"):
        assert run("adapt", model, few, "--label", "crop", "--out", tmp_path / "out") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Fine-tuning on 90 parcels, 30 of them labelled." in told
    assert "Nothing was checked: add --source and --source-label" in told
    record = cubecrop.CropModel.load(tmp_path / "out").adaptation
    assert (record.method, record.parcels, record.labelled) == ("fine-tuning", 90, 30)
    assert (record.applied, record.blocks) == (True, ())
    with pytest.raises(OutputError, match="--overwrite"):
        ask("adapt", model, few, "--label", "crop", "--out", tmp_path / "out")


def test_a_source_without_places_is_told_apart_from_none(tables, tmp_path, capsys):
    model, source, target = tables
    placeless = tmp_path / "source.parquet"
    pd.read_parquet(source).drop(columns=["lon", "lat"]).to_parquet(placeless)
    given = ["--source", placeless, "--source-label", "crop", "--out", tmp_path / "out"]
    with pytest.warns(UserWarning, match="no part of the source can be held out"):
        assert run("adapt", model, target, *given) == 0
    assert "Nothing was checked: see the warning" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        (["--source", "SOURCE"], ArgumentError, r"`--source-label`.*Add it"),
        (["--source-label", "crop"], ArgumentError, r"without source \(`--source`\). Add it"),
        (["--year", "2021"], AoiError, r"For a table of samples, leave out the year \(`--year`\)"),
        (["--archive", "somewhere"], ArgumentError, r"without year \(`--year`\). Add it, or"),
        (["--source-year", "2021"], ArgumentError, "are for --source, which is missing"),
        (
            ["--source", "SOURCE", "--source-label", "crop", "--source-archive", "there"],
            ArgumentError,
            r"--source is given 1 times, --source-year 0 and --source-archive 1 times.*a year each",
        ),
        (["--label", "crops"], LabelError, r"samples target.parquet: .*no label 'crops'"),
        (
            ["--source", "SOURCE", "--source-label", "year"],
            LabelError,
            r"source source.parquet: column 'year' \(`--source-label`\) has the classes \['2021'\],"
            r" which the model lacks: it has \['grass', 'maize', 'wheat'\]. Rename them",
        ),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused_with_the_cure(tables, tmp_path, options, error, told):
    model, source, target = tables
    given = [source if one == "SOURCE" else one for one in options]
    with pytest.raises(error, match=told):
        ask("adapt", model, target, "--out", tmp_path / "out", *given)
    assert not (tmp_path / "out").exists()


def test_labels_that_cannot_be_learned_are_refused(tables, tmp_path):
    model, _, target = tables
    rye = tmp_path / "rye.parquet"
    pd.read_parquet(target).replace({"crop": {"maize": "rye"}}).to_parquet(rye)
    with pytest.raises(LabelError, match=r"'crop' \(`--label`\) has the classes \['rye'\], which"):
        adapt_model(model, rye, label="crop")
    few = labelled(target, range(4), tmp_path / "few.parquet")
    with pytest.raises(LabelError, match=r"labels 4 parcels .*expected 5 .*leave out the option"):
        adapt_model(model, few, label="crop")
    one = labelled(target, range(0, 60, 3), tmp_path / "one.parquet")
    with pytest.raises(LabelError, match=r"20 parcels with the classes \['grass'\], expected 5"):
        adapt_model(model, one, label="crop")


def test_samples_that_do_not_fit_the_model_are_named(tables, tmp_path):
    model, source, target = tables
    few = extraction(tmp_path / "few.parquet", n=21)
    with pytest.raises(SchemaError, match=r"predict 21 of the parcels.*30 or more.*no labels"):
        adapt_model(model, few, progress=False)
    optical = extraction(tmp_path / "optical.parquet", radar=False)
    with pytest.raises(ModelMismatchError, match=r"samples optical.parquet: .*no 'sentinel1'"):
        adapt_model(model, optical)
    with pytest.raises(ModelMismatchError, match=r"source optical.parquet: .*no 'sentinel1'"):
        adapt_model(model, target, source=optical, source_label="crop")
    for wrong in (3, pd.read_parquet(source)):
        with pytest.raises(CubecropError, match="path of a table of samples, or parcels with"):
            adapt_model(model, wrong)
    with pytest.raises(ArgumentError, match="empty list"):
        adapt_model(model, target, source=[], source_label="crop")


def test_a_folder_of_pixel_sets_needs_no_labels(tmp_path):
    folder = write(tmp_path, {"1": series(2), "2": series(2)})
    labelled = read_pixel_set_folder(folder, label="crops")
    (folder / "META" / "labels.json").unlink()
    without = read_pixel_set_folder(folder, label=None)
    assert "label" in labelled
    assert "label" not in without
    assert without["sentinel2"].equals(labelled["sentinel2"])


@pytest.mark.filterwarnings("ignore:no source was given")
def test_parcels_of_an_archive_without_labels(model, place, declared, tmp_path, capsys):
    parcels = tmp_path / "parcels.gpkg"
    declared[["id", "geometry"]].to_file(parcels)
    given = ["--archive", place, "--year", YEAR]
    assert (
        run("adapt", model.save(tmp_path / "model"), parcels, "--out", tmp_path / "out", *given)
        == 0
    )
    assert f"Self-training on {len(declared)} parcels." in capsys.readouterr().out
    found = cubecrop.CropModel.load(tmp_path / "out")
    assert not same_weights(found, model)
    assert found.season_window == model.season_window
    garbage = declared.assign(**{LABEL: "?"})
    again = adapt_model(model, garbage, archive=place, year=YEAR, progress=False)
    assert again.digest == found.digest


def test_parcels_of_an_archive_with_labels_and_source(model, place, declared):
    parts = np.array(parts_known(model, declared))
    few = declared.copy()
    few.loc[few.index[12:], LABEL] = None
    with pytest.warns(UserWarning, match="no part of the source can be held out"):
        tuned = adapt_model(
            model, few, archive=place, year=YEAR, label=LABEL,
            source=(declared, YEAR, place), source_label=LABEL, progress=False,
        )  # fmt: skip
    assert (tuned.adaptation.parcels, tuned.adaptation.labelled) == (len(declared), 12)
    seen = np.array(parts_known(tuned, declared))
    assert (seen[:12] == "train").all()
    assert (seen[12:] == parts[12:]).all()
    assert (parts[:12] == "held out").any()


def test_held_out_parcels_of_a_source_stay_out(model, place, declared, tmp_path, monkeypatch):
    seen = []

    def spy(own, samples, *, source, **options):
        seen.append(source)
        return own

    monkeypatch.setattr("cubecrop.pipeline.adapting.adapt", spy)
    parcels = place / f"parcels-{YEAR}.parquet"
    given = ["--archive", place, "--year", YEAR, "--source", parcels, "--source-label", LABEL]
    given += ["--source-archive", place, "--source-year", YEAR, "--out", tmp_path / "out"]
    ask("adapt", model.save(tmp_path / "model"), parcels, *given)
    ((sets,), (texts,)) = seen[0]
    trained = declared[np.array(parts_known(model, declared)) == "train"]
    assert sorted(map(str, sets.root["parcel"].to_numpy())) == sorted(map(str, trained["id"]))
    by_id = dict(zip(declared["id"], declared[LABEL], strict=True))
    assert texts == [by_id[key] for key in sets.root["parcel"].to_numpy().tolist()]
    held_out = declared[np.array(parts_known(model, declared)) == "held out"]
    with pytest.raises(LabelError, match="no parcel has a label and took part in the training"):
        adapt_model(
            model, declared, archive=place, year=YEAR, source=(held_out, YEAR, place),
            source_label=LABEL,
        )  # fmt: skip


@pytest.mark.filterwarnings("ignore:no source was given")
def test_a_sensor_that_may_be_missing_may_be_missing_in_the_archive(
    model, place, declared, tmp_path
):
    config = cubecrop.TrainConfig(epochs=1, n_pixels=8, may_be_missing=("sentinel1",))
    both = cubecrop.train(
        declared, LABEL, YEAR, archive=place, season=SEASON, config=config, progress=False
    )
    images = shutil.copytree(place, tmp_path / "images")
    catalog = json.loads((images / "catalog.json").read_text())
    kept = [link for link in catalog["links"] if "sentinel-1" not in link["href"]]
    assert len(kept) < len(catalog["links"])
    (images / "catalog.json").write_text(json.dumps({**catalog, "links": kept}))
    options = {"archive": images, "year": YEAR, "progress": False}
    assert adapt_model(both, declared, **options).adaptation.applied
    with pytest.raises(ModelMismatchError, match="samples: data has no 'sentinel1'"):
        adapt_model(model, declared, **options)


def test_parcels_outside_the_archive_are_refused(model, place, declared):
    away = declared.set_crs("EPSG:32633", allow_override=True)
    with pytest.raises(NoScenesError, match=r"samples: no parcel lies within archive"):
        adapt_model(model, away, archive=place, year=YEAR)


def test_half_of_a_real_table_is_adapted_to_the_other(tmp_path, capsys):
    table = pd.read_parquet(real("france-2023-dekad.parquet"))
    samples = table.drop_duplicates("sample_id")
    frequent = samples["ewoc_code"].value_counts().index[:3]
    table = table[table["ewoc_code"].isin(frequent)]
    west = table["lon"] < samples.loc[samples["ewoc_code"].isin(frequent), "lon"].median()
    table[west].to_parquet(tmp_path / "west.parquet")
    table[~west].to_parquet(tmp_path / "east.parquet")
    model, out = tmp_path / "model", tmp_path / "out"
    column = ["ewoc_code", "--out", model, "--epochs", "8"]
    assert run("train", tmp_path / "west.parquet", "--label", *column) == 0
    given = ["--source", tmp_path / "west.parquet", "--source-label", "ewoc_code", "--out", out]
    assert run("adapt", model, tmp_path / "east.parquet", *given) == 0
    record = cubecrop.CropModel.load(out).adaptation
    n = table.loc[~west, "sample_id"].nunique()
    assert record.parcels == n
    assert f"Self-training on {n} parcels." in capsys.readouterr().out
    # Classes lie in clusters: of the three thirds, some have a single class.
    assert set(record.blocks) <= {"western third", "eastern third", "northern third"}
    assert len(record.before) == len(record.after) == len(record.blocks) >= 1
