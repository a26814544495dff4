"""Networks that learn labels of a source together with predictions for a target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.nomenclature import NODATA
from cubecrop.sample import StoredSets
from cubecrop.training import refit
from cubecrop.training.sets import Source, tree_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cubecrop.model import CropModel
    from cubecrop.progress import Bar
    from cubecrop.training import Taught, TrainConfig

__all__ = ["TEACHERS", "Labelled", "Work"]

#: Samples with a label or None for each parcel.
Labelled = tuple[Source, list[str | None]]
#: Samples with probabilities (parcel, class).
Predicted = tuple[Source, "NDArray[np.float32]"]

#: Networks whose mean probabilities teach the adapted one.
TEACHERS: Final = 3
#: How often a training on source and target takes each labelled parcel of the target.
_REPEATS: Final = 4
#: Learning rate from existing weights, as a share of that of new ones.
_SLOWER: Final = 1 / 3


@dataclass(frozen=True, slots=True)
class Work:
    """Trains networks of a model's kind, one after another, and shows how many are done."""

    model: CropModel
    config: TrainConfig
    seed: int
    device: str | None
    bar: Bar | None = None

    def showing(self, bar: Bar) -> Work:
        """The same work, counted by a bar."""
        return replace(self, bar=bar)

    def fitted(
        self, parts: Sequence[Taught], member: int = 0, *, from_weights: bool = False
    ) -> CropModel:
        """The model with a new network; members differ in their seed."""
        network = refit(
            self.model, parts, self.config, seed=self.seed + member, device=self.device,
            from_weights=from_weights,
        )  # fmt: skip
        if self.bar is not None:
            self.bar.advance()
        # Embeddings of the training parcels were those of another network.
        return replace(self.model, network=network, training_space=None)

    def predicted(self, model: CropModel, targets: Sequence[Source]) -> NDArray[np.float32]:
        """Probabilities (parcel, class) of all parcels, in the order of the targets."""
        n_pixels = model.n_pixels
        trees = (
            tree
            for target in targets
            for tree in (target.trees(n_pixels) if isinstance(target, StoredSets) else [target])
        )
        return np.concatenate(
            [model.predict_proba(tree, device=self.device).to_numpy() for tree in trees]
        )

    def self_trained(
        self, first: CropModel, labelled: Sequence[Labelled], targets: Sequence[Labelled]
    ) -> CropModel:
        """Teach a new network the source's labels and what is known or predicted of the target.

        The mean of a first model and of others that learn the same labels predicts the target.
        """
        teachers = [first, *(self.fitted(labelled, i) for i in range(1, TEACHERS))]
        few = [part for part in targets if any(part[1])] * _REPEATS
        return self.fitted([*labelled, *few, *self._predictions(teachers, targets)])

    def from_weights(self, targets: Sequence[Labelled]) -> CropModel:
        """Teach the model's own network what is known of the target, or predicted by itself.

        Without its predictions for parcels without a label it would forget most of the source:
        from 5 to 20 labels alone it becomes worse. Without any label it learns its surest
        predictions: from all of them it would learn nothing.
        """
        rate = self.config.learning_rate * _SLOWER
        slow = replace(self, config=replace(self.config, learning_rate=rate))
        predicted = self._predictions([self.model], targets)
        if few := [part for part in targets if any(part[1])] * _REPEATS:
            return slow.fitted([*few, *predicted], from_weights=True)
        return slow.fitted(_surest(predicted), from_weights=True)

    def _predictions(
        self, teachers: Sequence[CropModel], targets: Sequence[Labelled]
    ) -> list[Predicted]:
        """Mean probabilities of the targets' parcels, certain for those with a label."""
        sources = [source for source, _ in targets]
        mean = np.mean([self.predicted(one, sources) for one in teachers], axis=0)
        nomenclature = self.model.nomenclature
        index = np.array([nomenclature.index(text) for _, part in targets for text in part])
        known = index != NODATA
        mean[known] = np.eye(len(nomenclature), dtype=mean.dtype)[index[known]]
        ends = np.cumsum([tree_of(source).sizes["parcel"] for source in sources])
        return list(zip(sources, np.split(mean, ends[:-1]), strict=True))


def _surest(predicted: Sequence[Predicted]) -> list[Predicted]:
    """The surer half of the predictions of each class, as certain ones; NaN for the others."""
    probability = np.concatenate([part for _, part in predicted])
    known = np.isfinite(probability).all(axis=1)
    best = np.nan_to_num(probability).argmax(axis=1)
    certain = np.full_like(probability, np.nan)
    for name in range(probability.shape[1]):
        members = np.flatnonzero(known & (best == name))
        order = np.argsort(-probability[members, name], kind="stable")
        chosen = members[order[: -(-len(members) // 2)]]
        certain[chosen] = np.eye(probability.shape[1])[name]
    ends = np.cumsum([len(part) for _, part in predicted])
    parts = np.split(certain, ends[:-1])
    return [(source, part) for (source, _), part in zip(predicted, parts, strict=True)]
