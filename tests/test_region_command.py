"""`cubecrop map-region` as a user runs it: what it prints, and how it ends."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import pytest
import shapely
from region_runs import interruptible, n_done, no_half_files, wait_until
from region_striped import STRIPED, YEAR, squares
from servers import free_port

import cubecrop
from cubecrop import cli
from cubecrop.errors import CubecropError


@pytest.fixture(scope="module")
def home(striped_archive, striped_parcels, striped_model, tmp_path_factory):
    """A folder with an archive, an area, parcels and a model."""
    home = tmp_path_factory.mktemp("command")
    (home / "archive").symlink_to(striped_archive)
    striped_parcels.to_parquet(home / "parcels.parquet")
    aoi = gpd.GeoSeries([shapely.box(*STRIPED.bounds).buffer(-60)], crs=STRIPED.crs)
    aoi.to_file(home / "aoi.gpkg")
    striped_model.save(home / "model")
    return home


def arguments(home, out, *more, **changes):
    """The arguments of a run; None leaves one out."""
    given = {
        "out": out, "aoi": home / "aoi.gpkg", "year": YEAR, "archive": home / "archive",
        "model": home / "model", "tile": 220,
    } | changes  # fmt: skip
    options = [
        part
        for name, value in given.items()
        if value is not None
        for part in (f"--{name}", str(value))
    ]
    return ["map-region", *options, *more]


def in_process(capsys, *args):
    """Exit code and output of the command, run here."""
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cubecrop", *map(str, args)])
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
    captured = capsys.readouterr()
    return code, captured.out, " ".join(captured.err.split())


def started(*args):
    command = [sys.executable, "-m", "cubecrop", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_from_the_plan_to_the_result(home, tmp_path, capsys):
    """Plan, run on two processes, look, run again, and retry what failed."""
    out = tmp_path / "out"
    args = arguments(home, out, parcels=home / "parcels.parquet")
    code, printed, _ = in_process(capsys, *args, "--plan")
    assert code == 0
    for word in ("tiles", "items", "parcels", "memory", "to read", "digest"):
        assert word in printed
    assert (out / "plan" / "plan.png").exists()
    assert not (out / "tiles").exists()
    code, printed, _ = in_process(capsys, "map-region", "--out", out, "--status")
    assert code == 0
    assert "waiting" in printed

    done = started(*args, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "Dask's dashboard: http" in done.stderr
    # Dask's own messages about slow or restarted workers would only alarm.
    assert "distributed" not in done.stderr
    assert "Traceback" not in done.stderr
    n_tiles = len(list((out / "tiles").iterdir()))
    assert f"{n_tiles}: {n_tiles} done" in done.stdout
    assert len(done.stdout.splitlines()) < 20
    assert str(out / "crop_type.vrt") in done.stdout.replace("\n", "").replace(" ", "")

    code, printed, _ = in_process(capsys, "map-region", "--out", out, "--status")
    assert code == 0
    assert f"{n_tiles} done" in printed
    times = {path: path.stat().st_mtime_ns for path in out.glob("tiles/*/*")}
    for flag in ("--retry-failed", "--replan"):
        code, printed, _ = in_process(capsys, *args, flag)
        assert code == 0
        assert f"{n_tiles} done" in printed
    assert {path: path.stat().st_mtime_ns for path in out.glob("tiles/*/*")} == times


def test_a_failed_tile_is_named_and_ends_with_code_one(home, tmp_path, capsys):
    archive = tmp_path / "archive"
    place = home / "archive"
    shutil.copytree(place, archive)
    file = min(archive.glob("**/B04.tif"))
    whole = file.read_bytes()
    file.write_bytes(b"II*\0")
    out = tmp_path / "out"
    args = arguments(home, out, archive=archive)
    code, printed, errors = in_process(capsys, *args)
    assert code == 1
    assert re.search(r"tiles +\d+: .*\d failed", printed)
    assert "B04" in printed
    assert "Traceback" not in printed + errors
    assert len(printed.splitlines()) < 80
    code, printed, _ = in_process(capsys, "map-region", "--out", out, "--status")
    assert code == 0
    assert "failed" in printed
    file.write_bytes(whole)
    code, printed, _ = in_process(capsys, *args, "--retry-failed")
    assert code == 0
    assert "1 failed" not in printed


@pytest.mark.slow
def test_an_interrupted_run_ends_quietly_and_keeps_its_tiles(home, tmp_path, capsys):
    """Ctrl-C on a terminal reaches the command and its workers."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "cubecrop", *arguments(home, out, "--workers", "2", tile=160)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, preexec_fn=interruptible,
    )  # fmt: skip
    wait_until(lambda: n_done(out) > 0, process=process)
    os.killpg(process.pid, signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in text
    assert no_half_files(out)
    assert "ended by KeyboardInterrupt" in (out / "run.log").read_text()
    code, printed, _ = in_process(capsys, "map-region", "--out", out, "--status")
    assert code == 0
    assert "waiting" in printed
    assert "running" not in printed


def test_help_explains_each_option(capsys):
    code, printed, _ = in_process(capsys, "map-region", "--help")
    assert code == 0
    for option in (
        "--out", "--aoi", "--year", "--archive", "--model", "--parcels", "--tile", "--workers",
        "--scheduler", "--max-lost", "--plan", "--replan", "--status", "--retry-failed",
    ):  # fmt: skip
        assert option in printed
    assert "same command continues a run" in " ".join(printed.split())


WRONG = {
    "no area": ({"aoi": None}, (), "map-region needs --aoi too"),
    "no year": ({"year": None}, (), "needs --year too"),
    "archive": ({"archive": "nowhere"}, (), "no archive at nowhere"),
    "model": ({"model": "nowhere"}, (), "nowhere"),
    "model that is none": ({"model": "archive"}, (), "archive"),
    "area": ({"aoi": "nowhere.gpkg"}, (), "nowhere.gpkg"),
    "area at sea": ({"aoi": "-30,40,-29.9,40.1"}, (), "Choose an area"),
    "no scenes": ({"year": 1999}, (), "choose a harvest year"),
    "parcels": ({"parcels": "nowhere.parquet"}, (), "nowhere.parquet"),
    "tile": ({"tile": 3}, (), "tile is 3 m"),
    "max_lost": ({}, ("--max-lost", "3"), "max_lost is 3"),
    "workers": ({}, ("--workers", "0"), "workers is 0"),
    "both": ({}, ("--workers", "2", "--scheduler", "tcp://127.0.0.1:1"), "both given"),
    "scheduler": ({}, ("--scheduler", "nowhere"), "no Dask scheduler answers at 'nowhere'"),
    "no such scheduler": ({}, ("--scheduler", f"tcp://127.0.0.1:{free_port()}"), "no Dask sch"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "more", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_one_message_and_code_one(
    home, tmp_path, capsys, monkeypatch, changes, more, message
):
    monkeypatch.chdir(home)
    monkeypatch.setattr("cubecrop.region.cluster._TIMEOUT", 2)
    out = tmp_path / "out"
    code, printed, errors = in_process(capsys, *arguments(home, out, *more, **changes))
    assert code == 1
    assert not printed
    assert errors.startswith("error: ")
    assert message in errors
    assert "Traceback" not in errors
    assert not (out / "tiles").exists()


def test_status_of_nothing(tmp_path, capsys):
    code, _, errors = in_process(capsys, "map-region", "--out", tmp_path, "--status")
    assert code == 1
    assert "holds no plan" in errors
    assert "--plan" in errors


# --- damage -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planned(home, tmp_path_factory):
    out = tmp_path_factory.mktemp("planned") / "out"
    cubecrop.region.plan(
        home / "aoi.gpkg", YEAR, out, archive=home / "archive", model=home / "model", tile=220,
        parcels=home / "parcels.parquet", progress=False,
    )  # fmt: skip
    return out


def other_version(path):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"cubecrop": "99.0"}))


def other_plan(path):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"digest": "0" * 64}))


def cut(path):
    path.write_bytes(path.read_bytes()[:50])


def scribbled(path):
    path.write_bytes(b"PAR1 is not this")


DAMAGE = {
    "version": ("run.json", other_version, "99.0"),
    "digest": ("run.json", other_plan, "does not belong"),
    "run.json": ("run.json", cut, "holds no plan"),
    "tiles cut": ("tiles.parquet", cut, "tiles.parquet"),
    "tiles scribbled": ("tiles.parquet", scribbled, "tiles.parquet"),
    "tiles removed": ("tiles.parquet", Path.unlink, "tiles.parquet"),
    "parcels cut": ("parcel_tiles.parquet", cut, "parcel_tiles.parquet"),
}


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_plan_is_named_by_status(planned, tmp_path, capsys, name, damage, message):
    out = tmp_path / "out"
    shutil.copytree(planned, out)
    damage(out / "plan" / name)
    code, _, errors = in_process(capsys, "map-region", "--out", out, "--status")
    assert code == 1
    assert message in errors
    assert any(cure in errors for cure in ("same command", "--replan", "--plan"))


MENDED = ("tiles.parquet", "parcels.parquet", "parcel_tiles.parquet")


@pytest.mark.parametrize("damage", [cut, scribbled, Path.unlink], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", MENDED)
def test_the_same_command_mends_a_damaged_plan(home, planned, tmp_path, capsys, name, damage):
    out = tmp_path / "out"
    shutil.copytree(planned, out)
    whole = (out / "plan" / name).read_bytes()
    damage(out / "plan" / name)
    args = arguments(home, out, "--plan", parcels=home / "parcels.parquet")
    assert in_process(capsys, *args)[0] == 0
    assert (out / "plan" / name).read_bytes() == whole
    assert in_process(capsys, "map-region", "--out", out, "--status")[0] == 0


@pytest.mark.parametrize("damage", [cut, scribbled, Path.unlink], ids=lambda f: f.__name__)
def test_damaged_items_ask_for_another_search(home, planned, tmp_path, capsys, damage):
    out = tmp_path / "out"
    shutil.copytree(planned, out)
    damage(out / "plan" / "items.parquet")
    args = arguments(home, out, "--plan", parcels=home / "parcels.parquet")
    code, _, errors = in_process(capsys, *args)
    assert code == 1
    assert "items.parquet" in errors
    assert "--replan" in errors
    assert in_process(capsys, *args, "--replan")[0] == 0


def test_outputs_that_cannot_be(home, planned, tmp_path, capsys, monkeypatch):
    file = tmp_path / "file"
    file.write_text("x")
    code, _, errors = in_process(capsys, *arguments(home, file))
    assert code == 1
    assert "is a file" in errors
    monkeypatch.setattr("os.access", lambda *_: False)
    code, _, errors = in_process(capsys, *arguments(home, tmp_path / "locked"))
    assert code == 1
    assert "read-only" in errors
    monkeypatch.undo()
    code, _, errors = in_process(capsys, *arguments(home, planned, tile=320))
    assert code == 1
    assert "another run: tile is 320.0, there 220.0" in errors
    assert "--replan" in errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attempts": 0}, "attempts is 0"),
        ({"attempts": 1.5}, "attempts is 1.5"),
        ({"max_lost": "half"}, "max_lost"),
        ({"tile": -5}, "tile is -5"),
        ({"device": "gpu9"}, "gpu9"),
        ({"client": object()}, "expected a distributed.Client"),
        ({"retry_failed": "yes"}, "retry_failed"),
        ({"model": 7}, "expected a CropModel"),
    ],
)
def test_wrong_values_are_errors_at_once(home, tmp_path, options, message):
    given = {"archive": home / "archive", "model": home / "model", "progress": False} | options
    with pytest.raises(CubecropError, match=message):
        cubecrop.map_region(home / "aoi.gpkg", YEAR, tmp_path / "out", **given)
    assert not (tmp_path / "out" / "tiles").exists()


def test_parcels_of_another_country_are_refused(home, tmp_path):
    far = squares(STRIPED, step=140, side=45).to_crs("EPSG:4326")
    far["geometry"] = far.translate(8.0, -3.0)
    with pytest.raises(CubecropError, match="lies in the archive"):
        cubecrop.map_region(
            home / "aoi.gpkg", YEAR, tmp_path / "out", archive=home / "archive",
            model=home / "model", parcels=far, progress=False,
        )  # fmt: skip
