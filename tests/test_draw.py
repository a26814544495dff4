"""Draws depend only on the seed and the id."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cubecrop.sample import draw_positions, hash_ids
from cubecrop.sample.draw import mix

COUNTS = st.lists(st.integers(0, 40), min_size=1, max_size=12)


def draw(counts, ids, n, seed=0):
    return draw_positions(np.array(counts, np.int64), hash_ids(ids, seed), n)


@settings(deadline=None, max_examples=50)
@given(COUNTS, st.integers(1, 12), st.integers(0, 5))
def test_draws_are_distinct_ascending_then_padded(counts, n, seed):
    found = draw(counts, range(len(counts)), n, seed)
    assert found.shape == (len(counts), n)
    for row, count in zip(found, counts, strict=True):
        taken = min(count, n)
        assert (row[taken:] == -1).all()
        assert (np.diff(row[:taken]) > 0).all()
        assert ((row[:taken] >= 0) & (row[:taken] < count)).all()


@settings(deadline=None, max_examples=50)
@given(COUNTS, st.randoms(use_true_random=False))
def test_draws_do_not_depend_on_order_or_other_parcels(counts, random):
    ids = [f"parcel {i}" for i in range(len(counts))]
    together = draw(counts, ids, 5)
    order = list(range(len(counts)))
    random.shuffle(order)
    kept = order[: max(1, len(order) // 2)]
    alone = draw([counts[i] for i in kept], [ids[i] for i in kept], 5)
    np.testing.assert_array_equal(alone, together[kept])


def test_draws_of_one_seed_are_nested():
    small, large = draw([100] * 5, range(5), 8), draw([100] * 5, range(5), 32)
    for a, b in zip(small, large, strict=True):
        assert set(a) <= set(b)


def test_another_seed_or_id_is_another_draw():
    assert (draw([1000], ["a"], 32) != draw([1000], ["b"], 32)).any()
    assert (draw([1000], ["a"], 32) != draw([1000], ["a"], 32, seed=1)).any()
    assert hash_ids(["a"], 0, "split")[0] != hash_ids(["a"], 0)[0]


def test_every_position_is_as_likely():
    n = 4000
    found = draw([10] * n, range(n), 3)
    share = np.bincount(found.ravel(), minlength=10) / n
    # Three of ten: 0.3, with a standard deviation of sqrt(0.3 * 0.7 / 4000) = 0.007.
    np.testing.assert_allclose(share, 0.3, atol=5 * 0.0073)


def test_hashes_have_their_recorded_values():
    """A change would draw other pixels from parcels of models that are in use."""
    assert hash_ids(["a", 1], 0).tolist() == hash_ids(["a", "1"], "0").tolist()
    assert draw([50], ["a"], 5).tolist() == [[14, 16, 43, 46, 48]]
    # SplitMix64's first output from state 0.
    assert int(mix(np.zeros(1, np.uint64))[0]) == 0xE220A8397B1DCDAF
