"""Arguments of the wrong kind raise by name before any search or reading."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from samples import make_samples

import cubecrop
from cubecrop.archive.providers import LOCAL
from cubecrop.cube.grid import check_crs
from cubecrop.errors import CubecropError, LabelError, ModelFormatError, SchemaError
from cubecrop.model import NetworkOptions
from cubecrop.pipeline import tiled_samples
from cubecrop.testing import Optical, forbid_compute, write_archive
from cubecrop.training import TrainConfig

AREA = (3.001, 50.817, 3.007, 50.821)
NAN = float("nan")
SAID = {"aoi": "area of interest", "season": "harvest year"}


class Unasked:
    """An archive that must not be asked."""

    name = "unasked"
    provider = LOCAL

    def items(self, *_, **__):
        raise AssertionError("the archive was asked for items")

    def extent(self, *_, **__):
        raise AssertionError("the archive was asked for its extent")


@pytest.fixture(scope="module")
def model():
    samples, labels = make_samples()
    return cubecrop.fit(samples, labels, config=TrainConfig(epochs=1, n_pixels=4), progress=False)


@pytest.fixture(scope="module")
def parcels():
    shapes = [shapely.box(3 + i / 100, 50.8, 3.005 + i / 100, 50.805) for i in range(4)]
    return gpd.GeoDataFrame(
        {"id": list("abcd"), "crop": ["x", "y"] * 2}, geometry=shapes, crs=4326
    )  # fmt: skip


def wrong(values):
    return [pytest.param(name, value, id=f"{name}={value!r}") for name, value in values]


CUBE = [
    *(("resolution", one) for one in ("10", 0, NAN, None, True, [10])),
    *(("crs", one) for one in ("EPSG:4326", "nonsense", 32631.5, True)),
    *(("chunks", one) for one in ("auto", 0, 1.5, True)),
    *(("memory", one) for one in ("2GB", 1e3, float("nan"), True, None)),
    *(("clouds", one) for one in ("none", 3, True)),
    *(("weather", one) for one in (5, {"a": 1}, "nowhere")),
    *(("archive", one) for one in (None, 5, "nowhere")),
]
RUN = [
    *(pair for pair in CUBE if pair != ("resolution", None)),  # means the model's
    *(("season", one) for one in ("2018", 2018, cubecrop.Season(2019))),
    *(("year", one) for one in ("2018", 2018.0, None, True)),
    *(("device", one) for one in ("gpu", 0, True)),
]
FIT = [
    *(("config", one) for one in ({"epochs": 5}, 5, "fast", NetworkOptions())),
    *(("seed", one) for one in ("a", -1, 1.5, None, True)),
    *(("device", one) for one in ("gpu", 0, "cuda:99")),
    *(("checkpoint", one) for one in (3, True, __file__)),
    *(("progress", one) for one in ("no", None, 1)),
]
SHARE = [("held_out", one) for one in (30, "0.3", None, NAN, True, 1)]


@pytest.mark.parametrize(
    ("name", "value"),
    wrong([*CUBE, ("aoi", None), ("aoi", 5), ("season", "2018"), ("modalities", "sentinel2"),
           ("modalities", ("s2",)), ("modalities", None), ("modalities", ()),
           ("composite", "monthly"), ("composite", True), ("on_error", "skip"),
           ("backend", "odc")]),
)  # fmt: skip
def test_open_season(name, value):
    options = {"aoi": AREA, "season": 2018, "archive": Unasked(), name: value}
    with forbid_compute(), pytest.raises(CubecropError, match=SAID.get(name, name)):
        cubecrop.open_season(options.pop("aoi"), options.pop("season"), **options)


@pytest.mark.parametrize(
    ("name", "value"),
    wrong([("modalities", "sentinel2"), ("modalities", 5), ("weather", 5), ("cache", 5),
           ("cache", __file__), ("season", "2018")]),
)  # fmt: skip
def test_search(name, value):
    options = {"season": 2018, "archive": Unasked(), name: value}
    with pytest.raises(CubecropError, match=SAID.get(name, name)):
        cubecrop.search(AREA, options.pop("season"), **options)


MODELS = [("model", one) for one in (5, {"a": 1}, __file__)]


@pytest.mark.parametrize(("name", "value"), wrong([*RUN, *MODELS]))
def test_classify(model, name, value):
    options = {"year": 2018, "archive": Unasked(), "model": model, name: value}
    with forbid_compute(), pytest.raises(CubecropError, match=name):
        cubecrop.classify(AREA, options.pop("year"), **options)


@pytest.mark.parametrize(
    ("name", "value"),
    wrong([*RUN, *MODELS, ("progress", "no"), ("parcels", ["a"]), ("parcels", {"a": 1})]),
)
def test_classify_parcels(model, parcels, name, value):
    options = {"parcels": parcels, "year": 2018, "archive": Unasked(), "model": model, name: value}
    with forbid_compute(), pytest.raises(CubecropError, match=name):
        cubecrop.classify_parcels(options.pop("parcels"), options.pop("year"), **options)


@pytest.mark.parametrize(
    ("name", "value"),
    wrong([*RUN, *FIT, *SHARE, ("resolution", None),
           ("sensors", "sentinel2"), ("sensors", ("s2",)), ("sensors", ()), ("sensors", None),
           ("sensors", ("weather",)), ("composite", "monthly"),
           ("cache", __file__), ("label", ["crop"]), ("label", None), ("label", "geometry")]),
)  # fmt: skip
def test_train(parcels, name, value):
    options = {"label": "crop", "year": 2018, "archive": Unasked(), name: value}
    with forbid_compute(), pytest.raises(CubecropError, match=name):
        cubecrop.train(parcels, options.pop("label"), options.pop("year"), **options)


@pytest.mark.parametrize(
    ("name", "value"),
    wrong([*FIT, ("samples", None), ("samples", 5), ("samples", []), ("labels", None),
           ("labels", "abc"), ("nomenclature", ["x", "y"]), ("nomenclature", {"x": 1})]),
)  # fmt: skip
def test_fit(name, value):
    samples, labels = make_samples()
    options = {"samples": samples, "labels": labels, name: value}
    with pytest.raises(CubecropError, match=name):
        cubecrop.fit(options.pop("samples"), options.pop("labels"), **options)


@pytest.mark.parametrize(("name", "value"), wrong([*FIT, *SHARE, ("table", 5), ("table", None)]))
def test_train_table(name, value):
    options = {"table": "not read", "label": "crop", name: value}
    with pytest.raises(CubecropError, match=f"^{name} is"):
        cubecrop.train_table(options.pop("table"), options.pop("label"), **options)


@pytest.mark.parametrize(
    ("name", "value"),
    wrong([("n_pixels", 64.0), ("n_pixels", True), ("n_pixels", 0), ("seed", "a"), ("inset", -1),
           ("inset", None), ("parcels", ["a"])]),
)  # fmt: skip
def test_sample_pixel_sets(archive, parcels, name, value):
    cube = cubecrop.open_season(AREA, 2018, archive=archive)
    options = {"parcels": parcels, name: value}
    with forbid_compute(), pytest.raises(CubecropError, match=f"^{name} is"):
        cubecrop.sample_pixel_sets(cube, options.pop("parcels"), **options)


@pytest.mark.parametrize(
    ("name", "value"),
    wrong([("out", None), ("preset", ["demo"]), ("size_km", True), ("sentinel_1b", "no"),
           ("seed", 1.5), ("progress", "no")]),
)  # fmt: skip
def test_simulate_archive(tmp_path, name, value):
    options = {"out": tmp_path / "out", "size_km": 0.5, name: value}
    with pytest.raises(CubecropError, match=name):
        cubecrop.simulate_archive(options.pop("out"), **options)


@pytest.mark.parametrize(
    ("name", "value"),
    wrong([("path", None), ("path", 5), ("overwrite", "no"), ("overwrite", None)]),
)
def test_path_and_overwrite(model, parcels, tmp_path, name, value):
    path = value if name == "path" else tmp_path / "out.parquet"
    overwrite = value if name == "overwrite" else True
    with pytest.raises(CubecropError, match=f"^{name} is"):
        cubecrop.write_parcels(parcels, path, overwrite=overwrite)
    with pytest.raises(CubecropError, match=f"^{name} is"):
        model.save(path, overwrite=overwrite)


def test_a_file_of_a_model_is_refused_in_place_of_its_folder(model, tmp_path):
    folder = model.save(tmp_path / "model")
    with pytest.raises(ModelFormatError, match=f"pass its folder, {folder}"):
        cubecrop.CropModel.load(folder / "model.json")


@pytest.mark.parametrize("value", [32631, np.int64(32631), "32631", "EPSG:32631", "epsg:32631"])
def test_a_code_alone_names_a_crs(value):
    assert check_crs(value) == "EPSG:32631"


def test_numpy_numbers_are_accepted(archive):
    plain = cubecrop.open_season(AREA, 2018, archive=archive, resolution=20, crs="EPSG:32631")
    ours = cubecrop.open_season(
        AREA, np.int64(2018), archive=archive, resolution=np.float32(20), crs=np.int32(32631),
        chunks=np.int16(512), modalities=iter(("sentinel2", "sentinel1")),
    )  # fmt: skip
    np.testing.assert_array_equal(ours["x"], plain["x"])
    assert set(ours.children) == {"sentinel2", "sentinel1"}
    assert TrainConfig(epochs=np.int64(3), jitter=np.float32(0.5)).epochs == 3


@pytest.mark.parametrize("kind", [TrainConfig, NetworkOptions])
@pytest.mark.parametrize("value", ["x", {"a": 1}, NAN, [None], -1])
def test_every_setting_is_checked(kind, value):
    for name in kind.__dataclass_fields__:
        with pytest.raises((LabelError, ModelFormatError), match=name):
            kind(**{name: value})


def test_a_list_is_accepted_for_a_tuple():
    options = NetworkOptions(pixel_mlp=[8, 16], statistics=["mean"])
    assert options == NetworkOptions(pixel_mlp=(8, 16), statistics=("mean",))
    config = TrainConfig(may_be_missing=["sentinel1"], network=options)
    assert config.may_be_missing == ("sentinel1",)


@pytest.mark.parametrize(
    ("config", "lacks"),
    [
        (TrainConfig(may_be_missing=("sentinel1",)), "sentinel1"),
        (TrainConfig(network=NetworkOptions(terrain=True)), "terrain"),
        (TrainConfig(network=NetworkOptions(weather=True)), "weather"),
    ],
)
def test_a_missing_modality_raises_before_pixels_are_read(
    tmp_path, parcels, monkeypatch, config, lacks
):
    write_archive(tmp_path / "a", [Optical(when="2018-05-01T10:56:21Z")])
    here = gpd.GeoDataFrame(
        parcels.drop(columns="geometry"),
        geometry=[
            shapely.box(3.001 + i / 1000, 50.818, 3.0018 + i / 1000, 50.82) for i in range(4)
        ],
        crs=4326,
    )
    monkeypatch.setattr(tiled_samples, "stored", lambda *_: pytest.fail("pixels are read"))
    with pytest.raises(SchemaError, match=f"has no {lacks}"):
        cubecrop.train(here, "crop", 2018, archive=tmp_path / "a", config=config)
    with pytest.raises(LabelError, match="may_be_missing names"):
        cubecrop.train(
            here, "crop", 2018, archive=Unasked(), sensors=("sentinel2",),
            config=TrainConfig(may_be_missing=("sentinel1",)),
        )  # fmt: skip
