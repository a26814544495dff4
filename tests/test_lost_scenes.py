"""Scenes that cannot be read: an error by default, else lost in the cube and listed."""

import json
from dataclasses import replace

import dask
import geopandas as gpd
import numpy as np
import pytest
import shapely
from samples import make_samples

import cubecrop
from cubecrop.cube import rasterio_backend
from cubecrop.errors import ReadError, SchemaError
from cubecrop.lost_scenes import Loss, count_items
from cubecrop.schema import Status
from cubecrop.testing import Optical, Place, Radar, season_scenes, write_archive
from cubecrop.training import TrainConfig, fit

AOI = gpd.GeoSeries([shapely.box(500_050, 5_629_450, 500_550, 5_629_950)], crs=32631)
WIDE = gpd.GeoSeries([shapely.box(500_050, 5_629_450, 500_700, 5_629_950)], crs=32631)
OPTICAL, RADAR = "S2A_MSIL2A_20180615T105621_R051_T31UES", "S1A_IW_GRDH_1SDV_20180503T174042_rtc"


def break_two(folder):
    """Cut an optical file short, and remove one of radar."""
    short = folder / "sentinel-2-l2a" / OPTICAL / "B08.tif"
    content = short.read_bytes()
    short.write_bytes(content[: len(content) // 2])
    (folder / "sentinel-1-rtc" / RADAR / "vh.tif").unlink()
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    return break_two(write_archive(tmp_path_factory.mktemp("broken")))


@pytest.fixture(scope="module")
def model():
    samples, labels = make_samples()
    # Of another season's dates: what these archives cover is not what is tested here.
    model = fit(samples, labels, config=TrainConfig(epochs=1), progress=False)
    return replace(model, coverage={})


def mapped(archive, model, **options):
    return cubecrop.classify(AOI, 2018, archive=archive, model=model, **options)


def test_lost_pixels_differ_from_cloud_and_outside(whole, broken):
    sound, cube = (
        cubecrop.open_season(AOI, 2018, archive=one, on_error=how).load()
        for one, how in ((whole, "raise"), (broken, "lost"))
    )
    optical, lost = sound["sentinel2"], cube["sentinel2"]
    hurt = (optical["time"] == np.datetime64("2018-06-15T10:56:21")).to_numpy()
    assert hurt.sum() == 1
    assert (lost["status"][hurt] == Status.LOST).all()
    assert np.isnan(lost["reflectance"][hurt]).all()
    for name in ("status", "reflectance"):
        np.testing.assert_array_equal(lost[name][~hurt], optical[name][~hurt])
    radar, gone = sound["sentinel1"]["backscatter"], cube["sentinel1"]["backscatter"]
    hurt = (radar["time"] == np.datetime64("2018-05-03T17:40:42")).to_numpy()
    assert np.isnan(gone[hurt]).all()
    np.testing.assert_array_equal(gone[~hurt], radar[~hurt])


def test_by_default_the_first_lost_scene_ends_the_reading(broken):
    cube = cubecrop.open_season(AOI, 2018, archive=broken)
    with pytest.raises(ReadError, match=f"asset 'B08' of item '{OPTICAL}'"):
        cube["sentinel2/reflectance"].compute()
    with pytest.raises(ReadError, match=f"asset 'vh' of item '{RADAR}'"):
        cube["sentinel1/backscatter"].compute()
    with pytest.raises(SchemaError, match="on_error"):
        cubecrop.open_season(AOI, 2018, archive=broken, on_error="ignore")


def test_pixels_are_lost_where_no_other_scene_shows_them(tmp_path):
    """Two tiles of one pass side by side; the eastern one is lost."""
    west, east = Place(width=30), Place(left=500_200.0, width=40)
    day = "2018-06-15T10:56:21Z"
    folder = write_archive(
        tmp_path,
        [
            Optical(when=day, id="west", place=west, tile="31UES"),
            Optical(when=day, id="east", place=east, tile="31UFS"),
        ],
    )
    (folder / "sentinel-2-l2a" / "east" / "SCL.tif").unlink()
    cube = cubecrop.open_season(WIDE, 2018, archive=folder, on_error="lost")
    status = cube["sentinel2/status"].isel(time=0, y=20).compute()
    x = status["x"].to_numpy()
    assert (status[x < 500_300] == Status.CLEAR).all()
    assert (status[(x > 500_300) & (x < 500_600)] == Status.LOST).all()
    assert (status[x > 500_600] == Status.OUTSIDE).all()
    assert len(x[x > 500_600]) > 0


def test_a_map_with_more_losses_than_allowed_is_not_written(broken, model, tmp_path):
    lazy = mapped(broken, model)
    with pytest.raises(ReadError, match=f"asset '(B08|vh)' of item '({OPTICAL}|{RADAR})'"):
        cubecrop.write_map(lazy, tmp_path / "map", progress=False)
    with pytest.raises(ReadError, match="2 of 7 items could not be read") as caught:
        cubecrop.write_map(lazy, tmp_path / "map", max_lost=0.2, progress=False)
    assert f"asset 'B08' of item '{OPTICAL}' cannot be read" in str(caught.value)
    assert f"asset 'vh' of item '{RADAR}' cannot be read" in str(caught.value)
    assert "max_lost=0.29" in str(caught.value)
    assert not list(tmp_path.iterdir())
    with pytest.raises(SchemaError, match="share from 0 to 1"):
        cubecrop.write_map(lazy, tmp_path / "map", max_lost=5)


@pytest.mark.parametrize(("n", "lost"), [(7, 2), (22, 15)])
def test_the_share_that_may_be_lost_is_allowed_and_any_more_is_refused(tmp_path, n, lost):
    """In floating point 15 / 22 * 22 is less than 15."""
    place = Place(height=4, width=4, left=500_280, top=5_629_720)
    days = [
        Optical(when=f"2018-05-{i + 1:02d}T10:56:21Z", id=f"i{i}", place=place) for i in range(n)
    ]
    folder = write_archive(tmp_path / "archive", days)
    for i in range(lost):
        (folder / "sentinel-2-l2a" / f"i{i}" / "B02.tif").unlink()
    samples, labels = make_samples(n=6, sensors=("sentinel2",))
    model = replace(fit(samples, labels, config=TrainConfig(epochs=1)), coverage={})
    area = gpd.GeoSeries([shapely.box(*place.bounds)], crs=place.crs)
    lazy = cubecrop.classify(area, 2018, archive=folder, model=model)
    out, share = tmp_path / "map", lost / n
    less = float(np.nextafter(share, 0))
    with pytest.raises(ReadError, match=f"{lost} of {n} items could not be read"):
        cubecrop.write_map(lazy, out, max_lost=less, progress=False)
    assert not out.exists()
    cubecrop.write_map(lazy, out, max_lost=share, progress=False)
    told = json.loads((out / "item.json").read_text())["properties"]["cubecrop:lost"]
    assert [one["item"] for one in told] == sorted(f"i{i}" for i in range(lost))


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_a_map_lists_what_it_was_made_without(broken, model, scheduler, tmp_path):
    with dask.config.set(scheduler=scheduler, num_workers=1):
        out = cubecrop.write_map(
            mapped(broken, model, chunks=30), tmp_path / "map", max_lost=0.3, progress=False
        )
    lost = json.loads((out / "item.json").read_text())["properties"]["cubecrop:lost"]
    assert [(one["item"], one["asset"]) for one in lost] == [(RADAR, "vh"), (OPTICAL, "B08")]
    assert "No such file" in lost[0]["error"]
    assert all(one["item"] in one["error"] for one in lost)


def test_reasons_come_from_distributed_workers(broken, model, tmp_path):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, protocol="tcp", host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster),
    ):  # fmt: skip
        out = cubecrop.write_map(
            mapped(broken, model), tmp_path / "map", max_lost=0.3, progress=False
        )
    lost = json.loads((out / "item.json").read_text())["properties"]["cubecrop:lost"]
    assert {one["item"] for one in lost} == {RADAR, OPTICAL}


def test_what_was_lost_changes_nothing_else(broken, model, tmp_path):
    scenes = [s for s in season_scenes() if "06-15" not in getattr(s, "when", "")]
    scenes = [s for s in scenes if not (isinstance(s, Radar) and "05-03" in s.when)]
    without = write_archive(tmp_path / "without", scenes)
    expected = mapped(without, model).compute()
    cube = cubecrop.open_season(
        AOI, 2018, archive=broken, modalities=("sentinel2", "sentinel1"), on_error="lost"
    )
    found = cubecrop.classification.classify_pixels(cube, model).compute()
    np.testing.assert_allclose(found["probability"], expected["probability"], atol=1e-6)
    # A cube that goes on does not make a map that may lose scenes.
    lazy = cubecrop.classification.classify_pixels(cube, model)
    with pytest.raises(ReadError, match="2 of 7 items"):
        cubecrop.write_map(lazy, tmp_path / "map", progress=False)


def test_a_sound_archive_lists_nothing(whole, model, tmp_path):
    out = cubecrop.write_map(mapped(whole, model), tmp_path / "map", max_lost=1, progress=False)
    assert json.loads((out / "item.json").read_text())["properties"]["cubecrop:lost"] == []


def test_the_report_reads_no_more_than_the_map(whole, model, tmp_path, monkeypatch):
    read, windows = rasterio_backend.read_plane, []

    def counting(source, layer, lattice, need, request, **options):
        windows.append(need)
        return read(source, layer, lattice, need, request, **options)

    monkeypatch.setattr(rasterio_backend, "read_plane", counting)
    crop = mapped(whole, model, chunks=16).isel(x=slice(0, 16), y=slice(0, 16))
    cubecrop.write_map(crop, tmp_path / "map", max_lost=0.5, progress=False)
    assert len(set(windows)) == 1
    assert len(windows) == 4 * 11 + 3 * 2


def test_no_band_is_read_of_a_scene_without_a_clear_pixel(tmp_path, monkeypatch):
    folder = write_archive(
        tmp_path,
        [
            Optical(when="2018-06-15T10:56:21Z", id="clear"),
            Optical(when="2018-06-20T10:56:21Z", id="cloudy", scl=9),
        ],
    )
    read, names = rasterio_backend.read_plane, []

    def counting(source, layer, lattice, need, request, **options):
        if (need.height, need.width) != (1, 1):  # that is a look whether the file is there
            names.append((source.item, source.asset))
        return read(source, layer, lattice, need, request, **options)

    monkeypatch.setattr(rasterio_backend, "read_plane", counting)
    cube = cubecrop.open_season(AOI, 2018, archive=folder)
    found = cube["sentinel2"].to_dataset().compute()
    assert [asset for item, asset in names if item == "cloudy"] == ["SCL"]
    assert len([asset for item, asset in names if item == "clear"]) == 11
    assert (found["status"][1] != Status.CLEAR).all()
    assert np.isnan(found["reflectance"][1]).all()


def test_items_of_one_id_are_counted_as_the_two_that_they_are():
    def loss(item, asset, file):
        return Loss(item=item, asset=asset, error="gone", file=file)

    lost = [
        loss("A", "B02", "1"),
        loss("A", "B02", "2"),
        loss("A", "B03", "3"),
        loss("B", "B02", "4"),
    ]
    assert count_items(lost) == 3
    assert lost[0].told() == {"item": "A", "asset": "B02", "error": "gone"}
