"""Scores against numbers worked out by hand."""

import math

import numpy as np
import pytest
import sklearn.metrics

from cubecrop.errors import LabelError
from cubecrop.metrics import (
    SCORE_NAMES,
    accuracy_difference,
    confusion_matrix,
    intervals,
    scores,
    wilson,
)

#: Ten parcels: five of class 0 (4 hits, 1 taken for 1), three of class 1 (2 hits, 1 without
#: prediction), two of class 2 (1 hit, 1 taken for 0).
TRUTH = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2]
PREDICTED = [0, 0, 0, 0, 1, 1, 1, 255, 2, 0]


def test_confusion_matrix_by_hand():
    expected = [[4, 1, 0], [0, 2, 0], [1, 0, 1]]
    np.testing.assert_array_equal(confusion_matrix(TRUTH, PREDICTED, 3), expected)


def test_scores_by_hand():
    found = scores(TRUTH, PREDICTED, 3)
    assert found.n == 10
    assert found.accuracy == pytest.approx(7 / 10)
    # F1 = 2 hits / (true + claimed); the parcel without prediction lowers class 1's recall.
    f1 = [2 * 4 / (5 + 5), 2 * 2 / (3 + 3), 2 * 1 / (2 + 1)]
    assert found.per_class_f1 == pytest.approx(f1)
    assert found.macro_f1 == pytest.approx(sum(f1) / 3)
    # IoU = hits / (true + claimed - hits).
    assert found.mean_iou == pytest.approx((4 / 6 + 2 / 4 + 1 / 2) / 3)


def test_a_class_without_a_true_member_counts_in_no_mean():
    found = scores([0, 0, 1], [0, 2, 1], 3)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.per_class_f1[:2] == pytest.approx((2 / 3, 1.0))
    assert math.isnan(found.per_class_f1[2])
    assert found.macro_f1 == pytest.approx(5 / 6)
    assert found.mean_iou == pytest.approx(3 / 4)


def test_nothing_to_score():
    found = scores([], [], 2)
    assert found.n == 0
    assert math.isnan(found.accuracy)
    assert math.isnan(found.macro_f1)


def test_nothing_predicted_is_all_wrong():
    found = scores([0, 1], [255, 255], 2)
    assert (found.accuracy, found.macro_f1, found.mean_iou) == (0, 0, 0)


def test_bad_truth_is_refused():
    with pytest.raises(LabelError, match="holds 0 to 255, expected 0 to 1"):
        scores([0, 255], [0, 1], 2)
    with pytest.raises(LabelError, match=r"shape \(2,\), predictions \(3,\)"):
        scores([0, 1], [0, 1, 1], 2)


def test_precision_and_recall_by_hand():
    found = scores(TRUTH, PREDICTED, 3)
    assert found.per_class_n == (5, 3, 2)
    assert found.per_class_precision == pytest.approx((4 / 5, 2 / 3, 1.0))
    assert found.per_class_recall == pytest.approx((4 / 5, 2 / 3, 1 / 2))
    unclaimed = scores([0, 1], [0, 0], 3)
    assert math.isnan(unclaimed.per_class_precision[1])
    assert unclaimed.per_class_recall[1] == 0
    assert math.isnan(unclaimed.per_class_recall[2])


def made(n=400, n_classes=6, seed=0):
    """Labels, some of them rare, and predictions of which about a quarter are wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(n_classes, n, p=[0.4, 0.3, 0.15, 0.1, 0.04, 0.01])
    return truth, np.where(rng.random(n) < 0.7, truth, rng.integers(0, n_classes, n))


def test_scores_are_those_of_scikit_learn():
    truth, guess = made()
    found = scores(truth, guess, 6)
    precision, recall, f1, n = sklearn.metrics.precision_recall_fscore_support(
        truth, guess, labels=range(6)
    )
    np.testing.assert_allclose(found.per_class_precision, precision)
    np.testing.assert_allclose(found.per_class_recall, recall)
    np.testing.assert_allclose(found.per_class_f1, f1)
    assert found.per_class_n == tuple(n)
    assert found.macro_f1 == pytest.approx(f1.mean())
    jaccard = sklearn.metrics.jaccard_score(truth, guess, average="macro")
    assert found.mean_iou == pytest.approx(jaccard)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    # By hand from Wilson's formula; Newcombe 1998, Stat. Med. 17, 857, table I, lists the
    # first three.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 1, 0.2065, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilsons_interval(hits, n, low, high):
    assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


def resampled(truth, guess, n_classes, units, seed):
    """Scores of resamples the plain way: parcels, or groups of them, one by one."""
    rng = np.random.default_rng(seed)
    names = np.unique(units)
    rows = []
    for _ in range(1000):
        drawn = rng.choice(names, len(names))
        chosen = np.concatenate([np.flatnonzero(units == one) for one in drawn])
        one = scores(truth[chosen], guess[chosen], n_classes)
        rows.append([getattr(one, name) for name in SCORE_NAMES])
    return np.percentile(rows, (2.5, 97.5), axis=0)


@pytest.mark.parametrize("per_group", [1, 5])
def test_intervals_are_those_of_plain_resampling(per_group):
    truth, guess = made(n=200)
    units = np.arange(200) // per_group
    # In a group all parcels are right, or none: fewer groups than parcels then speak.
    guess = np.where((units * 7919) % 4 > 0, truth, (truth + 1) % 6)
    guess[units % 11 == 0] = 255
    found = intervals(truth, guess, 6, groups=units.tolist() if per_group > 1 else None)
    expected = resampled(truth, guess, 6, units, seed=1)
    for i, name in enumerate(SCORE_NAMES):
        assert found[name] == pytest.approx(tuple(expected[:, i]), abs=0.03)
        assert found[name][0] <= getattr(scores(truth, guess, 6), name) <= found[name][1]
    if per_group == 1:
        assert found["accuracy"] == wilson(int((truth == guess).sum()), 200)


def test_groups_widen_intervals():
    truth = np.repeat(np.arange(4), 50)
    guess = np.where(np.arange(200) // 10 % 3 > 0, truth, (truth + 1) % 4)
    apart = intervals(truth, guess, 4)
    together = intervals(truth, guess, 4, groups=(np.arange(200) // 10).tolist())
    for name in SCORE_NAMES:
        assert np.ptp(together[name]) > 1.5 * np.ptp(apart[name])


def test_intervals_depend_on_no_order_of_parcels():
    truth, guess = made()
    order = np.random.default_rng(1).permutation(len(truth))
    assert intervals(truth[order], guess[order], 6) == intervals(truth, guess, 6)
    assert intervals(truth, guess, 6, seed=1) != intervals(truth, guess, 6)


def test_a_perfect_score_of_few_parcels_has_a_wide_interval():
    assert intervals([0, 1, 1], [0, 1, 1], 2) == dict.fromkeys(SCORE_NAMES, wilson(3, 3))
    assert intervals([0, 1, 1], [1, 0, 0], 2) == dict.fromkeys(SCORE_NAMES, wilson(0, 3))
    one = intervals([0] * 50, [0] * 50, 2, groups=["a"] * 25 + ["b"] * 25)
    assert one == dict.fromkeys(SCORE_NAMES, wilson(2, 2))
    with pytest.raises(LabelError, match="no parcel"):
        intervals([], [], 2)


def test_a_difference_is_paired():
    truth = np.zeros(100, int)
    first, second = np.zeros(100, int), np.zeros(100, int)
    first[:40] = 1  # both wrong on forty, the second on five more
    second[:45] = 1
    value, (low, high) = accuracy_difference(truth, first, second)
    assert value == pytest.approx(0.05)
    # A binomial of 100 parcels with a chance of 0.05: 1 to 10 at 2.5 and 97.5 %.
    assert (low, high) == pytest.approx((0.01, 0.1), abs=0.011)
    assert accuracy_difference(truth, second, first)[0] == pytest.approx(-0.05)
    assert accuracy_difference(truth, first, first) == (0, (0, 0))
    grouped = accuracy_difference(truth, first, second, groups=(np.arange(100) // 20).tolist())
    assert grouped[1][1] - grouped[1][0] > high - low


def test_an_interval_holds_its_score_where_rare_classes_drop_out_of_draws():
    # Nine classes of one parcel each, all wrong, beside a common one: most draws lack some.
    truth = np.array([0] * 20 + list(range(1, 10)))
    guess = np.zeros_like(truth)
    found, told = intervals(truth, guess, 10), scores(truth, guess, 10)
    for name in ("accuracy", "macro_f1", "mean_iou"):
        low, high = found[name]
        assert low <= getattr(told, name) <= high


def test_one_group_does_not_show_how_groups_differ():
    truth, first, second = [0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 0, 0]
    found = intervals(truth, first, 2, groups=["a"] * 4)
    assert found["accuracy"] == wilson(0.75, 1)
    assert all(high - low > 0.8 for low, high in found.values())
    assert accuracy_difference(truth, first, second, groups=["a"] * 4) == (0.5, (-1, 1))


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(LabelError, match="groups hold 2 names, expected one for each of 4"):
        intervals([0, 0, 1, 1], [0, 0, 1, 0], 2, groups=["a", "b"])
    for truth, predicted in (([0, 0.7], [0, 0]), ([0, 0], [0, np.nan])):
        with pytest.raises(LabelError, match=r"(0.7|nan) is no class index"):
            scores(truth, predicted, 2)
