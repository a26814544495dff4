"""Regions whose files, disk, folder or servers fail."""

import datetime as dt
import json
import platform
import shutil
import subprocess

import pytest
import rasterio
import rasterio.shutil
from region_disturbed import LARGER, mapped
from region_runs import n_done, no_half_files, results, table_of
from region_striped import YEAR, squares
from servers import Faulty, over_http

import cubecrop.region.tile as tile_module
from cubecrop import region
from cubecrop.errors import OutputError


@pytest.fixture(scope="module")
def place(striped_archive):
    return striped_archive


@pytest.fixture(scope="module")
def declared(striped_parcels):
    return striped_parcels


@pytest.fixture(scope="module")
def model(striped_model):
    return striped_model


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
    region.plan(declared, YEAR, out, archive=place, model=model, tile=200, progress=False)
    with subprocess.Popen(["sleep", "30"]) as other:
        state = {
            "driver": f"{platform.node()}:{other.pid}", "running": {}, "ended": False,
            "updated": dt.datetime.now(dt.UTC).isoformat(),
        }  # fmt: skip
        (out / "state.json").write_text(json.dumps(state))
        with pytest.raises(OutputError, match="is being written by"):
            mapped(place, declared, model, out)
        other.kill()
    assert mapped(place, declared, model, out).is_complete


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
