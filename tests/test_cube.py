"""Season cubes are lazy and on one lattice, and their errors name the cause."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr
from cubes import DAY, NEXT, PLACE, RADAR_DAY, area, noise, season
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from cubecrop.aoi import parse_aoi
from cubecrop.cube import OdcBackend, open_season
from cubecrop.cube.grid import chunk_shape, cut, grid_for, lattice_of, pixel_centres, strips
from cubecrop.cube.sentinel2 import BYTES_AS_READ
from cubecrop.errors import AoiError, NoScenesError, ReadError, SchemaError
from cubecrop.lost_scenes import readings_of
from cubecrop.schema import SENTINEL2_BANDS, Status, check_season_cube
from cubecrop.testing import (
    Elevation,
    Optical,
    Place,
    Radar,
    Weather,
    forbid_compute,
    write_archive,
)


def test_opening_reads_no_pixel(archive, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a file was opened")

    monkeypatch.setattr("rasterio.open", refuse)
    with forbid_compute():
        cube = open_season(PLACE.bbox, 2018, archive=archive)
        check_season_cube(cube, needs=["sentinel2", "sentinel1", "weather", "terrain"])
        repr(cube)
    assert cube["sentinel2/reflectance"].chunks is not None
    with pytest.raises(AssertionError, match="dask computed"), forbid_compute():
        cube["terrain/terrain"].compute()


def test_what_a_cube_says_of_itself(archive):
    cube = open_season(area(PLACE), 2018, archive=archive)
    assert cube.attrs["season_year"] == 2018
    assert (cube.attrs["season_start"], cube.attrs["season_end"]) == (
        "2017-09-01",
        "2018-10-31",
    )
    assert cube.attrs["archive"] == archive.name
    assert len(cube.attrs["items"]) == len(cube.attrs["item_hrefs"]) == 9
    assert all(href.endswith(".json") for href in cube.attrs["item_hrefs"])
    said = dict(zip(cube.attrs["items"], cube.attrs["harmonisation"], strict=True))
    optical = {json.loads(path.read_text())["id"] for path in archive.glob("sentinel-2*/*/*.json")}
    assert {name for name, reason in said.items() if reason} == optical
    assert {said[name] for name in optical} == {"offset -0.1: baseline from 04.00 (baseline 05.10)"}
    reflectance = cube["sentinel2/reflectance"]
    assert reflectance.dims == ("time", "band", "y", "x")
    assert reflectance.shape == (4, 10, 60, 60)
    assert reflectance.dtype == np.float32
    assert reflectance.band.values.tolist() == list(SENTINEL2_BANDS)
    assert cube["sentinel2/status"].dtype == np.uint8
    assert cube["sentinel1"].orbit_state.values.tolist() == [
        "ascending", "descending", "ascending",
    ]  # fmt: skip
    assert cube["sentinel1"]["backscatter"].attrs["calibration"] == "gamma0"
    for name in ("sentinel2", "sentinel1", "terrain"):
        child = cube[name].to_dataset(inherit=False)
        assert child.rio.crs.to_epsg() == 32631
        assert child.rio.bounds() == PLACE.bounds
    assert (cube.x[0], cube.y[0]) == (500_005, 5_629_995)
    for child in ("sentinel2", "sentinel1", "weather"):
        time = cube[child].time.values
        assert (np.diff(time) > np.timedelta64(0)).all()


def test_a_missing_modality_is_an_absent_child(tmp_path):
    cube = season(tmp_path / "a", Optical(when=DAY))
    assert set(cube.children) == {"sentinel2"}
    cube = season(tmp_path / "b", Radar(when=RADAR_DAY), Elevation())
    assert set(cube.children) == {"sentinel1", "terrain"}
    cube = open_season(area(PLACE), 2018, archive=tmp_path / "b", modalities=["sentinel1"])
    assert set(cube.children) == {"sentinel1"}


def test_the_whole_graph_is_small(tmp_path):
    """150 items over a 110 km tile, from metadata alone: no file is there to be read."""
    folder = write_archive(tmp_path, [Optical(when=DAY, id="one")])
    tile = Place(height=10_980, width=10_980)
    item = json.loads((folder / "sentinel-2-l2a/one/one.json").read_text())
    item["geometry"]["coordinates"], item["bbox"] = [tile.footprint], list(tile.bbox)
    for asset in item["assets"].values():
        factor = 10_980 // 60
        asset["proj:shape"] = [side * factor for side in asset["proj:shape"]]
        asset["href"] = f"./sentinel-2-l2a/one/{asset['href'][2:]}"
    items = []
    for day in np.arange("2018-01-01", "2018-05-31", dtype="datetime64[D]"):
        properties = {**item["properties"], "datetime": f"{day}T10:56:21Z"}
        properties["s2:product_uri"] = f"S2A_MSIL2A_{str(day).replace('-', '')}T105621_X.SAFE"
        assets = {k: {**a, "href": a["href"] + f"?{day}"} for k, a in item["assets"].items()}
        items.append({**item, "id": str(day), "properties": properties, "assets": assets})
    file = folder / "items.json"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    with forbid_compute():
        cube = open_season(area(tile), 2018, archive=file)
    assert cube["sentinel2/reflectance"].shape == (150, 10, 10_980, 10_980)
    chunk = cube["sentinel2/reflectance"].data.chunksize
    assert np.prod(chunk) * 4 <= 1.5 * 600e6  # at an edge
    tasks = len(cube["sentinel2/reflectance"].__dask_graph__())
    tasks += len(cube["sentinel2/status"].__dask_graph__())
    assert tasks < 20_000


def test_weather_units_are_converted(tmp_path):
    days = np.arange(487)
    scene = Weather(
        start="2017-08-01",
        end="2018-11-30",
        variables={
            "Temperature_Air_2m_Mean_24h": (days / 10, "degC"),
            "temperature_max": (300.0, "K"),
            "Precipitation_Flux": (2.5, "mm/day"),
            "solar_radiation_flux": (1e6, "J m-2 day-1"),
            "wind_speed": (3.0, "m s-1"),
        },
    )
    found = season(tmp_path / "a", Optical(when=DAY), scene)["weather"]
    assert found.weather.dims == ("time", "variable", "latitude", "longitude")
    assert dict(zip(found["variable"].values, found.units.values, strict=True)) == {
        "temperature_mean": "K",
        "temperature_max": "K",
        "precipitation": "mm d-1",
        "solar_radiation": "J m-2 d-1",
    }
    assert found.time.values[0] == np.datetime64("2017-09-01")
    assert found.time.values[-1] == np.datetime64("2018-10-31")
    mean = found.weather.sel(variable="temperature_mean")[:, 0, 0]
    np.testing.assert_allclose(mean, 273.15 + days[31:-30] / 10, rtol=1e-6)
    np.testing.assert_array_equal(found.weather.sel(variable="precipitation"), 2.5)
    unknown = Weather(start="2018-01-01", end="2018-02-01", variables={"precipitation": (1, "m")})
    with pytest.raises(SchemaError, match=r"'precipitation' of item .* has unit 'm'"):
        season(tmp_path / "b", Optical(when=DAY), unknown)


@pytest.fixture
def broken(tmp_path):
    """A lazy cube of two dates, and the file of one band of the second."""
    scenes = [
        Optical(when=DAY, id="good"),
        Optical(when=NEXT, id="bad"),
        Radar(when=RADAR_DAY, id="s1"),
    ]
    folder = write_archive(tmp_path, scenes)
    cube = open_season(area(PLACE), 2018, archive=folder)
    return cube, folder / "sentinel-2-l2a" / "bad"


@pytest.mark.parametrize("asset", ["B11", "SCL"])
@pytest.mark.parametrize("harm", ["missing", "truncated", "vrt", "text"])
def test_a_broken_file_is_named_and_never_zeros(broken, asset, harm):
    cube, home = broken
    path = home / f"{asset}.tif"
    content = path.read_bytes()
    path.unlink()
    if harm == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "vrt":
        path.write_text('<VRTDataset rasterXSize="30" rasterYSize="30"></VRTDataset>')
    elif harm == "text":
        path.write_text("gone")
    with pytest.raises(ReadError, match=f"asset '{asset}' of item 'bad' cannot be read"):
        cube["sentinel2/reflectance"].compute()
    cube["sentinel1/backscatter"].compute()


@pytest.mark.parametrize("harm", ["missing", "truncated"])
def test_a_broken_band_under_cloud_is_named(tmp_path, harm):
    scenes = [Optical(when=DAY), Optical(when=NEXT, id="dark", scl=9, dn=noise)]
    folder = write_archive(tmp_path, scenes)
    cube = open_season(area(PLACE), 2018, archive=folder)
    path = folder / "sentinel-2-l2a" / "dark" / "B11.tif"
    content = path.read_bytes()
    path.unlink()
    if harm == "truncated":
        path.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(ReadError, match="asset 'B11' of item 'dark' cannot be read"):
        cube["sentinel2/reflectance"].compute()
    lost = open_season(area(PLACE), 2018, archive=folder, on_error="lost").load()
    assert (lost["sentinel2/status"][1] == Status.LOST).all()


def test_a_broken_file_is_named_by_a_cluster(broken):
    from distributed import Client, LocalCluster

    cube, home = broken
    (home / "B11.tif").unlink()
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, protocol="tcp", host="127.0.0.1",
            dashboard_address=":0",
        ) as cluster,
        Client(cluster),
        pytest.raises(ReadError, match="asset 'B11' of item 'bad' cannot be read"),
    ):  # fmt: skip
        cube["sentinel2/reflectance"].compute()


def test_a_broken_weather_store_is_named(tmp_path):
    weather = Weather(start="2018-01-01", end="2018-02-01", id="wet")
    folder = write_archive(tmp_path, [Optical(when=DAY), weather])
    for path in sorted((folder / "agera5-daily/wet/agera5.zarr").rglob(".z*")):
        path.unlink()
    with pytest.raises(ReadError, match="asset 'weather' of item 'wet'"):
        open_season(area(PLACE), 2018, archive=folder)


def test_bad_arguments_are_refused(archive):
    for chunks in (0, -1, 2.5, "auto", np.int64(0), np.float64(16)):
        with pytest.raises(SchemaError, match="side of a chunk"):
            open_season(PLACE.bbox, 2018, archive=archive, chunks=chunks)
    for resolution in (0, -10, float("nan"), float("inf")):
        with pytest.raises(SchemaError, match="metres above 0"):
            open_season(PLACE.bbox, 2018, archive=archive, resolution=resolution)
    for crs in ("EPSG:4326", "EPSG:2263", "nowhere"):
        with pytest.raises(SchemaError, match="crs"):
            open_season(PLACE.bbox, 2018, archive=archive, crs=crs)
    with pytest.raises(AoiError, match="tile by tile"):
        open_season((0, 45, 5, 50), 2018, archive=archive)
    for south in (86, -81):
        with pytest.raises(AoiError, match=r"outside of the UTM zones.*crs='EPSG:3413'"):
            open_season((3, south, 3.01, south + 0.01), 2018, archive=archive)
    with pytest.raises(NoScenesError, match=r"lon 10\.0000 to 10\.1000"):
        open_season((10, 45, 10.1, 45.1), 2018, archive=archive)
    beside = Place(left=PLACE.left - 600)
    with pytest.raises(NoScenesError, match="shares a pixel"):
        open_season(area(beside), 2018, archive=archive)


@settings(deadline=None, max_examples=50)
@given(
    st.floats(400_000, 600_000), st.floats(0, 9e6), st.floats(0.1, 5000), st.floats(0.1, 5000),
    st.sampled_from([10, 20, 7.5]),
)  # fmt: skip
def test_grids_are_windows_of_one_lattice(left, bottom, width, height, resolution):
    box = shapely.box(left, bottom, left + width, bottom + height)
    aoi = parse_aoi(gpd.GeoSeries([box], crs=32631))
    grid = grid_for(aoi, resolution=resolution, crs="EPSG:32631")
    slack = 2e-3 * resolution
    assert grid.boundingbox.left <= left + slack
    assert grid.boundingbox.bottom <= bottom + slack
    assert grid.boundingbox.right >= left + width - slack
    assert grid.boundingbox.top >= bottom + height - slack
    assert grid.boundingbox.right < left + width + resolution + slack
    window = lattice_of(grid).window(grid)
    y, x = pixel_centres(grid)
    assert x[0] == (window.column + 0.5) * resolution
    assert y[0] == -(window.row + 0.5) * resolution
    assert (window.height, window.width) == grid.shape == (len(y), len(x))


def test_an_area_on_the_lattice_does_not_grow():
    lonlat = area(PLACE).to_crs(4326).to_crs(32631)  # back, with rounding errors
    assert grid_for(parse_aoi(lonlat)).shape == (60, 60)


@pytest.mark.parametrize(("x", "y", "shape"), [(5, 5, (1, 1)), (0, 5, (1, 2)), (0, 0, (2, 2))])
def test_a_point_is_its_pixel_or_the_pixels_whose_edge_it_is_on(x, y, shape):
    point = gpd.GeoSeries([shapely.Point(500_000 + x, 5_630_000 + y)], crs=32631)
    assert grid_for(parse_aoi(point)).shape == shape


def test_chunks_keep_their_budget():
    for per_pixel in (1, 40, 4 * 10 * 150, 4 * 10 * 400, 10**7, 10**9):
        rows, columns = chunk_shape(per_pixel)
        assert rows * columns == 1 or rows * columns * per_pixel <= 600e6
        assert columns >= 4 or per_pixel == 10**9
    shapes = {
        1: (1024, 1024), 44: (1024, 1024), 45: (512, 1024), 88: (512, 1024), 89: (512, 512),
        140: (512, 512), 177: (512, 508), 400: (512, 224),
    }  # fmt: skip
    assert {dates: chunk_shape(BYTES_AS_READ * dates) for dates in shapes} == shapes
    assert isinstance(grid_for(parse_aoi(PLACE.bbox)), GeoBox)


def test_memory_decides_how_large_chunks_are():
    for memory in (1e9, 2e9, 4e9):
        rows, columns = chunk_shape(4 * 10 * 140, memory=memory)
        assert 0.9 * 0.3 * memory <= rows * columns * 4 * 10 * 140 <= 0.3 * memory


@pytest.mark.parametrize("dates", [1, 30, 70, 140, 400, 10**6])
def test_values_keep_their_budget_in_strips_of_chunks(dates):
    chunks = (640, 512, 500, 387), (512, 640)
    rows = strips(chunks, 40 * dates, memory=2e9)
    edges = np.cumsum((0, *rows))
    assert set(np.cumsum((0, *chunks[0]))) <= set(edges)
    assert max(rows) == 1 or max(rows) * 640 * 40 * dates <= 600e6
    if dates <= 400:
        assert {int(edge) for edge in edges if edge % 4} <= {1152 + 500 + 387}
    assert rows == chunks[0] or dates > 1


@pytest.mark.parametrize("backend", [None, OdcBackend()], ids=["default", "odc"])
def test_what_is_read_keeps_its_budget(archive, monkeypatch, backend):
    """The cube fits in one chunk only with pixels of 20 m as they are stored."""
    monkeypatch.setattr("cubecrop.cube.grid._SHARE", 1e-4)  # of 2 GB
    cube = open_season(area(PLACE), 2018, archive=archive, backend=backend)
    series = readings_of(cube["sentinel2/reflectance"].data)
    assert (series.numblocks == (1, 1)) == (backend is None)
    for part in series.to_delayed().ravel():
        assert part.compute().__sizeof__() <= 200_000


@pytest.mark.parametrize(("resolution", "size"), [(10.0, 512), (20.0, 256)])
def test_chunks_end_where_blocks_of_files_end(resolution, size):
    """A tile of 499,980 m and 5,700,000 m, whose blocks of 512 pixels are 5,120 m wide."""
    box = gpd.GeoSeries([shapely.box(503_000, 5_680_000, 515_000, 5_691_000)], crs=32631)
    grid = grid_for(parse_aoi(box), resolution=resolution)
    rows, columns = cut(grid, (size, size), (499_980.0, 5_700_000.0))
    pixels = [int(metres / resolution) for metres in (11_000, 12_000)]
    assert [sum(rows), sum(columns)] == pixels == list(grid.shape)
    tops = 5_691_000 - np.cumsum(rows)[:-1] * resolution
    lefts = 503_000 + np.cumsum(columns)[:-1] * resolution
    assert not ((5_700_000 - tops) % 5120).any()
    assert not ((lefts - 499_980) % 5120).any()
    for sizes in (rows, columns):
        assert set(sizes[1:-1]) <= {size}
        assert all(size / 4 <= one < size * 5 / 4 for one in sizes)  # no slivers
    assert cut(grid, (2048, 2048), (499_980.0, 5_700_000.0)) == tuple((n,) for n in grid.shape)


def test_a_cube_is_cut_where_its_files_are(tmp_path):
    """Not in equal parts, which would share blocks of the files."""
    place = Place(left=499_980, top=5_700_000, height=20, width=2600)
    folder = write_archive(tmp_path, [Optical(when=DAY, place=place), Elevation(place=place)])
    inside = gpd.GeoSeries([shapely.box(501_000, 5_699_850, 525_000, 5_699_950)], crs=32631)
    cube = open_season(inside, 2018, archive=folder)
    first = (499_980 + 10_240 - 501_000) // 10
    assert cube["terrain/terrain"].chunksizes["x"] == (first, 1024, 2400 - first - 1024)
    whole = open_season(inside, 2018, archive=folder, chunks=2400)
    xr.testing.assert_identical(cube.load(), whole.load())


def test_the_real_archive(flanders, real_season):
    parcels = flanders / "parcels.parquet"
    with forbid_compute():
        cube = open_season(parcels, 2018, archive=flanders)
    assert set(cube.children) == {"sentinel2", "sentinel1", "weather", "terrain"}
    items = [
        json.loads(path.read_text())["properties"]["datetime"][:10]
        for path in (flanders / "sentinel-2-l2a").glob("*/*.json")
    ]
    inside = {day for day in items if "2017-09-01" <= day <= "2018-10-31"}
    time = cube["sentinel2"].time.dt.strftime("%Y-%m-%d").values.tolist()
    assert sorted(time) == sorted(inside)
    assert cube["weather"].sizes["time"] == 426
    assert cube["sentinel1/backscatter"].attrs["calibration"] == "sigma0"
    cube = real_season
    clear = (cube["sentinel2/status"] == Status.CLEAR).mean(["y", "x"])
    assert 0.2 < float(clear.mean()) < 0.9
    reflectance = cube["sentinel2/reflectance"]
    assert float(reflectance.min()) > -0.1
    assert 0 < float(reflectance.median()) < 0.5
    backscatter = cube["sentinel1/backscatter"]
    assert float(np.isfinite(backscatter).mean()) > 0.95
    assert -25 < float(backscatter.median()) < 0
    elevation = cube["terrain/terrain"].sel(variable="elevation")
    assert 0 < float(elevation.min()) < float(elevation.max()) < 100
    temperature = cube["weather/weather"].sel(variable="temperature_mean")
    assert 250 < float(temperature.min()) < float(temperature.max()) < 310
