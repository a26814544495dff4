"""End to end on a small simulated archive: train, classify, classify_parcels."""

import dask
import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from dask.base import tokenize
from small_region import LABEL, SEASON, YEAR, crop_map, tabled

import cubecrop
from cubecrop.errors import ModelMismatchError


def raises_if_computed(*_, **__):
    raise AssertionError("something was computed")


def test_training_scores_itself(model, declared):
    assert model.scores["train"]["accuracy"] > 0.8
    assert model.scores["held out"]["n"] + model.scores["train"]["n"] == len(declared)
    assert model.training.years == (YEAR,)
    counts = declared[LABEL].value_counts()
    alone = set(counts[counts == 1].index)
    assert set(model.training.never_held_out) == alone


def test_scores_are_those_of_the_table(model, table, declared):
    part = cubecrop.split_parcels(declared, LABEL, seed=0)
    for name in ("train", "held out"):
        mine = (part == name).to_numpy()
        right = (table[LABEL].to_numpy() == declared[LABEL].to_numpy())[mine].mean()
        assert right == pytest.approx(model.scores[name]["accuracy"])
    assert table["part"].tolist() == part.tolist()


def test_a_declared_column_of_that_name_is_kept_aside(place, declared, model):
    own = declared.iloc[:2].assign(part=["mine", "yours"]).to_crs("EPSG:4326")
    own.loc[own.index[1], "id"] = "never seen"
    found = cubecrop.classify_parcels(
        own, YEAR, archive=place, season=SEASON, model=model, progress=False
    )
    assert found["declared:part"].tolist() == ["mine", "yours"]
    first = cubecrop.split_parcels(declared, LABEL, seed=0).iloc[0]
    assert found["part"].tolist() == [first, "unseen"]
    shapes = [own.translate(3, 0).iloc[0], own.geometry.iloc[1]]
    away = own.set_geometry(shapes, crs=own.crs)
    found = cubecrop.classify_parcels(
        away, YEAR, archive=place, season=SEASON, model=model, progress=False
    )
    assert found["part"].tolist() == ["unseen", "unseen"]


def test_training_depends_on_no_order_and_no_chunks(place, declared):
    config = cubecrop.TrainConfig(epochs=1, n_pixels=8)
    first, again = (
        cubecrop.train(
            declared.iloc[order], LABEL, YEAR, archive=place, season=SEASON, config=config,
            chunks=chunks, progress=False,
        )
        for order, chunks in ((slice(None), 64), (slice(None, None, -1), 40))
    )  # fmt: skip
    assert first.digest == again.digest


def test_the_table_has_every_parcel_in_order(table, declared, model):
    assert table["id"].tolist() == declared["id"].tolist()
    assert table.crs == declared.crs
    assert (table["status"] == "predicted").all()
    assert table[f"declared:{LABEL}"].tolist() == declared[LABEL].tolist()
    names = model.nomenclature.names
    probability = table[[f"probability:{name}" for name in names]].to_numpy()
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-5)
    best = probability.argsort(axis=1)
    assert table["crop:name"].tolist() == [names[i] for i in best[:, -1]]
    assert table["crop:name_2"].tolist() == [names[i] for i in best[:, -2]]
    np.testing.assert_array_equal(table["confidence"], probability.max(axis=1))
    assert (table["valid_dates:sentinel2"] > 0).all()


def test_odd_geometries_are_classified_and_returned_unchanged(place, declared, model, table):
    def odd(shape):
        raised = shapely.Polygon([(x, y, np.nan) for x, y in shape.exterior.coords])
        return shapely.GeometryCollection([raised, shape, shapely.Point(shape.exterior.coords[0])])

    given = declared.set_geometry([odd(shape) for shape in declared.geometry], crs=declared.crs)
    found = cubecrop.classify_parcels(
        given, YEAR, archive=place, season=SEASON, model=model, progress=False
    )
    assert found["crop:name"].tolist() == table["crop:name"].tolist()
    np.testing.assert_allclose(found["confidence"], table["confidence"], atol=1e-4)
    assert found.geometry.to_wkt().tolist() == given.geometry.to_wkt().tolist()


def test_classify_is_lazy(place, declared, model):
    with dask.config.set(scheduler=raises_if_computed):
        cubecrop.classify(declared, YEAR, archive=place, season=SEASON, model=model)


def test_a_map_is_the_same_whatever_the_chunks_and_the_crop(place, declared, model):
    whole = crop_map(place, declared, model, clip=False)
    chunked = crop_map(place, declared, model, clip=False, chunks=41)
    np.testing.assert_allclose(chunked["probability"], whole["probability"], atol=1e-5)
    part = crop_map(place, declared.iloc[[1]], model, clip=False)
    same = whole.sel(y=part["y"], x=part["x"])
    np.testing.assert_allclose(part["probability"], same["probability"], atol=1e-5)
    assert part.sizes["x"] < whole.sizes["x"]


def test_a_map_says_what_it_is(place, declared, model):
    found = crop_map(place, declared, model, clip=False)
    assert found["crop_type"].dtype == np.uint8
    assert found["crop_type"].attrs["flag_meanings"].split()[0] == "alfalfa"
    assert found["crop"].values.tolist() == model.nomenclature.names
    assert found.rio.crs.to_epsg() == 32631
    assert found.attrs["model_digest"] == model.digest
    assert (found["crop_type"] == found["probability"].argmax("crop")).all()
    np.testing.assert_allclose(found["confidence"], found["probability"].max("crop"))


@pytest.mark.slow
def test_a_map_is_the_same_whatever_the_workers(place, declared, model):
    from distributed import Client, LocalCluster

    alone = crop_map(place, declared, model, chunks=32)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, protocol="tcp", host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster),
    ):  # fmt: skip
        spread = crop_map(place, declared, model, chunks=32)
    np.testing.assert_allclose(spread["probability"], alone["probability"], atol=1e-5)


def test_the_order_of_items_changes_no_graph(place, declared, model):
    archive = cubecrop.open_archive(place)
    turned = type(archive)(archive.name, archive.records[::-1])
    one, other = (
        cubecrop.classify(declared, YEAR, archive=a, season=SEASON, model=model)
        for a in (archive, turned)
    )
    assert one["probability"].data.name == other["probability"].data.name
    assert tokenize(one) == tokenize(other)


def test_a_table_of_predictions_can_be_classified_again(place, model, table):
    again = tabled(place, table, model)
    assert again.columns.is_unique
    assert again[f"declared:declared:{LABEL}"].tolist() == table[LABEL].tolist()
    odd = table[["id", "geometry"]].rename_geometry("status")
    found = tabled(place, odd, model)
    assert found.geometry.name == "declared:status"
    assert found.crs == table.crs
    assert found["status"].eq("predicted").all()


@pytest.mark.slow
def test_the_demo_writes_everything(tmp_path):
    result = cubecrop.demo(tmp_path / "demo", size_km=0.6, progress=False)
    made = {p.relative_to(result.folder).as_posix() for p in result.folder.rglob("*.*")}
    assert {
        "demo.png", "parcels.parquet", "model/model.json", "model/model.safetensors",
        "map/crop_type.tif", "map/confidence.tif", "map/item.json", "map/quicklook.png",
        "archive/catalog.json",
    } <= made  # fmt: skip
    assert 0 <= result.parcels.accuracy <= 1
    assert set(result.table["part"]) == {"train", "held out"}
    assert result.pixels.n > 0


@pytest.fixture(scope="module")
def real_model(flanders):
    config = cubecrop.TrainConfig(epochs=60, n_pixels=32)
    return cubecrop.train(
        flanders / "parcels.parquet", "crop_name", 2018, archive=flanders, config=config,
        progress=False,
    )  # fmt: skip


@pytest.mark.slow
def test_real_parcels_and_map(flanders, real_model, tmp_path):
    assert real_model.radar_calibration == "sigma0"
    assert set(real_model.training.never_held_out) == {"Cabages", "Potatoes"}
    parcels = gpd.read_parquet(flanders / "parcels.parquet")
    table = cubecrop.classify_parcels(
        parcels, 2018, archive=flanders, model=real_model, progress=False
    )
    assert table["id"].tolist() == parcels["id"].tolist()
    assert (table["status"] == "predicted").all()
    lazy = cubecrop.classify(parcels, 2018, archive=flanders, model=real_model, clip=False)
    folder = cubecrop.write_map(lazy, tmp_path / "map", progress=False)
    with rasterio.open(folder / "crop_type.tif") as file:
        mapped = file.read(1)
    assert mapped.shape == (64, 64)
    assert (mapped != 255).all()
    # Fields, not noise: neighbours are alike far more often than any two pixels are.
    shuffled = np.random.default_rng(0).permutation(mapped.ravel()).reshape(mapped.shape)
    alike, by_chance = ((one[:, 1:] == one[:, :-1]).mean() for one in (mapped, shuffled))
    assert alike > 0.7
    assert alike > by_chance + 0.2


@pytest.mark.slow
def test_radar_of_another_calibration_is_refused(real_model, place, declared):
    with pytest.raises(ModelMismatchError, match="gamma0"):
        cubecrop.classify(declared, YEAR, archive=place, model=real_model)
