"""The simulated archive: same bytes from a seed, a static STAC form, plausible content."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rasterio.features import rasterize

from cubecrop.errors import AoiError, OutputError, SeasonError
from cubecrop.schema import SENTINEL2_BANDS
from cubecrop.season import Season
from cubecrop.simulate import archive, simulate_archive
from cubecrop.simulate.crops import CROPS, make_growth
from cubecrop.simulate.land import make_grid, make_land
from cubecrop.simulate.sensors import cloud_covers

ASSETS = {
    "sentinel-2-l2a": {*SENTINEL2_BANDS, "SCL"},
    "sentinel-1-rtc": {"vv", "vh"},
    "cop-dem-glo-30": {"data"},
    "agera5-daily": {"zarr"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return simulate_archive(
        tmp_path_factory.mktemp("made") / "archive", size_km=0.6, seed=7, progress=False
    )


@pytest.fixture(scope="module")
def catalog(made) -> pystac.Catalog:
    return pystac.Catalog.from_file(made / "catalog.json")


def items_of(catalog, collection):
    return sorted(catalog.get_child(collection).get_items(), key=lambda item: item.datetime)


def read(item, key):
    with rasterio.open(item.assets[key].get_absolute_href()) as source:
        return source.read(1)


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_same_seed_writes_the_same_bytes_whatever_the_threads(made, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    again = simulate_archive(tmp_path / "again", size_km=0.6, seed=7, progress=False)
    assert digests(again) == digests(made)


def test_every_item_has_its_assets_and_every_file_its_place(made, catalog):
    assert {child.id for child in catalog.get_children()} == set(ASSETS)
    for collection, keys in ASSETS.items():
        members = list(catalog.get_child(collection).get_items())
        assert members
        for item in members:
            assert item.collection_id == collection
            assert set(item.assets) == keys
            assert Path(item.get_self_href()).parent == made / collection / item.id
            assert all(Path(a.get_absolute_href()).exists() for a in item.assets.values())
            assert all(a.href.startswith("./") for a in item.assets.values())


def test_stac_objects_are_valid(catalog):
    validator = JsonSchemaSTACValidator()
    for collection in catalog.get_children():
        validator.validate_core(
            collection.to_dict(), pystac.STACObjectType.COLLECTION, pystac.get_stac_version()
        )
        item = next(collection.get_items())
        validator.validate_core(
            item.to_dict(), pystac.STACObjectType.ITEM, pystac.get_stac_version()
        )


def test_dates_cover_the_season(catalog):
    season = Season(2024)
    for collection, step in (("sentinel-2-l2a", 5), ("sentinel-1-rtc", 6)):
        dates = [item.datetime.date() for item in items_of(catalog, collection)]
        assert season.start <= dates[0]
        assert dates[-1] <= season.end
        assert {(b - a).days for a, b in itertools.pairwise(dates)} == {step}
        assert len(dates) >= season.n_days // step


def test_declared_grid_is_the_grid_of_the_files(catalog):
    for collection in ("sentinel-2-l2a", "sentinel-1-rtc", "cop-dem-glo-30"):
        item = next(catalog.get_child(collection).get_items())
        # pystac drops proj:epsg when it reads.
        raw = json.loads(Path(item.get_self_href()).read_text())
        for asset in item.assets.values():
            with rasterio.open(asset.get_absolute_href()) as source:
                assert asset.extra_fields["proj:shape"] == list(source.shape)
                assert asset.extra_fields["proj:transform"] == list(source.transform)[:6]
                assert source.crs.to_string() == item.properties["proj:code"]
                assert item.properties["proj:code"] == f"EPSG:{raw['properties']['proj:epsg']}"
                if collection != "cop-dem-glo-30":
                    assert source.transform.c % 60 == 0
                    assert source.transform.f % 60 == 0


def test_sentinel2_has_the_offset_of_its_baseline(catalog):
    scenes = items_of(catalog, "sentinel-2-l2a")
    item = min(scenes, key=lambda i: i.properties["eo:cloud_cover"])
    assert item.properties["s2:processing_baseline"] == "05.10"
    assert item.properties["s2:mgrs_tile"] == "31UES"
    assert {scene.properties["platform"] for scene in scenes} == {"Sentinel-2A", "Sentinel-2B"}
    for band in SENTINEL2_BANDS:
        with rasterio.open(item.assets[band].get_absolute_href()) as source:
            assert source.nodata == 0
            dn = source.read(1)
        assert dn.dtype == np.uint16
        assert dn.min() > 1000
        assert dn.max() < 1000 + 8000
    assert read(item, "B04").shape == (60, 60)
    assert read(item, "B05").shape == read(item, "SCL").shape == (30, 30)


def test_about_half_of_the_pixels_are_hidden(catalog):
    clear = []
    for item in items_of(catalog, "sentinel-2-l2a"):
        scl = read(item, "SCL")
        assert set(np.unique(scl)) <= {3, 4, 5, 8, 9, 10}
        cloudy = 100 * np.isin(scl, [8, 9, 10]).mean()
        assert item.properties["eo:cloud_cover"] == pytest.approx(cloudy, abs=0.001)
        clear.append(np.isin(scl, [4, 5]).mean())
    assert 0.45 <= 1 - np.mean(clear) <= 0.55
    assert min(clear) == 0
    assert max(clear) == 1


def test_clouds_are_brighter_and_shadows_darker(catalog):
    blue = {name: [] for name in ("clear", "cloud", "shadow")}
    for item in items_of(catalog, "sentinel-2-l2a"):
        scl, b8a = read(item, "SCL"), read(item, "B8A")
        for name, classes in (("clear", (4, 5)), ("cloud", (9,)), ("shadow", (3,))):
            blue[name].append(b8a[np.isin(scl, classes)])
    clear, cloud, shadow = (np.median(np.concatenate(values)) for values in blue.values())
    assert shadow < clear < cloud


def test_sentinel1_is_linear_power_of_two_orbits(catalog):
    scenes = items_of(catalog, "sentinel-1-rtc")
    orbits = {(i.properties["sat:orbit_state"], i.properties["sat:relative_orbit"]) for i in scenes}
    assert {state for state, _ in orbits} == {"ascending", "descending"}
    assert len(orbits) == 2
    assert all("calibration" not in item.properties for item in scenes)
    with rasterio.open(scenes[0].assets["vv"].get_absolute_href()) as source:
        assert source.nodata == -32768
        vv = source.read(1)
    assert vv.dtype == np.float32
    assert vv.min() > 0
    assert -16 < 10 * np.log10(vv.mean()) < -5
    assert read(scenes[0], "vh").mean() < vv.mean()


def test_elevation_surrounds_the_square(made, catalog):
    item = next(catalog.get_child("cop-dem-glo-30").get_items())
    assert item.properties["datetime"] == "2021-04-22T00:00:00Z"
    with rasterio.open(item.assets["data"].get_absolute_href()) as source:
        assert source.nodata is None
        assert source.res == pytest.approx((1 / 3600, 1 / 3600))
        assert np.isfinite(source.read(1)).all()
        bounds = source.bounds
    west, south, east, north = (
        gpd.read_parquet(next(made.glob("*.parquet"))).to_crs(4326).total_bounds
    )
    assert bounds.left < west - 0.005
    assert bounds.bottom < south - 0.005
    assert bounds.right > east + 0.005
    assert bounds.top > north + 0.005


def test_weather_opens_as_the_item_says(catalog):
    item = next(catalog.get_child("agera5-daily").get_items())
    assert item.datetime is None
    asset = item.assets["zarr"]
    assert asset.media_type == "application/vnd+zarr"
    with xr.open_dataset(
        asset.get_absolute_href(), **asset.extra_fields["xarray:open_kwargs"]
    ) as weather:
        assert weather.sizes == {"time": 488, "latitude": 3, "longitude": 3}
        assert (np.diff(weather.latitude) < 0).all()
        assert str(weather.time[0].dt.date.item()) == "2023-08-01"
        assert str(weather.time[-1].dt.date.item()) == "2024-11-30"
        assert {name: weather[name].units for name in weather} == {
            "temperature_mean": "K",
            "temperature_min": "K",
            "temperature_max": "K",
            "precipitation_flux": "mm d-1",
            "solar_radiation_flux": "J m-2 d-1",
        }
        assert (weather.temperature_min < weather.temperature_mean).all()
        assert (weather.temperature_mean < weather.temperature_max).all()
        assert 268 < weather.temperature_mean.sel(time="2024-01").mean() < 283
        assert 284 < weather.temperature_mean.sel(time="2024-07").mean() < 299
        assert (weather.precipitation_flux >= 0).all()
        assert (weather.solar_radiation_flux > 0).all()


def test_parcels_are_fields_apart_from_each_other(made):
    parcels = gpd.read_parquet(made / "parcels-2024.parquet")
    assert list(parcels) == ["id", "crop:code", "crop:name", "region", "geometry"]
    assert parcels.crs.to_epsg() == 32631
    assert parcels["id"].is_unique
    assert parcels.geometry.is_valid.all()
    assert parcels["region"].nunique() == 4
    counts = parcels["crop:name"].value_counts()
    assert len(counts) == 8
    assert counts.min() >= 5
    touching = parcels.sindex.query(parcels.buffer(4), predicate="intersects")
    assert (touching[0] == touching[1]).all()


def test_default_size_holds_about_a_hundred_parcels():
    for seed in range(3):
        parcels = make_land(make_grid(2.5), year=2024, seed=seed).parcels
        hectares = parcels.area / 1e4
        assert 90 <= len(parcels) <= 115
        assert hectares.between(0.4, 20).all()
        counts = parcels["crop:name"].value_counts()
        assert counts.min() >= 5
        assert counts.max() >= 2 * counts.min()


def test_years_share_parcels_and_rotate_crops():
    first, second = (make_land(make_grid(1), year=y, seed=1).parcels for y in (2023, 2024))
    assert first.geometry.geom_equals(second.geometry).all()
    assert (first["crop:name"] != second["crop:name"]).any()
    grass = first["crop:name"] == "permanent grass"
    assert (grass == (second["crop:name"] == "permanent grass")).all()


def test_parcels_lie_over_what_grows_there(made, catalog):
    """In mid May cereals are green and fields of maize still bare."""
    parcels = gpd.read_parquet(made / "parcels-2024.parquet")
    scenes = [i for i in items_of(catalog, "sentinel-2-l2a") if 4 <= i.datetime.month <= 5]
    item = min(
        (i for i in scenes if i.datetime.year == 2024),
        key=lambda i: i.properties["eo:cloud_cover"],
    )
    red, nir = (read(item, band).astype(float) - 1000 for band in ("B04", "B08"))
    ndvi = (nir - red) / (nir + red)
    clear = np.kron(np.isin(read(item, "SCL"), [4, 5]), np.ones((2, 2), bool))

    def mean_of(name):
        chosen = parcels[parcels["crop:name"] == name].buffer(-10)
        chosen = chosen[~chosen.is_empty]
        with rasterio.open(item.assets["B04"].get_absolute_href()) as source:
            inside = rasterize(chosen, out_shape=source.shape, transform=source.transform)
        return ndvi[(inside == 1) & clear].mean()

    assert mean_of("winter wheat") > mean_of("maize") + 0.2


@pytest.mark.parametrize("day", range(-120, 305, 25))
def test_covers_are_shares_of_the_ground(day):
    crop = np.tile(np.arange(len(CROPS)), 20)
    canopy = make_growth(crop, year=2024, seed=0, shift=3.0).canopy(day)
    for cover in (canopy.green, canopy.flower, canopy.dry):
        assert (cover >= 0).all()
    assert (canopy.green + canopy.flower + canopy.dry <= 1 + 1e-12).all()


def test_cloud_covers_are_dealt_by_seed_and_not_drawn():
    days = np.arange(1, 86)
    first, second = (cloud_covers(days, year=2024, seed=seed) for seed in (0, 1))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first), np.sort(second))


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

    monkeypatch.setattr(archive, "see_optical", fail)
    with pytest.raises(error):
        simulate_archive(tmp_path / "out", size_km=0.5, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_failed_write_names_the_folder(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "add_raster", fail)
    with pytest.raises(OutputError, match=r"cannot write .*out: .*No space left"):
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


@pytest.mark.parametrize("size", [0, 0.4, 21, float("nan"), "2.5", None])
def test_size_out_of_range_says_the_range(tmp_path, size):
    with pytest.raises(AoiError, match=r"size_km is .*expected a number from 0\.5 to 20"):
        simulate_archive(tmp_path / "out", size_km=size)


def test_bad_year_and_seed_write_nothing(tmp_path):
    with pytest.raises(SeasonError):
        simulate_archive(tmp_path / "out", year=24)
    with pytest.raises(ValueError, match="negative"):
        simulate_archive(tmp_path / "out", seed=-1)
    assert list(tmp_path.iterdir()) == []


def test_progress_goes_to_standard_error_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(archive, "_optical_jobs", lambda world: [])
    monkeypatch.setattr(archive, "_radar_jobs", lambda world: [])
    monkeypatch.setattr(archive, "write_catalog", lambda *_, **__: None)
    simulate_archive(tmp_path / "quiet", size_km=0.5, progress=False)
    simulate_archive(tmp_path / "no terminal", size_km=0.5)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes any stream for a terminal
    simulate_archive(tmp_path / "shown", size_km=0.5)
    out, err = capsys.readouterr()
    assert out == ""
    assert "simulating" in err
