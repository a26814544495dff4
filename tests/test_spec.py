"""A model's specification, read without its network, and the data that it refuses."""

import dataclasses
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from seasons import declared, every, seen_on, train

import cubecrop
from cubecrop.errors import ModelFormatError, ModelMismatchError
from cubecrop.model import ModelSpec, read_spec


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return seen_on(
        tmp_path_factory.mktemp("seen") / "archive", every(30, "2018-09-05", "2019-10-31")
    )


@pytest.fixture(scope="module")
def model(place):
    return train(place, 2019)


def water(scl, resolution):
    return scl == 6


def test_the_specification_of_a_saved_model_is_the_models(model, tmp_path):
    folder = model.save(tmp_path / "model")
    spec = read_spec(folder)
    assert type(spec) is ModelSpec
    assert spec.clouds == "scl"
    assert spec.resolution == 10
    assert spec.modalities == ("sentinel2",)
    for one in (model.spec, cubecrop.CropModel.load(folder).spec, pickle.loads(pickle.dumps(spec))):
        assert dataclasses.asdict(one) == dataclasses.asdict(spec)


def test_the_specification_is_read_without_torch(model, tmp_path):
    folder = model.save(tmp_path / "model")
    code = (
        "import sys; from cubecrop.model import read_spec; "
        f"print(read_spec({str(folder)!r}).nomenclature.names, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{model.nomenclature.names} False"


@pytest.mark.parametrize("resolution", [10, np.int64(10), np.float32(10)])
def test_a_resolution_of_any_type_has_the_same_digest(model, tmp_path, resolution):
    other = dataclasses.replace(model, resolution=resolution)
    assert other.digest == model.digest
    assert cubecrop.CropModel.load(other.save(tmp_path / "model")).digest == model.digest


def test_changed_metadata_is_refused(model, tmp_path):
    folder = model.save(tmp_path / "model")
    item = json.loads((folder / "model.json").read_text())
    item["properties"]["cubecrop:model"]["resolution"] = 20
    (folder / "model.json").write_text(json.dumps(item))
    with pytest.raises(ModelFormatError, match="is damaged"):
        read_spec(folder)


def test_a_model_refuses_another_mask(model, place):
    for clouds in ("probability", water):
        cube = cubecrop.open_season(declared(), 2019, archive=place, clouds="scl")
        cube.attrs["clouds"] = clouds if isinstance(clouds, str) else "function test_spec.water"
        with pytest.raises(ModelMismatchError, match="trained under the cloud mask 'scl'"):
            model.check(cube)
    with pytest.raises(ModelMismatchError, match="trained under the cloud mask 'scl'"):
        cubecrop.classify(declared(), 2019, archive=place, model=model, clouds=water)


def test_a_model_asks_for_the_mask_of_its_training(model):
    assert model.cloud_mask == "scl"
    assert dataclasses.replace(model, clouds="").cloud_mask == "scl"  # of a table of samples
    assert dataclasses.replace(model, clouds="probability").cloud_mask == "probability"
    own = dataclasses.replace(model, clouds="function test_spec.water")
    with pytest.raises(
        ModelMismatchError, match=r"'function test_spec\.water', and no mask was given"
    ):
        own.cloud_mask  # noqa: B018 (it raises)


def test_a_model_refuses_another_resolution(model, place):
    cube = cubecrop.open_season(declared(), 2019, archive=place, resolution=20)
    with pytest.raises(ModelMismatchError, match=r"pixels of 20 m, .* trained on pixels of 10 m"):
        model.check(cube)
    samples = cubecrop.sample_pixel_sets(cube, declared())
    with pytest.raises(ModelMismatchError, match="pixels of 20 m"):
        model.predict_proba(samples)
    for call in (cubecrop.classify, cubecrop.classify_parcels):
        with pytest.raises(ModelMismatchError, match="pixels of 20 m"):
            call(declared(), 2019, archive=place, model=model, resolution=20)


def test_a_model_maps_at_the_resolution_of_its_training(place):
    coarse = train(place, 2019, resolution=20)
    found = cubecrop.classify(declared(), 2019, archive=place, model=coarse)
    assert float(abs(found["x"][1] - found["x"][0])) == 20
    table = cubecrop.classify_parcels(declared(), 2019, archive=place, model=coarse)
    assert (table["status"] == "predicted").all()
