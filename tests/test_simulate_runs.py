"""Runs of the simulator: presets, order, wrong arguments, interruption."""

import datetime as dt
import subprocess
import sys
import time

import geopandas as gpd
import numpy as np
import pystac
import pytest
from simulated import digests, items_of

from cubecrop.errors import AoiError, OutputError, SeasonError, SimulationError
from cubecrop.simulate import archive, products, simulate_archive
from cubecrop.simulate.presets import PRESETS
from cubecrop.simulate.regions import find_region
from cubecrop.simulate.weather import make_weather


def test_images_do_not_depend_on_other_regions_or_the_order_of_years(tmp_path, few_days):
    def images(name, regions, years):
        out = simulate_archive(
            tmp_path / name, regions=regions, years=years, size_km=0.5, seed=2, progress=False
        )
        return {k: v for k, v in digests(out).items() if k.endswith((".tif", ".json"))}

    both = images("both", ["aquitaine", "ontario"], [2023, 2024])
    turned = images("turned", ["ontario", "aquitaine"], [2024, 2023])
    tifs = {name for name in both if name.endswith(".tif")}
    assert len(tifs) > 40
    assert {name: turned[name] for name in tifs} == {name: both[name] for name in tifs}
    alone = images("alone", ["ontario"], [2023, 2024])
    assert {name for name in alone if name.endswith(".tif")} < tifs
    assert all(both[name] == alone[name] for name in alone if name.endswith(".tif"))


@pytest.fixture
def few_days(monkeypatch):
    """Two weeks of each season's June instead of 15 months: all that a preset is looked at for."""
    monkeypatch.setattr(
        archive, "_days",
        lambda season: [dt.date(season.year, 6, 1) + dt.timedelta(i) for i in range(14)],
    )  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_makes_what_it_says(preset, tmp_path, few_days):
    out = simulate_archive(tmp_path / "out", preset=preset, size_km=0.5, seed=3, progress=False)
    regions = {"regions": {"flanders", "bavaria", "aquitaine"}}.get(preset, {"flanders"})
    years = {"years": [2022, 2023, 2024]}.get(preset, [2024])
    tables = {name: [gpd.read_parquet(out / f"{name}-{y}.parquet") for y in years]
              for name in ("parcels", "truth")}  # fmt: skip
    assert len(list(out.glob("*.parquet"))) == 2 * len(years)
    assert all(set(table["region"]) == regions for table in tables["parcels"])
    declared, grown = (
        np.concatenate([table["crop:name"] for table in tables[name]])
        for name in ("parcels", "truth")
    )
    assert (declared != grown).mean() < 0.12  # 3 % of a few dozen parcels may be none
    assert (declared != grown).any() or declared.size < 100
    radar = items_of(pystac.Catalog.from_file(out / "catalog.json"), "sentinel-1-rtc")
    lost = preset == "no-sentinel-1b"
    states = {item.properties["sat:orbit_state"] for item in radar}
    assert states == ({"ascending"} if lost else {"ascending", "descending"})
    assert {item.datetime.year for item in radar} == set(years)


def test_the_cloudy_preset_is_cloudier():
    def cover(name):
        return [
            make_weather(find_region("flanders"), 2023, 2024, seed=seed,
                         cloudiness=PRESETS[name].cloudiness).cloud.mean()
            for seed in range(3)
        ]  # fmt: skip

    usual, cloudy = cover("demo"), cover("cloudy")
    assert all(0.08 < more - less < 0.3 for less, more in zip(usual, cloudy, strict=True))


def test_presets_turn_one_thing_at_a_time():
    demo = PRESETS["demo"]
    turned = {
        name: [f for f in demo.__slots__ if getattr(preset, f) != getattr(demo, f)]
        for name, preset in PRESETS.items()
    }
    assert turned == {
        "demo": [],
        "regions": ["regions"],
        "years": ["years"],
        "cloudy": ["cloudiness"],
        "no-sentinel-1b": ["sentinel_1b"],
    }


def test_empty_folder_is_filled_and_full_one_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_write_archive", lambda root, *_, **__: (root / "a").touch())
    out = tmp_path / "new" / "archive"
    assert simulate_archive(out, size_km=0.5) == out
    with pytest.raises(OutputError, match=r"archive holds files already.*Remove it"):
        simulate_archive(out, size_km=0.5)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert (simulate_archive(empty, size_km=0.5) / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is not a folder"):
        simulate_archive(tmp_path / "file", size_km=0.5)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_run_leaves_nothing(tmp_path, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(products, "see_optical", fail)
    with pytest.raises(error):
        simulate_archive(tmp_path / "out", size_km=0.5, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_failed_write_names_the_folder(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(products, "add_raster", fail)
    with pytest.raises(OutputError, match=r"out cannot be written: .*No space left.*Choose"):
        simulate_archive(tmp_path / "out", size_km=0.5, progress=False)
    assert not (tmp_path / "out").exists()


def test_killed_run_leaves_no_archive(tmp_path):
    code = (
        "from cubecrop.simulate import simulate_archive\n"
        f"simulate_archive({str(tmp_path / 'out')!r}, size_km=5, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 60
        while not any(tmp_path.rglob("*.tif")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert any(tmp_path.rglob("*.tif"))
    assert not (tmp_path / "out").exists()
    simulate_archive(tmp_path / "out", size_km=0.5, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("size", [0, 0.4, 21, float("nan"), "2.5"])
def test_size_out_of_range_says_the_range(tmp_path, size):
    with pytest.raises(AoiError, match=r"size_km is .*expected a number from 0\.5 to 20"):
        simulate_archive(tmp_path / "out", size_km=size)


@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        ({"years": [24]}, SeasonError, "24"),
        ({"seed": -1}, SimulationError, "negative"),
        ({"preset": "easy"}, SimulationError, "expected one of .*'demo'"),
        ({"regions": ["atlantis"]}, AoiError, "expected one of .*'flanders'"),
        ({"regions": []}, SimulationError, "at least one"),
        ({"years": [2024, 2024]}, SimulationError, "none twice"),
        ({"wrong_labels": 1.5}, SimulationError, "share from 0 to 1"),
        ({"cloudiness": float("nan")}, SimulationError, "from -3 to 3"),
        ({"regions": "flanders"}, SimulationError, r"regions is 'flanders', expected a list"),
        ({"years": 2024}, SimulationError, r"years is 2024, expected a list.*years=\[2024\]"),
        ({"seed": 1.5}, SimulationError, "whole number"),
        ({"wrong_labels": "few"}, SimulationError, "wrong_labels is 'few', expected a number"),
    ],
)
def test_wrong_arguments_write_nothing_and_say_what_is_right(tmp_path, wrong, error, match):
    with pytest.raises(error, match=match):
        simulate_archive(tmp_path / "out", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_progress_goes_to_standard_error_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(archive, "optical_jobs", lambda *_, **__: [])
    monkeypatch.setattr(archive, "radar_jobs", lambda *_, **__: [])
    monkeypatch.setattr(archive, "write_catalog", lambda *_, **__: None)
    simulate_archive(tmp_path / "quiet", size_km=0.5, progress=False)
    simulate_archive(tmp_path / "no terminal", size_km=0.5)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes any stream for a terminal
    simulate_archive(tmp_path / "shown", size_km=0.5)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Simulating" in err
