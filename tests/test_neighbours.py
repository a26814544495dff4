"""Masks grown by a distance, against a distance transform and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from cubecrop.cube.neighbours import dilated


@given(
    seed=st.integers(0, 2**16),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    share=st.sampled_from([0.0, 0.002, 0.05, 0.6, 1.0]),
    resolution=st.sampled_from([10.0, 20.0, 60.0, 7.5, 100.0, 3.0]),
    distance=st.sampled_from([30.0, 60.0, 0.0]),
)
def test_dilation_is_a_threshold_of_the_distance(seed, shape, share, resolution, distance):
    mask = np.random.default_rng(seed).random(shape) < share
    found = dilated(mask, distance, resolution)
    expected = np.zeros(shape, bool)
    if mask.any():
        away = ndimage.distance_transform_edt(~mask, sampling=resolution)
        expected = away <= distance
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == bool


@pytest.mark.parametrize(("resolution", "side"), [(10, 3), (15, 2), (31, 0)])
def test_one_pixel_grows_to_a_disk_of_30_m(resolution, side):
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    y, x = np.nonzero(dilated(mask, 30, resolution))
    assert (np.hypot(y - 4, x - 4) * resolution).max() <= 30
    assert (y.min(), y.max(), x.min(), x.max()) == (4 - side, 4 + side) * 2
    assert len(y) == {3: 29, 2: 13, 0: 1}[side]
