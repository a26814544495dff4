"""Counts of right and wrong predictions by group, and scores of resamples of groups from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy import sparse

from cubecrop.errors import LabelError
from cubecrop.evaluation.candidates import NETWORK
from cubecrop.metrics import class_f1, group_draws, scores_of_counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cubecrop.evaluation.predictions import Predictions

__all__ = [
    "AS_THEY_ARE",
    "UNTIL_DAY",
    "Cell",
    "Setting",
    "main_model",
    "mean_of_seeds",
    "resampled",
]

#: Variant of test samples that were not changed.
AS_THEY_ARE: Final = ""
#: Variant of test samples that end at a day of the season, its level.
UNTIL_DAY: Final = "until day"
# Kinds of counts: predicted right, true but predicted otherwise, predicted but another class.
_HIT, _MISSED, _FALSE = range(3)
_KINDS: Final = 3


@dataclass(frozen=True, eq=False, kw_only=True)
class Setting:
    """One protocol and variant of the test samples, under which models are compared.

    All settings of a protocol have the same folds and seeds, also where no model was run.
    """

    protocol: str
    variant: str
    level: float
    folds: list[str]
    seeds: list[int]
    cells: dict[str, Cell]  # by model


@dataclass(eq=False, kw_only=True)
class Cell:
    """One model in one setting.

    Parameters
    ----------
    exists, n, unpredicted : numpy.ndarray
        (fold, seed) whether the model was run, on how many parcels, and how many of these have no
        prediction.
    n_train : float
        Mean number of labelled parcels in training.
    groups : list of numpy.ndarray
        For each fold the groups of its parcels.
    counts : numpy.ndarray
        (fold, seed, 3, class): parcels of a class that are right, parcels of it that are not, and
        parcels of other classes that were predicted as it; or the sums of their weights.
    by_group : scipy.sparse.csr_array
        The same, one row a count, one column a group.
    draws, fold_draws, f1_draws : list of numpy.ndarray
        Of the resamples, means over seeds: scores (resample, score) over all folds and (resample,
        fold, score) of each, and F1 (resample, class); the last two not for all variants.
    lead_draws, change_draws : list of numpy.ndarray
        Scores (resample, score) less those of the main model, and less those of the same model on
        samples as they are; both on the folds and seeds that both have.
    whole_f1_draws : list of numpy.ndarray
        F1 (resample, class) on samples as they are, on these folds and seeds.
    """

    exists: NDArray[np.bool_]
    n: NDArray[np.int64]
    unpredicted: NDArray[np.int64]
    n_train: float
    groups: list[NDArray[np.int64]]
    counts: NDArray[np.float32]
    by_group: sparse.csr_array
    draws: list[NDArray[np.float64]] = field(default_factory=list)
    fold_draws: list[NDArray[np.float64]] = field(default_factory=list)
    f1_draws: list[NDArray[np.float32]] = field(default_factory=list)
    lead_draws: list[NDArray[np.float64]] = field(default_factory=list)
    change_draws: list[NDArray[np.float64]] = field(default_factory=list)
    whole_f1_draws: list[NDArray[np.float32]] = field(default_factory=list)

    def pooled(self, only: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """Scores (seed, score) over all folds, or over some (fold, seed); NaN without any."""
        chosen = self.exists if only is None else only
        return scores_of_counts(*_three(self.counts * chosen[:, :, None, None], axis=0))

    def by_fold(self) -> NDArray[np.float64]:
        """Scores (fold, seed, score); NaN where the model was not run."""
        return scores_of_counts(*_three(self.counts))

    def f1(self, only: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """F1 (seed, class) over all folds, or over some (fold, seed)."""
        chosen = self.exists if only is None else only
        return class_f1(*_three(self.counts * chosen[:, :, None, None], axis=0))

    def totals(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Parcels (seed, class) of a class, predicted as it, and both, over all folds."""
        return _three(self.counts, axis=0)


def main_model(predictions: Predictions) -> str:
    """The model that others are compared with: the network, or else that of the first row."""
    models = predictions.table["model"]
    return NETWORK if (models == NETWORK).any() else str(models.iloc[0])


def resampled(
    predictions: Predictions, *, weights: NDArray[np.float64] | None = None, seed: int = 0
) -> list[Setting]:
    """Count predictions by setting, model, fold and seed, and score 2,000 resamples of groups.

    With ``weights (row,)``, such as areas, counts are sums of these, and scores are shares of them.

    All models, seeds and settings share the resamples, so that their differences are paired.
    Protocols and models are in the order of their first rows, samples as they are first, and the
    main model first.
    """
    if len(predictions) == 0:
        raise LabelError("there is no prediction to score, expected one or more.")
    names, group = np.unique(predictions.table["group"].to_numpy(str), return_inverse=True)
    main = main_model(predictions)
    if weights is None:
        weights = np.ones(len(predictions))
    settings = _settings(predictions, weights, group, len(names), main)
    varied = {
        (one.protocol, model)
        for one in settings
        if one.variant != AS_THEY_ARE
        for model in one.cells
    }
    for drawn in group_draws(np.random.default_rng(seed), len(names)):
        times = np.ascontiguousarray(drawn.T)  # (group, resample)
        whole: dict[tuple[str, str], _Drawn] = {}
        for setting in settings:
            for model, scored in _score_draws(setting, times, main, whole):
                if setting.variant == AS_THEY_ARE and (setting.protocol, model) in varied:
                    whole[setting.protocol, model] = scored
    return settings


def mean_of_seeds(values: NDArray[np.floating], axis: int) -> NDArray[np.float64]:
    """Mean over an axis without NaN; NaN where nothing is left."""
    known = np.isfinite(values)
    n = known.sum(axis=axis)
    total = np.where(known, values, 0).sum(axis=axis)
    return np.asarray(np.where(n > 0, total / np.maximum(n, 1), np.nan))


@dataclass(eq=False)
class _Drawn:
    """Counts (resample, fold, seed, kind, class) of a cell in some resamples."""

    cell: Cell
    counts: NDArray[np.float32]
    known: dict[bytes, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(
        default_factory=dict
    )

    def on(self, units: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores (resample, score) and F1 (resample, class) of some (fold, seed)."""
        key = units.tobytes()
        if key not in self.known:
            all_of_it = bool((units == self.cell.exists).all())
            counts = self.counts if all_of_it else self.counts * units[None, :, :, None, None]
            used = units.any(axis=0)
            three = _three(counts[:, :, used], axis=1)
            means = (scores_of_counts(*three), class_f1(*three))
            self.known[key] = mean_of_seeds(means[0], axis=1), mean_of_seeds(means[1], axis=1)
        return self.known[key]

    def lead(self, other: _Drawn) -> NDArray[np.float64]:
        """Scores (resample, score) less those of another cell, on what both have."""
        both = self.cell.exists & other.cell.exists
        return self.on(both)[0] - other.on(both)[0]


def _score_draws(
    setting: Setting,
    times: NDArray[np.float32],
    main: str,
    whole: dict[tuple[str, str], _Drawn],
) -> Iterator[tuple[str, _Drawn]]:
    """Score some resamples of all models of a setting; yield what was drawn of each model."""
    of_main: _Drawn | None = None
    plain = setting.variant == AS_THEY_ARE
    for model, cell in setting.cells.items():
        flat = (cell.by_group @ times).T  # (resample, count)
        one = _Drawn(cell, flat.reshape(-1, *cell.counts.shape))
        scores, f1 = one.on(cell.exists)
        cell.draws.append(scores)
        if plain:
            by_fold = scores_of_counts(*_three(one.counts))
            cell.fold_draws.append(mean_of_seeds(by_fold, axis=2))
        if plain or setting.variant == UNTIL_DAY:
            cell.f1_draws.append(f1.astype(np.float32))
        if of_main is not None:
            cell.lead_draws.append(one.lead(of_main))
        base = None if plain else whole.get((setting.protocol, model))
        if base is not None:
            cell.change_draws.append(one.lead(base))
            if setting.variant == UNTIL_DAY:
                both = cell.exists & base.cell.exists
                cell.whole_f1_draws.append(base.on(both)[1].astype(np.float32))
        if model == main:
            of_main = one
        yield model, one


def _three(
    counts: NDArray[np.float32], axis: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Size, claimed and hits (…, class) from counts (…, 3, class), perhaps summed over an axis."""
    if axis is not None:
        counts = counts.sum(axis=axis)
    hit, missed, false = (counts[..., kind, :] for kind in (_HIT, _MISSED, _FALSE))
    return hit + missed, hit + false, hit


def _settings(
    predictions: Predictions,
    weights: NDArray[np.float64],
    group: NDArray[np.int64],
    n_groups: int,
    main: str,
) -> list[Setting]:
    frame = predictions.table
    columns = _Columns(
        truth=predictions.truth, guess=predictions.predicted, weight=weights, group=group,
        n_train=frame["n_train"].to_numpy(),
    )  # fmt: skip
    found: list[Setting] = []
    for (protocol,), of_protocol in _groups_of(frame, ["protocol"]):
        own = frame.iloc[of_protocol]
        folds, fold = _coded(own["fold"].to_numpy())
        seeds, run = np.unique(own["seed"].to_numpy(), return_inverse=True)
        shape = (len(folds), len(seeds), _KINDS, len(predictions.nomenclature))
        unit = np.full(len(frame), -1)
        unit[of_protocol] = fold * len(seeds) + run
        by_variant = _groups_of(own, ["variant", "level"])
        for (variant, level), part in sorted(by_variant, key=lambda one: one[0][0] != AS_THEY_ARE):
            rows = of_protocol[part]
            models = _groups_of(frame.iloc[rows], ["model"])
            cells = {
                str(model): _cell(columns.take(rows[one]), unit[rows[one]], shape, n_groups)
                for (model,), one in sorted(models, key=lambda one: one[0][0] != main)
            }
            found.append(
                Setting(
                    protocol=str(protocol), variant=str(variant), level=float(level), folds=folds,
                    seeds=seeds.tolist(), cells=cells,
                )
            )  # fmt: skip
    return found


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Columns (row,) of predictions."""

    truth: NDArray[np.int64]
    guess: NDArray[np.int64]
    weight: NDArray[np.float64]
    group: NDArray[np.int64]
    n_train: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> _Columns:
        return _Columns(
            truth=self.truth[rows], guess=self.guess[rows], weight=self.weight[rows],
            group=self.group[rows], n_train=self.n_train[rows],
        )  # fmt: skip


def _groups_of(
    frame: pd.DataFrame, by: list[str]
) -> list[tuple[tuple[Any, ...], NDArray[np.int64]]]:
    """Keys and positions of rows with equal values, in the order of their first rows."""
    number = frame.groupby(by, dropna=False, observed=True, sort=False).ngroup().to_numpy()
    order = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    parts = np.split(order, starts[1:])
    return [(tuple(frame[name].iloc[rows[0]] for name in by), rows) for rows in parts]


def _coded(values: NDArray[np.object_]) -> tuple[list[str], NDArray[np.int64]]:
    """Distinct texts in the order of their first rows, and each row's position among them."""
    codes, texts = pd.factorize(values)
    return [str(text) for text in texts], codes


def _cell(
    own: _Columns, unit: NDArray[np.int64], shape: tuple[int, int, int, int], n_groups: int
) -> Cell:
    """Counts of the rows of one model in one setting; ``unit`` codes (fold, seed)."""
    n_folds, n_seeds, _, n_classes = shape
    right, lost = own.truth == own.guess, own.guess >= n_classes
    false = ~right & ~lost
    base = unit * _KINDS
    of_truth = (base + np.where(right, _HIT, _MISSED)) * n_classes + own.truth
    of_guess = (base[false] + _FALSE) * n_classes + own.guess[false]
    place = np.concatenate([of_truth, of_guess])
    column = np.concatenate([own.group, own.group[false]])
    weight = np.concatenate([own.weight, own.weight[false]]).astype(np.float32)
    all_counts = (math.prod(shape), n_groups)
    by_group = sparse.coo_array((weight, (place, column)), shape=all_counts).tocsr()
    n = np.bincount(unit, minlength=n_folds * n_seeds).reshape(n_folds, n_seeds)
    unpredicted = np.bincount(unit[lost], minlength=n.size).reshape(n.shape)
    return Cell(
        exists=n > 0,
        n=n,
        unpredicted=unpredicted,
        n_train=float(own.n_train.mean()),
        groups=[np.unique(own.group[unit // n_seeds == fold]) for fold in range(n_folds)],
        counts=np.asarray(by_group.sum(axis=1), dtype=np.float32).reshape(shape),
        by_group=by_group,
    )
