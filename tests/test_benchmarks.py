"""Every benchmark runs, with parameters so small that its time says nothing."""

import importlib
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from cubecrop.testing import season_scenes, write_archive

ROOT = Path(__file__).parents[1]

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
    return types.SimpleNamespace(parcels=right, pixels=right)
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


@pytest.fixture
def benchmarks(monkeypatch):
    """Give a class of benchmarks by name, with other parameters."""
    monkeypatch.syspath_prepend(str(ROOT))
    # Processes that a benchmark starts must find it too.
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def small(module: str, name: str, **parameters: object):
        suite = getattr(importlib.import_module(f"benchmarks.{module}"), name)
        for key, value in parameters.items():
            assert hasattr(suite, key)
            monkeypatch.setattr(suite, key, value)
        return suite

    return small


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
    assert len(_measured(suite, monkeypatch)) == {"LoadFromDisk": 5, "LoadOverHttp": 4}[name]
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


def test_demo(benchmarks, monkeypatch):
    suite = benchmarks("demonstration", "Demo", size_km=0.5)
    module = importlib.import_module("benchmarks.demonstration")
    monkeypatch.setattr(module, "_SCRIPT", _DEMO_OF_NOTHING + module._SCRIPT)
    found = _measured(suite, monkeypatch)
    assert 0 <= found["track_parcels_right"] <= 100
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


def test_blocks_of_canada_stay_within_their_region():
    canada = importlib.import_module("benchmarks.canada")
    lon = np.r_[np.linspace(-84, -80, 30), np.linspace(-70, -60, 30)]
    weather = xr.DataArray(np.arange(60.0)[:, None, None], dims=("parcel", "time", "variable"))
    weather = weather.assign_coords(variable=["temperature_mean"])
    samples = xr.DataTree.from_dict(
        {
            "/": xr.Dataset(coords={"lon": ("parcel", lon)}),
            "weather": xr.Dataset({"weather": weather}),
        }
    )
    for protocol, region in zip(canada.BLOCKS, (range(30), range(30, 60)), strict=True):
        west, east, cool = canada.splits(samples, protocol)
        for learned, tested in (west, east, cool):
            assert sorted([*learned, *tested]) == list(region)
            assert len(tested) == 10
        assert lon[west[1]].max() < lon[west[0]].min()
        assert lon[east[1]].min() > lon[east[0]].max()
        assert cool[1].max() < cool[0].min()


def test_canada(benchmarks, tmp_path, capsys):
    canada = importlib.import_module("benchmarks.canada")
    rng = np.random.default_rng(0)
    lon = np.repeat([-82.0, -65.0], 60)
    rows = [
        {
            "sample_id": f"s{i}",
            "location_id": f"g{i}",
            "timestamp": f"2017-{month + 1:02d}-01",
            "lon": lon[i],
            "lat": 45.0,
            "year": 2017,
            "CROPTYPE_LABEL": i % 12,
            "S2-L2A-B04": int(1000 + 200 * (i % 12) + rng.normal(0, 20)),
            "S1-SIGMA0-VV": int(3000 + 100 * (i % 12)),
            "AGERA5-TMEAN": 28000 + 1000 * month,
            "AGERA5-PRECIP": 3000,
            "slope": 1.0,
            "elevation": 10.0 + i,
        }
        for i in range(120)
        for month in range(3)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "table.parquet")
    out = tmp_path / "canada.csv"
    figure = tmp_path / "canada.png"
    arguments = ["--table", tmp_path / "table.parquet", "--out", out, "--seeds", 1, "--epochs", 1]
    arguments += ["--protocols", "MA→ON", "--figure", figure]
    canada.main([str(one) for one in arguments])
    told = capsys.readouterr().out
    assert "random forest" in told
    assert "minutes" in told
    assert figure.read_bytes().startswith(b"\x89PNG")
    found = canada.read_rows(out)
    tests = [name for group in canada.methods(1).values() for one in group for name in one.tests]
    assert [row.method for row in found if row.protocol == "MA→ON"] == tests
    assert {row.n_test for row in found if row.protocol == "MA→ON"} == {45}
    lines = out.read_text("utf-8")
    canada.main([str(one) for one in arguments])
    assert out.read_text("utf-8") == lines, "what is done is not done again"
