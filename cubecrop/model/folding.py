"""A network made ready for prediction: the same results in fewer passes over memory.

What is constant at prediction time is multiplied out once. Batch normalisations and the
standardising of bands go into the linear layers beside them; sets of one pixel, of which maps
are made, get layers without the statistics that they do not have; an embedding that is only
normalised and widened is never written down.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from cubecrop.model.layers import linear
from cubecrop.model.temporal import LightweightAttention

if TYPE_CHECKING:
    from cubecrop.model.networks import CropNetwork
    from cubecrop.model.set_encoder import PixelSetEncoder

__all__ = ["fold"]


def fold(network: CropNetwork) -> CropNetwork:
    """Copy a network for prediction.

    Parameters
    ----------
    network : CropNetwork
        Stays as it is.

    Returns
    -------
    CropNetwork
        In evaluation mode; its results differ by rounding alone.
    """
    folded = copy.deepcopy(network).eval()
    for block in [m for m in folded.modules() if isinstance(m, nn.Sequential)]:
        _fold_norms(block)
    for name, module in folded.encoders.items():
        encoder = cast("PixelSetEncoder", module)
        encoder.fold()
        if name in folded.temporal:  # not where dates are merged first
            _join(encoder, folded.temporal[name])
    for module in folded.modules():
        if type(module) is nn.Linear:
            module.__class__ = _Linear
    return folded


class _Linear(nn.Linear):
    """A linear layer, quick on many rows."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias) if x.dim() == 2 else super().forward(x)


class _NormalisedWidening(nn.Module):
    """A linear layer, the normalisation of its outcome and another linear layer, in one.

    Centring a layer's outcome is linear, so it goes into the weights. Dividing by the
    deviation scales whole rows, which can as well be done behind the second layer; so the
    second acts on the first one's input, which is narrower where pixels come alone.
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
        apart = linear(x, self.weight, self.bias)  # (row, embedding), of mean 0
        scale = torch.rsqrt(apart.square_().mean(dim=1, keepdim=True) + self.eps)
        return linear(x, self.wider, self.wider_bias).mul_(scale).add_(self.shift)


def _fold_norms(block: nn.Sequential) -> None:
    """Fold each batch normalisation of a block into the linear layer before it."""
    for i in range(len(block) - 1):
        layer, norm = block[i], block[i + 1]
        if isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
            block[i] = fuse_linear_bn_eval(layer, norm)
            block[i + 1] = nn.Identity()


def _join(encoder: PixelSetEncoder, temporal: nn.Module) -> None:
    """Let the last layer of an encoder normalise and widen for the attention behind it."""
    if not isinstance(temporal, LightweightAttention) or temporal.widen is None:
        return
    norm, wider = cast("nn.LayerNorm", temporal.norm_in), cast("nn.Linear", temporal.widen.linear)
    for block in (encoder.sets, cast("nn.Sequential", encoder.singles)):
        last = max(i for i, layer in enumerate(block) if isinstance(layer, nn.Linear))
        block[last] = _NormalisedWidening(cast("nn.Linear", block[last]), norm, wider)
    temporal.norm_in = temporal.widen.linear = nn.Identity()
