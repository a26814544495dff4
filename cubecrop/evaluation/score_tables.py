"""Tables of scores with spread over seeds, 95 % intervals, gaps and paired differences."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pandas as pd

from cubecrop.evaluation.counts import AS_THEY_ARE, UNTIL_DAY, main_model, mean_of_seeds, resampled
from cubecrop.evaluation.seed_intervals import interval, value_of, variance_of, widened
from cubecrop.metrics import SCORE_NAMES, confusion_matrix, ends

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from cubecrop.evaluation.about import FoldFacts
    from cubecrop.evaluation.counts import Cell, Setting
    from cubecrop.evaluation.predictions import Predictions

__all__ = ["FEW", "FINAL_SHARE", "RANDOM", "UNPREDICTED", "ScoreTables", "records"]

#: The protocol that others are compared with.
RANDOM: Final = "random"
#: An F1 over fewer test parcels is marked.
FEW: Final = 10
#: Share of the final F1 at which a crop counts as known.
FINAL_SHARE: Final = 0.95
#: Column of a confusion matrix for parcels without prediction.
UNPREDICTED: Final = "no prediction"


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoreTables:
    """Score tables of an evaluation; "by" names the columns that tell their rows apart.

    A score is pooled over the folds of a protocol and averaged over seeds; ``spread`` is its
    standard deviation over seeds (NaN for one seed), and ``low`` and ``high`` are the ends of its
    95 % interval: over 2,000 resamples of groups, which all rows share, and over seeds, if there
    are several. The interval of ``change`` has no part of the seeds, as both scores are of the same
    trainings. ``n`` counts test parcels and ``groups`` their groups, in one seed.

    Parameters
    ----------
    main : str
        The model that others are compared with.
    scores : pandas.DataFrame
        By protocol, model, variant, level and score (`cubecrop.metrics.SCORE_NAMES`): value,
        spread, low, high, n, groups, seeds, folds, n_train, unpredicted (parcels), few (classes
        with fewer than 10 test parcels); ``gap`` to the protocol "random" and ``change`` to the
        samples as they are (on the folds and seeds of both), each with its ends. NaN where there is
        nothing to compare with.
    folds : pandas.DataFrame
        The same by fold, for samples as they are: value, spread, low, high, n, groups, seeds.
    differences : pandas.DataFrame
        By protocol, variant, level, model and score: difference to the main model on the
        folds and seeds that both have, low, high, n, groups, seeds.
    classes : pandas.DataFrame
        By protocol, model and crop, for samples as they are: n, precision, recall, f1, low, high,
        few, and untrained (folds whose training part lacks the crop, joined by "; ").
    confusion : pandas.DataFrame
        By protocol, model, truth and predicted: mean number of parcels over seeds.
    areas : pandas.DataFrame
        By protocol, model and score, for samples as they are: the same scores as shares of area
        (value, spread, low, high), n, groups, seeds, and the area in hectares, over the parcels
        whose area is known. Empty if none is.
    early : pandas.DataFrame
        By protocol, model and crop: n, final_f1, day (the first at which F1 reaches 95 % of it,
        NaN if none does), low, high.
    """

    main: str
    scores: pd.DataFrame
    folds: pd.DataFrame
    differences: pd.DataFrame
    classes: pd.DataFrame
    confusion: pd.DataFrame
    areas: pd.DataFrame
    early: pd.DataFrame

    @classmethod
    def of(
        cls, predictions: Predictions, folds: Iterable[FoldFacts] = (), *, seed: int = 0
    ) -> ScoreTables:
        """Score predictions.

        Parameters
        ----------
        predictions : Predictions
            At least one row.
        folds : iterable of FoldFacts
            Which classes the training parts lack.
        seed : int, default 0
            Seed of the resamples.

        Raises
        ------
        LabelError
            There is no prediction.
        """
        settings = sorted(resampled(predictions, seed=seed), key=lambda one: one.protocol != RANDOM)
        names, main = predictions.nomenclature.names, main_model(predictions)
        lacking: dict[tuple[str, str], list[str]] = {}
        for fold in folds:
            for crop in fold.only_in_test:
                lacking.setdefault((fold.protocol, crop), []).append(fold.name)
        scores = [row for one in _pairs(settings) for row in _score_rows(*one, settings)]
        return cls(
            main=main,
            scores=pd.DataFrame(scores),
            folds=pd.DataFrame([row for one in _pairs(settings) for row in _fold_rows(*one)]),
            differences=pd.DataFrame(
                [row for setting in settings for row in _difference_rows(setting, main)],
                columns=[*_SETTING, "model", "score", "difference", "low", "high", *_COUNTS],
            ),
            classes=pd.DataFrame(
                [row for one in _pairs(settings) for row in _class_rows(*one, names, lacking)]
            ),
            confusion=_confusion(predictions),
            areas=pd.DataFrame(
                _area_rows(predictions, seed),
                columns=["protocol", "model", "score", *_VALUE, *_COUNTS, "hectares"],
            ),
            early=pd.DataFrame(
                _early_rows(settings, names),
                columns=["protocol", "model", "crop", "n", "final_f1", "day", "low", "high"],
            ),
        )


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as mappings of column to value."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


_SETTING: Final = ("protocol", "variant", "level")
_COUNTS: Final = ("n", "groups", "seeds")
_VALUE: Final = ("value", "spread", "low", "high")
_Row = dict[str, Any]


def _pairs(settings: Iterable[Setting]) -> Iterator[tuple[Setting, str, Cell]]:
    for setting in settings:
        for model, cell in setting.cells.items():
            yield setting, model, cell


def _score_rows(
    setting: Setting, model: str, cell: Cell, settings: list[Setting]
) -> Iterator[_Row]:
    values = cell.pooled()
    draws = np.concatenate(cell.draws)
    size = cell.totals()[0].max(axis=0)
    common = {
        **_key(setting, model),
        **_counts(cell),
        "folds": int(cell.exists.any(axis=1).sum()),
        "n_train": cell.n_train,
        "unpredicted": float(cell.unpredicted.sum() / cell.exists.any(axis=0).sum()),
        "few": int(((size > 0) & (size < FEW)).sum()),
    }
    compared = {
        "gap": _gap(setting, model, cell, settings),
        "change": _change(setting, model, cell, settings),
    }
    low, high = interval(values, draws, common["groups"])
    for i, score in enumerate(SCORE_NAMES):
        row = {**common, "score": score, **value_of(values[:, i]), "low": low[i], "high": high[i]}
        for name, (fall, fall_low, fall_high) in compared.items():
            row |= {name: fall[i], f"{name}_low": fall_low[i], f"{name}_high": fall_high[i]}
        yield row


_NONE: Final = (np.full(len(SCORE_NAMES), np.nan),) * 3
#: A difference (score,) with its low and its high end.
_Fall = tuple["NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.float64]"]


def _gap(setting: Setting, model: str, cell: Cell, settings: list[Setting]) -> _Fall:
    """Scores less those of the protocol "random"."""
    home = _cell_of(settings, RANDOM, AS_THEY_ARE, model)
    if home is None or home is cell or setting.variant != AS_THEY_ARE:
        return _NONE
    own, at_home = cell.pooled(), home.pooled()
    fall = mean_of_seeds(own, axis=0) - mean_of_seeds(at_home, axis=0)
    draws = np.concatenate(cell.draws) - np.concatenate(home.draws)
    return fall, *widened(fall, ends(draws), variance_of(own) + variance_of(at_home))


def _change(setting: Setting, model: str, cell: Cell, settings: list[Setting]) -> _Fall:
    """Scores less those of samples as they are, on the folds and seeds of both."""
    whole = _cell_of(settings, setting.protocol, AS_THEY_ARE, model)
    if whole is None or not cell.change_draws:
        return _NONE
    low, high = ends(np.concatenate(cell.change_draws))
    return _fall(cell, whole), low, high


def _fall(cell: Cell, other: Cell) -> NDArray[np.float64]:
    both = cell.exists & other.exists
    return mean_of_seeds(cell.pooled(both), axis=0) - mean_of_seeds(other.pooled(both), axis=0)


def _fold_rows(setting: Setting, model: str, cell: Cell) -> Iterator[_Row]:
    if setting.variant != AS_THEY_ARE:
        return
    values = cell.by_fold()
    draws = np.concatenate(cell.fold_draws)  # (resample, fold, score)
    for at, fold in enumerate(setting.folds):
        if not cell.exists[at].any():
            continue
        n_groups = len(cell.groups[at])
        low, high = interval(values[at], draws[:, at], n_groups)
        n = int(cell.n[at].max())
        for i, score in enumerate(SCORE_NAMES):
            yield {
                **_key(setting, model), "fold": fold, "score": score, **value_of(values[at, :, i]),
                "low": low[i], "high": high[i], "n": n, "groups": n_groups,
                "seeds": int(cell.exists[at].sum()),
            }  # fmt: skip


def _difference_rows(setting: Setting, main: str) -> Iterator[_Row]:
    of_main = setting.cells.get(main)
    for model, cell in setting.cells.items():
        if of_main is None or cell is of_main or not (cell.exists & of_main.exists).any():
            continue
        both = cell.exists & of_main.exists
        fall = _fall(cell, of_main)
        variance = variance_of(cell.pooled(both)) + variance_of(of_main.pooled(both))
        low, high = widened(fall, ends(np.concatenate(cell.lead_draws)), variance)
        for i, score in enumerate(SCORE_NAMES):
            yield {
                **_key(setting, model), "score": score, "difference": fall[i], "low": low[i],
                "high": high[i], **_counts(cell, both),
            }  # fmt: skip


def _class_rows(
    setting: Setting,
    model: str,
    cell: Cell,
    names: list[str],
    lacking: dict[tuple[str, str], list[str]],
) -> Iterator[_Row]:
    if setting.variant != AS_THEY_ARE:
        return
    size, claimed, hits = cell.totals()
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = mean_of_seeds(hits / claimed, axis=0)
        recall = mean_of_seeds(hits / size, axis=0)
    f1 = mean_of_seeds(cell.f1(), axis=0)
    by_seed = cell.f1()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a class without a test parcel
        variance = np.nan_to_num(np.nanvar(by_seed, axis=0, ddof=1)) / len(by_seed)
    low, high = widened(f1, ends(np.concatenate(cell.f1_draws)), variance)
    low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
    for i, crop in enumerate(names):
        n = int(size[:, i].max())
        if n == 0:
            continue
        yield {
            "protocol": setting.protocol, "model": model, "crop": crop, "n": n,
            "precision": precision[i], "recall": recall[i], "f1": f1[i],
            "low": min(low[i], f1[i]), "high": max(high[i], f1[i]), "few": n < FEW,
            "untrained": "; ".join(lacking.get((setting.protocol, crop), [])),
        }  # fmt: skip


def _area_rows(predictions: Predictions, seed: int) -> Iterator[_Row]:
    """Scores as shares of area, for samples as they are."""
    frame = predictions.table
    known = np.isfinite(frame["area"]) & (frame["variant"] == AS_THEY_ARE)
    some = predictions.take(np.flatnonzero(known))
    if len(some) == 0:
        return
    weights = some.table["area"].to_numpy() / 1e4  # hectares
    settings = resampled(some, weights=weights, seed=seed)
    for setting, model, cell in _pairs(sorted(settings, key=lambda one: one.protocol != RANDOM)):
        values = cell.pooled()
        counts = _counts(cell)
        low, high = interval(values, np.concatenate(cell.draws), counts["groups"])
        hectares = float(cell.totals()[0].sum(axis=1).max())
        for i, score in enumerate(SCORE_NAMES):
            yield {
                "protocol": setting.protocol, "model": model, "score": score,
                **value_of(values[:, i]), "low": low[i], "high": high[i], **counts,
                "hectares": hectares,
            }  # fmt: skip


def _early_rows(settings: list[Setting], names: list[str]) -> list[_Row]:
    """The day of each crop, from all days on which series end and from whole series."""
    rows: list[_Row] = []
    for whole in settings:
        if whole.variant != AS_THEY_ARE:
            continue
        for model, cell in whole.cells.items():
            days = [
                (one.level, one.cells[model])
                for one in sorted(settings, key=lambda one: one.level)
                if (one.variant, one.protocol) == (UNTIL_DAY, whole.protocol) and model in one.cells
            ]
            if days:
                key = {"protocol": whole.protocol, "model": model}
                rows += [key | row for row in _days_of(cell, days, names)]
    return rows


def _days_of(cell: Cell, days: list[tuple[float, Cell]], names: list[str]) -> Iterator[_Row]:
    """The day of each crop of one model; ``days`` are its cells by last day, sorted."""
    level = np.array([day for day, _ in days])
    shared = [one.exists & cell.exists for _, one in days]
    final = np.stack([mean_of_seeds(cell.f1(both), axis=0) for both in shared])
    parts = zip(days, shared, strict=True)
    curve = np.stack([mean_of_seeds(one.f1(both), axis=0) for (_, one), both in parts])
    draws = np.stack([np.concatenate(one.f1_draws) for _, one in days])
    whole = np.stack([np.concatenate(one.whole_f1_draws) for _, one in days])
    first = _first(curve, final, level)
    low, high = _day_ends(_first(draws, whole, level))
    n = cell.totals()[0].max(axis=0).astype(int)
    for i, crop in enumerate(names):
        if n[i] > 0 and final[-1, i] > 0:
            yield {
                "crop": crop, "n": n[i], "final_f1": final[-1, i], "day": first[i], "low": low[i],
                "high": high[i],
            }  # fmt: skip


def _first(
    curve: NDArray[np.floating], final: NDArray[np.floating], level: NDArray[np.float64]
) -> NDArray[np.float64]:
    """First level (…) at which a curve (level, …) reaches its share of the final; NaN if none."""
    reached = curve >= FINAL_SHARE * final
    return np.where(reached.any(axis=0), level[reached.argmax(axis=0)], np.nan)


def _day_ends(days: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ends (2, class) of days (resample, class); NaN where the end is after the last day."""
    filled = np.where(np.isnan(days), np.inf, days)
    found = np.percentile(filled, (2.5, 97.5), axis=0, method="nearest")
    return np.where(np.isinf(found), np.nan, found)


def _confusion(predictions: Predictions) -> pd.DataFrame:
    """Mean counts over seeds for samples as they are."""
    frame = predictions.table
    names = [*predictions.nomenclature.names, UNPREDICTED]
    chosen = np.flatnonzero((frame["variant"] == AS_THEY_ARE).to_numpy())
    guess = np.minimum(predictions.predicted, len(names) - 1)
    parts: list[pd.DataFrame] = []
    some = frame.iloc[chosen][["protocol", "model", "seed"]].reset_index(drop=True)
    by = some.groupby(["protocol", "model"], observed=True, sort=False)
    indices = cast("dict[tuple[str, str], NDArray[np.int64]]", by.indices)
    for (protocol, model), place in indices.items():
        rows = chosen[place]
        matrix = confusion_matrix(predictions.truth[rows], guess[rows], len(names))
        true, said = np.nonzero(matrix)
        count = matrix[true, said] / some["seed"].iloc[place].nunique()
        parts.append(
            pd.DataFrame({
                "protocol": protocol, "model": model, "truth": [names[i] for i in true],
                "predicted": [names[i] for i in said], "count": count,
            })
        )  # fmt: skip
    columns = ["protocol", "model", "truth", "predicted", "count"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _cell_of(settings: list[Setting], protocol: str, variant: str, model: str) -> Cell | None:
    found = (one for one in settings if (one.protocol, one.variant) == (protocol, variant))
    return next((one.cells[model] for one in found if model in one.cells), None)


def _key(setting: Setting, model: str) -> _Row:
    return {
        "protocol": setting.protocol, "model": model, "variant": setting.variant,
        "level": setting.level,
    }  # fmt: skip


def _counts(cell: Cell, only: NDArray[np.bool_] | None = None) -> _Row:
    """Parcels, their groups, and seeds over all folds, or over some (fold, seed)."""
    chosen = cell.exists if only is None else only
    used = [cell.groups[fold] for fold in np.flatnonzero(np.any(chosen, axis=1))]
    return {
        "n": int((cell.n * chosen).sum(axis=0).max()),
        "groups": len(np.unique(np.concatenate(used))),
        "seeds": int(chosen.any(axis=0).sum()),
    }
