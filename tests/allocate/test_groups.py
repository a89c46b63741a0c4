"""Groups of 0 or at least k: against brute force, and what cannot be split."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvmrl.allocate.bounds import Bounds
from gvmrl.allocate.counts import solve
from gvmrl.allocate.demand import Demand, in_proportion, maximise_gain, minimise_variance
from gvmrl.allocate.groups import let_in, totals
from gvmrl.allocate.ties import by_row
from gvmrl.data import FloatArray


def bounds_of(budget: float, lo: list[float], hi: list[float]) -> Bounds:
    return Bounds(
        budget=budget,
        lo_P=np.array(lo, float),
        hi_P=np.array(hi, float),
        cost_P=np.ones(len(lo)),
        order=by_row,
    )


def counts(demand: Demand, bounds: Bounds, group_min: int) -> list[float]:
    return solve(demand, let_in(demand, bounds, group_min)).tolist()


def splits(bounds: Bounds, group_min: int) -> list[FloatArray]:
    ranges = [
        [n for n in range(int(lo), int(hi) + 1) if n == 0 or n >= group_min]
        for lo, hi in zip(bounds.lo_P, bounds.hi_P, strict=True)
    ]
    return [np.array(n, float) for n in itertools.product(*ranges) if sum(n) == bounds.budget]


PROMPTS = st.lists(
    st.tuples(st.floats(0.1, 10), st.sampled_from([0.0, 0.0, 0.0, 1.0]), st.integers(3, 8)),
    min_size=1,
    max_size=4,
)


@given(PROMPTS, st.integers(0, 30), st.integers(2, 4))
def test_every_count_is_0_or_at_least_the_group_and_the_sum_is_the_budget(
    prompts: list[tuple[float, float, int]], budget: int, group_min: int
) -> None:
    value_P, lo_P, hi_P = (list(column) for column in zip(*prompts, strict=True))
    bounds = bounds_of(budget, lo_P, [float(max(hi, group_min)) for hi in hi_P])
    demand = minimise_variance(np.array(value_P))
    if not (possible := splits(bounds, group_min)):
        with pytest.raises(ValueError, match=r"cannot be split into groups|lo and groups of"):
            counts(demand, bounds, group_min)
        return
    count_P = np.array(counts(demand, bounds, group_min))
    assert any((count_P == split).all() for split in possible)


@given(
    st.lists(st.floats(0.1, 10), min_size=1, max_size=5),
    st.floats(0.3, 0.95),
    st.integers(0, 24),
    st.integers(2, 4),
)
def test_groups_gain_as_much_as_the_best_but_for_one_group(
    values: list[float], ratio: float, budget: int, group_min: int
) -> None:
    value_P = np.array(values)
    bounds = bounds_of(budget, [0.0] * value_P.size, [9.0] * value_P.size)
    if not (possible := splits(bounds, group_min)):
        return

    def total(count_P: FloatArray) -> float:
        return float((value_P * (1 - ratio**count_P) / (1 - ratio)).sum())

    demand = maximise_gain(lambda n_P: value_P * ratio**n_P)
    got = total(np.array(counts(demand, bounds, group_min)))
    one_group = total(np.where(value_P == value_P.max(), group_min, 0))
    assert got >= max(map(total, possible)) - one_group - 1e-9


def test_the_largest_weights_get_their_group_first() -> None:
    # 9 rollouts in groups of 4: two groups, and the ninth goes where it saves most
    demand = minimise_variance(np.array([1.0, 3.0, 2.0]))
    assert counts(demand, bounds_of(9, [0, 0, 0], [9, 9, 9]), 4) == [0, 5, 4]


def test_a_group_enters_only_if_its_mean_gain_beats_later_rollouts_of_others() -> None:
    # gains 8, 4, 2, 1 of the first; the second's 2.5, 1.25 average 1.875, below 2, above 1
    value_P = np.array([8.0, 2.5])
    demand = maximise_gain(lambda n_P: value_P / 2**n_P)
    assert counts(demand, bounds_of(3, [0, 0], [9, 9]), 2) == [3, 0]
    assert counts(demand, bounds_of(5, [0, 0], [9, 9]), 2) == [3, 2]
    # with 4 the group would leave the first prompt below 3: it does not fit at its price
    assert counts(demand, bounds_of(4, [0, 0], [9, 9]), 2) == [4, 0]


def test_what_no_group_wants_goes_to_those_that_are_in() -> None:
    demand = in_proportion(np.array([1.0, 1.0, 0.0]))
    assert counts(demand, bounds_of(7, [0, 0, 0], [9, 9, 9]), 4) == [7, 0, 0]


def test_all_zero_weights_make_as_many_even_groups_as_fit() -> None:
    demand = in_proportion(np.zeros(4))
    assert counts(demand, bounds_of(10, [0] * 4, [9] * 4), 3) == [4, 3, 3, 0]


def test_prompts_whose_upper_bound_is_below_the_group_are_left_out() -> None:
    demand = in_proportion(np.ones(3))
    assert counts(demand, bounds_of(8, [0] * 3, [3, 9, 9]), 4) == [0, 4, 4]


def test_a_lower_bound_is_raised_to_the_group() -> None:
    demand = in_proportion(np.array([0.0, 1.0]))
    assert counts(demand, bounds_of(8, [1, 0], [9, 9]), 4) == [4, 4]


def test_a_lower_bound_that_cannot_be_a_group_names_the_row() -> None:
    with pytest.raises(ValueError, match=r"row 1 must have 4 rollouts .* but at most 3"):
        counts(in_proportion(np.ones(2)), bounds_of(5, [0, 2], [9, 3]), 4)


def test_a_budget_that_no_groups_can_hold_is_refused() -> None:
    demand = in_proportion(np.ones(2))
    with pytest.raises(ValueError, match="budget 3 cannot be split into groups of 0 or at least 4"):
        counts(demand, bounds_of(3, [0, 0], [9, 9]), 4)
    with pytest.raises(ValueError, match="within hi; raise hi or change the budget"):
        counts(demand, bounds_of(6, [0, 0], [4, 4]), 4)
    with pytest.raises(ValueError, match="budget 7 is 1 short of the 8 that lo and groups of 4"):
        counts(demand, bounds_of(7, [1, 1], [9, 9]), 4)


def test_prompts_with_room_enter_where_the_best_ones_cannot_hold_the_budget() -> None:
    # 4 rollouts fit in one group of the second prompt only
    demand = in_proportion(np.array([2.0, 1.0]))
    assert counts(demand, bounds_of(4, [0, 0], [3, 4]), 3) == [0, 4]


def test_costs_enter_the_rank_of_the_groups() -> None:
    demand = minimise_variance(np.array([2.0, 3.0]))
    bounds = Bounds(
        budget=8.0,
        lo_P=np.zeros(2),
        hi_P=np.array([8.0, 2.0]),
        cost_P=np.array([1.0, 4.0]),
        order=by_row,
    )
    # per root of a token 2 beats 1.5, and 2 rollouts leave too little for 2 times 4 tokens
    assert counts(demand.per_cost(bounds.cost_P), bounds, 2) == [8, 0]


@given(PROMPTS, st.integers(0, 30), st.integers(2, 4))
def test_totals_knows_which_sums_can_be(
    prompts: list[tuple[float, float, int]], budget: int, group_min: int
) -> None:
    _, lo, hi = (list(column) for column in zip(*prompts, strict=True))
    bounds = bounds_of(budget, lo, [float(max(most, group_min)) for most in hi])
    can_be = totals(bounds.lo_P, bounds.hi_P, group_min)
    assert can_be(budget) == bool(splits(bounds, group_min))
