"""The order of equals: seeded, and free of the rows."""

import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gvmrl.allocate.ties import by_hash, by_row, uniform_draws

IDS = st.lists(st.text(max_size=5), min_size=1, max_size=40, unique=True)


@given(IDS, st.integers(-(2**70), 2**70), st.data())
def test_the_order_of_ids_does_not_depend_on_their_rows(
    ids: list[str], seed: int, data: st.DataObject
) -> None:
    mixed = data.draw(st.permutations(ids))
    rows = np.arange(len(ids))
    first = [ids[row] for row in by_hash(ids, seed)(rows)]
    assert first == [mixed[row] for row in by_hash(mixed, seed)(rows)]
    assert sorted(first) == sorted(ids)


def test_the_order_of_some_rows_is_their_order_among_all() -> None:
    ids = [f"prompt {number}" for number in range(100)]
    order = by_hash(ids, 3)
    every = order(np.arange(100)).tolist()
    some = order(np.array([70, 3, 41])).tolist()
    assert some == [row for row in every if row in (3, 41, 70)]


def test_another_seed_gives_another_order() -> None:
    ids = [f"prompt {number}" for number in range(100)]
    rows = np.arange(100)
    assert by_hash(ids, 0)(rows).tolist() != by_hash(ids, 1)(rows).tolist()


def test_ids_of_equal_hash_come_in_the_order_of_the_ids() -> None:
    # a known pair of words with the same CRC-32
    ids = ["buckeroo", "x", "plumless"]
    assert zlib.crc32(ids[0].encode()) == zlib.crc32(ids[2].encode())
    for rows in ([0, 1, 2], [2, 1, 0]):
        served = [ids[row] for row in by_hash(ids, 5)(np.array(rows))]
        assert served.index("buckeroo") == served.index("plumless") - 1


def test_every_prompt_is_as_likely_to_come_first() -> None:
    ids = [f"prompt {number}" for number in range(4)]
    firsts = [int(by_hash(ids, seed)(np.arange(4))[0]) for seed in range(2000)]
    # 500 each, within five standard deviations (19.4) of a fair draw
    assert all(abs(firsts.count(row) - 500) < 97 for row in range(4))


def test_draws_are_uniform_and_belong_to_the_ids() -> None:
    ids = [f"prompt {number}" for number in range(4000)]
    draw_P = uniform_draws(ids, 1)
    assert ((draw_P >= 0) & (draw_P < 1)).all()
    # mean and variance of a uniform variable, within five standard errors
    assert abs(draw_P.mean() - 0.5) < 5 * (1 / 12 / 4000) ** 0.5
    assert abs(draw_P.var() - 1 / 12) < 5 * (1 / 180 / 4000) ** 0.5
    assert uniform_draws(ids[::-1], 1).tolist() == draw_P[::-1].tolist()


def test_by_row_serves_lower_rows_first() -> None:
    assert by_row(np.array([4, 1, 3])).tolist() == [1, 3, 4]
