"""Every benchmark runs, with parameters so small that its times mean nothing."""

import importlib
import json
import math

import numpy as np
import pytest
import rasterio
from extras import needs_stackstac

from cubecrop.sample.zonal import pixels_of
from cubecrop.testing import season_scenes, write_archive

# The demo has a test of its own; here its arguments and results alone are those of the real one.
_DEMO_OF_NOTHING = """
import inspect, types
import cubecrop
from cubecrop.pipeline import DemoResult
signature = inspect.signature(cubecrop.demo)
assert {"parcels", "pixels"} <= set(DemoResult.__slots__)
def nothing(*positional, **named):
    signature.bind(*positional, **named)
    right = types.SimpleNamespace(accuracy=0.5)
    found = dict(n=80, accuracy=0.8, macro_f1=0.7)
    model = types.SimpleNamespace(scores={"held out": found, "held out, random forest": found})
    return types.SimpleNamespace(parcels=right, pixels=right, model=model)
cubecrop.demo = nothing
"""

# So has the simulator.
_SIMULATION_OF_NOTHING = """
import inspect, pathlib
import cubecrop
signature = inspect.signature(cubecrop.simulate_archive)
def nothing(*positional, **named):
    signature.bind(*positional, **named)
    folder = pathlib.Path(positional[0])
    folder.mkdir()
    (folder / "file").write_bytes(bytes(2000))
cubecrop.simulate_archive = nothing
"""


def _measured(suite: type, monkeypatch, *, peaks: bool = False) -> dict[str, float]:
    runner = importlib.import_module("benchmarks.runner")
    if not peaks:  # a process each: too slow here
        monkeypatch.setattr(runner, "_peak_in_a_process", lambda *_: 1.0)
    found = runner.measure(suite)
    assert all(math.isfinite(value) and unit for value, unit in found.values())
    table = importlib.import_module("benchmarks.__main__").as_table(suite, found)
    assert table.row_count == len(found)
    return {name: value for name, (value, _) in found.items()}


def test_classify_graph(benchmarks, monkeypatch):
    suite = benchmarks("graph", "ClassifyGraph", n_optical=6, n_radar=4, side=6000, repeat=1)
    found = _measured(suite, monkeypatch)
    assert set(found) == {"time_build", "track_tasks", "track_pickled", "track_peak"}
    assert found["track_tasks"] > 0


@needs_stackstac
def test_read_season(benchmarks, monkeypatch, tmp_path):
    suite = benchmarks("reading", "ReadSeason", repeat=1)
    archive = str(write_archive(tmp_path, season_scenes(2024)))
    monkeypatch.setattr(suite, "setup_cache", lambda _: archive)
    assert len(_measured(suite, monkeypatch)) == 6
    one = suite()
    one.setup(archive)
    ours = one.cubecrop()["reflectance"].to_numpy()
    loop, stack = one.rasterio(), one.stackstac().to_numpy()
    assert ours.shape == loop.shape == stack.shape
    clear = np.isfinite(ours)
    assert clear.any()
    np.testing.assert_allclose(ours[clear], loop[clear], atol=1e-6)
    np.testing.assert_allclose(ours[clear], stack[clear] * 1e-4 - 0.1, atol=1e-6)


# odc-geo calls what shapely will drop.
@pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("name", "side"), [("LoadFromDisk", 100), ("LoadOverHttp", 500)])
def test_loading(benchmarks, monkeypatch, tmp_path, name, side):
    suite = benchmarks("loading", name, repeat=1, side=side, n_dates=2)
    assert len(_measured(suite, monkeypatch)) == {"LoadFromDisk": 5, "LoadOverHttp": 5}[name]
    monkeypatch.chdir(tmp_path)
    archive = suite().setup_cache()
    one = suite()
    one.setup(archive)
    one.forget()
    ours = one.open_cubecrop()().to_numpy()
    pool, theirs = one.rasterio_pool(), one.odc_stac()["B02"].to_numpy()
    one.teardown(archive)
    clear = np.isfinite(ours)
    assert clear.mean() > 0.2
    assert ours.shape[-2:] == (100, 100)
    np.testing.assert_allclose(ours[clear], pool[clear], atol=1e-6)
    clear = clear[:, 0]
    np.testing.assert_allclose(ours[:, 0][clear], theirs[clear] * 1e-4 - 0.1, atol=1e-6)


@needs_stackstac
# stackstac and odc-stac ask for what is not there of files that they warp.
@pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_whole_season(benchmarks, monkeypatch, tmp_path):
    small = {"side": 128, "n_dates": 6, "n_parcels": 9, "repeat": 1}
    suite = benchmarks("whole_season", "WholeSeason", **small)
    found = _measured(suite, monkeypatch)
    assert len(found) == 13
    assert 0.9 < found["track_pool_times_read"] < 2  # files so small are read ahead
    assert found["track_times_read"] > 0.5
    other = benchmarks("whole_season", "WholeSeason140Of1024", n_dates=2)
    assert set(_measured(other, monkeypatch)) == set(found), "its base's, with other parameters"
    assert found["track_odc_stac"] > 0
    monkeypatch.chdir(tmp_path)
    one = suite()
    one.setup(one.setup_cache())
    paths = [asset["href"] for item in one.items for asset in item["assets"].values()]
    assert len(set(paths)) == 6 * 11
    assert len({(one.root / path).stat().st_ino for path in paths}) == 5 * 11
    season = one.season()["sentinel2/reflectance"]
    assert season.sizes["time"] == 6
    ours = season.isel(time=5).to_numpy()
    item = json.loads(one.archive.read_text())["features"][5]
    pool = np.stack(list(one.bands_of(item)))
    clear = np.isfinite(ours)
    assert clear.mean() > 0.2
    np.testing.assert_allclose(ours[clear], pool[clear], atol=1e-6)
    sets = one.sets().compute()
    assert sets["sentinel2/reflectance"].shape == (9, 6, 10, 64)


def test_whole_season_over_http(benchmarks, monkeypatch):
    if why := importlib.import_module("benchmarks.nginx").missing():
        pytest.skip(why)
    small = {"side": 128, "n_dates": 2, "n_parcels": 4, "repeat": 1, "delay": 0.001}
    suite = benchmarks("whole_season_http", "WholeSeasonOverHttp", **small)
    found = _measured(suite, monkeypatch)
    assert found["track_pool_requests"] >= 2 * 11
    assert found["track_pool_bytes"] > 0.2
    assert found["track_bytes"] >= 0.5
    assert found["track_async_requests"] < found["track_requests"]


def test_a_benchmark_that_cannot_run_here_is_left_out(benchmarks, monkeypatch, capsys):
    suite = benchmarks("whole_season_http", "WholeSeasonOverHttp", side=32, n_dates=1)
    module = importlib.import_module("benchmarks.__main__")
    nginx = importlib.import_module("benchmarks.whole_season_http")
    monkeypatch.setattr(nginx, "missing", lambda: "nginx is not installed")
    monkeypatch.setattr("sys.argv", ["benchmarks", suite.__name__])
    module.main()
    assert "WholeSeasonOverHttp is left out: nginx is not installed" in capsys.readouterr().out


def test_sample_season(benchmarks, monkeypatch):
    small = {"side": 128, "n_dates": 3, "n_parcels": 9, "repeat": 1}
    found = _measured(benchmarks("whole_season", "SampleSeason", **small), monkeypatch)
    assert found["track_share_of_reading"] > 0


def test_scattered_parcels_have_the_pixels_that_are_asked_for():
    made = importlib.import_module("benchmarks.season_files").scattered_parcels(1024, 4000)
    counts = pixels_of(made.geometry.to_numpy(), 10.0).counts
    assert np.median(counts) == pytest.approx(144, abs=8)
    assert made["id"].is_unique
    assert counts.sum() < 1024**2


def test_bytes_of_a_region(benchmarks, monkeypatch, tmp_path):
    if why := importlib.import_module("benchmarks.nginx").missing():
        pytest.skip(why)
    small = {"side": 256, "block": 64, "tile": 1280, "offset": 310, "width": 1500}
    suite = benchmarks("region", "RegionBytes", n_optical=2, n_parcels=40, n_workers=0, **small)
    found = _measured(suite, monkeypatch)
    assert found["track_requests"] >= 2 * 11
    assert found["track_map"] >= 1
    assert found["track_parcels"] >= 1
    monkeypatch.chdir(tmp_path)
    one = suite()
    one.setup(root := one.setup_cache())
    inside, total = one.of_blocks(), sum(path.stat().st_size for path in one.root.rglob("*.tif"))
    one.aoi = one.area(0, 0, 2560, 2560)
    one.teardown(root)
    assert 0.3 * total < inside < one.of_blocks() < total
    module = importlib.import_module("benchmarks.region")
    band = one.root / one.items[0]["assets"]["B02"]["href"]
    corner = one.left, one.top - 10, one.left + 10, one.top
    with rasterio.open(band) as file:
        first = int(file.get_tag_item("BLOCK_SIZE_0_0", "TIFF", bidx=1))
    assert module._bytes_of_blocks(band, corner) == first


def test_workers_of_a_region(benchmarks, monkeypatch):
    small = {"side": 128, "tile": 640, "across": 2, "n_optical": 2, "repeat": 1}
    suite = benchmarks("region", "RegionWorkers", **small)
    runs, mapped = [], suite.map
    monkeypatch.setattr(suite, "map", lambda *given, **named: runs.append(mapped(*given, **named)))
    found = _measured(suite, monkeypatch)
    assert [len(run.table) for run in runs] == [1, 2, 4, 4], "two to warm up, one, two"
    assert [run.table["worker"].nunique() for run in runs[:3]] == [1, 2, 1]
    assert found["track_loop"] > 0


def test_memory_of_a_region(benchmarks, monkeypatch):
    small = {"side": 192, "tile": 640, "columns": 3, "rows": 2, "n_optical": 2}
    suite = benchmarks("region_memory", "RegionMemory", early=(0, 3), late=(3, 6), **small)
    found = _measured(suite, monkeypatch)
    assert found["track_tiles"] == 6
    assert 0 < found["track_of_bound"] < 1
    assert found["track_peak"] > 100


def test_tile_of_a_region(benchmarks, monkeypatch):
    if why := importlib.import_module("benchmarks.nginx").missing():
        pytest.skip(why)
    small = {"side": 128, "tile": 640, "n_optical": 3, "n_radar": 2, "n_parcels": 9}
    found = _measured(benchmarks("region_memory", "RegionTile", **small), monkeypatch)
    assert found["track_requests"] >= 3 * 11 + 2 * 2
    assert found["track_sent"] > 0.1
    assert 0 < found["track_of_bound"] < 1


def test_parcel_statistics(benchmarks, monkeypatch):
    small = {"side": 256, "n_dates": 2, "n_parcels": 100, "repeat": 1}
    suite = benchmarks("sampling", "ParcelStatistics", **small)
    assert len(_measured(suite, monkeypatch)) == 7
    one = suite()
    one.setup()
    ours, theirs = one.cubecrop()["sentinel2"].dataset.sel(band="B03"), one.exactextract(2)
    for i in range(2):
        mean = ours["mean"].isel(time=i).to_numpy()
        both = np.isfinite(mean) & theirs[f"{i} B03_mean"].notna().to_numpy()
        assert both.sum() > 50
        # Of noise from 0 to 0.6; edges are weighed otherwise.
        np.testing.assert_allclose(mean[both], theirs[f"{i} B03_mean"][both], atol=0.05)


@needs_stackstac
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", ["EndToEnd", "EndToEndTwoSatellites"])
def test_end_to_end(benchmarks, monkeypatch, name):
    two = name == "EndToEndTwoSatellites"
    small = {"side": 128, "area": 100, "map_side": 32, "n_optical": 5, "n_radar": 4 * two}
    suite = benchmarks("end_to_end", name, n_parcels=9, repeat=1, **small)
    plain = importlib.import_module("benchmarks.plain")
    monkeypatch.setattr(plain, "_TRIAL", 0.0)
    found = _measured(suite, monkeypatch)
    assert len(found) == (8 if two else 11)
    assert found["track_map_tasks"] > 0
    assert found["track_plain_map"] > 0


def test_open_season(benchmarks, monkeypatch):
    suite = benchmarks("loading", "OpenSeason", n_scenes=4, side=6000, repeat=1)
    assert _measured(suite, monkeypatch)["track_tasks"] > 0


def test_sample_parcels(benchmarks, monkeypatch):
    suite = benchmarks("sampling", "SampleParcels", size_km=0.5, n_parcels=2, repeat=1)
    assert set(_measured(suite, monkeypatch)) == {"time_cubecrop", "time_clip_loop"}


def test_place_parcels(benchmarks, monkeypatch):
    suite = benchmarks("sampling", "PlaceParcels", n_parcels=9, chunk=20)
    assert set(_measured(suite, monkeypatch)) == {"time_build", "peakmem_build"}
    one = suite()
    one.setup()
    assert one.build()["pixel_count"].to_numpy().tolist() == [144] * 9


def test_networks(benchmarks, monkeypatch):
    suite = benchmarks("networks", "Networks", n_parcels=2, n_singles=2, n_dates=5, repeat=1)
    found = _measured(suite, monkeypatch)
    assert len(found) == 4
    assert all(value > 0 for value in found.values())


def test_networks_on_masked_dates(benchmarks, monkeypatch):
    suite = benchmarks(
        "networks", "MaskedNetworks", n_parcel_dates=48, n_single_dates=48, n_pixels=3, repeat=1
    )
    found = _measured(suite, monkeypatch)
    assert len(found) == 18
    assert all(value > 0 for value in found.values())


def test_pixel_map(benchmarks, monkeypatch):
    found = _measured(benchmarks("networks", "PixelMap", side=4, repeat=1), monkeypatch)
    assert len(found) == 5
    assert all(value > 0 for value in found.values())


def test_networks_on_a_card(benchmarks, monkeypatch):
    sizes = {"n_singles": 8, "n_parcels": 2, "n_pixels": 3, "repeat": 1}
    found = _measured(benchmarks("networks", "NetworksOnACard", device="cpu", **sizes), monkeypatch)
    assert len(found) == 4
    assert all(value > 0 for value in found.values())
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(NotImplementedError, match="no graphics card"):
        _measured(benchmarks("networks", "NetworksOnACard", device="cuda"), monkeypatch)


def test_training_cost(benchmarks, monkeypatch):
    sizes = {"n_parcels": 6, "n_pixels": 3, "epochs": 1, "repeat": 1}
    found = _measured(benchmarks("training", "TrainingCost", **sizes), monkeypatch)
    assert found.keys() == {"track_epoch", "track_plain_epoch", "track_share_of_plain"}
    assert all(value > 0 for value in found.values())


def test_training_from_disk(benchmarks, monkeypatch):
    sizes = {"n_parcels": 40, "n_stores": 2, "n_pixels": 3, "n_dates": 6, "n_in_memory": 24}
    found = _measured(benchmarks("training_store", "TrainingFromDisk", **sizes), monkeypatch)
    assert found.keys() == {"peakmem_fit", "track_speed", "track_bytes"}
    assert found["track_speed"] > 0


def test_a_plain_batch_is_what_training_draws_but_for_noise(benchmarks):
    benchmarks("training", "TrainingCost")
    module = importlib.import_module("benchmarks.training")
    batches = importlib.import_module("cubecrop.training.batches").batches
    networks = importlib.import_module("benchmarks.networks")
    arrays = networks.arrays_of(6, 3, networks.SEASON, masked=networks.MASKED)
    ids = [f"p{i}" for i in range(6)]
    one = module.TrainingSet(arrays, np.arange(6), ids, np.full(6, 3))
    still = module.TrainConfig(jitter=0.0, date_dropout={}, small_sets=0.0, n_pixels=3)
    deviations = {name: np.ones(len(bands), "f4") for name, bands in networks.BANDS.items()}
    for found, plain in zip(
        batches([one], deviations, still, n_days=425, seed=0, epoch=0),
        module.plain_batches([one], deviations, still, n_days=425, seed=0, epoch=0),
        strict=True,
    ):
        assert sorted(found[1].tolist()) == sorted(plain[1].tolist())
        for name, series in found[0].series.items():
            whole = plain[0].series[name]
            assert int(series.valid.sum()) == int(whole.valid.sum()) == len(series.values)
            both = (series.spread(), whole)
            drawn, shown = (np.asarray(s.values)[np.asarray(s.valid)].sum(dtype="f8") for s in both)
            assert drawn == pytest.approx(shown)


def test_demo(benchmarks, monkeypatch):
    suite = benchmarks("demonstration", "Demo", size_km=0.5)
    module = importlib.import_module("benchmarks.demonstration")
    monkeypatch.setattr(module, "_SCRIPT", _DEMO_OF_NOTHING + module._SCRIPT)
    found = _measured(suite, monkeypatch)
    assert found["track_parcels_right"] == 50
    assert found["track_peak"] < 2000


def test_simulate(benchmarks, monkeypatch):
    suite = benchmarks("simulating", "Simulate", size_km=0.5)
    module = importlib.import_module("benchmarks.simulating")
    monkeypatch.setattr(module, "_SCRIPT", _SIMULATION_OF_NOTHING + module._SCRIPT)
    found = _measured(suite, monkeypatch)
    assert found["track_disk"] == pytest.approx(0.002)
    assert 0 < found["track_peak"] < 1000


def test_peak_memory_is_that_of_one_process(benchmarks):
    runner = importlib.import_module("benchmarks.runner")
    suite = benchmarks("graph", "ClassifyGraph", n_optical=2, n_radar=2, side=3000)
    assert 10 < runner._peak_in_a_process(suite, "time_build", ()) < 4000
