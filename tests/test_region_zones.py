"""A region across the meridian between two UTM zones: each pixel and each parcel once."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import rioxarray
import shapely
from region_runs import table_of
from region_striped import LABEL, YEAR, compare, place_beside, scenes_of, squares

import cubecrop
from cubecrop import region
from cubecrop.cube.tiles import utm_codes
from cubecrop.model import Calibration
from cubecrop.nomenclature import NODATA
from cubecrop.testing import Place, write_archive

TILE = 220
ZONES = ("EPSG:32631", "EPSG:32632")
#: Points nearer to the meridian than a pixel's diagonal may lie in no zone's pixel, or in both.
SEAM = 15.0


PLACE = place_beside(ZONES[0], -300)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("zones") / "archive", scenes_of(PLACE))


@pytest.fixture(scope="module")
def parcels():
    return squares(PLACE).to_crs("EPSG:4326")


@pytest.fixture(scope="module")
def model(archive, parcels):
    config = cubecrop.TrainConfig(epochs=2, n_pixels=16)
    trained = cubecrop.train(
        parcels, LABEL, YEAR, archive=archive, config=config, held_out=0, progress=False
    )
    return trained.with_calibration(Calibration(temperature=1, alpha=0.1, threshold=0.3, n=50))


@pytest.fixture(scope="module")
def area():
    """A rectangle in degrees that lies well within the archive."""
    left, bottom, right, top = PLACE.bounds
    inner = gpd.GeoSeries(
        [shapely.box(left + 60, bottom + 60, right - 60, top - 60)], crs=PLACE.crs
    )
    return tuple(inner.to_crs("EPSG:4326").total_bounds.tolist())


def mapped(area, out, archive, model, **options):
    options = {"tile": TILE, "progress": False} | options
    return cubecrop.map_region(area, YEAR, out, archive=archive, model=model, **options)


@pytest.fixture(scope="module")
def run(area, archive, model, parcels, tmp_path_factory):
    out = tmp_path_factory.mktemp("zones") / "run"
    return mapped(area, out, archive, model, parcels=parcels, layers=["set_size"])


def to(zone, lon, lat):
    return pyproj.Transformer.from_crs(4326, zone, always_xy=True).transform(lon, lat)


def value_at(path, x, y):
    """The class of each point; nodata outside of the raster."""
    with rasterio.open(path) as raster:
        values = raster.read(1)
        column, row = (np.floor(v).astype(int) for v in ~raster.transform * (x, y))
    inside = (row >= 0) & (row < values.shape[0]) & (column >= 0) & (column < values.shape[1])
    found = np.full(len(x), NODATA, values.dtype)
    found[inside] = values[row[inside], column[inside]]
    return found


def points_in(area, n=20_000):
    """Points all over an area, many of them near the meridian, and their distance from it."""
    rng = np.random.default_rng(5)
    west, south, east, north = area
    lon, lat = rng.uniform(west, east, n), rng.uniform(south, north, n)
    lon[: n // 4] = rng.uniform(5.9995, 6.0005, n // 4)
    x, _ = to(ZONES[0], lon, lat)
    return lon, lat, np.abs(x - to(ZONES[0], np.full(n, 6.0), lat)[0])


def test_every_point_belongs_to_one_zone(run, area):
    assert run.is_complete
    assert {tile[:5] for tile in run.table["tile"]} == {"32631", "32632"}
    lon, lat, distance = points_in(area)
    codes = utm_codes(lon, lat)
    owners = np.zeros(len(lon), int)
    for path in run.output.folder.glob("tiles/*/crop_type.tif"):
        code = int(path.parent.name[:5])
        found = value_at(path, *to(f"EPSG:{code}", lon, lat)) != NODATA
        assert (codes[found & (distance > SEAM)] == code).all()
        owners += found
    assert (distance <= SEAM).sum() > 1000
    assert (owners[distance > SEAM] == 1).all()
    assert owners.max() <= 2
    assert (owners[distance <= SEAM] == 1).mean() > 0.7


def test_each_zone_has_the_pixels_of_one_cube(run, area, archive, model):
    for zone in ZONES:
        whole = cubecrop.classify(area, YEAR, archive=archive, model=model, crs=zone).compute()
        for path in run.output.folder.glob(f"tiles/{zone[5:]}_*/crop_type.tif"):
            with rioxarray.open_rasterio(path) as tile:
                x, y = tile["x"].to_numpy(), tile["y"].to_numpy()
                values = tile.to_numpy()[0]
            expected = whole["crop_type"].reindex(x=x, y=y, fill_value=NODATA).to_numpy()
            lon, lat = pyproj.Transformer.from_crs(zone, 4326, always_xy=True).transform(
                *np.meshgrid(x, y)
            )
            own = utm_codes(lon, lat) == int(zone[5:])
            assert own.any()
            covered = np.isin(x, whole["x"])[None, :] & np.isin(y, whole["y"])[:, None]
            assert (values[~own] == NODATA).all()
            with rasterio.open(path.with_name("set_size.tif")) as sizes:
                assert ((sizes.read(1) > 0) == (values != NODATA)).all()
            assert np.array_equal(values[own & covered], expected[own & covered])


def test_evidence_counts_the_pixels_of_the_zone(run):
    plan = region.RegionPlan.read(run.output)
    shared = 0
    for tile in plan.tiles:
        evidence = json.loads(run.output.read_bytes(f"tiles/{tile.id}/evidence.json"))
        assert evidence["pixels"] == n_owned(tile) == sum(evidence["counts"].values())
        shared += tile.is_shared
    assert shared > 2


def n_owned(tile):
    """Pixels of the mapped rectangle whose centres lie in the zone."""
    if tile.mapped is None:
        return 0
    left, bottom, right, top = tile.mapped
    centres = np.meshgrid(np.arange(left + 5, right, 10), np.arange(bottom + 5, top, 10))
    lon, lat = pyproj.Transformer.from_crs(tile.tile.crs, 4326, always_xy=True).transform(*centres)
    return int((utm_codes(lon, lat) == int(tile.tile.crs[5:])).sum())


def test_parcels_are_classified_once_in_their_zone(run, area, archive, model, parcels):
    table = table_of(run.output.folder).set_index("id")
    assert sorted(table.index) == sorted(parcels["id"])
    kept = gpd.read_parquet(run.output.folder / "plan" / "parcels.parquet").set_index("id")
    points = parcels.set_index("id").geometry.representative_point()
    inside = points[points.within(shapely.box(*area))]
    crossing = parcels[parcels.intersects(shapely.LineString([(6, 50), (6, 51)]))]
    assert len(set(crossing["id"]) & set(inside.index)) >= 5
    for zone in ZONES:
        ids = inside.index[utm_codes(inside.x, inside.y) == int(zone[5:])]
        assert len(ids) > 20
        assert kept.loc[ids, "region:owner"].str.startswith(zone[5:]).all()
        expected = cubecrop.classify_parcels(
            parcels, YEAR, archive=archive, model=model, crs=zone, progress=False
        ).set_index("id")
        compare(table.loc[ids], expected.loc[ids])
    assert set(table.drop(inside.index)["status"]) == {"outside the area"}


def test_the_joined_raster_holds_both_zones(run, area):
    # Pixels of the other zone are warped, so those at the area's edge may fall out of it.
    inner = shapely.box(*area).buffer(-2e-4).bounds
    lon, lat, distance = points_in(inner, 5000)
    with rioxarray.open_rasterio(run.output.folder / "crop_type.vrt") as joined:
        main = f"EPSG:{joined.rio.crs.to_epsg()}"
        assert joined.rio.nodata == NODATA
    assert main in ZONES
    found = value_at(run.output.folder / "crop_type.vrt", *to(main, lon, lat))
    assert (found[distance > SEAM] != NODATA).all()
    assert (found == NODATA).mean() < 0.01
    ours = (utm_codes(lon, lat) == int(main[5:])) & (distance > SEAM)
    part = Path(run.output.folder / f"crop_type_{main[5:]}.vrt")
    assert np.array_equal(found[ours], value_at(part, *to(main, lon[ours], lat[ours])))


def test_one_crs_for_the_whole_area(area, archive, model, parcels, tmp_path):
    out = tmp_path / "run"
    run = mapped(area, out, archive, model, parcels=parcels, crs="EPSG:3035", tile=400)
    assert run.is_complete
    assert {tile[:5] for tile in run.table["tile"]} == {"3035_"}
    whole = cubecrop.classify(area, YEAR, archive=archive, model=model, crs="EPSG:3035").compute()
    with rioxarray.open_rasterio(out / "crop_type.vrt") as joined:
        assert np.array_equal(joined.to_numpy()[0], whole["crop_type"])
    expected = cubecrop.classify_parcels(
        parcels, YEAR, archive=archive, model=model, crs="EPSG:3035", progress=False
    ).set_index("id")
    table = table_of(out).set_index("id")
    ids = table.index[table["status"] == "predicted"]
    assert len(ids) > 40
    compare(table.loc[ids], expected.loc[ids])


def test_tiles_without_images_count_only_the_pixels_of_their_zone(model, tmp_path):
    """The archive ends before the meridian, where tiles of both zones share their pixels."""
    place = place_beside(ZONES[0], -600, width=30)
    archive = write_archive(tmp_path / "archive", scenes_of(place))
    bounds = (place.left + 50, place.bounds[1] + 100, place.left + 800, place.top - 100)
    aoi = gpd.GeoSeries([shapely.box(*bounds)], crs=place.crs).to_crs("EPSG:4326").total_bounds
    run = mapped(tuple(aoi), tmp_path / "run", archive, model)
    assert run.is_complete
    assert set(run.table["state"]) == {"done", "no images"}
    plan = region.RegionPlan.read(run.output)
    pixels = dict(zip(run.table["tile"], run.table["pixels"], strict=True))
    empty = set(run.table["tile"][run.table["state"] == "no images"])
    seen = 0
    for tile in plan.tiles:
        assert pixels[tile.id] == n_owned(tile)
        left, bottom, right, top = tile.mapped
        seen += tile.id in empty and 0 < n_owned(tile) < (right - left) * (top - bottom) / 100
    assert seen > 0
    areas = pd.read_csv(run.output.folder / "areas.csv")
    assert areas["pixels"].sum() == sum(pixels.values())
    assert (areas["hectares"] * 100).round().equals(areas["pixels"].astype(float))


@pytest.mark.parametrize("zones", [("EPSG:32701", "EPSG:32760"), ("EPSG:32633", "EPSG:32733")])
def test_regions_across_the_180th_meridian_and_the_equator(zones, model, tmp_path):
    lon, lat = (180.0, -16.3) if zones[0] == "EPSG:32701" else (15.3, 0.0)
    places = []
    for zone in zones:
        x, y = to(zone, lon, lat)
        if zone == "EPSG:32701":  # of -180 degrees
            x, y = to(zone, -180.0, lat)
        places.append(Place(crs=zone, left=x // 10 * 10 - 300, top=y // 10 * 10 + 300))
    scenes = [scene for place in places for scene in scenes_of(place)]
    archive = write_archive(tmp_path / "archive", scenes)
    size = 0.0015
    west = lon - size
    east = lon + size - (360 if lon + size > 180 else 0)
    area = (west, lat - size, east, lat + size)
    season = cubecrop.Season(YEAR)  # that of the north, as the model's
    run = mapped(area, tmp_path / "run", archive, model, season=season)
    assert run.is_complete
    assert {f"EPSG:{tile[:5]}" for tile in run.table["tile"]} == set(zones)
    assert (run.table["state"] == "done").all()
    plan = region.RegionPlan.read(run.output)
    pixels = dict(zip(run.table["tile"], run.table["pixels"], strict=True))
    assert all(pixels[tile.id] == n_owned(tile) for tile in plan.tiles)
    with rioxarray.open_rasterio(run.output.folder / "crop_type.vrt") as joined:
        share = float((joined.to_numpy() != NODATA).mean())
    assert share > 0.8
