"""The choice of the default model's recipe: the best one, and the best one without a region."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.default_model import choosing
from benchmarks.default_model.points import CLASSES
from benchmarks.default_model.recipe import CANDIDATES, CHOSEN, recipe_digest, starter_digest

NAMES = list(CLASSES)
REGIONS = ("north", "south", "islands")
#: Share of points that a recipe has right, by region: the second recipe is the best in the north
#: and the islands, and so bad in the south that the first one is the best of all.
RIGHT = {"plain": (0.6, 0.8, 0.6), "other": (0.7, 0.1, 0.7)}


@pytest.fixture
def chosen(monkeypatch, tmp_path):
    parts = [
        SimpleNamespace(name=name, labels=[NAMES[i % 3] for i in range(60)]) for name in REGIONS
    ]
    recipes = [SimpleNamespace(name=name) for name in RIGHT]

    def guess(of, region):
        """Probabilities of a model: right for the first points, a class of another group after."""
        truth = choosing.truth_of(parts[region])
        right = np.arange(60) < 60 * RIGHT[of.name][region]
        return np.eye(len(NAMES))[np.where(right, truth, (truth + 5) % len(NAMES))]

    def pairs(parts, start, of, store):
        n = range(len(parts))
        return {(i, k): guess(of, k) for i in n for k in n if i != k}

    monkeypatch.setattr(choosing, "CANDIDATES", recipes)
    monkeypatch.setattr(choosing, "recipe_digest", lambda of: of.name)
    monkeypatch.setattr(choosing, "kept_starter", lambda *_: None)
    monkeypatch.setattr(choosing, "pairs_left_out", pairs)
    monkeypatch.setattr(
        choosing, "left_out", lambda parts, start, of, store: [
            {"all": guess(of, i)} for i in range(len(parts))
        ],
    )  # fmt: skip
    return choosing.choose(parts, tmp_path, None)


def test_the_scores_of_a_region_do_not_choose_the_recipe_that_it_is_tested_with(chosen):
    assert chosen["chosen"] == "plain"
    nested = {region: found["recipe"] for region, found in chosen["nested"].items()}
    # Without the south, the other recipe is the best, and the south pays for it.
    assert nested == {"north": "plain", "south": "other", "islands": "plain"}
    assert chosen["nested"]["south"]["accuracy"] == pytest.approx(0.1)
    assert chosen["candidates"]["plain"]["accuracy"] == pytest.approx(np.mean([0.6, 0.8, 0.6]))


def test_every_recipe_has_an_identity_and_the_default_model_is_of_one_of_them():
    assert len({recipe_digest(of) for of in CANDIDATES}) == len(CANDIDATES)
    assert CHOSEN in CANDIDATES
    assert len({starter_digest(of) for of in CANDIDATES}) < len(CANDIDATES)
