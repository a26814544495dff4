"""Regions whose workers, scheduler or client are killed, and disks and servers that fail."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import rasterio
import rasterio.shutil
from distributed import Client, LocalCluster
from region_runs import mapped as mapped_of
from region_runs import n_done, no_half_files, results, started, table_of, wait_until
from region_striped import YEAR, scenes_of, squares
from servers import Faulty, free_port, over_http

import cubecrop
from cubecrop import region
from cubecrop.errors import ClusterError, OutputError
from cubecrop.region import engine
from cubecrop.testing import Place, write_archive

#: A region of 1.7 km, which has more than a hundred tiles of 160 m.
LARGER = Place(height=170, width=170)


def mapped(place, aoi, model, out, **options):
    return mapped_of(place, aoi, model, out, year=YEAR, season=None, **options)


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


@pytest.fixture(scope="module")
def undisturbed(place, declared, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert mapped(place, declared, model, out, parcels=declared).is_complete
    return results(out)


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("larger") / "archive", scenes_of(LARGER))


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


def file_in_season(archive):
    return next(archive.glob("sentinel-2-l2a/*_20180620*/B04.tif"))


def damage_first_block(file):
    with rasterio.open(file) as raster:
        place, size = (
            int(raster.get_tag_item(f"BLOCK_{name}_0_0", "TIFF", bidx=1))
            for name in ("OFFSET", "SIZE")
        )
    content = bytearray(file.read_bytes())
    content[place : place + size] = bytes(size)
    file.write_bytes(content)


def test_a_failing_file_fails_its_tiles_only(larger, model, tmp_path):
    """A damaged file is not tried again, the other tiles are right, a mended file is read."""
    archive, out = tmp_path / "archive", tmp_path / "run"
    shutil.copytree(larger, archive)
    parcels = squares(LARGER, step=170, side=60)
    options = {"parcels": parcels, "tile": 640}
    file = file_in_season(archive)
    blocked = tmp_path / "blocked.tif"
    form = {"driver": "GTiff", "tiled": True, "blockxsize": 64, "blockysize": 64}
    rasterio.shutil.copy(file, blocked, compress="deflate", **form)
    whole = blocked.read_bytes()
    file.write_bytes(whole)
    assert mapped(archive, parcels, model, tmp_path / "calm", **options).is_complete
    damage_first_block(file)
    run = mapped(archive, parcels, model, out, **options)
    assert 0 < len(run.failed) < len(run.table)
    assert run.failed["error"].str.contains("B04").all()
    for record in out.glob("failures/*.tiles.json"):
        assert json.loads(record.read_text())["kind"] == "ReadError"
    table = table_of(out)
    assert len(table) == len(parcels)
    lacking = table[table["crop:name"].isna()]
    assert lacking["status"].str.contains("failed").any()
    done = {path.parent.name for path in out.glob("tiles/*/evidence.json")}
    file.write_bytes(whole)
    again = mapped(archive, parcels, model, out, retry_failed=True, **options)
    assert again.is_complete
    assert results(out) == results(tmp_path / "calm")
    assert set(again.table["tile"]) - done == set(run.failed["tile"])


def test_lost_files_are_tolerated_and_named(place, declared, model, tmp_path):
    broken = tmp_path / "archive"
    shutil.copytree(place, broken)
    file_in_season(broken).write_bytes(b"II*\0")
    run = mapped(broken, declared, model, tmp_path / "run", max_lost=0.2)
    assert run.is_complete
    assert (run.table["lost"] == 1).any()
    evidence = [json.loads(p.read_text()) for p in (tmp_path / "run").glob("tiles/*/evidence.json")]
    assert {loss["asset"] for one in evidence for loss in one["lost"]} == {"B04"}


def test_a_raster_that_is_cut_is_made_again(place, declared, model, undisturbed, tmp_path):
    out = tmp_path / "run"
    assert mapped(place, declared, model, out, parcels=declared).is_complete
    raster, *others = sorted(out.glob("tiles/*/crop_type.tif"))
    times = {path: path.stat().st_mtime_ns for path in others}
    raster.write_bytes(raster.read_bytes()[:-100])
    assert mapped(place, declared, model, out, parcels=declared).is_complete
    assert results(out) == undisturbed
    assert {path: path.stat().st_mtime_ns for path in others} == times
    assert (
        "1 finished tiles are made again: files are missing or damaged"
        in (out / "run.log").read_text()
    )


def test_a_folder_that_cannot_be_written(place, declared, model, tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OutputError, match="file"):
        mapped(place, declared, model, tmp_path / "run")


def test_a_full_disk(place, declared, model, undisturbed, tmp_path, monkeypatch):
    """The disk is full for some tiles; what was finished stays, and the same call completes it."""
    import cubecrop.region.tile as tile_module

    original, calls = tile_module.write_rasters, []

    def full(folder, *args, **options):
        calls.append(folder)
        original(folder, *args, **options)
        if len(calls) > 4:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tile_module, "write_rasters", full)
    out = tmp_path / "run"
    with pytest.raises(OutputError, match="No space left"):
        mapped(place, declared, model, out, parcels=declared)
    assert no_half_files(out)
    assert n_done(out) == 4
    assert len(list(out.glob("failures/*.json"))) == 3
    monkeypatch.setattr(tile_module, "write_rasters", original)
    assert mapped(place, declared, model, out, parcels=declared).is_complete
    assert results(out) == undisturbed
    assert not list(out.glob("failures/*.json"))


def test_two_runs_in_one_folder_are_refused(place, declared, model, tmp_path):
    out = tmp_path / "run"
    cubecrop.region.plan(declared, YEAR, out, archive=place, model=model, tile=200, progress=False)
    with subprocess.Popen(["sleep", "30"]) as other:
        import datetime as dt
        import platform

        state = {
            "driver": f"{platform.node()}:{other.pid}", "running": {}, "ended": False,
            "updated": dt.datetime.now(dt.UTC).isoformat(),
        }  # fmt: skip
        (out / "state.json").write_text(json.dumps(state))
        with pytest.raises(OutputError, match="is being written by"):
            mapped(place, declared, model, out)
        other.kill()
    assert mapped(place, declared, model, out).is_complete


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


def test_a_server_that_is_busy_for_one_request_in_five(
    place, declared, model, undisturbed, tmp_path
):
    with Faulty(place) as server:
        server.fault = lambda number, path: 503 if number % 5 == 0 else None
        archive = over_http(place, tmp_path, server.url)
        run = mapped(archive, declared, model, tmp_path / "run", parcels=declared, max_lost=0)
    assert run.is_complete
    assert server.failed
    found = results(tmp_path / "run")
    rasters = {name for name in found if name.endswith("crop_type.tif")}
    assert rasters
    # Their metadata name another archive, so pixels are compared.
    assert all(pixels(found[name]) == pixels(undisturbed[name]) for name in rasters)


def pixels(content):
    with rasterio.MemoryFile(content) as memory, memory.open() as raster:
        return raster.read().tobytes()


def test_a_server_that_comes_back_is_asked_again(place, declared, model, tmp_path, monkeypatch):
    """A tile that fails since a server is busy for long is tried again in the same run."""
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    monkeypatch.setattr("cubecrop.region.engine._PAUSE", 0.1)
    with Faulty(place) as server:
        path_of = str(file_in_season(place).relative_to(place))
        asked = []

        def fault(number, path):
            asked.extend([path] if path.endswith(path_of) else [])
            return 503 if path.endswith(path_of) and len(asked) <= 5 else None

        server.fault = fault
        archive = over_http(place, tmp_path, server.url)
        run = mapped(archive, declared, model, tmp_path / "run")
    assert run.is_complete
    evidence = [json.loads(p.read_text()) for p in (tmp_path / "run").glob("tiles/*/evidence.json")]
    assert max(one["attempts"] for one in evidence) > 1
