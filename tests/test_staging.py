"""Hidden staging places: killed processes leave them, running processes need them."""

import errno
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cubecrop import staging
from cubecrop.errors import OutputError
from cubecrop.files import check_free, new_file, new_folder
from cubecrop.staging import remove_leftovers, remove_leftovers_in, staging_for

# Writes into its place, says so, and waits to be killed.
HELD = """
import sys, time
from pathlib import Path
from cubecrop.staging import staging_for
with staging_for(Path(sys.argv[1])) as part:
    part.mkdir()
    (part / "half").write_text("half")
    print("there", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder():
    """Start processes that hold a place; those still there are killed at the end."""
    started = []

    def start(out):
        process = subprocess.Popen(
            [sys.executable, "-c", HELD, str(out)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "there\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_next_writer_removes_what_a_killed_process_left(tmp_path, holder):
    out = tmp_path / "map[1].old"
    process = holder(out)
    other = tmp_path / ".map[1].old.mine.part"  # of nobody we know
    other.mkdir()
    with new_folder(out, files=(), overwrite=False) as part:
        assert len(names(tmp_path)) == 3
        (part / "whole").touch()
    # The living process still has its place.
    assert (tmp_path / ".map[1].old.0.part" / "map[1].old.part" / "half").exists()
    process.kill()
    process.wait()
    remove_leftovers(out)
    assert names(tmp_path) == [other.name, "map[1].old"]


def test_the_next_writer_of_a_file_removes_what_a_killed_process_left(tmp_path, holder):
    out = tmp_path / "table.csv"
    first, second = holder(out), holder(out)
    assert names(tmp_path) == [".table.csv.0.part", ".table.csv.1.part"]
    second.kill()
    second.wait()
    with new_file(out, cure="Name another.") as part:
        part.write_text("mine")
    assert names(tmp_path) == [".table.csv.0.part", "table.csv"]
    first.kill()
    first.wait()
    with new_file(out, cure="Name another.") as part:
        part.write_text("again")
    assert names(tmp_path) == ["table.csv"]


def test_a_folder_with_only_leftovers_counts_as_empty(tmp_path, holder):
    # A demo is killed while it makes `demo/archive`.
    process = holder(tmp_path / "demo" / "archive")
    with pytest.raises(OSError, match="archive"):
        check_free(tmp_path / "demo", files=(), overwrite=False)
    process.kill()
    process.wait()
    check_free(tmp_path / "demo", files=(), overwrite=False)
    assert names(tmp_path / "demo") == []


def left(folder, machine, age):
    """A place that nobody locks, of some machine, last written to so many seconds ago."""
    place = folder / ".map.0.part"
    (place / "map.part").mkdir(parents=True)
    (place / "owner").write_bytes(machine)
    for path in (*place.rglob("*"), place):
        os.utime(path, (time.time() - age,) * 2)
    return place


@pytest.mark.parametrize("lock", [True, False])
@pytest.mark.parametrize(
    ("mine", "days", "goes"),
    [(True, 0, True), (False, 1, False), (False, 3, True), (True, 3, True)],
)
def test_staging_places_of_other_machines_are_removed_when_old(
    tmp_path, monkeypatch, lock, mine, days, goes
):
    if not lock:  # a file system, or a system, that has none: age alone tells
        monkeypatch.setattr(staging, "_lock", lambda *_, **__: None)
        goes = days > 2
    machine = staging._machine() if mine else b"another"
    place = left(tmp_path, machine, days * 24 * 3600)
    remove_leftovers(tmp_path / "map")
    assert place.exists() == (not goes)
    with new_folder(tmp_path / "map", files=(), overwrite=False) as part:
        (part / "whole").touch()
    assert place.exists() == (not goes)


def test_an_old_place_with_a_recent_write_is_kept(tmp_path):
    place = left(tmp_path, b"another", 9 * 24 * 3600)
    (place / "map.part" / "tile").touch()
    remove_leftovers_in(tmp_path)
    assert place.exists()


def test_leftovers_without_an_owner_are_removed(tmp_path):
    (tmp_path / ".map.0.part").mkdir()
    with staging_for(tmp_path / "map"):
        assert names(tmp_path) == [".map.0.part"]
    assert names(tmp_path) == []


def test_simultaneous_writers_of_one_name_do_not_interfere(tmp_path):
    def write(number):
        for _ in range(20):
            with staging_for(tmp_path / "one") as part:
                part.mkdir()  # fails where another has the same place
                (part / "file").write_text(str(number))
                assert (part / "file").read_text() == str(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert names(tmp_path) == []


def test_a_full_disk_keeps_no_place(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(staging.os, "write", full)
    with pytest.raises(OutputError, match="No space left"), new_file(tmp_path / "a", cure=""):
        pass
    assert not names(tmp_path)
