"""Groups are held out whole, and never more than half of a class."""

import numpy as np
import pytest

from cubecrop.sample import split_groups

SEEDS = range(8)


def held(labels, groups, share, **options):
    labels = np.array(labels)
    return [split_groups(labels, groups, share, salt="s", seed=seed, **options) for seed in SEEDS]


def test_a_group_with_more_than_half_of_a_class_is_not_held_out():
    groups = ["large"] * 3 + ["small"]
    for chosen in held([0, 0, 0, 0], groups, 0.5):
        assert chosen.tolist() == [False, False, False, True]


def test_exactly_half_of_a_class_may_be_held_out():
    for chosen in held([0, 0, 0, 0], ["a", "a", "b", "b"], 0.5):
        assert chosen.sum() == 2
        assert chosen[0] == chosen[1] != chosen[2] == chosen[3]


def test_no_more_groups_are_held_out_than_the_share_needs():
    for chosen in held([0] * 10, range(10), 0.2):
        assert chosen.sum() == 2


def test_a_group_taken_for_a_rare_class_counts_for_the_common_one():
    # "both" holds the one of two rare parcels that can go, and three of the ten common ones.
    labels = [1, 1, *[0] * 10]
    groups = ["alone", "both", "both", "both", "both", *(f"g{i}" for i in range(7))]
    for chosen in held(labels, groups, 0.3):
        assert chosen[:2].sum() == 1
        assert chosen[2:].sum() == 3


@pytest.mark.parametrize("fewest", [2, 3])
def test_a_group_with_a_class_of_too_few_samples_is_not_held_out(fewest):
    few = fewest - 1
    labels = [1] * few + [0] * 6
    groups = ["with few"] * (few + 1) + [f"g{i}" for i in range(5)]
    for chosen in held(labels, groups, 0.5, fewest=fewest):
        assert not chosen[: few + 1].any()
        assert chosen.sum() == 3
