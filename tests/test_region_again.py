"""A second run in a folder: what it makes again, what it removes, and what it must not trust."""

import datetime as dt
import json
import platform
import shutil
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed import Client, Future, LocalCluster
from region_plans import LABEL, YEAR, box, parcels, planned, trained

import cubecrop
import cubecrop.region.driver as driver_module
import cubecrop.region.engine as engine
import cubecrop.region.tile as tile_module
from cubecrop import region
from cubecrop.errors import ClusterError, OutputError, ReadError
from cubecrop.model import ModelHandle
from cubecrop.region.edges import EDGE_PIXELS, opened_parts
from cubecrop.region.failures import TransientError, is_transient, is_transient_text
from cubecrop.region.output import PROOF, Output
from cubecrop.testing import Place, Weather, write_archive

AREA = box(50, 50, 350, 350)
WEATHER = {
    "temperature_mean": (290.0, "K"), "temperature_min": (280.0, "K"),
    "temperature_max": (300.0, "K"), "precipitation": (1.0, "mm d-1"),
    "solar_radiation": (1e7, "J m-2 d-1"),
}  # fmt: skip


@pytest.fixture(scope="module")
def model(archive):
    return trained(archive)


def mapped(out, archive, model, **options):
    """A region of four tiles."""
    return cubecrop.map_region(
        AREA,
        YEAR,
        out,
        archive=archive,
        model=model,
        **({"tile": 320, "progress": False} | options),
    )


def top(out):
    return {path.name for path in Path(out).iterdir() if path.is_file()}


@pytest.fixture
def broken(archive, tmp_path):
    """The archive with one damaged file."""
    out = tmp_path / "broken"
    shutil.copytree(archive, out)
    next(path for path in sorted(out.rglob("*.tif")) if "B04" in path.name).write_bytes(b"II*\0")
    return out


def test_a_changed_limit_of_lost_files_counts_in_the_same_process(broken, model, tmp_path):
    out = tmp_path / "run"
    assert set(mapped(out, broken, model).table["state"]) == {"failed"}
    assert mapped(out, broken, model, max_lost=0.9).is_complete
    # What lost too many files is no result, although nothing replaces it.
    again = mapped(out, broken, model)
    assert set(again.table["state"]) == {"failed"}
    assert not again.is_complete


def test_a_running_driver_says_so_during_a_long_tile(archive, model, tmp_path, monkeypatch):
    out, seen = tmp_path / "run", []

    def long(job):
        seen.append(region.status(out).table.set_index("tile")["state"][job.tile.id])
        (out / "state.json").unlink()
        end = time.monotonic() + 10
        while not (out / "state.json").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        seen.append(region.status(out).table.set_index("tile")["state"][job.tile.id])
        raise ReadError("it was long")

    monkeypatch.setattr(driver_module, "_BEAT", 0.02)
    monkeypatch.setattr(engine, "do", long)
    run = mapped(out, archive, model)
    assert len(run.failed) == 4
    assert seen[1::2] == ["running"] * 4
    assert json.loads((out / "state.json").read_text())["ended"]


def test_a_folder_in_which_a_run_goes_on_is_not_planned_again(archive, model, tmp_path):
    planned(tmp_path, archive, model)
    before = (tmp_path / "plan" / "run.json").read_bytes()
    with subprocess.Popen(["sleep", "30"]) as other:
        state = {
            "driver": f"{platform.node()}:{other.pid}", "running": {}, "ended": False,
            "updated": dt.datetime.now(dt.UTC).isoformat(),
        }  # fmt: skip
        (tmp_path / "state.json").write_text(json.dumps(state))
        with pytest.raises(OutputError, match="is being written by"):
            planned(tmp_path, archive, model, parcels=parcels())
        other.kill()
    assert (tmp_path / "plan" / "run.json").read_bytes() == before


def test_a_state_of_a_strange_kind_is_no_state(archive, model, tmp_path):
    planned(tmp_path, archive, model)
    (tmp_path / "state.json").write_text("[1]")
    assert set(region.status(tmp_path).table["state"]) == {"waiting"}


def test_parcels_are_not_joined_from_a_tile_that_is_being_replaced(archive, model, tmp_path):
    out = tmp_path / "run"
    assert mapped(out, archive, model, parcels=parcels()).is_complete
    output = Output.at(out)
    path = next(out.glob(f"edges/*/{PROOF}"))
    inputs = json.loads(path.read_text())["inputs"]
    with opened_parts(output, inputs) as parts:
        assert set(parts) == set(inputs)
    tile = next(iter(inputs))
    with (
        pytest.raises(TransientError, match=tile),
        opened_parts(output, inputs | {tile: "another digest"}),
    ):
        pass
    (out / "tiles" / tile / EDGE_PIXELS).unlink()
    with pytest.raises(TransientError, match=tile), opened_parts(output, inputs):
        pass


def test_without_parcels_nothing_of_them_stays(archive, model, tmp_path):
    out = tmp_path / "run"
    assert mapped(out, archive, model, parcels=parcels()).is_complete
    assert list(out.glob("edges/*"))
    assert "parcels.parquet" in top(out)
    assert mapped(out, archive, model).is_complete
    assert not list(out.glob("edges/*"))
    assert "parcels.parquet" not in top(out)


def test_files_of_an_earlier_model_do_not_show_tiles_of_another(
    archive, model, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    assert mapped(out, archive, model, parcels=parcels()).is_complete
    assert {"crop_type.vrt", "areas.csv", "parcels.parquet", "collection.json"} <= top(out)

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(tile_module, "write_rasters", stopped)
    other = cubecrop.train(
        parcels(140), LABEL, YEAR, archive=archive, held_out=0, seed=1, progress=False,
        config=cubecrop.TrainConfig(epochs=1, n_pixels=4),
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        mapped(out, archive, other, parcels=parcels())
    assert top(out) == {"run.log", "state.json"}
    assert set(region.status(out).table["state"]) == {"outdated"}


def test_another_store_of_the_same_name_is_another_input(archive, tmp_path, monkeypatch):
    model = trained(archive, weather=True)
    stores = [tmp_path / name / "weather.zarr" for name in ("a", "b")]
    for store in stores:
        store.mkdir(parents=True)
        (store / "zarr.json").write_text("{}")
    one = planned(tmp_path / "out", archive, model, weather=stores[0])
    other = planned(tmp_path / "out", archive, model, weather=stores[1], replan=True)
    for before, after in zip(one.tiles, other.tiles, strict=True):
        assert before.inputs["options"] != after.inputs["options"]
    # Workers have other current folders.
    monkeypatch.chdir(tmp_path / "b")
    same = planned(tmp_path / "out", archive, model, weather="weather.zarr")
    assert same.tiles == other.tiles
    assert same.options.weather == str(stores[1])


def test_images_without_weather_are_a_failure(archive, tmp_path):
    plan = planned(tmp_path / "plan", archive, trained(archive), aoi=AREA, tile=320)
    middle = max(tile.area.lonlat.bounds[0] for tile in plan.tiles) - 1e-5
    west = Place(
        crs="EPSG:4326", left=middle - 0.1, top=50.9, height=2, width=1, pixel=0.1
    )  # fmt: skip
    elsewhere = write_archive(
        tmp_path / "weather",
        [Weather(start="2017-08-01", end="2018-12-31", place=west, variables=WEATHER)],
    )
    model = trained(archive, weather=True)
    run = mapped(tmp_path / "run", archive, model, weather=elsewhere)
    assert set(run.table["state"]) == {"done", "failed"}
    assert "no weather" in run.failed["error"].iloc[0]


@pytest.fixture
def client():
    with (
        LocalCluster(
            processes=False, protocol="tcp", n_workers=1, threads_per_worker=1, host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as one,
    ):  # fmt: skip
        yield one


def job(tmp_path):
    return engine.Job(
        kind="tiles", output=Output.at(tmp_path), plan_digest="", model=ModelHandle("", ""),
        tile=SimpleNamespace(tile=SimpleNamespace(id="a"), memory=0), inputs={},
    )  # fmt: skip


def test_a_scheduler_that_drops_the_tasks_is_an_error_with_the_cure(client, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "do", lambda _: time.sleep(1))

    def dropped(running):
        if running:
            client.cancel([Future(key, client) for key in client.futures])

    with pytest.raises(ClusterError, match="run the same command"):
        list(engine.run_jobs([job(tmp_path)], client, attempts=1, watch=dropped))


REMOTE = (
    "asset 'B04' of item 'S2' cannot be read: {} (https://h/503/a.tif). Try again later, or "
    "continue without the file: `write_map(..., max_lost=0.05)`."
)


@pytest.mark.parametrize(
    "text",
    [
        "HTTP response code: 503", "HTTP error code : 429", "HTTP error code: 0",
        "HTTP response code on https://h/a.tif: 502", "status client error (429 Too Many Requests)",
        "CURL error: Operation timed out after 60001 milliseconds with 0 out of 0 bytes received",
        "CURL error: Could not resolve host: h", "Recv failure: Connection reset by peer",
        "CURL error: Send failure: Broken pipe", "CURL error: Empty reply from server",
        "CURL error: transfer closed with 503 bytes remaining to read",
        "CURL error: HTTP/2 stream 0 was not closed cleanly: INTERNAL_ERROR (err 2)",
        "AccessDenied: Request has expired", "SlowDown: Please reduce your request rate.",
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again(text):
    assert is_transient_text(REMOTE.format(text))


@pytest.mark.parametrize(
    "text",
    [
        "HTTP response code: 404", "HTTP response code: 403",
        "'/vsicurl/https://h/a.tif' not recognized as being in a supported file format.",
        "band 1: IReadBlock failed at X offset 500, Y offset 3: TIFFReadEncodedTile() failed.",
        "TIFFFillTile:Read error at row 0, col 0, tile 503; got 429 bytes, expected 512",
        "ZIPDecode:Decoding error at scanline 0, incorrect header check",
    ],
)  # fmt: skip
def test_what_will_not_pass_is_recorded_at_once(text):
    assert not is_transient_text(REMOTE.format(text))


def test_advice_and_counts_are_no_reason_to_try_again():
    text = "3 of 500 items could not be read.\n  truncated\nTry again later, or allow for it."
    assert not is_transient(ReadError(text))
