"""The simulated world is hard for a forest at home, and harder elsewhere, not by an offset."""

import pytest

from benchmarks import difficulty
from benchmarks.points import simulate_points


def points(region: str, year: int, seed: int) -> difficulty.Samples:
    tree = simulate_points(region, year, n=300, composite="month", seed=seed)
    label = tree["label"].to_numpy().astype(object)
    return difficulty.Samples(series=difficulty.series_of(tree), declared=label, truth=label)


def test_a_forest_falls_elsewhere_and_standardising_does_not_help_it(monkeypatch):
    """Of three homes with 150 points to learn from; one pixel a parcel, monthly."""
    monkeypatch.setattr(difficulty, "_TREES", 60)
    cases = []
    for seed, (home, region) in enumerate(difficulty.PAIRS):
        here = points(home, 2024, seed)
        elsewhere = {"region": points(region, 2024, seed), "year": points(home, 2022, seed)}
        cases.append(difficulty.scores_of(here, elsewhere))
    found = difficulty.summary(cases)
    assert difficulty.holds(found), found
    assert found["fall by region"] > 0.1
    assert found["fall by year"] > 0.05


@pytest.mark.parametrize(
    "change",
    [
        {"home, least": 0.55},
        {"home, most": 0.97},
        {"fall by year": -0.01},
        {"share that stays, region": 0.6},
    ],
)
def test_a_world_that_is_too_easy_or_differs_by_an_offset_is_noticed(change):
    good = {
        "home, least": 0.65, "home, mean": 0.8, "home, most": 0.9, "fall by region": 0.2,
        "fall by year": 0.1, "share that stays, region": 0.9, "share that stays, year": 0.8,
    }  # fmt: skip
    assert difficulty.holds(good)
    assert not difficulty.holds(good | change)
