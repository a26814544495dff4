"""Regions whose workers, scheduler or client are killed or are not there."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from distributed import Client, LocalCluster
from region_disturbed import LARGER, mapped
from region_runs import n_done, no_half_files, results, started, table_of, wait_until
from region_striped import YEAR, squares
from servers import free_port

from cubecrop import region
from cubecrop.errors import ClusterError
from cubecrop.region import engine


@pytest.fixture(scope="module")
def place(striped_archive):
    return striped_archive


@pytest.fixture(scope="module")
def declared(striped_parcels):
    return striped_parcels


@pytest.fixture(scope="module")
def model(striped_model):
    return striped_model


@pytest.fixture(scope="module")
def inputs(place, declared, model, tmp_path_factory):
    """Archive, parcels and model as paths, for other processes."""
    home = tmp_path_factory.mktemp("inputs")
    declared.to_parquet(home / "parcels.parquet")
    model.save(home / "model")
    return place, home / "parcels.parquet", home / "model"


@contextlib.contextmanager
def cluster(workers=2):
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as made,
        Client(made) as client,
    ):
        yield client


def pids(client):
    return sorted(client.run(os.getpid).values())


def killing(client, out, counts):
    """A thread that kills a random worker each time that so many tiles are finished.

    Moments by the clock would kill workers of a slow machine before they finish anything.
    """
    killed = []

    def one_is_killed():
        with contextlib.suppress(OSError, ValueError, IndexError, ProcessLookupError):
            os.kill(rng.choice(pids(client)), signal.SIGKILL)
            return True
        return False

    def kill():
        for count in counts:
            wait_until(lambda least=count: n_done(out) >= least, seconds=600)
            time.sleep(rng.uniform(0, 0.5))  # while another tile is being made
            wait_until(one_is_killed, seconds=600)
            killed.append(count)

    rng = random.Random(7)
    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread, killed


def completed(place, declared, model, out, **options):
    """The same call until nothing is missing."""
    options = {"parcels": declared} | options
    for _ in range(5):
        run = mapped(place, declared, model, out, **options)
        if run.is_complete:
            return run
    raise AssertionError(run)


@pytest.mark.slow
def test_killed_workers(place, declared, model, undisturbed, tmp_path):
    with cluster() as client:
        thread, killed = killing(client, tmp_path / "run", [1, 3, 5])
        run = completed(place, declared, model, tmp_path / "run", client=client)
        thread.join()
    assert killed == [1, 3, 5]
    assert run.is_complete
    assert no_half_files(tmp_path / "run")
    assert results(tmp_path / "run") == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_client(inputs, place, declared, model, undisturbed, tmp_path, number):
    """The process that maps is killed, asked to end, or interrupted from the keyboard."""
    archive, parcels, folder = inputs
    out = tmp_path / "run"
    script = tmp_path / "run.py"
    process = started(archive, parcels, folder, out, script, year=YEAR, parcels=str(parcels))
    wait_until(lambda: n_done(out) >= 3, process=process)
    process.send_signal(number)
    text, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert ("KeyboardInterrupt" in text) == (number == signal.SIGINT)
    assert no_half_files(out)
    found = region.status(out)
    assert not found.is_complete
    n_finished = n_done(out)
    assert (found.table["state"] == "done").sum() == n_finished >= 3
    assert mapped(place, declared, model, out, parcels=declared).is_complete
    assert results(out) == undisturbed
    assert f"{n_finished} are kept" in (out / "run.log").read_text()


@pytest.mark.slow
def test_a_killed_scheduler(inputs, place, declared, model, undisturbed, tmp_path):
    archive, parcels, folder = inputs
    out = tmp_path / "run"
    with dask_processes() as (address, scheduler):
        process = started(
            archive, parcels, folder, out, tmp_path / "run.py", year=YEAR,
            parcels=str(parcels), scheduler=address,
        )  # fmt: skip
        wait_until(lambda: n_done(out) >= 2, process=process)
        scheduler.kill()
        text, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "ClusterError" in text
    assert "run the same command" in text
    assert no_half_files(out)
    with dask_processes() as (address, _), Client(address) as client:
        run = completed(place, declared, model, out, client=client)
    assert run.is_complete
    assert results(out) == undisturbed


@contextlib.contextmanager
def dask_processes():
    """`dask scheduler` and two `dask worker` on loopback."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1"]
    scheduler = subprocess.Popen([*command, "--port", str(port), "--no-dashboard"], **quiet)
    command = [sys.executable, "-m", "dask", "worker", address, "--host", "127.0.0.1"]
    workers = [
        subprocess.Popen([*command, "--nthreads", "1", "--no-dashboard", "--death-timeout", "20"],
                         **quiet)
        for _ in range(2)
    ]  # fmt: skip
    try:
        with Client(address, timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, scheduler
    finally:
        for process in (scheduler, *workers):
            process.kill()
            process.wait()


def test_no_scheduler_is_an_error_in_seconds(inputs, tmp_path):
    archive, parcels, folder = inputs
    command = [
        sys.executable, "-m", "cubecrop", "map-region", "--aoi", str(parcels), "--year", str(YEAR),
        "--archive", str(archive), "--model", str(folder), "--out", str(tmp_path / "run"),
        "--scheduler", f"tcp://127.0.0.1:{free_port()}",
    ]  # fmt: skip
    found = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert found.returncode == 1
    assert "no Dask scheduler answers" in found.stderr


def test_a_closed_client_is_refused(place, declared, model, tmp_path):
    with cluster(1) as client:
        pass
    with pytest.raises(ClusterError, match="no scheduler"):
        mapped(place, declared, model, tmp_path / "run", client=client)
    with pytest.raises(ClusterError, match=r"expected a distributed\.Client"):
        mapped(place, declared, model, tmp_path / "run", client="tcp://127.0.0.1:1")


def test_workers_without_the_resource_are_refused(place, declared, model, tmp_path):
    with cluster(1) as client, pytest.raises(ClusterError, match="GPU"):
        mapped(place, declared, model, tmp_path / "run", client=client, resources={"GPU": 1})


def test_a_result_that_was_lost_with_its_worker(place, declared, model, undisturbed, tmp_path,
                                                monkeypatch):  # fmt: skip
    """The scheduler has forgotten the job; the tile is made again."""
    asked = []

    def lost_once(future, one, fetch=engine._result):
        asked.append(one.job.tile.tile.id)
        if len(asked) == 1:
            raise TimeoutError
        return fetch(future, one)

    monkeypatch.setattr(engine, "_result", lost_once)
    with cluster(1) as client:
        run = mapped(place, declared, model, tmp_path / "run", parcels=declared, client=client)
    assert run.is_complete
    assert asked.count(asked[0]) == 2
    assert results(tmp_path / "run") == undisturbed


@pytest.mark.slow
def test_all_workers_die_at_once(place, declared, model, undisturbed, tmp_path):
    out = tmp_path / "run"
    killed = []

    def kill_all(client):
        wait_until(lambda: n_done(out) >= 2, seconds=300)
        for pid in pids(client):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    with cluster() as client:
        thread = threading.Thread(target=kill_all, args=(client,), daemon=True)
        thread.start()
        run = mapped(place, declared, model, out, parcels=declared, client=client)
        thread.join()
    assert len(killed) == 2
    assert run.is_complete
    assert results(out) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_tiles_and_ten_kills(larger, model, tmp_path):
    parcels = squares(LARGER, step=240, side=60)
    window = {"tile": 160, "parcels": parcels}
    calm, out = tmp_path / "calm", tmp_path / "killed"
    counts = range(8, 98, 9)
    with cluster() as client:
        expected = completed(larger, parcels, model, calm, client=client, **window)
        assert len(expected.table) >= 100
        thread, killed = killing(client, out, counts)
        assert completed(larger, parcels, model, out, client=client, **window).is_complete
        thread.join()
    assert len(killed) == 10
    assert results(calm) == results(out)
    assert sorted(table_of(out)["id"]) == sorted(parcels["id"])
