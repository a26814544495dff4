"""A bar where there is a terminal, and the values in any case."""

import sys
import types

import dask
import dask.array as da

from cubecrop.progress import compute


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
    fake = types.SimpleNamespace(default_client=lambda: object())
    monkeypatch.setitem(sys.modules, "distributed", fake)
    with dask.config.set(scheduler="sync"):
        assert compute(da.ones(3).sum(), description="Adding up") == (3,)
    assert capsys.readouterr().err == ""
