"""Bounds and limits: what is refused, and costs that add up exactly in any order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvmrl.allocate.bounds import Limits, bounds_of
from gvmrl.stats import PromptStats


def stats_of(cost: list[float] | None = None, num_prompts: int = 3) -> PromptStats:
    return PromptStats(
        ids=tuple(f"prompt {row}" for row in range(num_prompts)),
        trials_P=np.full(num_prompts, 8.0),
        successes_P=np.full(num_prompts, 4.0),
        cost_P=None if cost is None else np.array(cost),
    )


def test_one_bound_is_spread_over_all_prompts() -> None:
    bounds = bounds_of(stats_of(), 12, 1, [4, 5, 6], Limits())
    assert bounds.lo_P.tolist() == [1, 1, 1]
    assert bounds.hi_P.tolist() == [4, 5, 6]
    assert bounds.budget == 12


def test_no_upper_bound_is_the_budget() -> None:
    assert bounds_of(stats_of(), 12, 0, None, Limits()).hi_P.tolist() == [12, 12, 12]
    tokens = Limits(unit="tokens")
    assert bounds_of(stats_of([3.0, 5.0, 13.0]), 12, 0, None, tokens).hi_P.tolist() == [4, 2, 0]


@pytest.mark.parametrize("budget", [-1, 2.5, 2**50 + 1, float("nan")])
def test_a_bad_budget_is_refused(budget: float) -> None:
    with pytest.raises(ValueError, match=r"budget must be a whole number from 0 to 2\*\*50, got"):
        bounds_of(stats_of(), budget, 0, None, Limits())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("lo", [-1, 0.5, float("nan"), [0, -2, 0]])
def test_a_bad_lower_bound_names_the_prompt(lo: float | list[int]) -> None:
    with pytest.raises(ValueError, match=r"lo must be a whole number .* for prompt 'prompt"):
        bounds_of(stats_of(), 12, lo, None, Limits())


def test_crossed_bounds_name_the_prompt() -> None:
    with pytest.raises(ValueError, match=r"lo 5 and hi 4 for prompt 'prompt 1' \(row 1\)"):
        bounds_of(stats_of(), 12, 5, [9, 4, 4], Limits())


def test_a_bound_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"hi must be one number or one for each of 3 prompts"):
        bounds_of(stats_of(), 12, 0, [4, 4], Limits())


def test_infeasible_budgets_name_the_missing_amount() -> None:
    with pytest.raises(ValueError, match="budget 12 is 3 rollouts short of the 15 that lo asks"):
        bounds_of(stats_of(), 12, 5, None, Limits())
    with pytest.raises(ValueError, match="budget 13 is 1 rollouts more than the 12 that hi allows"):
        bounds_of(stats_of(), 13, 0, 4, Limits())
    with pytest.raises(ValueError, match="budget 50 is 10 tokens short of the 60"):
        bounds_of(stats_of([10.0, 20.0, 30.0]), 50, 1, None, Limits(unit="tokens"))
    with pytest.raises(ValueError, match=r"rollouts \(after rounding 17 down to a multiple of 8\)"):
        bounds_of(stats_of(), 17, 6, None, Limits(multiple_of=8))


def test_tokens_need_costs() -> None:
    with pytest.raises(ValueError, match=r"tokens needs the expected tokens of a rollout \(cost\)"):
        bounds_of(stats_of(), 12, 0, None, Limits(unit="tokens"))


def test_bad_limits_are_refused() -> None:
    with pytest.raises(ValueError, match=r"limits\.group_min must be >= 1, got 0"):
        Limits(group_min=0)
    with pytest.raises(ValueError, match=r"limits\.multiple_of must be >= 1, got -3"):
        Limits(multiple_of=-3)
    with pytest.raises(ValueError, match=r"limits\.unit must be rollouts or tokens, got 'words'"):
        Limits(unit="words")  # pyright: ignore[reportArgumentType]


@given(
    st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=40),
    st.integers(1, 10**9),
    st.data(),
)
def test_costs_add_up_the_same_in_any_order(
    costs: list[float], budget: int, data: st.DataObject
) -> None:
    stats = stats_of(costs, len(costs))
    bounds = bounds_of(stats, budget, 0, None, Limits(unit="tokens"))
    # rounded up, by less than a part in 2^49 of the budget
    assert (bounds.cost_P >= np.array(costs)).all()
    assert (bounds.cost_P <= np.array(costs) + budget * 2.0**-49).all()
    count_P = np.minimum(bounds.hi_P, np.floor(budget / len(costs) / bounds.cost_P))
    order_P = np.array(data.draw(st.permutations(range(len(costs)))))
    moved = bounds_of(stats.take(order_P), budget, 0, None, Limits(unit="tokens"))
    assert moved.spent(count_P[order_P]) == bounds.spent(count_P)
