"""Training on a table of samples, from the command line."""

import json

import numpy as np
import pandas as pd
import pytest
from test_cli import run
from test_reference_sets import series, write

import cubecrop
from cubecrop.errors import LabelError
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


def test_groups_are_never_torn(tmp_path, monkeypatch):
    seen = []
    module = "cubecrop.pipeline.table.fit"
    real = cubecrop.fit

    def spy(samples, *args, **kwargs):
        seen.append(samples)
        return real(samples, *args, **kwargs)

    monkeypatch.setattr(module, spy)
    table = extraction(tmp_path / "table.parquet", per_group=4)
    model = cubecrop.train_table(table, "crop", config=cubecrop.TrainConfig(epochs=1))
    counts = seen[0]["group"].to_series().value_counts()
    assert set(counts[counts.index != "g0"]) == {4}
    assert sum(model.training.held_out.values()) > 0


def test_the_command_trains_on_a_folder_of_pixel_sets(tmp_path):
    arrays = {str(i): series(1 + i % 5, seed=i) + 3000 * (i % 2) for i in range(24)}
    folder = write(tmp_path / "sets", arrays)
    arguments = [folder, "--label", "crops", "--out", tmp_path / "model", "--epochs", "4"]
    assert run("train", *arguments) == 0
    item = json.loads((tmp_path / "model" / "model.json").read_text())
    assert BASELINE in item["properties"]["cubecrop:model"]["scores"]


@pytest.mark.parametrize(
    ("more", "says"),
    [(["--year", "2021"], "no --archive"), (["--archive", "somewhere"], "without --year")],
)
def test_archive_and_year_belong_together(tmp_path, more, says):
    from cubecrop import cli

    arguments = ["train", "t.parquet", "--label", "crop", "--out", str(tmp_path / "model"), *more]
    with pytest.raises(LabelError, match=says):
        cli.app(arguments, exit_on_error=False)


def test_one_class_is_refused(tmp_path):
    table = extraction(tmp_path / "table.parquet", n=3, per_group=3)
    with pytest.raises(LabelError, match="two or more"):
        cubecrop.train_table(table, "crop")
    with pytest.raises(LabelError, match="held_out"):
        cubecrop.train_table(table, "crop", held_out=1.0)
