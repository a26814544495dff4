"""Presto: weights from the user's file, tokens from our series, fine-tuning."""

import dataclasses
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from samples import make_samples

from cubecrop import NetworkOptions, TrainConfig, fit
from cubecrop.errors import LabelError, ModelFormatError, ModelMismatchError, SchemaError
from cubecrop.model import (
    Batch,
    CropModel,
    CropNetwork,
    NetworkConfig,
    SensorConfig,
    Series,
    read_presto,
)
from cubecrop.model.presto import PrestoEncoder
from cubecrop.schema import SENTINEL1_BANDS, SENTINEL2_BANDS
from cubecrop.training import as_init, refit, settings_of

#: The tables of positions and months are not learned.
TABLES = {"pos_embed", "month_embed.weight"}
#: Tokens of terrain, weather, land cover and place are never made.
UNUSED = ("SRTM", "ERA5", "dw_embed", "latlon_embed")
#: Values of the published code, in its order of bands.
GROUPS = {
    "S1": [0, 1], "S2_RGB": [2, 3, 4], "S2_Red_Edge": [5, 6, 7], "S2_NIR_10m": [8],
    "S2_NIR_20m": [9], "S2_SWIR": [10, 11], "ERA5": [12, 13], "NDVI": [16],
}  # fmt: skip


def numbers(shape, start):
    """Numbers from -0.5 to 0.5 without a pattern, the same on every machine."""
    i = np.arange(np.prod(shape))
    values = (i * i * 31 + i * 17 + start * 101) % 1009 / 1009 - 0.5
    return torch.from_numpy(values.reshape(shape).astype(np.float32))


def state_dict():
    """Weights of the encoder, by the names of the published code."""
    own = PrestoEncoder().state_dict()
    return {
        name: own[name] if name in TABLES else numbers(own[name].shape, number)
        for number, name in enumerate(sorted(own))
    }


@pytest.fixture(scope="module")
def encoder_weights():
    """Weights whose tokens show their values more than their group, so that few steps suffice."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = PrestoEncoder().state_dict()
    scales = {name: 3.0 for name in weights if "patch" in name} | {"channel_embed.weight": 0.1}
    return {name: scales.get(name, 1.0) * values for name, values in weights.items()}


@pytest.fixture
def file(encoder_weights, tmp_path):
    """A file as the published code writes it: the encoder, and a decoder that is not needed."""
    decoder = {"decoder.mask_token": torch.zeros(128), "decoder.decoder_norm.bias": torch.ones(128)}
    encoder = {f"encoder.{name}": values for name, values in encoder_weights.items()}
    torch.save(encoder | decoder, tmp_path / "default_model.pt")
    return tmp_path / "default_model.pt"


def make_network(**changes):
    sensors = (
        SensorConfig(name="sentinel2", bands=SENTINEL2_BANDS),
        SensorConfig(name="sentinel1", bands=SENTINEL1_BANDS),
    )
    options = dataclasses.asdict(NetworkOptions.published("presto")) | changes
    network = CropNetwork(
        NetworkConfig(
            sensors=sensors,
            n_classes=3,
            may_be_missing=("sentinel2", "sentinel1"),
            start_day=244,  # 1 September
            **options,
        )
    )
    network.temporal["fused"].encoder.load_state_dict(state_dict())
    return network.eval()


def make_series(values, days, valid=None):
    """A series of members (batch, time, pixel, band); all pixels are valid by default."""
    valid = torch.ones(values.shape[:3], dtype=torch.bool) if valid is None else valid
    return Series(values, valid, torch.tensor(days, dtype=torch.float32).expand(len(values), -1))


def test_the_encoder_gives_the_numbers_of_the_published_code():
    """The numbers are those of `Encoder` in single_file_presto.py of github.com/nasaharvest/presto.

    It was given the same weights and values, all terrain and land cover masked, first nothing else
    masked, then radar, the third and fourth month, and the sixth month of NDVI. Every sixteenth
    number of the embedding was written down.
    """
    encoder = PrestoEncoder()
    encoder.load_state_dict(state_dict())
    values = 2 * numbers((2, 6, 17), 50)
    location = torch.tensor([[50.5, 4.25], [-33.0, 151.0]])
    months = (torch.tensor([[8], [11]]) + torch.arange(6)) % 12
    groups = {group: values[..., bands] for group, bands in GROUPS.items()}
    whole = {group: torch.ones(2, 6, dtype=torch.bool) for group in GROUPS}
    partly = {group: mask.clone() for group, mask in whole.items()}
    partly["S1"][:] = False
    partly["NDVI"][:, 5] = False
    for mask in partly.values():
        mask[:, 2:4] = False
    wanted = {
        "whole": [
            [-0.001343, -0.131511, 0.037188, -0.289032, -0.035842, 0.482844, 0.022685, 0.453665],
            [0.016692, -0.053223, 0.186524, -0.300480, -0.038006, 0.571576, 0.026205, 0.551606],
        ],
        "partly": [
            [0.023106, -0.167321, 0.010269, -0.293292, 0.001785, 0.476532, 0.016592, 0.386812],
            [0.022057, -0.136714, 0.153121, -0.303983, -0.015557, 0.580394, 0.022365, 0.455626],
        ],
    }
    with torch.no_grad():
        for seen, name in ((whole, "whole"), (partly, "partly")):
            found = encoder(groups, seen, months, location)
            np.testing.assert_allclose(found[:, ::16], wanted[name], atol=1e-5, rtol=0)
        # Members of one batch may differ in their masks.
        mixed = {group: torch.stack([whole[group][0], partly[group][1]]) for group in GROUPS}
        found = encoder(groups, mixed, months, location)[:, ::16]
    both = [wanted["whole"][0], wanted["partly"][1]]
    np.testing.assert_allclose(found, both, atol=1e-5, rtol=0)


def test_dates_of_a_month_are_averaged_over_valid_pixels():
    """A season from 1 September: days 10 and 20 are its first month, and 130 is in January."""
    network = make_network()
    optical, radar = 0.3 + 0.2 * numbers((1, 3, 2, 10), 1), -15 + 10 * numbers((1, 1, 2, 2), 2)
    valid = torch.tensor([[[True, True], [False, True], [True, False]]])
    hidden = torch.where(valid[..., None], optical, torch.nan)
    series = {
        "sentinel2": make_series(hidden, [10, 20, 130], valid),
        "sentinel1": make_series(radar, [129]),
    }
    september = torch.stack([optical[0, 0, 0], optical[0, 0, 1], optical[0, 1, 1]]).mean(dim=0)
    blue, green, red, *edge, near, narrow, one, two = torch.stack([september, optical[0, 2, 0]]).T
    groups = {
        "S2_RGB": [blue, green, red], "S2_Red_Edge": edge, "S2_NIR_10m": [near],
        "S2_NIR_20m": [narrow], "S2_SWIR": [one, two], "NDVI": [(near - red) / (near + red)],
    }  # fmt: skip
    groups = {group: torch.stack(bands, dim=1) for group, bands in groups.items()}
    values = {group: torch.zeros(1, 5, bands.shape[1]) for group, bands in groups.items()}
    for group, bands in groups.items():
        values[group][0, [0, 4]] = bands
    seen = {group: torch.tensor([[True, False, False, False, True]]) for group in groups}
    values["S1"] = torch.zeros(1, 5, 2)
    values["S1"][0, 4] = (radar[0, 0].mean(dim=0) + 25) / 25
    seen["S1"] = torch.tensor([[False, False, False, False, True]])
    months = torch.tensor([[8, 9, 10, 11, 0]])
    with torch.no_grad():
        wanted = network.temporal["fused"].encoder(values, seen, months)
        found = network.forward_all(Batch(series)).embedding
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_a_missing_sensor_is_masked_and_not_zero():
    network = make_network()
    optical = make_series(0.3 + 0.2 * numbers((2, 3, 2, 10), 1), [10, 50, 130])
    radar = make_series(torch.zeros(2, 1, 2, 2), [20])

    def embedded(series):
        with torch.no_grad():
            return network.forward_all(Batch(series)).embedding

    alone = embedded({"sentinel2": optical})
    absent = radar.keep(torch.zeros(2, dtype=torch.bool))
    torch.testing.assert_close(embedded({"sentinel2": optical, "sentinel1": absent}), alone)
    assert (embedded({"sentinel2": optical, "sentinel1": radar}) - alone).abs().max() > 1e-2
    one = radar.keep(torch.tensor([True, False]))
    torch.testing.assert_close(embedded({"sentinel2": optical, "sentinel1": one})[1], alone[1])


def test_training_masks_groups_but_never_all_of_them():
    network = make_network(dropout=0.9).train()
    series = make_series(0.3 + 0.2 * numbers((200, 3, 2, 10), 1), [10, 50, 130])
    torch.manual_seed(0)
    summary = network.temporal["fused"]({"sentinel2": series})
    empty = network.temporal["fused"].encoder.norm.bias  # the summary of no token
    assert (summary - empty).abs().amax(dim=1).min() > 1e-2
    again = network.temporal["fused"]({"sentinel2": series})
    assert (summary - again).abs().max() > 1e-2
    summary.square().sum().backward()
    gradients = [w.grad for w in network.temporal.parameters() if w.grad is not None]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_a_file_of_presto_becomes_a_crop_model(file, tmp_path):
    weights = read_presto(file)
    samples, labels = make_samples(n=24, cloud=0.1)
    config = TrainConfig(
        network=dataclasses.replace(NetworkOptions.published("presto"), dropout=0.0),
        epochs=24,
        batch_size=8,
        learning_rate=1e-2,
        date_dropout={},
        may_be_missing=("sentinel1",),
    )
    model = fit(samples, labels, init=weights, config=config, progress=False)
    tested, truth = make_samples(n=30, seed=6, cloud=0.0)
    found = model.predict_proba(tested)
    names = [model.nomenclature.names[i] for i in found.to_numpy().argmax(axis=1)]
    assert np.mean(np.array(names) == truth) > 0.5
    again = CropModel.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict_proba(tested), found)
    own = dict(again.network.temporal["fused"].named_parameters())
    for name, values in weights.weights.items():
        fixed = name in TABLES or any(part in name for part in UNUSED)
        assert torch.equal(own[f"encoder.{name}"], values) == fixed, name
    optical, _ = make_samples(n=30, seed=6, cloud=0.0, sensors=("sentinel2",))
    assert np.isfinite(model.predict_proba(optical)).all()


def test_a_model_of_presto_is_a_start_as_well(file):
    samples, labels = make_samples(n=12)
    quick = TrainConfig(epochs=1)
    first = fit(samples, labels, init=read_presto(file), config=quick, progress=False)
    names = ["tall" if label == "maize" else "short" for label in labels]
    second = fit(samples, names, init=first, config=quick, progress=False)
    assert second.nomenclature.names == ["short", "tall"]
    assert second.config.temporal == "presto"
    with pytest.raises(ModelMismatchError, match="cannot be trained again from new weights"):
        refit(first, [(samples, labels)], settings_of(first), seed=0)


def test_safetensors_hold_the_same_weights(file, encoder_weights, tmp_path):
    safe = tmp_path / "presto.safetensors"
    safetensors.torch.save_file(encoder_weights, safe)
    assert read_presto(safe).digest == as_init(file).digest


def test_other_weights_are_refused_by_name(tmp_path):
    path, state = tmp_path / "weights.pt", state_dict()
    for change, says in (
        ({"norm.weight": None}, r"missing: norm\.weight"),
        ({"blocks.2.norm1.weight": torch.ones(128)}, r"unknown: blocks\.2\.norm1\.weight"),
        ({"norm.bias": torch.ones(64)}, r"norm\.bias \(64,\), expected \(128,\)"),
        ({"norm.bias": torch.full((128,), torch.nan)}, r"not finite: norm\.bias"),
        ({"norm.bias": 3}, "no state dict"),
        ({"norm.bias": torch.ones(128).to_sparse()}, "tensors of floats"),
        ({"norm.bias": torch.ones(128, dtype=torch.complex64)}, "tensors of floats"),
        ({"norm.bias": torch.ones(128, device="meta")}, "tensors of floats"),
    ):
        changed = {k: v for k, v in {**state, **change}.items() if v is not None}
        torch.save(changed, path)
        with pytest.raises(ModelFormatError, match=says):
            read_presto(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelFormatError, match="damaged"):
        read_presto(path)
    with pytest.raises(ModelFormatError, match="not a file"):
        read_presto(tmp_path)


def test_every_damage_of_a_file_is_an_error_of_ours(file, tmp_path):
    """Each byte of the file's structure in turn is another one."""
    with zipfile.ZipFile(file) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    structure = next(name for name in parts if name.endswith("data.pkl"))
    refused, damaged = 0, tmp_path / "damaged.pt"
    for place in range(0, len(parts[structure]), 29):
        changed = bytearray(parts[structure])
        changed[place] ^= 0x55
        with zipfile.ZipFile(damaged, "w") as out:
            for name, content in {**parts, structure: bytes(changed)}.items():
                out.writestr(name, content)
        try:
            read_presto(damaged)
        except ModelFormatError:
            refused += 1
    assert refused > 50


def test_weights_may_share_their_memory(tmp_path):
    shared = torch.ones(128)
    state = {**state_dict(), "norm.weight": shared, "norm.bias": shared}
    torch.save(state, tmp_path / "shared.pt")
    torch.save(state | {"norm.bias": torch.ones(128)}, tmp_path / "apart.pt")
    found = read_presto(tmp_path / "shared.pt")
    assert found.digest == read_presto(tmp_path / "apart.pt").digest


class _Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_a_file_cannot_execute_code(tmp_path, capsys):
    torch.save({"norm.weight": _Evil()}, tmp_path / "default_model.pt")
    with pytest.raises(ModelFormatError, match="more than weights"):
        read_presto(tmp_path / "default_model.pt")
    assert "executed" not in capsys.readouterr().out


def test_what_presto_cannot_take_is_refused(file):
    weights = read_presto(file)
    samples, labels = make_samples(n=9)
    presto = TrainConfig(network=NetworkOptions.published("presto"))
    with pytest.raises(LabelError, match="read_presto"):
        fit(samples, labels, config=presto)
    other = TrainConfig(network=NetworkOptions.published("tae"))
    with pytest.raises(LabelError, match="is not Presto"):
        fit(samples, labels, config=other, init=weights)
    with pytest.raises(ModelFormatError, match="'fusion': 'late'"):
        NetworkOptions(temporal="presto")
    longer = samples.copy()
    longer.attrs["season_start"] = "2016-01-01"
    with pytest.raises(SchemaError, match="34 months"):
        fit(longer, labels, init=weights)
    lacking = samples.copy()
    lacking["sentinel1"].dataset = samples["sentinel1"].to_dataset().isel(band=slice(1))
    with pytest.raises(SchemaError, match="all bands of one of the groups"):
        fit(lacking, labels, init=weights)


def test_groups_that_lack_a_band_are_left_out(file):
    samples, labels = make_samples(n=9, sensors=("sentinel2",))
    few = samples.copy()
    few["sentinel2"].dataset = samples["sentinel2"].to_dataset().drop_sel(band=["B02", "B05"])
    model = fit(few, labels, init=read_presto(file), config=TrainConfig(epochs=1), progress=False)
    assert model.config.sensors[0].bands == ("B04", "B08", "B8A", "B11", "B12")
    assert set(model.network.temporal["fused"].groups["sentinel2"]) == {
        "S2_NIR_10m", "S2_NIR_20m", "S2_SWIR", "NDVI",
    }  # fmt: skip
