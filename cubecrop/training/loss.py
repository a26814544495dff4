"""The loss that training minimises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CropLoss", "class_weights"]


class CropLoss(nn.Module):
    """Cross-entropy with class weights and label smoothing, or the focal loss made of it.

    Parameters
    ----------
    weights : Tensor
        (class,) weight of a parcel by its class.
    smoothing : float
        Share of the target spread over all classes.
    focal : float
        A parcel's loss is multiplied by (1 - p)^focal, p being its class's probability.

    References
    ----------
    Lin et al. 2017, Focal Loss for Dense Object Detection, arXiv:1708.02002.
    """

    weights: Tensor

    def __init__(self, weights: Tensor, *, smoothing: float = 0.0, focal: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.smoothing, self.focal = smoothing, focal

    def forward(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Mean loss of a batch: logits (batch, class) and the truth to ().

        The truth is class indices (batch,), or probabilities (batch, class), which give the plain
        cross-entropy: classes that a model predicts rarely are not rare errors to be magnified.
        """
        if truth.ndim == 2:
            plain: Tensor = functional.cross_entropy(logits.float(), truth)
            return plain
        loss = functional.cross_entropy(
            logits.float(),
            truth,
            weight=self.weights,
            label_smoothing=self.smoothing,
            reduction="none",
        )  # (batch,)
        if self.focal:
            chance = torch.softmax(logits.float(), dim=1).gather(1, truth[:, None])[:, 0]
            loss = loss * (1 - chance).clamp_min(1e-6) ** self.focal
        # The same weighted mean as in cross_entropy: rare classes do not enlarge the step.
        mean: Tensor = loss.sum() / self.weights[truth].sum()
        return mean


def class_weights(labels: NDArray[np.int64], n_classes: int, balance: float) -> Tensor:
    """Weight of each class: its frequency to the power of minus ``balance``.

    Weights are scaled to a mean of 1 per parcel; a class without parcels gets 0.

    Parameters
    ----------
    labels : numpy.ndarray
        (parcel,) class indices.
    n_classes : int
        Number of classes in the nomenclature.
    balance : float
        0 leaves classes unbalanced; 1 gives every class the same total weight.

    Returns
    -------
    Tensor
        (class,) float32.
    """
    counts = np.bincount(labels, minlength=n_classes)
    weights: NDArray[np.float64] = np.zeros(n_classes)
    weights[counts > 0] = counts[counts > 0] ** -float(balance)
    weights *= len(labels) / (weights * counts).sum()
    return torch.from_numpy(weights.astype(np.float32))
