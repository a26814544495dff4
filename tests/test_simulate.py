"""The simulated archive: the same bytes for a seed, a static STAC catalog, plausible content."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rasterio.features import rasterize
from simulated import digests, items_of

from cubecrop.archive import search
from cubecrop.cube import open_season
from cubecrop.schema import SENTINEL2_BANDS
from cubecrop.season import Season
from cubecrop.simulate import simulate_archive
from cubecrop.simulate.land import COVERS, deal_rotations, declare, make_land
from cubecrop.simulate.regions import REGIONS, find_region, make_grid

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


def read(item, key):
    with rasterio.open(item.assets[key].get_absolute_href()) as source:
        return source.read(1)


def test_same_seed_writes_the_same_bytes_whatever_the_process_and_the_threads(made, tmp_path):
    code = (
        "import os\n"
        "os.cpu_count = lambda: 1\n"
        "from cubecrop.simulate import simulate_archive\n"
        f"simulate_archive({str(tmp_path / 'again')!r}, size_km=0.6, seed=7, progress=False)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "5", "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert digests(tmp_path / "again") == digests(made)


def test_another_seed_writes_other_images(made, tmp_path):
    other = simulate_archive(tmp_path / "other", size_km=0.6, seed=8, progress=False)
    mine, theirs = digests(made), digests(other)
    same = [name for name in mine if name in theirs and name.endswith(".tif")]
    same = [name for name in same if not name.endswith("SCL.tif")]  # overcast has one class
    assert len(same) > 500
    assert not any(mine[name] == theirs[name] for name in same)


def test_every_item_has_its_assets_and_every_file_is_in_its_folder(made, catalog):
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
        assert set(np.unique(scl)) <= {2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
        cloudy = 100 * np.isin(scl, [8, 9, 10]).mean()
        assert item.properties["eo:cloud_cover"] == pytest.approx(cloudy, abs=0.001)
        clear.append(np.isin(scl, [4, 5]).mean())
    assert 0.3 <= 1 - np.mean(clear) <= 0.75
    assert min(clear) < 0.05
    assert max(clear) > 0.9


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
    truth = gpd.read_parquet(made / "truth-2024.parquet")
    for table in (parcels, truth):
        assert list(table) == ["id", "crop:code", "crop:name", "region", "geometry"]
        assert table.crs.to_epsg() == 32631
        assert table["id"].is_unique
        assert table.geometry.is_valid.all()
        assert (table["region"] == "flanders").all()
    assert truth["id"].tolist() == parcels["id"].tolist()
    assert truth["crop:name"].nunique() >= 8
    assert parcels["crop:code"].str.fullmatch("[A-Z]{3}").all()
    touching = parcels.sindex.query(parcels.buffer(3), predicate="intersects")
    assert (touching[0] == touching[1]).all()


@pytest.mark.parametrize("region", REGIONS, ids=lambda region: region.name)
def test_areas_of_parcels_are_log_normal(region):
    land = make_land(region, make_grid(region, 4), seed=1)
    hectares = np.array([parcel.area for parcel in land.geometry]) / 1e4
    assert hectares.min() >= 0.2
    assert hectares.max() <= 20
    log = np.log(hectares)
    skew = ((log - log.mean()) ** 3).mean() / log.std() ** 3
    assert np.median(hectares) == pytest.approx(region.parcel_ha, rel=0.35)
    assert 0.45 < log.std() < 0.9
    assert abs(skew) < 1
    shares = np.bincount(land.unit.ravel(), minlength=len(COVERS))[: len(COVERS)] / land.unit.size
    assert dict(zip(COVERS, shares, strict=True))["wood"] > 0.02
    assert (shares > 0).all()
    assert 0.6 < 1 - shares.sum() < 0.95


def test_tiles_have_the_names_of_sentinel2():
    """The corners' tiles by ESA's tiling grid, and all of a square of 20 km inside its tile."""
    assert [region.tile for region in REGIONS] == [
        "31UES", "31UCP", "33UUP", "30TYP", "17TMJ", "20TMS", "31TEJ", "30SUG",
    ]  # fmt: skip
    for region in REGIONS:
        left, bottom, right, top = make_grid(region, 20).bounds
        # Tiles reach 9.8 km beyond their 100 km squares to the east and the south.
        assert left // 1e5 == (right - 9780) // 1e5
        assert top // 1e5 == (bottom + 9780) // 1e5


def test_wrong_declarations_have_their_share():
    region = find_region("bavaria")
    crop = deal_rotations(region, 4000, [2024], seed=0)[2024]
    said = declare(crop, 2024, region=region, share=0.1, seed=0)
    assert 0.06 < (said != crop).mean() < 0.1  # some are wrong by chance alone to the same crop
    assert (declare(crop, 2024, region=region, share=0, seed=0) == crop).all()


def test_years_share_parcels_and_rotate_crops(tmp_path):
    out = simulate_archive(
        tmp_path / "years", regions=["flanders"], years=[2023, 2024], size_km=0.5, seed=1,
        progress=False,
    )  # fmt: skip
    first, second = (gpd.read_parquet(out / f"truth-{y}.parquet") for y in (2023, 2024))
    assert first.geometry.geom_equals(second.geometry).all()
    assert (first["crop:name"] != second["crop:name"]).mean() > 0.5
    grass = first["crop:name"] == "permanent grass"
    assert (grass == (second["crop:name"] == "permanent grass")).all()
    catalog = pystac.Catalog.from_file(out / "catalog.json")
    days = [item.datetime.date() for item in items_of(catalog, "sentinel-2-l2a")]
    assert len(days) == len(set(days))
    assert days[0] <= Season(2023).start.replace(day=6)
    assert days[-1] >= Season(2024).end.replace(day=26)


def test_regions_stand_in_one_archive(tmp_path):
    out = simulate_archive(
        tmp_path / "regions", regions=["aquitaine", "ontario"], size_km=0.5, progress=False,
        sentinel_1b=False,
    )  # fmt: skip
    parcels = gpd.read_parquet(out / "parcels-2024.parquet")
    assert parcels.crs.to_epsg() == 4326
    assert parcels["id"].is_unique
    assert set(parcels["region"]) == {"aquitaine", "ontario"}
    catalog = pystac.Catalog.from_file(out / "catalog.json")
    tiles = {i.properties["s2:mgrs_tile"] for i in items_of(catalog, "sentinel-2-l2a")}
    assert tiles == {"30TYP", "17TMJ"}
    radar = items_of(catalog, "sentinel-1-rtc")
    assert {item.properties["platform"] for item in radar} == {"SENTINEL-1A"}
    assert {item.properties["sat:orbit_state"] for item in radar} == {"ascending"}
    assert len(items_of(catalog, "cop-dem-glo-30")) == 2
    # Half past ten by the sun is the afternoon in UTC on the other side of the ocean.
    hours = {
        item.properties["s2:mgrs_tile"]: item.datetime.hour
        for item in items_of(catalog, "sentinel-2-l2a")
    }
    assert hours == {"30TYP": 10, "17TMJ": 16}


def test_the_library_reads_it_as_any_archive(made):
    parcels = gpd.read_parquet(made / "parcels-2024.parquet")
    found = search(parcels, 2024, archive=made)
    assert set(found.table()["modality"]) == {"sentinel2", "sentinel1", "weather", "terrain"}
    cube = open_season(parcels, 2024, archive=made, modalities=("sentinel2", "weather"))
    assert cube["sentinel2"]["reflectance"].sizes["time"] == 85
    clear = cube["sentinel2"]["reflectance"].sel(band="B08", time="2024-06").max("time").compute()
    assert 0.2 < float(clear.median()) < 0.6


def test_parcels_lie_over_what_grows_there(made, catalog):
    """In May cereals are green and fields of maize still bare."""
    parcels = gpd.read_parquet(made / "truth-2024.parquet")
    scenes = [i for i in items_of(catalog, "sentinel-2-l2a") if i.datetime.month == 5]
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
