"""Training on parcels of several tiles, zones, years and archives."""

import dataclasses
import datetime as dt
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import torch
import xarray as xr
from fields import make_parcels
from seasons import LABEL, every, optical

import cubecrop
from cubecrop.cli import app
from cubecrop.cube import CubeRequest
from cubecrop.errors import (
    ArgumentError,
    LabelError,
    NoScenesError,
    OutputError,
    ParcelError,
    ReadError,
)
from cubecrop.pipeline import parcel_tiles, tiled_samples
from cubecrop.pipeline.declared import as_sources, split_declared
from cubecrop.pipeline.parcel_tiles import tiles_of
from cubecrop.pipeline.tiled_samples import sample_tiles
from cubecrop.sample import sample_pixel_sets
from cubecrop.sample.store import _RowWriter
from cubecrop.testing import Place, write_archive
from cubecrop.training import TrainConfig

SEASON = cubecrop.Season(2024, start=dt.date(2024, 4, 1), end=dt.date(2024, 9, 15))
CONFIG = TrainConfig(epochs=2, batch_size=16, n_pixels=8, validation=0.2)
CROP = "crop:name"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A simulated archive of 600 m, of two years."""
    out = tmp_path_factory.mktemp("simulated") / "archive"
    return cubecrop.simulate_archive(out, years=[2023, 2024], size_km=0.6, seed=4, progress=False)


@pytest.fixture(scope="module")
def declared(place):
    return gpd.read_parquet(place / "parcels-2024.parquet")


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of 200 m, so that a small archive has many, and parcels cross their edges."""
    monkeypatch.setattr(parcel_tiles, "SIDE", 200.0)


def train(declared, place, config=CONFIG, **options):
    return cubecrop.train(
        declared, CROP, 2024, archive=place, season=SEASON, config=config, progress=False,
        device="cpu", **options,
    )  # fmt: skip


def assert_same(one, other):
    first, second = one.network.state_dict(), other.network.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert one.scores == other.scores
    assert one.digest == other.digest


def sampled(parcels, archive, folder, *, n_pixels=32, config=None, **options):
    request = CubeRequest(season=SEASON, archive=archive, **options).opened()
    return sample_tiles(
        parcels, request, folder, config=config or TrainConfig(), n_pixels=n_pixels,
        progress=False, scheduler=None,
    )  # fmt: skip


def test_many_tiles_train_the_same_model_as_one(declared, place, monkeypatch, tmp_path):
    one = train(declared, place, cache=tmp_path / "one")
    assert len(list((tmp_path / "one").iterdir())) < 5
    monkeypatch.setattr(parcel_tiles, "SIDE", 200.0)
    many = train(declared, place, cache=tmp_path / "many")
    assert len(list((tmp_path / "many").iterdir())) >= 9
    assert_same(one, many)


def test_parcels_across_edges_have_the_sets_of_one_cube(declared, place, small_tiles, tmp_path):
    parcels = declared[["id", "geometry"]]
    cube = cubecrop.open_season(parcels, SEASON, archive=place)
    whole = sample_pixel_sets(cube, parcels, n_pixels=32).load()
    ((sets, members),) = sampled(parcels, place, tmp_path)
    assert members.tolist() == list(range(len(parcels)))
    n_pieces = np.diff(sets.starts)
    assert (n_pieces > 1).sum() > 5
    tiled = sets.load(members)
    for name in ("sentinel2", "sentinel1", "terrain", "weather"):
        xr.testing.assert_equal(tiled[name].to_dataset(), whole[name].to_dataset())
    xr.testing.assert_allclose(tiled.to_dataset(), whole.to_dataset())
    assert tiled["sentinel2"]["reflectance"].attrs == whole["sentinel2"]["reflectance"].attrs


def test_each_tile_is_read_for_its_own_cell_only(declared, place, small_tiles, tmp_path):
    tiles, owner = tiles_of(declared, resolution=10)
    assert len(tiles) >= 9
    areas = [tile.area.geometry for tile in tiles]
    for tile, area in zip(tiles, areas, strict=True):
        assert tile.tile.box.covers(area)
    assert shapely.union_all(areas).area == pytest.approx(sum(area.area for area in areas))
    for parcel, number in enumerate(owner):
        assert parcel in tiles[number].parcels
    assert {p for tile in tiles for p in tile.parcels.tolist()} == set(range(len(declared)))


def test_a_killed_training_goes_on_with_the_next_tile(
    declared, place, small_tiles, monkeypatch, tmp_path
):
    undisturbed = train(declared, place)
    made, written = [], []
    real, write = tiled_samples.sample_pixel_sets, _RowWriter.write

    def counting(*arguments, **options):
        made.append(1)
        return real(*arguments, **options)

    def failing(self, start, block):
        if len(made) == 4 and written:
            raise RuntimeError("stopped")
        written.extend([1] * (len(made) == 4))
        write(self, start, block)

    monkeypatch.setattr(tiled_samples, "sample_pixel_sets", counting)
    monkeypatch.setattr(_RowWriter, "write", failing)
    with pytest.raises(RuntimeError, match="stopped"):
        train(declared, place, cache=tmp_path)  # in the middle of the fourth tile
    assert written
    assert len(list(tmp_path.iterdir())) == 3
    monkeypatch.setattr(_RowWriter, "write", write)
    resumed = train(declared, place, cache=tmp_path)
    n_tiles = len(tiles_of(declared, resolution=10)[0])
    assert len(made) == 4 + n_tiles - 3
    assert_same(resumed, undisturbed)
    train(declared, place, cache=tmp_path)
    assert len(made) == 4 + n_tiles - 3  # nothing is sampled again


def test_without_a_cache_nothing_stays_on_the_disk(declared, place, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen = []
    real = tiled_samples.stored

    def spy(folder, *arguments, **options):
        seen.append(folder)
        return real(folder, *arguments, **options)

    monkeypatch.setattr(tiled_samples, "stored", spy)
    train(declared, place, TrainConfig(epochs=1, n_pixels=8))
    assert {folder.parent for folder in seen} == {tmp_path}
    assert list(tmp_path.iterdir()) == []


def test_errors_name_the_tile(declared, place, small_tiles, tmp_path):
    broken = shutil.copytree(place, tmp_path / "archive")
    for path in broken.rglob("B02.tif"):
        path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ReadError, match=r"^tile 326\d\d_\d+_\d+: asset 'B02' of item"):
        train(declared, broken)


def test_a_full_disk_is_said_before_pixels_are_read(declared, place, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    monkeypatch.setattr(tiled_samples, "sample_pixel_sets", lambda *_: pytest.fail("read"))
    with pytest.raises(OutputError, match=r"GB of free space.*`cache="):
        train(declared, place)


ZONE31 = Place(crs="EPSG:32631", left=712_000, top=5_600_000, height=40, width=40)
ZONE32 = Place(crs="EPSG:32632", left=388_000, top=5_600_000, height=40, width=40)


def fields_of(place, prefix):
    """Sixteen parcels of 80 m, of two crops."""
    corners = [(100 * i, 100 * j) for i in range(4) for j in range(4)]
    return gpd.GeoDataFrame(
        {
            "id": [f"{prefix}{i:02d}" for i in range(16)],
            LABEL: ["wheat" if x < 200 else "maize" for x, _ in corners],
        },
        geometry=[
            shapely.box(
                place.left + x + 10, place.top - y - 90, place.left + x + 90, place.top - y - 10
            )
            for x, y in corners
        ],
        crs=place.crs,
    )


def crops_of(place):
    return lambda x, y: np.where(x < place.left + 200, 2000, 4000)


@pytest.fixture(scope="module")
def zones(tmp_path_factory):
    """An archive of two places in two UTM zones."""
    days = list(every(20, "2017-10-01", "2018-10-20"))
    scenes = [
        dataclasses.replace(optical(day, place=one, dn=crops_of(one)), id=f"{one.crs[-2:]}-{day}")
        for one in (ZONE31, ZONE32)
        for day in days
    ]
    return write_archive(tmp_path_factory.mktemp("zones") / "archive", scenes)


def test_two_zones_are_sampled_each_in_its_own(zones, tmp_path):
    west, east = fields_of(ZONE31, "w"), fields_of(ZONE32, "e")
    both = gpd.GeoDataFrame(
        {"id": [*west["id"], *east["id"]], LABEL: [*west[LABEL], *east[LABEL]]},
        geometry=[*west.to_crs(4326).geometry, *east.to_crs(4326).geometry],
        crs=4326,
    )
    tiles, _ = tiles_of(both, resolution=10)
    assert {tile.tile.crs for tile in tiles} == {"EPSG:32631", "EPSG:32632"}
    config = TrainConfig(epochs=2, n_pixels=8)
    model = cubecrop.train(
        both, LABEL, 2018, archive=zones, config=config, held_out=0.25, progress=False,
        cache=tmp_path,
    )  # fmt: skip
    record = model.training
    assert sum(record.parcels.values()) + sum(record.held_out.values()) == 32
    # Every pixel of a parcel of 8 x 8 pixels in its own zone is clear.
    request = CubeRequest(season=2018, archive=zones).opened()
    groups = sample_tiles(
        both, request, tmp_path, config=config, n_pixels=256, progress=False, scheduler=None
    )
    assert sum(len(members) for _, members in groups) == 32
    for sets, _ in groups:
        tree = sets.load(np.arange(len(sets)))
        assert (tree["pixel_count"] == 64).all()
        assert (tree["sentinel2"]["valid"].sum("pixel") == 64).all()


def test_parcels_without_an_image_are_left_out_with_a_warning(zones):
    near = fields_of(ZONE31, "w").to_crs(4326)
    west, east = near.union_all().centroid, fields_of(ZONE32, "e").to_crs(4326).union_all().centroid
    lon, lat = (west.x + east.x) / 2, (west.y + east.y) / 2  # between the two places
    away = gpd.GeoDataFrame(
        {"id": ["x00", "x01"], LABEL: ["wheat", "maize"]},
        geometry=[shapely.Point(lon, lat).buffer(1e-4), shapely.Point(lon, lat).buffer(2e-4)],
        crs=4326,
    )
    table = gpd.GeoDataFrame(
        {"id": [*near["id"], *away["id"]], LABEL: [*near[LABEL], *away[LABEL]]},
        geometry=[*near.geometry, *away.geometry],
        crs=4326,
    )
    config = TrainConfig(epochs=1, n_pixels=8)
    options = {"archive": zones, "config": config, "held_out": 0, "progress": False}
    with pytest.warns(UserWarning, match="2 parcels lie .*no image.*'x00', 'x01'"):
        model = cubecrop.train(table, LABEL, 2018, **options)
    assert sum(model.training.parcels.values()) == 16
    with pytest.raises(NoScenesError):
        cubecrop.train(away, LABEL, 2018, **options)


def test_a_parcel_of_hundreds_of_kilometres_is_named(declared):
    wrong = declared.copy()
    wrong.loc[3, "geometry"] = shapely.box(500_000, 5_000_000, 510_000, 5_600_000)
    with pytest.raises(ParcelError, match=rf"{wrong['id'].iloc[3]!r} \(600 km\)"):
        tiles_of(wrong, resolution=10)


def test_several_years_at_once(declared, place, tmp_path):
    before = gpd.read_parquet(place / "parcels-2023.parquet")
    sources = [(before, 2023, place), (declared, 2024, place)]
    model = cubecrop.train(
        sources, CROP, season=SEASON, config=CONFIG, progress=False, cache=tmp_path
    )
    record = model.training
    assert record.years == (2023, 2024)
    used = sum(record.parcels.values()) + sum(record.validation.values())
    assert used + sum(record.held_out.values()) == len(before) + len(declared)
    swapped = cubecrop.train(
        sources[::-1], CROP, season=SEASON, config=CONFIG, progress=False, cache=tmp_path
    )
    assert swapped.training.held_out == record.held_out
    for table, year in ((before, 2023), (declared, 2024)):
        found = cubecrop.classify_parcels(table, year, archive=place, model=model, progress=False)
        assert set(found["part"]) == {"train", "held out"}


def test_a_place_is_held_out_in_all_years_or_in_none(declared):
    shapes = declared.geometry
    renumbered = declared.assign(id=[f"other {i}" for i in range(len(declared))])
    shrunk = renumbered.set_geometry(shapes.buffer(-5).where(shapes.area > 2000, shapes))
    tables = [declared, shrunk.iloc[::-1]]
    texts = [table[CROP].tolist() for table in tables]
    first, second = split_declared(tables, [2023, 2024], texts, CROP, held_out=0.3, seed=0)
    back = second.take(np.arange(len(declared))[::-1])
    assert first.part.tolist() == back.part.tolist()
    assert first.group.tolist() == back.group.tolist()
    assert (first.part == "held out").sum() > 10
    assert len(set(first.group)) == len(declared)
    # The same ids at other places are other parcels.
    moved = declared.set_geometry(shapes.translate(5000, 0))
    for years in ([2023, 2024], [2024, 2024]):
        one, other = split_declared(
            [declared, moved], years, [texts[0], texts[0]], CROP, held_out=0.3, seed=0
        )
        assert not set(one.group) & set(other.group)


def test_a_parcel_that_a_table_has_twice_is_held_out_twice_or_not_at_all():
    parcels = make_parcels(label=CROP)
    # Exports that were joined, so that a parcel has two ids; and a field with a smaller one inside.
    again = parcels.assign(id=parcels["id"] + 100).set_geometry(parcels.buffer(0.5))
    corner = parcels.geometry.iloc[:1].buffer(-30).translate(25, 25)
    strip = parcels.iloc[:1].assign(id=200).set_geometry(corner)
    table = pd.concat([parcels, again.iloc[::-1], strip], ignore_index=True)
    texts = [table[CROP].tolist()]
    for seed in range(5):
        (found,) = split_declared([table], [2023], texts, CROP, held_out=0.3, seed=seed)
        part = dict(zip(table["id"], found.part, strict=True))
        assert all(part[i] == part[i + 100] for i in parcels["id"])
        assert sorted(set(part.values())) == ["held out", "train"]
        assert found.group is not None
        assert len(set(found.group)) == len(parcels) + 1
    # Neighbours and parcels without a place are parcels of their own.
    odd = parcels.assign(**{parcels.geometry.name: [None, *parcels.geometry.iloc[1:]]})
    for alone in (parcels, odd):
        (found,) = split_declared(
            [alone], [2023], [alone[CROP].tolist()], CROP, held_out=0.3, seed=0
        )
        assert found.group is None


def test_year_and_archive_belong_to_each_table(declared, place):
    assert as_sources("file", 2024, place) == [("file", 2024, place)]
    assert as_sources([("a", 2023, "b"), ["c", 2024, "d"]], None, None) == [
        ("a", 2023, "b"), ("c", 2024, "d"),
    ]  # fmt: skip
    assert as_sources("file", 2024, None) == [("file", 2024, None)]  # chosen later
    with pytest.raises(ArgumentError, match="need a harvest year"):
        cubecrop.train(declared, CROP, archive=place)
    with pytest.raises(ArgumentError, match="given beside a list"):
        cubecrop.train([(declared, 2024, place)], CROP, 2024)
    with pytest.raises(ArgumentError, match=r"list of \(parcels, year, archive\)"):
        cubecrop.train([declared, declared], CROP)
    with pytest.raises(LabelError, match="no column"):
        cubecrop.train([(declared, 2024, place), (declared, 2024, place)], "crop")


def test_the_command_takes_more_years(place, tmp_path, monkeypatch):
    asked = []

    def stop(*arguments, **options):
        asked.append((arguments, options))
        raise LabelError("stopped")

    monkeypatch.setattr(cubecrop, "train", stop)
    words = ["train", "a.parquet", "--label", "crop", "--year", "2024", "--archive", "here"]
    more = ["--more", "b.parquet", "2023", "there", "--more", "c.parquet", "2022", "earth-search"]
    out = ["--out", str(tmp_path / "model"), "--start", "2024-04-01", "--end", "2024-09-15"]
    with pytest.raises(LabelError, match="stopped"):
        app([*words, *more, *out], exit_on_error=False, result_action="return_value")
    ((sources, label), options) = asked[0]
    assert label == "crop"
    assert sources == [
        (Path("a.parquet"), 2024, "here"),
        (Path("b.parquet"), 2023, "there"),
        (Path("c.parquet"), 2022, "earth-search"),
    ]
    assert options["season"] == SEASON
    words = ["train", "a.parquet", "--label", "crop", "--out", str(tmp_path / "model")]
    with pytest.raises(LabelError, match="--year is missing"):
        app([*words, *more], exit_on_error=False, result_action="return_value")
