"""Fold a network for prediction: the same results in fewer passes over memory.

Constants are merged into the weights once:

- Linear layers absorb the batch normalisations and the standardisation of bands next to them.
- Sets of one pixel, as in maps, get layers without statistics.
- If an embedding is only normalised and then widened, one layer computes both, and the embedding
  itself is not stored.
- If attention takes an embedding without widening, the attention weights and their sum are scaled
  instead of the embedding.

Logits equal those of the trained network within 1e-5.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from cubecrop.model.fast.linear import linear
from cubecrop.model.fast.pooling import pool_heads
from cubecrop.model.layers import unpacked
from cubecrop.model.set_encoder import PixelSetEncoder
from cubecrop.model.temporal import LightweightAttention

if TYPE_CHECKING:
    from cubecrop.model.networks import CropNetwork
    from cubecrop.model.positions import Positions

__all__ = ["fold"]


def fold(network: CropNetwork) -> CropNetwork:
    """Copy a network for prediction.

    Parameters
    ----------
    network : CropNetwork
        Is copied, not changed.

    Returns
    -------
    CropNetwork
        In evaluation mode; its results differ only by rounding.
    """
    folded = copy.deepcopy(network).eval()
    for block in [m for m in folded.modules() if isinstance(m, nn.Sequential)]:
        _fold_norms(block)
    for name, module in folded.encoders.items():
        if not isinstance(module, PixelSetEncoder):  # Presto has none
            continue
        _fold_encoder(module)
        if name in folded.temporal:  # early and mid fusion have one temporal encoder for all
            _join(folded, name)
    for module in folded.modules():
        if type(module) is nn.Linear:
            module.__class__ = _Linear
    return folded


class _Linear(nn.Linear):
    """A linear layer that is fast on many rows."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias) if x.dim() == 2 else super().forward(x)


class _NormalisedWidening(nn.Module):
    """A linear layer, the normalisation of its output and another linear layer, in one.

    Centring a layer's output is linear, so the weights absorb it. Dividing by the deviation
    scales whole rows, which can be done after the second layer. The product of both layers is
    then applied to the first layer's input, which is narrower for sets of one pixel.
    """

    def __init__(self, first: nn.Linear, norm: nn.LayerNorm, second: nn.Linear) -> None:
        super().__init__()
        with torch.no_grad():
            weight, bias = first.weight.double(), first.bias.double()
            weight, bias = weight - weight.mean(dim=0), bias - bias.mean()
            wider = second.weight.double() * norm.weight.double()
            shift = second.weight.double() @ norm.bias.double() + second.bias.double()
            self.eps = norm.eps
            self.register_buffer("weight", weight.float())
            self.register_buffer("bias", bias.float())
            self.register_buffer("wider", (wider @ weight).float())
            self.register_buffer("wider_bias", (wider @ bias).float())
            self.register_buffer("shift", shift.float())

    weight: Tensor
    bias: Tensor
    wider: Tensor
    wider_bias: Tensor
    shift: Tensor

    def forward(self, x: Tensor) -> Tensor:
        centred = linear(x, self.weight, self.bias)  # (row, embedding), of mean 0
        scale = torch.rsqrt(centred.square_().mean(dim=1, keepdim=True) + self.eps)
        return linear(x, self.wider, self.wider_bias).mul_(scale).add_(self.shift)


class _DirectAttention(nn.Module):
    """Lightweight attention to centred embeddings that are not divided by their deviation.

    It takes rows (row, embedding and score), since the layer before also computes the scores. The
    attention weight of a date includes the division by its deviation. The gain and shift of the
    normalisation are applied after the sum over dates.
    """

    bias: Tensor
    place_scorer: Tensor

    def __init__(self, attention: LightweightAttention) -> None:
        super().__init__()
        norm = cast("nn.LayerNorm", attention.norm_in)
        self.heads, self.period, self.eps = attention.heads, attention.period, norm.eps
        self.gain, self.shift = norm.weight, norm.bias
        self.out, self.norm_out = attention.out, attention.norm_out
        with torch.no_grad():
            scorer, bias = attention.scorer()
            self.register_buffer("bias", bias + scorer @ norm.bias)
            # Every head's channels get the same sinusoids.
            place = scorer.view(self.heads, self.heads, -1).sum(dim=1)  # (head, channel)
            self.register_buffer("place_scorer", place.t().contiguous())

    @staticmethod
    def opening(layer: nn.Linear, attention: LightweightAttention) -> nn.Linear:
        """The layer before the attention, centred, with the scores as additional outputs."""
        with torch.no_grad():
            weight, bias = layer.weight.double(), layer.bias.double()
            weight, bias = weight - weight.mean(dim=0), bias - bias.mean()
            gain = cast("nn.LayerNorm", attention.norm_in).weight
            scorer = attention.scorer()[0].double() * gain
            wider = nn.Linear(weight.shape[1], len(weight) + len(scorer))
            wider.weight.copy_(torch.cat([weight, scorer @ weight]))
            wider.bias.copy_(torch.cat([bias, scorer @ bias]))
        return wider

    def forward(
        self, embedding: Tensor, mask: Tensor, _days: Tensor, position: Positions | None
    ) -> tuple[Tensor, Tensor]:
        """Summarise series; see `cubecrop.model.temporal`."""
        width = embedding.shape[1] - self.heads
        columns = unpacked(embedding, mask)
        values, scores = columns[..., :width], columns[..., width:]
        norm = torch.linalg.vector_norm(values, dim=2, keepdim=True).square_()
        scale = norm.mul_(1 / width).add_(self.eps).rsqrt_()  # (batch, time, 1)
        scores = scores * scale  # (batch, time, head)
        place = None
        if position is None:
            scores += self.bias
        else:
            table = position.sinusoids(width // self.heads, self.period)
            place = position.at_dates(table)
            scores += position.at_dates(table @ self.place_scorer + self.bias)
        if not bool(mask.all()):
            scores.masked_fill_(~mask.unsqueeze(2), float("-inf"))
        # The softmax is faster along the last dimension.
        weight = torch.softmax(scores.transpose(1, 2), dim=2)  # (batch, head, time)
        pooled = pool_heads(weight * scale.transpose(1, 2), values).flatten(1)
        pooled = pooled * self.gain + self.shift
        if place is not None:
            pooled = pooled + (weight @ place).flatten(1)
        return self.norm_out(self.out(pooled)), weight.transpose(1, 2)


def _fold_norms(block: nn.Sequential) -> None:
    """Fold each batch normalisation of a block into the linear layer before it."""
    for i in range(len(block) - 1):
        layer, norm = block[i], block[i + 1]
        if isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
            block[i] = fuse_linear_bn_eval(layer, norm)
            block[i + 1] = nn.Identity()


def _fold_encoder(encoder: PixelSetEncoder) -> None:
    """Merge the standardisation of bands into the first layer; add layers for single pixels."""
    first = cast("nn.Linear", encoder.pixels[0])
    with torch.no_grad():
        weight = first.weight.double() / encoder.deviation.double()
        first.bias.copy_(first.bias.double() - weight @ encoder.mean.double())
        first.weight.copy_(weight)
        encoder.singles = copy.deepcopy(encoder.sets)
        opening = cast("nn.Linear", encoder.singles[0])
        opening.weight = nn.Parameter(encoder.weight_of_singles())
        opening.in_features = opening.weight.shape[1]
    encoder.folded = True


def _join(network: CropNetwork, name: str) -> None:
    """Move the first steps of a series' attention into the last layer of its set encoder."""
    encoder, temporal = cast("PixelSetEncoder", network.encoders[name]), network.temporal[name]
    if not isinstance(temporal, LightweightAttention):
        return
    norm = cast("nn.LayerNorm", temporal.norm_in)
    for block in (encoder.sets, cast("nn.Sequential", encoder.singles)):
        last = max(i for i, layer in enumerate(block) if isinstance(layer, nn.Linear))
        layer = cast("nn.Linear", block[last])
        if temporal.widen is None:
            block[last] = _DirectAttention.opening(layer, temporal)
        else:
            wider = cast("nn.Linear", temporal.widen.linear)
            block[last] = _NormalisedWidening(layer, norm, wider)
    if temporal.widen is None:
        network.temporal[name] = _DirectAttention(temporal)
    else:
        temporal.norm_in = temporal.widen.linear = nn.Identity()
