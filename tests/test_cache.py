"""Pixel sets cached on disk."""

import geopandas as gpd
import numpy as np
import pytest
import xarray as xr
from samples import make_samples
from shapely import Point

import cubecrop
import cubecrop.pipeline.learn as learn
from cubecrop.errors import OutputError
from cubecrop.sample import cache_key, cached


def no_making():
    raise AssertionError("it was made again")


@pytest.fixture
def samples():
    return make_samples(n=6)[0]


def test_what_comes_back_is_what_was_stored(samples, tmp_path):
    assert cached(tmp_path, "key", lambda: samples) is samples
    again = cached(tmp_path, "key", no_making)
    xr.testing.assert_identical(samples, again)
    for node in samples.subtree:
        for name, variable in node.variables.items():
            assert again[node.path].variables[name].dtype == variable.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("damage", ["changed", "lost", "unsealed", "torn seal"])
def test_a_damaged_cache_is_made_anew(samples, tmp_path, damage):
    cached(tmp_path, "key", lambda: samples)
    chunk = next((tmp_path / "key").rglob("reflectance/0.*"))
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
    cached(tmp_path, "key", lambda: made.append(1) or samples)
    assert made
    xr.testing.assert_identical(cached(tmp_path, "key", no_making), samples)


def test_a_failed_write_leaves_nothing(tmp_path):
    def fails():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path / "cache", "key", fails)
    assert not (tmp_path / "cache").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        cached(tmp_path / "file", "key", lambda: make_samples(n=3)[0])


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
    monkeypatch.setattr(learn, "_loaded", lambda *_: no_making())
    assert train().digest == first.digest
    assert np.isfinite(first.scores["held out"]["accuracy"])
