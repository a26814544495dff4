"""Train a network of a model's kind again, from its weights or from new ones."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cubecrop.errors import ModelMismatchError
from cubecrop.model import (
    CropNetwork,
    NetworkOptions,
    one_thread,
    season_of,
    usable_device,
)
from cubecrop.training.averaging import run_averaged
from cubecrop.training.config import TrainConfig
from cubecrop.training.loop import seeded
from cubecrop.training.sets import AnySet, Source, training_set, tree_of
from cubecrop.training.together import in_season_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cubecrop.model import CropModel

__all__ = ["Taught", "refit", "settings_of"]

#: Samples, and for each parcel a label or None; or probabilities (parcel, class), NaN for a parcel
#: to leave out.
Taught = tuple[Source, "Sequence[str | None] | NDArray[np.float32]"]

#: Buffers of a network that standardise its inputs, and are not learned.
_STATISTICS: Final = {"mean", "deviation", "extras_mean", "extras_deviation"}


def settings_of(model: CropModel, config: TrainConfig | None = None) -> TrainConfig:
    """Settings to train a network of the model's kind with.

    Without a config they are those of the model's training, or the defaults for what its record
    lacks, but for one training also where the model is the mean of several. The network and the
    sensors that may be missing are always the model's.
    """
    known = {f.name for f in fields(TrainConfig)} - {"network", "n_averaged"}
    stored = {key: v for key, v in model.training.settings.items() if key in known}
    options: dict[str, Any] = {
        f.name: getattr(model.config, f.name) for f in fields(NetworkOptions)
    }
    same: dict[str, Any] = {
        "network": NetworkOptions(**options),
        "may_be_missing": model.config.may_be_missing,
    }
    if config is not None:
        return replace(config, **same)
    return TrainConfig(**{**stored, **same})


def refit(
    model: CropModel,
    parts: Sequence[Taught],
    config: TrainConfig,
    *,
    seed: int,
    device: str | None = None,
    from_weights: bool = False,
) -> CropNetwork:
    """Train a network with a model's configuration, classes and normalisation.

    Parameters
    ----------
    model : CropModel
        Is not changed.
    parts : sequence
        Samples that fit the model, each with labels or with probabilities of its parcels. A
        training by probabilities minimises the cross-entropy to them, without class weights.
    config : TrainConfig
        Settings, from `settings_of`. No parcels are kept for validation.
    seed : int
        The same model, parts, config and seed give the same network on the CPU.
    device : str, optional
        As for `cubecrop.fit`.
    from_weights : bool, default False
        Start with the model's weights instead of new ones.

    Raises
    ------
    ModelMismatchError
        Weights of Presto would be new, or trainings from new weights would be averaged.
    """
    if config.n_averaged > 1 and not from_weights:
        raise ModelMismatchError(
            f"config.n_averaged is {config.n_averaged}, but trainings from new weights cannot be "
            "averaged. Leave n_averaged out, or `source`, which goes on from the model's weights."
        )
    if model.config.temporal == "presto" and not from_weights:
        raise ModelMismatchError(
            "the model's network is Presto, which cannot be trained again from new weights. Leave "
            "`source` out, which goes on from the model's weights, or train another model: "
            "`cubecrop.fit(samples, labels, init=cubecrop.model.read_presto(path))`."
        )
    sets = [_set(model, source, taught) for source, taught in parts]
    with seeded(seed), one_thread():
        network = CropNetwork(model.config)
        state = model.network.state_dict()
        if not from_weights:
            own = network.state_dict()
            kept = {name for name in state if name.rpartition(".")[2] in _STATISTICS}
            state = {name: (state if name in kept else own)[name] for name in own}
        network.load_state_dict(state)
        run_averaged(
            network, [part for part in sets if len(part.labels)], [], config,
            n_days=season_of(in_season_of(model, tree_of(parts[0][0]))).n_days, seed=seed,
            device=usable_device(device), progress=False,
        )  # fmt: skip
    return network


def _set(
    model: CropModel, source: Source, taught: Sequence[str | None] | NDArray[np.float32]
) -> AnySet:
    tree = in_season_of(model, tree_of(source))
    if not isinstance(taught, np.ndarray):
        return training_set(source, tree, taught, model.config, model.nomenclature)
    names = model.nomenclature.names
    # The class only says which parcels take part: `training_set` leaves out those without one.
    texts = [names[row.argmax()] if np.isfinite(row).all() else None for row in taught]
    part = training_set(source, tree, texts, model.config, model.nomenclature)
    row = {parcel: i for i, parcel in enumerate(np.asarray(tree["parcel"]).tolist())}
    probability: Any = taught[[row[parcel] for parcel in part.ids]]
    return replace(part, labels=probability)
