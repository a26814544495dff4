"""What the record of the default model says of classes and regions that it does not know."""

import numpy as np
import pytest

from benchmarks.default_model.limits import (
    by_share_kept,
    false_sure,
    missed_though_learned,
    unreliable_areas,
)
from benchmarks.default_model.points import Points, nomenclature, simulated_points

NAMES = nomenclature().names


@pytest.fixture(scope="module")
def parts():
    """100 points of winter cereal, and 100 of maize."""
    part = simulated_points([2021], n=200, seed=3)[0]
    return [Points(name="here", samples=part.samples, labels=["winter cereal", "maize"] * 100)]


def test_a_class_that_its_model_finds_is_not_missed(parts):
    chance = np.full((200, len(NAMES)), 0.01)
    chance[::2, NAMES.index("winter cereal")] = 0.9
    chance[1::2, NAMES.index("maize")] = np.linspace(0.1, 0.9, 100)
    chance[:60:2, NAMES.index("maize")] = 0.5  # 30 cereals look like half a maize
    missed = missed_though_learned(parts, [{"all": chance}])
    assert missed["winter cereal"] == 0
    # A fifth of the cereals reach .5, and half of the maize is below it.
    assert missed["maize"] == pytest.approx(0.5, abs=0.01)


def test_a_higher_share_kept_makes_more_points_falsely_sure(parts):
    sure = np.linspace(0.3, 0.9, 200)
    others = len(NAMES) - 2
    chance = np.column_stack([sure, *[(1 - sure) / others] * others])
    unseen = {"maize": [{"all": chance, "dissimilarity": np.linspace(0, 1, 200)}]}
    found = false_sure(parts, unseen)["maize"]
    assert found["n"] == 100
    assert found["known_sure"] == pytest.approx(0.8, abs=0.02)
    assert found["sure_right"] == 1
    shares = [row["false_sure"] for row in by_share_kept(parts, unseen)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.3 < 0.8 < shares[0]


def test_a_region_below_the_aim_becomes_an_unreliable_area(parts):
    scored = {"here": {"coarse": {"sure_accuracy": 0.74}}}
    ((west, south, east, north),) = [area.bbox for area in unreliable_areas(parts, scored)]
    lon, lat = (parts[0].samples[name].to_numpy() for name in ("lon", "lat"))
    assert west <= lon.min() < lon.max() <= east
    assert south <= lat.min() < lat.max() <= north
    scored["here"]["coarse"]["sure_accuracy"] = 0.76
    assert unreliable_areas(parts, scored) == ()
