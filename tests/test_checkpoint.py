"""A killed training continues and ends like one without an interruption."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from samples import make_samples

import cubecrop.training.loop as loop
from cubecrop.errors import OutputError
from cubecrop.training import TrainConfig, fit

TESTS = Path(__file__).parent
CONFIG = TrainConfig(
    epochs=6, batch_size=8, n_pixels=4, validation=0.2, may_be_missing=("sentinel1",)
)

_SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
import cubecrop.training.checkpoint as checkpoint
real, calls = {patched}, []
def slow(*args):
    real(*args)
    calls.append(1)
    print(len(calls), flush=True)
    time.sleep(0.2)
{patched} = slow
from test_checkpoint import trained
trained({folder!r})
"""


def trained(checkpoint=None, *, seed=1, config=CONFIG, n=60):
    samples, labels = make_samples(n=n)
    return fit(samples, labels, config=config, seed=seed, checkpoint=checkpoint, device="cpu")


def assert_same(one, other):
    first, second = one.network.state_dict(), other.network.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert one.digest == other.digest


@pytest.fixture(scope="module")
def whole():
    return trained()


@pytest.mark.parametrize(
    ("patched", "number"),
    # Metrics and state are synced once an epoch each: the sixth is the third epoch's state.
    [("checkpoint.Checkpoint.save", 3), ("checkpoint.os.fsync", 6)],
    ids=["between epochs", "writing the state"],
)
def test_a_training_killed_at_any_moment_continues(whole, tmp_path, patched, number):
    script = _SCRIPT.format(tests=str(TESTS), folder=str(tmp_path), patched=patched)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    with process:
        for line in process.stdout:
            if int(line) == number:
                process.send_signal(signal.SIGKILL)
                break
        assert process.wait(60) == -signal.SIGKILL
    torn = [path.name for path in tmp_path.glob(".*.part")]
    assert bool(torn) == ("fsync" in patched)
    assert_same(trained(tmp_path), whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "state.pt"]


def test_a_training_stopped_within_an_epoch_continues(whole, tmp_path, monkeypatch):
    real, steps = loop.batches, []

    def failing(*args, **kwargs):
        for batch in real(*args, **kwargs):
            steps.append(1)
            if len(steps) == 15:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(loop, "batches", failing)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path)
    monkeypatch.undo()
    assert (tmp_path / "state.pt").exists()
    assert_same(trained(tmp_path), whole)


def test_a_finished_training_is_read_back_without_a_step(whole, tmp_path, monkeypatch):
    assert_same(trained(tmp_path), whole)

    def never(*args, **kwargs):
        raise AssertionError("a step was taken")

    monkeypatch.setattr(loop, "batches", never)
    assert_same(trained(tmp_path), whole)


def test_metrics_of_each_epoch_as_a_table(whole, tmp_path):
    model = trained(tmp_path)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 7))
    assert all(float(row["loss"]) > 0 for row in rows)
    assert all(0 <= float(row["validation_macro_f1"]) <= 1 for row in rows)
    assert float(rows[-1]["learning_rate"]) < float(rows[1]["learning_rate"])
    assert model.training.epochs == 6
    assert 1 <= model.training.best_epoch <= 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "state.pt"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 2}, "seed"),
        ({"config": TrainConfig(epochs=7)}, r"config\.batch_size, config\.epochs"),
        ({"n": 61}, "samples"),
    ],
)
def test_another_training_is_refused(tmp_path, change, says):
    short = TrainConfig(epochs=1, batch_size=8, n_pixels=4)
    trained(tmp_path, config=short)
    with pytest.raises(OutputError, match=f"differs in {says}"):
        trained(tmp_path, **{"config": short, **change})


@pytest.mark.parametrize("content", [b"", b"no state", b"PK\x03\x04 torn"])
def test_a_damaged_state_is_named(tmp_path, content):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(OutputError, match="Remove it"):
        trained(tmp_path)


class _Trap:
    def __reduce__(self):
        return (time.sleep, (0,))


def test_a_state_is_never_executed(tmp_path):
    torch.save({"origin": _Trap()}, tmp_path / "state.pt")
    with pytest.raises(OutputError, match="not the state"):
        trained(tmp_path)
