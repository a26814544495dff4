"""Runs: train one candidate on one fold with one seed, and predict the test part.

The result of every run is a file whose name is the digest of all that determines it. So a study
that was stopped goes on where it was, and a changed setting trains only what it changes.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pandas as pd
import torch

from cubecrop._version import __version__
from cubecrop.errors import ClusterError, CubecropError, DeviceError, OutputError, ReadError
from cubecrop.evaluation.about import Refusal
from cubecrop.evaluation.calibrating import calibrate_on_folds
from cubecrop.evaluation.outcomes import Outcome
from cubecrop.evaluation.population import digest_of_tree
from cubecrop.evaluation.predictions import COLUMNS, Predictions
from cubecrop.evaluation.stress import OTHER_CLOUDS, Variant, stressed, variants
from cubecrop.model import CropModel
from cubecrop.sample import hash_ids
from cubecrop.training.sets import tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import xarray as xr
    from distributed import Client
    from numpy.typing import NDArray

    from cubecrop.evaluation.calibrating import InnerFolds
    from cubecrop.evaluation.candidates import Candidate, Predicts
    from cubecrop.evaluation.population import Population
    from cubecrop.evaluation.protocols import Fold
    from cubecrop.model import Calibration
    from cubecrop.progress import Bar

__all__ = [
    "FAULTS", "TRAINING_SIZE", "VERSIONS", "AnyRun", "CalibrationRun", "Run",
    "hashed", "predictions_of", "refusal_of", "run_all",
]  # fmt: skip

#: Name of the variant whose level is the number of training parcels.
TRAINING_SIZE: Final = "training parcels"
#: Versions of which a result may depend.
VERSIONS: Final = [__version__, str(torch.__version__)]
#: Trainings seed torch's generator, of which a process has one: threads of a worker take turns.
_ONE_AT_A_TIME: Final = threading.Lock()
#: Faults of a disk, a device or a cluster may pass, so they are no result.
FAULTS: Final = (ReadError, OutputError, DeviceError, ClusterError)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training and its tests.

    Parameters
    ----------
    candidate, fold, seed
        What is trained, on which parcels, and from which seed.
    stress : tuple of str
        Kinds of stress of the test samples, besides the samples as they are.
    n_train : int, optional
        Train on so many of the fold's training parcels; by default on all.
    calibration : Calibration, optional
        Calibration of the network, which the training parcels gave.
    """

    candidate: Candidate
    fold: Fold
    seed: int
    stress: tuple[str, ...] = ()
    n_train: int | None = None
    calibration: Calibration | None = None

    def key(self, population: str) -> str:
        """Digest of all that determines the result.

        ``population`` is a digest of the population and of the samples whose clouds are laid over.
        """
        about = {
            "population": population,
            "candidate": self.candidate.identity,
            "fold": self.fold.identity,
            "seed": self.seed,
            "stress": self.stress,
            "n_train": self.n_train,
            "calibration": self.calibration and asdict(self.calibration),
            "versions": VERSIONS,
        }
        return hashed(about)

    def perform(self, population: Population, others: xr.DataTree | None = None) -> Outcome:
        """Train and predict; reads pixels.

        A candidate that cannot be trained, or does not take a variant of the samples, is recorded
        as refused, with the reason.
        """
        return _train_and_test(self, population, others)


@dataclass(frozen=True, kw_only=True)
class CalibrationRun:
    """The calibration of a network for a fold, from inner folds of its training parcels.

    Under ``random`` the inner folds are random groups. Under the other protocols they are strips
    of land: the model will be used where it knows nothing.
    """

    candidate: Candidate
    fold: Fold

    def key(self, population: str) -> str:
        """As for `Run`."""
        about = {
            "population": population,
            "candidate": self.candidate.identity,
            "fold": self.fold.identity,
            "folds": self._folds,
            "versions": VERSIONS,
        }
        return hashed(about)

    @property
    def _folds(self) -> InnerFolds:
        return "groups" if self.fold.protocol == "random" else "blocks"

    def perform(self, population: Population, _: xr.DataTree | None = None) -> Outcome:
        """Train the inner models and calibrate."""
        start = time.process_time()
        samples, labels, _order = population.take(self.fold.train)
        try:
            found = calibrate_on_folds(
                samples, labels, nomenclature=population.nomenclature,
                config=self.candidate.config, init=self.candidate.init, folds=self._folds,
            )  # fmt: skip
        except FAULTS:
            raise
        except CubecropError as error:
            refusal = refusal_of(self, "calibration", error)
            return Outcome(
                predictions=None, refusals=(refusal,), seconds=time.process_time() - start
            )
        return Outcome(
            predictions=None, refusals=(), seconds=time.process_time() - start, calibration=found
        )


class AnyRun(Protocol):
    """What is done once, and found again by its key."""

    def key(self, population: str) -> str:
        """Digest of all that determines the result."""
        ...

    def perform(self, population: Population, others: xr.DataTree | None = None, /) -> Outcome:
        """Do it; reads pixels."""
        ...


def _train_and_test(run: Run, population: Population, others: xr.DataTree | None) -> Outcome:
    start = time.process_time()
    members = _training_members(run, population)
    samples, labels, _ = population.take(members)
    try:
        model = run.candidate.train(
            samples, labels, nomenclature=population.nomenclature, seed=run.seed
        )
    except FAULTS:
        raise
    except CubecropError as error:
        refusal = refusal_of(run, "", error)
        seconds = time.process_time() - start
        return Outcome(predictions=None, refusals=(refusal,), seconds=seconds)
    if isinstance(model, CropModel) and run.calibration is not None:
        model = model.with_calibration(run.calibration)
    parts, refusals = predictions_of(model, run, population, run.fold.test, len(members), others)
    return Outcome(
        predictions=Predictions.concatenated(parts) if parts else None,
        refusals=tuple(refusals),
        seconds=time.process_time() - start,
    )


def predictions_of(
    model: Predicts,
    run: Run,
    population: Population,
    members: NDArray[np.int64],
    n_train: int,
    others: xr.DataTree | None,
) -> tuple[list[Predictions], list[Refusal]]:
    """Predictions of a trained model on some parcels, as they are and under stress."""
    n_pixels = model.n_pixels if isinstance(model, CropModel) else None
    plain = Variant("" if run.n_train is None else TRAINING_SIZE, _number(run.n_train))
    chosen = (plain, *_shared_variants(population, members, run.stress, others))
    parts: list[tuple[Variant, Predictions]] = []
    refusals: dict[str, Refusal] = {}
    for tree, positions in population.trees(members, n_pixels):
        for variant in chosen:
            changed = tree
            try:
                if variant is not plain:
                    changed = stressed(
                        tree, variant.stress, variant.level, seed=run.seed, others=others
                    )
                changed = run.candidate.select(changed)
                probability = _predicted(model, changed)
            except FAULTS:
                raise
            except CubecropError as error:
                name = variant.stress
                refusals.setdefault(name, refusal_of(run, name, error))
                continue
            table = _table(run, variant, population, positions, n_train)
            _add_sets(table, probability, model)
            if variant is plain:
                table["dissimilarity"] = _dissimilarity(model, changed)
            columns = table[list(COLUMNS)]
            parts.append((variant, Predictions(columns, probability, population.nomenclature)))
    # A variant that one source refuses has no score: it would be one of other parcels.
    return [one for variant, one in parts if variant.stress not in refusals], [*refusals.values()]


def _shared_variants(
    population: Population,
    members: NDArray[np.int64],
    kinds: Sequence[str],
    others: xr.DataTree | None,
) -> list[Variant]:
    """The variants that all sources of some parcels have; of others, scores would differ."""
    samples, _, _ = population.take(members)
    first, *rest = [variants(tree_of(source), kinds, others=others) for source in samples]
    return [one for one in first if all(one in own for own in rest)]


def run_all(
    runs: Sequence[AnyRun],
    population: Population,
    folder: Path,
    *,
    others: xr.DataTree | None,
    client: Client | None,
    bar: Bar,
) -> list[Outcome]:
    """Perform the runs that have no outcome in a folder; the outcomes of all, in order."""
    digest = population.digest()
    clouds = "" if others is None else digest_of_tree(others)
    keys = [
        run.key(f"{digest} {clouds}" if OTHER_CLOUDS in getattr(run, "stress", ()) else digest)
        for run in runs
    ]
    found = {key: outcome for key in keys if (outcome := Outcome.read(folder, key)) is not None}
    bar.update(completed=bar.completed + len(found))
    waiting = {key: run for key, run in zip(keys, runs, strict=True) if key not in found}
    for key, outcome in _performed(waiting, population, others, client):
        outcome.write(folder, key)
        found[key] = outcome
        bar.advance()
    return [found[key] for key in keys]


def _performed(
    runs: dict[str, AnyRun],
    population: Population,
    others: xr.DataTree | None,
    client: Client | None,
) -> Iterator[tuple[str, Outcome]]:
    if client is None:
        for key, run in runs.items():
            yield key, run.perform(population, others)
        return
    from distributed import CancelledError, KilledWorker, as_completed

    # By content, a call would share its data with the one before, which is about to release them.
    shared = client.scatter([population, others], broadcast=True, hash=False)
    futures = {client.submit(_perform, run, *shared, pure=False): key for key, run in runs.items()}
    for future in as_completed(futures):
        try:
            outcome = future.result()
        except KilledWorker as error:
            raise ClusterError(
                f"workers died during a training, perhaps for want of memory: {error}. Finished "
                "trainings are kept: run the same command with fewer workers or more memory."
            ) from error
        except CancelledError as error:
            raise ClusterError(
                f"the cluster lost a training: {error}. Finished trainings are kept: run the same "
                "command again."
            ) from error
        yield futures[future], outcome


def _perform(run: AnyRun, population: Population, others: xr.DataTree | None) -> Outcome:
    with _ONE_AT_A_TIME:
        return run.perform(population, others)


def _training_members(run: Run, population: Population) -> NDArray[np.int64]:
    if run.n_train is None or run.n_train >= len(run.fold.train):
        return run.fold.train
    ids = population.ids[run.fold.train].tolist()
    order = np.argsort(hash_ids(ids, "training parcels", run.seed), kind="stable")
    return np.sort(run.fold.train[order[: run.n_train]])


def _predicted(model: Predicts, samples: xr.DataTree) -> NDArray[np.float32]:
    if not isinstance(model, CropModel):
        return model.predict_proba(samples).to_numpy()
    # What a gap costs is a question of the study, so the model does not refuse it.
    return model.predict_proba(samples, allow_gaps=True).to_numpy()


def _dissimilarity(model: Predicts, samples: xr.DataTree) -> NDArray[np.float64] | float:
    """How unlike the training parcels samples are, NaN if the model does not know."""
    if not isinstance(model, CropModel) or model.training_space is None:
        return float("nan")
    return model.applicability(samples, allow_gaps=True).to_numpy().astype(float)


def _table(
    run: Run, variant: Variant, population: Population, rows: NDArray[np.int64], n_train: int
) -> pd.DataFrame:
    constant: dict[str, Any] = {
        "protocol": run.fold.protocol, "fold": run.fold.name, "model": run.candidate.name,
        "seed": run.seed, "variant": variant.stress, "level": variant.level, "n_train": n_train,
    }  # fmt: skip
    own = {
        "parcel": population.ids[rows].astype(str), "region": population.region[rows],
        "year": population.year[rows], "group": population.group[rows].astype(str),
        "area": population.area[rows], "truth": population.label[rows],
    }  # fmt: skip
    empty = {"in_set": np.nan, "set_size": np.nan, "dissimilarity": np.nan}
    return pd.DataFrame({**own, **constant, **empty})[list(COLUMNS)].astype(COLUMNS)


def _add_sets(table: pd.DataFrame, probability: NDArray[np.float32], model: Predicts) -> None:
    if not isinstance(model, CropModel) or model.calibration is None:
        return
    inside = model.calibration.crop_sets(probability)
    known = np.isfinite(probability).all(axis=1)
    holds = inside[np.arange(len(table)), table["truth"]]
    table["in_set"] = np.where(known, holds, np.nan)
    table["set_size"] = np.where(known, inside.sum(axis=1), np.nan)


def refusal_of(run: Run | CalibrationRun, variant: str, error: CubecropError) -> Refusal:
    """The record of an error."""
    return Refusal(
        model=run.candidate.name, protocol=run.fold.protocol, fold=run.fold.name,
        variant=variant, reason=str(error),
    )  # fmt: skip


def hashed(about: object) -> str:
    """Digest of plain types."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def _number(value: int | None) -> float:
    return float("nan") if value is None else float(value)
