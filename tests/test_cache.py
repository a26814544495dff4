"""Pixel sets stored on disk."""

import geopandas as gpd
import numpy as np
import pytest
import xarray as xr
import zarr
from samples import as_in_files, make_samples, with_weather
from shapely import Point

import cubecrop
import cubecrop.pipeline.tiled_samples as tiled_samples
from cubecrop.errors import OutputError, ReadError, SchemaError
from cubecrop.sample import cache_key, fewer_pixels, join_stores, stored
from cubecrop.sample.shards import OFFSET, SCALE, ShardedRows


def no_making(*_):
    raise AssertionError("it was made again")


def joined(store):
    """The pixel sets of one store."""
    n = store.about.sizes["parcel"]
    ((sets, members),) = join_stores([store], [np.arange(n)], np.zeros(n, int))
    assert members.tolist() == list(range(n))
    return sets


@pytest.fixture
def samples():
    return as_in_files(with_weather(make_samples(n=6)[0]))


def test_what_comes_back_is_what_was_stored(samples, tmp_path):
    sets = joined(stored(tmp_path, "key", lambda: samples))
    again = sets.load(np.arange(6))
    samples.name = again.name
    xr.testing.assert_identical(samples, again)
    for node in samples.subtree:
        for name, variable in node.variables.items():
            assert again[node.path].variables[name].dtype == variable.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    some = sets.take(np.array([4, 0]))
    xr.testing.assert_identical(some.load(np.arange(2)), samples.isel(parcel=[4, 0]))
    xr.testing.assert_identical(sets.load(np.arange(6), 2), fewer_pixels(samples, 2))
    with pytest.raises(SchemaError, match="are on disk"):
        sets.tree["sentinel2"]["reflectance"].compute()
    with pytest.raises(SchemaError, match="n_pixels is 9"):
        sets.load(np.arange(6), 9)


def test_every_number_of_a_file_is_stored_without_loss():
    numbers = np.arange(65535, dtype=np.float64)
    for scale, offset in ((SCALE, OFFSET), (1e-4, 0.0)):
        inside = numbers if offset else numbers[: 65535 - 1000]
        values = (inside * scale + offset).astype(np.float32)
        packed = np.rint((values.astype(np.float64) - OFFSET) / SCALE)
        np.testing.assert_array_equal((packed * SCALE + OFFSET).astype(np.float32), values)


def test_reflectance_takes_two_bytes_where_that_loses_nothing(samples, tmp_path):
    store = stored(tmp_path, "as in files", lambda: samples)
    assert [rows.dtype for rows in store.rows["sentinel2"]] == [np.uint16]
    assert [rows.dtype for rows in store.rows["sentinel1"]] == [np.float32]
    between = samples.copy(deep=True)
    between["sentinel2"]["reflectance"][0] += 3e-5
    store = stored(tmp_path, "between numbers", lambda: between)
    assert [rows.dtype for rows in store.rows["sentinel2"]] == [np.float32]
    again = joined(store).load(np.arange(6))
    xr.testing.assert_identical(again["sentinel2"], between["sentinel2"])


def test_rows_are_those_that_zarr_reads(tmp_path):
    samples = as_in_files(make_samples(n=200, dates=(3, 2))[0])
    stored(tmp_path, "key", lambda: samples)
    for name, kind in (("sentinel2", "packed"), ("sentinel1", "values")):
        folder = tmp_path / "key" / "pixels.zarr" / name / kind
        rows, array = ShardedRows(folder), zarr.open_array(folder, mode="r")
        assert rows.shape == array.shape
        assert len(list(folder.rglob("c/*/*/*/*"))) < 5  # files
        out = np.empty(rows.shape[1:], rows.dtype)
        for row in (0, 63, 64, 199):
            assert rows.read(row, out)
            np.testing.assert_array_equal(out, array[row])


@pytest.mark.parametrize("damage", ["changed", "lost", "unsealed", "torn seal"])
def test_a_damaged_store_is_made_anew(samples, tmp_path, damage):
    stored(tmp_path, "key", lambda: samples)
    chunk = next(p for p in (tmp_path / "key").rglob("sentinel2/packed/c/**/*") if p.is_file())
    seal = tmp_path / "key" / "seal.json"
    if damage == "changed":
        content = bytearray(chunk.read_bytes())
        content[len(content) // 2] ^= 1
        chunk.write_bytes(content)
    elif damage == "lost":
        chunk.unlink()
    elif damage == "unsealed":
        seal.unlink()
    else:
        seal.write_text("{")
    made = []
    stored(tmp_path, "key", lambda: made.append(1) or samples)
    assert made
    again = joined(stored(tmp_path, "key", no_making)).load(np.arange(6))
    xr.testing.assert_identical(again["sentinel2"], samples["sentinel2"])


def test_damage_while_a_store_is_read_names_the_file(samples, tmp_path):
    sets = joined(stored(tmp_path, "key", lambda: samples))
    chunk = next(p for p in (tmp_path / "key").rglob("sentinel2/packed/c/**/*") if p.is_file())
    content = bytearray(chunk.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    chunk.write_bytes(content)
    with pytest.raises(ReadError, match="sentinel2/packed"):
        sets.load(np.arange(6))


def test_a_failed_write_leaves_nothing(tmp_path):
    def fails():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored(tmp_path / "cache", "key", fails)
    assert not (tmp_path / "cache" / "key").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        stored(tmp_path / "file", "key", lambda: make_samples(n=3)[0])


def test_a_store_that_another_process_made_meanwhile_stays(samples, tmp_path):
    def make():
        stored(tmp_path, "key", lambda: samples, progress=False)
        made.append((tmp_path / "key").stat().st_ino)
        return samples

    made = []
    store = stored(tmp_path, "key", make, progress=False)
    # The other process may be reading it.
    assert (tmp_path / "key").stat().st_ino == made[0]
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert len(joined(store)) == samples.sizes["parcel"]


def test_the_key_depends_on_every_input(samples):
    parcels = gpd.GeoDataFrame(
        {"id": range(6)}, geometry=[Point(i, 0).buffer(1) for i in range(6)], crs="EPSG:32631"
    )
    moved = parcels.set_geometry(parcels.translate(1))
    renamed = parcels.assign(id=[str(one) for one in parcels["id"]])
    other = make_samples(n=6, dates=(8, 7))[0]
    items = samples.copy()
    items.attrs["items"] = ["S2A"]
    keys = [
        cache_key(samples, parcels, {"resolution": 10}),
        cache_key(samples, parcels, {"resolution": 20}),
        cache_key(samples, moved, {"resolution": 10}),
        cache_key(samples, renamed, {"resolution": 10}),
        cache_key(samples, parcels.iloc[::-1], {"resolution": 10}),
        cache_key(samples, parcels.set_crs("EPSG:32632", allow_override=True), {"resolution": 10}),
        cache_key(other, parcels, {"resolution": 10}),
        cache_key(items, parcels, {"resolution": 10}),
    ]
    assert len(set(keys)) == len(keys)
    assert cache_key(samples.copy(), parcels.copy(), {"resolution": 10}) == keys[0]


def test_training_from_the_cache_reads_no_image(tmp_path, monkeypatch):
    place = cubecrop.simulate_archive(
        tmp_path / "archive", years=[2024], size_km=0.6, seed=4, progress=False
    )
    parcels = gpd.read_parquet(place / "parcels-2024.parquet")
    config = cubecrop.TrainConfig(epochs=1, n_pixels=8)

    def train():
        return cubecrop.train(
            parcels, "crop:name", 2024, archive=place, config=config,
            cache=tmp_path / "cache", progress=False,
        )  # fmt: skip

    first = train()
    monkeypatch.setattr(tiled_samples, "sample_pixel_sets", no_making)
    assert train().digest == first.digest
    assert np.isfinite(first.scores["held out"]["accuracy"])
