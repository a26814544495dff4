"""Fast paths give the values of the plain code; `test_masked_work` tests folding and gathering."""

import pytest
import torch
from torch import nn

from cubecrop.model.fast import linear, pooling
from cubecrop.model.fast.pooling import Moments, pool_heads, pool_in_place


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def plain_moments(pixels, counts):
    """Mean and sample deviation of sets that follow each other, behind a ReLU; 0 of one pixel."""
    sets = pixels.relu().split(counts.tolist())
    return (
        torch.stack([one.mean(dim=0) for one in sets]),
        torch.stack([one.std(dim=0) if len(one) > 1 else 0 * one[0] for one in sets]),
    )


@pytest.mark.parametrize("n", [1, 15, 16, 333])
def test_a_convolution_is_a_linear_layer(n, monkeypatch):
    monkeypatch.setattr(linear, "_WORTH_CONVOLVING", 0)
    rows, weight, bias = torch.randn(n, 10), torch.randn(7, 10), torch.randn(7)
    close(linear.linear(rows, weight, bias), nn.functional.linear(rows, weight, bias))


@pytest.mark.parametrize("piece", [8, 6144])
@pytest.mark.parametrize("whole", [True, False])
def test_pooling_in_place_gives_mean_and_deviation(whole, piece, monkeypatch):
    monkeypatch.setattr(pooling, "PIECE", piece)
    torch.manual_seed(0)
    layers = [nn.Linear(3, 6), nn.Linear(6, 5)]
    values = torch.randn(7, 4, 3)
    valid = torch.ones(7, 4, dtype=torch.bool)
    if not whole:
        valid[:] = torch.rand(7, 4) < 0.6
        valid[:, 1] = True
        valid[0] = torch.tensor([False, True, False, False])  # which deviates by nothing
        values[~valid] = float("nan")
    with torch.no_grad():
        pixels = layers[1](layers[0](values[valid]).relu())
        mean, std = plain_moments(pixels, valid.sum(dim=1))
        found = pool_in_place(layers, values, None if whole else valid)
    close(found["mean"], mean)
    close(found["std"], std)


@pytest.mark.parametrize("piece", [8, 6144])
def test_moments_and_their_gradients_are_those_of_torch(piece, monkeypatch):
    monkeypatch.setattr(pooling, "PIECE", piece)
    torch.manual_seed(0)
    counts = torch.tensor([5, 2, 9, 3, 4])
    pixels = torch.randn(int(counts.sum()), 6, requires_grad=True)
    results = []
    for moments in (Moments.apply, plain_moments):
        mean, std = moments(pixels, counts)
        (gradient,) = torch.autograd.grad((mean * mean.detach().cos() + std).sum(), pixels)
        results.append((mean, std, gradient.nan_to_num(0.0)))  # torch has none where all are 0
    for found, expected in zip(*results, strict=True):
        close(found, expected)


@pytest.mark.parametrize("heads", [1, 4, 6])
def test_pooling_all_heads_equals_pooling_each_head(heads):
    weight, values = torch.rand(3, heads, 8), torch.randn(3, 8, heads * 5)
    apart = values.view(3, 8, heads, 5)
    close(pool_heads(weight, values), torch.einsum("bht,bthc->bhc", weight, apart))
