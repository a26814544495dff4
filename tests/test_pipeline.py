"""The whole way on a small simulated archive: train, classify, classify_parcels."""

import dataclasses
import datetime as dt
import shutil

import dask
import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from dask.base import tokenize

import cubecrop
from cubecrop.archive import open_archive
from cubecrop.errors import (
    AoiError,
    LabelError,
    ModelFormatError,
    ModelMismatchError,
    NoScenesError,
    ParcelError,
    ReadError,
    SeasonError,
)

YEAR = 2024
# Half a season: half the files to open.
SEASON = cubecrop.Season(YEAR, start=dt.date(2024, 4, 1), end=dt.date(2024, 9, 15))
LABEL = "crop:name"


def raises_if_computed(*_, **__):
    raise AssertionError("something was computed")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A simulated archive of 600 m."""
    out = tmp_path_factory.mktemp("simulated") / "archive"
    return cubecrop.simulate_archive(out, years=[YEAR], size_km=0.6, seed=4, progress=False)


@pytest.fixture(scope="module")
def declared(place):
    return gpd.read_parquet(place / f"parcels-{YEAR}.parquet")


@pytest.fixture(scope="module")
def model(place, declared):
    config = cubecrop.TrainConfig(epochs=25, n_pixels=32)
    return cubecrop.train(
        declared, LABEL, YEAR, archive=place, season=SEASON, config=config, progress=False
    )


@pytest.fixture(scope="module")
def table(place, declared, model):
    return cubecrop.classify_parcels(
        declared, YEAR, archive=place, season=SEASON, model=model, progress=False
    )


def test_training_tells_how_right_it_was(model, declared):
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
    away = own.set_geometry(own.translate(3, 0))
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


def test_odd_forms_are_classified_as_their_ground_and_come_back_as_they_were(
    place, declared, model, table
):
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


def crop_map(place, aoi, model, **options):
    return cubecrop.classify(
        aoi, YEAR, archive=place, season=SEASON, model=model, **options
    ).compute()


def test_a_map_is_the_same_whatever_the_chunks_and_the_crop(place, declared, model):
    whole = crop_map(place, declared, model)
    chunked = crop_map(place, declared, model, chunks=41)
    np.testing.assert_allclose(chunked["probability"], whole["probability"], atol=1e-5)
    part = crop_map(place, declared.iloc[[1]], model)
    same = whole.sel(y=part["y"], x=part["x"])
    np.testing.assert_allclose(part["probability"], same["probability"], atol=1e-5)
    assert part.sizes["x"] < whole.sizes["x"]


def test_a_map_says_what_it_is(place, declared, model):
    found = crop_map(place, declared, model)
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
            dashboard_address=None,
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


def test_odd_parcels_each_have_an_outcome(place, declared, model):
    x0, y0, x1, y1 = declared.total_bounds
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    ring = shapely.box(x - 60, y - 60, x + 60, y + 60) - shapely.box(x - 30, y - 30, x + 30, y + 30)
    parts = shapely.MultiPolygon(
        [shapely.box(x0, y0, x0 + 40, y0 + 40), shapely.box(x1 - 40, y1 - 40, x1, y1)]
    )
    odd = {
        "speck": shapely.box(x + 1, y + 1, x + 3, y + 3),
        "next door": shapely.box(x1 + 900, y, x1 + 1000, y + 100),
        "another continent": shapely.box(
            x - 3_000_000, y - 4_000_000, x - 2_999_000, y - 3_999_000
        ),
        "hole": ring,
        "parts": parts,
        "empty": shapely.Polygon(),
        "none": None,
        "line": shapely.LineString([(x, y), (x + 50, y)]),
        "bow tie": shapely.Polygon([(x, y), (x + 80, y + 80), (x + 80, y), (x, y + 80)]),
    }
    parcels = gpd.GeoDataFrame(
        {"id": list(odd)}, geometry=list(odd.values()), crs=declared.crs
    ).to_crs("EPSG:4326")
    found = cubecrop.classify_parcels(
        parcels, YEAR, archive=place, season=SEASON, model=model, progress=False
    )
    assert found["id"].tolist() == list(odd)
    found = found.set_index("id")
    assert (found.loc[["empty", "none"], "status"] == "no geometry").all()
    away = ["next door", "another continent"]
    assert (found.loc[away, "status"] == "outside the archive").all()
    without = ["next door", "another continent", "empty", "none"]
    assert found.loc[without, "crop:name"].isna().all()
    assert found.loc[without, "confidence"].isna().all()
    with_data = [name for name in odd if name not in without]
    assert (found.loc[with_data, "status"] == "predicted").all()
    probability = found.filter(like="probability:").loc[with_data]
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-5)


def tabled(place, parcels, model):
    return cubecrop.classify_parcels(
        parcels, YEAR, archive=place, season=SEASON, model=model, progress=False
    )


def test_parcels_of_which_none_can_be_seen_all_come_back(place, declared, model, table):
    none = declared.iloc[:0]
    empty = declared.set_geometry([None, shapely.Polygon()] + [None] * (len(declared) - 2),
                                  crs=declared.crs)  # fmt: skip
    away = declared.set_geometry(declared.translate(90_000, 90_000))
    for parcels, status in ((none, ""), (empty, "no geometry"), (away, "outside the archive")):
        found = tabled(place, parcels, model)
        assert list(found.columns) == list(table.columns)
        assert found["id"].tolist() == parcels["id"].tolist()
        assert found["status"].str.startswith(status).all()
        assert found["crop:name"].isna().all()
        assert found["confidence"].isna().all()
        assert (found["valid_dates:sentinel2"] == 0).all()


def test_infinite_coordinates_are_no_geometry(place, declared, model, table):
    shapes = declared.geometry.tolist()
    x, y = shapes[0].centroid.coords[0]
    shapes[0] = shapely.Polygon([(x, y), (np.inf, y + 50), (x, y + 50)])
    found = tabled(place, declared.set_geometry(shapes, crs=declared.crs), model)
    assert found["status"].iloc[0] == "no geometry"
    np.testing.assert_allclose(found["confidence"][1:], table["confidence"][1:], atol=1e-5)


class Globe:
    """An archive that says, as an API does, that it has something everywhere."""

    name = "globe"

    def __init__(self, folder):
        self.whole = open_archive(folder)
        self.provider = self.whole.provider

    def items(self, *question):
        return self.whole.items(*question)

    def extent(self, collections):
        return dataclasses.replace(self.whole.extent(collections), bbox=(-180, -90, 180, 90))


def test_a_parcel_at_mistaken_coordinates_is_named(place, declared, model):
    """An archive of the whole globe cannot tell that it lies outside."""
    shapes = declared.geometry.tolist()
    shapes[3] = shapely.transform(shapes[3], lambda xy: xy - [0, 5_000_000])
    lost = declared.set_geometry(shapes, crs=declared.crs)
    name = declared["id"].iloc[3]
    with pytest.raises(ParcelError, match=rf"farthest .* are {name!r} \(5002 km\)\. Correct"):
        tabled(Globe(place), lost, model)
    with pytest.raises(ParcelError, match=rf"farthest .* are {name!r}"):
        cubecrop.train(lost, LABEL, YEAR, archive=Globe(place), season=SEASON, progress=False)
    arctic = shapely.box(3, 86, 3.01, 86.01)
    north = declared[:1].to_crs(4326).set_geometry([arctic], crs=4326)
    with pytest.raises(AoiError, match="no UTM zone"):
        tabled(Globe(place), north, model)


def test_a_table_of_results_is_classified_anew(place, model, table):
    again = tabled(place, table, model)
    assert again.columns.is_unique
    assert again[f"declared:declared:{LABEL}"].tolist() == table[LABEL].tolist()
    odd = table[["id", "geometry"]].rename_geometry("status")
    found = tabled(place, odd, model)
    assert found.geometry.name == "declared:status"
    assert found.crs == table.crs
    assert found["status"].eq("predicted").all()


@pytest.fixture
def editable(place, tmp_path):
    """A copy of the archive to break."""
    return shutil.copytree(place, tmp_path / "archive")


def test_a_cloudy_season_is_told_and_not_mapped(editable, declared, model):
    for path in editable.glob("sentinel-2-l2a/*/SCL.tif"):
        with rasterio.open(path, "r+") as file:
            file.write(np.full((1, *file.shape), 9, np.uint8))
    found = cubecrop.classify_parcels(
        declared, YEAR, archive=editable, season=SEASON, model=model, progress=False
    )
    assert (found["status"] == "no valid observation of sentinel2").all()
    assert (found["valid_dates:sentinel1"] > 0).all()
    dark = crop_map(editable, declared, model)
    assert (dark["crop_type"] == 255).all()
    assert dark["probability"].isnull().all()


def break_by_truncation(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def break_by_removal(path):
    path.unlink()


# A file can lose its georeference with its end; the error that follows names it.
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("damage", [break_by_truncation, break_by_removal])
@pytest.mark.parametrize(
    "asset", ["sentinel-2-l2a/*/B08.tif", "sentinel-1-rtc/*/vh.tif", "sentinel-2-l2a/*/SCL.tif"]
)
def test_a_broken_file_is_named(editable, declared, model, damage, asset, tmp_path):
    path = next(p for p in sorted(editable.glob(asset)) if "_202406" in p.parent.name)
    damage(path)
    with pytest.raises(ReadError, match=f"{path.stem}.*{path.parent.name}"):
        cubecrop.classify_parcels(
            declared, YEAR, archive=editable, season=SEASON, model=model, progress=False
        )
    lazy = cubecrop.classify(declared, YEAR, archive=editable, season=SEASON, model=model)
    with pytest.raises(ReadError, match=path.parent.name):
        cubecrop.write_map(lazy, tmp_path / "map", progress=False)
    assert not (tmp_path / "map").exists()


def test_an_archive_without_radar_is_refused(editable, declared, model):
    shutil.rmtree(editable / "sentinel-1-rtc")
    catalog = editable / "catalog.json"
    catalog.write_text(
        catalog.read_text().replace(
            "./sentinel-1-rtc/collection.json", "./cop-dem-glo-30/collection.json"
        )
    )
    with pytest.raises(ModelMismatchError, match="sentinel1"):
        cubecrop.classify(declared, YEAR, archive=editable, season=SEASON, model=model)


def turned(parcels):
    """Parcels whose longitude and latitude are swapped."""
    lonlat = parcels.to_crs("EPSG:4326")
    return lonlat.set_geometry(lonlat.transform(lambda xy: xy[:, ::-1]))


def test_bad_input_is_named_with_its_cure(place, declared, model):
    run = {"archive": place, "progress": False}
    west, south, east, north = declared.to_crs(4326).total_bounds
    cases = [
        (LabelError, r"no column 'crop'", lambda: cubecrop.train(declared, "crop", YEAR, **run)),
        (NoScenesError, "2031", lambda: cubecrop.train(declared, LABEL, 2031, **run)),
        (
            NoScenesError,
            "look swapped",
            lambda: cubecrop.train(turned(declared), LABEL, YEAR, **run),
        ),
        (
            ParcelError,
            "duplicated",
            lambda: cubecrop.train(declared.assign(id="a"), LABEL, YEAR, **run),
        ),
        (
            ModelFormatError,
            "cubecrop train",
            lambda: cubecrop.classify(declared, YEAR, archive=place),
        ),
        (
            ModelFormatError,
            "not a model",
            lambda: cubecrop.classify(declared, YEAR, archive=place, model=place),
        ),
        (
            NoScenesError,
            "swapped",
            lambda: cubecrop.classify((south, west, north, east), YEAR, archive=place, model=model),
        ),
        (
            NoScenesError,
            "It covers lon",
            lambda: cubecrop.classify((20, 40, 20.1, 40.1), YEAR, archive=place, model=model),
        ),
        (
            LabelError,
            "'geometry' is the geometry",
            lambda: cubecrop.train(declared, "geometry", YEAR, **run),
        ),
        (
            ModelFormatError,
            "model is a dict",
            lambda: cubecrop.classify(declared, YEAR, archive=place, model={}),
        ),
        (
            SeasonError,
            "expected a Season",
            lambda: cubecrop.classify(declared, YEAR, archive=place, model=model, season=YEAR),
        ),
        (
            SeasonError,
            "same year",
            lambda: cubecrop.classify(
                declared, YEAR, archive=place, model=model, season=cubecrop.Season(2020)
            ),
        ),
    ]
    for kind, says, call in cases:
        with pytest.raises(kind, match=says):
            call()


def test_null_labels_and_what_lies_away_are_left_out(place, declared):
    holes = declared.copy()
    holes.loc[holes.index[:3], LABEL] = None
    away = holes.index[3:6]
    holes.loc[away, "geometry"] = holes.loc[away].translate(70_000, 0)
    config = cubecrop.TrainConfig(epochs=1, n_pixels=8)
    model = cubecrop.train(
        holes, LABEL, YEAR, archive=place, season=SEASON, config=config, progress=False
    )
    scored = model.scores["train"]["n"] + model.scores["held out"]["n"]
    assert scored == len(declared) - 6
    (box,) = model.training.bboxes
    west, south, east, north = declared.to_crs("EPSG:4326").total_bounds
    assert west < box[0] < box[2] < east
    assert south < box[1] < box[3] < north


def test_one_class_within_the_archive_is_nothing_to_tell_apart(place, declared):
    away = declared[LABEL] != declared[LABEL].iloc[0]
    parcels = declared.set_geometry(declared.geometry.where(~away, declared.translate(70_000, 0)))
    with pytest.raises(LabelError, match=r"holds the classes \['[^,]*'\] within archive"):
        cubecrop.train(parcels, LABEL, YEAR, archive=place, season=SEASON, progress=False)


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
    lazy = cubecrop.classify(parcels, 2018, archive=flanders, model=real_model)
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
