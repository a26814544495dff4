"""The epoch loop of a training, with validation and checkpoints."""

from __future__ import annotations

import math
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from cubecrop.metrics import scores
from cubecrop.model import WEATHER, Predictor, keep_freed_memory
from cubecrop.nomenclature import decide
from cubecrop.progress import progress_bar
from cubecrop.training.batches import batches, n_batches
from cubecrop.training.loss import CropLoss, class_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from cubecrop.model import CropNetwork, Outputs
    from cubecrop.training.checkpoint import Checkpoint
    from cubecrop.training.config import TrainConfig
    from cubecrop.training.sets import AnySet

__all__ = [
    "TrainingHistory", "cosine_schedule", "predict", "run_epochs", "seeded", "validate",
]  # fmt: skip

#: With fewer steps a network does not converge, even on few parcels.
_MIN_STEPS = 240
_MIN_EPOCHS = 40
#: Learning rate of pre-trained Presto, as a share of that of new layers: 3e-4 by default, as in the
#: published fine-tuning.
_PRETRAINED = 0.1
#: Epochs over which a validation score is averaged: with few parcels a single score is noisy.
_SMOOTHED = 3


@dataclass(slots=True)
class TrainingHistory:
    """Metrics of a training's epochs so far, and its best epoch.

    ``weights`` are those of the best epoch by validation, or None without validation. Of equally
    good epochs the last is taken, which has converged most. ``improved`` is the last epoch with a
    better score than all before it.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    improved: int = 0
    weights: dict[str, Tensor] | None = None

    def add(self, row: dict[str, float], network: nn.Module) -> None:
        """Add an epoch, and keep its weights if they are the best so far."""
        self.rows.append(row)
        self.epoch = len(self.rows)
        score = float(np.mean([past["validation_macro_f1"] for past in self.rows[-_SMOOTHED:]]))
        if math.isnan(score):
            self.best_epoch = self.epoch
            return
        if score > self.best_score:
            self.improved = self.epoch
        if score >= self.best_score:
            self.best_score, self.best_epoch = score, self.epoch
            self.weights = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}


def run_epochs(
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
    """Train a network in place; it ends on the CPU with the best epoch's weights.

    Parameters
    ----------
    network : CropNetwork
        Its normalisation must be set. Changed in place.
    sets, validation : sequence of TrainingSet
        Training sets, and those that choose the best epoch. Without validation sets the last
        epoch is taken.
    config : TrainConfig
        Settings.
    n_days : int
        Length of the season, which windows need.
    seed : int
        Seed of the drawn pixels and augmentations. The caller must seed torch's own generator.
    device : str
        Device that computes.
    checkpoint : Checkpoint, optional
        Stores the state after each epoch; a stored state is continued.
    progress : bool
        Show a progress bar on a terminal or in a notebook.
    """
    keep_freed_memory()
    per_epoch = n_batches(sets, config)
    epochs = config.epochs or max(_MIN_EPOCHS, math.ceil(_MIN_STEPS / max(per_epoch, 1)))
    weights = list(network.to(device).train().parameters())
    optimiser = torch.optim.AdamW(
        _with_rates(network, config),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,  # one pass over the weights: a fifth of a small network's step
    )
    schedule = cosine_schedule(optimiser, epochs * per_epoch, config.warm_up)
    labelled = [part.labels for part in sets if part.labels.ndim == 1]  # others: probabilities
    labels = np.concatenate(labelled or [np.arange(network.config.n_classes)])
    loss_of = CropLoss(
        class_weights(labels, network.config.n_classes, config.class_balance),
        smoothing=config.label_smoothing,
        focal=config.focal,
    ).to(device)
    deviations = {
        name: network.normalisation(name)[1].cpu().numpy() for name in network.config.series
    }
    history = TrainingHistory()
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        history = _resumed(state, network, optimiser, schedule)
    forward: Any = network.forward_all
    if config.compile:
        forward = torch.compile(network.forward_all, dynamic=True)
    with progress_bar("Training", total=epochs, unit="epochs", progress=progress) as bar:
        bar.update(completed=history.epoch)
        while history.epoch < epochs and not _is_over(history, config):
            epoch, losses = history.epoch, []
            for batch, truth in batches(
                sets, deviations, config, n_days=n_days, seed=seed, epoch=epoch
            ):
                with _precision(device, config):
                    outputs = forward(batch.to(device))
                    loss = _loss(outputs, truth.to(device), loss_of, config)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(weights, config.clip_norm, foreach=True)
                optimiser.step()
                schedule.step()
                losses.append(float(loss.detach()))
            rate = float(schedule.get_last_lr()[0])
            row = {"epoch": epoch + 1, "learning_rate": rate, "loss": float(np.mean(losses))}
            history.add(row | validate(network, validation, device), network)
            if checkpoint is not None:
                checkpoint.save(_state(history, network, optimiser, schedule), history.rows)
            bar.update(completed=history.epoch, description=_bar_text(history))
    network.cpu()
    if history.weights is not None:
        network.load_state_dict(history.weights)
    network.eval()
    return history


def _with_rates(network: CropNetwork, config: TrainConfig) -> list[Any]:
    """The weights for an optimiser; those of Presto learn at a rate of their own."""
    if network.config.temporal != "presto":
        return list(network.parameters())
    presto = list(network.temporal.parameters())
    known = {id(weight) for weight in presto}
    new = [weight for weight in network.parameters() if id(weight) not in known]
    return [{"params": new}, {"params": presto, "lr": config.learning_rate * _PRETRAINED}]


def predict(
    network: CropNetwork, sets: Sequence[AnySet], device: str, *, without: str = ""
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities (parcel, class), NaN without prediction, and true classes (parcel,).

    ``without`` is a series that is left out.
    """
    predictor = Predictor(network, device)
    probabilities = [predictor(block.without(without)) for part in sets for block in part.blocks()]
    return np.concatenate(probabilities), np.concatenate([part.labels for part in sets])


def validate(network: CropNetwork, validation: Sequence[AnySet], device: str) -> dict[str, float]:
    """Loss and scores on validation parcels, NaN if there are none.

    If sensors may be missing, the mean over scores with all sensors and without each of these.
    """
    names = ("validation_loss", "validation_accuracy", "validation_macro_f1")
    if not validation:
        return dict.fromkeys(names, math.nan)
    rows = [_loss_and_scores(network, validation, device)]
    for name in network.config.may_be_missing:
        # Others would have no sensor left.
        part = [whole for whole in validation if set(whole.names) - {name, WEATHER}]
        if part:
            rows.append(_loss_and_scores(network, part, device, without=name))
    return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))


def _loss_and_scores(
    network: CropNetwork, validation: Sequence[AnySet], device: str, *, without: str = ""
) -> tuple[float, float, float]:
    """Loss, accuracy and macro-F1; a parcel without prediction counts as wrong in the scores."""
    probability, truth = predict(network, validation, device, without=without)
    known = np.isfinite(probability).all(axis=1)
    chance = probability[known, truth[known]].clip(1e-12)
    result = scores(truth, decide(probability), network.config.n_classes)
    loss = float(-np.log(chance).mean()) if known.any() else math.nan
    return loss, result.accuracy, result.macro_f1


def _bar_text(history: TrainingHistory) -> str:
    """Text of the progress bar: the loss, and the validation score if there is one."""
    row = history.rows[-1]
    text = f"Training, loss {row['loss']:.2f}"
    if not math.isnan(row["validation_macro_f1"]):
        text += f", validation macro-F1 {row['validation_macro_f1']:.2f}"
    return text


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch inside, and restore the caller's random state afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _is_over(history: TrainingHistory, config: TrainConfig) -> bool:
    if history.weights is None or config.patience is None:
        return False
    return history.epoch - history.improved >= config.patience


def cosine_schedule(
    optimiser: torch.optim.Optimizer, steps: int, warm_up: float
) -> torch.optim.lr_scheduler.LambdaLR:
    """Learning rate: a linear warm-up, then half a cosine down to 0."""
    warm = max(1, int(steps * warm_up))
    return torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))),
    )


def _loss(outputs: Outputs, truth: Tensor, loss_of: nn.Module, config: TrainConfig) -> Tensor:
    """Loss of the fused classifier with all sensors and without each, and of auxiliary ones."""
    loss: Tensor = loss_of(outputs.logits, truth)

    def mean(parts: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor | None:
        losses = [
            loss_of(logits, truth[members]) for logits, members in parts.values() if members.any()
        ]
        return torch.stack(losses).mean() if losses else None

    if (without := mean(outputs.without)) is not None:
        loss = (1 - config.sensor_dropout) * loss + config.sensor_dropout * without
    if config.auxiliary and (auxiliary := mean(outputs.auxiliary)) is not None:
        loss = loss + config.auxiliary * auxiliary
    return loss


def _precision(device: str, config: TrainConfig) -> AbstractContextManager[object]:
    if config.precision == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


def _state(
    history: TrainingHistory,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
) -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        # The schedule's function is created again on resuming, so that no code is stored.
        "step": schedule.last_epoch,
        "rates": schedule.get_last_lr(),
        "random": torch.random.get_rng_state(),
        "random_cuda": cuda,
        "rows": history.rows,
        "best_epoch": history.best_epoch,
        "best_score": history.best_score,
        "improved": history.improved,
        "weights": history.weights,
    }


def _resumed(
    state: Mapping[str, Any],
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
) -> TrainingHistory:
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.last_epoch = int(state["step"])
    schedule._last_lr = list(state["rates"])
    torch.random.set_rng_state(state["random"])
    if state["random_cuda"]:
        torch.cuda.set_rng_state_all(state["random_cuda"])
    rows = [dict(row) for row in state["rows"]]
    return TrainingHistory(
        rows=rows,
        epoch=len(rows),
        best_epoch=state["best_epoch"],
        best_score=state["best_score"],
        improved=state["improved"],
        weights=state["weights"],
    )
