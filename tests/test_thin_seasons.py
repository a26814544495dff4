"""Seasons with fewer images than a model needs: refused, or mapped in part, and what is said."""

import dataclasses
import json
import re

import numpy as np
import pytest
import xarray as xr
from seasons import OPTICAL, PLACE, RADAR, declared, every, optical, radar, seen_on, train
from test_cli import run

import cubecrop
from cubecrop.classification import classify_pixel_sets, classify_pixels
from cubecrop.errors import ArgumentError, ModelMismatchError
from cubecrop.nomenclature import NODATA, TOO_FEW
from cubecrop.testing import Place, forbid_compute, write_archive


@pytest.fixture(scope="module")
def place(two_crops_archive):
    return two_crops_archive


@pytest.fixture(scope="module")
def model(two_crops_model):
    return two_crops_model


@pytest.fixture(scope="module")
def optional(place):
    """A model that does without radar, and without optical images."""
    return train(place, 2019, may_be_missing=("sentinel1", "sentinel2"))


def classify(archive, year, model, **options):
    return cubecrop.classify(declared(), year, archive=archive, model=model, clip=False, **options)


def classify_parcels(archive, year, model, **options):
    return cubecrop.classify_parcels(
        declared(), year, archive=archive, model=model, progress=False, **options
    )


@pytest.mark.parametrize(
    ("year", "says"),
    [
        (2020, r"(?s)too little of the season 2020 \(2019-09-01 to 2020-10-31\).*"
               r"sentinel2 has 4 dates from 2019-09-14 to 2019-11-13, longest gap 20 days from "
               r"2019-09-14.*21 dates from 2019-09-19 to 2020-10-23.*last image is 345 days "
               r"earlier.*3 dates instead of 18"),
        (2018, r"(?s)season 2018.*sentinel2 has 5 dates from 2018-08-10 to 2018-10-29.*"
               r"the first image is 325 days later.*sentinel1 has 4 dates"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("by", [classify, classify_parcels])
def test_a_season_that_the_archive_does_not_cover_is_refused(place, model, year, says, by):
    with forbid_compute(), pytest.raises(ModelMismatchError, match=f"(?s){says}") as caught:
        by(place, year, model)
    assert f"cubecrop search --aoi AOI --year {year}" in str(caught.value)
    assert "--timeline seen.png" in str(caught.value)
    assert "allow_gaps=True" in str(caught.value)


def without(first, last):
    return [day for day in OPTICAL if not first <= day <= last]


def cut(cube, name, days):
    """A season cube with images of a sensor on some days alone."""
    node = cube[name].to_dataset(inherit=False)
    kept = np.isin(node["time"].dt.strftime("%Y-%m-%d"), days)
    out = cube.copy()
    out[name] = xr.DataTree(node.isel(time=np.flatnonzero(kept)))
    return out


@pytest.fixture(scope="module")
def cube(place):
    return cubecrop.open_season(declared(), 2019, archive=place)


@pytest.mark.parametrize(
    ("days", "says"),
    [
        (without("2018-09-01", "2018-09-30"), None),
        (without("2018-09-01", "2018-10-20"), "the first image is 40 days later"),
        (without("2019-10-20", "2019-11-30"), None),
        (without("2019-09-20", "2019-11-30"), "the last image is 40 days earlier"),
        (without("2019-03-01", "2019-03-31"), None),
        (without("2019-03-01", "2019-04-20"), "the longest gap is 40 days longer"),
        (OPTICAL[::2], None),
    ],
)
def test_the_error_of_a_thinner_season_says_what_it_lacks(model, cube, days, says):
    thin = cut(cube, "sentinel2", days)
    if says is None:
        assert model.check(thin) == ("sentinel2", "sentinel1")
        return
    with pytest.raises(ModelMismatchError, match="sentinel2 has") as caught:
        model.check(thin)
    assert says in str(caught.value)
    assert "sentinel1 has" not in str(caught.value)


def test_radar_that_ends_early_is_refused_too(model, cube):
    with pytest.raises(ModelMismatchError, match=r"sentinel1 has .*the last image is"):
        model.check(cut(cube, "sentinel1", RADAR[:10]))


def test_a_year_of_the_same_dates_and_twice_the_passes_is_no_gap(model, cube):
    node = cube["sentinel2"].to_dataset(inherit=False)
    later = node.assign_coords(time=node["time"] + np.timedelta64(10, "D"))
    more = cube.copy()
    more["sentinel2"] = xr.DataTree(xr.concat([node, later], dim="time").sortby("time"))
    assert len(more["sentinel2"]["time"]) == 42
    assert model.check(more) == ("sentinel2", "sentinel1")


def test_pixel_sets_and_cubes_are_checked_wherever_they_are_used(place, model, tmp_path):
    cube = cubecrop.open_season(declared(), 2020, archive=place)
    samples = cubecrop.sample_pixel_sets(cube, declared(), n_pixels=4)
    for use in (
        lambda **o: model.check(cube, **o),
        lambda **o: model.check(samples, **o),
        lambda **o: classify_pixels(cube, model, **o),
        lambda **o: classify_pixel_sets(samples, model, **o),
        lambda **o: model.predict_proba(samples, **o),
        lambda **o: model.logits(samples, **o),
        lambda **o: model.embed(samples, **o),
        lambda **o: model.attention(samples, **o),
    ):
        with pytest.raises(ModelMismatchError, match="too little of the season"):
            use()
        use(allow_gaps=True)
    # What was stored tells the same.
    samples.load().to_zarr(tmp_path / "sets.zarr", zarr_format=2)
    back = xr.open_datatree(tmp_path / "sets.zarr", engine="zarr").load()
    with pytest.raises(ModelMismatchError, match="too little of the season"):
        model.check(back)


def test_with_allow_gaps_the_status_gives_too_few_observations(place, model, tmp_path):
    table = classify_parcels(place, 2020, model, allow_gaps=True)
    assert table["status"].unique().tolist() == [
        "too few observations: 4 dates of sentinel2, 9 needed and 3 dates of sentinel1, 5 needed"
    ]
    assert table["crop:name"].isna().all()
    assert table["confidence"].isna().all()
    assert table.filter(like="probability:").isna().all(axis=None)
    with forbid_compute():
        lazy = classify(place, 2020, model, allow_gaps=True)
    assert lazy["crop_type"].attrs["flag_values"].tolist() == [0, 1, TOO_FEW]
    assert lazy["crop_type"].attrs["flag_meanings"] == "maize wheat too_few_observations"
    found = lazy.compute()
    assert (found["crop_type"] == TOO_FEW).all()
    assert found["confidence"].isnull().all()
    assert found["probability"].isnull().all()
    assert found["clear_dates"].dims == ("sensor", "y", "x")
    assert found["clear_dates"].dtype == np.uint16
    assert (found["clear_dates"].sel(sensor="sentinel2") == 4).all()
    out = cubecrop.write_map(lazy, tmp_path / "map", progress=False)
    item = json.loads((out / "item.json").read_text())
    assert item["properties"]["cubecrop:coverage"]["sentinel2"] == {
        "first": "2019-09-14", "last": "2019-11-13", "longest_gap_days": 20,
        "gap_start": "2019-09-14", "dates": 4, "median_clear_dates": 4.0,
    }  # fmt: skip
    assert item["properties"]["title"].startswith("Crop types 2020, season with gaps")
    gaps = item["properties"]["cubecrop:season_gaps"]
    assert re.fullmatch(
        r"sentinel2 has 4 dates from 2019-09-14 to 2019-11-13.*days earlier.*sentinel1 has .*", gaps
    )
    assert table.attrs["season_gaps"] == lazy.attrs["season_gaps"] == gaps
    for drawn in (lazy, out):  # the quicklook is drawn in the same way
        figure = cubecrop.plot_map(drawn, progress=False)
        assert "season with gaps" in figure.axes[0].get_title(loc="left")
    classes = item["assets"]["crop_type"]["classification:classes"]
    entry = next(one for one in classes if one["value"] == TOO_FEW)
    assert (entry["name"], entry["count"]) == ("too_few_observations", 256)


def test_a_region_says_that_its_season_has_gaps(place, model, tmp_path):
    out = tmp_path / "region"
    options = {"archive": place, "model": model, "tile": 1280, "progress": False}
    assert cubecrop.map_region(declared(), 2020, out, allow_gaps=True, **options).is_complete
    title = json.loads((out / "collection.json").read_text())["title"]
    assert title.startswith("Crop types 2020, season with gaps")


def test_the_table_has_the_dates_of_each_parcel(place, model):
    table = classify_parcels(place, 2019, model)
    assert (table["status"] == "predicted").all()
    assert (table["valid_dates:sentinel2"] == 21).all()
    assert (table["first_date:sentinel2"] == "2018-09-19").all()
    assert (table["last_date:sentinel2"] == "2019-10-24").all()
    assert (table["longest_gap:sentinel2"] == 20).all()
    assert (table["longest_gap:sentinel1"] == 24).all()
    away = declared().iloc[:2]
    shapes = [away.geometry.iloc[0], away.translate(9e5).iloc[1]]
    away = away.set_geometry(shapes, crs=away.crs)
    _, row = cubecrop.classify_parcels(away, 2019, archive=place, model=model).to_dict("records")
    assert row["status"] == "outside the archive"
    assert np.isnat(row["first_date:sentinel2"].to_numpy())
    assert row["longest_gap:sentinel2"] == 0


def test_no_data_and_too_few_observations_have_different_codes(model, tmp_path):
    # Parcels are far from the clouds' edge, which is dilated by 60 m: rows of 160 m.
    place = Place(height=64, width=16)
    scenes = []
    for number, day in enumerate(OPTICAL):

        def scl(x, y, number=number):
            row = (place.top - y) // 10
            return np.where((row < 16) | ((row < 38) & (number % 4 > 0)), 9, 4)

        scenes.append(optical(day, scl=scl, place=place))
    scenes += [radar(day, place=place) for day in RADAR]
    archive = write_archive(tmp_path / "archive", scenes)
    aoi = cubecrop.open_archive(archive).extent(["sentinel-2-l2a"]).bbox
    lazy = cubecrop.classify(aoi, 2019, archive=archive, model=model, crs=place.crs)
    found = lazy.sel(x=place.left + 75, method="nearest").compute()
    north, middle, south = (
        found.sel(y=place.top - 10 * row - 5, method="nearest") for row in (8, 28, 55)
    )
    assert int(north["crop_type"]) == NODATA
    assert int(middle["crop_type"]) == TOO_FEW
    assert int(middle["clear_dates"].sel(sensor="sentinel2")) == 5
    assert int(south["crop_type"]) < 2
    assert int(south["clear_dates"].sel(sensor="sentinel2")) == 21
    for one in (north, middle):
        assert np.isnan(one["confidence"])
        assert one["probability"].isnull().all()


def test_a_sensor_that_may_be_missing_counts_as_absent_under_its_minimum(optional, tmp_path):
    alone = seen_on(tmp_path / "alone", OPTICAL)
    beside = seen_on(tmp_path / "beside", OPTICAL, RADAR[10:14])
    table, expected = (classify_parcels(one, 2019, optional) for one in (beside, alone))
    assert (table["status"] == "predicted").all()
    assert (table["valid_dates:sentinel1"] == 4).all()
    names = [name for name in expected if name.startswith("probability:")]
    np.testing.assert_array_equal(table[names], expected[names])
    one, other = (classify(archive, 2019, optional).compute() for archive in (beside, alone))
    np.testing.assert_array_equal(one["probability"], other["probability"])
    # Where no sensor covers enough, none stands in for another.
    thin = seen_on(tmp_path / "thin", OPTICAL[:6], RADAR[10:14])
    with pytest.raises(ModelMismatchError, match=r"(?s)sentinel2 has.*sentinel1 has"):
        classify_parcels(thin, 2019, optional)
    table = classify_parcels(thin, 2019, optional, allow_gaps=True)
    assert table["status"].str.startswith("too few observations: 4 dates of sentinel2").all()
    assert (classify(thin, 2019, optional, allow_gaps=True)["crop_type"] == TOO_FEW).all()


def test_the_command_says_what_is_mapped_and_why_the_rest_is_not(place, model, tmp_path, capsys):
    parcels = tmp_path / "declared.parquet"
    declared().to_parquet(parcels)
    model.save(tmp_path / "model")
    common = ["--archive", place, "--model", tmp_path / "model"]
    assert run("classify", "--aoi", parcels, "--year", 2019, *common, "--out", tmp_path / "a") == 0
    told = capsys.readouterr().out
    assert "Mapped 100 % of 256 pixels." in told
    assert "Warning" not in told
    thin = ["--aoi", parcels, "--year", 2020, *common, "--out", tmp_path / "b"]
    with pytest.raises(ModelMismatchError, match="--allow-gaps"):
        cubecrop.cli.app(
            ["classify", *map(str, thin)], exit_on_error=False, result_action="return_value"
        )
    assert run("classify", *thin, "--allow-gaps") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Mapped 0 % of 256 pixels: 100 % too few observations." in told
    assert "Warning: less than half of the area is mapped." in told
    out = ["--year", 2020, *common, "--out", tmp_path / "t.parquet"]
    assert run("classify-parcels", parcels, *out, "--allow-gaps") == 0
    told = capsys.readouterr().out
    assert "Predicted 0 of 16 parcels." in told
    assert "16 parcels: too few observations" in told


def test_allow_gaps_must_be_a_bool(model):
    with pytest.raises(ArgumentError, match="allow_gaps is 'no'"):
        model.check(xr.DataTree(), allow_gaps="no")


def test_parcels_with_images_only_in_autumn_have_no_class(model, tmp_path):
    """Half of the area lies in a tile whose images end in November: many dates, no summer."""
    middle = PLACE.left + 80
    west, east = Place(height=16, width=8), Place(height=16, width=8, left=middle)
    dates = list(every(5, "2019-09-03", "2020-10-28"))
    scenes = [
        *(optical(day, place=west) for day in dates),
        *(optical(day, place=east) for day in dates if day < "2019-12-01"),
        *map(radar, dates),
    ]
    scenes = [
        dataclasses.replace(one, id=f"{one.when[:10]}-{number}")
        for number, one in enumerate(scenes)
    ]
    archive = write_archive(tmp_path / "a", scenes)
    options = {"archive": archive, "model": model}
    table = cubecrop.classify_parcels(declared(), 2020, progress=False, **options)
    late = table.geometry.centroid.x > middle
    assert (table["status"][~late] == "predicted").all()
    assert (table["status"][late].str.startswith("too few observations: none for too long")).all()
    found = cubecrop.classify(declared(), 2020, clip=False, **options)["crop_type"].compute()
    assert (found.sel(x=slice(middle, None)) == TOO_FEW).all()
    assert (found.sel(x=slice(None, middle)) < TOO_FEW).all()
