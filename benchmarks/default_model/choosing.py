"""Choose the recipe of the default model, and score the choice where it was not made.

A recipe is judged by models that have seen neither the region that they are tested on nor another
one. For each region, the recipe that is best in the other four is chosen, by models without the
region and the one that is tested, and a model of that recipe predicts the region. So neither the
training nor the choice has seen it (a nested cross-validation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.default_model.points import nomenclature
from benchmarks.default_model.recipe import CANDIDATES, recipe_digest
from benchmarks.default_model.scoring import coarse_scores, truth_of
from benchmarks.default_model.trainings import Store, kept_starter, left_out, pairs_left_out
from cubecrop.metrics import scores
from cubecrop.nomenclature import decide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from rich.console import Console

    from benchmarks.default_model.points import Points

__all__ = ["choose"]

#: A recipe is as good as the mean of these: all crops, rare crops, and groups where it is sure.
SCORES: Final = ("macro_f1", "accuracy", "group")


def choose(parts: Sequence[Points], work: Path, console: Console) -> dict[str, Any]:
    """The best recipe, and the scores of nested choices; trains what is not in ``work``.

    Returns
    -------
    dict
        ``candidates``: scores of each recipe, the mean over all pairs of regions left out;
        ``chosen``: the name of the best; ``nested``: by region, the recipe that is best in the
        others and its scores in the region.
    """
    truths = [truth_of(part) for part in parts]
    n = range(len(parts))
    in_pairs: dict[str, dict[tuple[int, int], dict[str, float]]] = {}
    outside: dict[str, list[dict[str, float]]] = {}
    for of in CANDIDATES:
        store = Store(work / recipe_digest(of)[:12], console)
        start = kept_starter(of, work, console)
        pairs = pairs_left_out(parts, start, of, store)
        in_pairs[of.name] = {(i, k): _scores(pairs[i, k], truths[k]) for i, k in pairs}
        alone = left_out(parts, start, of, store)
        outside[of.name] = [_scores(alone[i]["all"], truths[i]) for i in n]
    nested = {}
    for i, part in enumerate(parts):
        means = {
            name: _mean([found[i, k] for k in n if k != i]) for name, found in in_pairs.items()
        }
        name = _best(means)
        nested[part.name] = {"recipe": name, **outside[name][i]}
    candidates = {name: _mean(list(found.values())) for name, found in in_pairs.items()}
    return {"candidates": candidates, "chosen": _best(candidates), "nested": nested}


def _scores(probability: NDArray[np.floating], truth: NDArray[np.int64]) -> dict[str, float]:
    found = scores(truth, decide(probability), len(nomenclature()))
    group = coarse_scores(probability.astype(np.float32), truth)["sure_accuracy"]
    assert isinstance(group, float)
    return {"macro_f1": found.macro_f1, "accuracy": found.accuracy, "group": group}


def _mean(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([one[key] for one in found])) for key in SCORES}


def _best(candidates: Mapping[str, Mapping[str, float]]) -> str:
    return max(candidates, key=lambda name: np.mean([candidates[name][key] for key in SCORES]))
