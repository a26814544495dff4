"""Which parcels a model was trained on: by id and place, in any form of table."""

from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import shapely
from samples import make_samples

import cubecrop
from cubecrop.errors import ModelFormatError
from cubecrop.model import CropModel
from cubecrop.pipeline.known import fingerprints, parts_known

N = 300
PART = np.array(["train", "held out", "unlabelled"] * (N // 3), dtype=object)
EXPECTED = ["train", "held out", "unseen"] * (N // 3)


@pytest.fixture(scope="module")
def parcels():
    """Slanted parcels of up to 500 m, all over a UTM zone."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(3e5, 7e5, N), rng.uniform(4.8e6, 6.2e6, N)
    size = rng.uniform(5, 500, N)
    corners = np.array([(0, 0), (1, 0.2), (0.8, 1.1), (-0.1, 0.7)])
    rings = np.stack([x, y], axis=1)[:, None] + size[:, None, None] * corners
    return gpd.GeoDataFrame(
        {"id": range(1, N + 1)}, geometry=shapely.polygons(rings), crs="EPSG:32631"
    )


@pytest.fixture(scope="module")
def bare():
    samples, labels = make_samples(n=6)
    config = cubecrop.TrainConfig(epochs=1, n_pixels=2)
    return cubecrop.fit(samples, labels, config=config, progress=False)


@pytest.fixture
def model(bare, parcels):
    return replace(bare, parcels_seen=fingerprints(parcels, PART))


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table,
        lambda table: table.to_crs("EPSG:4326"),
        lambda table: table.to_crs("EPSG:3035"),
        lambda table: table.to_crs("EPSG:3857"),
        lambda table: table.assign(id=table["id"].astype(str)),
        lambda table: table.assign(id=table["id"].astype(float)),
        lambda table: table.set_geometry(table.buffer(-1)),
        lambda table: table.set_geometry(table.geometry.map(lambda g: shapely.MultiPolygon([g]))),
    ],
)
def test_a_parcel_is_known_in_any_form(model, parcels, change):
    assert parts_known(model, change(parcels)) == EXPECTED


def test_the_order_of_parcels_changes_nothing(model, parcels):
    assert parts_known(model, parcels.iloc[::-1]) == EXPECTED[::-1]
    turned = fingerprints(parcels.iloc[::-1], PART[::-1])
    for name in ("train", "held out"):
        np.testing.assert_array_equal(turned[name], model.parcels_seen[name])


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.assign(id=table["id"] + 1000),
        lambda table: table.set_geometry(table.translate(500, 0)),
        lambda table: table.set_geometry(table.translate(0, -500)),
        lambda table: table.set_crs("EPSG:32632", allow_override=True),
        lambda table: table.set_geometry([None] * N),
        lambda table: table.set_geometry([shapely.Polygon()] * N),
    ],
)
def test_the_same_numbers_elsewhere_are_other_parcels(model, parcels, change):
    assert set(parts_known(model, change(parcels))) == {"unseen"}


def test_a_place_at_the_antimeridian_has_one_fingerprint(bare):
    east = gpd.GeoDataFrame({"id": [1]}, geometry=[shapely.Point(179.99999, 0)], crs="EPSG:4326")
    west = east.set_geometry([shapely.Point(-179.99999, 0)])
    model = replace(bare, parcels_seen=fingerprints(east, np.array(["train"], dtype=object)))
    assert parts_known(model, west) == ["train"]


def test_a_model_without_fingerprints_gives_unknown(bare, parcels):
    assert set(parts_known(bare, parcels)) == {"unknown"}
    assert parts_known(bare, parcels.iloc[:0]) == []


def test_without_held_out_parcels_none_are_kept(bare, parcels, tmp_path):
    kept = fingerprints(parcels, np.full(N, "train", dtype=object))
    assert set(kept) == {"train"}
    model = replace(bare, parcels_seen=kept)
    again = CropModel.load(model.save(tmp_path / "model"))
    assert set(parts_known(again, parcels)) == {"train"}


def test_fingerprints_are_saved_with_the_model(model, bare, parcels, tmp_path):
    again = CropModel.load(model.save(tmp_path / "model"))
    assert again.digest == model.digest != bare.digest
    assert parts_known(again, parcels) == EXPECTED
    grown = (tmp_path / "model" / "model.safetensors").stat().st_size
    plain = (bare.save(tmp_path / "bare") / "model.safetensors").stat().st_size
    assert grown - plain < 8 * N + 300
    assert CropModel.load(tmp_path / "bare").parcels_seen == {}


def test_malformed_fingerprints_are_refused(bare, tmp_path):
    odd = replace(bare, parcels_seen={"train": np.zeros((2, 2), np.uint64)})
    with pytest.raises(ModelFormatError, match="expected one row of int64"):
        CropModel.load(odd.save(tmp_path / "model"))
