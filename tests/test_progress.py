"""A progress bar on a terminal or in a notebook, and the same values in any case."""

import re
import sys
import types

import dask
import dask.array as da
import pytest
from samples import make_samples

import cubecrop
from cubecrop.progress import compute, progress_bar


def test_bar_counts_tasks_on_a_terminal_alone(monkeypatch, capsys):
    array = da.ones((4, 4), chunks=2)
    total, same = compute(array.sum(), 7, description="Adding up")
    assert (total, same) == (16, 7)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    compute(array.sum(), description="Adding up", progress=False)
    assert capsys.readouterr().err == ""
    compute(array.sum(), description="Adding up")
    assert "Adding up" in capsys.readouterr().err


def test_no_bar_beside_a_distributed_client(monkeypatch, capsys):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setattr("distributed.default_client", lambda: object())
    with dask.config.set(scheduler="sync"):
        assert compute(da.ones(3).sum(), description="Adding up") == (3,)
    assert capsys.readouterr().err == ""


@pytest.fixture
def notebook(monkeypatch):
    """What a notebook is asked to show, as HTML; a list that drawings are added to."""
    shown = []

    class Handle:
        def update(self, picture):
            shown.append(picture)

    def display(picture, *, display_id):
        assert display_id
        shown.append(picture)
        return Handle()

    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    fake = types.ModuleType("IPython.display")
    fake.HTML, fake.display = str, display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    return shown


def test_a_notebook_shows_one_bar_that_moves(notebook, capsys):
    array = da.ones((4, 4), chunks=2)
    assert compute(array.sum(), description="Adding <up>") == (16,)
    assert "Adding &lt;up&gt;" in notebook[0]
    steps = re.search(r'<progress value="(\d+)" max="(\d+)">', notebook[-1]).groups()
    assert steps[0] == steps[1] != "0"
    assert capsys.readouterr().err == ""


def test_a_notebook_is_not_flooded(notebook):
    with progress_bar("Training", total=10_000, unit="epochs") as bar:
        for _ in range(10_000):
            bar.advance()
    assert len(notebook) < 1000
    assert "10000/10000 epochs" in notebook[-1]


def test_a_notebook_shows_no_bar_unless_asked(notebook):
    with progress_bar("Training", total=1, progress=False) as bar:
        bar.advance()
    compute(da.ones(3).sum(), description="Adding up", progress=False)
    assert notebook == []
    assert bar.completed == 1


def test_epochs_are_counted_in_a_notebook(notebook):
    samples, labels = make_samples(n=6)
    cubecrop.fit(samples, labels, config=cubecrop.TrainConfig(epochs=2, n_pixels=2))
    assert "2/2 epochs" in notebook[-1]
