"""Training on a table of samples, from the command line."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from conftest import FLANDERS
from test_cli import run
from test_published_sets import series, write

import cubecrop
from cubecrop.errors import AoiError, LabelError
from cubecrop.pipeline.score import BASELINE

CROPS = ("grass", "maize", "wheat")


def extraction(path, *, n=48, per_group=2):
    """A long table of twelve months whose classes peak in different ones."""
    rng = np.random.default_rng(0)
    rows = []
    for sample in range(n):
        crop = (sample // per_group) % len(CROPS)
        for month in range(12):
            peak = np.exp(-(((month - 3 - 3 * crop) / 2) ** 2))
            rows.append(
                {
                    "sample_id": f"s{sample}",
                    "timestamp": pd.Timestamp(2021, month + 1, 1),
                    "location_id": f"g{sample // per_group}",
                    "lon": 5.0,
                    "lat": 50.0,
                    "year": 2021,
                    "crop": CROPS[crop] if sample else None,
                    "S2-L2A-B04": int(1000 + 1500 * (1 - peak) + rng.normal(0, 60)),
                    "S2-L2A-B08": int(1500 + 2500 * peak + rng.normal(0, 60)),
                    "S1-SIGMA0-VV": int(3000 + 2000 * peak + rng.normal(0, 200)),
                }
            )
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_the_command_trains_on_a_table(tmp_path, capsys):
    table = extraction(tmp_path / "table.parquet")
    arguments = [table, "--label", "crop", "--out", tmp_path / "model", "--verbose"]
    assert run("train", *arguments, "--epochs", "25", "--checkpoint", tmp_path / "run") == 0
    told = capsys.readouterr().out
    assert "held out" in told
    assert "held-out parcels: these scores say little" in told
    assert "Network and random forest differ by" in told
    assert "Classes, held out parcels" in told
    assert "Confusion, held out parcels" in told
    assert "random forest" in told
    model = cubecrop.CropModel.load(tmp_path / "model")
    assert set(model.scores) == {"train", "held out", BASELINE}
    assert model.scores["held out"]["accuracy"] > 0.6
    assert model.scores[BASELINE]["accuracy"] > 0.6
    assert sum(model.training.parcels.values()) + sum(model.training.held_out.values()) == 47
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 26
    assert model.training.archives == ("table.parquet",)
    for values in model.scores.values():
        assert sum(map(sum, values["confusion"])) == values["n"]
        assert list(values["per_class"]) == list(CROPS)
        low, high = values["intervals"]["accuracy"]
        assert 0 <= low <= values["accuracy"] <= high <= 1
    assert set(model.scores[BASELINE]["difference"]) == {"accuracy", "interval"}


def test_groups_are_never_split(tmp_path, monkeypatch):
    seen = []
    module = "cubecrop.pipeline.score.fit"
    real = cubecrop.fit

    def spy(samples, *args, **kwargs):
        seen.append(samples)
        return real(samples, *args, **kwargs)

    monkeypatch.setattr(module, spy)
    table = extraction(tmp_path / "table.parquet", per_group=4)
    model = cubecrop.train_table(table, "crop", config=cubecrop.TrainConfig(epochs=1))
    counts = seen[0][0]["group"].to_series().value_counts()
    assert set(counts[counts.index != "g0"]) == {4}
    assert sum(model.training.held_out.values()) > 0


def test_the_command_trains_on_a_folder_of_pixel_sets(tmp_path):
    arrays = {str(i): series(1 + i % 5, seed=i) + 3000 * (i % 2) for i in range(24)}
    folder = write(tmp_path / "sets", arrays)
    arguments = [folder, "--label", "crops", "--out", tmp_path / "model", "--epochs", "4"]
    assert run("train", *arguments) == 0
    item = json.loads((tmp_path / "model" / "model.json").read_text())
    assert BASELINE in item["properties"]["cubecrop:model"]["scores"]


def test_an_archive_needs_a_year(tmp_path):
    from cubecrop import cli

    arguments = ["train", "t.parquet", "--label", "crop", "--out", str(tmp_path / "model")]
    with pytest.raises(LabelError, match=r"--archive.*--year is missing"):
        cli.app([*arguments, "--archive", "somewhere"], exit_on_error=False)


def test_a_table_with_a_year_is_no_file_of_parcels(tmp_path):
    table = extraction(tmp_path / "table.parquet", n=3, per_group=3)
    with pytest.raises(AoiError, match=r"leave out the year \(`--year`\)"):
        cubecrop.train(table, "crop", 2021)


def test_one_class_is_refused(tmp_path):
    table = extraction(tmp_path / "table.parquet", n=3, per_group=3)
    with pytest.raises(LabelError, match="two or more"):
        cubecrop.train_table(table, "crop")
    with pytest.raises(LabelError, match="held_out"):
        cubecrop.train_table(table, "crop", held_out=1.0)


@pytest.fixture
def canada(tmp_path):
    """Some points of the real monthly table of Canada, January to December 2017."""
    source = FLANDERS.parent / "points" / "canada-2017-monthly.parquet"
    if not source.is_file():
        pytest.skip(f"no real table at {source}")
    table = pd.read_parquet(source)
    some = table["sample_id"].drop_duplicates().sample(200, random_state=0)
    table[table["sample_id"].isin(some)].to_parquet(tmp_path / "canada.parquet")
    return tmp_path / "canada.parquet"


def test_a_model_of_a_monthly_table_classifies_a_real_archive(canada, flanders):
    """The patch was seen until November, and from September 2017; the table is of a year."""
    config = cubecrop.TrainConfig(epochs=1)
    model = cubecrop.train_table(canada, "CROPTYPE_LABEL", config=config, progress=False)
    seen = model.coverage["sentinel2"]
    # The middles of January and December.
    assert (seen.first, seen.last, seen.longest_gap, seen.dates) == (15, 349, 31, 12)
    parcels = gpd.read_parquet(flanders / "parcels.parquet")
    table = cubecrop.classify_parcels(parcels, 2018, archive=flanders, model=model, progress=False)
    assert (table["status"] == "predicted").all()
    assert (table["last_date:sentinel2"] == "2018-11-16").all()
    crop_map = cubecrop.classify(parcels, 2018, archive=flanders, model=model, clip=False)
    assert crop_map.attrs["season_start"] == "2018-01-01"
    assert crop_map.attrs["composite"] == "month"
    assert json.loads(crop_map.attrs["coverage"])["sentinel1"]["last"] == "2018-11-16"
    found = crop_map["crop_type"].isel(y=slice(32), x=slice(32)).compute()
    assert (found < len(model.nomenclature)).all()
