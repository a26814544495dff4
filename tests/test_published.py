"""Weights of the published code give the logits of the published code.

This module restates the published computation in plain torch, from the papers and the names of the
weights: dense, without masks, step by step.
"""

import itertools
import json

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn import functional

from cubecrop.errors import CubecropError, ModelFormatError, ModelMismatchError
from cubecrop.model import CropModel

BANDS, DATES, PIXELS, CLASSES = 10, 24, 16, 20
DAYS = np.cumsum(np.full(DATES, 11)) - 11


def norm_state(name, n, rng):
    return {
        f"{name}.weight": rng.uniform(0.5, 1.5, n), f"{name}.bias": rng.normal(size=n) * 0.1,
        f"{name}.running_mean": rng.normal(size=n) * 0.3,
        f"{name}.running_var": rng.uniform(0.5, 2, n), f"{name}.num_batches_tracked": 7,
    }  # fmt: skip


def linear_state(name, inside, outside, rng, *trailing):
    return {
        f"{name}.weight": rng.normal(size=(outside, inside, *trailing)) * inside**-0.5,
        f"{name}.bias": rng.normal(size=outside) * 0.1,
    }


def layer_norm_state(name, shape, rng):
    return {f"{name}.weight": rng.uniform(0.5, 1.5, shape), f"{name}.bias": rng.normal(size=shape)}


def reference_state(*, light, geometry=4, mlp1=(32, 64), mlp2=(128,), mlp3=None, wide=None, seed=0):
    rng = np.random.default_rng(seed)
    state = {}
    widths = (BANDS, *mlp1)
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        state |= linear_state(f"spatial_encoder.mlp1.{i}.lin", a, b, rng)
        state |= norm_state(f"spatial_encoder.mlp1.{i}.bn", b, rng)
    widths = (2 * mlp1[-1] + geometry, *mlp2)
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        state |= linear_state(f"spatial_encoder.mlp2.{3 * i}", a, b, rng)
        state |= norm_state(f"spatial_encoder.mlp2.{3 * i + 1}", b, rng)
    inside, heads = mlp2[-1], 16 if light else 4
    wide = 256 * light if wide is None else wide
    model = wide or inside
    key = 8 if light else 32
    mlp3 = (128,) * (1 if light else 2) if mlp3 is None else mlp3
    t = "temporal_encoder"
    state |= {f"{t}.position_enc.weight": rng.normal(size=(DATES, model))}
    state |= layer_norm_state(f"{t}.inlayernorm", inside, rng)
    if wide:
        state |= linear_state(f"{t}.inconv.0", inside, model, rng, 1)
        state |= layer_norm_state(f"{t}.inconv.1", (model, DATES), rng)
    state |= linear_state(f"{t}.attention_heads.fc1_k", model, heads * key, rng)
    if light:
        state[f"{t}.attention_heads.Q"] = rng.normal(size=(heads, key)) * 0.5
        widths = (model, *mlp3)
    else:
        state |= linear_state(f"{t}.attention_heads.fc1_q", model, heads * key, rng)
        state |= norm_state(f"{t}.attention_heads.fc2.0", heads * key, rng)
        state |= linear_state(f"{t}.attention_heads.fc2.1", heads * key, heads * key, rng)
        widths = (heads * model, *mlp3)
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        state |= linear_state(f"{t}.mlp.{3 * i}", a, b, rng)
        state |= norm_state(f"{t}.mlp.{3 * i + 1}", b, rng)
    state |= layer_norm_state(f"{t}.outlayernorm", widths[-1], rng)
    widths = (widths[-1], 64, 32, CLASSES)
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        state |= linear_state(f"decoder.{3 * i}", a, b, rng)
        if i < 2:
            state |= norm_state(f"decoder.{3 * i + 1}", b, rng)
    return {k: torch.tensor(np.asarray(v), dtype=torch.float32) for k, v in state.items()}


def without_normalisation(state):
    """The weights of the version that does not normalise what it widened, nor store positions."""
    left_out = ("temporal_encoder.inconv.1.", "temporal_encoder.position_enc.")
    return {
        key.replace("inconv.0.", "inconv."): value
        for key, value in state.items()
        if not key.startswith(left_out)
    }


def write_folder(path, state, *, light, fold=1, **options):
    (path / f"Fold_{fold}").mkdir(parents=True, exist_ok=True)
    torch.save(
        {"epoch": 3, "state_dict": state, "optimizer": {"state": {}, "param_groups": []}},
        path / f"Fold_{fold}" / "model.pth.tar",
    )
    last = state["temporal_encoder.outlayernorm.weight"].shape[0]
    conf = {
        "dataset_folder": "../../elsewhere", "input_dim": BANDS, "pooling": "mean_std", "T": 1000,
        "positions": "bespoke", "lms": DATES, "num_classes": CLASSES, "geomfeat": 1,
        "mlp4": [last, 64, 32, 20], "tae": not light, **options,
    }  # fmt: skip
    (path / "conf.json").write_text(json.dumps(conf))
    return path


def linear(x, state, name):
    weight = state[f"{name}.weight"]
    weight = weight.squeeze(-1) if weight.ndim == 3 else weight  # a convolution of one date
    return functional.linear(x, weight, state[f"{name}.bias"])


def norm(x, state, name):
    shift = x - state[f"{name}.running_mean"]
    scaled = shift / (state[f"{name}.running_var"] + 1e-5).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def layer_norm(x, state, name, dims):
    mean, var = x.mean(dims, keepdim=True), x.var(dims, keepdim=True, unbiased=False)
    scaled = (x - mean) / (var + 1e-5).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def table(positions, width):
    angle = positions[:, None] / 1000 ** (2 * (np.arange(width) // 2) / width)
    angle[:, 0::2], angle[:, 1::2] = np.sin(angle[:, 0::2]), np.cos(angle[:, 1::2])
    return torch.tensor(angle)


def reference_logits(state, x, geometry, *, light, positions=DAYS):
    """Logits of (batch, time, pixel, band) in double precision."""
    state = {k: v.double() for k, v in state.items()}
    x, n = x.double(), sum(k.startswith("spatial_encoder.mlp1") for k in state) // 7
    for i in range(n):
        x = norm(linear(x, state, f"spatial_encoder.mlp1.{i}.lin"), state,
                 f"spatial_encoder.mlp1.{i}.bn").relu()  # fmt: skip
    x = torch.cat([x.mean(dim=2), x.std(dim=2)], dim=-1)  # (batch, time, feature)
    if geometry is not None:
        x = torch.cat([x, geometry.double()[:, None].expand(-1, DATES, -1)], dim=-1)
    m = len([k for k in state if k.startswith("spatial_encoder.mlp2") and "running_mean" in k])
    for i in range(m):
        x = norm(linear(x, state, f"spatial_encoder.mlp2.{3 * i}"), state,
                 f"spatial_encoder.mlp2.{3 * i + 1}")  # fmt: skip
        x = x.relu() if i < m - 1 else x
    t = "temporal_encoder"
    x = layer_norm(x, state, f"{t}.inlayernorm", -1)
    heads = len(state[f"{t}.attention_heads.Q"]) if light else 4
    if not light:  # positions before widening, where there is any
        x = x + table(positions, x.shape[-1])
    if f"{t}.inconv.weight" in state:
        x = linear(x, state, f"{t}.inconv")
    if f"{t}.inconv.0.weight" in state:
        x = linear(x, state, f"{t}.inconv.0").transpose(1, 2)
        x = layer_norm(x, state, f"{t}.inconv.1", (1, 2)).transpose(1, 2)
    if light:
        x = x + table(positions, x.shape[-1] // heads).tile(1, heads)
    keys = linear(x, state, f"{t}.attention_heads.fc1_k").unflatten(-1, (heads, -1))
    if light:
        query = state[f"{t}.attention_heads.Q"].expand(len(x), -1, -1)
    else:
        query = linear(x, state, f"{t}.attention_heads.fc1_q").mean(dim=1)
        query = norm(query, state, f"{t}.attention_heads.fc2.0")
        query = linear(query, state, f"{t}.attention_heads.fc2.1").unflatten(-1, (heads, -1))
    scores = torch.einsum("bhk,bthk->bht", query, keys) / keys.shape[-1] ** 0.5
    weight = scores.softmax(dim=-1)
    if light:
        x = torch.einsum("bht,bthc->bhc", weight, x.unflatten(-1, (heads, -1))).flatten(1)
    else:
        x = torch.einsum("bht,btc->bhc", weight, x).flatten(1)
    for i in range(sum(k.startswith(f"{t}.mlp") and "running_mean" in k for k in state)):
        x = norm(linear(x, state, f"{t}.mlp.{3 * i}"), state, f"{t}.mlp.{3 * i + 1}").relu()
    x = layer_norm(x, state, f"{t}.outlayernorm", -1)
    for i in range(3):
        x = linear(x, state, f"decoder.{3 * i}")
        x = norm(x, state, f"decoder.{3 * i + 1}").relu() if i < 2 else x
    return x.numpy()


def make_samples(n=5, *, geometry=4, seed=1, dates=DAYS):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, len(dates), BANDS, PIXELS)).astype("f4")
    node = xr.Dataset(
        {
            "reflectance": (("parcel", "time", "band", "pixel"), values),
            "valid": (("parcel", "time", "pixel"), np.ones((n, len(dates), PIXELS), bool)),
        },
        coords={"time": np.datetime64("2017-01-09", "ns") + dates.astype("timedelta64[D]")},
    )
    root = xr.Dataset(coords={"parcel": np.arange(n)})
    if geometry:
        root["geometry"] = ("parcel", "feature"), rng.normal(size=(n, geometry)).astype("f4")
    return xr.DataTree.from_dict({"/": root, "sentinel2": node})


def expected(state, samples, *, light, scale=(0.0, 1.0), **changes):
    values = samples["sentinel2"]["reflectance"].to_numpy().swapaxes(2, 3)
    geometry = torch.tensor(samples["geometry"].to_numpy()) if "geometry" in samples else None
    values = (torch.tensor(values) - scale[0]) / scale[1]
    return reference_logits(state, values, geometry, light=light, **changes)


@pytest.mark.parametrize("light", [True, False], ids=["ltae", "tae"])
@pytest.mark.parametrize(
    ("geometry", "sizes"),
    [
        (4, {}),
        (0, {}),
        (7, {"mlp1": (16, 32, 48), "mlp2": (64, 128)}),
        (4, {"wide": 0}),
        (4, {"wide": 96}),
        (4, {"mlp3": ()}),
    ],
    ids=["published", "no geometry", "other sizes", "no widening", "widened", "no summary layers"],
)
def test_logits_are_those_of_the_published_code(tmp_path, light, geometry, sizes):
    state = reference_state(light=light, geometry=geometry, **sizes)
    samples = make_samples(geometry=geometry)
    model = CropModel.from_reference(write_folder(tmp_path, state, light=light))
    logits = model.logits(samples)
    assert logits.dims == ("parcel", "crop")
    assert list(logits["crop"].to_numpy()) == [str(i) for i in range(CLASSES)]
    wanted = expected(state, samples, light=light)
    assert np.ptp(wanted, axis=0).min() > 1e-3  # logits tell parcels apart
    np.testing.assert_allclose(logits.to_numpy(), wanted, atol=1e-5, rtol=0)
    again = CropModel.load(model.save(tmp_path / "saved")).logits(samples)
    np.testing.assert_array_equal(again, logits)


def test_weights_without_normalisation_take_any_number_of_dates(tmp_path):
    state = without_normalisation(reference_state(light=True))
    model = CropModel.from_reference(write_folder(tmp_path, state, light=True))
    samples = make_samples()
    wanted = expected(state, samples, light=True)
    np.testing.assert_allclose(model.logits(samples), wanted, atol=1e-5, rtol=0)
    few = make_samples(dates=DAYS[:12])
    again = CropModel.load(model.save(tmp_path / "saved")).logits(few)
    np.testing.assert_array_equal(again, model.logits(few))
    assert np.isfinite(again).all()


@pytest.mark.parametrize("light", [True, False], ids=["ltae", "tae"])
def test_published_sizes(tmp_path, light):
    state = reference_state(light=light)
    model = CropModel.from_reference(write_folder(tmp_path, state, light=light))
    count = sum(p.numel() for p in model.network.parameters())
    assert count == (143_124 if light else 164_116)


def test_normalisation_is_applied(tmp_path):
    state, samples = reference_state(light=True), make_samples()
    write_folder(tmp_path, state, light=True)
    mean, deviation = np.linspace(-1, 1, BANDS), np.linspace(0.5, 2, BANDS)
    model = CropModel.from_reference(
        tmp_path,
        normalisation=(mean, deviation),
        geometry_normalisation=(np.ones(4), np.full(4, 2.0)),
    )
    moved = samples.copy()
    moved["geometry"] = (samples["geometry"] - 1) / 2
    wanted = expected(state, moved, light=True, scale=(torch.tensor(mean), torch.tensor(deviation)))
    np.testing.assert_allclose(model.logits(samples), wanted, atol=1e-5, rtol=0)


def test_one_number_normalises_all_bands_but_dates_need_the_user(tmp_path):
    write_folder(tmp_path, reference_state(light=True), light=True)
    samples = make_samples()
    one, each = (
        CropModel.from_reference(tmp_path, normalisation=pair).logits(samples)
        for pair in ((0.3, 2.0), (np.full(BANDS, 0.3), np.full(BANDS, 2.0)))
    )
    np.testing.assert_array_equal(one, each)
    for pair, says in (
        ((np.zeros((DATES, BANDS)), np.ones((DATES, BANDS))), "differs by date"),
        ((np.full(BANDS, np.nan), np.ones(BANDS)), "finite"),
        ((np.zeros(3), np.ones(3)), "1 or 10"),
    ):
        with pytest.raises(ModelFormatError, match=says):
            CropModel.from_reference(tmp_path, normalisation=pair)


def test_heads_of_an_odd_number_of_channels(tmp_path):
    state = reference_state(light=True, wide=48)
    model = CropModel.from_reference(write_folder(tmp_path, state, light=True))
    samples = make_samples()
    wanted = expected(state, samples, light=True)
    np.testing.assert_allclose(model.logits(samples), wanted, atol=1e-5, rtol=0)


def test_samples_that_do_not_fit_say_what_is_missing(tmp_path):
    model = CropModel.from_reference(
        write_folder(tmp_path, reference_state(light=False), light=False)
    )
    for geometry, says in ((0, "no geometry"), (3, "3 features")):
        with pytest.raises(ModelMismatchError, match=says):
            model.logits(make_samples(geometry=geometry))
    samples = make_samples()
    for change, says in (
        (lambda node: node.isel(band=slice(9)), "coordinate 'band'"),
        (lambda node: node.drop_vars("time"), "coordinate 'time'"),
        (lambda node: node.assign(valid=node["valid"].isel(time=0)), "valid is"),
    ):
        node = change(samples["sentinel2"].to_dataset(inherit=False))
        changed = xr.DataTree.from_dict({"/": samples.to_dataset(), "sentinel2": node})
        with pytest.raises(CubecropError, match=says):
            model.logits(changed)


@pytest.mark.parametrize("light", [True, False], ids=["ltae", "tae"])
def test_padding_and_missing_values_are_left_out(tmp_path, light):
    """As the reference pads: by a copy of the first pixel, masked."""
    model = CropModel.from_reference(
        write_folder(tmp_path, reference_state(light=light), light=light)
    )
    samples = make_samples()
    wanted = model.logits(samples)
    node = samples["sentinel2"].to_dataset(inherit=False)
    padding = node.isel(pixel=[0] * 5).assign(valid=lambda d: d["valid"] & False)
    lost = node.isel(pixel=[1]).assign(reflectance=lambda d: d["reflectance"] * np.nan)
    for more in (padding, lost):
        longer = xr.concat([node, more], dim="pixel")
        found = model.logits(
            xr.DataTree.from_dict({"/": samples.to_dataset(), "sentinel2": longer})
        )
        np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("order", ["order", None])
def test_positions_by_order_and_another_fold(tmp_path, order):
    first, second = reference_state(light=False), reference_state(light=False, seed=9)
    write_folder(tmp_path, first, light=False)
    write_folder(tmp_path, second, light=False, fold=2, positions=order)
    samples = make_samples()
    for fold, state in ((1, first), (2, second)):
        model = CropModel.from_reference(tmp_path, fold=fold)
        wanted = expected(state, samples, light=False, positions=np.arange(1, DATES + 1))
        np.testing.assert_allclose(model.logits(samples), wanted, atol=1e-5, rtol=0)


def test_weights_tied_to_a_number_of_dates_refuse_others(tmp_path):
    model = CropModel.from_reference(
        write_folder(tmp_path, reference_state(light=True), light=True)
    )
    with pytest.raises(ModelMismatchError, match=r"12 dates.*need 24"):
        model.logits(make_samples(dates=DAYS[:12]))
    free = CropModel.from_reference(
        write_folder(tmp_path / "tae", reference_state(light=False), light=False)
    )
    assert np.isfinite(free.logits(make_samples(dates=DAYS[:12]))).all()


def test_unreadable_folders_are_refused_with_the_reason(tmp_path):
    with pytest.raises(ModelFormatError, match=r"no readable conf\.json"):
        CropModel.from_reference(tmp_path)
    state = reference_state(light=True)
    write_folder(tmp_path, state, light=True)
    with pytest.raises(
        ModelFormatError, match=r"no Fold_3/model\.pth\.tar; it has weights of Fold_1\."
    ):
        CropModel.from_reference(tmp_path, fold=3)
    weights = tmp_path / "Fold_1" / "model.pth.tar"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelFormatError, match="damaged"):
        CropModel.from_reference(tmp_path)
    for change, says in (
        ({"decoder.0.weight": None}, "mlp4"),
        (dict.fromkeys([k for k in state if k.startswith("decoder")]), "no layer of mlp4"),
        ({"decoder.1.running_mean": None}, r"decoders\.fused\.1\.running_mean"),
        ({"decoder.0.bias": torch.zeros(5)}, "does not hold weights"),
        ({"surprise": torch.zeros(1)}, "surprise"),
        ({"decoder.0.bias": torch.full((64,), torch.nan)}, "not finite"),
    ):
        changed = {k: v for k, v in {**state, **change}.items() if v is not None}
        write_folder(tmp_path, changed, light=True)
        with pytest.raises(ModelFormatError, match=says):
            CropModel.from_reference(tmp_path)
    write_folder(tmp_path, state, light=True, mlp3="[256,64]")
    with pytest.raises(ModelFormatError, match="mlp3"):
        CropModel.from_reference(tmp_path)
    write_folder(tmp_path, state, light=True, geomfeat=0)
    with pytest.raises(ModelFormatError, match="geomfeat is 0"):
        CropModel.from_reference(tmp_path)
    write_folder(tmp_path, state, light=True, gru=True)
    with pytest.raises(ModelFormatError, match="GRU"):
        CropModel.from_reference(tmp_path)


class _Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_a_checkpoint_cannot_execute_code(tmp_path, capsys):
    write_folder(tmp_path, reference_state(light=True), light=True)
    torch.save({"state_dict": _Evil()}, tmp_path / "Fold_1" / "model.pth.tar")
    with pytest.raises(ModelFormatError, match="more than weights"):
        CropModel.from_reference(tmp_path)
    assert "executed" not in capsys.readouterr().out
