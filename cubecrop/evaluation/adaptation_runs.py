"""Runs that adapt a network to the test part, without its labels or with few of them."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.errors import CubecropError
from cubecrop.evaluation.adaptation import adapt, fine_tune
from cubecrop.evaluation.outcomes import Outcome
from cubecrop.evaluation.predictions import Predictions
from cubecrop.evaluation.runs import FAULTS, VERSIONS, Run, hashed, predictions_of, refusal_of
from cubecrop.model import CropModel
from cubecrop.sample import hash_ids

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.evaluation.candidates import Candidate
    from cubecrop.evaluation.population import Population
    from cubecrop.evaluation.protocols import Fold

__all__ = ["AdaptationRun", "adapted_name"]


@dataclass(frozen=True, kw_only=True)
class AdaptationRun:
    """A network that is trained on the training part, and changed for the test part.

    Parameters
    ----------
    candidate, fold, seed
        As for `Run`.
    n_labels : int
        Parcels of the test part whose labels are given; they are drawn at random and not tested.
        With 0 the network is adapted without labels.
    """

    candidate: Candidate
    fold: Fold
    seed: int
    n_labels: int = 0

    def key(self, population: str) -> str:
        """As for `Run`."""
        about = {
            "population": population,
            "candidate": self.candidate.identity,
            "fold": self.fold.identity,
            "seed": self.seed,
            "adapted with": self.n_labels,
            "versions": VERSIONS,
        }
        return hashed(about)

    def perform(self, population: Population, _: xr.DataTree | None = None) -> Outcome:
        """Train, adapt and predict; a model that the check refused predicts as it was."""
        start = time.process_time()
        named = replace(self.candidate, name=adapted_name(self.candidate.name, self.n_labels))
        run = Run(candidate=named, fold=self.fold, seed=self.seed)
        labelled, others = self._drawn(population)
        try:
            model = self._adapted(population, labelled, others)
        except FAULTS:
            raise
        except CubecropError as error:
            refusals = (refusal_of(run, "", error),)
            seconds = time.process_time() - start
            return Outcome(predictions=None, refusals=refusals, seconds=seconds)
        parts, refused = predictions_of(model, run, population, others, len(self.fold.train), None)
        return Outcome(
            predictions=Predictions.concatenated(parts) if parts else None,
            refusals=tuple(refused),
            seconds=time.process_time() - start,
        )

    def _adapted(
        self, population: Population, labelled: NDArray[np.int64], others: NDArray[np.int64]
    ) -> CropModel:
        samples, labels, _ = population.take(self.fold.train)
        model = self.candidate.train(
            samples, labels, nomenclature=population.nomenclature, seed=self.seed
        )
        if not isinstance(model, CropModel):
            raise TypeError(f"{self.candidate.name!r} is no network")
        with warnings.catch_warnings():
            # The record of the model says whether the change was checked.
            warnings.filterwarnings("ignore", ".*nothing checks whether the change does harm")
            if self.n_labels == 0:
                targets, _, _ = population.take(others)
                return adapt(
                    model, targets, source=(samples, labels), seed=self.seed, progress=False
                )
            targets, truth, order = population.take(np.sort(np.r_[labelled, others]))
            known = np.isin(order, labelled)
            starts = np.cumsum([0, *map(len, truth)])
            given = [
                [text if known[start + i] else None for i, text in enumerate(part)]
                for start, part in zip(starts, truth, strict=False)
            ]
            return fine_tune(
                model, targets, given, source=(samples, labels), seed=self.seed, progress=False
            )

    def _drawn(self, population: Population) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Test parcels whose labels are given, and the others; more labels contain fewer.

        Parcels of a group whose label is given are not tested.
        """
        ids = population.ids[self.fold.test].tolist()
        order = np.argsort(hash_ids(ids, "labels of the target", self.seed), kind="stable")
        drawn = self.fold.test[order]
        labelled, others = drawn[: self.n_labels], drawn[self.n_labels :]
        known = np.isin(population.group[others], population.group[labelled])
        return np.sort(labelled), np.sort(others[~known])


def adapted_name(name: str, n_labels: int) -> str:
    """Name of the row of an adapted model."""
    if n_labels == 0:
        return f"{name}, adapted without labels"
    return f"{name}, fine-tuned with {n_labels} labels"
