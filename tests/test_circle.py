"""Longitudes are a circle: areas, parcels, footprints, weather and maps beside 180 degrees."""

import datetime as dt
import json

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import rasterio
import shapely

import cubecrop
from cubecrop.aoi import parse_aoi
from cubecrop.archive import StacApiArchive, open_archive
from cubecrop.circle import arc_of, arcs_meet, bbox_of, cut_at_180, degrees_between, unwrap, wrap
from cubecrop.cube.grid import grid_for
from cubecrop.errors import AoiError
from cubecrop.pipeline.inputs import within_archive
from cubecrop.testing import Optical, Place, Radar, Weather, write_archive

ACROSS = (179.99, -17.0, -179.99, -16.98)
RING = shapely.Polygon([(179.99, -17), (-179.99, -17), (-179.99, -16.98), (179.99, -16.98)])
SIDES = [shapely.box(179.99, -17, 179.995, -16.98), shapely.box(-179.995, -17, -179.99, -16.98)]
YEAR = cubecrop.Season(2018, start=dt.date(2018, 1, 1), end=dt.date(2018, 12, 31))


@pytest.mark.parametrize(
    ("west", "east", "arc"),
    [
        ([3.0], [3.1], (3.0, 3.1)),
        ([179.9, -180], [180, -179.9], (179.9, 180.1)),
        ([181.5], [181.75], (-178.5, -178.25)),
        ([0, 178, -180], [20, 180, -179], (0, 181)),
        ([-180], [180], (-180, 180)),
        ([-180, 0], [0, 180], (-180, 180)),
    ],
)
def test_the_shortest_arc(west, east, arc):
    assert arc_of(west, east) == pytest.approx(arc)


def test_longitudes_wrap_and_are_compared_the_shorter_way_round():
    assert wrap([180, -180, 3.1, 180.1, 359]).tolist() == [180, -180, 3.1, -179.9, -1]
    assert degrees_between(179.5, -179.5) == 1
    assert arcs_meet((179, -179), (-179.5, -178))
    assert not arcs_meet((179, -179), (0, 5))


def test_shapes_are_cut_at_the_meridian_and_put_together_again():
    parts = cut_at_180(RING)
    assert [one.bounds for one in parts.geoms] == [
        (179.99, -17, 180, -16.98),
        (-180, -17, -179.99, -16.98),
    ]
    assert unwrap(parts).bounds == pytest.approx((179.99, -17, 180.01, -16.98))
    assert bbox_of(parts) == ACROSS
    globe = shapely.box(-180, -90, 180, 90)
    assert cut_at_180(globe) is globe


@pytest.mark.parametrize(
    "area",
    [
        ACROSS,
        "179.99,-17,-179.99,-16.98",
        (179.99, -17, 180.01, -16.98),
        (-180.01, -17, -179.99, -16.98),
        RING,
        shapely.MultiPolygon(
            [shapely.box(179.99, -17, 180, -16.98), shapely.box(-180, -17, -179.99, -16.98)]
        ),
        gpd.GeoSeries([RING], crs=4326),
        gpd.GeoSeries(SIDES, crs=4326),
        gpd.GeoSeries([SIDES[0], shapely.box(180.005, -17, 180.01, -16.98)], crs=4326),
        gpd.GeoSeries(SIDES, crs=4326).to_crs(32760),
        gpd.GeoSeries(SIDES, crs=4326).to_crs(32701),
        gpd.GeoSeries(SIDES, crs=4326).to_crs(3857),
        gpd.GeoSeries(SIDES, crs=4326).to_crs(4167),
    ],
)
def test_an_area_across_the_meridian_is_one_small_area(area):
    aoi = parse_aoi(area)
    assert aoi.bbox == pytest.approx(ACROSS, abs=2e-3)
    parts = sorted(part.bounds for part in aoi.lonlat.geoms)
    assert (parts[0][0], parts[-1][2]) == (-180, 180)
    assert max(part[2] - part[0] for part in parts) < 0.02
    grid = grid_for(aoi)
    assert str(grid.crs) in {"EPSG:32760", "EPSG:32701"}
    assert max(grid.shape) < 300
    assert "lon 179.9" in str(aoi)


def test_longitudes_of_0_to_360():
    assert parse_aoi((181.5, 65, 181.6, 65.1)).bbox == pytest.approx((-178.5, 65, -178.4, 65.1))
    assert str(grid_for(parse_aoi(shapely.box(181.5, 65, 181.6, 65.1))).crs) == "EPSG:32601"


def test_areas_at_a_pole_are_refused_with_advice():
    for area in ((10, 85, 11, 86), gpd.GeoSeries([shapely.box(-1e5, -1e5, 1e5, 1e5)], crs=3413)):
        with pytest.raises(AoiError, match=r"outside of the UTM zones|surrounds a pole"):
            grid_for(parse_aoi(area))


@pytest.fixture(scope="module")
def fiji(tmp_path_factory):
    """A place of 600 m across the meridian, an archive of it, and parcels on both sides."""
    x, y = pyproj.Transformer.from_crs(4326, 32760, always_xy=True).transform(180.0, -16.8)
    left, top = round(x / 10) * 10.0 - 300, round(y / 10) * 10.0 + 300
    place = Place(crs="EPSG:32760", left=left, top=top)

    def dn(i):
        return lambda x, y: np.where(y > top - 300, 2000 + 500 * i, 4000 - 400 * i)

    days = ("03-01", "05-01", "06-15", "08-01")
    cells = Place(crs="EPSG:4326", left=178.5, top=-15.5, height=3, width=3, pixel=1.0)
    t = np.broadcast_to(np.array([280.0, 290.0, 300.0]), (1, 3, 3))
    times = len(np.arange("2018-01-01", "2019-01-01", dtype="M8[D]"))
    folder = write_archive(
        tmp_path_factory.mktemp("fiji"),
        [
            *(
                Optical(when=f"2018-{d}T22:10:21Z", dn=dn(i), place=place, tile="60KXF")
                for i, d in enumerate(days)
            ),
            Radar(when="2018-05-02T06:00:00Z", place=place),
            Weather(
                start="2018-01-01", end="2018-12-31", place=cells,
                variables={"temperature_mean": (np.repeat(t, times, axis=0), "K")},
            ),
        ],
    )  # fmt: skip
    boxes = [
        shapely.box(left + a + 10, top - b - 90, left + a + 90, top - b - 10)
        for b in range(0, 600, 100)
        for a in range(0, 600, 100)
    ]
    crops = ["taro" if i < 18 else "cane" for i in range(36)]
    parcels = gpd.GeoDataFrame({"id": range(36), "crop": crops}, geometry=boxes, crs=place.crs)
    return folder, parcels, place


def test_footprints_extents_and_days_across_the_meridian(fiji):
    folder, parcels, _ = fiji
    found = cubecrop.search(parcels, YEAR, archive=folder, modalities=["sentinel2", "sentinel1"])
    assert len(found) == 5
    # 22:10 UTC, twelve hours on or back.
    assert found.of("sentinel2")[0].solar_day in {dt.date(2018, 3, 1), dt.date(2018, 3, 2)}
    assert found.scenes[0].bbox[0] > 179 > -179 > found.scenes[0].bbox[2]
    source = open_archive(folder)
    west, _, east, _ = source.extent(["sentinel-2-l2a"]).bbox
    assert 0 < (east - west) % 360 < 0.01
    places = gpd.GeoDataFrame(
        {"id": [1, 2, 3]}, geometry=[RING, shapely.Point(3, -16.8), SIDES[0]], crs=4326
    )
    places = places.set_geometry(places.translate(0, 0.19))
    assert within_archive(places, source).tolist() == [True, False, False]


def test_files_of_one_zone_fill_the_cube_of_the_other(fiji):
    folder, parcels, _ = fiji
    for crs in ("EPSG:32760", "EPSG:32701"):
        cube = cubecrop.open_season(
            parcels, YEAR, archive=folder, crs=crs, modalities=["sentinel2"]
        )
        values = cube["sentinel2/reflectance"].isel(time=0, band=0).to_numpy()
        assert np.isfinite(values).mean() > 0.9
        assert values[3:20, 20:40].mean() == pytest.approx(0.1)  # the north
        assert values[-20:-3, 20:40].mean() == pytest.approx(0.3)


def test_a_file_without_stated_bounds_is_placed_by_its_footprint(fiji, tmp_path):
    folder, parcels, _ = fiji
    features = []
    for file in sorted(folder.glob("sentinel-2-l2a/*/*.json")):
        item = json.loads(file.read_text())
        for asset in item["assets"].values():
            asset["href"] = str(file.parent / asset["href"])
            asset.pop("proj:transform"), asset.pop("proj:shape")
        features.append({**item, "links": []})
    flat = folder / "flat.json"
    flat.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    cube = cubecrop.open_season(parcels, YEAR, archive=flat, modalities=["sentinel2"])
    assert cube["sentinel2"].sizes["time"] == 4


@pytest.mark.parametrize("turned", [False, True], ids=["-180 to 180", "0 to 360"])
def test_weather_cells_across_the_meridian(fiji, tmp_path, turned):
    import xarray as xr

    folder, parcels, _ = fiji
    store = xr.open_zarr(next(folder.glob("agera5-daily/*/agera5.zarr")), chunks=None)
    lon = store["longitude"].to_numpy()  # 179, 180, 181
    assert lon.tolist() == [179, 180, 181]
    store = store.assign_coords(longitude=lon if turned else (lon + 180) % 360 - 180)
    store.sortby("longitude").drop_encoding().to_zarr(tmp_path / "w.zarr", zarr_format=2)
    cube = cubecrop.open_season(
        parcels, YEAR, archive=folder, weather=tmp_path / "w.zarr",
        modalities=["sentinel2", "weather"],
    )  # fmt: skip
    weather = cube["weather/weather"]
    assert np.diff(weather["longitude"].to_numpy()).tolist() == [1, 1]
    assert weather.isel(time=0, variable=0, latitude=0).to_numpy().tolist() == [280, 290, 300]
    samples = cubecrop.sample_pixel_sets(cube, parcels.to_crs(4326))
    assert (samples["weather/weather"].isel(time=0, variable=0) == 290).all()
    assert (np.abs(samples["lon"]) > 179).all()


def test_a_map_across_the_meridian(fiji, tmp_path):
    folder, parcels, place = fiji
    model = cubecrop.train(
        parcels, "crop", 2018, archive=folder, season=YEAR, sensors=("sentinel2",),
        config=cubecrop.TrainConfig(epochs=2), progress=False,
    )  # fmt: skip
    (box,) = model.training.bboxes
    assert box[0] > 179 > -179 > box[2]
    crop_map = cubecrop.classify(
        parcels.to_crs(4326), 2018, archive=folder, season=YEAR, model=model
    )
    cubecrop.write_map(crop_map, tmp_path / "map", progress=False)
    item = json.loads((tmp_path / "map/item.json").read_text())
    west, _, east, _ = item["bbox"]
    assert west > 179 > -179 > east
    assert item["geometry"]["type"] == "MultiPolygon"
    with rasterio.open(tmp_path / "map/crop_type.tif") as raster:
        to_map = pyproj.Transformer.from_crs(place.crs, raster.crs, always_xy=True)
        south, north = (to_map.transform(place.left + 300, place.top - d)[1] for d in (550, 50))
        assert north > south
        assert max(raster.shape) < 80


def test_a_stac_api_is_asked_for_both_sides(monkeypatch):
    asked = []

    class Client:
        def search(self, *, bbox, **_):
            asked.append(bbox)
            return self

        def items_as_dicts(self):
            return []

    StacApiArchive._search(Client(), ["a"], cut_at_180(RING), None)
    assert asked == [(179.99, -17, 180, -16.98), (-180, -17, -179.99, -16.98)]
