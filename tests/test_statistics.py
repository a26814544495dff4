"""Mean, deviation and count of all pixels of parcels, compared with a plain loop."""

import subprocess
import sys

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely
import xarray as xr

from cubecrop.errors import ParcelError, SchemaError
from cubecrop.sample import parcel_statistics, sample_pixel_sets
from cubecrop.sample.moments import _add_up, add_up, moments
from cubecrop.sample.zonal import pixels_of
from cubecrop.testing import forbid_compute

SIDE, DATES, BANDS = 40, 4, 3
LEFT, TOP = 500_000, 5_600_000
CRS = "EPSG:32631"


def series(values, time):
    return xr.Dataset(
        {"reflectance": (("time", "band", "y", "x"), values, {"units": "1"})},
        coords={
            "time": time,
            "band": [f"B{i:02d}" for i in range(values.shape[1])],
            "acquisitions": ("time", np.ones(len(time), np.int16)),
            "y": TOP - 10 * np.arange(values.shape[2]) - 5.0,
            "x": LEFT + 10 * np.arange(values.shape[3]) + 5.0,
            "spatial_ref": ((), 0, {"crs_wkt": pyproj.CRS(CRS).to_wkt()}),
        },
    )


@pytest.fixture
def cube():
    """Reflectance with clouds, a band with holes of its own, and radar of other dates."""
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 1, (DATES, BANDS, SIDE, SIDE)).astype(np.float32)
    values[1, :, :25] = np.nan
    values[:, 2][rng.uniform(size=(DATES, SIDE, SIDE)) < 0.2] = np.nan
    values[2, 0, 3, 3] = np.inf
    optical = series(values, pd.date_range("2024-04-01", periods=DATES, freq="10D"))
    radar = series(values[:2, :2] * 10 - 20, pd.date_range("2024-04-03", periods=2))
    radar = radar.rename(reflectance="backscatter")
    radar["backscatter"].attrs["units"] = "dB"
    root = optical[["y", "x", "spatial_ref"]].assign_attrs(season_year=2024)
    return xr.DataTree.from_dict({"/": root, "sentinel2": optical, "sentinel1": radar})


def chunk_runs(order, starts, rows, columns, lengths):
    kinds = np.int64, np.int64, np.int32, np.int32, np.int32
    given = order, starts, rows, columns, lengths
    return [np.array(one, kind) for one, kind in zip(given, kinds, strict=True)]


def square(row, column, height, width):
    left, top = LEFT + column * 10, TOP - row * 10
    return shapely.box(left, top - height * 10, left + width * 10, top)


def table(*shapes):
    ids = [f"p{i}" for i in range(len(shapes))]
    return gpd.GeoDataFrame({"id": ids}, geometry=list(shapes), crs=CRS)


def many():
    """Parcels of every kind: small, overlapping, with a hole, in parts, partly or all outside."""
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 30, (20, 2))
    turned = [
        shapely.affinity.rotate(square(r, c, *rng.uniform(1, 12, 2)), rng.uniform(0, 180))
        for r, c in corners
    ]
    ring = square(5, 5, 20, 20).difference(square(10, 10, 8, 8))
    parts = shapely.union_all([square(2, 2, 3, 3), square(30, 30, 4, 4)])
    return table(
        *turned, ring, parts, square(3.2, 3.2, 0.3, 0.3), square(38, 38, 5, 5),
        square(-9, 0, 3, 3), None, square(0, 0, SIDE, SIDE),
    )  # fmt: skip


def by_a_loop(values, parcels):
    """Mean, deviation and count (parcel, time, band), with numpy's own functions."""
    found = pixels_of(parcels.geometry.to_numpy(), 10.0)
    mean = np.full((len(parcels), *values.shape[:2]), np.nan)
    std, count = mean.copy(), np.zeros(mean.shape, int)
    for i, stop in enumerate(np.cumsum(found.counts)):
        part = slice(stop - found.counts[i], stop)
        rows, columns = found.rows[part] + TOP // 10, found.columns[part] - LEFT // 10
        inside = (rows >= 0) & (rows < SIDE) & (columns >= 0) & (columns < SIDE)
        held = values[..., rows[inside], columns[inside]].astype(np.float64)
        for at in np.ndindex(values.shape[:2]):
            valid = held[at][np.isfinite(held[at])]
            if len(valid):
                mean[i][at], std[i][at], count[i][at] = valid.mean(), valid.std(), len(valid)
    return mean, std, count


def check(node, expected):
    for name, values in zip(("mean", "std", "count"), expected, strict=True):
        np.testing.assert_allclose(node[name], values, rtol=3e-7, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    "chunks", [{}, {"y": 40, "x": 40}, {"y": 7, "x": 11}, {"time": 1, "band": 2, "y": 16, "x": 13}]
)
def test_statistics_are_those_of_a_loop_however_the_cube_is_chunked(cube, chunks):
    parcels = many()
    expected = {name: by_a_loop(cube[name].dataset.to_dataarray()[0].to_numpy(), parcels)
                for name in ("sentinel2", "sentinel1")}  # fmt: skip
    if chunks:
        cube = cube.chunk(chunks)
    found = parcel_statistics(cube, parcels).load()
    for name, values in expected.items():
        check(found[name], values)
    assert (expected["sentinel2"][2] > 0).any(axis=(1, 2)).sum() == len(parcels) - 2
    assert found["sentinel2/mean"].dtype == found["sentinel2/std"].dtype == np.float32
    assert found["sentinel2/count"].dtype == np.int32


def test_blocks_of_parcels_change_nothing(cube, monkeypatch):
    cube, parcels = cube.chunk(y=16, x=16), many()
    whole = parcel_statistics(cube, parcels).load()
    monkeypatch.setattr("cubecrop.sample.statistics._BLOCK_BYTES", 12 * DATES * BANDS * 4)
    few = parcel_statistics(cube, parcels)
    assert few["sentinel2/mean"].chunks[0] == (4, 4, 4, 4, 4, 4, 3)
    for node in ("sentinel2", "sentinel1"):
        xr.testing.assert_identical(few[node].to_dataset().load(), whole[node].to_dataset())


def test_the_form_of_statistics(cube):
    parcels = many()
    with forbid_compute():
        found = parcel_statistics(cube.chunk(y=16, x=16), parcels)
    sets = sample_pixel_sets(cube, parcels)
    assert found["sentinel2/mean"].dims == ("parcel", "time", "band")
    for name in ("parcel", "lon", "lat", "pixel_count"):
        xr.testing.assert_identical(found[name].variable, sets[name].variable)
    assert found.attrs == {"season_year": 2024}
    assert set(found["sentinel2"].to_dataset(inherit=False).coords) == {
        "time", "band", "acquisitions",
    }  # fmt: skip
    assert found["sentinel2/std"].attrs["units"] == found["sentinel2/count"].attrs["units"] == "1"
    assert found["sentinel1/mean"].attrs["units"] == "dB"


def test_the_pixels_are_those_of_pixel_sets(cube):
    """Where a set is large enough to hold a whole parcel, its mean is the parcel's."""
    parcels = many()
    sets = sample_pixel_sets(cube, parcels, n_pixels=SIDE**2, inset=10).load()
    found = parcel_statistics(cube, parcels, inset=10).load()
    drawn = sets["sentinel1/backscatter"].mean("pixel", skipna=True)
    np.testing.assert_allclose(found["sentinel1/mean"], drawn, rtol=1e-5)


def test_three_by_three_by_hand():
    values = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)
    child = series(values, pd.date_range("2024-04-01", periods=1))
    tree = xr.DataTree.from_dict({"/": child[["y", "x", "spatial_ref"]], "sentinel2": child})
    found = parcel_statistics(
        tree, table(square(0, 0, 2, 2), square(0, 0, 3, 3), square(1, 1, 1, 1))
    )
    node = found["sentinel2"].dataset.isel(time=0, band=0).load()
    assert node["mean"].to_numpy().tolist() == [3, 5, 5]
    # 1, 2, 4, 5: squares of 2, 1, 1, 2 over 4 pixels; 1 to 9: 60 over 9; and one pixel.
    np.testing.assert_allclose(node["std"], [np.sqrt(10 / 4), np.sqrt(60 / 9), 0])
    assert node["count"].to_numpy().tolist() == [4, 9, 1]


def test_far_from_zero_no_digit_is_lost():
    """Deviations of a thousandth at ten million: in float32 sums of squares nothing is left."""
    rng = np.random.default_rng(0)
    values = (1e7 + rng.normal(0, 1e-3, (1, 1, SIDE, SIDE))).astype(np.float64)
    runs = chunk_runs([0], [0, SIDE], range(SIDE), [0] * SIDE, [SIDE] * SIDE)
    count, mean, squares = moments(values, *runs)
    assert count.item() == SIDE**2
    assert mean.item() == pytest.approx(values.mean(), rel=1e-15)
    assert np.sqrt(squares.item() / SIDE**2) == pytest.approx(values.std(), rel=1e-6)


def test_arrays_of_every_layout_give_the_same():
    rng = np.random.default_rng(0)
    values = rng.uniform(size=(3, 2, 9, 8)).astype(np.float32)
    runs = chunk_runs([1, 0], [0, 2, 3], [1, 2, 8], [0, 3, 1], [4, 5, 7])
    expected = moments(values, *runs)
    wide = np.full((3, 2, 20, 30), np.nan, np.float32)
    wide[..., 5:14, 7:15] = values
    for other in (
        wide[..., 5:14, 7:15],
        np.asfortranarray(values),
        values.astype(">f4"),
        values[..., ::-1].copy()[..., ::-1],
    ):
        for found, right in zip(moments(other, *runs), expected, strict=True):
            np.testing.assert_array_equal(found, right)
    same = np.broadcast_to(np.float32(0.25), values.shape)
    count, mean, squares = moments(same, *runs)
    assert count[0, 0].tolist() == [9, 7]
    assert (mean == 0.25).all()
    assert (squares == 0).all()
    assert moments(values[:0], *runs)[0].shape == (0, 2, 2)


def test_the_compiled_kernel_equals_its_python_source():
    rng = np.random.default_rng(0)
    plane = rng.uniform(size=50 + 8).astype(np.float32)
    plane[rng.uniform(size=len(plane)) < 0.3] = np.nan
    runs = chunk_runs([0, 2, 1], [0, 2, 3, 3], [0, 1, 3], [2, 0, 5], [5, 9, 4])
    found = []
    for kernel in (_add_up, add_up):
        out = np.zeros(3, np.int64), np.zeros(3), np.zeros(3)
        kernel(plane, 10, *runs, np.empty(14 + 8, np.float32), *out)
        found.append(out)
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)
    assert found[0][0].tolist()[2] == 0


def test_runs_of_every_length_up_to_the_last_pixel_give_their_own_values():
    """Pixels are copied eight at a time: none beyond a run counts, nor beyond the plane."""
    rng = np.random.default_rng(0)
    values = rng.uniform(size=(1, 1, 20, 20)).astype(np.float32)
    lengths = range(1, 21)
    runs = chunk_runs(range(20), range(21), range(20), [20 - n for n in lengths], lengths)
    count, mean, squares = (one[0, 0] for one in moments(values, *runs))
    ends = [values[0, 0, n - 1, 20 - n :].astype(np.float64) for n in lengths]
    assert count.tolist() == list(lengths)
    np.testing.assert_allclose(mean, [one.mean() for one in ends], rtol=1e-13)
    np.testing.assert_allclose(squares / count, [one.var() for one in ends], rtol=1e-12, atol=1e-16)


def test_no_parcel_at_all(cube):
    found = parcel_statistics(cube, table()).load()
    assert found["sentinel2/mean"].shape == found["sentinel2/count"].shape == (0, DATES, BANDS)


def test_parcels_outside_of_the_cube_have_no_pixel(cube):
    found = parcel_statistics(cube, table(square(3 * SIDE, 4, 5, 6), square(-90, 0, 1, 1))).load()
    assert found.sizes["parcel"] == 2
    assert not found["sentinel2"]["count"].any()
    assert np.isnan(found["sentinel2"]["mean"]).all()


def test_what_cannot_be_summarised_is_refused(cube):
    with pytest.raises(SchemaError, match="inset"):
        parcel_statistics(cube, many(), inset=-1)
    with pytest.raises(ParcelError, match="duplicated"):
        parcel_statistics(cube, many().assign(id="a"))
    with pytest.raises(SchemaError, match="expected at least one satellite series"):
        parcel_statistics(xr.DataTree(cube.to_dataset()), many())


def test_importing_needs_no_numba():
    code = "import sys, cubecrop.sample; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_against_exactextract():
    exactextract = pytest.importorskip("exactextract")
    from exactextract.raster import NumPyRasterSource

    rng = np.random.default_rng(0)
    values = rng.uniform(size=(1, 1, SIDE, SIDE)).astype(np.float32)
    child = series(values, pd.date_range("2024-04-01", periods=1))
    tree = xr.DataTree.from_dict({"/": child[["y", "x", "spatial_ref"]], "sentinel2": child})
    parcels = table(square(3, 4, 5, 6), square(20, 0, 1, 1), square(0, 0, SIDE, SIDE))
    edges = (LEFT, TOP - 10 * SIDE, LEFT + 10 * SIDE, TOP)
    source = NumPyRasterSource(values[0, 0].astype(float), *edges)
    theirs = exactextract.exact_extract(
        source, parcels, ["mean", "stdev", "count"], output="pandas"
    )
    node = parcel_statistics(tree, parcels)["sentinel2"].dataset.isel(time=0, band=0).load()
    for name, their in (("mean", "mean"), ("std", "stdev"), ("count", "count")):
        np.testing.assert_allclose(node[name], theirs[their], rtol=1e-6)
