"""Masked dates and pixels cost nothing in prediction and training, and change nothing."""

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from test_fusion import SIZES, make_network

from cubecrop.coverage import longest_pause
from cubecrop.model import Batch, Predictor, SampleArrays, SensorArrays, Series, all_finite
from cubecrop.model.fast.folding import fold
from cubecrop.model.fast.gathering import gathered, spread_dates
from cubecrop.model.fusion_of_dates import embedded_dates

DATES = {"sentinel2": (9, 3), "sentinel1": (6, 2)}
DIRECT = {"embedding": 16, "attention_width": 0, "heads": 4, "key_width": 4}


def make_arrays(*, n=40, pixels=1, clear=0.6, seed=0):
    rng = np.random.default_rng(seed)
    series = {}
    for name, (n_dates, n_bands) in DATES.items():
        values = rng.normal(size=(n, n_dates, pixels, n_bands)).astype("f4")
        valid = rng.random((n, n_dates, pixels)) < clear
        valid[:, 1, 0] = True
        values[~valid] = np.nan
        days = np.sort(rng.choice(400, n_dates, replace=False)).astype("f4")
        series[name] = SensorArrays(values, valid, days)
    return SampleArrays(series)


def make_series(*, n=50, n_dates=20, pixels=2, clear=0.4, seed=0, shared=True):
    rng = torch.Generator().manual_seed(seed)
    valid = torch.rand(n, n_dates, pixels, generator=rng) < clear
    valid[:, 3, 0] = True
    days = torch.arange(n_dates).float().expand(n, -1)
    return Series(
        torch.randn(n, n_dates, pixels, 2, generator=rng),
        valid,
        days if shared else days + torch.rand(n, 1, generator=rng),
        torch.rand(n, n_dates, generator=rng),
    )


@pytest.mark.parametrize("shared", [True, False])
def test_gathered_dates_are_the_valid_ones(shared):
    series = make_series(shared=shared)
    dated = series.valid.any(dim=2)
    found = []
    for part in gathered(series):
        for i, member in enumerate(part.members.tolist()):
            found.append(member)
            real, own = part.mask[i], dated[member]
            for name in ("values", "valid", "days", "thermal"):
                got, expected = getattr(part.series, name)[i], getattr(series, name)[member]
                assert torch.equal(got[real], expected[own])
            assert part.series.valid[i].any(dim=-1).all()
    assert sorted(found) == list(range(50))


def test_blocks_hold_hardly_more_dates_than_are_valid():
    series = make_series(n=4000, n_dates=85, pixels=1, clear=0.6)
    computed = sum(part.mask.numel() for part in gathered(series))
    assert computed < 1.03 * int(series.valid.sum()) < 0.65 * 4000 * 85


def test_series_without_masked_dates_are_not_copied():
    series = make_series(clear=1.0)
    (part,) = gathered(series)
    assert part.dates is None
    assert part.series.values.data_ptr() == series.values.data_ptr()


def test_spread_dates_puts_values_back_at_their_dates():
    dates = torch.tensor([[1, 3, 1], [0, 2, 4]])  # the first member repeats a date, as padding
    part = torch.tensor([[[1.0], [2.0], [0.0]], [[3.0], [4.0], [5.0]]])
    expected = [[0, 1, 0, 2, 0], [3, 0, 4, 0, 5]]
    assert spread_dates(part, dates, 5)[..., 0].tolist() == expected


@pytest.mark.parametrize("pixels", [1, 4])
@pytest.mark.parametrize(
    ("fusion", "temporal"), list(itertools.product(("late", "decision", "mid"), SIZES))
)
def test_masked_dates_equal_absent_dates(fusion, temporal, pixels):
    predictor = Predictor(make_network(fusion=fusion, temporal=temporal))
    arrays = make_arrays(pixels=pixels)
    together = predictor.logits(arrays)
    for i in range(0, 40, 7):
        alone = {}
        for name, one in arrays.series.items():
            there = one.dated[i]
            alone[name] = SensorArrays(
                one.values[[i]][:, there], one.valid[[i]][:, there], one.days[there]
            )
        np.testing.assert_allclose(
            predictor.logits(SampleArrays(alone)), together[[i]], atol=2e-5, rtol=0
        )


def test_weights_that_are_tied_to_their_dates_refuse_a_masked_one():
    predictor = Predictor(make_network(n_dates=9, train_steps=0))
    one = make_arrays(clear=1.0).series["sentinel2"]
    assert np.isfinite(predictor.logits(SampleArrays({"sentinel2": one}))).all()
    one.valid[3, 4] = False
    with pytest.raises(ValueError, match="need 9 dates"):
        predictor.logits(SampleArrays({"sentinel2": one}))


@pytest.mark.parametrize("options", [{}, DIRECT, {"temporal": "tae"}])
def test_attention_is_given_at_its_own_dates(options):
    network = make_network(**options)
    series = make_series(n=7, n_dates=9, pixels=1)
    series = dataclasses.replace(series, values=torch.randn(7, 9, 1, 3))
    with torch.no_grad():
        found = network.forward_all(Batch({"sentinel2": series})).attention["sentinel2"]
        dates = embedded_dates(network, "sentinel2", series, None)
        _, plain = network.temporal["sentinel2"](dates.rows, dates.mask, dates.days, dates.position)
        folded = fold(network).forward_all(Batch({"sentinel2": series})).attention["sentinel2"]
    torch.testing.assert_close(found, plain, atol=1e-6, rtol=0)
    torch.testing.assert_close(folded, plain, atol=1e-5, rtol=0)
    assert (found[~series.valid.any(dim=2)] == 0).all()


@pytest.mark.parametrize("pixels", [1, 4])
@pytest.mark.parametrize("encoding", ["season-day", "first-date", "none"])
def test_attention_without_a_widening_layer_folds(pixels, encoding):
    network = make_network(time_encoding=encoding, **DIRECT)
    with torch.no_grad():  # of birth, gains are 1 and shifts 0
        for norm in (network.temporal[name].norm_in for name in DATES):
            norm.weight.uniform_(0.5, 2)
            norm.bias.uniform_(-1, 1)
    series = {}
    for name, (n_dates, n_bands) in DATES.items():
        one = make_series(n=9, n_dates=n_dates, pixels=pixels)
        series[name] = dataclasses.replace(one, values=torch.randn(9, n_dates, pixels, n_bands))
    batch = Batch(series)
    with torch.no_grad():
        torch.testing.assert_close(fold(network)(batch), network(batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pixels", [1, 4])
@pytest.mark.parametrize(
    ("fusion", "temporal"), [("mid", "ltae"), ("early", "ltae"), *[("late", one) for one in SIZES]]
)
def test_packed_pixels_give_the_gradients_of_all_pixels(fusion, temporal, pixels):
    network = make_network(fusion=fusion, temporal=temporal, dropout=0.0, attention_dropout=0.0)
    packed, plain = {}, {}
    for name, (n_dates, n_bands) in DATES.items():
        one = make_series(n=8, n_dates=n_dates, pixels=pixels, shared=False)
        values = torch.randn(8, n_dates, pixels, n_bands)
        plain[name] = dataclasses.replace(one, values=values, thermal=None)
        packed[name] = dataclasses.replace(plain[name], values=values[one.valid])
    learned = []
    for series in (packed, plain):
        student = copy.deepcopy(network).train()
        for module in student.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        with torch.random.fork_rng():
            torch.manual_seed(0)  # the transformer's own dropout
            loss = student(Batch(series)).square().sum()
        loss.backward()
        gradients = {k: p.grad for k, p in student.named_parameters() if p.grad is not None}
        learned.append({"loss": loss.detach(), **gradients, **student.state_dict()})
    torch.testing.assert_close(*learned, atol=1e-4, rtol=1e-4)


def test_packed_series_split_like_whole_ones():
    whole = make_series(n=6)
    packed = dataclasses.replace(whole, values=whole.values[whole.valid])
    assert packed.packed
    assert torch.equal(packed.spread().values[whole.valid], whole.values[whole.valid])
    some = torch.tensor([True, False, True, True, False, True])
    for found in (packed.take(some).spread(), packed.keep(some).spread().take(some)):
        expected = whole.take(some)
        assert torch.equal(found.valid, expected.valid)
        assert torch.equal(found.values[found.valid], expected.values[expected.valid])
    assert not packed.keep(some).valid[~some].any()


def test_infinite_and_nan_values_are_found_in_any_band():
    values = np.ones((2, 3, 5), dtype="f4")
    values[0, 1, 4], values[1, 0, 0], values[1, 2] = np.nan, np.inf, np.finfo("f4").max
    values[0, 2, :2] = np.inf, -np.inf
    assert all_finite(values).tolist() == [[True, False, False], [False, True, True]]
    assert all_finite(values[:0]).shape == (0, 3)


@pytest.mark.parametrize("seed", range(20))
def test_pauses_equal_those_of_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    days = rng.integers(-20, 400, rng.integers(0, 9)).astype("f4")
    seen = rng.random((7, len(days))) < 0.5
    expected = []
    for own in seen:
        when = np.maximum(np.sort(days[own]), 5)
        between = np.diff([5, *when]).max(initial=0)
        expected.append(max(between, 360 - max(when.max(initial=5), 5)))
    assert longest_pause(seen, days, 5, 360).tolist() == expected
