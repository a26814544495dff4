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

import geopandas as gpd
import pytest
import rasterio
import rasterio.shutil
from distributed import Client, LocalCluster
from region_runs import (
    mapped,
    n_done,
    no_half_files,
    results,
    started,
    table_of,
    wait_until,
)
from servers import Faulty, free_port, over_http
from small_region import SEASON, YEAR

import cubecrop
from cubecrop import region
from cubecrop.errors import ClusterError, OutputError


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
    """An archive of 1.7 km with few dates, whose tiles of 160 m are more than a hundred."""
    out = tmp_path_factory.mktemp("larger") / "archive"
    return cubecrop.simulate_archive(out, years=[YEAR], size_km=1.7, seed=6, progress=False)


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


def killing(client, moments):
    """A thread that kills a random worker at each moment, seconds from its start."""

    def kill():
        rng = random.Random(7)
        for pause in moments:
            time.sleep(pause)
            with contextlib.suppress(OSError, ValueError, IndexError, ProcessLookupError):
                os.kill(rng.choice(pids(client)), signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


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
        thread = killing(client, [1.0, 1.5, 2.0])
        run = completed(place, declared, model, tmp_path / "run", client=client)
        thread.join()
    assert run.is_complete
    assert no_half_files(tmp_path / "run")
    assert results(tmp_path / "run") == undisturbed


@pytest.mark.slow
def test_a_killed_client(inputs, place, declared, model, undisturbed, tmp_path):
    archive, parcels, folder = inputs
    out = tmp_path / "run"
    script = tmp_path / "run.py"
    process = started(archive, parcels, folder, out, script, parcels=str(parcels))
    wait_until(lambda: n_done(out) >= 3, process=process)
    process.kill()
    process.communicate()
    assert no_half_files(out)
    found = region.status(out)
    assert not found.is_complete
    assert (found.table["state"] == "done").sum() >= 3
    assert mapped(place, declared, model, out, parcels=declared).is_complete
    assert results(out) == undisturbed


@pytest.mark.slow
def test_a_killed_scheduler(inputs, place, declared, model, undisturbed, tmp_path):
    archive, parcels, folder = inputs
    out = tmp_path / "run"
    with dask_processes() as (address, scheduler):
        process = started(
            archive, parcels, folder, out, tmp_path / "run.py",
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
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1
    assert "no Dask scheduler answers" in found.stderr


def file_in_season(archive):
    return min(archive.glob("sentinel-2-l2a/*_202406*/B04.tif"))


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
    parcels = gpd.read_parquet(larger / f"parcels-{YEAR}.parquet")
    options = {"parcels": parcels, "tile": 640, "allow_gaps": True}
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
    run = mapped(broken, declared, model, tmp_path / "run", max_lost=0.1)
    assert run.is_complete
    assert (run.table["lost"] == 1).any()
    evidence = [json.loads(p.read_text()) for p in (tmp_path / "run").glob("tiles/*/evidence.json")]
    assert {loss["asset"] for one in evidence for loss in one["lost"]} == {"B04"}


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
    cubecrop.region.plan(
        declared, YEAR, out, archive=place, model=model, season=SEASON, tile=200, progress=False
    )
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


@pytest.mark.slow
def test_a_hundred_tiles_and_ten_kills(larger, model, tmp_path):
    parcels = gpd.read_parquet(larger / f"parcels-{YEAR}.parquet")
    window = {"tile": 160, "parcels": parcels, "allow_gaps": True}
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    with cluster() as client:
        expected = completed(larger, parcels, model, calm, client=client, **window)
        assert len(expected.table) >= 100
        rng = random.Random(1)
        thread = killing(client, [rng.uniform(0.5, 4) for _ in range(10)])
        assert completed(larger, parcels, model, killed, client=client, **window).is_complete
        thread.join()
    assert results(calm) == results(killed)
    assert sorted(table_of(killed)["id"]) == sorted(parcels["id"])


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
