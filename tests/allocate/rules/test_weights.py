"""Rules with weights: values worked out by hand from each formula."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvmrl.allocate import allocate
from gvmrl.allocate.demand import Demand, Proportional
from gvmrl.allocate.rules.matched import least_variance, neyman
from gvmrl.allocate.rules.rates import beta_rate
from gvmrl.allocate.rules.weights import cures, dars, e3, gvm, informative, uniform
from gvmrl.allocate.update.estimators import Estimator
from gvmrl.data import FloatArray
from gvmrl.stats import PromptStats


def stats_of(rates: list[float], **columns: FloatArray) -> PromptStats:
    return PromptStats(
        ids=tuple(f"prompt {row}" for row in range(len(rates))),
        trials_P=np.full(len(rates), 8.0),
        successes_P=8 * np.array(rates),
        **columns,
    )


def weights(demand: Demand) -> list[float]:
    assert isinstance(demand, Proportional)
    return demand.weight_P.tolist()


def test_uniform_weighs_all_the_same() -> None:
    assert weights(uniform(stats_of([0, 0.5, 1]))) == [1, 1, 1]


def test_gvm_without_penalty_is_norm_over_root_rate() -> None:
    stats = stats_of([0.25, 1.0, 0.0], grad_norm_P=np.array([3.0, 2.0, 0.0]))
    # 3 / sqrt(1/4), 2 / 1, and nothing accepted
    assert weights(gvm(stats, alpha=0)) == [6, 2, 0]


def test_gvm_at_the_authors_settings() -> None:
    # sqrt(0.25 + 0.001 / 0.25) = sqrt(0.254) = 0.503984
    assert weights(gvm(stats_of([0.25]))) == [pytest.approx(1.984190, abs=1e-6)]


@given(st.floats(1e-6, 0.1), st.floats(1.1, 4))
def test_gvm_turns_where_the_paper_says(alpha: float, beta: float) -> None:
    turn = (alpha * (beta - 1)) ** (1 / beta)
    rate_P = np.clip(turn * np.array([0.8, 1.0, 1.25]), 1e-6, 1)
    rule = partial(gvm, alpha=alpha, beta=beta, rate=lambda _: rate_P)
    low, top, high = weights(rule(stats_of([0.5, 0.5, 0.5])))
    assert top >= low
    assert top >= high


def test_gvm_gives_nothing_to_a_prompt_without_success_whatever_the_estimate() -> None:
    # (2 + 1) / (8 + 2) = 0.3
    demand = gvm(stats_of([0.0, 0.25]), alpha=0, rate=beta_rate)
    assert weights(demand) == [0, pytest.approx(0.3**-0.5)]


def test_gvm_says_when_there_are_no_norms() -> None:
    assert gvm(stats_of([0.5])).notes == ("no gradient norms: all prompts count as equally noisy",)


def test_gvm_weighs_with_the_objective() -> None:
    stats = stats_of([0.25, 0.25], objective_weight_P=np.array([1.0, 3.0]))
    assert weights(gvm(stats, alpha=0)) == [2, 6]


@pytest.mark.parametrize(("alpha", "beta"), [(-1e-3, 2), (float("nan"), 2), (0, 0.5)])
def test_gvm_refuses_settings_out_of_range(alpha: float, beta: float) -> None:
    with pytest.raises(ValueError, match=r"alpha must be >= 0|beta must be >= 1, got 0\.5"):
        gvm(stats_of([0.5]), alpha=alpha, beta=beta)


def test_gvm_survives_a_penalty_beyond_floats() -> None:
    stats = PromptStats(ids=("a",), trials_P=np.array([1e200]), successes_P=np.array([1.0]))
    assert weights(gvm(stats, beta=4)) == [0]


def test_cures_by_hand() -> None:
    stats = stats_of([0.5], grad_norm_P=np.array([2.0]), rejected_norm_P=np.array([1.0]))
    # sqrt(1/8 * 4 + 1/8 * 1 - 1/16 * 1) = sqrt(0.5625)
    assert weights(cures(stats)) == [0.75]


@given(st.floats(0, 1), st.floats(0, 100), st.floats(0, 100))
def test_cures_is_the_formula_of_the_paper(p: float, accepted: float, rejected: float) -> None:
    stats = PromptStats(
        ids=("a",),
        trials_P=np.ones(1),
        successes_P=np.array([p]),
        grad_norm_P=np.array([accepted]),
        rejected_norm_P=np.array([rejected]),
    )
    q = 1 - p
    square = p * q**2 * accepted**2 + p**2 * q * rejected**2
    square -= (p * q * (accepted - rejected)) ** 2
    # a difference of squares up to 1e4: 1e-12 of that may be lost
    assert weights(cures(stats))[0] ** 2 == pytest.approx(square, abs=1e-8, rel=1e-9)


def test_informative_is_0_or_1() -> None:
    assert weights(informative(stats_of([0, 0.125, 0.875, 1]))) == [0, 1, 1, 0]


def test_dars_by_hand() -> None:
    # 8 over 4 p q = 7/16, 3/4 and 1; easy ones get 8; where nothing was accepted p = 1/16 and
    # 8 over 15/64 = 34.1, capped
    equal = weights(dars(stats_of([0.125, 0.25, 0.5, 1, 0])))
    assert equal == pytest.approx([128 / 7, 32 / 3, 8, 8, 32])
    # 8 over 2 p = 1/4, 1/2 and 1; easy ones get 8, the last one 8 over 1/8
    hard = weights(dars(stats_of([0.125, 0.25, 0.5, 1, 0]), schedule="hardness", cap=64))
    assert hard == [32, 16, 8, 8, 64]


def test_dars_refuses_settings_out_of_range() -> None:
    with pytest.raises(ValueError, match="1 <= base <= cap, got base 8 and cap 4"):
        dars(stats_of([0.5]), cap=4)
    with pytest.raises(ValueError, match="schedule must be equal or hardness, got 'easy'"):
        dars(stats_of([0.5]), schedule="easy")  # pyright: ignore[reportArgumentType]


def test_e3_divides_what_is_above_lo_by_rank() -> None:
    # 18 = 3 * 4 + 6, ranks 1, 2, 3 of 6
    assert allocate(stats_of([0.875, 0.5, 0.125]), 18, rule="e3").count_P.tolist() == [5, 6, 7]


def test_e3_gives_equal_rates_their_mean_rank() -> None:
    # ranks 1, 2.5, 2.5, 4 of 10; 20 above 4 * 4
    plan = allocate(stats_of([0.875, 0.5, 0.5, 0.125]), 36, rule="e3")
    assert plan.count_P.tolist() == [6, 9, 9, 12]


def test_e3_refuses_a_negative_lo() -> None:
    with pytest.raises(ValueError, match="lo of e3 must be >= 0, got -1"):
        e3(stats_of([0.5]), lo=-1)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        # p = 1/4 and 1/2, norms 3 and 1
        ("raft", [6, 2**0.5]),
        ("reinforce", [1.5, 0.5**0.5]),
        ("rloo", [3 * 3**0.5 / 4, 0.5]),
        ("dr_grpo", [3 * 3**0.5 / 4, 0.5]),
        ("maxrl", [3 * 3**0.5, 1]),
        ("grpo", [3, 1]),
    ],
)
def test_neyman_is_the_table_of_estimators(estimator: Estimator, expected: list[float]) -> None:
    stats = stats_of([0.25, 0.5], grad_norm_P=np.array([3.0, 1.0]))
    assert weights(neyman(stats, estimator=estimator)) == pytest.approx(expected)


def test_neyman_gives_decided_prompts_nothing_where_a_baseline_is_used() -> None:
    assert weights(neyman(stats_of([0, 0.5, 1]), estimator="grpo")) == [0, 1, 0]


def test_neyman_tends_to_least_variance_as_counts_grow() -> None:
    stats = stats_of([0.125, 0.5, 0.75], grad_norm_P=np.array([1.0, 2.0, 3.0]))
    for estimator in ("raft", "rloo", "grpo", "maxrl"):
        near = allocate(stats, 30000, rule=partial(neyman, estimator=estimator)).count_P
        exact = allocate(stats, 30000, rule=partial(least_variance, estimator=estimator)).count_P
        assert np.abs(near - exact).max() <= 0.01 * exact.min()


def test_unknown_estimators_are_refused() -> None:
    with pytest.raises(ValueError, match="estimator must be one of"):
        neyman(stats_of([0.5]), estimator="ppo")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="estimator must be one of"):
        least_variance(stats_of([0.5]), estimator="ppo")  # pyright: ignore[reportArgumentType]
