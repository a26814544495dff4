"""Scores against numbers worked out by hand."""

import math

import numpy as np
import pytest

from cubecrop.errors import LabelError
from cubecrop.metrics import confusion_matrix, scores

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
