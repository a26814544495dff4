"""Every benchmark that is a program of its own runs on small data."""

import importlib
import inspect
import io
import subprocess
from contextlib import redirect_stdout
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from samples import make_samples
from shapely import box

import cubecrop
from benchmarks.default_model.points import DATA, read_points
from cubecrop.evaluation import Report
from cubecrop.sample import read_worldcereal, stored
from cubecrop.testing import Place, season_scenes, write_archive


def test_the_default_network_does_a_third_of_the_published_work_at_most(benchmarks):
    lean = importlib.import_module("benchmarks.network_sizes")
    for n_pixels in (1, 64):
        ours, theirs = (
            lean.flops_a_date(lean.OPTIONS[name], n_pixels)
            for name in ("network", "published sizes")
        )
        assert all(ours[sensor] < theirs[sensor] / 3 for sensor in ours)


def test_demo_of_several_seeds_says_their_range(benchmarks, monkeypatch, capsys):
    benchmarks("demonstration", "Demo")
    module = importlib.import_module("benchmarks.demonstration")

    def run(seed: int, size_km: float, kernels: str | None) -> dict[str, object]:
        assert kernels in (None, "avx2")
        both = {"network": [0.8 + 0.05 * seed, 0.7], "forest": [0.8, 0.6 + 0.1 * seed]}
        return {"held": 80 + seed, "pixels": size_km, "cpu": 60, "peak": 1800, **both}

    monkeypatch.setattr(module, "run_demo", run)
    monkeypatch.setenv("COLUMNS", "200")
    module.main(["--seeds", "2", "1", "--size-km", "0.5"])
    told = capsys.readouterr().out
    assert "0.850 / 0.700" in told
    assert "81 to 82" in told
    assert "0.85 to 0.90 / 0.70 to 0.70" in told
    assert "0.80 to 0.80 / 0.70 to 0.80" in told
    module.main(["--seeds", "3", "--kernels", "avx2"])
    assert "3, avx2" in capsys.readouterr().out


def test_the_demo_is_measured_at_the_size_that_it_has():
    module = importlib.import_module("benchmarks.demonstration")
    assert inspect.signature(cubecrop.demo).parameters["size_km"].default == module.SIZE_KM


def test_blocks_of_canada_stay_within_their_region():
    module = importlib.import_module("benchmarks.blocks")
    lon = np.r_[np.linspace(-84, -80, 30), np.linspace(-70, -60, 30)]
    weather = xr.DataArray(np.arange(60.0)[:, None, None], dims=("parcel", "time", "variable"))
    weather = weather.assign_coords(variable=["temperature_mean"])
    samples = xr.DataTree.from_dict(
        {
            "/": xr.Dataset(coords={"lon": ("parcel", lon)}),
            "weather": xr.Dataset({"weather": weather}),
        }
    )
    for protocol, region in zip(module.BLOCKS, (range(30), range(30, 60)), strict=True):
        west, east, cool = module.blocks(samples, protocol)
        for learned, tested in (west, east, cool):
            assert sorted([*learned, *tested]) == list(region)
            assert len(tested) == 10
        assert lon[west[1]].max() < lon[west[0]].min()
        assert lon[east[1]].min() > lon[east[0]].max()
        assert cool[1].max() < cool[0].min()


def _points(path: Path) -> Path:
    """Points of twelve classes in Ontario and in the Maritimes, in WorldCereal's form."""
    rng = np.random.default_rng(0)
    lon = np.repeat([-82.0, -65.0], 60) + np.tile(np.arange(60) / 100, 2)
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
            "AGERA5-TMEAN": 28000 + 1000 * month + 10 * i,
            "AGERA5-PRECIP": 3000,
            "slope": 1.0,
            "elevation": 10.0 + i,
        }
        for i in range(120)
        for month in range(3)
    ]
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_network_sizes(benchmarks, tmp_path, capsys):
    lean = importlib.import_module("benchmarks.network_sizes")
    table, out = _points(tmp_path / "table.parquet"), tmp_path / "lean.csv"
    few = ["--seeds", "1", "--epochs", "1", "--points", "30", "30"]
    lean.main([str(table), "--out", str(out), *few])
    told = capsys.readouterr().out
    assert "published" in told
    lines = out.read_text("utf-8")
    # Two networks, three blocks of two regions and three simulated regions.
    assert lines.count("\n") == 1 + 2 * (6 + 3)
    lean.main([str(table), "--out", str(out), *few])
    assert out.read_text("utf-8") == lines, "what is done is not done again"


@pytest.fixture
def tiny_region(monkeypatch):
    """`simulate_archive` makes an archive of few dates and sixteen parcels of two crops."""

    def make(out: Path, *, n_parcels: int = 16, **_: object) -> Path:
        place = Place(height=40, width=40)
        write_archive(out, season_scenes(2024, place=place))
        corners = [
            (place.left + 100 * i, place.top - 100 * (j + 1)) for i in range(4) for j in range(4)
        ]
        table = gpd.GeoDataFrame(
            {"id": range(16), "crop:name": ["wheat", "maize"] * 8},
            geometry=[box(x, y, x + 80, y + 80) for x, y in corners],
            crs=place.crs,
        )[:n_parcels]
        for name in ("parcels", "truth"):
            table.to_parquet(out / f"{name}-2024.parquet")
        return out

    monkeypatch.setattr(cubecrop, "simulate_archive", make)


def test_learning(benchmarks, tiny_region, tmp_path, capsys):
    learning = importlib.import_module("benchmarks.learning")
    out, figure = tmp_path / "learning.csv", tmp_path / "learning.png"
    arguments = ["--table", _points(tmp_path / "table.parquet"), "--out", out, "--seeds", 1]
    arguments += ["--epochs", 1, "--sizes", 10, 500, "--figure", figure]
    learning.main([str(one) for one in arguments])
    assert "random forest" in capsys.readouterr().out
    assert figure.read_bytes().startswith(b"\x89PNG")
    rows = pd.read_csv(out)
    # Of 90 points in nine classes a fifth is tested; of 16 parcels, 2 of each crop.
    assert set(rows.loc[rows["protocol"] == "canada", "n_train"]) == {10, 72}
    assert set(rows.loc[rows["protocol"] == "simulated", "n_train"]) == {10, 12}
    assert set(rows.loc[rows["protocol"] == "simulated", "n_test"]) == {4}
    assert len(rows) == 2 * 2 * 2  # source, size, method
    before = out.read_text("utf-8")
    learning.main([str(one) for one in arguments])
    assert out.read_text("utf-8") == before, "what is done is not done again"


def test_points_of_a_curve_count_seeds_whose_pools_end_at_different_sizes_together():
    blocks = importlib.import_module("benchmarks.blocks")
    learning = importlib.import_module("benchmarks.learning")
    common = {"protocol": "canada", "fold": 0, "method": "network", "n_test": 5}
    rows = [
        blocks.Row(n_train=n, seed=seed, accuracy=0.5, macro_f1=f1, seconds=1.0, **common)
        for n, seed, f1 in ((50, 0, 0.2), (50, 1, 0.4), (71, 0, 0.6), (73, 1, 0.8))
    ]
    small, large = learning.curves(rows, (50, 100))["canada", "network"]
    assert (small.n, large.n) == (50, 72)
    assert (small.macro_f1, large.macro_f1) == pytest.approx((0.3, 0.7))
    assert small.spread == pytest.approx(0.02**0.5)


def test_department(benchmarks, tiny_region, monkeypatch, capsys):
    module = importlib.import_module("benchmarks.department")
    done = []

    def here(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        with redirect_stdout(io.StringIO()) as told:
            module.main(command[3:])
        done.append(command[4])
        return subprocess.CompletedProcess(command, 0, told.getvalue())

    monkeypatch.setattr(module.subprocess, "run", here)
    parcels = iter((8, 16))
    make = cubecrop.simulate_archive
    monkeypatch.setattr(
        cubecrop, "simulate_archive", lambda out, **_: make(out, n_parcels=next(parcels))
    )
    module.main(["--sizes-km", "0.4", "0.2", "--epochs", "1"])
    assert done == ["read", "train", "parcels", "map"] * 2
    told = capsys.readouterr().out
    assert "Measured" in told
    assert "6,000 km2" in told


def test_a_department_is_worked_out_from_two_regions():
    module = importlib.import_module("benchmarks.department")

    def region(size_km: float, parcels: int, disk: float, *cpu: float) -> object:
        steps = {
            name: module.Cost(cpu=seconds, wall=seconds, peak=400 + 5 * parcels, held=parcels)
            for name, seconds in zip(module.STEPS, cpu, strict=True)
        }
        return module.Region(size_km=size_km, parcels=parcels, disk=disk, steps=steps)

    small = region(1, 25, 10, 5, 100, 10, 20)
    large = region(2, 100, 40, 41, 181, 82, 164)
    assert module.department(small, large, area=300, learned=700) == [
        ("archive", "", "3 GB on disk"),  # 30 MB of 3 km2, 100 times
        ("train: read", "1.0", "1.0 GB of pixel sets"),  # 36 s; 1,000 parcels of 1 MB
        ("train: learn from 700 parcels", "0.4", "5.0 GB at the peak"),  # 140 s for 70 parcels
        ("classify_parcels", "2.0", ""),
        ("classify, write_map", "4.0", ""),
    ]


def test_a_simulated_study_takes_its_pixel_sets_from_stores(tmp_path, capsys):
    sets = importlib.import_module("benchmarks.simulated_sets")
    study = importlib.import_module("benchmarks.simulated_study")
    table = gpd.GeoDataFrame(
        {"id": [f"{i:03d}" for i in range(60)], "crop:name": ["maize", "potato", "sunflower"] * 20},
        geometry=[box(0, 0, 1, 1)] * 60,
    )
    years = [set(sets.labelled_in(table, number, 3)["id"]) for number in range(3)]
    assert sum(map(len, years)) == len(set.union(*years)) == 40, "each in one year, no sunflowers"
    for region, west in (("one", 3.0), ("two", 9.0)):
        for year in (2022, 2023):
            samples, labels = make_samples(n=24, seed=year + int(west), noise=0.1)
            root = samples.to_dataset().assign_coords(
                parcel=[f"{region}-{year}-{i}" for i in range(24)],
                label=("parcel", np.array(labels, dtype=str)),
                lon=("parcel", west + np.arange(24) / 24), lat=("parcel", 50 + np.arange(24) / 24),
            )  # fmt: skip
            nodes = {
                name: node.to_dataset(inherit=False) for name, node in samples.children.items()
            }
            tree = xr.DataTree.from_dict({"/": root, **nodes})
            tree.attrs["season_year"] = year
            stored(tmp_path / "stores", f"{region}-{year}", lambda tree=tree: tree, progress=False)
    options = ["--parcels", "30", "--seeds", "1", "--epochs", "2", "--uncalibrated"]
    study.main([str(tmp_path / "stores"), str(tmp_path / "out"), *options])
    assert "New region, network: macro-F1" in capsys.readouterr().out
    found = Report.read(tmp_path / "out" / "30-parcels")
    assert found.predictions.table["region"].unique().tolist() == ["one", "two"]
    assert len(found.predictions.table["parcel"].unique()) == 60
    assert f"{found.about.command}".endswith("--parcels 30 --seeds 1 --uncalibrated")


@pytest.mark.skipif(not DATA.exists(), reason=f"no real points in {DATA}")
def test_tables_of_five_regions_hold_the_points_of_the_default_model(tmp_path):
    module = importlib.import_module("benchmarks.regions_table")
    module.main([str(DATA), str(tmp_path)])
    for points in read_points(DATA):
        known, path = points.labelled(), tmp_path / f"{points.name.lower()}.parquet"
        found = read_worldcereal(path, label="crop")
        assert found["label"].to_numpy().tolist() == list(known.labels)
        assert set(read_worldcereal(path, label="region")["label"].to_numpy()) == {points.name}
        assert found.attrs["season_year"] == known.samples.attrs["season_year"]
        for name, variable, step in (
            ("sentinel2", "reflectance", 1e-4), ("sentinel1", "backscatter", 0.02),
        ):  # fmt: skip
            own, wanted = found[name].to_dataset(), known.samples[name].to_dataset()
            assert np.isfinite(own[variable]).mean() > 0.7
            np.testing.assert_allclose(own[variable], wanted[variable], rtol=0, atol=step)
            away = own["time"].to_numpy() - wanted["time"].to_numpy()
            assert abs(away).max() <= np.timedelta64(9, "D")
        for name in ("parcel", "lon", "lat", "group"):
            if name in known.samples.coords:
                np.testing.assert_array_equal(found[name], known.samples[name])


@pytest.mark.parametrize("other", [False, True])
def test_a_crop_that_is_left_out_is_shown_and_never_learned(other):
    module = importlib.import_module("benchmarks.unknown")
    tree, labels = make_samples(n=240)
    tree.coords["group"] = ("parcel", np.arange(240) // 2)
    known = np.array(labels, dtype=object)
    known[3:60:3] = None  # grass, as if it were crops of no class
    config = cubecrop.TrainConfig(epochs=15, n_pixels=4, validation=0.0)
    row = module.left_out(tree, known, "wheat", other=other, config=config)
    assert (row.left_out, row.n) == ("wheat", (known == "wheat").sum())
    assert row.n_known < (known != "wheat").sum() / 2
    assert row.false_sure < 0.2 < 0.5 < row.known_sure
    assert row.known_outside < 0.2
