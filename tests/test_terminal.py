"""The command line when output has no Unicode, breaks off, or has no stream."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cubecrop import cli

AREA = ("--aoi", "3.001,50.817,3.007,50.821", "--year", "2018")


def main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["cubecrop", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code


@pytest.fixture
def streams(monkeypatch):
    """Standard output and error of an encoding that replaces nothing, and what they were told."""

    def make(encoding):
        for name in ("stdout", "stderr"):
            stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
            monkeypatch.setattr(sys, name, stream)
        return lambda name: getattr(sys, name).buffer.getvalue().decode(encoding)

    return make


@pytest.mark.parametrize(
    ("encoding", "limit"), [("utf-8", "≤ 20 %"), ("cp1252", "? 20 %"), ("ascii", "? 20 %")]
)
def test_what_an_encoding_lacks_is_replaced(monkeypatch, streams, archive, encoding, limit):
    told = streams(encoding)
    assert main(monkeypatch, "search", *AREA, "--archive", archive) == 0
    assert limit in told("stdout")
    assert "Sentinel-1 ascending" in told("stdout")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--help"], 0, "classify-parcels"),
        (["train", "--help"], 0, "--may-be-missing"),
        (["search", *AREA, "--archive", "né≤\udcff"], 1, "no archive at n??"),
        (["search", "--year", "2018"], 2, "--aoi"),
        (["clasify"], 2, "clasify"),
        (["search", *AREA[:3], "2018.5", "--archive", "a"], 2, '"2018.5" into int'),
        (["simulate", "--out", "a", "--year", "2018.5"], 2, '"2018.5" into int'),
        (["search", *AREA, "--archive", "a", "--end", "2021-02-29"], 2, "2021-02-29"),
    ],
)
def test_help_and_errors_are_printed_in_ascii(monkeypatch, streams, arguments, code, says):
    told = streams("ascii")
    assert main(monkeypatch, *arguments) == code
    text = told("stdout") + told("stderr")
    assert says in text
    assert "Traceback" not in text


def test_a_narrow_terminal_loses_no_column(monkeypatch, streams, archive):
    told = streams("utf-8")
    monkeypatch.setenv("COLUMNS", "40")
    assert main(monkeypatch, "search", *AREA, "--archive", archive) == 0
    assert "2018-06-18 2017-09-01" in told("stdout")
    assert "…" not in told("stdout")


@pytest.mark.timeout(60)
def test_help_ends_on_a_terminal_of_one_column(monkeypatch, streams):
    told = streams("utf-8")
    monkeypatch.setenv("COLUMNS", "1")
    assert main(monkeypatch, "models", "--help") == 0
    assert "Print the card" in " ".join(told("stdout").split())


def test_work_goes_on_when_the_reader_goes_away(monkeypatch, archive, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        out = tmp_path / "dates.png"
        code = main(monkeypatch, "search", *AREA, "--archive", archive, "--timeline", out)
    assert code == 0
    assert out.stat().st_size > 0  # drawn after the first line that nobody read


def test_streams_may_be_missing(monkeypatch, archive):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(monkeypatch, "search", *AREA, "--archive", archive) == 0
    assert main(monkeypatch, "search", *AREA, "--archive", Path("nothing")) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is full")
def test_output_to_a_full_disk_is_one_message(archive):
    for arguments in (["models"], ["models", "show"], ["search", *AREA, "--archive", archive]):
        command = [sys.executable, "-m", "cubecrop", *map(str, arguments)]
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1
        assert re.fullmatch(r"error: .*No space left on device\n", done.stderr)
