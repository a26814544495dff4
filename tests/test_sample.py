"""Pixel sets: which pixels are drawn, valid and read."""

import geopandas as gpd
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered import (
    CLOUDY_ROWS,
    LEFT,
    PLACE,
    TOP,
    drawn,
    open_cube,
    rectangle,
    square,
    table,
    write_numbered,
)

from cubecrop.cube import open_season
from cubecrop.errors import AoiError, LabelError, ParcelError, SchemaError
from cubecrop.sample import labels_of, read_parcels, reading_order, sample_pixel_sets
from cubecrop.testing import forbid_compute


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_numbered(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def cube(folder):
    """The season cube, lazy, in nine chunks."""
    return open_cube(folder, chunks=20)


# Form


def test_building_reads_nothing(cube, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a file was opened")

    monkeypatch.setattr("rasterio.open", refuse)
    with forbid_compute():
        samples = sample_pixel_sets(cube, table(square(0, 0, 5, 5), square(30, 30, 9, 9)))
        repr(samples)
    assert samples["sentinel2/reflectance"].chunks is not None


def test_the_form_of_pixel_sets(cube):
    parcels = table(square(0, 0, 5, 5), square(30, 30, 9, 9), ids=[7, 3], other=["a", "b"])
    samples = sample_pixel_sets(cube, parcels, n_pixels=16).load()
    child = samples["sentinel2"].to_dataset(inherit=False)
    assert child.sizes == {"parcel": 2, "time": 2, "band": 10, "pixel": 16}
    assert samples["sentinel2/reflectance"].dims == ("parcel", "time", "band", "pixel")
    assert samples["sentinel1/backscatter"].dims == ("parcel", "time", "band", "pixel")
    assert samples["weather/weather"].dims == ("parcel", "time", "variable")
    assert samples["terrain/terrain"].dims == ("parcel", "variable", "pixel")
    for name in ("sentinel2", "sentinel1"):
        assert samples[name].valid.dims == ("parcel", "time", "pixel")
        assert samples[name].valid.dtype == bool
    assert samples["sentinel2/reflectance"].dtype == np.float32
    assert samples.parcel.values.tolist() == [7, 3]
    assert samples["sentinel1"].orbit_state.values.tolist() == ["ascending"]
    np.testing.assert_array_equal(samples["sentinel2"].time, cube["sentinel2"].time)
    lonlat = parcels.to_crs(4326)
    west, south, east, north = lonlat.geometry.iloc[0].bounds
    assert west < float(samples.lon[0]) < east
    assert south < float(samples.lat[0]) < north
    assert samples.pixel_count.values.tolist() == [25, 81]
    assert (samples.attrs["n_pixels"], samples.attrs["seed"]) == (16, 0)
    assert samples.attrs["season_year"] == 2018


def test_pixels_are_those_of_the_parcel_in_every_child(cube):
    samples = sample_pixel_sets(cube, table(square(20, 30, 4, 6)), n_pixels=24).load()
    assert drawn(samples) == rectangle(20, 30, 4, 6)
    b02 = samples["sentinel2/reflectance"].sel(band="B02")[0, 0].values
    dn = np.round(b02.astype(float) * 1e4)
    vv = samples["sentinel1/backscatter"].sel(band="vv")[0, 0].values
    np.testing.assert_allclose(10 ** (vv / 10) * 1e4, dn, rtol=1e-5)
    elevation = samples["terrain/terrain"].sel(variable="elevation")[0].values
    np.testing.assert_allclose(elevation, dn)
    # The nearest of the cells at 50.9, 50.8, 50.7 north and 2.9, 3.0, 3.1 east.
    np.testing.assert_array_equal(samples["weather/weather"], 274)


# Validity


def test_padding_is_masked_and_never_invented(cube):
    samples = sample_pixel_sets(cube, table(square(30, 30, 2, 3)), n_pixels=10).load()
    for name, variable in (("sentinel2", "reflectance"), ("sentinel1", "backscatter")):
        valid = samples[name].valid[0].values
        assert valid[:, :6].all()
        assert not valid[:, 6:].any()
        assert np.isnan(samples[name][variable][0, :, :, 6:]).all()
        assert np.isfinite(samples[name][variable][0, :, :, :6]).all()
    assert np.isnan(samples["terrain/terrain"][0, :, 6:]).all()


def test_cloud_is_masked_on_its_date_alone(cube):
    parcels = table(square(CLOUDY_ROWS - 2, 5, 4, 1), square(0, 0, 5, 5), square(40, 40, 5, 5))
    samples = sample_pixel_sets(cube, parcels, n_pixels=30).load()
    valid = samples["sentinel2"].valid
    assert valid.sum("pixel").values.tolist() == [[4, 2], [25, 0], [25, 25]]
    np.testing.assert_array_equal(np.isfinite(samples["sentinel2/reflectance"]).all("band"), valid)
    assert samples["sentinel1"].valid.sum("pixel").values.ravel().tolist() == [4, 25, 25]


# Whose draw


@pytest.fixture(scope="module")
def fields():
    """Twelve parcels over all chunks, one of them over four."""
    shapes = [square(r, c, 8, 9) for r in (2, 22, 42) for c in (1, 21, 41)]
    return table(*shapes, square(15, 15, 12, 12), square(3, 3, 2, 2), square(50, 2, 1, 30))


@pytest.fixture(scope="module")
def sets(cube, fields):
    return sample_pixel_sets(cube, fields, n_pixels=20).load()


def same(found, expected):
    for name in expected.children:
        xr.testing.assert_identical(
            found[name].to_dataset(inherit=False), expected[name].to_dataset(inherit=False)
        )
    xr.testing.assert_identical(found.geometry, expected.geometry)


@settings(deadline=None, max_examples=4)
@given(order=st.permutations(range(12)), kept=st.integers(1, 12))
def test_order_and_other_parcels_change_nothing(cube, fields, sets, order, kept):
    chosen = order[:kept]
    found = sample_pixel_sets(cube, fields.iloc[chosen], n_pixels=20).load()
    same(found, sets.isel(parcel=chosen))


def test_chunks_change_nothing(folder, fields, sets):
    for chunks in (33, 4096):
        found = sample_pixel_sets(open_cube(folder, chunks=chunks), fields, n_pixels=20).load()
        same(found, sets)


def test_a_crop_of_the_cube_changes_nothing_within(folder, fields, sets):
    box = gpd.GeoSeries([square(20, 0, 40, 45)], crs=PLACE.crs)
    crop = open_season(box, 2018, archive=folder, chunks=13)
    inside = [3, 4, 6, 7, 11]
    found = sample_pixel_sets(crop, fields.iloc[inside], n_pixels=20).load()
    expected = sets.isel(parcel=inside)
    for name in ("sentinel2", "sentinel1", "terrain"):
        a, b = (tree[name].to_dataset().drop_vars("spatial_ref") for tree in (found, expected))
        xr.testing.assert_identical(a, b)


def test_seed_and_id_make_another_draw(cube, fields, sets):
    seeded = sample_pixel_sets(cube, fields, n_pixels=20, seed=1).load()
    renamed = sample_pixel_sets(cube, fields.assign(id=range(12)), n_pixels=20).load()
    assert drawn(seeded, 4) != drawn(sets, 4)
    assert drawn(renamed, 4) != drawn(sets, 4)
    assert drawn(sets, 4) < rectangle(22, 21, 8, 9)
    # Fewer pixels than are drawn leave no choice.
    assert drawn(seeded, 10) == drawn(renamed, 10) == rectangle(3, 3, 2, 2)


def test_reading_order_puts_neighbours_together(cube, fields):
    order = reading_order(cube, fields)
    assert sorted(order) == list(range(12))
    shuffled = fields.sample(frac=1, random_state=1)
    tasks = [
        len(sample_pixel_sets(cube, t)["sentinel2/reflectance"].__dask_graph__())
        for t in (shuffled, shuffled.iloc[reading_order(cube, shuffled)])
    ]
    assert tasks[1] <= tasks[0]


def test_a_table_in_any_order_is_gathered_chunk_by_chunk(cube):
    places = [(row, column) for row in range(0, 60, 5) for column in range(0, 60, 5)]
    parcels = table(*(square(row, column, 4, 4) for row, column in places))
    shuffled = parcels.sample(frac=1, random_state=1)
    ordered = shuffled.iloc[reading_order(cube, shuffled)]
    np.testing.assert_array_equal(reading_order(cube, ordered), range(len(ordered)))
    graphs = [
        sample_pixel_sets(cube, t)["sentinel2/reflectance"].__dask_graph__()
        for t in (shuffled, ordered)
    ]
    gathered = [sum(key[0].startswith("gather-") for key in graph) for graph in graphs]
    # Each of the nine chunks holds its parcels whole: a task gathers them, one hands them on.
    assert gathered == [18, 18]
    found = sample_pixel_sets(cube, shuffled)
    assert found.name == "pixel_sets"
    assert found["parcel"].values.tolist() == shuffled["id"].tolist()


# What is read


def test_one_parcel_reads_only_the_chunks_it_touches(cube, fields, monkeypatch):
    from cubecrop.cube import rasterio_backend as backend

    seen = set()
    read = backend.read_plane

    def counting(source, layer, lattice, need, request, **options):
        window = request.cells.window(request.cell)
        seen.add((window.row + TOP // 10, window.column - LEFT // 10))
        return read(source, layer, lattice, need, request, **options)

    monkeypatch.setattr(backend, "read_plane", counting)
    samples = sample_pixel_sets(cube, fields, n_pixels=20)
    for parcel, expected in (
        (4, {(20, 20)}),
        (9, {(0, 0), (0, 20), (20, 0), (20, 20)}),
        (11, {(40, 0), (40, 20)}),
    ):
        seen.clear()
        samples["sentinel2"].isel(parcel=[parcel]).load()
        assert seen == expected


# Bad tables


def test_bad_tables_are_refused(cube, tmp_path):
    good = table(square(20, 20, 5, 5), square(30, 30, 5, 5))
    with pytest.raises(ParcelError, match=r"duplicated, among them \['b'\]"):
        sample_pixel_sets(cube, good.assign(id="b"))
    with pytest.raises(ParcelError, match="1 parcels have no id"):
        sample_pixel_sets(cube, good.assign(id=["a", None]))
    with pytest.raises(ParcelError, match="no CRS"):
        sample_pixel_sets(cube, table(square(20, 20, 5, 5), crs=None))
    with pytest.raises(ParcelError, match="no 'id'"):
        sample_pixel_sets(cube, good.rename(columns={"id": "ID"}))
    with pytest.raises(ParcelError, match="is a DataFrame"):
        sample_pixel_sets(cube, good.drop(columns="geometry").set_index("id"))
    with pytest.raises(AoiError, match="no file"):
        sample_pixel_sets(cube, tmp_path / "nowhere.parquet")
    for n_pixels in (0, -1, 2.5):
        with pytest.raises(SchemaError, match="n_pixels"):
            sample_pixel_sets(cube, good, n_pixels=n_pixels)
    with pytest.raises(SchemaError, match=r"is a Dataset.*open_season"):
        sample_pixel_sets(cube.to_dataset(), good)


def test_cubes_chunked_along_time_are_refused(cube):
    parcels = table(square(20, 20, 5, 5))
    split = cube.map_over_datasets(lambda d: d.chunk(time=1) if "time" in d.dims else d)
    with pytest.raises(SchemaError, match="expected one chunk for time and band"):
        sample_pixel_sets(split, parcels)
    turned = cube.map_over_datasets(lambda d: d.transpose(..., "time") if "time" in d.dims else d)
    with pytest.raises(SchemaError, match="Reorder with"):
        sample_pixel_sets(turned, parcels)


def test_cubes_that_are_no_part_of_the_lattice_are_refused(cube, fields):
    every_second = slice(None, None, 2)
    for other in (
        cube.isel(x=slice(None, None, -1)),
        cube.isel(y=slice(None, None, -1)),
        cube.isel(x=every_second),
        cube.isel(x=every_second, y=every_second),
        cube.isel(x=[0, 1, 2, 5, 6]),
    ):
        with pytest.raises(SchemaError, match="pixels of the lattice"):
            sample_pixel_sets(other, fields)
    one = cube.isel(x=slice(3, 4))
    assert sample_pixel_sets(one, fields).sizes["parcel"] == len(fields)


def test_tables_and_labels(tmp_path):
    parcels = table(square(0, 0, 1, 1), square(5, 5, 1, 1), crop=[311.0, np.nan])
    parcels.to_parquet(tmp_path / "p.parquet")
    assert read_parcels(tmp_path / "p.parquet")["id"].tolist() == ["p0", "p1"]
    assert labels_of(parcels, "crop") == ["311", None]
    with pytest.raises(LabelError, match=r"no column 'crops'; choose .*\['crop'\]"):
        labels_of(parcels, "crops")


# The real archive


def test_the_real_parcels(flanders, real_season):
    parcels = gpd.read_parquet(flanders / "parcels.parquet")
    samples = sample_pixel_sets(real_season, parcels, n_pixels=64).load()
    np.testing.assert_array_equal(samples.pixel_count, parcels["area_m2"] / 100)
    assert samples.sizes["parcel"] == 19
    clear = samples["sentinel2"].valid.any("pixel").sum("time")
    assert (clear > 10).all()
    assert samples["sentinel1"].valid.any("pixel").all()
    assert np.isfinite(samples["weather/weather"]).all()
    taken = samples["sentinel1"].valid[:, 0].sum("pixel")
    np.testing.assert_array_equal(taken, np.minimum(samples.pixel_count, 64))
