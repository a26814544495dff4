"""A region whose output is in an object store: killed, continued, and equal to a local run."""

import os
import signal
import threading
import time

import geopandas as gpd
import pytest
import rasterio
import shapely
from distributed import Client, LocalCluster
from region_striped import STRIPED, YEAR
from s3 import s3

import cubecrop
from cubecrop import region


@pytest.fixture
def bucket():
    with pytest.MonkeyPatch.context() as patch, s3(patch) as found:
        yield found


def mapped(out, archive, model, parcels, **options):
    aoi = gpd.GeoSeries([shapely.box(*STRIPED.bounds).buffer(-40)], crs=STRIPED.crs)
    options = {"tile": 160, "progress": False} | options
    return cubecrop.map_region(
        aoi, YEAR, out, archive=archive, model=model, parcels=parcels, **options
    )


def pixels(content):
    with rasterio.MemoryFile(content) as memory, memory.open() as raster:
        return raster.read().tobytes(), raster.transform, raster.crs


def kill_one(client, files, url):
    """Kill a worker once a first tile is there."""

    def kill():
        while not files.glob(f"{url}/tiles/*/evidence.json"):
            time.sleep(0.05)
        os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_killed_worker_and_the_same_results_as_in_a_folder(
    bucket, striped_archive, striped_model, striped_parcels, tmp_path
):
    url, files = bucket
    local = mapped(tmp_path / "run", striped_archive, striped_model, striped_parcels)
    assert local.is_complete
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as made,
        Client(made) as client,
    ):
        thread = kill_one(client, files, url)
        run = mapped(url, striped_archive, striped_model, striped_parcels, client=client)
        thread.join()
        run = (
            run
            if run.is_complete
            else mapped(url, striped_archive, striped_model, striped_parcels, client=client)
        )
    assert run.is_complete
    found = region.status(url)
    assert found.is_complete
    assert found.table["tile"].tolist() == local.table["tile"].tolist()
    assert found.files["crop_type"] == f"{url}/crop_type.vrt"
    for name in ("parcels.parquet", "areas.csv"):
        assert files.cat_file(f"{url}/{name}") == (tmp_path / "run" / name).read_bytes(), name
    rasters = sorted((tmp_path / "run").glob("tiles/*/*.tif"))
    assert len(rasters) >= 3 * 9
    for path in rasters:
        remote = files.cat_file(f"{url}/{path.relative_to(tmp_path / 'run').as_posix()}")
        assert pixels(remote) == pixels(path.read_bytes())
    for name in ("tiles", "edges"):
        folders = {path.rsplit("/", 1)[-1] for path in files.ls(f"{url}/{name}")}
        assert folders == {path.name for path in (tmp_path / "run" / name).iterdir()}
    assert b"collecting" in files.cat_file(f"{url}/run.log")
    with (
        rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
        rasterio.open(url.replace("s3://", "/vsis3/") + "/crop_type.vrt") as remote,
        rasterio.open(tmp_path / "run" / "crop_type.vrt") as raster,
    ):
        assert (remote.read() == raster.read()).all()


def test_the_command_line_tells_the_state_of_a_run_elsewhere(
    bucket, striped_archive, striped_model, striped_parcels, capsys
):
    url, _ = bucket
    cubecrop.region.plan(
        shapely.box(*STRIPED.bbox),
        YEAR,
        url,
        archive=striped_archive,
        model=striped_model,
        tile=640,
        progress=False,
    )
    from cubecrop import cli

    with pytest.raises(SystemExit) as end:
        cli.app(["map-region", "--out", url, "--status"])
    assert end.value.code == 0
    assert "waiting" in capsys.readouterr().out
    with pytest.raises(cubecrop.errors.OutputError, match="holds no plan"):
        cli.app(["map-region", "--out", url + "-other", "--status"], exit_on_error=False)
