"""Outputs appear only when they are complete, even if a process is killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from cubecrop.errors import OutputError
from cubecrop.files import check_free, new_file, new_folder

FILES = ("a.txt", "b.txt")


def write(out, text, overwrite=True):
    with new_folder(out, files=FILES, overwrite=overwrite) as staging:
        for name in FILES:
            (staging / name).write_text(text)


def held(folder):
    return sorted(path.name for path in folder.iterdir())


# Killed as it is about to give the finished folder its name, the earlier one being aside.
KILLED = """
import os, signal, sys
from pathlib import Path
from cubecrop.files import new_folder

rename = Path.rename

def die(path, target):
    if path.name.endswith(".part"):
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)

Path.rename = die
with new_folder(Path(sys.argv[1]), files=["a.txt", "b.txt"], overwrite=True) as staging:
    (staging / "a.txt").write_text("killed")
"""


def test_what_a_killed_replacement_left_aside_is_removed_by_the_next(tmp_path):
    out = tmp_path / "map[1]"
    write(out, "first")
    keep = tmp_path / ".map[1].mine.old"
    keep.mkdir()
    done = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False)
    assert done.returncode < 0
    assert not out.exists()
    (aside,) = (path for path in tmp_path.glob("*.old") if path != keep)
    assert (aside / "b.txt").read_text() == "first"
    write(out, "second")
    assert (out / "b.txt").read_text() == "second"
    assert list(tmp_path.glob("*.old")) == [keep]


def test_a_person_who_stops_a_replacement_keeps_the_earlier_folder(tmp_path, monkeypatch):
    out = tmp_path / "map"
    write(out, "first")
    rename = Path.rename

    def stopped(path, target):
        if path.name.endswith(".part"):
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        write(out, "second")
    assert held(tmp_path) == ["map"]
    assert (out / "a.txt").read_text() == "first"


def test_an_output_that_cannot_be_replaced_does_not_advise_overwrite(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(OutputError, match="overwrite"):
        check_free(tmp_path, files=FILES, overwrite=False)
    with pytest.raises(OutputError, match="or remove it") as error:
        check_free(tmp_path, files=(), overwrite=False)
    assert "overwrite" not in str(error.value)


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "made" / "table.csv"
    with new_file(path, cure="Name another.") as part:
        part.write_text("first")
    assert path.read_text() == "first"

    def fail():
        with new_file(path, cure="Name another.") as part:
            part.write_text("half")
            raise OSError("full")

    with pytest.raises(OutputError, match=r"table\.csv.*full.*Name another"):
        fail()
    assert held(path.parent) == ["table.csv"]
    assert path.read_text() == "first"


@pytest.mark.parametrize("below", ["table.csv", "made/table.csv"])
def test_a_file_below_a_file_is_refused_with_advice(tmp_path, below):
    (tmp_path / "taken").write_text("a file")
    with (
        pytest.raises(OutputError, match=r"table\.csv cannot be written.*Name another"),
        new_file(tmp_path / "taken" / below, cure="Name another."),
    ):
        pass
    assert (tmp_path / "taken").read_text() == "a file"
