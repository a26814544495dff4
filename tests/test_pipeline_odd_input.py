"""Odd parcels, damaged archives and wrong arguments on the whole way from archive to map."""

import dataclasses
import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from small_region import LABEL, SEASON, YEAR, crop_map, tabled

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


def test_every_odd_parcel_has_a_status(place, declared, model):
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


def test_parcels_without_any_image_all_come_back(place, declared, model, table):
    none = declared.iloc[:0]
    empty = declared.set_geometry([None, shapely.Polygon()] + [None] * (len(declared) - 2),
                                  crs=declared.crs)  # fmt: skip
    for parcels, status in ((none, ""), (empty, "no geometry")):
        found = tabled(place, parcels, model)
        assert list(found.columns) == list(table.columns)
        assert found["id"].tolist() == parcels["id"].tolist()
        assert found["status"].str.startswith(status).all()
        assert found["crop:name"].isna().all()
        assert found["confidence"].isna().all()
        assert (found["valid_dates:sentinel2"] == 0).all()


def test_parcels_that_all_lie_elsewhere_are_refused(place, declared, model):
    """A CRS that is wrong moves all parcels."""
    elsewhere = declared.set_crs(32633, allow_override=True)
    text = r"no parcel lies within archive .*they lie at lon .*the archive covers lon .*CRS"
    with pytest.raises(NoScenesError, match=text):
        tabled(place, elsewhere, model)
    metres = declared.set_crs(4326, allow_override=True)
    with pytest.raises(ParcelError, match=r"CRS is EPSG:4326, expected longitudes within ±180"):
        tabled("not an archive", metres, model)


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
    config = cubecrop.TrainConfig(epochs=1, n_pixels=8)
    with pytest.warns(UserWarning, match=f"^1 parcel lies .*no image.*left out: {name!r}"):
        learnt = cubecrop.train(
            lost, LABEL, YEAR, archive=Globe(place), season=SEASON, config=config, progress=False
        )
    record = learnt.training
    assert sum(record.parcels.values()) + sum(record.held_out.values()) == len(declared) - 1
    arctic = shapely.box(3, 86, 3.01, 86.01)
    north = declared[:1].to_crs(4326).set_geometry([arctic], crs=4326)
    with pytest.raises(AoiError, match="outside of the UTM zones"):
        tabled(Globe(place), north, model)


@pytest.fixture
def editable(place, tmp_path):
    """A copy of the archive to break."""
    return shutil.copytree(place, tmp_path / "archive")


def test_a_cloudy_season_has_no_class_and_a_reason(editable, declared, model):
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


def test_errors_of_bad_input_say_how_to_fix_it(place, declared, model):
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


def test_null_labels_and_parcels_outside_are_left_out(place, declared):
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


def test_one_class_within_the_archive_is_refused(place, declared):
    away = declared[LABEL] != declared[LABEL].iloc[0]
    parcels = declared.set_geometry(declared.geometry.where(~away, declared.translate(70_000, 0)))
    with pytest.raises(
        LabelError, match=r"within archive .* hold only the class '[^,]*', expected"
    ):
        cubecrop.train(parcels, LABEL, YEAR, archive=place, season=SEASON, progress=False)
