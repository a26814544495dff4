"""Models on disk, and the data that they refuse."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pystac
import pytest
from samples import CROPS, make_samples

from cubecrop.errors import ModelFormatError, ModelMismatchError, OutputError, SchemaError
from cubecrop.model import CropModel, handle_to, season_of
from cubecrop.training import TrainConfig, fit


@pytest.fixture(scope="module")
def model():
    samples, labels = make_samples()
    return fit(samples, labels, config=TrainConfig(epochs=2, n_pixels=4))


def test_a_model_comes_back_the_same(model, tmp_path):
    samples, _ = make_samples(seed=2)
    again = CropModel.load(model.save(tmp_path / "model"))
    assert again.digest == model.digest
    assert again.nomenclature == model.nomenclature
    assert again.training == model.training
    assert again.season_window == model.season_window
    np.testing.assert_array_equal(again.predict_proba(samples), model.predict_proba(samples))


def test_probabilities_are_named_and_sum_to_one(model):
    samples, _ = make_samples(seed=2)
    found = model.predict_proba(samples)
    assert found.dims == ("parcel", "crop")
    assert found["crop"].values.tolist() == list(CROPS)
    np.testing.assert_allclose(found.sum("crop"), 1, atol=1e-5)


def test_a_parcel_never_seen_has_no_prediction(model):
    samples, _ = make_samples(seed=2)
    samples["sentinel2"]["valid"][1] = False
    found = model.predict_proba(samples)
    assert found[1].isnull().all()
    assert found[0].notnull().all()


def test_the_folder_is_a_stac_item(model, tmp_path):
    folder = model.save(tmp_path / "model")
    item = pystac.Item.from_file(str(folder / "model.json"))
    item.stac_extensions = []
    item.validate()
    properties = json.loads((folder / "model.json").read_text())["properties"]
    assert {"mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"} <= set(
        properties
    )
    assert [a for a in item.assets.values() if "mlm:model" in a.roles]


def test_a_taken_folder_is_refused(model, tmp_path):
    model.save(tmp_path / "model")
    with pytest.raises(OutputError, match="overwrite"):
        model.save(tmp_path / "model")
    model.save(tmp_path / "model", overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        model.save(tmp_path / "other", overwrite=True)


def test_a_folder_that_is_no_model_says_so(tmp_path):
    with pytest.raises(ModelFormatError, match="cubecrop train"):
        CropModel.load(tmp_path)


def damage_weights(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def damage_one_byte(folder):
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 255
    (folder / "model.safetensors").write_bytes(bytes(data))


def damage_json(folder):
    (folder / "model.json").write_text("{")


def swap_classes(folder):
    raw = json.loads((folder / "model.json").read_text())
    raw["properties"]["cubecrop:model"]["nomenclature"] = "{}"
    (folder / "model.json").write_text(json.dumps(raw))


def pickle_weights(folder):
    import pickle

    (folder / "model.safetensors").write_bytes(pickle.dumps({"x": 1}))


@pytest.mark.parametrize(
    "damage", [damage_weights, damage_one_byte, damage_json, swap_classes, pickle_weights]
)
def test_a_damaged_model_is_refused(model, tmp_path, damage):
    folder = model.save(tmp_path / "model")
    damage(folder)
    with pytest.raises(ModelFormatError, match="model"):
        CropModel.load(folder)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("season_window",), [[]]),
        (("training", "years"), ["x"]),
        (("training", "bboxes"), [[1, 2, 3]]),
        (("training", "windows"), [[1, 2]]),
        (("network", "embedding"), 10**9),
        (("network", "sensors"), []),
        (("nomenclature",), "{}"),
        (("calibration",), {"temperature": -1}),
    ],
)
def test_invented_metadata_is_refused_even_with_a_valid_digest(model, tmp_path, path, value):
    folder = model.save(tmp_path / "model")
    item = json.loads((folder / "model.json").read_text())
    metadata = item["properties"]["cubecrop:model"]
    part = metadata
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    hashed = hashlib.sha256((folder / "model.safetensors").read_bytes())
    hashed.update(json.dumps(metadata, sort_keys=True).encode())
    item["properties"]["cubecrop:digest"] = hashed.hexdigest()
    (folder / "model.json").write_text(json.dumps(item))
    with pytest.raises(ModelFormatError):
        CropModel.load(folder)


def test_other_bands_are_refused(model):
    samples, _ = make_samples()
    less = samples["sentinel2"].to_dataset().drop_sel(band="B8A")
    samples["sentinel2"] = type(samples)(less)
    with pytest.raises(ModelMismatchError, match="B8A"):
        model.check(samples)


def test_a_band_that_stands_twice_is_refused(model):
    samples, _ = make_samples(seed=2)
    optical = samples["sentinel2"].to_dataset(inherit=False)
    samples["sentinel2"] = optical.isel(band=[*range(optical.sizes["band"]), 0])
    with pytest.raises(ModelMismatchError, match=r"bands \['B02'\] more than once"):
        model.predict_proba(samples)


def test_bands_are_matched_by_name_not_place(model):
    samples, _ = make_samples()
    expected = model.predict_proba(samples)
    turned = samples["sentinel2"].to_dataset().isel(band=slice(None, None, -1))
    samples["sentinel2"] = type(samples)(turned)
    np.testing.assert_array_equal(model.predict_proba(samples), expected)


def test_another_calibration_is_refused(model):
    samples, _ = make_samples()
    samples["sentinel1"]["backscatter"].attrs["calibration"] = "sigma0"
    with pytest.raises(ModelMismatchError, match=r"sigma0.*gamma0"):
        model.check(samples)


def test_another_orbit_direction_is_refused(model):
    samples, _ = make_samples()
    node = samples["sentinel1"].to_dataset()
    node["orbit_state"] = ("time", ["descending"] * node.sizes["time"])
    samples["sentinel1"] = type(samples)(node)
    with pytest.raises(ModelMismatchError, match="descending"):
        model.check(samples)


def test_another_season_window_is_refused_but_another_year_is_not(model):
    samples, _ = make_samples()
    samples.attrs.update(season_year=2021, season_start="2020-09-01", season_end="2021-10-31")
    model.check(samples)
    samples.attrs.update(season_start="2021-01-01")
    with pytest.raises(ModelMismatchError, match="01-01"):
        model.check(samples)


FEBRUARIES = (("2019-03-01", "2020-02-29"), ("2020-03-01", "2021-02-28"))


@pytest.mark.parametrize("learnt", [0, 1])
def test_a_season_to_the_end_of_february_is_the_same_in_every_year(model, tmp_path, learnt):
    samples, _ = make_samples()
    seasons = []
    for year, (start, end) in zip((2020, 2021), FEBRUARIES, strict=True):
        one = samples.copy()
        one.attrs |= {"season_year": year, "season_start": start, "season_end": end}
        for name in ("sentinel2", "sentinel1"):
            node = one[name].to_dataset()
            days = node["time"] - np.datetime64("2017-09-01", "ns")
            one[name] = type(one)(node.assign_coords(time=np.datetime64(start, "ns") + days))
        seasons.append(one)
    record = replace(model.training, years=(2020 + learnt,))
    mine = replace(model, season_window=season_of(seasons[learnt]).window, training=record)
    other = seasons[1 - learnt]
    np.testing.assert_array_equal(mine.predict_proba(other), mine.predict_proba(seasons[learnt]))
    again = CropModel.load(mine.save(tmp_path / "model"))
    assert again.season_window == ((-1, 3, 1), (0, 2, 29))
    again.check(other)
    told = json.loads((tmp_path / "model" / "model.json").read_text())["properties"]
    assert told["end_datetime"] == f"{FEBRUARIES[learnt][1]}T23:59:59Z"
    other.attrs["season_end"] = f"{2021 - learnt}-03-01"
    with pytest.raises(ModelMismatchError, match=r"to 03-01, .*to the end of February"):
        again.check(other)


def test_a_season_with_an_invalid_date_is_refused():
    samples, _ = make_samples()
    samples.attrs["season_end"] = "2018-02-29"
    with pytest.raises(SchemaError, match=r"'2018-02-29'.*YYYY-MM-DD"):
        season_of(samples)


def test_a_missing_sensor_is_refused(model):
    samples, _ = make_samples(sensors=("sentinel2",))
    with pytest.raises(ModelMismatchError, match="sentinel1"):
        model.check(samples)


def test_data_that_is_no_pixel_set_is_refused(model):
    samples, _ = make_samples()
    with pytest.raises(SchemaError, match="open_season"):
        model.predict_proba(type(samples)(samples.to_dataset().drop_attrs()))


def test_threads_that_ask_at_once_share_one_cached_model(model, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: handle_to(model), range(8)))
    assert len(found) == 1
    assert CropModel.load(found.pop().path).digest == model.digest


def test_metadata_nested_without_end_is_no_model(model, tmp_path):
    folder = model.save(tmp_path / "model")
    (folder / "model.json").write_text("[" * 200_000)
    with pytest.raises(ModelFormatError, match="is not a model"):
        CropModel.load(folder)
