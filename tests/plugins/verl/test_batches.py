"""Rows into batches of equal size and equal totals."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gvmrl.plugins.verl.batches import NoExactPacking, deal, pack_rows

counts = st.lists(st.integers(0, 12), min_size=1, max_size=60)


@given(st.integers(1, 6), counts)
def test_a_packing_is_a_permutation_with_equal_totals(num_batches: int, values: list[int]) -> None:
    count_R = np.array(values[: len(values) - len(values) % num_batches], np.int64)
    assume(count_R.size and count_R.sum() % num_batches == 0)
    try:
        row_KB = pack_rows(count_R, num_batches)
    except NoExactPacking:
        assume(False)
    assert sorted(row_KB.ravel().tolist()) == list(range(count_R.size))
    assert set(count_R[row_KB].sum(1).tolist()) == {count_R.sum() // num_batches}


def test_an_exact_packing_is_found_where_brute_force_finds_one() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        # built from two batches of four rows and 16 rollouts, then shuffled: one exists
        halves = [generator.multinomial(16, np.full(4, 0.25)) for _ in range(2)]
        count_R = generator.permutation(np.concatenate(halves))
        assert (count_R[pack_rows(count_R, 2)].sum(1) == 16).all()


def test_what_cannot_be_packed_is_refused() -> None:
    # Three rows a batch and 12 rollouts: 8 needs 4 from two of 0, 1, 2, 6, 7, and there are none.
    with pytest.raises(NoExactPacking, match="2 batches of 3 rows and 12 rollouts each"):
        pack_rows(np.array([6, 2, 1, 7, 0, 8]), 2)


def test_every_batch_gets_large_and_small_groups() -> None:
    count_R = np.repeat([1, 2, 5, 8], 25)
    for row_B in deal(count_R, 25):
        assert sorted(count_R[row_B].tolist()) == [1, 2, 5, 8]


def test_the_same_counts_are_packed_alike() -> None:
    count_R = np.random.default_rng(1).multinomial(800, np.full(100, 0.01))
    count_R[0] += -count_R.sum() % 10
    assert np.array_equal(pack_rows(count_R, 10), pack_rows(count_R, 10))
