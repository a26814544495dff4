"""The folder layout of the code published with the pixel-set encoder."""

import datetime as dt
import json
import pickle

import numpy as np
import pytest

from cubecrop.errors import LabelError, ReadError, SchemaError
from cubecrop.sample import read_pixel_set_folder
from cubecrop.season import Season
from cubecrop.texts import label_text
from cubecrop.training import TrainConfig, fit

DATES = [20170105, 20170308, 20170615, 20170820]


def write(folder, arrays, *, dates=DATES, labels=None, features=None):
    (folder / "DATA").mkdir(parents=True, exist_ok=True)
    (folder / "META").mkdir(exist_ok=True)
    for key, array in arrays.items():
        np.save(folder / "DATA" / f"{key}.npy", array)
    labels = labels or {"crops": {key: int(key) % 2 for key in arrays}, "other": {"1": 7}}
    (folder / "META" / "labels.json").write_text(json.dumps(labels))
    if not isinstance(dates, dict):
        dates = {str(i): date for i, date in enumerate(dates)}
    (folder / "META" / "dates.json").write_text(json.dumps(dates))
    if features:
        (folder / "META" / "geomfeat.json").write_text(json.dumps(features))
    return folder


def series(n_pixels, n_dates=4, *, seed=0, channels=10):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4000, (n_dates, channels, n_pixels)).astype(np.int16)


def test_values_labels_and_geometry(tmp_path):
    arrays = {"10": series(3), "9": series(1, seed=1)}
    folder = write(tmp_path, arrays, features={"9": [1, 2.5], "10": [3, 4]})
    tree = read_pixel_set_folder(folder, label="crops", scale=1e-4)
    assert tree["parcel"].values.tolist() == ["9", "10"]  # as numbers
    assert tree["label"].values.tolist() == ["1", "0"]
    assert tree["pixel_count"].values.tolist() == [1, 3]
    np.testing.assert_allclose(tree["geometry"], [[1, 2.5], [3, 4]])
    found = tree["sentinel2/reflectance"]
    assert found.dims == ("parcel", "time", "band", "pixel")
    np.testing.assert_allclose(found[1], arrays["10"] * 1e-4, rtol=1e-6)
    assert tree["sentinel2/valid"].values.sum(axis=(1, 2)).tolist() == [4, 12]
    assert tree["sentinel2"]["time"].values[1] == np.datetime64("2017-03-08")
    assert tree.attrs["season_year"] == 2017
    assert (tree.attrs["season_start"], tree.attrs["season_end"]) == ("2017-01-01", "2017-08-31")


def test_another_nomenclature_leaves_parcels_without_label(tmp_path):
    folder = write(tmp_path, {"1": series(2), "2": series(2)})
    tree = read_pixel_set_folder(folder, label="other")
    assert [label_text(one) for one in tree["label"].to_numpy()] == ["7", None]
    assert "geometry" not in tree
    with pytest.raises(LabelError, match="'crops', 'other'"):
        read_pixel_set_folder(folder, label="crop")


@pytest.mark.parametrize("as_list", [True, False])
def test_parcels_with_their_own_dates_share_the_union(tmp_path, as_list):
    dates = {"1": DATES, "2": [20170308, 20170701]}
    if not as_list:
        dates = {key: {str(i + 1): d for i, d in enumerate(row)} for key, row in dates.items()}
    arrays = {"1": series(2), "2": series(2, 2)}
    tree = read_pixel_set_folder(write(tmp_path, arrays, dates=dates), label="crops")
    assert tree["sentinel2"].sizes["time"] == 5
    valid = tree["sentinel2/valid"].values.all(axis=2)
    assert valid.tolist() == [[True, True, True, False, True], [False, True, False, True, False]]
    np.testing.assert_array_equal(tree["sentinel2/reflectance"][1, [1, 3]], arrays["2"])


@pytest.mark.parametrize("form", ["{:%Y%m%d}", "{:%Y-%m-%d}", "{:%Y-%m-%d}T10:52:01Z"])
def test_dates_as_people_write_them(tmp_path, form):
    days = [dt.datetime.strptime(str(day), "%Y%m%d") for day in DATES]
    folder = write(tmp_path, {"1": series(2)}, dates=[form.format(day) for day in days])
    tree = read_pixel_set_folder(folder, label="crops")
    assert tree["sentinel2"]["time"].values.tolist() == [
        np.datetime64(day, "ns").astype(int) for day in days
    ]


def test_hidden_system_files_and_unknown_shapes(tmp_path):
    features = {"1": [1, None], "2": [3, 4]}
    folder = write(tmp_path, {"1": series(2), "2": series(1)}, features=features)
    (folder / "DATA" / "._1.npy").write_bytes(b"of another file system")
    tree = read_pixel_set_folder(folder, label="crops")
    assert tree["parcel"].values.tolist() == ["1", "2"]
    np.testing.assert_array_equal(tree["geometry"], [[1, np.nan], [3, 4]])


TWICE = [20170105, 20170615, 20170105, 20170308]  # of one tile, then of another


def test_the_dates_of_a_second_tile_are_sorted_in_with_their_data(tmp_path):
    first = series(2)
    dates = {"1": DATES, "2": [*TWICE[:2], *DATES[2:], *TWICE[2:]]}
    second = np.concatenate([series(2, seed=2), series(2, seed=3)])[:6]
    folder = write(tmp_path, {"1": first, "2": second}, dates=dates)
    tree = read_pixel_set_folder(folder, label="crops")
    time = tree["sentinel2"]["time"].values.astype("datetime64[D]").astype(str).tolist()
    assert time == ["2017-01-05", "2017-03-08", "2017-06-15", "2017-08-20"]
    found = tree["sentinel2/reflectance"].values
    np.testing.assert_array_equal(found[0], first)
    # Of 5 January and 15 June, which come twice, what stands first in the file.
    np.testing.assert_array_equal(found[1], second[[0, 5, 1, 3]])


@pytest.mark.parametrize("missing", [0, np.nan])
def test_of_a_day_that_comes_twice_each_pixel_is_what_was_seen(tmp_path, missing):
    array = np.ones((4, 2, 3)) * np.array([10, 20, 30, 40])[:, None, None]
    array[0, :, 1] = missing  # of the first tile on 5 January
    array[[0, 2], :, 2] = missing  # of both
    array[1, 0, 0] = 0  # in one channel: a dark pixel
    folder = write(tmp_path, {"1": array}, dates=TWICE)
    tree = read_pixel_set_folder(folder, label="crops", bands=["B04", "B08"])
    found = tree["sentinel2/reflectance"].values[0]  # (5 January, 8 March, 15 June)
    np.testing.assert_array_equal(found[:, 1, :2], [[10, 30], [40, 40], [20, 20]])
    assert found[2, 0, 0] == 0
    assert np.isnan(found[0, :, 2]).all()
    valid = tree["sentinel2/valid"].values[0]
    assert valid.tolist() == [[True, True, False], [True, True, True], [True, True, True]]


def test_one_list_of_dates_for_all_may_repeat_too(tmp_path):
    arrays = {"1": series(2), "2": series(1, seed=1)}
    # Keys that number dates are numbers: "10" comes after "2".
    dates = {str(i + 8): day for i, day in enumerate(TWICE)}
    tree = read_pixel_set_folder(write(tmp_path, arrays, dates=dates), label="crops")
    found = tree["sentinel2/reflectance"].values
    np.testing.assert_array_equal(found[0], arrays["1"][[0, 3, 1]])
    np.testing.assert_array_equal(found[1, :, :, :1], arrays["2"][[0, 3, 1]])


def test_normalisation_follows_the_dates_of_the_file_or_the_days(tmp_path):
    array = series(2).astype(np.float64)
    folder = write(tmp_path, {"1": array}, dates=TWICE)
    mean, deviation = np.arange(40).reshape(4, 10), np.arange(1, 41).reshape(4, 10)
    tree = read_pixel_set_folder(folder, label="crops", normalisation=(mean, deviation))
    expected = ((array - mean[..., None]) / deviation[..., None])[[0, 3, 1]]
    np.testing.assert_allclose(tree["sentinel2/reflectance"][0], expected, rtol=1e-6)
    three = mean[:3], deviation[:3]  # of 5 January, 8 March, 15 June
    tree = read_pixel_set_folder(folder, label="crops", normalisation=three)
    expected = (array[[0, 3, 1]] - three[0][..., None]) / three[1][..., None]
    np.testing.assert_allclose(tree["sentinel2/reflectance"][0], expected, rtol=1e-6)
    with pytest.raises(SchemaError, match=r"\(2, 10\).*\(4, 10\).* of 1\.npy"):
        read_pixel_set_folder(folder, label="crops", normalisation=(mean[:2], deviation[:2]))


def test_all_bad_parcels_are_named_in_one_error(tmp_path):
    arrays = {str(i): series(2) for i in range(6)}
    arrays |= {"1": series(2, 3), "3": series(2, channels=9)}
    folder = write(tmp_path, arrays)
    (folder / "DATA" / "5.npy").write_bytes(b"")
    with pytest.raises(SchemaError, match=r"(?s)3 of 6 parcels.*1\.npy.*3\.npy.*5\.npy") as error:
        read_pixel_set_folder(folder, label="crops")
    assert "from DATA" in str(error.value)
    for key in ("1", "3", "5"):
        (folder / "DATA" / f"{key}.npy").unlink()
    assert read_pixel_set_folder(folder, label="crops").sizes["parcel"] == 3


def test_normalisation_of_three_shapes(tmp_path):
    array = series(2).astype(np.float32)
    folder = write(tmp_path, {"1": array})
    rng = np.random.default_rng(0)
    for shape in ((), (10,), (4, 10)):
        mean, deviation = rng.normal(size=shape), rng.uniform(1, 2, size=shape)
        tree = read_pixel_set_folder(folder, label="crops", normalisation=(mean, deviation))
        expected = (array - np.asarray(mean)[..., None]) / np.asarray(deviation)[..., None]
        np.testing.assert_allclose(tree["sentinel2/reflectance"][0], expected, rtol=1e-5)
    with pytest.raises(SchemaError, match="normalisation"):
        read_pixel_set_folder(folder, label="crops", normalisation=(np.zeros(4), np.ones(4)))
    with pytest.raises(SchemaError, match="not a mean and a deviation"):
        read_pixel_set_folder(folder, label="crops", normalisation=3)


def test_large_parcels_are_drawn_from_and_empty_ones_are_masked(tmp_path):
    whole = np.broadcast_to(np.arange(50, dtype=np.float32), (4, 10, 50))
    folder = write(tmp_path, {"1": whole, "2": series(0), "3": np.full((4, 10, 1), np.nan)})
    tree = read_pixel_set_folder(folder, label="crops", n_pixels=8)
    drawn = tree["sentinel2/reflectance"].values[0, 0, 0]
    assert len(set(drawn)) == 8
    assert set(drawn) <= set(range(50))
    assert not tree["sentinel2/valid"][1:].any()


def test_a_network_learns_from_it(tmp_path):
    arrays = {str(i): series(1 + i % 5, seed=i) + 3000 * (i % 2) for i in range(24)}
    tree = read_pixel_set_folder(write(tmp_path, arrays), label="crops", scale=1e-4)
    model = fit(tree, tree["label"].values.tolist(), config=TrainConfig(epochs=15, n_pixels=4))
    found = model.predict_proba(tree).idxmax("crop").values
    assert (found == tree["label"].values).mean() > 0.9


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"dates": DATES[:3]}, SchemaError, "expected numbers of 3 dates"),
        ({"dates": {"1": DATES, "2": []}}, SchemaError, "parcel 2 has no date"),
        ({"dates": ["5 January 2017"] * 4}, SchemaError, "YYYYMMDD"),
        ({"dates": {"1": DATES}}, SchemaError, "no dates of the parcels"),
        ({"features": {"1": [1], "2": [1, 2]}}, SchemaError, "1, 2"),
        ({"features": {"1": ["wide"], "2": [1]}}, SchemaError, "holds no numbers"),
    ],
)
def test_mismatched_metadata_is_named(tmp_path, change, error, says):
    folder = write(tmp_path, {"1": series(2), "2": series(2)}, **change)
    with pytest.raises(error, match=says):
        read_pixel_set_folder(folder, label="crops")


def test_bands_and_season_that_do_not_fit(tmp_path):
    folder = write(tmp_path, {"1": series(2, channels=3)})
    with pytest.raises(SchemaError, match="10 channels"):
        read_pixel_set_folder(folder, label="crops")
    read_pixel_set_folder(folder, label="crops", bands=["B02", "B03", "B04"])
    for options, says in (
        ({"bands": ["B02", "B02", "B04"]}, "expected different names"),
        ({"sensor": "modis"}, "modis"),
        ({"n_pixels": 0}, "1 or more"),
    ):
        with pytest.raises(SchemaError, match=says):
            read_pixel_set_folder(folder, label="crops", **options)
    with pytest.raises(SchemaError, match="2017-01-05"):
        read_pixel_set_folder(
            folder, label="crops", bands=["B02", "B03", "B04"], season=Season(2018)
        )


class _Trap:
    def __reduce__(self):
        return (print, ("executed",))


def test_no_code_is_executed_and_no_outside_file_is_read(tmp_path, capsys):
    folder = write(tmp_path / "sets", {"1": series(2)})
    np.save(folder / "DATA" / "2.npy", np.array([_Trap()], dtype=object))
    with pytest.raises(ReadError, match=r"2\.npy"):
        read_pixel_set_folder(folder, label="crops")
    (folder / "DATA" / "2.npy").write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(ReadError, match=r"2\.npy"):
        read_pixel_set_folder(folder, label="crops")
    assert "executed" not in capsys.readouterr().out
    (folder / "DATA" / "2.npy").unlink()
    np.save(tmp_path / "away.npy", series(2))
    (folder / "DATA" / "3.npy").symlink_to(tmp_path / "away.npy")
    with pytest.raises(ReadError, match="links to a place outside"):
        read_pixel_set_folder(folder, label="crops")


def test_a_folder_of_another_form_is_refused(tmp_path):
    with pytest.raises(ReadError, match="DATA"):
        read_pixel_set_folder(tmp_path, label="crops")
    folder = write(tmp_path, {"1": series(2)})
    (folder / "META" / "labels.json").write_text("{")
    with pytest.raises(ReadError, match="JSON"):
        read_pixel_set_folder(folder, label="crops")
