"""Mean of the weights of several trainings that share their start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from cubecrop.training.loop import TrainingHistory, run_epochs, validate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from cubecrop.model import CropNetwork
    from cubecrop.training.checkpoint import Checkpoint
    from cubecrop.training.config import TrainConfig
    from cubecrop.training.sets import AnySet

__all__ = ["run_averaged"]


def run_averaged(
    network: CropNetwork,
    sets: Sequence[AnySet],
    validation: Sequence[AnySet],
    config: TrainConfig,
    *,
    seed: int,
    device: str,
    n_days: int = 365,
    checkpoint: Checkpoint | None = None,
    progress: bool = True,
) -> TrainingHistory:
    """Train a network ``config.n_averaged`` times from its weights, and give it their mean.

    The trainings differ in drawn pixels, augmentation and order. With validation sets, the mean is
    taken only if it scores at least as high as the best training, which is taken otherwise.

    Parameters
    ----------
    network, sets, validation, config, seed, device, n_days, checkpoint, progress
        As for `run_epochs`. Every training but the first has a checkpoint in a folder of its own.

    Returns
    -------
    TrainingHistory
        Of the first training.

    References
    ----------
    Wortsman et al. 2022, Model soups, arXiv:2203.05482; Rame et al. 2022, Diverse weight averaging
    for out-of-distribution generalization, arXiv:2205.09739.
    """
    start = _copy(network)
    histories, weights = [], []
    for member in range(config.n_averaged):
        network.load_state_dict(start)
        own = seed
        if member:
            own = int(np.random.SeedSequence([seed, member]).generate_state(1)[0])
            torch.manual_seed(own)  # the caller restores the random state
        history = run_epochs(
            network, sets, validation, config, seed=own, device=device, n_days=n_days,
            checkpoint=checkpoint and checkpoint.of_member(member), progress=progress,
        )  # fmt: skip
        histories.append(history)
        weights.append(_copy(network))
    if config.n_averaged > 1:
        network.load_state_dict(_mean(weights))
        if validation:
            best = int(np.argmax([history.best_score for history in histories]))
            score = validate(network, validation, device)["validation_macro_f1"]
            if not score >= histories[best].best_score:
                network.load_state_dict(weights[best])
    return histories[0]


def _copy(network: CropNetwork) -> dict[str, Tensor]:
    return {name: values.detach().cpu().clone() for name, values in network.state_dict().items()}


def _mean(weights: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of each array; counters, which are whole numbers, are those of the first."""
    return {
        name: (
            torch.stack([one[name] for one in weights]).mean(dim=0)
            if first.is_floating_point()
            else first
        )
        for name, first in weights[0].items()
    }
